/* mix.c - llama-quantize's choice of types, as tables where it is one. */
#include "mix.h"

#include <limits.h>

/* Numbers of general.file_type, also bits of the sets that rules apply to. */
enum {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q8_0 = 7,
    Q5_0 = 8,
    Q5_1 = 9,
    Q2_K = 10,
    Q3_K_S = 11,
    Q3_K_M = 12,
    Q3_K_L = 13,
    Q4_K_S = 14,
    Q4_K_M = 15,
    Q5_K_S = 16,
    Q5_K_M = 17,
    Q6_K = 18,
    IQ2_XXS = 19,
    IQ2_XS = 20,
    Q2_K_S = 21,
    IQ3_XS = 22,
    IQ3_XXS = 23,
    IQ1_S = 24,
    IQ4_NL = 25,
    IQ3_S = 26,
    IQ3_M = 27,
    IQ2_S = 28,
    IQ2_M = 29,
    IQ4_XS = 30,
    IQ1_M = 31,
    BF16 = 32,
    TQ1_0 = 36,
    TQ2_0 = 37,
    MXFP4_MOE = 38,
    Q1_0 = 40,
    Q2_0 = 41
};

/* In llama-quantize's order: a number means the first of its names. Bases are not always what the
 * name says. */
static const struct file_type file_types[] = {
    {"Q1_0",      Q1_0,       DTYPE_Q1_0,    false},
    {"Q2_0",      Q2_0,       DTYPE_Q2_0,    false},
    {"Q4_0",      Q4_0,       DTYPE_Q4_0,    false},
    {"Q4_1",      Q4_1,       DTYPE_Q4_1,    false},
    {"MXFP4_MOE", MXFP4_MOE,  DTYPE_MXFP4,   false},
    {"Q5_0",      Q5_0,       DTYPE_Q5_0,    false},
    {"Q5_1",      Q5_1,       DTYPE_Q5_1,    false},
    {"IQ2_XXS",   IQ2_XXS,    DTYPE_IQ2_XXS, false},
    {"IQ2_XS",    IQ2_XS,     DTYPE_IQ2_XS,  false},
    {"IQ2_S",     IQ2_S,      DTYPE_IQ2_XS,  false},
    {"IQ2_M",     IQ2_M,      DTYPE_IQ2_S,   false},
    {"IQ1_S",     IQ1_S,      DTYPE_IQ1_S,   false},
    {"IQ1_M",     IQ1_M,      DTYPE_IQ1_M,   false},
    {"TQ1_0",     TQ1_0,      DTYPE_TQ1_0,   false},
    {"TQ2_0",     TQ2_0,      DTYPE_TQ2_0,   false},
    {"Q2_K",      Q2_K,       DTYPE_Q2_K,    false},
    {"Q2_K_S",    Q2_K_S,     DTYPE_Q2_K,    false},
    {"IQ3_XXS",   IQ3_XXS,    DTYPE_IQ3_XXS, false},
    {"IQ3_S",     IQ3_S,      DTYPE_IQ3_S,   false},
    {"IQ3_M",     IQ3_M,      DTYPE_IQ3_S,   false},
    {"Q3_K",      Q3_K_M,     DTYPE_Q3_K,    false},
    {"IQ3_XS",    IQ3_XS,     DTYPE_IQ3_S,   false},
    {"Q3_K_S",    Q3_K_S,     DTYPE_Q3_K,    false},
    {"Q3_K_M",    Q3_K_M,     DTYPE_Q3_K,    false},
    {"Q3_K_L",    Q3_K_L,     DTYPE_Q3_K,    false},
    {"IQ4_NL",    IQ4_NL,     DTYPE_IQ4_NL,  false},
    {"IQ4_XS",    IQ4_XS,     DTYPE_IQ4_XS,  false},
    {"Q4_K",      Q4_K_M,     DTYPE_Q4_K,    false},
    {"Q4_K_S",    Q4_K_S,     DTYPE_Q4_K,    false},
    {"Q4_K_M",    Q4_K_M,     DTYPE_Q4_K,    false},
    {"Q5_K",      Q5_K_M,     DTYPE_Q5_K,    false},
    {"Q5_K_S",    Q5_K_S,     DTYPE_Q5_K,    false},
    {"Q5_K_M",    Q5_K_M,     DTYPE_Q5_K,    false},
    {"Q6_K",      Q6_K,       DTYPE_Q6_K,    false},
    {"Q8_0",      Q8_0,       DTYPE_Q8_0,    false},
    {"F16",       F16,        DTYPE_F16,     false},
    {"BF16",      BF16,       DTYPE_BF16,    false},
    {"F32",       F32,        DTYPE_F32,     false},
    {"COPY",      UINT32_MAX, DTYPE_COUNT,   true },
};

