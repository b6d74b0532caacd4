/* test_merge_kernels.c - kernels that merge: by hand, and every table against the scalar reference.
 */
#include <criterion/criterion.h>

#include "distributions.h"

/* ---- merging: small cases by hand
 * ----------------------------------------------------------------------- */

static bool close_to(float a, float b)
{
    return fabsf(a - b) <= 1e-6f * fabsf(b);
}

Test(merge_kernels, ties_by_hand)
{
    /*                     agree  disagree  tie: plus wins  nothing  cut off */
    const float base[] = {1.0f, 1.0f, 0.0f, 5.0f, 1.0f};
    const float a[] = {1.5f, 1.5f, 1.0f, 5.0f, 1.1f};
    const float b[] = {1.25f, 0.75f, -1.0f, 5.0f, 1.5f};
    const float *x[] = {a, b};
    const float w[] = {1.0f, 3.0f}, even[] = {1.0f, 1.0f};
    const uint32_t all[] = {0, 0}, cut[] = {f32_bits(0.25f), f32_bits(0.25f)};
    float y[5];
    for (size_t t = 0; codec_table(t); t++) {
        const struct kernels *k = codec_table(t);
        /* Consensus, divided by the weights that took part. */
        k->ties(y, base, x, w, all, 2, true, true, 1, 5);
        cr_assert(close_to(y[0], 1 + (0.5f + 0.75f) / 4)); /* both */
        cr_assert(close_to(y[1], 0.75f));                  /* 0.5 - 0.75 < 0: only b */
        cr_assert(close_to(y[2], -1.0f));                  /* 1 - 3 < 0: only b */
        cr_assert_eq(y[3], 5.0f);
        cr_assert(close_to(y[4], 1 + (0.1f + 1.5f) / 4));
        k->ties(y, base, x, even, all, 2, true, true, 1, 5);
        cr_assert(close_to(y[2], 1.0f)); /* 1 - 1 = 0 counts as plus */
        /* Cutting off takes a model's weight out of the vote and the divisor. */
        k->ties(y, base, x, w, cut, 2, true, true, 1, 5);
        cr_assert(close_to(y[4], 1.5f));
        /* Without consensus all weights divide. */
        k->ties(y, base, x, w, cut, 2, false, true, 1, 5);
        cr_assert(close_to(y[4], 1 + 1.5f / 4));
        cr_assert(close_to(y[1], 1 + (0.5f - 0.75f) / 4));
        /* Not divided; lambda. */
        k->ties(y, base, x, w, all, 2, true, false, 0.5f, 5);
        cr_assert(close_to(y[0], 1 + 1.25f * 0.5f));
        /* Weights that cancel: no division by 0. */
        const float cancel[] = {1.0f, -1.0f};
        k->ties(y, base, x, cancel, all, 2, false, true, 1, 5);
        cr_assert(close_to(y[0], 1.25f));
    }
}

Test(merge_kernels, weighted_sum_by_hand)
{
    const float a[] = {1, 2, 3}, b[] = {10, 20, 30}, *x[] = {a, b}, w[] = {0.5f, 0.25f};
    float y[3];
    for (size_t t = 0; codec_table(t); t++) {
        codec_table(t)->weighted_sum(y, x, w, 2, 3);
        cr_assert(y[0] == 3 && y[1] == 6 && y[2] == 9);
        codec_table(t)->weighted_sum(y, x, w, 1, 3);
        cr_assert(y[0] == 0.5f && y[1] == 1 && y[2] == 1.5f);
    }
}

/* The order of the sum is part of the contract: spelled out, not looped. */
Test(merge_kernels, dots_are_folded_in_the_promised_order)
{
    enum { LEN = 1000 };
    static float a[LEN], b[LEN];
    seed = 500;
    for (size_t i = 0; i < LEN; i++) {
        a[i] = d_six_decades(i);
        b[i] = d_six_decades(i);
    }
    double s[16] = {0};
    for (size_t i = 0; i < LEN; i++)
        s[i % 16] += (double)a[i] * b[i];
    const double want = (((s[0] + s[8]) + (s[4] + s[12])) + ((s[2] + s[10]) + (s[6] + s[14]))) +
                        (((s[1] + s[9]) + (s[5] + s[13])) + ((s[3] + s[11]) + (s[7] + s[15])));
    for (size_t t = 0; codec_table(t); t++) {
        double dots[3];
        codec_table(t)->pair_dots(a, b, LEN, dots);
        cr_assert_eq(dots[1], want, "%s", codec_table(t)->name);
        codec_table(t)->gram((const float *const[]){a, b}, NULL, 2, LEN, dots);
        cr_assert_eq(dots[1], want, "%s", codec_table(t)->name);
    }
}

