/* test_mix.c - which tensor gets which type: rules one by one, and plans against recorded choices
 * of llama-quantize. */
#include <criterion/criterion.h>
#include <dirent.h>

#include "leaks.h"
#include "pipeline/retype.h"
#include "quant/mix.h"
#include "scratch.h"

TestSuite(mix, .init = scratch_begin, .fini = scratch_end);

/* ---- rules ----------------------------------------------------------------------------------- */

static struct mix mix_for(const char *type)
{
    return (struct mix){.type = file_type_find(str_from(type)),
                        .output_type = -1,
                        .token_embedding_type = -1,
                        .nlayers = 32,
                        .nvalues = 32,
                        .has_output = true};
}

static enum dtype chosen(struct mix *m, const char *name, uint64_t row)
{
    bool fixed;
    const struct mix_tensor t = {.name = str_from(name), .row = row, .overridden = -1};
    return mix_choose(m, &t, &fixed);
}

Test(mix, file_types_by_name_and_number)
{
    cr_assert_str_eq(file_type_find(STR("q8_0"))->name, "Q8_0");
    cr_assert_str_eq(file_type_find(STR("7"))->name, "Q8_0");
    cr_assert_str_eq(file_type_find(STR("0"))->name, "F32");
    cr_assert_str_eq(file_type_find(STR("32"))->name, "BF16");
    cr_assert_str_eq(file_type_find(STR("iq2_xxs"))->name, "IQ2_XXS");
    cr_assert_str_eq(file_type_find(STR("38"))->name, "MXFP4_MOE");
    cr_assert(file_type_find(STR("copy"))->copies);
    static const char *const none[] = {"4294967295", "Q9_0", "4", "5", "6", "33", "39", "1024", ""};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        cr_assert_null(file_type_find(str_from(none[i])), "%s", none[i]);
}

/* A number means the first name that has it, which is also what a default output is called. */
Test(mix, aliases)
{
    static const struct {
        const char *alias, *name, *number;
    } aliases[] = {
        {"Q3_K", "Q3_K_M", "12"},
        {"Q4_K", "Q4_K_M", "15"},
        {"Q5_K", "Q5_K_M", "17"}
    };
    for (size_t i = 0; i < 3; i++) {
        const struct file_type *a = file_type_find(str_from(aliases[i].alias));
        const struct file_type *b = file_type_find(str_from(aliases[i].name));
        cr_assert_neq(a, b);
        cr_assert_eq(a->number, b->number);
        cr_assert_eq(a->base, b->base);
        cr_assert_eq(file_type_find(str_from(aliases[i].number)), a);
    }
}

/* Bases that are not what the name says; and a file of one type is guessed to be of the file type
 * with that base, of several the middle one. */
Test(mix, bases)
{
    cr_assert_eq(file_type_find(STR("IQ2_S"))->base, DTYPE_IQ2_XS);
    cr_assert_eq(file_type_find(STR("IQ2_M"))->base, DTYPE_IQ2_S);
    cr_assert_eq(file_type_find(STR("IQ3_XS"))->base, DTYPE_IQ3_S);
    cr_assert_eq(file_type_find(STR("IQ3_M"))->base, DTYPE_IQ3_S);
    size_t n = 0;
    for (const struct file_type *t; (t = file_type_get(n)); n++) {
        if (t->copies)
            continue;
        cr_assert(t->number < 64, "%s fits a set", t->name);
        const struct file_type *guess = NULL;
        for (size_t i = 0; file_type_get(i) && !guess; i++)
            if (file_type_get(i)->number == file_type_guess(t->base))
                guess = file_type_get(i);
        cr_assert(guess != NULL, "%s", t->name);
        /* IQ2_S files are mostly IQ2_XS; nothing is guessed to be MXFP4_MOE. */
        if (strcmp(guess->name, "IQ2_S") != 0 && t->base != DTYPE_MXFP4)
            cr_assert_eq(guess->base, t->base, "%s", t->name);
    }
    cr_assert_eq(n, 39u);
}

