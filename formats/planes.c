/* planes.c - split and join with the widest vectors there are. */
#include "planes.h"

#include "planes_loops.h"

PLANES_LOOPS_OF_ALL(plain, )
static const struct planes_loops plain[4] = PLANES_TABLE(plain);

#if defined(__x86_64__)
#define TARGET_AVX2 __attribute__((target("avx2")))
PLANES_LOOPS_OF_ALL(avx2, TARGET_AVX2)
static const struct planes_loops avx2[4] = PLANES_TABLE(avx2);
#endif

static const struct planes_loops *loops_of(unsigned width)
{
    const struct planes_loops *all = plain;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        all = avx2;
#endif
    return &all[width == 1 ? 0 : width == 2 ? 1 : width == 4 ? 2 : 3];
}

void planes_split(const uint8_t *x, unsigned width, size_t n, uint8_t *planes)
{
    loops_of(width)->split(x, n, n, planes);
}

void planes_join(const uint8_t *const planes[], unsigned width, size_t n, uint8_t *x)
{
    loops_of(width)->join(planes, n, x);
}

void planes_split_delta(const uint8_t *x, const uint8_t *base, unsigned width, size_t n,
                        uint8_t *planes)
{
    loops_of(width)->split_delta(x, base, n, n, planes);
}

void planes_join_delta(const uint8_t *const planes[], unsigned width, size_t n, uint8_t *x)
{
    loops_of(width)->join_delta(planes, n, x);
}