Test(merge_kernels, radix_count_by_hand)
{
    const uint32_t mag[] = {0x12345678, 0x12340001, 0x00000000, 0x7fffffff, 0x12345679, 0x12ff0000};
    for (size_t t = 0; codec_table(t); t++) {
        const struct kernels *k = codec_table(t);
        static uint64_t h[65536];
        memset(h, 0, sizeof h);
        k->radix_count(mag, 6, 32, 0, 16, 0xffff, h);
        cr_assert(h[0x1234] == 3 && h[0] == 1 && h[0x7fff] == 1 && h[0x12ff] == 1);
        k->radix_count(mag, 6, 16, 0x1234, 0, 0xffff, h); /* adds to what is there */
        cr_assert(h[0x5678] == 1 && h[0x5679] == 1 && h[1] == 1 && h[0x1234] == 3);
        cr_assert_eq(k->count_equal(mag, 6, 0x7fffffff), 1);
        cr_assert_eq(k->count_equal(mag, 6, 5), 0);
    }
}

Test(merge_kernels, first_beyond_at_every_place)
{
    static float x[200];
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    const uint32_t inf = 0x7f800000, two = 0x40000000;
    for (size_t t = 0; table_under_test(t); t++) {
        const struct kernels *k = table_under_test(t);
        for (size_t n = 0; n <= 200; n++) {
            for (size_t i = 0; i < 200; i++)
                x[i] = i < n ? FLT_MAX : NAN; /* what comes after must not matter */
            cr_assert_eq(k->first_beyond(x, inf, n), n, "%s", k->name);
            if (n == 0)
                continue;
            x[n - 1] = bad[n % 3];
            cr_assert_eq(k->first_beyond(x, inf, n), n - 1, "%s", k->name);
            x[n / 2] = bad[n % 3];
            cr_assert_eq(k->first_beyond(x, inf, n), n / 2, "%s", k->name);
            for (size_t i = 0; i < 200; i++)
                x[i] = i < n ? nextafterf(2, 1) : NAN;
            cr_assert_eq(k->first_beyond(x, two, n), n, "%s", k->name);
            x[n / 2] = n % 2 ? 2 : -2;
            cr_assert_eq(k->first_beyond(x, two, n), n / 2, "%s", k->name);
        }
    }
}

/* ---- merging against the reference
 * ------------------------------------------------------------------------ */

enum { MERGE_N = 4096 + 7, MERGE_NX = 17 };

static float merge_x[MERGE_NX][MERGE_N], merge_base[MERGE_N];
static const float *merge_p[MERGE_NX];

/* Lengths around vector widths and one that is long. */
static size_t merge_length(size_t i)
{
    return i < 70 ? i : MERGE_N;
}

/* Models near a base, with exact zeros and equal values among the differences. */
static void fill_models(size_t distribution)
{
    fill(merge_base, MERGE_N, distribution);
    for (size_t m = 0; m < MERGE_NX; m++) {
        merge_p[m] = merge_x[m];
        fill(merge_x[m], MERGE_N, distribution);
        for (size_t i = 0; i < MERGE_N; i++)
            merge_x[m][i] = below(4) ? merge_base[i] + 0.125f * merge_x[m][i] : merge_base[i];
    }
}

static bool can_overflow(size_t distribution)
{
    const char *name = distributions[distribution].name;
    return strcmp(name, "huge") == 0 || strcmp(name, "any finite") == 0;
}

