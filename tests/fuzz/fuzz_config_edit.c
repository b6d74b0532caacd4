/* fuzz_config_edit.c - values of any JSON text changed in place: it stays JSON, with the new ones.
 */
#include "core/json.h"
#include "fuzz.h"
#include "pipeline/config_edit.h"

static const struct config_edit edits[] = {
    {.path = "torch_dtype", .value = {"\"bfloat16\"", 10}, .add = true},
    {.path = "num_hidden_layers",                     .value = {"7", 1}                       },
    {.path = "text_config.num_hidden_layers",                     .value = {"7", 1},.add = true},
    {.path = "quantization_config",          .remove = true                                                  },
    {.path = "a.b.c",.value = {"[]", 2},.add = true},
    {.path = "a",      .remove = true                                               },
};
#define NEDITS (sizeof edits / sizeof *edits)

static enum quern_status see(void *user, struct str key, struct str list, struct quern_error *err)
{
    struct str *items;
    size_t n;
    const enum quern_status s = config_items(user, list, &items, &n, err);
    FUZZ_CHECK(key.p != NULL);
    for (size_t i = 0; s == QUERN_OK && i < n; i++)
        FUZZ_CHECK(items[i].p >= list.p && items[i].p + items[i].n <= list.p + list.n);
    return s;
}

static void run(char *text, size_t n)
{
    struct arena a = {0};
    struct quern_error err;
    struct str value, out;
    bool found;
    const struct str config = arena_str(&a, (struct str){text, n});
    struct json *root;
    const bool is_json = !fuzz_failed(json_parse(config, &root, &err), &err);
    for (size_t i = 0; i < NEDITS; i++) {
        if (fuzz_failed(config_find(&a, config, edits[i].path, &found, &value, &err), &err))
            continue;
        if (fuzz_failed(config_apply(&a, config, &edits[i], 1, &out, &err), &err))
            continue;
        if (!is_json) /* or a key is there twice */
            continue;
        struct json *changed;
        FUZZ_CHECK(json_parse(out, &changed, &err) == QUERN_OK);
        json_free(changed);
        bool still;
        FUZZ_CHECK(config_find(&a, out, edits[i].path, &still, &value, &err) == QUERN_OK);
        FUZZ_CHECK(edits[i].remove ? !still : !found || str_eq(value, edits[i].value));
    }
    fuzz_failed(config_apply(&a, config, edits, NEDITS, &out, &err), &err);
    fuzz_failed(config_lists(&a, config, "", see, &a, &err), &err);
    fuzz_failed(config_lists(&a, config, "weight_map", see, &a, &err), &err);
    if (is_json)
        json_free(root);
    arena_free(&a);
}

static const char *const words[] = {"\"torch_dtype\":",
                                    "\"num_hidden_layers\":",
                                    "\"text_config\":{",
                                    "\"quantization_config\":{",
                                    "\"a\":{\"b\":{\"c\":1}}",
                                    "\"weight_map\":{\"a\":[1]}",
                                    NULL};

const struct fuzz_target fuzz_config_edit = {
    .name = "config_edit",
    .max_len = 512,
    .run = run,
    .mutate = mutate_json,
    .bytes_per_byte = 256,
    .bytes_besides = 98304,
    .words = words,
};
