/* test_like.c - GGUFs made like a template: whole files, differences, maps. */
#include "convert/gather.h"
#include "convert/learn.h"
#include "convert/like.h"
#include "tests/checkpoint.h"

static void digest_of(const char *path, char hex[65])
{
    struct quern_error err;
    cr_assert(sha256_file(path, hex, &err) == QUERN_OK, "%s", err.text);
}

/* config.json as the model has it, but for the values given as JSON. */
static void write_config(const struct json *model, const char *dir, const char *const *changed)
{
    struct json_writer w = {0};
    json_open(&w, '{');
    for (const struct json *v = json_first(json_get(model, "config")); v; v = json_next(v)) {
        struct json *now = NULL;
        for (const char *const *c = changed; *c && !now; c += 2)
            if (str_is(json_key_of(v), c[0]))
                cr_assert(json_parse(str_from(c[1]), &now, NULL) == QUERN_OK, "%s", c[1]);
        json_key_str(&w, json_key_of(v));
        write_value(&w, now ? now : v);
        json_free(now);
    }
    json_close(&w, '}');
    put_file(dir, "config.json", json_written(&w));
    json_writer_free(&w);
}

static const char *const nobody[] = {"architectures", "[\"NobodyForCausalLM\"]", "model_type",
                                     "\"nobody\"", NULL};

/* ---- an unknown class ---------------------------------------------------------------------------
 */

static void make_like(const char *dir, const char *template, const char *type, const char *name,
                      const char *want)
{
    char hex[65];
    struct quern_error err;
    const struct convert_request r = {
        .output = scratch("like.gguf"), .type = type, .like = template, .force = true};
    cr_assert(convert_with(dir, &r, NULL, &err) == QUERN_OK, "%s: %s", name, err.text);
    digest_of(r.output, hex);
    cr_expect_str_eq(hex, want, "%s %s", name, type);
}

static void check_all(const char *file, const char *type)
{
    char want[65];
    struct quern_error err;
    struct json *root = read_models(file);
    for (const struct json *m = json_first(json_get(root, "models")); m; m = json_next(m)) {
        scratch_begin();
        const char *dir = write_checkpoint(m), *whole = scratch("whole.gguf");
        cr_assert(convert_to(dir, whole, type, &err) == QUERN_OK, "%s", err.text);
        digest_of(whole, want);
        make_like(dir, whole, type, text_of(m, "name"), want);
        write_config(m, dir, nobody);
        make_like(dir, whole, type, text_of(m, "name"), want);
        scratch_end();
    }
    json_free(root);
}

/* The same bytes as with a class that is known, without it. */
Test(like, the_class_does_not_matter)
{
    check_all("golden.json", "auto");
    check_all("architectures.json", "q8_0");
    CHECK_LEAKS();
}

/* ---- what is learnt -----------------------------------------------------------------------------
 */

/* A model of the same kind with other weights: the lowest bit of every value is turned. */
static void tune_file(const char *path)
{
    struct arena arena = {0};
    struct str text;
    struct quern_error err;
    cr_assert(read_small_file(path, 64u << 20, &arena, &text, &err) == QUERN_OK, "%s", err.text);
    uint64_t header = 0;
    for (unsigned i = 0; i < 8; i++)
        header |= (uint64_t)(uint8_t)text.p[i] << (8 * i);
    for (uint64_t i = 8 + header; i < text.n; i += 2)
        ((char *)text.p)[i] ^= 1;
    FILE *f = fopen(path, "w");
    cr_assert(f && fwrite(text.p, 1, text.n, f) == text.n && fclose(f) == 0);
    arena_free(&arena);
}

static void tune(const char *dir)
{
    char path[1200];
    DIR *d = opendir(dir);
    cr_assert(d != NULL);
    for (struct dirent *e; (e = readdir(d));)
        if (str_ends(str_from(e->d_name), ".safetensors")) {
            snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
            tune_file(path);
        }
    closedir(d);
}

static enum quern_status learn_from(const char *dir, const char *gguf, struct learning **l,
                                    struct model **hf, struct model **made, struct quern_error *err)
{
    struct plan *p;
    cr_assert(model_open(dir, hf, err) == QUERN_OK, "%s", err->text);
    cr_assert(model_open(gguf, made, err) == QUERN_OK, "%s", err->text);
    enum quern_status s = learn_new(*hf, *made, l, err);
    while (s == QUERN_OK && (s = learn_next(*l, &p, err)) == QUERN_OK && p) {
        s = plan_run(p, NULL, NULL, err);
        plan_free(p);
    }
    return s;
}