const struct file_type *file_type_get(size_t i)
{
    return i < sizeof file_types / sizeof *file_types ? &file_types[i] : NULL;
}

const struct file_type *file_type_find(struct str name)
{
    uint64_t number = UINT64_MAX;
    str_to_u64(name, &number);
    for (size_t i = 0; i < sizeof file_types / sizeof *file_types; i++) {
        const struct file_type *t = &file_types[i];
        if (str_eq_nocase(name, str_from(t->name)) || (!t->copies && number == t->number))
            return t;
    }
    return NULL;
}

uint32_t file_type_guess(enum dtype d)
{
    static const struct {
        enum dtype dtype;
        uint32_t number;
    } guesses[] = {
        {DTYPE_F32,     F32    },
        {DTYPE_F16,     F16    },
        {DTYPE_BF16,    BF16   },
        {DTYPE_Q4_0,    Q4_0   },
        {DTYPE_Q4_1,    Q4_1   },
        {DTYPE_Q5_0,    Q5_0   },
        {DTYPE_Q5_1,    Q5_1   },
        {DTYPE_Q8_0,    Q8_0   },
        {DTYPE_Q2_K,    Q2_K   },
        {DTYPE_Q3_K,    Q3_K_M },
        {DTYPE_Q4_K,    Q4_K_M },
        {DTYPE_Q5_K,    Q5_K_M },
        {DTYPE_Q6_K,    Q6_K   },
        {DTYPE_TQ1_0,   TQ1_0  },
        {DTYPE_TQ2_0,   TQ2_0  },
        {DTYPE_IQ2_XXS, IQ2_XXS},
        {DTYPE_IQ2_XS,  IQ2_XS },
        {DTYPE_IQ2_S,   IQ2_S  },
        {DTYPE_IQ3_XXS, IQ3_XXS},
        {DTYPE_IQ1_S,   IQ1_S  },
        {DTYPE_IQ1_M,   IQ1_M  },
        {DTYPE_IQ4_NL,  IQ4_NL },
        {DTYPE_IQ4_XS,  IQ4_XS },
        {DTYPE_IQ3_S,   IQ3_S  },
        {DTYPE_NVFP4,   39     },
        {DTYPE_Q1_0,    Q1_0   },
        {DTYPE_Q2_0,    Q2_0   },
    };
    for (size_t i = 0; i < sizeof guesses / sizeof *guesses; i++)
        if (guesses[i].dtype == d)
            return guesses[i].number;
    return 0;
}

/* ---- tensors that are left alone --------------------------------------------------------------
 */

/* Small or delicate tensors that stay as they are, wherever one of these stands in the name. */
static const char *const kept_parts[] = {
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
};

bool mix_keeps(const struct mix *m, struct str name, unsigned ndims)
{
    if (m->type->copies || ndims < 2)
        return true;
    /* llama-quantize takes every name of five bytes for a weight (its search result, npos, equals
     * size - 6 there); identical files need the same slip. */
    if (!str_ends(name, "weight") && !(name.n == 5 && !str_has(name, "weight")))
        return true;
    if (str_is(name, "position_embd.weight") || str_is(name, "token_types.weight"))
        return true;
    if (m->leave_output_tensor && str_is(name, "output.weight"))
        return true;
    for (size_t i = 0; i < sizeof kept_parts / sizeof *kept_parts; i++)
        if (str_has(name, kept_parts[i]))
            return true;
    return false;
}

