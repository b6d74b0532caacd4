/* mutate_files.c - change an input that is several files: one of them, or which there are. */
#include <string.h>

#include "fuzz.h"

#define MAX_PARTS 32
#define HEAD      3u /* bytes in front of a text */

static size_t read_parts(const struct mutation *m, size_t starts[MAX_PARTS + 1])
{
    size_t n = 0, at = 0;
    while (n < MAX_PARTS && m->n - at >= HEAD) {
        const size_t text = m->p[at + 1] | (size_t)m->p[at + 2] << 8;
        starts[n++] = at;
        at = text < m->n - at - HEAD ? at + HEAD + text : m->n;
    }
    starts[n] = at;
    return n;
}

static void change_inside(struct mutation *m, mutate_fn *how, size_t at, size_t end)
{
    static uint8_t text[1u << 16];
    const size_t n = end - at - HEAD;
    memcpy(text, m->p + at + HEAD, n);
    struct mutation inner = {.p = text,
                             .n = n,
                             .room = sizeof text - 1,
                             .chance = m->chance,
                             .any_change = m->any_change};
    if (inner.room > m->room - m->n + n)
        inner.room = m->room - m->n + n;
    (how ? how : mutate_bytes)(&inner);
    m->chance = inner.chance;
    if (mutation_splice(m, at + HEAD, n, text, inner.n)) {
        m->p[at + 1] = (uint8_t)inner.n;
        m->p[at + 2] = (uint8_t)(inner.n >> 8);
    }
}

void mutate_files(struct mutation *m, mutate_fn *const *mutators, uint32_t nmutators)
{
    size_t starts[MAX_PARTS + 1];
    const size_t nparts = read_parts(m, starts);
    const uint8_t empty[] = {(uint8_t)chance_below(m, nmutators), 2, 0, '{', '}'};
    const uint32_t what = chance_below(m, 24);
    if (nparts == 0 || what == 0) {
        mutation_splice(m, starts[chance_below(m, (uint32_t)nparts + 1)], 0, empty, sizeof empty);
        return;
    }
    const uint32_t i = chance_below(m, (uint32_t)nparts);
    if (what == 1)
        mutation_splice(m, starts[i], starts[i + 1] - starts[i], NULL, 0);
    else if (what == 2)
        m->p[starts[i]] = (uint8_t)chance_below(m, nmutators);
    else
        change_inside(m, mutators[m->p[starts[i]] % nmutators], starts[i], starts[i + 1]);
}