/* Six vectors of RWKV become one matrix. */
static bool cannot_be_learnt(const char *name, const struct quern_error *err)
{
    return strcmp(name, "arch-rwkv7") == 0 && strstr(err->text, "blk.{i}.time_mix_lerp_fused");
}

/* Learn from a pair, convert a relative by what was learnt, compare with the ordinary way. */
static void check_learning(const struct json *model, const char *type)
{
    char want[65], got[65];
    struct quern_error err;
    struct learning *l = NULL;
    struct model *hf, *made;
    const char *name = text_of(model, "name");
    scratch_begin();
    const char *dir = write_checkpoint(model), *base = scratch("base.gguf");
    const char *whole = scratch("whole.gguf"), *like = scratch("like.gguf");
    cr_assert(convert_to(dir, base, type, &err) == QUERN_OK, "%s", err.text);
    const enum quern_status s = learn_from(dir, base, &l, &hf, &made, &err);
    cr_expect(s == QUERN_OK || cannot_be_learnt(name, &err), "%s: %s", name, err.text);
    if (s == QUERN_OK) {
        tune(dir);
        cr_assert(convert_to(dir, whole, type, &err) == QUERN_OK, "%s", err.text);
        write_config(model, dir, nobody);
        const struct convert_request r = {
            .output = like, .type = type, .like = base, .map = learn_map(l), .force = true};
        cr_expect(convert_with(dir, &r, NULL, &err) == QUERN_OK, "%s: %s", name, err.text);
        digest_of(whole, want);
        digest_of(like, got);
        cr_expect_str_eq(got, want, "%s", name);
    }
    learn_free(l);
    model_close(hf);
    model_close(made);
    scratch_end();
}

Test(like, learnt_rules_do_the_same)
{
    static const char *const files[] = {"golden.json", "architectures.json"};
    for (size_t i = 0; i < 2; i++) {
        struct json *root = read_models(files[i]);
        for (const struct json *m = json_first(json_get(root, "models")); m; m = json_next(m))
            check_learning(m, "auto");
        json_free(root);
    }
    CHECK_LEAKS();
}

/* ---- equal values -------------------------------------------------------------------------------
 */

/* Sets all values of a stored tensor of 16 bits. */
static void fill_tensor(const char *dir, const char *name, uint16_t bits)
{
    struct model *m;
    struct quern_error err;
    cr_assert(model_open(dir, &m, &err) == QUERN_OK, "%s", err.text);
    const struct tensor *t = model_find(m, str_from(name));
    cr_assert(t && t->nbytes == 2 * t->nelems, "%s", name);
    FILE *f = fopen(m->files[t->file].path, "r+");
    cr_assert(f && fseek(f, (long)t->offset, SEEK_SET) == 0);
    for (uint64_t i = 0; i < t->nelems; i++)
        cr_assert(fwrite(&bits, 1, sizeof bits, f) == sizeof bits);
    cr_assert(fclose(f) == 0);
    model_close(m);
}

/* Other names of the same length. */
static void rename_in_file(const char *path, const char *old, const char *now)
{
    struct arena arena = {0};
    struct str text;
    size_t found = 0;
    cr_assert(read_small_file(path, 64u << 20, &arena, &text, NULL) == QUERN_OK);
    for (char *at; (at = memmem(text.p, text.n, old, strlen(old))); found++)
        memcpy(at, now, strlen(old));
    FILE *f = fopen(path, "w");
    cr_assert(f && fwrite(text.p, 1, text.n, f) == text.n && fclose(f) == 0 && found > 0);
    arena_free(&arena);
}

static const char *weights_in(const char *dir)
{
    static char path[1200];
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    return path;
}

#define HALF_ONE 0x3c00

static void fill_norms(const char *dir)
{
    fill_tensor(dir, "model.norm.weight", HALF_ONE);
    for (unsigned i = 0; i < 2; i++) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.%u.input_layernorm.weight", i);
        fill_tensor(dir, name, HALF_ONE);
        snprintf(name, sizeof name, "model.layers.%u.post_attention_layernorm.weight", i);
        fill_tensor(dir, name, HALF_ONE);
    }
}

static const char *rule_for(const struct tensor_map *m, const char *from)
{
    for (uint32_t i = 0; i < m->nrules; i++)
        if (strcmp(m->rules[i].from, from) == 0)
            return m->rules[i].to;
    return "";
}