/* ---- what kind of tensor it is --------------------------------------------------------------- */

/* Bits, so that one rule may speak of several. */
enum category {
    OTHER = 1,
    OUTPUT = 2, /* and the embeddings, when they serve as output too */
    EMBEDDING = 4,
    VALUE = 8, /* attention values, alone or in one tensor with queries and keys */
    KEY = 16,
    QUERY = 32,
    ATTN_OUT = 64,
    UP = 128,
    GATE = 256,
    DOWN = 512,
    ANY = 1023
};

bool mix_is_embedding(struct str name)
{
    return str_is(name, "token_embd.weight") || str_is(name, "per_layer_token_embd.weight");
}

static enum category category_of(struct str name)
{
    static const struct {
        const char *part;
        enum category category;
    } parts[] = {
        {"attn_qkv.weight",    VALUE   },
        {"attn_kv_b.weight",   VALUE   },
        {"attn_v.weight",      VALUE   },
        {"attn_k.weight",      KEY     },
        {"attn_q.weight",      QUERY   },
        {"attn_output.weight", ATTN_OUT},
        {"ffn_up",             UP      },
        {"ffn_gate",           GATE    },
        {"ffn_down",           DOWN    },
    };
    if (str_is(name, "output.weight"))
        return OUTPUT;
    if (mix_is_embedding(name))
        return EMBEDDING;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (str_has(name, parts[i].part))
            return parts[i].category;
    return OTHER;
}

/* A number beyond int counts as no layer. */
long mix_layer(struct str name)
{
    if (!str_starts(name, "blk."))
        return -1;
    size_t i = 4;
    const bool minus = i < name.n && name.p[i] == '-';
    i += minus;
    long v = 0;
    const size_t first = i;
    for (; i < name.n && name.p[i] >= '0' && name.p[i] <= '9'; i++) {
        v = v * 10 + (name.p[i] - '0');
        if (v > INT_MAX)
            return -1;
    }
    return i == first ? -1 : minus ? -v : v;
}

void mix_see(struct mix *m, struct str name)
{
    const enum category c = category_of(name);
    m->has_output |= c == OUTPUT;
    m->nvalues += c == VALUE;
}

void mix_architecture(struct mix *m, struct str arch, uint32_t nheads, uint32_t nheads_kv)
{
    /* The models whose few value heads are worth more bits, known by their number of layers. */
    static const struct {
        const char *arch;
        uint32_t nlayers;
        bool dense_gqa; /* only with fewer value heads than heads, and not with eight experts */
    } large[] = {
        {"llama",       80, true },
        {"llama-embed", 80, true },
        {"deci",        80, false},
        {"qwen2",       80, false},
        {"olmo",        80, false},
        {"jais2",       68, false},
    };
    m->falcon = str_is(arch, "falcon");
    m->heads_per_kv = nheads_kv ? nheads / nheads_kv : 0;
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        if (str_is(arch, large[i].arch) && m->nlayers == large[i].nlayers)
            m->is_70b = !large[i].dense_gqa || (nheads != nheads_kv && m->nexperts != 8);
}

/* ---- the rules ------------------------------------------------------------------------------- */

