/* planes_loops.h - the loops over numbers of one width, for one instruction set.
 *
 * PLANES_LOOPS(TYPE, SIGNED, BITS, SET, TARGET) makes split_BITS_SET() and the like; compiler and
 * TARGET, a function attribute or nothing, decide what becomes of them. Shifts by constants and one
 * loop for all that happens to a number are what becomes vectors. */
#ifndef QUERN_PLANES_LOOPS_H
#define QUERN_PLANES_LOOPS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#error "numbers are little-endian here as in the files"
#endif

/* Planes lie stride bytes apart. x and base are numbers at any address. */
typedef void planes_split_fn(const uint8_t *restrict x, size_t n, size_t stride,
                             uint8_t *restrict planes);
typedef void planes_split_delta_fn(const uint8_t *restrict x, const uint8_t *restrict base,
                                   size_t n, size_t stride, uint8_t *restrict planes);
typedef void planes_join_fn(const uint8_t *const planes[], size_t n, uint8_t *restrict x);

#define PLANES_LOOPS(TYPE, SIGNED, BITS, SET, TARGET)                                              \
    typedef TYPE number_##BITS##_##SET __attribute__((aligned(1), may_alias));                     \
    TARGET static inline void put_##BITS##_##SET(TYPE v, size_t stride, uint8_t *planes)           \
    {                                                                                              \
        for (unsigned k = 0; k < BITS / 8; k++)                                                    \
            planes[k * stride] = (uint8_t)(v >> 8 * k);                                            \
    }                                                                                              \
    TARGET static inline TYPE get_##BITS##_##SET(const uint8_t *const planes[], size_t i)          \
    {                                                                                              \
        TYPE v = planes[0][i];                                                                     \
        for (unsigned k = 1; k < BITS / 8; k++)                                                    \
            v = (TYPE)(v | (TYPE)((TYPE)planes[k][i] << 8 * k));                                   \
        return v;                                                                                  \
    }                                                                                              \
    /* Negative floats run downwards: all their bits turn round, else only the sign. */            \
    TARGET static inline TYPE ordered_##BITS##_##SET(TYPE x)                                       \
    {                                                                                              \
        const TYPE negative = (TYPE)((SIGNED)x >> (BITS - 1));                                     \
        return (TYPE)(x ^ (negative | (TYPE)((TYPE)1 << (BITS - 1))));                             \
    }                                                                                              \
    TARGET static inline TYPE unordered_##BITS##_##SET(TYPE x)                                     \
    {                                                                                              \
        const TYPE positive = (TYPE)((SIGNED)x >> (BITS - 1));                                     \
        return (TYPE)(x ^ ((TYPE)~positive | (TYPE)((TYPE)1 << (BITS - 1))));                      \
    }                                                                                              \
    TARGET static void split_##BITS##_##SET(const uint8_t *restrict from, size_t n, size_t stride, \
                                            uint8_t *restrict planes)                              \
    {                                                                                              \
        const number_##BITS##_##SET *x = (const void *)from;                                       \
        for (size_t i = 0; i < n; i++)                                                             \
            put_##BITS##_##SET((TYPE)(x[i] << 1 | x[i] >> (BITS - 1)), stride, planes + i);        \
    }                                                                                              \
    TARGET static void split_delta_##BITS##_##SET(const uint8_t *restrict from,                    \
                                                  const uint8_t *restrict base, size_t n,          \
                                                  size_t stride, uint8_t *restrict planes)         \
    {                                                                                              \
        const number_##BITS##_##SET *x = (const void *)from, *y = (const void *)base;              \
        for (size_t i = 0; i < n; i++) {                                                           \
            const TYPE d = (TYPE)(ordered_##BITS##_##SET(x[i]) - ordered_##BITS##_##SET(y[i]));    \
            put_##BITS##_##SET((TYPE)((TYPE)(d << 1) ^ (TYPE)((SIGNED)d >> (BITS - 1))), stride,   \
                               planes + i);                                                        \
        }                                                                                          \
    }                                                                                              \
    TARGET static void join_##BITS##_##SET(const uint8_t *const planes[], size_t n,                \
                                           uint8_t *restrict to)                                   \
    {                                                                                              \
        number_##BITS##_##SET *restrict x = (void *)to;                                            \
        const uint8_t *at[BITS / 8];                                                               \
        memcpy(at, planes, sizeof at);                                                             \
        for (size_t i = 0; i < n; i++) {                                                           \
            const TYPE v = get_##BITS##_##SET(at, i);                                              \
            x[i] = (TYPE)(v >> 1 | v << (BITS - 1));                                               \
        }                                                                                          \
    }                                                                                              \
    TARGET static void join_delta_##BITS##_##SET(const uint8_t *const planes[], size_t n,          \
                                                 uint8_t *restrict to)                             \
    {                                                                                              \
        number_##BITS##_##SET *restrict x = (void *)to;                                            \
        const uint8_t *at[BITS / 8];                                                               \
        memcpy(at, planes, sizeof at);                                                             \
        for (size_t i = 0; i < n; i++) {                                                           \
            const TYPE v = get_##BITS##_##SET(at, i);                                              \
            const TYPE d = (TYPE)(v >> 1 ^ (TYPE)(0 - (v & 1)));                                   \
            x[i] = unordered_##BITS##_##SET((TYPE)(ordered_##BITS##_##SET(x[i]) + d));             \
        }                                                                                          \
    }

#define PLANES_LOOPS_OF_ALL(SET, TARGET)             \
    PLANES_LOOPS(uint8_t, int8_t, 8, SET, TARGET)    \
    PLANES_LOOPS(uint16_t, int16_t, 16, SET, TARGET) \
    PLANES_LOOPS(uint32_t, int32_t, 32, SET, TARGET) \
    PLANES_LOOPS(uint64_t, int64_t, 64, SET, TARGET)

struct planes_loops {
    planes_split_fn *split;
    planes_split_delta_fn *split_delta;
    planes_join_fn *join, *join_delta;
};

/* For a table of 4: widths of 1, 2, 4 and 8 bytes. */
#define PLANES_LOOPS_OF(BITS, SET)                                             \
    {                                                                          \
        split_##BITS##_##SET, split_delta_##BITS##_##SET, join_##BITS##_##SET, \
            join_delta_##BITS##_##SET                                          \
    }
#define PLANES_TABLE(SET)                                                            \
    {                                                                                \
        PLANES_LOOPS_OF(8, SET), PLANES_LOOPS_OF(16, SET), PLANES_LOOPS_OF(32, SET), \
            PLANES_LOOPS_OF(64, SET)                                                 \
    }

#endif