/* Norms that are all one are told apart by names that other architectures have, or not at all. */
Test(like, equal_tensors_need_known_names)
{
    struct quern_error err;
    struct learning *l;
    struct model *hf, *made;
    struct json *root = read_models("golden.json");
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "llama-spm"));
    const char *gguf = scratch("base.gguf");
    fill_norms(dir);
    cr_assert(convert_to(dir, gguf, "f16", &err) == QUERN_OK, "%s", err.text);
    cr_assert(learn_from(dir, gguf, &l, &hf, &made, &err) == QUERN_OK, "%s", err.text);
    cr_expect_str_eq(rule_for(learn_map(l), "model.layers.{i}.input_layernorm.weight"),
                     "blk.{i}.attn_norm.weight");
    cr_expect_str_eq(rule_for(learn_map(l), "model.layers.{i}.post_attention_layernorm.weight"),
                     "blk.{i}.ffn_norm.weight");
    learn_free(l);
    model_close(hf);
    model_close(made);
    rename_in_file(weights_in(dir), "input_layernorm", "first_layernorm");
    rename_in_file(weights_in(dir), "post_attention_layernorm", "next_attention_layernorm");
    cr_assert(learn_from(dir, gguf, &l, &hf, &made, &err) == QUERN_EUSAGE);
    cr_expect(strstr(err.text, "'blk.{i}.attn_norm.weight' has the values of each of "
                               "model.layers.{i}.first_layernorm.weight "
                               "model.layers.{i}.next_attention_layernorm.weight"),
              "%s", err.text);
    learn_free(l);
    model_close(hf);
    model_close(made);
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

static enum transform how_of(const struct tensor_map *m, const char *from)
{
    for (uint32_t i = 0; i < m->nrules; i++)
        if (strcmp(m->rules[i].from, from) == 0)
            return m->rules[i].transform;
    return LEFT_OUT;
}

/* Zeros are the same in any order; those of other models will not be. */
Test(like, biases_of_zero_follow_their_weights)
{
    struct quern_error err;
    struct learning *l;
    struct model *hf, *made;
    struct json *root = read_models("architectures.json");
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "arch-gptneox"));
    const char *gguf = scratch("base.gguf");
    fill_tensor(dir, "gpt_neox.layers.0.attention.query_key_value.bias", 0);
    fill_tensor(dir, "gpt_neox.layers.1.attention.query_key_value.bias", 0);
    cr_assert(convert_to(dir, gguf, "bf16", &err) == QUERN_OK, "%s", err.text);
    cr_assert(learn_from(dir, gguf, &l, &hf, &made, &err) == QUERN_OK, "%s", err.text);
    cr_expect(how_of(learn_map(l), "gpt_neox.layers.{i}.attention.query_key_value.bias") ==
              QKV_BY_HEAD);
    cr_expect(how_of(learn_map(l), "gpt_neox.layers.{i}.attention.dense.bias") == AS_IT_IS);
    learn_free(l);
    model_close(hf);
    model_close(made);
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

/* ---- pairs that are none ------------------------------------------------------------------------
 */

static void check_refused(const char *dir, const char *gguf, const char *says)
{
    struct quern_error err = {0};
    struct learning *l = NULL;
    struct model *hf, *made;
    const enum quern_status s = learn_from(dir, gguf, &l, &hf, &made, &err);
    cr_expect(s != QUERN_OK && strstr(err.text, says), "%d %s", s, err.text);
    learn_free(l);
    model_close(hf);
    model_close(made);
}

Test(like, pairs_that_are_none_are_refused)
{
    struct quern_error err;
    struct json *root = read_models("golden.json");
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "llama-spm"));
    const char *gguf = scratch("base.gguf"), *vocab = scratch("vocab.gguf");
    const struct convert_request r = {.output = vocab, .type = "f16", .vocab_only = true};
    cr_assert(convert_to(dir, gguf, "f16", &err) == QUERN_OK, "%s", err.text);
    cr_assert(convert_with(dir, &r, NULL, &err) == QUERN_OK, "%s", err.text);
    check_refused(dir, vocab, "it is no GGUF with tensors");
    check_refused(dir, dir, "it is no GGUF with tensors");
    check_refused(gguf, gguf, "it is no safetensors model");
    /* One value of one layer is another. */
    fill_tensor(dir, "model.layers.1.mlp.up_proj.weight", HALF_ONE);
    check_refused(dir, gguf, "has the values of blk.{i}.ffn_up.weight");
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

