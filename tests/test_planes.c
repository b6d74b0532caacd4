/* test_planes.c - numbers come back from their planes, by whatever instructions. */
#include <criterion/criterion.h>

#include "formats/planes.h"
#include "formats/planes_loops.h"

PLANES_LOOPS_OF_ALL(plain, )

enum { MOST = 3000 };

static uint8_t x[MOST * 8], base[MOST * 8];

static void fill(void)
{
    uint64_t state = 7;
    for (size_t i = 0; i < sizeof x; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        x[i] = (uint8_t)(state >> 33);
        base[i] = state >> 63 ? x[i] : (uint8_t)(state >> 41);
    }
}

static void point(const uint8_t *planes, unsigned width, size_t n, const uint8_t *at[MAX_PLANES])
{
    for (unsigned k = 0; k < width; k++)
        at[k] = planes + k * n;
}

Test(planes, come_back_whatever_the_numbers)
{
    uint8_t planes[MOST * 8], back[MOST * 8];
    const uint8_t *at[MAX_PLANES];
    fill();
    for (unsigned width = 1; width <= 8; width *= 2)
        for (size_t n = 0; n <= MOST; n += n < 70 ? 1 : 293) {
            point(planes, width, n, at);
            planes_split(x, width, n, planes);
            planes_join(at, width, n, back);
            cr_assert_arr_eq(back, x, n * width, "width %u, %zu numbers", width, n);
            planes_split_delta(x, base, width, n, planes);
            memcpy(back, base, n * width);
            planes_join_delta(at, width, n, back);
            cr_assert_arr_eq(back, x, n * width, "delta of width %u, %zu numbers", width, n);
        }
}

/* What is chosen here has the same planes as plain loops, which other processors get. */
Test(planes, are_the_same_by_plain_loops)
{
    static const struct planes_loops plain[4] = PLANES_TABLE(plain);
    enum { N = 1001 };
    uint8_t want[N * 8], got[N * 8];
    const uint8_t *at[MAX_PLANES];
    fill();
    for (unsigned i = 0; i < 4; i++) {
        const unsigned width = 1u << i;
        plain[i].split(x, N, N, want);
        planes_split(x, width, N, got);
        cr_assert_arr_eq(got, want, (size_t)N * width, "width %u", width);
        point(want, width, N, at);
        plain[i].join(at, N, got);
        cr_assert_arr_eq(got, x, (size_t)N * width, "joined, width %u", width);
        plain[i].split_delta(x, base, N, N, want);
        planes_split_delta(x, base, width, N, got);
        cr_assert_arr_eq(got, want, (size_t)N * width, "delta, width %u", width);
        memcpy(got, base, (size_t)N * width);
        plain[i].join_delta(at, N, got);
        cr_assert_arr_eq(got, x, (size_t)N * width, "delta joined, width %u", width);
    }
}

/* As docs/pack-format.md has it. */
Test(planes, differences_of_neighbours_are_small_across_zero)
{
    /* BF16: 0 and the two smallest denormals of either sign; then 1.0 and the next one. */
    const uint16_t tuned[] = {0x0000, 0x0001, 0x8001, 0x3F81},
                   from[] = {0x8000, 0x8000, 0x0000, 0x3F80};
    const uint8_t want[] = {2, 4, 3, 2, 0, 0, 0, 0};
    uint8_t planes[8];
    planes_split_delta((const uint8_t *)tuned, (const uint8_t *)from, 2, 4, planes);
    cr_assert_arr_eq(planes, want, sizeof want);
}