/* Conditions of a rule; all of its must hold. i is the layer, n the number of layers. */
enum condition {
    GQA4 = 1 << 0,             /* four or more heads share a value head */
    GQA4_OR_EXPERTS4 = 1 << 1, /* that, or four or more experts */
    EXPERTS8 = 1 << 2,
    FALCON = 1 << 3,
    NOT_FALCON = 1 << 4,
    WEIGHED = 1 << 5, /* there is an importance matrix */
    UNWEIGHED = 1 << 6,
    STACKED = 1 << 7,
    ODD_ROW = 1 << 8, /* rows are no whole blocks of the base type */
    FIRST_2 = 1 << 9, /* i < 2 */
    FIRST_4 = 1 << 10,
    SIXTEENTH = 1 << 11, /* i < n / 16 */
    EIGHTH = 1 << 12,    /* i < n / 8 */
    MIDDLE = 1 << 13,    /* between the first and the last eighth */
    SPREAD = 1 << 14     /* both outer eighths, and every third layer between them */
};

#define SET(file_type)  (UINT64_C(1) << (file_type))
#define EVERY_FILE_TYPE UINT64_MAX
#define BASE            DTYPE_COUNT

/* Two bits a weight and less. */
#define LOW (SET(IQ1_S) | SET(IQ1_M) | SET(IQ2_XXS) | SET(IQ2_XS) | SET(IQ2_S) | SET(IQ2_M))
/* Those of them whose finer tensors are IQ3_S. */
#define LOW_M (SET(IQ2_S) | SET(IQ2_M))

struct rule {
    unsigned categories;
    uint64_t file_types;
    unsigned conditions;
    enum dtype type; /* BASE: that of the file type */
};