Test(mix, kept_tensors)
{
    static const char *const kept[] = {
        "blk.0.attn_norm.weight",    "blk.0.attn_q.bias",          "blk.0.ffn_gate_inp.weight",
        "position_embd.weight",      "token_types.weight",         "blk.3.ssm_conv1d.weight",
        "blk.0.time_mix_w1.weight",  "v.patch_embd.weight",        "enc.blk.0.attn_rel_b.weight",
        "blk.1.altup_router.weight", "blk.0.indexer.k_proj.weight"};
    static const char *const taken[] = {
        "blk.0.attn_q.weight", "output.weight", "token_embd.weight", "x.weight", "weight", "abcde"};
    struct mix m = mix_for("Q8_0");
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        cr_assert(mix_keeps(&m, str_from(kept[i]), 2), "%s", kept[i]);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        cr_assert(!mix_keeps(&m, str_from(taken[i]), 2), "%s", taken[i]);
    cr_assert(mix_keeps(&m, STR("blk.0.attn_q.weight"), 1), "vectors stay");
    m.leave_output_tensor = true;
    cr_assert(mix_keeps(&m, STR("output.weight"), 2));
    m = mix_for("COPY");
    cr_assert(mix_keeps(&m, STR("blk.0.attn_q.weight"), 2));
}

Test(mix, output_and_embeddings)
{
    struct mix m = mix_for("Q4_0");
    cr_assert_eq(chosen(&m, "output.weight", 4096), DTYPE_Q6_K);
    cr_assert_eq(chosen(&m, "output.weight", 33), DTYPE_Q8_0, "rows that fit no block of the base");
    cr_assert_eq(chosen(&m, "token_embd.weight", 4096), DTYPE_Q4_0);
    m.has_output = false;
    cr_assert_eq(chosen(&m, "token_embd.weight", 4096), DTYPE_Q6_K, "tied");
    m.output_type = DTYPE_F16;
    cr_assert_eq(chosen(&m, "token_embd.weight", 4096), DTYPE_F16);
    m.token_embedding_type = DTYPE_Q5_1;
    cr_assert_eq(chosen(&m, "token_embd.weight", 4096), DTYPE_Q5_1);
    m = mix_for("Q8_0");
    cr_assert_eq(chosen(&m, "output.weight", 4096), DTYPE_Q8_0);
    m = mix_for("Q4_0");
    m.falcon = true;
    cr_assert_eq(chosen(&m, "output.weight", 4096), DTYPE_Q8_0);
    m.pure = true;
    cr_assert_eq(chosen(&m, "output.weight", 4096), DTYPE_Q4_0);
}

/* Tensors are counted only when the rules decide on them. */
Test(mix, layers_are_counted)
{
    struct mix m = mix_for("Q4_K_S");
    bool fixed;
    for (unsigned i = 0; i < 6; i++)
        cr_assert_eq(chosen(&m, "blk.9.attn_v.weight", 256), i < 4 ? DTYPE_Q5_K : DTYPE_Q4_K);
    m.value = 0;
    const struct mix_tensor t = {
        .name = STR("blk.0.attn_v.weight"), .row = 256, .overridden = DTYPE_Q8_0};
    cr_assert_eq(mix_choose(&m, &t, &fixed), DTYPE_Q8_0);
    cr_assert_eq(m.value, 0u);
    m.nexperts = 16;
    cr_assert_eq(chosen(&m, "blk.3.ffn_down_exps.weight", 256), DTYPE_Q5_K, "by name");
    cr_assert_eq(chosen(&m, "blk.4.ffn_down_exps.weight", 256), DTYPE_Q4_K);
    cr_assert_eq(chosen(&m, "ffn_down.weight", 256), DTYPE_Q5_K, "no layer: the third of them");
    cr_assert_eq(chosen(&m, "blk.32.ffn_down.weight", 256), DTYPE_Q5_K, "no such layer");
    cr_assert_eq(chosen(&m, "blk.32.ffn_down.weight", 256), DTYPE_Q4_K);
}

