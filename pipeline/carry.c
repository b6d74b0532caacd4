/* carry.c - copy tokenizer and configuration files beside new weights. */
#include "carry.h"

#include <dirent.h>
#include <stdlib.h>

#include "core/pull.h"

#define MAX_CONFIG (1u << 20)

static const char *const carried[] = {
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tekken.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
    "vocab.json",
    "vocab.txt",
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

/* Where the value of the top-level key that names the dtype lies; from == to when there is none. */
static enum quern_status find_dtype(struct pull *p, size_t *from, size_t *to, size_t *brace,
                                    struct quern_error *err)
{
    *from = *to = *brace = 0;
    if (pull_next(p) != PULL_OBJECT)
        return fail(err, QUERN_EFORMAT, "json",
                    "it does not begin with '{'" WANT "expected a JSON object");
    *brace = p->at;
    for (enum pull_token t; (t = pull_next(p)) != PULL_OBJECT_END;) {
        if (t == PULL_ERROR)
            return pull_fail(p, 0, err);
        const bool ours = str_is(p->str, "torch_dtype") || str_is(p->str, "dtype");
        t = pull_next(p);
        const size_t start = p->token_at;
        if (!pull_skip(p, t))
            return pull_fail(p, 0, err);
        if (ours && (t == PULL_STRING || t == PULL_NULL)) {
            *from = start;
            *to = p->at;
        }
    }
    return pull_next(p) == PULL_END ? QUERN_OK : pull_fail(p, 0, err);
}

enum quern_status config_with_dtype(struct arena *arena, struct str config, const char *name,
                                    struct str *out, struct quern_error *err)
{
    /* The reader unescapes in place: give it a copy, positions stay the same. */
    const struct str copy = arena_str(arena, config);
    if (!copy.p)
        return fail_memory(err, config.n);
    struct pull p;
    size_t from, to, brace = 0;
    pull_start(&p, (char *)copy.p, copy.n);
    p.nonfinite = true;
    TRY(find_dtype(&p, &from, &to, &brace, err));
    size_t next = brace;
    while (next < config.n && strchr(" \t\r\n", config.p[next]))
        next++;
    const char *comma = next < config.n && config.p[next] == '}' ? "" : ",";
    char *text =
        to ? arena_printf(arena, "%.*s\"%s\"%.*s", (int)from, config.p, name, (int)(config.n - to),
                          config.p + to)
           : arena_printf(arena, "%.*s\n  \"torch_dtype\": \"%s\"%s%.*s", (int)brace, config.p,
                          name, comma, (int)(config.n - brace), config.p + brace);
    if (!text)
        return fail_memory(err, config.n);
    *out = str_from(text);
    return QUERN_OK;
}

static enum quern_status carry_config(struct plan *p, const char *path, enum dtype dtype,
                                      struct quern_error *err)
{
    struct str text;
    TRY(read_small_file(path, MAX_CONFIG, &p->arena, &text, err));
    const char *name = torch_dtype_name(dtype);
    if (name)
        TRY(in_file(err, path, config_with_dtype(&p->arena, text, name, &text, err)));
    return plan_add_side_text(p, "config.json", text, err);
}

static bool is_carried(const char *name)
{
    for (size_t i = 0; i < sizeof carried / sizeof *carried; i++)
        if (strcmp(name, carried[i]) == 0)
            return true;
    return false;
}

static bool is_weights(const char *name)
{
    const struct str s = str_from(name);
    return str_ends(s, ".safetensors") || str_is(s, "model.safetensors.index.json");
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static enum quern_status carry_entry(struct plan *p, const char *dir, const char *name,
                                     enum dtype dtype, struct quern_error *err)
{
    if (name[0] == '.' || is_weights(name))
        return QUERN_OK;
    if (!is_carried(name))
        return plan_note(p, err, "left behind: %s", quoted(str_from(name)).text);
    const char *path = path_join(&p->arena, dir, name);
    if (!path)
        return fail_memory(err, strlen(dir));
    if (strcmp(name, "config.json") == 0)
        return carry_config(p, path, dtype, err);
    return plan_add_side_copy(p, name, path, err);
}

enum quern_status plan_carry_over(struct plan *p, const char *dir, enum dtype dtype,
                                  struct quern_error *err)
{
    struct dirent **entries;
    const int n = scandir(dir, &entries, NULL, by_name);
    if (n < 0)
        return fail_errno(err, dir, "read the directory");
    enum quern_status s = QUERN_OK;
    for (int i = 0; i < n; i++) {
        if (s == QUERN_OK)
            s = carry_entry(p, dir, entries[i]->d_name, dtype, err);
        free(entries[i]);
    }
    free(entries);
    return s;
}
