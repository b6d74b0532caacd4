/* mutate_json.c - change a JSON text by its values: copy, drop, double, replace one of them. */
#include <inttypes.h>
#include <string.h>

#include "fuzz.h"

#define MAX_VALUES 512
#define MAX_DEPTH  64

/* A value, with its key when it is a member: bytes [at, end); the value itself begins at value. */
struct item {
    size_t at, value, end;
};

struct json_map {
    struct item items[MAX_VALUES];
    size_t nitems;
};

static size_t string_end(const struct mutation *m, size_t at, size_t end)
{
    for (size_t i = at + 1; i < end; i++)
        if (m->p[i] == '\\')
            i++;
        else if (m->p[i] == '"')
            return i + 1;
    return end;
}

static size_t skip_blanks(const struct mutation *m, size_t at, size_t end)
{
    while (at < end && m->p[at] <= ' ')
        at++;
    return at;
}

static size_t scalar_end(const struct mutation *m, size_t at, size_t end)
{
    if (m->p[at] == '"')
        return string_end(m, at, end);
    while (at < end && m->p[at] > ' ' && !strchr(",:[]{}\"", m->p[at]))
        at++;
    return at;
}

/* Every place where a value may begin; roughly right is enough. */
static void read_items(const struct mutation *m, size_t end, struct json_map *j)
{
    size_t open[MAX_DEPTH], depth = 0, key = end;
    j->nitems = 0;
    for (size_t i = 0; i < end && j->nitems < MAX_VALUES;) {
        const uint8_t c = m->p[i];
        if (c <= ' ' || c == ',' || c == ':') {
            i++;
            continue;
        }
        if (c == '}' || c == ']') {
            if (depth > 0)
                j->items[open[--depth]].end = i + 1;
            i++;
            continue;
        }
        const bool opens = c == '{' || c == '[';
        const size_t stop = opens ? i + 1 : scalar_end(m, i, end);
        const size_t next = skip_blanks(m, stop, end);
        if (c == '"' && key == end && next < end && m->p[next] == ':') {
            key = i;
            i = next + 1;
            continue;
        }
        if (opens && depth < MAX_DEPTH)
            open[depth++] = j->nitems;
        j->items[j->nitems++] =
            (struct item){.at = key < end ? key : i, .value = i, .end = opens ? end : stop};
        key = end;
        i = stop;
    }
}

static const char *const literals[] = {
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1e400",
    "18446744073709551616",
    "9007199254740993",
    "0.5",
    "\"\"",
    "[]",
    "{}",
    "[[]]",
    "{\"\":null}",
    "\"\\u0000\"",
    "NaN",
    "\"\\ud83d\\ude00\"",
};

static void put_literal(struct mutation *m, const struct item *t)
{
    const uint32_t i = chance_below(m, sizeof literals / sizeof *literals + 4);
    char number[24];
    const char *text = number;
    if (i < sizeof literals / sizeof *literals)
        text = literals[i];
    else
        snprintf(number, sizeof number, "%" PRIu64, odd_number(m));
    mutation_splice(m, t->value, t->end - t->value, text, strlen(text));
}

static void copy_item(struct mutation *m, const struct item *from, const struct item *to, bool over)
{
    static char copy[8192];
    const size_t n = from->end - from->at;
    if (n + 1 > sizeof copy)
        return;
    memcpy(copy, m->p + from->at, n);
    copy[n] = ',';
    if (over)
        mutation_splice(m, to->at, to->end - to->at, copy, n);
    else
        mutation_splice(m, to->at, 0, copy, n + 1);
}

static void change_inside(struct mutation *m, const struct item *t)
{
    static uint8_t text[1024];
    const size_t n = t->end - t->value;
    if (n == 0 || n > sizeof text / 2)
        return;
    const bool quoted = m->p[t->value] == '"' && n >= 2 && chance_below(m, 4);
    const size_t inner = quoted ? n - 2 : n, at = t->value + quoted;
    memcpy(text, m->p + at, inner);
    mutation_splice(m, at, inner, text, m->any_change(text, inner, sizeof text));
}

void mutate_json(struct mutation *m)
{
    static struct json_map j;
    read_items(m, m->n, &j);
    if (j.nitems == 0) {
        mutate_bytes(m);
        return;
    }
    const struct item a = j.items[chance_below(m, (uint32_t)j.nitems)];
    const struct item b = j.items[chance_below(m, (uint32_t)j.nitems)];
    switch (chance_below(m, 8)) {
    case 0:
        put_literal(m, &a);
        break;
    case 1:
        copy_item(m, &a, &b, true);
        break;
    case 2:
        copy_item(m, &a, &b, false);
        break;
    case 3: /* the comma behind it goes, too */
        mutation_splice(m, a.at, a.end - a.at + (a.end < m->n && m->p[a.end] == ','), NULL, 0);
        break;
    case 4:
    case 5:
        change_inside(m, &a);
        break;
    case 6: { /* the value only */
        const struct item from = {.at = a.value, .end = a.end}, to = {.at = b.value, .end = b.end};
        copy_item(m, &from, &to, true);
        break;
    }
    default:
        mutate_bytes(m);
    }
}