static void check_ties(size_t nx, size_t n, unsigned flags)
{
    static float want[MERGE_N], got[MERGE_N];
    float w[MERGE_NX];
    uint32_t cut[MERGE_NX];
    for (size_t m = 0; m < nx; m++) {
        w[m] = below(5) ? gauss() : (float)below(3) - 1;
        const float some = merge_p[m][below(MERGE_N)] - merge_base[below(MERGE_N)];
        cut[m] = below(4) ? f32_bits(some) & ~F32_SIGN : below(2) ? 0 : UINT32_MAX - below(2);
    }
    const float lambda = flags & 4 ? 0.7f : 1;
    kernels_reference.ties(want, merge_base, merge_p, w, cut, nx, flags & 1, flags & 2, lambda, n);
    for (size_t t = 0; table_under_test(t); t++) {
        const struct kernels *k = table_under_test(t);
        k->ties(got, merge_base, merge_p, w, cut, nx, flags & 1, flags & 2, lambda, n);
        cr_assert(memcmp(got, want, n * sizeof *got) == 0, "%s, %zu models, %zu, flags %u", k->name,
                  nx, n, flags);
    }
}

Test(merge_kernels, ties_equals_the_reference)
{
    for (size_t i = 0; i < NDISTRIBUTIONS; i++) {
        if (can_overflow(i))
            continue;
        seed = 600 + i;
        fill_models(i);
        for (size_t l = 0; l <= 70; l++)
            check_ties(1 + l % MERGE_NX, merge_length(l), (unsigned)(l + i) % 8);
        for (unsigned flags = 0; flags < 8; flags++)
            check_ties(3, MERGE_N, flags);
    }
}

Test(merge_kernels, products_equal_the_reference)
{
    enum { MOST = 80 };
    static float l[MOST * MOST], r[MOST * MOST], want[MOST * MOST], got[MOST * MOST];
    seed = 77;
    for (size_t i = 0; i < MOST * MOST; i++) {
        l[i] = gauss();
        r[i] = gauss();
    }
    for (unsigned round = 0; round < 400; round++) {
        struct product p = {.l = l, .r = r, .y_row = MOST, .r_row = MOST};
        p.rows = below(11);
        p.inner = below(20);
        p.cols = below(MOST + 1);
        const bool flipped = below(2) == 1;
        p.l_row = flipped ? 1 : MOST;
        p.l_col = flipped ? MOST : 1;
        memset(want, 0x55, sizeof want);
        p.y = want;
        kernels_reference.product(&p);
        for (size_t t = 0; table_under_test(t); t++) {
            const struct kernels *k = table_under_test(t);
            memset(got, 0x55, sizeof got);
            p.y = got;
            k->product(&p);
            cr_assert(memcmp(got, want, sizeof got) == 0, "%s: %zu x %zu x %zu", k->name, p.rows,
                      p.inner, p.cols);
        }
    }
}

#define NPAIRS (MERGE_NX * (MERGE_NX + 1) / 2)

Test(merge_kernels, other_merge_loops_equal_the_reference)
{
    static float want[MERGE_N], got[MERGE_N];
    static uint32_t want_mag[MERGE_N], got_mag[MERGE_N];
    for (size_t i = 0; i < NDISTRIBUTIONS; i++) {
        if (can_overflow(i))
            continue;
        seed = 700 + i;
        fill_models(i);
        for (size_t l = 0; l <= 70; l++) {
            const size_t n = merge_length(l), nx = l % (MERGE_NX + 1);
            const size_t npairs = nx * (nx + 1) / 2;
            float w[MERGE_NX];
            double want_dots[3], got_dots[3], want_gram[2][NPAIRS], got_gram[2][NPAIRS];
            for (size_t m = 0; m < MERGE_NX; m++)
                w[m] = gauss();
            kernels_reference.weighted_sum(want, merge_p, w, nx, n);
            kernels_reference.pair_dots(merge_p[0], merge_p[1], n, want_dots);
            kernels_reference.gram(merge_p, NULL, nx, n, want_gram[0]);
            kernels_reference.gram(merge_p, merge_base, nx, n, want_gram[1]);
            kernels_reference.delta_magnitude(want_mag, merge_p[0], merge_base, n);
            const uint32_t cut = want_mag[below(n ? (unsigned)n : 1)];
            const size_t count = kernels_reference.count_equal(want_mag, n, cut);
            for (size_t t = 0; table_under_test(t); t++) {
                const struct kernels *k = table_under_test(t);
                k->weighted_sum(got, merge_p, w, nx, n);
                cr_assert(memcmp(got, want, n * sizeof *got) == 0, "%s weighted_sum", k->name);
                k->pair_dots(merge_p[0], merge_p[1], n, got_dots);
                cr_assert(memcmp(got_dots, want_dots, sizeof got_dots) == 0, "%s dots", k->name);
                k->gram(merge_p, NULL, nx, n, got_gram[0]);
                k->gram(merge_p, merge_base, nx, n, got_gram[1]);
                for (size_t b = 0; b < 2; b++)
                    cr_assert(memcmp(got_gram[b], want_gram[b], npairs * sizeof(double)) == 0,
                              "%s gram of %zu, base %zu", k->name, nx, b);
                k->delta_magnitude(got_mag, merge_p[0], merge_base, n);
                cr_assert(memcmp(got_mag, want_mag, n * sizeof *got_mag) == 0, "%s magnitude",
                          k->name);
                cr_assert_eq(k->count_equal(want_mag, n, cut), count, "%s count", k->name);
            }
        }
    }
}

