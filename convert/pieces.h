/* pieces.h - a growing list of texts. */
#ifndef QUERN_PIECES_H
#define QUERN_PIECES_H

#include "core/arena.h"

struct pieces {
    struct arena *arena;
    struct str *items;
    size_t n, capacity;
};

/* False when memory ran out. Empty texts are not kept. */
static inline bool pieces_add(struct pieces *l, struct str s)
{
    if (s.n == 0)
        return true;
    if (l->n == l->capacity) {
        const size_t bigger = l->capacity ? l->capacity * 2 : 128;
        struct str *items = ARENA_NEW(l->arena, struct str, bigger);
        if (!items)
            return false;
        if (l->n)
            memcpy(items, l->items, l->n * sizeof *items);
        l->items = items;
        l->capacity = bigger;
    }
    l->items[l->n++] = s;
    return true;
}

#endif
