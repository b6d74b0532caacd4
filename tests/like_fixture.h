/* like_fixture.h - what tests of templates and of learning share: checkpoints that are bent. */
#ifndef QUERN_TESTS_LIKE_FIXTURE_H
#define QUERN_TESTS_LIKE_FIXTURE_H

#include "tests/checkpoint.h"

static inline void digest_of(const char *path, char hex[65])
{
    struct quern_error err;
    cr_assert(sha256_file(path, hex, &err) == QUERN_OK, "%s", err.text);
}

/* config.json as the model has it, but for the values given as JSON. */
static inline void write_config(const struct json *model, const char *dir,
                                const char *const *changed)
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

/* Other names of the same length. */
static inline void rename_in_file(const char *path, const char *old, const char *now)
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

static inline const char *weights_in(const char *dir)
{
    static char path[1200];
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    return path;
}

#endif