/* The divergence of rows, also of such whose exponentials underflow. */
Test(merge_kernels, divergence_equals_the_reference)
{
    static const float spreads[] = {0.02f, 1, 30, 1000};
    for (size_t i = 0; i < sizeof spreads / sizeof *spreads; i++)
        for (size_t l = 0; l <= 70; l++) {
            const size_t n = merge_length(l);
            double most[2] = {-INFINITY, -INFINITY};
            seed = 750 + l;
            for (size_t k = 0; k < 2; k++)
                for (size_t j = 0; j < n; j++) {
                    merge_x[k][j] = gauss() * spreads[i];
                    most[k] = fmax(most[k], (double)merge_x[k][j]);
                }
            const double sum[2] = {kernels_reference.exp_sum(merge_x[0], n, most[0]),
                                   kernels_reference.exp_sum(merge_x[1], n, most[1])};
            const double scale[2] = {1 / sum[0], 1 / sum[1]};
            const double want =
                kernels_reference.divergence(merge_x[0], merge_x[1], n, most, scale);
            cr_assert(want >= (n ? -1e-12 : 0));
            for (size_t t = 0; table_under_test(t); t++) {
                const struct kernels *k = table_under_test(t);
                cr_assert(k->exp_sum(merge_x[0], n, most[0]) == sum[0], "%s, %zu", k->name, n);
                cr_assert(k->divergence(merge_x[0], merge_x[1], n, most, scale) == want, "%s, %zu",
                          k->name, n);
            }
        }
}

Test(merge_kernels, sparse_loops_equal_the_reference)
{
    static float want[MERGE_N], got[MERGE_N];
    static uint32_t score[MERGE_N], got_bits[MERGE_N];
    fill_models(0);
    for (size_t l = 0; l <= 70; l++) {
        const size_t n = merge_length(l);
        const uint32_t key[2] = {below(UINT32_MAX), below(UINT32_MAX)};
        const uint32_t counter[4] = {l % 2 ? UINT32_MAX - 3 : below(UINT32_MAX), (uint32_t)l, 7, 8};
        const uint32_t low = l % 3 ? 0 : below(UINT32_MAX), span = l % 7 ? below(UINT32_MAX) : 1;
        const float scale = l % 2 ? 1.0f : gauss();
        double want_sums[2], got_sums[2];
        kernels_reference.random_bits(score, key, counter, n);
        kernels_reference.kept_deltas(want, merge_p[0], merge_base, score, low, span, scale, n);
        kernels_reference.kept_sums(merge_p[0], merge_base, score, low, span, n, want_sums);
        for (size_t t = 0; table_under_test(t); t++) {
            const struct kernels *k = table_under_test(t);
            k->random_bits(got_bits, key, counter, n);
            cr_assert(memcmp(got_bits, score, n * sizeof *score) == 0, "%s bits %zu", k->name, n);
            k->kept_deltas(got, merge_p[0], merge_base, score, low, span, scale, n);
            cr_assert(memcmp(got, want, n * sizeof *got) == 0, "%s deltas %zu", k->name, n);
            k->kept_sums(merge_p[0], merge_base, score, low, span, n, got_sums);
            cr_assert(memcmp(got_sums, want_sums, sizeof got_sums) == 0, "%s sums %zu", k->name, n);
        }
    }
}

