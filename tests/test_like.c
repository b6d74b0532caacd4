/* test_like.c - GGUFs made like a template: whole files, differences, maps. */
#include "convert/map.h"
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
