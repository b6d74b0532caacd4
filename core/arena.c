/* arena.c - a chain of growing blocks. */
#include "arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "checked.h"

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    _Alignas(16) unsigned char data[];
};

/* For sanitizers: every item in a block of its own and of its exact size. */
#ifdef ARENA_ITEMS_APART
static const bool apart = true;
#else
static const bool apart = false;
#endif

void *arena_alloc(struct arena *a, uint64_t nbytes)
{
    if (nbytes > SIZE_MAX / 2)
        return NULL;
    const size_t need = apart ? (size_t)nbytes : ((size_t)nbytes + 15) & ~(size_t)15;
    struct arena_block *b = a->head;
    if (apart || !b || b->size - b->used < need) {
        /* Blocks double up to 1 MiB, so that small objects stay small. */
        size_t size = b ? b->size * 2 : 1024;
        if (size > (1u << 20))
            size = 1u << 20;
        if (apart || size < need)
            size = need;
        b = malloc(sizeof *b + size);
        if (!b)
            return NULL;
        a->nbytes += sizeof *b + size;
        b->size = size;
        b->used = 0;
        if (a->head && need > (1u << 19)) {
            /* A big item gets a block of its own behind the current one. */
            b->next = a->head->next;
            a->head->next = b;
        } else {
            b->next = a->head;
            a->head = b;
        }
    }
    void *p = b->data + b->used;
    b->used += need;
    return p;
}

void *arena_array(struct arena *a, uint64_t count, size_t item_bytes)
{
    uint64_t nbytes;
    if (!checked_mul(count, item_bytes, &nbytes))
        return NULL;
    void *p = arena_alloc(a, nbytes);
    if (p)
        memset(p, 0, (size_t)nbytes);
    return p;
}

struct str arena_str(struct arena *a, struct str s)
{
    char *p = s.n < SIZE_MAX / 2 ? arena_alloc(a, s.n + 1) : NULL;
    if (!p)
        return (struct str){NULL, 0};
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return (struct str){p, s.n};
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (!p)
        return NULL;
    va_start(args, format);
    vsnprintf(p, (size_t)n + 1, format, args);
    va_end(args);
    return p;
}

void arena_free(struct arena *a)
{
    struct arena_block *b = a->head;
    while (b) {
        struct arena_block *next = b->next;
        free(b);
        b = next;
    }
    *a = (struct arena){0};
}