/* Rows of q in an order that no transform gives. */
Test(like, unknown_orders_are_refused)
{
    struct quern_error err;
    struct arena arena = {0};
    struct str text;
    struct model *m;
    struct json *root = read_models("golden.json");
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "llama-spm"));
    const char *gguf = scratch("base.gguf");
    cr_assert(convert_to(dir, gguf, "f16", &err) == QUERN_OK, "%s", err.text);
    cr_assert(model_open(gguf, &m, &err) == QUERN_OK, "%s", err.text);
    const struct tensor t = *model_find(m, STR("blk.0.attn_q.weight"));
    const uint64_t at = t.offset, row = t.nbytes / t.dims[0];
    model_close(m);
    cr_assert(read_small_file(gguf, 64u << 20, &arena, &text, &err) == QUERN_OK);
    for (uint64_t i = 0; i < row; i++) {
        char *p = (char *)text.p + at;
        const char kept = p[i];
        p[i] = p[row + i];
        p[row + i] = kept;
    }
    put_file("", gguf + 1, text);
    check_refused(dir, gguf,
                  "'blk.{i}.attn_q.weight' has the values of "
                  "'model.layers.{i}.self_attn.q_proj.weight' in another order or shape");
    arena_free(&arena);
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

/* ---- templates that do not fit ------------------------------------------------------------------
 */

static void check_unlike(const char *dir, const char *template, const char *says)
{
    struct quern_error err = {0};
    const struct convert_request r = {
        .output = scratch("no.gguf"), .type = "auto", .like = template};
    const enum quern_status s = convert_with(dir, &r, NULL, &err);
    cr_expect(s != QUERN_OK && strstr(err.text, says), "%d %s", s, err.text);
    cr_expect(access(r.output, F_OK) != 0);
}

Test(like, templates_that_do_not_fit)
{
    struct quern_error err;
    struct json *root = read_models("golden.json");
    scratch_begin();
    const char *other = strdup(write_checkpoint(model_named(root, "qwen2-bpe")));
    const char *dir = write_checkpoint(model_named(root, "llama-spm"));
    const char *gguf = scratch("t.gguf"), *qwen = scratch("qwen.gguf");
    cr_assert(convert_to(other, qwen, "auto", &err) == QUERN_OK, "%s", err.text);
    check_unlike(dir, qwen, "its architecture 'LlamaForCausalLM' is llama, that of");
    cr_assert(convert_to(dir, gguf, "auto", &err) == QUERN_OK, "%s", err.text);
    rename_in_file(gguf, "blk.1.attn_v.weight", "blk.1.attn_w.weight");
    check_unlike(dir, gguf, "1 tensor is not in");
    cr_assert(convert_to(dir, gguf, "auto", &err) == QUERN_OK, "%s", err.text);
    rename_in_file(weights_in(dir), "model.layers.1.self_attn.v_proj.weight",
                   "model.layers.1.rotary_emb.inv_frequency");
    check_unlike(dir, gguf, "1 tensor is not known in llama: model.layers.1.rotary_emb.inv_freq");
    cr_assert(convert_to(other, gguf, "auto", &err) == QUERN_OK, "%s", err.text);
    rename_in_file(gguf, "general.architecture", "general.architectura");
    check_unlike(dir, gguf, "general.architecture");
    free((void *)other);
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

/* ---- lists of tensors ---------------------------------------------------------------------------
 */

static const struct architecture *architecture_named(const char *name)
{
    for (const struct architecture *const *a = architectures; *a; a++)
        if (strcmp((*a)->name, name) == 0)
            return *a;
    cr_assert(0, "%s", name);
    return NULL;
}

/* The table of an architecture as a map; through its text and back. */
static void map_of_table(const struct architecture *a, struct tensor_map *m)
{
    struct tensor_map table = {0};
    struct quern_error err;
    size_t n;
    for (size_t k = 0; k < 8 && a->tensors[k]; k++)
        for (const struct tensor_rule *r = a->tensors[k]; r->from; r++) {
            const bool named = r->transform == STACK_NAMED;
            cr_assert(map_add(&table, r, named ? a->named_members : 0, 0, &err) == QUERN_OK, "%s",
                      err.text);
        }
    char *text = map_text(&table, &n);
    cr_assert(text != NULL);
    cr_assert(map_read(scratch_file("map.yml", (struct str){text, n}), m, &err) == QUERN_OK, "%s",
              err.text);
    cr_assert(m->nrules == table.nrules);
    for (uint32_t i = 0; i < m->nrules; i++)
        cr_expect(strcmp(m->rules[i].from, table.rules[i].from) == 0 &&
                  strcmp(m->rules[i].to, table.rules[i].to) == 0 &&
                  m->rules[i].transform == table.rules[i].transform &&
                  m->rules[i].rank == table.rules[i].rank && m->members[i] == table.members[i]);
    free(text);
    map_free(&table);
}

/* RWKV stacks six vectors of different names. */
Test(like, a_map_stacks_tensors_by_name)
{
    char want[65], got[65];
    struct tensor_map map;
    struct quern_error err;
    struct json *root = read_models("architectures.json");
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "arch-rwkv7"));
    const char *whole = scratch("whole.gguf"), *like = scratch("like.gguf");
    cr_assert(convert_to(dir, whole, "bf16", &err) == QUERN_OK, "%s", err.text);
    map_of_table(architecture_named("rwkv7"), &map);
    const struct convert_request r = {
        .output = like, .type = "bf16", .like = whole, .map = &map, .force = true};
    cr_assert(convert_with(dir, &r, NULL, &err) == QUERN_OK, "%s", err.text);
    digest_of(whole, want);
    digest_of(like, got);
    cr_expect_str_eq(got, want);
    map_free(&map);
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

