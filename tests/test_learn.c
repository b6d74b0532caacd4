/* test_learn.c - rules that are learnt from a pair, and pairs nothing can be learnt from. */
#include "convert/learn.h"
#include "tests/like_fixture.h"

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

Test(learn, learnt_rules_do_the_same)
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
Test(learn, equal_tensors_need_known_names)
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
Test(learn, biases_of_zero_follow_their_weights)
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

Test(learn, pairs_that_are_none_are_refused)
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
Test(learn, unknown_orders_are_refused)
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

/* ---- bent files ---------------------------------------------------------------------------------
 */

/* Bytes of the header, most of them of the part that tells of tensors, become others. */
static void bend(struct str good, uint64_t header, char *bytes, uint64_t *state)
{
    const uint64_t end = header < 1400 ? header : 1400;
    memcpy(bytes, good.p, good.n);
    for (unsigned k = 0; k < 1 + *state % 3; k++) {
        *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        const uint64_t at = *state >> 33;
        bytes[k ? header - 1 - at % end : at % header] = (char)(*state >> 24);
    }
}

static enum quern_status plan_like(const char *dir, const char *template, const char *map,
                                   struct quern_error *err)
{
    struct model *m;
    struct plan *p;
    const struct convert_request r = {.output = scratch("no.gguf"),
                                      .type = "like",
                                      .like = template,
                                      .map_path = map,
                                      .force = true};
    cr_assert(model_open(dir, &m, err) == QUERN_OK, "%s", err->text);
    const enum quern_status s = convert_plan(m, &r, &p, err);
    if (s == QUERN_OK)
        plan_free(p);
    model_close(m);
    return s;
}

static enum quern_status learn_bent(const char *dir, const char *gguf, struct quern_error *err)
{
    struct learning *l = NULL;
    struct model *hf, *made;
    struct plan *p;
    enum quern_status s = model_open(gguf, &made, err);
    if (s != QUERN_OK)
        return s;
    cr_assert(model_open(dir, &hf, err) == QUERN_OK, "%s", err->text);
    s = learn_new(hf, made, &l, err);
    while (s == QUERN_OK && (s = learn_next(l, &p, err)) == QUERN_OK && p) {
        s = plan_run(p, NULL, NULL, err);
        plan_free(p);
    }
    learn_free(l);
    model_close(hf);
    model_close(made);
    return s;
}

static void check_verdict(enum quern_status s, const struct quern_error *err)
{
    cr_assert(s == QUERN_OK || (err->kind[0] && err->text[0] && s != QUERN_EINTERNAL), "%d %s", s,
              err->text);
}

/* Refused, or used; sanitizers watch the rest. */
Test(learn, bent_templates)
{
    struct quern_error err;
    struct arena arena = {0};
    struct str good;
    struct model *m;
    struct json *root = read_models("golden.json");
    uint64_t state = 1, nrefused = 0;
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "mixtral"));
    char gguf[512];
    snprintf(gguf, sizeof gguf, "%s", scratch("base.gguf"));
    cr_assert(convert_to(dir, gguf, "auto", &err) == QUERN_OK, "%s", err.text);
    cr_assert(model_open(gguf, &m, &err) == QUERN_OK, "%s", err.text);
    const uint64_t header = m->files[0].data_start;
    model_close(m);
    cr_assert(read_small_file(gguf, 64u << 20, &arena, &good, &err) == QUERN_OK);
    char *bytes = arena_alloc(&arena, good.n);
    for (unsigned round = 0; round < 300; round++) {
        bend(good, header, bytes, &state);
        put_file("", gguf + 1, (struct str){bytes, good.n});
        enum quern_status s = plan_like(dir, gguf, NULL, &err);
        check_verdict(s, &err);
        nrefused += s != QUERN_OK;
        if (round % 8 == 0) {
            s = learn_bent(dir, gguf, &err);
            check_verdict(s, &err);
        }
    }
    cr_expect(nrefused > 50 && nrefused < 300, "%" PRIu64, nrefused);
    arena_free(&arena);
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

Test(learn, bent_maps)
{
    struct quern_error err;
    struct arena arena = {0};
    struct learning *l;
    struct model *hf, *made;
    struct json *root = read_models("golden.json");
    uint64_t state = 7, nrefused = 0;
    size_t n;
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "mixtral"));
    char gguf[512];
    snprintf(gguf, sizeof gguf, "%s", scratch("base.gguf"));
    cr_assert(convert_to(dir, gguf, "auto", &err) == QUERN_OK, "%s", err.text);
    cr_assert(learn_from(dir, gguf, &l, &hf, &made, &err) == QUERN_OK, "%s", err.text);
    char *text = map_text(learn_map(l), &n);
    cr_assert(text != NULL);
    learn_free(l);
    model_close(hf);
    model_close(made);
    char *bytes = arena_alloc(&arena, n);
    for (unsigned round = 0; round < 400; round++) {
        bend((struct str){text, n}, n, bytes, &state);
        const enum quern_status s =
            plan_like(dir, gguf, scratch_file("map.yml", (struct str){bytes, n}), &err);
        check_verdict(s, &err);
        nrefused += s != QUERN_OK;
    }
    cr_expect(nrefused > 300 && nrefused < 400, "%" PRIu64, nrefused);
    free(text);
    arena_free(&arena);
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}