/* Error sums of blocks, the last one short, and weighted ones, against the reference's bits. */
Test(merge_kernels, errors_equal_the_reference)
{
    enum { MOST = 1100 };
    static float a[MOST], b[MOST], w[MOST];
    static const size_t blocks[] = {32, 64, 128, 256};
    for (size_t l = 0; l < 160; l++) {
        const size_t n = l < 100 ? l : l * 7 % MOST, block = blocks[l % 4];
        double want_sq[MOST / 32 + 1], want_max[MOST / 32 + 1], want[3];
        double got_sq[MOST / 32 + 1], got_max[MOST / 32 + 1], got[3];
        const size_t nbytes = (n + block - 1) / block * sizeof *want_sq;
        seed = 900 + l;
        for (size_t i = 0; i < n; i++) {
            a[i] = l % 3 ? d_outliers(i) : d_ties(i);
            b[i] = l % 5 ? a[i] + d_gauss(i) : a[i];
            w[i] = below(4) ? uniform() : 0.0f;
        }
        kernels_reference.block_errors(a, b, n, block, want_sq, want_max);
        kernels_reference.weighted_errors(a, b, w, n, want);
        for (size_t t = 0; table_under_test(t); t++) {
            const struct kernels *k = table_under_test(t);
            k->block_errors(a, b, n, block, got_sq, got_max);
            cr_assert(memcmp(got_sq, want_sq, nbytes) == 0, "%s %zu %zu", k->name, n, block);
            cr_assert(memcmp(got_max, want_max, nbytes) == 0, "%s %zu %zu", k->name, n, block);
            k->weighted_errors(a, b, w, n, got);
            cr_assert(memcmp(got, want, sizeof got) == 0, "%s %zu", k->name, n);
        }
    }
}

Test(merge_kernels, radix_count_equals_the_reference)
{
    enum { LONG = 50000 };
    static uint32_t mag[LONG];
    static uint64_t want[65536], got[65536];
    static const struct {
        unsigned high_shift, shift;
        uint32_t mask;
    } shapes[] = {
        {32, 16, 0xffff},
        {40, 20, 0x7ff },
        {16, 0,  0xffff},
        {20, 10, 0x3ff },
        {10, 0,  0x3ff },
        {31, 24, 0xff  },
        {0,  0,  0xff  },
    };
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        for (size_t l = 0; l < 40; l++) {
            const size_t n = l < 36 ? l : (size_t)LONG >> (l - 36);
            seed = 800 + l;
            for (size_t i = 0; i < n; i++)
                mag[i] = f32_bits(l % 2 ? d_gauss(i) : d_ties(i)) & ~F32_SIGN;
            const uint32_t high = n && shapes[s].high_shift < 32
                                      ? mag[below((unsigned)n)] >> shapes[s].high_shift
                                      : 0;
            memset(want, 0, sizeof want);
            kernels_reference.radix_count(mag, n, shapes[s].high_shift, high, shapes[s].shift,
                                          shapes[s].mask, want);
            for (size_t t = 0; table_under_test(t); t++) {
                const struct kernels *k = table_under_test(t);
                memset(got, 0, sizeof got);
                k->radix_count(mag, n, shapes[s].high_shift, high, shapes[s].shift, shapes[s].mask,
                               got);
                cr_assert(memcmp(got, want, sizeof got) == 0, "%s shape %zu length %zu", k->name, s,
                          n);
            }
        }
    }
}

/* ---- straight from BF16 to BF16 ----------------------------------------------------------------
 */

static uint16_t half_x[MERGE_NX][MERGE_N], half_base[MERGE_N];
static const uint16_t *half_p[MERGE_NX];

/* The models of fill_models() as BF16, and as what that is. */
static void halve_models(void)
{
    const struct kernels *k = &kernels_reference;
    k->encode[DTYPE_BF16](merge_base, half_base, MERGE_N);
    k->decode[DTYPE_BF16](half_base, merge_base, MERGE_N);
    for (size_t m = 0; m < MERGE_NX; m++) {
        half_p[m] = half_x[m];
        k->encode[DTYPE_BF16](merge_x[m], half_x[m], MERGE_N);
        k->decode[DTYPE_BF16](half_x[m], merge_x[m], MERGE_N);
    }
}