/* q, k and v of a model that has them in one: three tensors, each with its part of the rows. */
static void write_split(const char *dir, const char *to)
{
    struct model *m;
    struct quern_error err;
    static const uint64_t rows[] = {64, 32, 32};
    static const char *const parts = "qkv";
    struct arena arena = {0};
    cr_assert(model_open(dir, &m, &err) == QUERN_OK, "%s", err.text);
    struct blob *blobs = calloc(m->ntensors * 3, sizeof *blobs);
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->ntensors; i++) {
        const struct tensor *t = &m->tensors[i];
        const bool fused = str_ends(t->name, "qkv_proj.weight");
        const uint64_t width = t->nbytes / t->dims[0];
        uint64_t first = 0;
        for (unsigned k = 0; k < (fused ? 3 : 1); k++) {
            struct blob *b = &blobs[n++];
            uint64_t *dims = ARENA_NEW(&arena, uint64_t, t->ndims);
            memcpy(dims, t->dims, t->ndims * sizeof *dims);
            dims[0] = fused ? rows[k] : t->dims[0];
            const char *name = fused ? arena_printf(&arena, "%.*s%c_proj.weight",
                                                    (int)(t->name.n - strlen("qkv_proj.weight")),
                                                    t->name.p, parts[k])
                                     : t->name.p;
            b->t = (struct st_tensor){.name = str_from(name),
                                      .dims = dims,
                                      .ndims = t->ndims,
                                      .dtype = t->dtype,
                                      .nbytes = dims[0] * width};
            b->data = malloc(b->t.nbytes);
            cr_assert(model_pread(m, t->file, b->data, b->t.nbytes, t->offset + first * width,
                                  &err) == QUERN_OK);
            first += dims[0];
        }
    }
    write_blobs(to, blobs, n);
    for (uint32_t i = 0; i < n; i++)
        free(blobs[i].data);
    free(blobs);
    model_close(m);
    arena_free(&arena);
}

static const char phi_rules[] =
    "tensors:\n"
    "  - {from: model.embed_tokens.weight, to: token_embd.weight}\n"
    "  - {from: model.norm.weight, to: output_norm.weight}\n"
    "  - {from: lm_head.weight, to: output.weight}\n"
    "  - from: [%s]\n"
    "    to: 'blk.{i}.attn_qkv.weight'\n"
    "    how: %s\n"
    "  - {from: 'model.layers.{i}.self_attn.o_proj', to: 'blk.{i}.attn_output'}\n"
    "  - {from: 'model.layers.{i}.mlp.gate_up_proj', to: 'blk.{i}.ffn_up'}\n"
    "  - {from: 'model.layers.{i}.mlp.down_proj', to: 'blk.{i}.ffn_down'}\n"
    "  - {from: 'model.layers.{i}.input_layernorm', to: 'blk.{i}.attn_norm'}\n"
    "  - {from: 'model.layers.{i}.post_attention_layernorm', to: 'blk.{i}.ffn_norm'}\n";

