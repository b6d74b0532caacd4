/* arena.h - memory that is freed all at once, together with its owner. */
#ifndef QUERN_ARENA_H
#define QUERN_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "str.h"

struct arena_block;

/* All zero is a valid empty arena. */
struct arena {
    struct arena_block *head;
    size_t nbytes; /* taken from the system so far: what --mem counts */
};

/* 16-byte aligned, not cleared. NULL when the system has no more or the size overflows. */
void *arena_alloc(struct arena *a, uint64_t nbytes);
void *arena_array(struct arena *a, uint64_t count, size_t item_bytes); /* cleared */
#define ARENA_NEW(a, type, count) ((type *)arena_array((a), (count), sizeof(type)))

/* Copies with a terminating NUL; .p is NULL when memory ran out. */
struct str arena_str(struct arena *a, struct str s);
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

void arena_free(struct arena *a);

#endif