/* The first rule that applies decides; without one a tensor gets the base type. */
static const struct rule rules[] = {
    {OUTPUT,      SET(MXFP4_MOE),                                       0,                   DTYPE_Q8_0   },
    {OUTPUT,      EVERY_FILE_TYPE,                                      FALCON,              DTYPE_Q8_0   },
    {OUTPUT,      EVERY_FILE_TYPE,                                      ODD_ROW,             DTYPE_Q8_0   },
    {OUTPUT,      LOW | SET(IQ3_XXS),                                   0,                   DTYPE_Q5_K   },
    {OUTPUT,      SET(Q8_0),                                            0,                   BASE         },
    {OUTPUT,      EVERY_FILE_TYPE,                                      0,                   DTYPE_Q6_K   },

    {ANY,         SET(MXFP4_MOE),                                       STACKED,             DTYPE_MXFP4  },
    {ANY,         SET(MXFP4_MOE),                                       0,                   DTYPE_Q8_0   },

    {EMBEDDING,   LOW_M | SET(IQ3_XXS),                                 0,                   DTYPE_IQ3_S  },
    {EMBEDDING,   LOW,                                                  0,                   DTYPE_Q2_K   },
    {EMBEDDING,   SET(TQ1_0) | SET(TQ2_0) | SET(Q2_0),                  0,                   DTYPE_Q4_K   },
    {EMBEDDING,   EVERY_FILE_TYPE,                                      0,                   BASE         },

    {VALUE,       LOW,                                                  GQA4_OR_EXPERTS4,    DTYPE_Q4_K   },
    {VALUE,       LOW_M,                                                0,                   DTYPE_IQ3_S  },
    {VALUE,       LOW,                                                  0,                   DTYPE_Q2_K   },
    {KEY,         LOW,                                                  EXPERTS8,            DTYPE_Q4_K   },
    {DOWN,        LOW_M,                                                EIGHTH,              DTYPE_IQ3_S  },
    {DOWN,        LOW,                                                  EIGHTH,              DTYPE_Q2_K   },
    {ATTN_OUT,    LOW,                                                  EXPERTS8,            DTYPE_Q5_K   },
    {ATTN_OUT,    LOW_M,                                                0,                   DTYPE_IQ3_S  },
    {ATTN_OUT,    SET(IQ1_S) | SET(IQ1_M),                              0,                   DTYPE_IQ2_XXS},
    {ANY,         LOW,                                                  0,                   BASE         },

    {VALUE | KEY, EVERY_FILE_TYPE,                                      EXPERTS8,            DTYPE_Q8_0   },
    {VALUE,       SET(Q2_K) | SET(Q2_K_S) | SET(IQ3_XXS),               GQA4,                DTYPE_Q4_K   },
    {VALUE,       SET(IQ3_XS) | SET(IQ3_S),                             GQA4,                DTYPE_Q4_K   },
    {VALUE,       SET(Q2_K),                                            0,                   DTYPE_Q3_K   },
    {VALUE,       SET(IQ3_XXS),                                         UNWEIGHED,           DTYPE_IQ3_S  },
    {VALUE,       SET(IQ3_M),                                           0,                   DTYPE_Q4_K   },
    {VALUE,       SET(Q3_K_M),                                          FIRST_2,             DTYPE_Q5_K   },
    {VALUE,       SET(Q3_K_M),                                          0,                   DTYPE_Q4_K   },
    {VALUE,       SET(Q3_K_L),                                          0,                   DTYPE_Q5_K   },
    {VALUE,       SET(IQ4_NL) | SET(IQ4_XS),                            GQA4,                DTYPE_Q5_K   },
    {VALUE,       SET(Q4_K_M) | SET(Q5_K_M),                            SPREAD,              DTYPE_Q6_K   },
    {VALUE,       SET(Q4_K_S),                                          FIRST_4,             DTYPE_Q5_K   },

    {KEY | QUERY, SET(IQ3_XS),                                          0,                   DTYPE_IQ3_XXS},
    {KEY | QUERY, SET(IQ3_XXS),                                         0,                   DTYPE_IQ2_S  },

    {DOWN,        SET(Q2_K),                                            0,                   DTYPE_Q3_K   },
    {DOWN,        SET(Q2_K_S),                                          EIGHTH,              DTYPE_Q4_K   },
    {DOWN,        SET(IQ3_XXS),                                         UNWEIGHED | EIGHTH,  DTYPE_Q4_K   },
    {DOWN,        SET(IQ3_XXS),                                         UNWEIGHED,           DTYPE_Q3_K   },
    {DOWN,        SET(Q3_K_M),                                          SIXTEENTH,           DTYPE_Q5_K   },
    {DOWN,        SET(Q3_K_M),                                          NOT_FALCON,          DTYPE_Q4_K   },
    {DOWN,        SET(Q3_K_M),                                          SPREAD,              DTYPE_Q4_K   },
    {DOWN,        SET(IQ3_M),                                           EIGHTH,              DTYPE_Q4_K   },
    {DOWN,        SET(IQ3_M),                                           EXPERTS8 | SPREAD,   DTYPE_Q4_K   },
    {DOWN,        SET(Q3_K_L),                                          FALCON,              DTYPE_Q4_K   },
    {DOWN,        SET(Q3_K_L),                                          0,                   DTYPE_Q5_K   },
    {DOWN,        SET(Q4_K_M),                                          FALCON | SIXTEENTH,  DTYPE_Q6_K   },
    {DOWN,        SET(Q4_K_M),                                          FALCON | SPREAD,     DTYPE_Q5_K   },
    {DOWN,        SET(Q4_K_M),                                          NOT_FALCON | SPREAD, DTYPE_Q6_K   },
    {DOWN,        SET(Q5_K_M),                                          SPREAD,              DTYPE_Q6_K   },
    {DOWN,        SET(IQ4_NL) | SET(IQ4_XS),                            UNWEIGHED | EIGHTH,  DTYPE_Q5_K   },
    {DOWN,        SET(Q4_K_S),                                          NOT_FALCON | EIGHTH, DTYPE_Q5_K   },
    {DOWN,        SET(Q4_0),                                            WEIGHED | EIGHTH,    DTYPE_Q4_1   },
    {DOWN,        SET(Q5_0),                                            WEIGHED | EIGHTH,    DTYPE_Q5_1   },

    {ATTN_OUT,    SET(Q3_K_L),                                          FALCON,              DTYPE_Q4_K   },
    {ATTN_OUT,    EVERY_FILE_TYPE,                                      FALCON,              BASE         },
    {ATTN_OUT,    SET(Q2_K) | SET(Q3_K_S) | SET(Q3_K_M) | SET(Q4_K_S),  EXPERTS8,            DTYPE_Q5_K   },
    {ATTN_OUT,    SET(Q4_K_M) | SET(IQ4_NL) | SET(IQ4_XS),              EXPERTS8,            DTYPE_Q5_K   },
    {ATTN_OUT,    SET(IQ3_XS) | SET(IQ3_XXS) | SET(IQ3_S) | SET(IQ3_M), EXPERTS8,            DTYPE_Q5_K   },
    {ATTN_OUT,    EVERY_FILE_TYPE,                                      EXPERTS8,            BASE         },
    {ATTN_OUT,    SET(Q2_K),                                            0,                   DTYPE_Q3_K   },
    {ATTN_OUT,    SET(IQ3_XXS),                                         0,                   DTYPE_IQ3_S  },
    {ATTN_OUT,    SET(Q3_K_M) | SET(IQ3_M),                             0,                   DTYPE_Q4_K   },
    {ATTN_OUT,    SET(Q3_K_L),                                          0,                   DTYPE_Q5_K   },

    {GATE | UP,   SET(IQ3_XS),                                          MIDDLE,              DTYPE_IQ3_XXS},
};

