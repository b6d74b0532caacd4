/* carry.c - copy tokenizer and configuration files beside new weights. */
#include "carry.h"

#include "config_edit.h"

#define MAX_CONFIG (1u << 20)

static const struct carried {
    const char *name;
    bool of_tokenizer;
} carried[] = {
    {"added_tokens.json",              true },
    {"chat_template.jinja",            true },
    {"chat_template.json",             true },
    {"config.json",                    false},
    {"generation_config.json",         false},
    {"merges.txt",                     true },
    {"preprocessor_config.json",       false},
    {"processor_config.json",          false},
    {"sentencepiece.bpe.model",        true },
    {"special_tokens_map.json",        true },
    {"spiece.model",                   true },
    {"tekken.json",                    true },
    {"tokenizer.json",                 true },
    {"tokenizer.model",                true },
    {"tokenizer_config.json",          true },
    {"video_preprocessor_config.json", false},
    {"vocab.json",                     true },
    {"vocab.txt",                      true },
};

const char *torch_dtype_name(enum dtype d)
{
    switch (d) {
    case DTYPE_F64:
        return "float64";
    case DTYPE_F32:
        return "float32";
    case DTYPE_F16:
        return "float16";
    case DTYPE_BF16:
        return "bfloat16";
    default:
        return NULL;
    }
}

enum quern_status config_with_dtype(struct arena *arena, struct str config, enum dtype dtype,
                                    struct str *out, struct quern_error *err)
{
    static const char *const paths[] = {"torch_dtype", "dtype"};
    const char *name = torch_dtype_name(dtype);
    bool any = false, found;
    struct str value;
    *out = config;
    if (!name)
        return QUERN_OK;
    const char *text = arena_printf(arena, "\"%s\"", name);
    if (!text)
        return fail_memory(err, 32);
    for (size_t i = 0; i < 2; i++) {
        const struct config_edit edit = {.path = paths[i], .value = str_from(text)};
        TRY(config_find(arena, *out, paths[i], &found, &value, err));
        /* An object under this name would be something else. */
        found = found && (value.p[0] == '"' || value.p[0] == 'n');
        if (found)
            TRY(config_apply(arena, *out, &edit, 1, out, err));
        any |= found;
    }
    const struct config_edit edit = {.path = paths[0], .value = str_from(text), .add = true};
    return any ? QUERN_OK : config_apply(arena, *out, &edit, 1, out, err);
}

enum quern_status read_config(const char *dir, struct arena *arena, struct str *out,
                              struct quern_error *err)
{
    *out = (struct str){NULL, 0};
    const char *path = path_join(arena, dir, "config.json");
    if (!path)
        return fail_memory(err, strlen(dir));
    return path_exists(path) ? read_small_file(path, MAX_CONFIG, arena, out, err) : QUERN_OK;
}

/* NULL when a file of this name stays behind. */
static const struct carried *find_carried(const char *name)
{
    for (size_t i = 0; i < sizeof carried / sizeof *carried; i++)
        if (strcmp(name, carried[i].name) == 0)
            return &carried[i];
    return NULL;
}

const char *carried_name(size_t i)
{
    return i < sizeof carried / sizeof *carried ? carried[i].name : NULL;
}

void plan_leave_tokenizer(struct plan *p)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->nsides; i++) {
        const struct carried *c = find_carried(p->sides[i].name);
        if (!c || !c->of_tokenizer)
            p->sides[kept++] = p->sides[i];
    }
    p->nsides = kept;
}

static bool is_weights(const char *name)
{
    const struct str s = str_from(name);
    return str_ends(s, ".safetensors") || str_is(s, "model.safetensors.index.json");
}

static enum quern_status carry_entry(struct plan *p, const char *dir, const char *name,
                                     const struct str *config, struct quern_error *err)
{
    if (name[0] == '.' || is_weights(name))
        return QUERN_OK;
    if (!find_carried(name))
        return plan_note(p, err, "left behind: %s", quoted(str_from(name)).text);
    const char *path = path_join(&p->arena, dir, name);
    if (!path)
        return fail_memory(err, strlen(dir));
    if (config && strcmp(name, "config.json") == 0)
        return plan_add_side_text(p, "config.json", *config, err);
    return plan_add_side_copy(p, name, path, err);
}

enum quern_status plan_carry_over(struct plan *p, const char *dir, const struct str *config,
                                  struct quern_error *err)
{
    struct arena arena = {0};
    const char **names;
    uint32_t n = 0;
    enum quern_status s = path_list(dir, &arena, &names, &n, err);
    for (uint32_t i = 0; s == QUERN_OK && i < n; i++)
        s = carry_entry(p, dir, names[i], config, err);
    arena_free(&arena);
    return s;
}