static void check_sums_of_bf16(bool has_base, const float w[], size_t nx, size_t n)
{
    static float y[MERGE_N];
    static uint16_t want[MERGE_N], got[MERGE_N];
    const uint32_t all[MERGE_NX] = {0};
    if (has_base)
        kernels_reference.ties(y, merge_base, merge_p, w, all, nx, false, false, 1, n);
    else
        kernels_reference.weighted_sum(y, merge_p, w, nx, n);
    kernels_reference.encode[DTYPE_BF16](y, want, n);
    const bool finite = codec_first_nonfinite(DTYPE_BF16, want, n) == n;
    for (size_t t = 0; t == 0 || table_under_test(t - 1); t++) {
        const struct kernels *k = t == 0 ? &kernels_reference : table_under_test(t - 1);
        cr_assert(k->weighted_sum_bf16(got, has_base ? half_base : NULL, half_p, w, nx, n) ==
                      finite,
                  "%s: sum of %zu, base %d, %zu long", k->name, nx, has_base, n);
        cr_assert(!finite || memcmp(got, want, n * sizeof *got) == 0,
                  "%s: sum of %zu, base %d, %zu long", k->name, nx, has_base, n);
    }
}

static void check_gram_of_bf16(bool has_base, size_t nx, size_t n)
{
    double want[NPAIRS], got[NPAIRS];
    kernels_reference.gram(merge_p, has_base ? merge_base : NULL, nx, n, want);
    for (size_t t = 0; t == 0 || table_under_test(t - 1); t++) {
        const struct kernels *k = t == 0 ? &kernels_reference : table_under_test(t - 1);
        const bool done = k->gram_bf16(half_p, has_base ? half_base : NULL, nx, n, got);
        cr_assert(done == (nx == 2 || nx == 3), "%s", k->name);
        cr_assert(!done || memcmp(got, want, nx * (nx + 1) / 2 * sizeof *got) == 0,
                  "%s: gram of %zu, base %d, %zu long", k->name, nx, has_base, n);
    }
}

Test(merge_kernels, bf16_loops_are_decoding_and_encoding)
{
    for (size_t i = 0; i < NDISTRIBUTIONS; i++) {
        seed = 1100 + i;
        fill_models(i);
        halve_models();
        for (size_t l = 0; l <= 70; l++) {
            const size_t n = merge_length(l), nx = 1 + l % 5;
            float w[MERGE_NX];
            for (size_t m = 0; m < MERGE_NX; m++)
                w[m] = below(5) ? gauss() : (float)below(3) - 1;
            for (int base = 0; base < 2; base++) {
                check_sums_of_bf16(base, w, nx, n);
                if (!can_overflow(i))
                    check_gram_of_bf16(base, nx, n);
            }
        }
    }
}

Test(merge_kernels, bf16_sums_find_what_is_not_finite)
{
    enum { LENGTH = 100 };
    static const uint16_t bad[] = {0x7f80, 0xff80, 0x7fc0, 0xff81, 0x7f7f}; /* the last: FLT_MAX */
    static uint16_t a[LENGTH], b[LENGTH], y[LENGTH];
    const uint16_t *const x[] = {a, b};
    const float w[] = {1, 1.01f};
    for (size_t t = 0; codec_table(t); t++)
        for (size_t i = 0; i < 5 * LENGTH; i++) {
            const struct kernels *k = codec_table(t);
            for (size_t j = 0; j < LENGTH; j++)
                a[j] = b[j] = 0x3f80;
            cr_assert(k->weighted_sum_bf16(y, NULL, x, w, 2, LENGTH));
            cr_assert(k->weighted_sum_bf16(y, a, x, w, 2, LENGTH));
            b[i % LENGTH] = bad[i / LENGTH];
            cr_assert(!k->weighted_sum_bf16(y, NULL, x, w, 2, LENGTH), "%s %zu", k->name, i);
            cr_assert(!k->weighted_sum_bf16(y, a, x, w, 2, LENGTH), "%s %zu", k->name, i);
        }
}

/* ---- task vectors straight from BF16 -----------------------------------------------------------
 */

static const struct kernels *any_table(size_t t)
{
    return t == 0 ? &kernels_reference : table_under_test(t - 1);
}

static bool is_drawn(const uint32_t *kept, size_t i)
{
    return kept[i / 32] >> (i % 32 / 2 + 16 * (i % 2)) & 1;
}

