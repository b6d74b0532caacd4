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

/* The type that word in braces stands for, with its letters; NULL when it is none. */
static char *expand(struct arena *arena, struct str word, const char *type)
{
    const bool capital = str_is(word, "FTYPE") || str_is(word, "OUTTYPE");
    char *text = arena_printf(arena, "%s", type);
    if (text)
        to_upper(text);
    for (char *p = text; p && *p && !capital; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    return text;
}

static bool is_known(struct str word)
{
    return word.n == 0 || str_is(word, "ftype") || str_is(word, "outtype") ||
           str_is(word, "FTYPE") || str_is(word, "OUTTYPE");
}

enum quern_status output_fill_name(struct arena *arena, const char *path, const char *type,
                                   const char **out, struct quern_error *err)
{
    const char *p = path_base(path);
    const char *text = arena_printf(arena, "%.*s", (int)(p - path), path);
    *out = path;
    if (!strpbrk(p, "{}"))
        return QUERN_OK;
    while (*p && text) {
        const size_t plain = strcspn(p, "{}");
        const char *insert = "";
        size_t n = plain;
        if (p[plain] && p[plain] == p[plain + 1]) {
            insert = p[plain] == '{' ? "{" : "}";
            n += 2;
        } else if (p[plain]) {
            const struct str word = {p + plain + 1, strcspn(p + plain + 1, "{}")};
            if (p[plain] == '}' || word.p[word.n] != '}' || !is_known(word))
                return fail(err, QUERN_EUSAGE, "usage",
                            "OUTPUT '%s' has braces" WANT
                            "expected {ftype} or {FTYPE} in them, or {{ and }} for braces",
                            quoted(str_from(path)).text);
            insert = expand(arena, word, type);
            n += word.n + 2;
        }
        text = insert ? arena_printf(arena, "%s%.*s%s", text, (int)plain, p, insert) : NULL;
        p += n;
    }
    *out = text;
    return text ? QUERN_OK : fail_memory(err, strlen(path));
}
