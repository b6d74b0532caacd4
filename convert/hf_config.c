/* hf_config.c - read config.json and fill in what configuration classes would. */
#include "hf_config.h"

#include <stdio.h>
#include <string.h>

#include "config_classes.h"

static enum quern_status parse(struct str text, struct json **out, struct quern_error *err)
{
    TRY(json_parse(text, out, err));
    if (json_is_object(*out))
        return QUERN_OK;
    json_free(*out);
    *out = NULL;
    return fail(err, QUERN_EFORMAT, "json", "it is no JSON object");
}

enum quern_status hf_json_file(const struct hf_config *c, const char *name, struct json **out,
                               struct quern_error *err)
{
    struct arena scratch = {0};
    struct folder_file file;
    struct str text = {0};
    bool found = false;
    *out = NULL;
    enum quern_status s = folder_find(c->folder, name, &scratch, &found, &file, err);
    if (s == QUERN_OK && found)
        s = folder_read(&file, JSON_MAX_BYTES, &scratch, &text, err);
    if (s == QUERN_OK && found)
        s = in_file(err, file.path, json_parse(text, out, err));
    arena_free(&scratch);
    return s;
}

/* The text model's configuration goes by several names in models of several parts. */
static const struct json *text_part(const struct json *root)
{
    static const char *const names[] = {"text_config", "llm_config", "lm_config", "language_config",
                                        "lfm"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct json *part = json_get(root, names[i]);
        if (json_is_object(part))
            return part;
    }
    const struct json *part = json_get(json_get(root, "thinker_config"), "text_config");
    return json_is_object(part) ? part : root;
}

/* The defaults of a class, as JSON: key=value key=value becomes {"key":value,"key":value}. */
static enum quern_status fill_defaults(struct hf_config *c, const struct config_class *class,
                                       struct quern_error *err)
{
    const size_t room = 4 * strlen(class->defaults) + 8;
    char *text = arena_alloc(&c->arena, room);
    size_t n = 0;
    if (!text)
        return fail_memory(err, room);
    text[n++] = '{';
    text[n++] = '"';
    for (const char *p = class->defaults; *p; p++) {
        const char *as = *p == ' ' ? ",\"" : *p == '=' ? "\":" : NULL;
        if (!as) {
            text[n++] = *p;
            continue;
        }
        text[n++] = as[0];
        text[n++] = as[1];
    }
    text[n++] = '}';
    return parse((struct str){text, n}, &c->defaults, err);
}

/* In a model of several parts, only a class that knows of them fills in those of the text part. */
static const struct config_class *class_of(struct hf_config *c)
{
    struct str root = {0}, text_type;
    if (c->text == c->root)
        return config_class_find(c->model_type);
    if (!json_text(json_get(c->root, "model_type"), &root) ||
        !config_class_of_parts(root, &text_type))
        return NULL;
    if (json_text(json_get(c->text, "model_type"), &text_type))
        c->model_type = text_type;
    return config_class_find(text_type);
}

static bool absent_or_null(const struct json *v, bool null_only)
{
    return v ? json_is_null(v) : !null_only;
}

/* The values that a class makes of others when they are not given. */
static enum quern_status compute(struct hf_config *c, const struct config_class *class,
                                 struct quern_error *err)
{
    uint64_t nheads = 0, hidden = 0, dim;
    char text[128];
    size_t n = 0;
    if (!hf_u64(c, "num_attention_heads", &nheads) || nheads == 0)
        return QUERN_OK;
    const struct json *kv = hf_get(c, "num_key_value_heads"), *given = hf_get(c, "head_dim");
    const bool follows = class->computes & DIM_FOLLOWS_HEADS && absent_or_null(given, false);
    n += (size_t)snprintf(text + n, sizeof text - n, "{");
    if (class->computes & KV_FOLLOW_HEADS && absent_or_null(kv, false))
        n += (size_t)snprintf(text + n, sizeof text - n, "\"num_key_value_heads\":%llu",
                              (unsigned long long)nheads);
    if ((follows || (class->computes & DIM_IF_ABSENT && !given)) &&
        hf_u64(c, "hidden_size", &hidden)) {
        dim = hidden / nheads;
        n += (size_t)snprintf(text + n, sizeof text - n, "%s\"head_dim\":%llu", n > 1 ? "," : "",
                              (unsigned long long)dim);
    }
    n += (size_t)snprintf(text + n, sizeof text - n, "}");
    return parse((struct str){text, n}, &c->computed, err);
}

static void take_architecture(struct hf_config *c)
{
    const struct json *first = json_first(json_get(c->text, "architectures"));
    if (!json_text(first, &c->architecture)) {
        first = json_first(json_get(c->root, "architectures"));
        json_text(first, &c->architecture);
    }
    if (!json_text(json_get(c->text, "model_type"), &c->model_type))
        json_text(json_get(c->root, "model_type"), &c->model_type);
}

static enum quern_status read_config(struct hf_config *c, struct quern_error *err)
{
    struct folder_file file;
    struct str text;
    bool found;
    TRY(folder_find(c->folder, "config.json", &c->arena, &found, &file, err));
    c->path = file.path;
    if (!found)
        return fail(err, QUERN_EUNSUPPORTED, "no-config",
                    "there is no config.json beside the weights" WANT
                    "expected a Hugging Face directory with one");
    TRY(folder_read(&file, JSON_MAX_BYTES, &c->arena, &text, err));
    TRY(parse(text, &c->file, err));
    c->root = c->file;
    c->text = text_part(c->root);
    take_architecture(c);
    const struct config_class *class = class_of(c);
    if (class) {
        TRY(fill_defaults(c, class, err));
        TRY(compute(c, class, err));
    }
    c->rope = hf_get(c, "rope_parameters");
    if (!json_is_object(c->rope))
        c->rope = hf_get(c, "rope_scaling");
    if (!json_is_object(c->rope))
        c->rope = NULL;
    return QUERN_OK;
}

enum quern_status hf_config_open(const struct folder *f, struct hf_config *c,
                                 struct quern_error *err)
{
    *c = (struct hf_config){.folder = f};
    const enum quern_status s = read_config(c, err);
    return c->path ? in_file(err, c->path, s) : s;
}

void hf_config_close(struct hf_config *c)
{
    json_free(c->file);
    json_free(c->defaults);
    json_free(c->computed);
    arena_free(&c->arena);
    *c = (struct hf_config){0};
}

const struct json *hf_get(const struct hf_config *c, const char *key)
{
    const struct json *v = json_get(c->computed, key);
    if (!v)
        v = json_get(c->text, key);
    if (!v)
        v = json_get(c->defaults, key);
    return v ? v : json_get(c->root, key);
}

bool hf_u64(const struct hf_config *c, const char *key, uint64_t *out)
{
    return json_u64(hf_get(c, key), out);
}

bool hf_f64(const struct hf_config *c, const char *key, double *out)
{
    return json_f64(hf_get(c, key), out);
}

bool hf_bool(const struct hf_config *c, const char *key, bool *out)
{
    return json_bool(hf_get(c, key), out);
}

bool hf_text(const struct hf_config *c, const char *key, struct str *out)
{
    return json_text(hf_get(c, key), out);
}
