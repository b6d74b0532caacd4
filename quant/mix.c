/* mix.c - llama-quantize's choice of types, as tables where it is one. */
#include "mix.h"

#include <limits.h>

/* Numbers are llama.cpp's general.file_type. */
static const struct file_type file_types[] = {
    {"Q4_0", 2,          DTYPE_Q4_0,  false},
    {"Q4_1", 3,          DTYPE_Q4_1,  false},
    {"Q5_0", 8,          DTYPE_Q5_0,  false},
    {"Q5_1", 9,          DTYPE_Q5_1,  false},
    {"Q8_0", 7,          DTYPE_Q8_0,  false},
    {"F16",  1,          DTYPE_F16,   false},
    {"BF16", 32,         DTYPE_BF16,  false},
    {"F32",  0,          DTYPE_F32,   false},
    {"COPY", UINT32_MAX, DTYPE_COUNT, true },
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
        {DTYPE_F32,     0 },
        {DTYPE_F16,     1 },
        {DTYPE_BF16,    32},
        {DTYPE_Q4_0,    2 },
        {DTYPE_Q4_1,    3 },
        {DTYPE_Q5_0,    8 },
        {DTYPE_Q5_1,    9 },
        {DTYPE_Q8_0,    7 },
        {DTYPE_Q2_K,    10},
        {DTYPE_Q3_K,    12},
        {DTYPE_Q4_K,    15},
        {DTYPE_Q5_K,    17},
        {DTYPE_Q6_K,    18},
        {DTYPE_TQ1_0,   36},
        {DTYPE_TQ2_0,   37},
        {DTYPE_IQ2_XXS, 19},
        {DTYPE_IQ2_XS,  20},
        {DTYPE_IQ2_S,   28},
        {DTYPE_IQ3_XXS, 23},
        {DTYPE_IQ1_S,   24},
        {DTYPE_IQ1_M,   31},
        {DTYPE_IQ4_NL,  25},
        {DTYPE_IQ4_XS,  30},
        {DTYPE_IQ3_S,   26},
        {DTYPE_NVFP4,   39},
        {DTYPE_Q1_0,    40},
        {DTYPE_Q2_0,    41},
    };
    for (size_t i = 0; i < sizeof guesses / sizeof *guesses; i++)
        if (guesses[i].dtype == d)
            return guesses[i].number;
    return 0;
}

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

enum category { OUTPUT, TOKEN_EMBD, ATTN_V_LIKE, ATTN_K, OTHER };

static enum category category_of(struct str name)
{
    if (str_is(name, "output.weight"))
        return OUTPUT;
    if (str_is(name, "token_embd.weight") || str_is(name, "per_layer_token_embd.weight"))
        return TOKEN_EMBD;
    if (str_has(name, "attn_qkv.weight") || str_has(name, "attn_kv_b.weight") ||
        str_has(name, "attn_v.weight"))
        return ATTN_V_LIKE;
    if (str_has(name, "attn_k.weight"))
        return ATTN_K;
    return OTHER;
}

static enum dtype by_rules(const struct mix *m, enum category c, uint64_t row)
{
    const enum dtype base = m->type->base;
    if (c == OUTPUT || (c == TOKEN_EMBD && !m->has_output)) {
        if (m->output_type >= 0)
            return (enum dtype)m->output_type;
        if (m->falcon || row % dtype_traits[base].block_elems != 0)
            return DTYPE_Q8_0;
        return base == DTYPE_Q8_0 ? base : DTYPE_Q6_K;
    }
    if ((c == ATTN_V_LIKE || c == ATTN_K) && m->nexperts == 8)
        return DTYPE_Q8_0;
    return base;
}

enum dtype mix_choose(const struct mix *m, struct str name, uint64_t row, int overridden,
                      bool *fixed)
{
    const enum category c = category_of(name);
    *fixed = true;
    if (c == TOKEN_EMBD && m->token_embedding_type >= 0)
        return (enum dtype)m->token_embedding_type;
    if (c == OUTPUT && m->output_type >= 0)
        return (enum dtype)m->output_type;
    *fixed = false;
    if (!dtype_is_quantized(m->type->base))
        return m->type->base;
    if (overridden >= 0)
        return (enum dtype)overridden;
    return m->pure ? m->type->base : by_rules(m, c, row);
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

/* N of "blk.N", or -1. A number beyond int counts as no layer. */
static long layer_of(struct str name)
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

int mix_order(struct str a, struct str b)
{
    const long la = layer_of(a), lb = layer_of(b);
    if (la != lb)
        return la < lb ? -1 : 1;
    return str_cmp(a, b);
}