Test(mix, what_needs_importance)
{
    const struct mix m = mix_for("Q2_K_S"), other = mix_for("Q2_K");
    const struct str name = STR("blk.0.attn_q.weight");
    for (int d = 0; d < DTYPE_COUNT; d++) {
        const bool low = d == DTYPE_IQ1_S || d == DTYPE_IQ1_M || d == DTYPE_IQ2_XXS ||
                         d == DTYPE_IQ2_XS || d == DTYPE_IQ2_S || d == DTYPE_IQ3_XXS;
        cr_assert_eq(mix_requires_importance(&m, name, (enum dtype)d), low || d == DTYPE_Q2_K);
        cr_assert_eq(mix_requires_importance(&other, name, (enum dtype)d), low);
        cr_assert(!mix_requires_importance(&m, STR("token_embd.weight"), (enum dtype)d));
        cr_assert(!mix_requires_importance(&m, STR("output.weight"), (enum dtype)d));
    }
}

Test(mix, fallbacks)
{
    cr_assert_eq(mix_fallback(DTYPE_Q6_K, 96), DTYPE_Q8_0);
    cr_assert_eq(mix_fallback(DTYPE_Q4_K, 96), DTYPE_Q5_0);
    cr_assert_eq(mix_fallback(DTYPE_IQ3_S, 96), DTYPE_IQ4_NL);
    cr_assert_eq(mix_fallback(DTYPE_Q6_K, 33), DTYPE_F16);
    cr_assert_eq(mix_fallback(DTYPE_Q4_0, 33), DTYPE_F16);
}

Test(mix, tensor_order)
{
    static const char *const sorted[] = {"a.weight", "output.weight", "blk.0.b",
                                         "blk.0.c",  "blk.2.attn_q",  "blk.10.attn_q"};
    for (size_t i = 0; i + 1 < sizeof sorted / sizeof *sorted; i++)
        cr_assert_lt(mix_order(str_from(sorted[i]), str_from(sorted[i + 1])), 0, "%s", sorted[i]);
    cr_assert_eq(mix_order(STR("blk.99999999999999999999.x"), STR("blk.99999999999999999999.x")),
                 0);
    cr_assert_lt(mix_order(STR("blk.99999999999999999999.x"), STR("blk.0.x")), 0, "no layer");
    cr_assert_lt(mix_order(STR("blk."), STR("blk.0.x")), 0);
}

/* ---- recorded choices: tests/data/mix/README.md ---------------------------------------------- */

#define DATA "tests/data/mix/"

enum { MAX_WORDS = 16, MAX_LINE = 2048, MAX_RECORDED = 1024 };

static const struct {
    char code;
    enum dtype dtype;
} codes[] = {
    {'f', DTYPE_F32    },
    {'h', DTYPE_F16    },
    {'b', DTYPE_BF16   },
    {'a', DTYPE_Q1_0   },
    {'c', DTYPE_Q2_0   },
    {'4', DTYPE_Q4_0   },
    {'d', DTYPE_Q4_1   },
    {'5', DTYPE_Q5_0   },
    {'e', DTYPE_Q5_1   },
    {'8', DTYPE_Q8_0   },
    {'2', DTYPE_Q2_K   },
    {'3', DTYPE_Q3_K   },
    {'K', DTYPE_Q4_K   },
    {'L', DTYPE_Q5_K   },
    {'6', DTYPE_Q6_K   },
    {'s', DTYPE_IQ1_S  },
    {'m', DTYPE_IQ1_M  },
    {'x', DTYPE_IQ2_XXS},
    {'y', DTYPE_IQ2_XS },
    {'z', DTYPE_IQ2_S  },
    {'X', DTYPE_IQ3_XXS},
    {'S', DTYPE_IQ3_S  },
    {'n', DTYPE_IQ4_NL },
    {'N', DTYPE_IQ4_XS },
    {'t', DTYPE_TQ1_0  },
    {'T', DTYPE_TQ2_0  },
    {'p', DTYPE_MXFP4  },
};