Test(merge_kernels, random_kept_is_random_bits_below_a_limit)
{
    static uint32_t bits[MERGE_N], kept[MERGE_N / 32 + 2];
    for (size_t l = 0; l <= 300; l++) {
        const size_t n = l < 300 ? l : MERGE_N, nwords = (n + 31) / 32;
        const uint32_t key[2] = {below(UINT32_MAX), below(UINT32_MAX)};
        const uint32_t counter[4] = {l % 2 ? UINT32_MAX - 3 : below(UINT32_MAX), (uint32_t)l, 7, 8};
        const uint32_t limit = l % 5 ? below(UINT32_MAX) : l % 2 ? UINT32_MAX : 0;
        kernels_reference.random_bits(bits, key, counter, n);
        for (size_t t = 0; any_table(t); t++) {
            kept[nwords] = 0x1234;
            any_table(t)->random_kept(kept, key, counter, limit, n);
            for (size_t i = 0; i < n; i++)
                cr_assert(is_drawn(kept, i) == (bits[i] < limit), "%s %zu", any_table(t)->name, i);
            cr_assert(kept[nwords] == 0x1234, "%s writes beyond %zu", any_table(t)->name, n);
        }
    }
}

static void check_kept_sums_of_bf16(size_t n, const uint32_t *kept)
{
    static uint32_t score[MERGE_N];
    double want[2], got[2];
    for (size_t i = 0; i < n; i++)
        score[i] = !is_drawn(kept, i);
    kernels_reference.kept_sums(merge_p[0], merge_base, score, 0, 1, n, want);
    for (size_t t = 0; any_table(t); t++) {
        const bool done = any_table(t)->kept_sums_bf16(half_p[0], half_base, kept, n, got);
        cr_assert(done == (n % 64 == 0 && isfinite(want[0])), "%s %zu", any_table(t)->name, n);
        cr_assert(!done || memcmp(got, want, sizeof got) == 0, "%s %zu", any_table(t)->name, n);
    }
}

static void check_counts_of_bf16(size_t nguesses, size_t n)
{
    static uint32_t magnitude[MERGE_N];
    uint32_t guesses[8], above[8], equal[8];
    kernels_reference.delta_magnitude(magnitude, merge_p[1], merge_base, n);
    for (size_t g = 0; g < nguesses; g++)
        guesses[g] = n && below(4) ? magnitude[below((uint32_t)n)] : below(0x7f800000);
    for (size_t t = 0; any_table(t); t++) {
        const char *name = any_table(t)->name;
        const bool done = any_table(t)->count_deltas_bf16(half_p[1], half_base, guesses, nguesses,
                                                          n, above, equal);
        bool finite = true;
        for (size_t i = 0; i < n; i++)
            finite &= magnitude[i] < 0x7f800000;
        cr_assert(done == (finite && n % 64 == 0 && nguesses > 0), "%s %zu", name, n);
        for (size_t g = 0; done && g < nguesses; g++) {
            uint32_t larger = 0;
            for (size_t i = 0; i < n; i++)
                larger += magnitude[i] > guesses[g];
            cr_assert_eq(above[g], larger, "%s", name);
            cr_assert_eq(equal[g], kernels_reference.count_equal(magnitude, n, guesses[g]));
        }
    }
}

/* Against cutting, or choosing and adding, as loops over numbers do it. */
static void check_mix_of_bf16(struct delta_mix *mix, size_t n)
{
    static float d[MERGE_NX][MERGE_N], y[MERGE_N], zeros[MERGE_N];
    static uint16_t want[MERGE_N], got[MERGE_N];
    const float *deltas[MERGE_NX];
    const uint32_t all[MERGE_NX] = {0};
    bool finite = n % 64 == 0;
    for (size_t m = 0; m < mix->nx; m++) {
        deltas[m] = d[m];
        for (size_t i = 0; i < n; i++) {
            const float delta = merge_p[m][i] - merge_base[i];
            finite &= (f32_bits(delta) & ~F32_SIGN) < 0x7f7f8000;
            d[m][i] = mix->kept && is_drawn(mix->kept[m], i) ? delta * mix->scale[m] : 0;
        }
    }
    kernels_reference.ties(y, mix->kept ? zeros : merge_base, mix->kept ? deltas : merge_p, mix->w,
                           mix->kept ? all : mix->cut, mix->nx, mix->consensus, mix->normalize,
                           mix->lambda, n);
    for (size_t i = 0; mix->kept && i < n; i++)
        y[i] = merge_base[i] + y[i];
    kernels_reference.encode[DTYPE_BF16](y, want, n);
    finite &= codec_first_nonfinite(DTYPE_BF16, want, n) == n;
    for (size_t t = 0; any_table(t); t++) {
        const bool done = any_table(t)->mix_bf16(mix, got, n);
        cr_assert(done == finite, "%s: %zu of %zu", any_table(t)->name, n, mix->nx);
        cr_assert(!done || memcmp(got, want, n * sizeof *got) == 0, "%s: %zu of %zu",
                  any_table(t)->name, n, mix->nx);
    }
}