#define Q "'model.layers.{i}.self_attn.q_proj.weight'"
#define K "'model.layers.{i}.self_attn.k_proj.weight'"
#define V "'model.layers.{i}.self_attn.v_proj.weight'"

static enum quern_status convert_joined(const char *dir, const char *names, const char *how,
                                        struct quern_error *err)
{
    char text[2000];
    const int n = snprintf(text, sizeof text, phi_rules, names, how);
    const struct convert_request r = {.output = scratch("joined.gguf"),
                                      .type = "auto",
                                      .like = scratch("whole.gguf"),
                                      .map_path =
                                          scratch_file("map.yml", (struct str){text, (size_t)n}),
                                      .force = true};
    return convert_with(dir, &r, NULL, err);
}

Test(like, a_map_joins_rows)
{
    static const struct {
        const char *names, *how, *says;
    } wrong[] = {
        {Q ", " K,        "join",      "v_proj"                                    },
        {Q,               "join",      "a list has 1 names, expected 2 to 64"      },
        {Q ", " K ", " V, "stack",     "its shape or type is not that of the first"},
        {Q ", " K ", " V, "permute-q", "permute-q has a list of names"             },
    };
    char want[65], got[65];
    struct quern_error err;
    struct json *root = read_models("golden.json");
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "phi3")), *whole = scratch("whole.gguf");
    cr_assert(convert_to(dir, whole, "auto", &err) == QUERN_OK, "%s", err.text);
    const char *parts = scratch("parts.safetensors");
    write_split(dir, parts);
    cr_assert(rename(parts, weights_in(dir)) == 0);
    cr_assert(convert_joined(dir, Q ", " K ", " V, "join", &err) == QUERN_OK, "%s", err.text);
    digest_of(whole, want);
    digest_of(scratch("joined.gguf"), got);
    cr_expect_str_eq(got, want);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const enum quern_status s = convert_joined(dir, wrong[i].names, wrong[i].how, &err);
        cr_expect(s != QUERN_OK && strstr(err.text, wrong[i].says), "%zu: %s", i, err.text);
    }
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

/* ---- numbers of a template ----------------------------------------------------------------------
 */

static void add_meta(struct model *m, const char *key, const void *value, size_t n, uint64_t count)
{
    bool fresh;
    struct meta *k = model_new_meta(m);
    cr_assert(k != NULL);
    *k = (struct meta){
        .key = str_from(key),
        .value = {value, n},
        .count = count,
        .type = count ? META_ARRAY : META_U32,
        .item_type = META_U32
    };
    cr_assert(
        name_table_add(&m->meta_index, k->key, m->nmetas - 1, model_meta_key, m, &fresh, NULL));
}

/* Where layers have different numbers of heads, the size of a head says how many there are. */
Test(like, heads_counted_for_every_layer)
{
    static const uint32_t kv[2] = {1, 2}, dim = 8;
    struct architecture arch = {.name = "x", .classes = ""};
    struct quern_error err;
    struct conversion c = {.arch = &arch, .nkv_heads = 1, .plan = plan_new("convert", &err)};
    struct source from;
    float values[16], got[16];
    uint64_t moved = 0;
    cr_assert(model_new("t.gguf", 0, &c.like, &err) == QUERN_OK);
    add_meta(c.like, "x.attention.head_count_kv", kv, sizeof kv, 2);
    add_meta(c.like, "x.attention.key_length", &dim, sizeof dim, 0);
    like_numbers(&c);
    cr_expect(c.nkv_heads == 0 && c.head_dim == 8);
    for (unsigned i = 0; i < 16; i++)
        values[i] = (float)i;
    cr_assert(fixed_source(&c.plan->arena, STR("k"), values, 16, &from, &err) == QUERN_OK);
    const struct tensor_rule rule = {.transform = PERMUTE_K};
    cr_assert(convert_transform(&c, &rule, &from, "y", (struct str){"", 0}, &err) == QUERN_OK, "%s",
              err.text);
    const struct source *to = &c.steps[0].sources[0];
    void *scratch = calloc(1, source_scratch_bytes(to, false) + 1);
    cr_assert(source_read(to, scratch, false, 0, 16, got, &moved, &err) == QUERN_OK);
    free(scratch);
    for (unsigned i = 0; i < 16; i++)
        cr_expect(got[i] == (float)(i / 8 * 8 + i % 2 * 4 + i % 8 / 2), "%u: %g", i,
                  (double)got[i]);
    free(c.steps);
    model_close(c.like);
    plan_free(c.plan);
    CHECK_LEAKS();
}