static char code_of(enum dtype d)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].dtype == d)
            return codes[i].code;
    return '?';
}

struct recorded {
    const char *file;
    struct arena arena;
    struct meta_list keys;
    struct gguf_tensor tensors[MAX_RECORDED];
    uint32_t ntensors;
    struct model *model;
    const char *matrix; /* an importance matrix of one entry, for no tensor */
    unsigned nchecked;
};

static size_t split(char *line, char *words[MAX_WORDS])
{
    size_t n = 0;
    for (char *w = strtok(line, " \n"); w && n < MAX_WORDS; w = strtok(NULL, " \n"))
        words[n++] = w;
    return n;
}

static void add_array(struct recorded *r, const char *key, char *list)
{
    uint32_t *v = arena_alloc(&r->arena, MAX_LINE * sizeof *v), n = 0;
    for (char *at = list; *at; at += *at == ',')
        v[n++] = (uint32_t)strtoul(at, &at, 10);
    cr_assert(meta_list_set(&r->keys, (struct meta){
                                          .key = str_from(key),
                                          .value = {(char *)v, n * sizeof *v},
                                          .count = n,
                                          .type = META_ARRAY,
                                          .item_type = META_U32
    }));
}

/* k KEY TYPE VALUE */
static void add_key(struct recorded *r, char *words[])
{
    const char *type = words[2];
    if (strcmp(type, "str") == 0)
        cr_assert(meta_list_set_string(&r->keys, words[1], str_from(words[3])));
    else if (strcmp(type, "u32") == 0)
        cr_assert(meta_list_set_u32(&r->keys, words[1], (uint32_t)strtoul(words[3], NULL, 10)));
    else if (strcmp(type, "f32") == 0)
        cr_assert(meta_list_set_f32(&r->keys, words[1], strtof(words[3], NULL)));
    else
        add_array(r, words[1], words[3]);
}

/* t NAME TYPE DIMENSION..., the row first */
static void add_tensor(struct recorded *r, char *words[], size_t n)
{
    uint64_t *dims = ARENA_NEW(&r->arena, uint64_t, n), nelems = 1;
    struct gguf_tensor *t = &r->tensors[r->ntensors++];
    for (size_t i = 3; i < n; i++) {
        dims[n - 1 - i] = strtoul(words[i], NULL, 10);
        nelems *= dims[n - 1 - i];
    }
    *t = (struct gguf_tensor){
        .name = arena_str(&r->arena, str_from(words[1])), .dims = dims, .ndims = (uint32_t)n - 3};
    cr_assert(dtype_from_name(str_from(words[2]), &t->dtype));
    t->nbytes = nelems * dtype_traits[t->dtype].block_bytes;
}

/* The model of the lines so far; its weights are a hole in the file. */
static void make_model(struct recorded *r)
{
    struct str header;
    uint64_t nbytes;
    struct quern_error err;
    cr_assert(gguf_layout(&r->arena, r->keys.items, r->keys.count, r->tensors, r->ntensors, 32,
                          &header, &nbytes, &err) == QUERN_OK,
              "%s", err.text);
    const char *path = scratch_file("m.gguf", header);
    cr_assert(truncate(path, (off_t)nbytes) == 0);
    cr_assert(model_open(path, &r->model, &err) == QUERN_OK, "%s", err.text);
    static const char matrix[] = "\1\0\0\0\1\0\0\0x\1\0\0\0\1\0\0\0\0\0\x80\x3f";
    r->matrix = arena_printf(&r->arena, "%s",
                             scratch_file("m.dat", (struct str){matrix, sizeof matrix - 1}));
}

