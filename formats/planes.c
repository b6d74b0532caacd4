/* planes.c - split and join, in plain loops that the compiler turns into vectors. */
#include "planes.h"

#include <string.h>

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#error "numbers are little-endian here as in the files"
#endif

/* Numbers worked on at a time: all their bytes stay in the nearest cache. */
#define GROUP 1024u

/* Written once for every width; shifts by constants are what the compiler can vectorise. */
#define CODE_FOR(TYPE, SIGNED, BITS)                                                               \
    static void rotate_##BITS(TYPE *x, size_t n)                                                   \
    {                                                                                              \
        for (size_t i = 0; i < n; i++)                                                             \
            x[i] = (TYPE)(x[i] << 1 | x[i] >> (BITS - 1));                                         \
    }                                                                                              \
    static void rotate_back_##BITS(TYPE *x, size_t n)                                              \
    {                                                                                              \
        for (size_t i = 0; i < n; i++)                                                             \
            x[i] = (TYPE)(x[i] >> 1 | x[i] << (BITS - 1));                                         \
    }                                                                                              \
    /* Negative floats run downwards: all their bits turn round, else only the sign. */            \
    static TYPE ordered_##BITS(TYPE x)                                                             \
    {                                                                                              \
        const TYPE negative = (TYPE)((SIGNED)x >> (BITS - 1));                                     \
        return (TYPE)(x ^ (negative | (TYPE)((TYPE)1 << (BITS - 1))));                             \
    }                                                                                              \
    static TYPE unordered_##BITS(TYPE x)                                                           \
    {                                                                                              \
        const TYPE positive = (TYPE)((SIGNED)x >> (BITS - 1));                                     \
        return (TYPE)(x ^ ((TYPE)~positive | (TYPE)((TYPE)1 << (BITS - 1))));                      \
    }                                                                                              \
    static void subtract_##BITS(TYPE *x, const TYPE *base, size_t n)                               \
    {                                                                                              \
        for (size_t i = 0; i < n; i++) {                                                           \
            const TYPE d = (TYPE)(ordered_##BITS(x[i]) - ordered_##BITS(base[i]));                 \
            x[i] = (TYPE)((TYPE)(d << 1) ^ (TYPE)((SIGNED)d >> (BITS - 1)));                       \
        }                                                                                          \
    }                                                                                              \
    static void add_##BITS(TYPE *x, const TYPE *base, size_t n)                                    \
    {                                                                                              \
        for (size_t i = 0; i < n; i++) {                                                           \
            const TYPE d = (TYPE)(x[i] >> 1 ^ (TYPE)(0 - (x[i] & 1)));                             \
            x[i] = unordered_##BITS((TYPE)(ordered_##BITS(base[i]) + d));                          \
        }                                                                                          \
    }                                                                                              \
    static void scatter_##BITS(const TYPE *x, size_t n, size_t stride, uint8_t *planes)            \
    {                                                                                              \
        for (unsigned k = 0; k < BITS / 8; k++)                                                    \
            for (size_t i = 0; i < n; i++)                                                         \
                planes[k * stride + i] = (uint8_t)(x[i] >> 8 * k);                                 \
    }                                                                                              \
    static void gather_##BITS(TYPE *restrict x, size_t n, size_t stride,                           \
                              const uint8_t *restrict planes)                                      \
    {                                                                                              \
        for (size_t i = 0; i < n; i++)                                                             \
            x[i] = planes[i];                                                                      \
        for (unsigned k = 1; k < BITS / 8; k++)                                                    \
            for (size_t i = 0; i < n; i++)                                                         \
                x[i] = (TYPE)(x[i] | (TYPE)((TYPE)planes[k * stride + i] << 8 * k));               \
    }                                                                                              \
    static void split_group_##BITS(const uint8_t *x, const uint8_t *base, size_t n, size_t stride, \
                                   uint8_t *planes)                                                \
    {                                                                                              \
        TYPE v[GROUP], b[GROUP];                                                                   \
        memcpy(v, x, n * sizeof *v);                                                               \
        if (base) {                                                                                \
            memcpy(b, base, n * sizeof *b);                                                        \
            subtract_##BITS(v, b, n);                                                              \
        } else {                                                                                   \
            rotate_##BITS(v, n);                                                                   \
        }                                                                                          \
        scatter_##BITS(v, n, stride, planes);                                                      \
    }                                                                                              \
    static void join_group_##BITS(const uint8_t *planes, size_t stride, size_t n, int delta,       \
                                  uint8_t *x)                                                      \
    {                                                                                              \
        TYPE v[GROUP], b[GROUP];                                                                   \
        gather_##BITS(v, n, stride, planes);                                                       \
        if (delta) {                                                                               \
            memcpy(b, x, n * sizeof *b);                                                           \
            add_##BITS(v, b, n);                                                                   \
        } else {                                                                                   \
            rotate_back_##BITS(v, n);                                                              \
        }                                                                                          \
        memcpy(x, v, n * sizeof *v);                                                               \
    }

CODE_FOR(uint8_t, int8_t, 8)
CODE_FOR(uint16_t, int16_t, 16)
CODE_FOR(uint32_t, int32_t, 32)
CODE_FOR(uint64_t, int64_t, 64)

static void split_groups(const uint8_t *x, const uint8_t *base, unsigned width, size_t n,
                         uint8_t *planes)
{
    for (size_t i = 0; i < n; i += GROUP) {
        const size_t some = n - i < GROUP ? n - i : GROUP;
        const uint8_t *from = x + i * width, *b = base ? base + i * width : NULL;
        if (width == 1)
            split_group_8(from, b, some, n, planes + i);
        else if (width == 2)
            split_group_16(from, b, some, n, planes + i);
        else if (width == 4)
            split_group_32(from, b, some, n, planes + i);
        else
            split_group_64(from, b, some, n, planes + i);
    }
}

static void join_groups(const uint8_t *planes, unsigned width, size_t n, int delta, uint8_t *x)
{
    for (size_t i = 0; i < n; i += GROUP) {
        const size_t some = n - i < GROUP ? n - i : GROUP;
        uint8_t *to = x + i * width;
        if (width == 1)
            join_group_8(planes + i, n, some, delta, to);
        else if (width == 2)
            join_group_16(planes + i, n, some, delta, to);
        else if (width == 4)
            join_group_32(planes + i, n, some, delta, to);
        else
            join_group_64(planes + i, n, some, delta, to);
    }
}

void planes_split(const uint8_t *x, unsigned width, size_t n, uint8_t *planes)
{
    split_groups(x, NULL, width, n, planes);
}

void planes_join(const uint8_t *planes, unsigned width, size_t n, uint8_t *x)
{
    join_groups(planes, width, n, 0, x);
}

void planes_split_delta(const uint8_t *x, const uint8_t *base, unsigned width, size_t n,
                        uint8_t *planes)
{
    split_groups(x, base, width, n, planes);
}

void planes_join_delta(const uint8_t *planes, unsigned width, size_t n, uint8_t *x)
{
    join_groups(planes, width, n, 1, x);
}