static void check_mixes_of_bf16(size_t nx, size_t n, unsigned flags)
{
    static uint32_t drawn[MERGE_NX][MERGE_N / 32 + 1];
    const uint32_t *kept[MERGE_NX];
    uint32_t cut[MERGE_NX];
    float w[MERGE_NX], scale[MERGE_NX];
    for (size_t m = 0; m < nx; m++) {
        w[m] = below(5) ? gauss() : (float)below(3) - 1;
        scale[m] = below(3) ? 1 + fabsf(gauss()) : 1;
        const float some = merge_p[m][below(MERGE_N)] - merge_base[below(MERGE_N)];
        cut[m] = below(4) ? f32_bits(some) & ~F32_SIGN : below(2) ? 0 : UINT32_MAX - below(2);
        kept[m] = drawn[m];
        for (size_t i = 0; i < MERGE_N / 32 + 1; i++)
            drawn[m][i] = below(UINT32_MAX);
    }
    struct delta_mix mix = {.base = half_base,
                            .x = half_p,
                            .w = w,
                            .cut = cut,
                            .nx = nx,
                            .consensus = flags & 1,
                            .normalize = flags & 2,
                            .lambda = flags & 4 ? 0.7f : 1};
    check_mix_of_bf16(&mix, n);
    mix.cut = NULL;
    mix.kept = kept;
    mix.scale = scale;
    check_mix_of_bf16(&mix, n);
    check_kept_sums_of_bf16(n, drawn[0]);
}

Test(merge_kernels, bf16_task_vectors_are_decoding_and_encoding)
{
    static const size_t lengths[] = {0, 1, 32, 63, 64, 65, 128, 192, 1024, 4096, MERGE_N};
    for (size_t i = 0; i < NDISTRIBUTIONS; i++) {
        seed = 1300 + i;
        fill_models(i);
        halve_models();
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
            for (unsigned flags = 0; flags < 8; flags++) {
                check_mixes_of_bf16(1 + (l + flags) % 5, lengths[l], flags);
                check_counts_of_bf16((l + flags) % 9, lengths[l]);
            }
    }
}

Test(merge_kernels, bf16_task_vectors_find_what_is_not_finite)
{
    enum { LENGTH = 128 };
    static const uint16_t bad[] = {0x7f80, 0xff80, 0x7fc0, 0xff81};
    static uint16_t a[LENGTH], b[LENGTH], y[LENGTH];
    const uint16_t *const x[] = {a, b};
    const float ones[] = {1, 1};
    const uint32_t none[LENGTH / 32] = {0}, *const kept[] = {none, none}, highest[2] = {-1u, -1u};
    struct delta_mix cut = {.base = a, .x = x, .w = ones, .cut = highest, .nx = 2, .lambda = 1};
    struct delta_mix drawn = {
        .base = a, .x = x, .w = ones, .kept = kept, .scale = ones, .nx = 2, .lambda = 1};
    double sums[2];
    uint32_t above[1], equal[1];
    for (size_t t = 0; any_table(t); t++)
        for (size_t i = 0; i < 8 * LENGTH; i++) {
            const struct kernels *k = any_table(t);
            for (size_t j = 0; j < LENGTH; j++)
                a[j] = b[j] = 0x3f80;
            cr_assert(k->mix_bf16(&cut, y, LENGTH) && k->mix_bf16(&drawn, y, LENGTH));
            (i % 2 ? a : b)[i / 2 % LENGTH] = bad[i / 2 / LENGTH];
            cr_assert(!k->mix_bf16(&cut, y, LENGTH), "%s %zu", k->name, i);
            cr_assert(!k->mix_bf16(&drawn, y, LENGTH), "%s %zu", k->name, i);
            cr_assert(!k->kept_sums_bf16(b, a, none, LENGTH, sums), "%s %zu", k->name, i);
            cr_assert(!k->count_deltas_bf16(b, a, highest, 1, LENGTH, above, equal));
        }
}
