/* front_matter.c - read the YAML at the head of README.md. */
#include "front_matter.h"

#define MAX_README (4u << 20)

/* The text between the first line, ---, and the next such line. Tabs become blanks and a lone "no"
 * in a list stays a word: the language, not the truth value. */
static bool front_matter(struct str text, struct arena *arena, struct str *out)
{
    static const char no[] = "- no\n", quoted_no[] = "- \"no\"\n";
    char *p = arena_alloc(arena, text.n * 2 + 1);
    size_t n = 0;
    *out = (struct str){0};
    if (!p)
        return false;
    if (!str_starts(text, "---\n") && !str_starts(text, "---\r\n"))
        return true;
    for (size_t i = 4 + (text.p[3] == '\r'); i < text.n;) {
        const char *end = memchr(text.p + i, '\n', text.n - i);
        const size_t line = end ? (size_t)(end - text.p) + 1 - i : text.n - i;
        const struct str s = {text.p + i, line};
        if (str_starts(s, "---") && (line == 3 || s.p[3] == '\n' || s.p[3] == '\r'))
            break;
        if (str_ends(s, no) && n + sizeof quoted_no < text.n * 2) {
            memcpy(p + n, s.p, line - (sizeof no - 1));
            n += line - (sizeof no - 1);
            memcpy(p + n, quoted_no, sizeof quoted_no - 1);
            n += sizeof quoted_no - 1;
        } else {
            for (size_t k = 0; k < line; k++) {
                p[n++] = s.p[k] == '\t' ? ' ' : s.p[k];
                if (s.p[k] == '\t')
                    p[n++] = ' ';
            }
        }
        i += line;
    }
    p[n] = '\0';
    *out = (struct str){p, n};
    return true;
}

enum quern_status read_model_card(const struct folder *folder, struct plan *p,
                                  const struct yaml_node **card, struct quern_error *err)
{
    struct str text, yaml;
    struct quern_error why;
    *card = NULL;
    struct folder_file file;
    bool found;
    TRY(folder_find(folder, "README.md", &p->arena, &found, &file, err));
    if (!found)
        return QUERN_OK;
    TRY(folder_read(&file, MAX_README, &p->arena, &text, err));
    if (!front_matter(text, &p->arena, &yaml))
        return fail_memory(err, text.n);
    if (yaml.n == 0)
        return QUERN_OK;
    const enum quern_status s = yaml_parse(yaml, "README.md", &p->arena, card, &why);
    if (s == QUERN_EMEMORY)
        return fail_memory(err, text.n);
    if (s == QUERN_OK && (*card)->kind == YAML_IS_MAP)
        return QUERN_OK;
    *card = NULL;
    return plan_note(p, err, "the front matter of README.md is not used: %s",
                     s == QUERN_OK ? "it is no map" : why.text);
}
