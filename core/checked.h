/* checked.h - arithmetic on sizes that come from files: false instead of a wrap. */
#ifndef QUERN_CHECKED_H
#define QUERN_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

static inline bool checked_add(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline bool checked_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* Round up to a multiple of align, a power of two. */
static inline bool checked_align(uint64_t a, uint64_t align, uint64_t *out)
{
    uint64_t sum;
    if (!checked_add(a, align - 1, &sum))
        return false;
    *out = sum & ~(align - 1);
    return true;
}

#endif