static void take_option(struct quern_quantize *q, const char *name, const char *value,
                        const char *lists[3][MAX_WORDS])
{
    if (strcmp(name, "--pure") == 0)
        q->pure = true;
    else if (strcmp(name, "--leave-output-tensor") == 0)
        q->leave_output_tensor = true;
    else if (strcmp(name, "--output-tensor-type") == 0)
        q->output_tensor_type = value;
    else if (strcmp(name, "--token-embedding-type") == 0)
        q->token_embedding_type = value;
    else if (strcmp(name, "--tensor-type") == 0)
        lists[0][q->ntensor_types++] = value;
    else if (strcmp(name, "--override-kv") == 0)
        lists[1][q->noverride_kvs++] = value;
    else if (strcmp(name, "--prune-layers") == 0)
        lists[2][q->nprune_layers++] = value;
    else
        cr_assert_fail("%s", name);
}

/* r FILE_TYPE -|+ CODES [OPTION...]: without and with importance matrix; a code for each tensor of
 * the output in its order. */
static void check(struct recorded *r, char *words[], size_t n)
{
    const char *lists[3][MAX_WORDS];
    struct quern_quantize q = {.type = words[1],
                               .tensor_types = lists[0],
                               .override_kvs = lists[1],
                               .prune_layers = lists[2],
                               .imatrix = words[2][0] == '+' ? r->matrix : NULL};
    for (size_t i = 4; i < n; i++) {
        const bool has_value = i + 1 < n && words[i + 1][0] != '-';
        take_option(&q, words[i], has_value ? words[i + 1] : NULL, lists);
        i += has_value;
    }
    struct plan *p;
    struct quern_error err;
    cr_assert(plan_quantize(r->model, scratch("out.gguf"), &q, &p, &err) == QUERN_OK, "%s %s: %s",
              r->file, words[1], err.text);
    cr_assert_eq(p->nsteps, strlen(words[3]), "%s %s", r->file, words[1]);
    for (uint32_t i = 0; i < p->nsteps; i++)
        cr_assert_eq(code_of(p->steps[i].dtype), words[3][i], "%s %s%s %s: %s instead of %c",
                     r->file, words[1], words[2], p->steps[i].name.p,
                     dtype_traits[p->steps[i].dtype].name, words[3][i]);
    plan_free(p);
    r->nchecked++;
}

static unsigned check_file(const char *file)
{
    static struct recorded r;
    char path[256], line[MAX_LINE], *words[MAX_WORDS];
    r = (struct recorded){.file = file};
    cr_assert(meta_list_copy(&r.keys, &r.arena, NULL, 0));
    snprintf(path, sizeof path, DATA "%s", file);
    FILE *f = fopen(path, "r");
    cr_assert(f != NULL, "%s", path);
    while (fgets(line, sizeof line, f)) {
        const size_t n = split(line, words);
        if (n == 0 || *words[0] == '#')
            continue;
        if (*words[0] == 'r' && !r.model)
            make_model(&r);
        switch (*words[0]) {
        case 'k':
            add_key(&r, words);
            break;
        case 't':
            add_tensor(&r, words, n);
            break;
        default:
            check(&r, words, n);
        }
    }
    fclose(f);
    model_close(r.model);
    arena_free(&r.arena);
    return r.nchecked;
}

Test(mix, chooses_what_llama_quantize_chose)
{
    unsigned nchecked = 0;
    DIR *d = opendir(DATA);
    cr_assert(d != NULL);
    for (const struct dirent *e; (e = readdir(d));)
        if (str_ends(str_from(e->d_name), ".txt"))
            nchecked += check_file(e->d_name);
    closedir(d);
    cr_assert_gt(nchecked, 700u, "all models were there, %u checks", nchecked);
    CHECK_LEAKS();
}