static bool in_set(const struct mix *m, uint64_t set)
{
    return m->type->number < 64 && (set >> m->type->number & 1);
}

/* Where a tensor stands among those of its kind. */
struct place {
    uint32_t i, n;
};

static uint32_t *counter_of(struct mix *m, enum category c)
{
    return c == VALUE  ? &m->value
           : c == DOWN ? &m->down
           : c == GATE ? &m->gate
           : c == UP   ? &m->up
                       : NULL;
}

/* Tensors are counted as they come, so one that keeps its type or is chosen by a pattern shifts
 * those after it, as in llama-quantize. With experts, whose tensors may be many to a layer, the
 * name tells the layer; LOW mixes count all the same. */
static struct place place_of(struct mix *m, enum category c, struct str name)
{
    uint32_t *counter = counter_of(m, c);
    if (!counter)
        return (struct place){0, m->nlayers};
    struct place p = {(*counter)++, c == VALUE ? m->nvalues : m->nlayers};
    const long layer = c != VALUE && m->nexperts > 1 && !in_set(m, LOW) ? mix_layer(name) : -1;
    if (layer >= 0 && layer < (long)m->nlayers)
        p.i = (uint32_t)layer;
    return p;
}

static unsigned conditions_met(const struct mix *m, const struct mix_tensor *t, struct place p)
{
    const uint32_t i = p.i, eighth = p.n / 8, last = (uint32_t)(7 * (uint64_t)p.n / 8);
    const bool early = i < eighth, late = i >= last;
    const struct {
        bool holds;
        enum condition condition;
    } all[] = {
        {m->heads_per_kv >= 4,                                  GQA4            },
        {m->heads_per_kv >= 4 || m->nexperts >= 4,              GQA4_OR_EXPERTS4},
        {m->nexperts == 8,                                      EXPERTS8        },
        {m->falcon,                                             FALCON          },
        {!m->falcon,                                            NOT_FALCON      },
        {m->has_importance,                                     WEIGHED         },
        {!m->has_importance,                                    UNWEIGHED       },
        {t->stacked,                                            STACKED         },
        {t->row % dtype_traits[m->type->base].block_elems != 0, ODD_ROW         },
        {i < 2,                                                 FIRST_2         },
        {i < 4,                                                 FIRST_4         },
        {i < p.n / 16,                                          SIXTEENTH       },
        {early,                                                 EIGHTH          },
        {!early && !late,                                       MIDDLE          },
        {early || late || (i - eighth) % 3 == 2,                SPREAD          },
    };
    unsigned met = 0;
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        met |= all[k].holds ? (unsigned)all[k].condition : 0;
    return met;
}

