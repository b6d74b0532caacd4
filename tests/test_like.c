/* test_like.c - GGUFs made like a template: whole files, differences, maps. */
#include "convert/learn.h"
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

/* Experts in MXFP4 are made of two tensors each; six vectors of RWKV become one matrix. */
static bool cannot_be_learnt(const char *name, const struct quern_error *err)
{
    return (strcmp(name, "gpt-oss") == 0 && strstr(err->text, "blk.{i}.ffn_down_exps.weight")) ||
           (strcmp(name, "arch-rwkv7") == 0 && strstr(err->text, "blk.{i}.time_mix_lerp_fused"));
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
