/* output_name.c - name output files the way llama.cpp's converter does. */
#include "output_name.h"

#include <stdio.h>

/* Nothing of it may be taken for a directory. */
static char *as_word(struct arena *arena, const char *before, struct str s)
{
    while (s.n && strchr(" \t\r\n", s.p[0]))
        s = (struct str){s.p + 1, s.n - 1};
    while (s.n && strchr(" \t\r\n", s.p[s.n - 1]))
        s.n--;
    char *word = arena_printf(arena, "%s%.*s", s.n ? before : "", STR_ARG(s));
    for (char *p = word; p && *p; p++)
        if (*p == ' ' || *p == '/')
            *p = '-';
    return word;
}

static struct str key_text(const struct meta_list *keys, const char *key)
{
    struct str text = {0};
    for (uint32_t i = 0; i < keys->count; i++)
        if (str_is(keys->items[i].key, key))
            meta_string(&keys->items[i], &text);
    return text;
}

static void to_upper(char *p)
{
    for (; *p; p++)
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
}

enum quern_status output_default_name(struct arena *arena, const char *dir,
                                      const struct meta_list *keys, const char *type,
                                      enum output_content content, const char **out,
                                      struct quern_error *err)
{
    static const char *const kinds[] = {
        [OUTPUT_MODEL] = "", [OUTPUT_VOCAB] = "-vocab", [OUTPUT_ADAPTER] = "-LoRA"};
    const bool vocab = content == OUTPUT_VOCAB;
    struct str name = key_text(keys, "general.basename");
    if (!name.n)
        name = key_text(keys, "general.name");
    const struct str sizes = vocab ? STR("") : key_text(keys, "general.size_label");
    char *words[] = {
        as_word(arena, "", name.n ? name : STR("ggml-model")),
        as_word(arena, "-", sizes),
        as_word(arena, "-", key_text(keys, "general.finetune")),
        as_word(arena, "-", key_text(keys, "general.version")),
        as_word(arena, "-", vocab ? STR("") : str_from(type)),
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!words[i])
            return fail_memory(err, 256);
    to_upper(words[4]);
    const char *file = arena_printf(arena, "%s%s%s%s%s%s.gguf", words[0], words[1], words[2],
                                    words[3], words[4], kinds[content]);
    *out = file ? path_join(arena, dir, file) : NULL;
    return *out ? QUERN_OK : fail_memory(err, strlen(dir));
}

/* The type for the word that p begins with, with its letters; NULL when it is none. */
static char *expand(struct arena *arena, const char *p, const char *type, size_t *length)
{
    static const char *const words[] = {"{ftype}", "{outtype}", "{FTYPE}", "{OUTTYPE}"};
    size_t k = 0;
    while (k < 4 && strncmp(p, words[k], strlen(words[k])) != 0)
        k++;
    char *text = k < 4 ? arena_printf(arena, "%s", type) : NULL;
    if (!text)
        return NULL;
    *length = strlen(words[k]);
    to_upper(text);
    for (char *c = text; *c && k < 2; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    return text;
}

enum quern_status output_fill_name(struct arena *arena, const char *path, const char *type,
                                   const char **out, struct quern_error *err)
{
    const char *p = path_base(path);
    const char *text = arena_printf(arena, "%.*s", (int)(p - path), path);
    while (text && *p) {
        size_t length = 1;
        const char *word = *p == '{' ? expand(arena, p, type, &length) : NULL;
        text =
            word ? arena_printf(arena, "%s%s", text, word) : arena_printf(arena, "%s%c", text, *p);
        p += length;
    }
    *out = text;
    return text ? QUERN_OK : fail_memory(err, strlen(path));
}