static enum dtype by_rules(struct mix *m, const struct mix_tensor *t)
{
    enum category c = category_of(t->name);
    if (c == EMBEDDING && !m->has_output)
        c = OUTPUT;
    if (c == OUTPUT && m->output_type >= 0)
        return (enum dtype)m->output_type;
    const unsigned met = conditions_met(m, t, place_of(m, c, t->name));
    enum dtype type = BASE;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct rule *r = &rules[i];
        if ((r->categories & c) && in_set(m, r->file_types) && (r->conditions & ~met) == 0) {
            type = r->type;
            break;
        }
    }
    if (type == BASE)
        type = m->type->base;
    /* Values are an eighth of the size of queries there: more bits cost next to nothing. */
    if (c == VALUE && m->is_70b && !in_set(m, LOW) && (type == DTYPE_Q3_K || type == DTYPE_Q4_K))
        type = DTYPE_Q5_K;
    return type;
}

enum dtype mix_choose(struct mix *m, const struct mix_tensor *t, bool *fixed)
{
    const enum category c = category_of(t->name);
    *fixed = true;
    if (c == EMBEDDING && m->token_embedding_type >= 0)
        return (enum dtype)m->token_embedding_type;
    if (c == OUTPUT && m->output_type >= 0)
        return (enum dtype)m->output_type;
    *fixed = false;
    if (!dtype_is_quantized(m->type->base))
        return m->type->base;
    if (t->overridden >= 0)
        return (enum dtype)t->overridden;
    return m->pure ? m->type->base : by_rules(m, t);
}

bool mix_type_needs_importance(enum dtype d)
{
    return d == DTYPE_IQ1_S || d == DTYPE_IQ1_M || d == DTYPE_IQ2_XXS || d == DTYPE_IQ2_XS ||
           d == DTYPE_IQ2_S || d == DTYPE_IQ3_XXS;
}

bool mix_requires_importance(const struct mix *m, struct str name, enum dtype d)
{
    if (mix_is_embedding(name) || str_is(name, "output.weight"))
        return false;
    return mix_type_needs_importance(d) || (d == DTYPE_Q2_K && in_set(m, SET(Q2_K_S)));
}

enum dtype mix_fallback(enum dtype wanted, uint64_t row)
{
    static const struct {
        enum dtype wanted, instead;
    } table[] = {
        {DTYPE_IQ1_S,   DTYPE_IQ4_NL},
        {DTYPE_IQ1_M,   DTYPE_IQ4_NL},
        {DTYPE_IQ2_XXS, DTYPE_IQ4_NL},
        {DTYPE_IQ2_XS,  DTYPE_IQ4_NL},
        {DTYPE_IQ2_S,   DTYPE_IQ4_NL},
        {DTYPE_IQ3_XXS, DTYPE_IQ4_NL},
        {DTYPE_IQ3_S,   DTYPE_IQ4_NL},
        {DTYPE_IQ4_XS,  DTYPE_IQ4_NL},
        {DTYPE_Q2_0,    DTYPE_Q4_0  },
        {DTYPE_Q2_K,    DTYPE_Q4_0  },
        {DTYPE_Q3_K,    DTYPE_Q4_0  },
        {DTYPE_TQ1_0,   DTYPE_Q4_0  },
        {DTYPE_TQ2_0,   DTYPE_Q4_0  },
        {DTYPE_Q4_K,    DTYPE_Q5_0  },
        {DTYPE_Q5_K,    DTYPE_Q5_1  },
        {DTYPE_Q6_K,    DTYPE_Q8_0  },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].wanted == wanted && row % dtype_traits[table[i].instead].block_elems == 0)
            return table[i].instead;
    return DTYPE_F16;
}

int mix_order(struct str a, struct str b)
{
    const long la = mix_layer(a), lb = mix_layer(b);
    if (la != lb)
        return la < lb ? -1 : 1;
    return str_cmp(a, b);
}
