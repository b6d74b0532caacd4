/* recipe_reader.c - mistakes, notes and words while a recipe is read. */
#include "merge/recipe_reader.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

void reader_wrong(struct reader *d, const struct yaml_node *n, enum quern_status status,
                  const char *kind, const char *format, ...)
{
    char text[900];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct quern_error *e = mistake(&d->m);
    /* A recipe made of options has no lines to speak of. */
    if (d->r->path && n)
        fail(e, status, kind, "line %" PRIu32 ": %s", n->line, text);
    else
        fail(e, status, kind, "%s", text);
    in_file(e, d->r->path, status);
}

void *reader_memory(struct reader *d, void *p)
{
    if (!p)
        d->memory = QUERN_EMEMORY;
    return p;
}

void reader_note(struct reader *d, const char *format, ...)
{
    struct recipe *r = d->r;
    char buffer[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(buffer, sizeof buffer, format, args);
    va_end(args);
    for (uint32_t i = 0; i < r->nnotes; i++)
        if (strcmp(r->notes[i], buffer) == 0)
            return;
    char *text = reader_memory(d, arena_printf(&r->arena, "%s", buffer));
    const char **notes = reader_memory(d, ARENA_NEW(&r->arena, const char *, r->nnotes + 1));
    if (!notes || !text)
        return;
    if (r->nnotes)
        memcpy(notes, r->notes, r->nnotes * sizeof *notes);
    notes[r->nnotes++] = text;
    r->notes = notes;
}

const char *node_kind(const struct yaml_node *n)
{
    if (n->kind == YAML_IS_LIST)
        return "a list";
    if (n->kind == YAML_IS_MAP)
        return "a map";
    return yaml_is_null(n) ? "nothing" : "text";
}

bool reader_text(struct reader *d, const struct yaml_node *n, const char *what,
                 const char *expected, struct str *out)
{
    if (n->kind == YAML_IS_SCALAR && !yaml_is_null(n) && n->text.n > 0) {
        *out = n->text;
        return true;
    }
    reader_wrong(d, n, QUERN_EUSAGE, "recipe", "%s is %s" WANT "expected %s", what, node_kind(n),
                 expected);
    return false;
}

void reader_unknown_key(struct reader *d, const struct yaml_node *n, const char *where,
                        const char *const *keys, size_t nkeys)
{
    const char *near = closest(n->key, keys, nkeys);
    if (near)
        reader_wrong(d, n, QUERN_EUSAGE, "unknown-key",
                     "unknown key '%s' in %s" WANT "did you mean '%s'?", quoted(n->key).text, where,
                     near);
    else
        reader_wrong(d, n, QUERN_EUSAGE, "unknown-key", "unknown key '%s' in %s",
                     quoted(n->key).text, where);
}
