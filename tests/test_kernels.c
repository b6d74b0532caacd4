/* test_kernels.c - every table against the scalar reference, and the reference against llama.cpp.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "core/xxh64.h"
#include "distributions.h"

#ifndef TEST_DATA
#define TEST_DATA "tests/data"
#endif

/* ---- importances: one value a column, as an imatrix has them ------------------------------------
 */

static float i_squares(size_t i) /* with some strong columns */
{
    const float u = uniform();
    return u * u * (i % 13 == 5 ? 41.0f : 1.0f) + 1e-4f;
}

static float i_ones(size_t i)
{
    (void)i;
    return 1.0f;
}

static float i_with_zeros(size_t i)
{
    return i % 512 < 64 || below(6) == 0 ? 0.0f : uniform();
}

static float i_wide(size_t i)
{
    (void)i;
    return powf(10, 12 * uniform() - 8);
}

/* One weight of a sub-block decides: what is fitted to it is rounding errors, of any sign. */
static float i_lonely(size_t i)
{
    return (0.5f + uniform()) * (i % 16 == 5 ? 1e4f : 1e-8f);
}

static const struct {
    const char *name;
    float (*draw)(size_t i);
} importances[] = {
    {"squares",    i_squares   },
    {"ones",       i_ones      },
    {"with zeros", i_with_zeros},
    {"wide",       i_wide      },
    {"lonely",     i_lonely    },
};

#define NIMPORTANCES (sizeof importances / sizeof importances[0])

/* What an encoder is told of a row: the mean of x*x, summed in order. */
static float row_sigma2(const float *x, size_t n)
{
    float sum = 0.0f;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum / (float)n;
}

/* ---- codecs against the reference
 * ----------------------------------------------------------------- */

/* 64 Ki weights of each distribution, and with each importance 16 Ki, times QUERN_TEST_ROUNDS:
 * `make check-all` wants more, the sanitizers (0) a quarter. */
enum { N = 16384, MARGIN = 64, ROW = 4096 };

static uint64_t nrounds(uint64_t usual)
{
    const char *text = getenv("QUERN_TEST_ROUNDS");
    const uint64_t times = text ? strtoull(text, NULL, 10) : 1;
    return times ? usual * times : 1;
}

static size_t stored_bytes(enum dtype d, size_t n)
{
    return n / dtype_traits[d].block_elems * dtype_traits[d].block_bytes;
}

static void expect_same(const void *got, const void *want, size_t nbytes, const char *table,
                        enum dtype d, const char *what)
{
    const uint8_t *a = got, *b = want;
    for (size_t i = 0; i < nbytes; i++)
        cr_assert_eq(a[i], b[i], "%s, %s, %s: byte %zu of %zu is %02x, not %02x", table,
                     dtype_traits[d].name, what, i, nbytes, a[i], b[i]);
}

/* The first n elements, with (im) or without importance, by every table. */
static void check_one_run(enum dtype d, const float *x, const float *im, size_t n, uint8_t *want,
                          uint8_t *got)
{
    const struct kernels *r = &kernels_reference;
    if (im ? !r->encode_im[d] : !r->encode[d])
        return;
    for (size_t t = 0; t == 0 || table_under_test(t - 1); t++) {
        const struct kernels *k = t ? table_under_test(t - 1) : r;
        uint8_t *to = t ? got : want;
        if (im ? !k->encode_im[d] : !k->encode[d])
            continue;
        memset(to, 0xAA, stored_bytes(d, n) + 1);
        if (im)
            k->encode_im[d](x, im, row_sigma2(x, n), to, n);
        else
            k->encode[d](x, to, n);
        expect_same(to, want, stored_bytes(d, n) + 1, k->name, d, "short run");
    }
}

/* Stored data has no alignment: everything happens one byte off. */
static void check_encode(enum dtype d, const float *x, size_t n, const char *what)
{
    static uint8_t want[N * 8 + MARGIN], got[N * 8 + MARGIN];
    const size_t nbytes = stored_bytes(d, n);
    memset(want, 0x55, nbytes + MARGIN);
    kernels_reference.encode[d](x, want + 1, n);
    for (size_t t = 0; table_under_test(t); t++) {
        const struct kernels *k = table_under_test(t);
        if (!k->encode[d])
            continue;
        memset(got, 0xAA, nbytes + MARGIN);
        k->encode[d](x, got + 1, n);
        expect_same(got + 1, want + 1, nbytes, k->name, d, what);
        cr_assert(got[0] == 0xAA && got[nbytes + 1] == 0xAA, "wrote outside");
    }
}

static void check_decode(enum dtype d, const uint8_t *stored, size_t n, const char *what)
{
    static float want[N + MARGIN], got[N + MARGIN];
    kernels_reference.decode[d](stored, want, n);
    for (size_t t = 0; table_under_test(t); t++) {
        const struct kernels *k = table_under_test(t);
        if (!k->decode[d])
            continue;
        memset(got, 0xAA, sizeof(float) * (n + MARGIN));
        k->decode[d](stored, got, n);
        expect_same(got, want, n * sizeof(float), k->name, d, what);
        cr_assert_eq(f32_bits(got[n]), 0xAAAAAAAA, "wrote outside");
    }
}

/* Types are dealt out to a few tests, which run side by side. */
enum { NPARTS = 4 };

static void encode_part(int part)
{
    static float x[N];
    for (uint64_t round = 0; round < nrounds(4); round++)
        for (size_t i = 0; i < NDISTRIBUTIONS; i++) {
            seed = i + 1000 * round;
            fill(x, N, i);
            for (int d = part; d < DTYPE_COUNT; d += NPARTS)
                if (kernels_reference.encode[d] &&
                    (round == 0 || dtype_is_quantized((enum dtype)d)))
                    check_encode((enum dtype)d, x, N, distributions[i].name);
        }
}

static void check_encode_im(enum dtype d, const float *x, const float *im, const char *what)
{
    static uint8_t want[N * 8 + MARGIN], got[N * 8 + MARGIN];
    const size_t nbytes = stored_bytes(d, N), row_bytes = stored_bytes(d, ROW);
    for (size_t r = 0; r < N / ROW; r++)
        kernels_reference.encode_im[d](x + r * ROW, im, row_sigma2(x + r * ROW, ROW),
                                       want + 1 + r * row_bytes, ROW);
    for (size_t t = 0; table_under_test(t); t++) {
        const struct kernels *k = table_under_test(t);
        if (!k->encode_im[d])
            continue;
        memset(got, 0xAA, nbytes + MARGIN);
        for (size_t r = 0; r < N / ROW; r++)
            k->encode_im[d](x + r * ROW, im, row_sigma2(x + r * ROW, ROW), got + 1 + r * row_bytes,
                            ROW);
        expect_same(got + 1, want + 1, nbytes, k->name, d, what);
        cr_assert(got[0] == 0xAA && got[nbytes + 1] == 0xAA, "wrote outside");
    }
}

static void encode_im_part(int part)
{
    static float x[N], im[ROW];
    for (uint64_t round = 0; round < nrounds(NIMPORTANCES); round++)
        for (size_t i = 0; i < NDISTRIBUTIONS; i++) {
            const size_t k = (i + round) % NIMPORTANCES;
            char what[64];
            snprintf(what, sizeof what, "%s, importance %s", distributions[i].name,
                     importances[k].name);
            seed = 50 + i + 1000 * round;
            fill(x, N, i);
            for (size_t j = 0; j < ROW; j++)
                im[j] = importances[k].draw(j);
            for (int d = part; d < DTYPE_COUNT; d += NPARTS)
                if (kernels_reference.encode_im[d])
                    check_encode_im((enum dtype)d, x, im, what);
        }
}

#define X(part)                                                   \
    Test(kernels, encode_equals_the_reference_##part)             \
    {                                                             \
        encode_part(part);                                        \
    }                                                             \
    Test(kernels, encode_with_importance_equals_reference_##part) \
    {                                                             \
        encode_im_part(part);                                     \
    }
X(0)
X(1)
X(2)
X(3)
#undef X

/* A fit to one weight alone may have a scale below 0, which is stored as a byte that wraps: what
 * ggml's quantizers make of it (ggml_quantize_chunk(), llama.cpp of 2026-08). */
Test(kernels, scales_below_zero_are_those_of_llama_cpp)
{
    static const struct {
        enum dtype type;
        uint64_t sum;
    } want[] = {
        {DTYPE_Q4_1, UINT64_C(0x5af6b3df8dcaaa90)},
        {DTYPE_Q5_1, UINT64_C(0xaa161d40b2cc2fbc)},
        {DTYPE_Q2_K, UINT64_C(0x0a17f9d5c8b2d101)},
        {DTYPE_Q4_K, UINT64_C(0x78c4258fda93b8c6)},
        {DTYPE_Q5_K, UINT64_C(0x9e3120a60bd5395a)},
    };
    static float x[N], im[ROW];
    static uint8_t stored[N * 8];
    size_t negative = 0;
    while (strcmp(distributions[negative].name, "negative") != 0)
        negative++;
    for (size_t t = 0; t < sizeof want / sizeof *want; t++) {
        const enum dtype d = want[t].type;
        uint64_t sum = 0;
        for (unsigned round = 0; round < 32; round++) {
            seed = 5000 + round;
            fill(x, N, negative);
            for (size_t j = 0; j < ROW; j++)
                im[j] = i_lonely(j);
            for (size_t r = 0; r < N; r += ROW)
                kernels_reference.encode_im[d](x + r, im, row_sigma2(x + r, ROW),
                                               stored + stored_bytes(d, r), ROW);
            sum = sum * 31 + xxh64(stored, stored_bytes(d, N));
        }
        cr_assert_eq(sum, want[t].sum, "%s: %#llx", dtype_traits[d].name, (unsigned long long)sum);
    }
}

/* Weights and importances that grow and shrink against each other: what fits them best in the first
 * place is a scale near 0, for which the largest weight is far out of range. */
Test(kernels, a_first_scale_near_zero)
{
    enum { BLOCK = 256 };
    static float x[BLOCK], im[BLOCK];
    uint8_t want[100], got[100];
    const enum dtype d = DTYPE_IQ2_XXS;
    const size_t nbytes = stored_bytes(d, BLOCK);
    for (double shrink = 0.52; shrink < 0.7; shrink += 0.02)
        for (double grow = 2; grow < 15; grow *= 1.3)
            for (unsigned largest = 24; largest < 32; largest++) {
                double weight = 1, importance = 1e-15;
                for (unsigned j = 0; j < 32; j++) {
                    const unsigned i = j == 0 ? largest : j <= largest ? j - 1 : j;
                    x[i] = (float)weight;
                    im[i] = (float)(importance / weight);
                    weight *= shrink;
                    importance = importance * grow > 1e25 ? 1e25 : importance * grow;
                }
                kernels_reference.encode_im[d](x, im, 1.0f, want, BLOCK);
                for (size_t t = 0; table_under_test(t); t++) {
                    const struct kernels *k = table_under_test(t);
                    k->encode_im[d](x, im, 1.0f, got, BLOCK);
                    expect_same(got, want, nbytes, k->name, d, "geometric");
                }
            }
}

/* Any number of blocks: what is left over after the last full group of lanes. */
Test(kernels, short_runs_of_blocks)
{
    static float x[N], im[N];
    static uint8_t want[N * 8], got[N * 8];
    seed = 90;
    fill(x, N, 0);
    for (size_t i = 0; i < N; i++)
        im[i] = i_squares(i);
    for (int i = 0; i < DTYPE_COUNT; i++) {
        const enum dtype d = (enum dtype)i;
        const size_t block = dtype_traits[d].block_elems;
        for (size_t n = block; n <= 40 * block && n <= N && block > 1; n += block) {
            check_one_run(d, x, NULL, n, want, got);
            check_one_run(d, x, im, n, want, got);
        }
    }
}

/* Where one level gives way to the next, and the floats beside it: the largest weight makes the
 * first scale that is tried exactly 1 (or a half). */
static float beside_midpoint(const int8_t *levels, unsigned nlevels, float scale)
{
    const unsigned i = below(nlevels - 1);
    const float midpoint = scale * 0.5f * (float)(levels[i] + levels[i + 1]);
    return f32_from_bits(f32_bits(midpoint) + below(3) - 1);
}

Test(kernels, levels_change_at_their_midpoints)
{
    static float x[N];
    seed = 60;
    for (size_t i = 0; i < N; i++)
        x[i] = i % 32 == 0 ? -127.0f : beside_midpoint(iq4_levels, 16, 1.0f);
    check_encode(DTYPE_IQ4_NL, x, N, "midpoints");
    check_encode(DTYPE_IQ4_XS, x, N, "midpoints");
    for (size_t i = 0; i < N; i++)
        x[i] = i % 16 == 0 ? 6.0f : beside_midpoint(fp4_levels, 8, below(2) ? -0.5f : 0.5f);
    check_encode(DTYPE_MXFP4, x, N, "midpoints");
    check_encode(DTYPE_NVFP4, x, N, "midpoints");
}

/* The exponent is that of a logarithm in f32, which rounds up below powers of two. */
Test(kernels, exponent_of_mxfp4_is_that_of_libm)
{
    for (int k = -140; k <= 127; k++)
        for (int below_it = -100; below_it < 100; below_it++) {
            const float x = f32_from_bits(f32_bits(ldexpf(1, k)) - (uint32_t)below_it);
            cr_assert_eq(mxfp4_exponent(x), (uint8_t)(int)(floorf(log2f(x)) - 2 + 127), "%a", x);
        }
}

/* NaN and Inf may decode to any NaN and Inf: blocks with such a scale become others. */
static void make_finite(enum dtype d, uint8_t *stored)
{
    const struct dtype_traits *t = &dtype_traits[d];
    for (size_t at; t->block_elems > 1 && (at = codec_first_nonfinite(d, stored, N)) < N;)
        memset(stored + at / t->block_elems * t->block_bytes, (int)below(100), t->block_bytes);
}

Test(kernels, decode_equals_the_reference)
{
    static float x[N];
    static uint8_t stored[N * 8 + MARGIN];
    for (size_t i = 0; i < NDISTRIBUTIONS; i++) {
        seed = 100 + i;
        fill(x, N, i);
        for (int d = 0; d < DTYPE_COUNT; d++) {
            if (!kernels_reference.encode[d])
                continue;
            kernels_reference.encode[d](x, stored + 1, N);
            make_finite((enum dtype)d, stored + 1);
            check_decode((enum dtype)d, stored + 1, N, distributions[i].name);
        }
    }
}

/* Any bytes at all, but for NaN and Inf, where only plain types promise the same bits. */
Test(kernels, decode_of_random_bytes_equals_the_reference)
{
    static uint8_t stored[N * 8 + MARGIN];
    for (int i = 0; i < DTYPE_COUNT; i++) {
        const enum dtype d = (enum dtype)i;
        if (!kernels_reference.decode[d])
            continue;
        seed = 200 + (uint64_t)i;
        for (size_t b = 0; b < N * 8; b++)
            stored[b] = (uint8_t)below(256);
        make_finite(d, stored + 1);
        check_decode(d, stored + 1, N, "random bytes");
    }
}

Test(kernels, plain_types_of_every_length)
{
    static float x[100];
    static uint8_t stored[100 * 8];
    seed = 300;
    for (size_t n = 0; n < 100; n++) {
        fill(x, n, n % NDISTRIBUTIONS);
        for (int i = 0; i < DTYPE_COUNT; i++) {
            const enum dtype d = (enum dtype)i;
            if (dtype_traits[d].block_elems > 1 || !kernels_reference.encode[d])
                continue;
            check_encode(d, x, n, "short");
            kernels_reference.encode[d](x, stored, n);
            check_decode(d, stored, n, "short");
        }
    }
}

/* NaN and Inf are refused before they come here; should they, nothing worse than odd codes may
 * happen. The sanitizer jobs watch. */
Test(kernels, nonfinite_input_is_harmless)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 0};
    static float x[1024], back[1024];
    static uint8_t stored[1024 * 8];
    seed = 400;
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < 1024; i++)
            x[i] = round == 0 ? NAN : below(20) ? gauss() : bad[below(6)];
        for (int d = 0; d < DTYPE_COUNT; d++) {
            if (!kernels_reference.encode[d])
                continue;
            for (size_t t = 0; codec_table(t); t++) {
                codec_table(t)->encode[d](x, stored, 1024);
                codec_table(t)->decode[d](stored, back, 1024);
            }
        }
    }
}

/* Importances are finite and not negative, but may be anything else, and the weights are not looked
 * at before. */
Test(kernels, odd_importance_is_harmless)
{
    static const float odd[] = {0, FLT_MAX, FLT_MIN, 1e-45f, 1e30f, 1};
    static const float bad[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 0, 1e-42f};
    static float x[1024], im[1024], back[1024];
    static uint8_t stored[1024 * 8];
    seed = 450;
    for (int round = 0; round < 40; round++) {
        for (size_t i = 0; i < 1024; i++) {
            x[i] = round % 4 == 0 && below(20) == 0 ? bad[below(7)] : gauss();
            im[i] = round < 6 ? odd[round] : odd[below(6)];
        }
        for (int d = 0; d < DTYPE_COUNT; d++)
            for (size_t t = 0; codec_table(t) && kernels_reference.encode_im[d]; t++) {
                codec_table(t)->encode_im[d](x, im, round % 2 ? 1 : row_sigma2(x, 1024), stored,
                                             1024);
                codec_table(t)->decode[d](stored, back, 1024);
            }
    }
}

/* ---- llama.cpp's bytes
 * -------------------------------------------------------------------------------- */

enum { GOLDEN = 20 * 2048 };

static size_t read_golden(const char *name, void *to, size_t room)
{
    char path[256];
    snprintf(path, sizeof path, "%s/quant/%s", TEST_DATA, name);
    FILE *f = fopen(path, "rb");
    cr_assert(f != NULL, "cannot open %s", path);
    const size_t n = fread(to, 1, room, f);
    fclose(f);
    return n;
}

static void read_golden_blocks(enum dtype d, const char *suffix, void *to)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s", dtype_traits[d].name, suffix);
    const size_t nbytes = stored_bytes(d, GOLDEN);
    cr_assert_eq(read_golden(name, to, nbytes + 1), nbytes, "%s", name);
}

static uint64_t fnv1a(const void *p, size_t n)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const uint8_t *)p)[i]) * UINT64_C(0x100000001b3);
    return h;
}

/* Types that are only met at run time, or have no golden bytes. */
static bool has_golden(enum dtype d)
{
    return d == DTYPE_F16 || d == DTYPE_BF16 || dtype_is_quantized(d);
}

Test(kernels, encode_gives_llama_cpp_bytes)
{
    static float x[GOLDEN];
    static uint8_t want[GOLDEN * 2 + 1], got[GOLDEN * 2 + 1];
    int ntypes = 0;
    cr_assert_eq(read_golden("inputs.f32", x, sizeof x), sizeof x);
    for (int i = 0; i < DTYPE_COUNT; i++) {
        const enum dtype d = (enum dtype)i;
        if (!has_golden(d) || !kernels_reference.encode[d])
            continue;
        ntypes++;
        read_golden_blocks(d, ".bin", want);
        for (size_t t = 0; codec_table(t); t++) {
            memset(got, 0xAA, sizeof got);
            codec_table(t)->encode[d](x, got, GOLDEN);
            codec_add_reference_bugs(d, x, got, GOLDEN);
            expect_same(got, want, stored_bytes(d, GOLDEN), codec_table(t)->name, d, "golden");
        }
    }
    cr_assert_geq(ntypes, 8);
}

Test(kernels, encode_with_importance_gives_llama_cpp_bytes)
{
    enum { COLUMNS = 2048 };
    static float x[GOLDEN], im[COLUMNS];
    static uint8_t want[GOLDEN * 2 + 1], got[GOLDEN * 2 + 1];
    cr_assert_eq(read_golden("inputs.f32", x, sizeof x), sizeof x);
    cr_assert_eq(read_golden("imatrix.f32", im, sizeof im), sizeof im);
    for (int i = 0; i < DTYPE_COUNT; i++) {
        const enum dtype d = (enum dtype)i;
        if (!kernels_reference.encode_im[d])
            continue;
        read_golden_blocks(d, ".imatrix.bin", want);
        for (size_t t = 0; codec_table(t); t++) {
            memset(got, 0xAA, sizeof got);
            for (size_t r = 0; r < GOLDEN; r += COLUMNS)
                codec_table(t)->encode_im[d](x + r, im, row_sigma2(x + r, COLUMNS),
                                             got + stored_bytes(d, r), COLUMNS);
            codec_add_reference_bugs(d, x, got, GOLDEN);
            expect_same(got, want, stored_bytes(d, GOLDEN), codec_table(t)->name, d, "golden");
        }
    }
}

Test(kernels, decode_gives_llama_cpp_values)
{
    static uint8_t stored[GOLDEN * 2 + 1];
    static float x[GOLDEN];
    char list[4096] = "";
    read_golden("dequant.tsv", list, sizeof list - 1);

    int nblock_types = 0;
    for (int i = 0; i < DTYPE_COUNT; i++) {
        const enum dtype d = (enum dtype)i;
        if (!dtype_is_quantized(d) && d != DTYPE_F16 && d != DTYPE_BF16)
            continue;
        char key[64];
        snprintf(key, sizeof key, "%s\t", dtype_traits[d].name);
        const char *line = list;
        while (line && strncmp(line, key, strlen(key)) != 0)
            line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL;
        cr_assert(line != NULL, "%s is not in dequant.tsv", dtype_traits[d].name);
        const uint64_t want = strtoull(line + strlen(key), NULL, 16);

        read_golden_blocks(d, ".bin", stored);
        for (size_t t = 0; codec_table(t); t++) {
            codec_table(t)->decode[d](stored, x, GOLDEN);
            cr_assert_eq(fnv1a(x, sizeof x), want, "%s, %s", codec_table(t)->name,
                         dtype_traits[d].name);
        }
        nblock_types += dtype_is_quantized(d);
    }
    cr_assert_eq(nblock_types, 27);
}

/* Root mean square error relative to that of Gaussian weights, in per mille: what a type promises.
 * A few per cent above what the reference reaches. */
static const struct {
    enum dtype d;
    int per_mille;
} promises[] = {
    {DTYPE_Q8_0,    6  },
    {DTYPE_Q6_K,    19 },
    {DTYPE_Q5_K,    37 },
    {DTYPE_Q5_1,    43 },
    {DTYPE_Q5_0,    46 },
    {DTYPE_Q4_K,    75 },
    {DTYPE_IQ4_NL,  77 },
    {DTYPE_IQ4_XS,  79 },
    {DTYPE_Q4_1,    86 },
    {DTYPE_Q4_0,    92 },
    {DTYPE_NVFP4,   106},
    {DTYPE_MXFP4,   125},
    {DTYPE_IQ3_S,   167},
    {DTYPE_Q3_K,    155},
    {DTYPE_IQ3_XXS, 215},
    {DTYPE_IQ2_S,   268},
    {DTYPE_IQ2_XS,  300},
    {DTYPE_Q2_K,    298},
    {DTYPE_IQ2_XXS, 348},
    {DTYPE_IQ1_M,   590},
    {DTYPE_IQ1_S,   490},
    {DTYPE_TQ1_0,   900},
    {DTYPE_TQ2_0,   900},
    {DTYPE_Q2_0,    900},
    {DTYPE_Q1_0,    650},
};

static double relative_error_of(const struct kernels *k, enum dtype d, const float *x,
                                const float *im)
{
    static float back[N];
    static uint8_t stored[N * 8];
    double error = 0, weight = 0;
    if (im)
        k->encode_im[d](x, im, row_sigma2(x, N), stored, N);
    else
        k->encode[d](x, stored, N);
    k->decode[d](stored, back, N);
    for (size_t i = 0; i < N; i++) {
        error += (double)(x[i] - back[i]) * (x[i] - back[i]);
        weight += (double)x[i] * x[i];
    }
    return sqrt(error / weight);
}

Test(kernels, errors_are_what_a_type_promises)
{
    static float x[N], ones[N];
    seed = 95;
    fill(x, N, 0);
    for (size_t i = 0; i < N; i++)
        ones[i] = 1;
    int nblock_types = 0;
    for (int d = 0; d < DTYPE_COUNT; d++)
        nblock_types += dtype_is_quantized((enum dtype)d) && codec_can_encode((enum dtype)d);
    cr_assert_eq(nblock_types, sizeof promises / sizeof *promises, "every type promises something");
    for (size_t i = 0; i < sizeof promises / sizeof *promises; i++) {
        const enum dtype d = promises[i].d;
        for (size_t t = 0; codec_table(t); t++) {
            const struct kernels *k = codec_table(t);
            for (int with = 0; with < 2; with++) {
                if (with ? !k->encode_im[d] : !k->encode[d])
                    continue;
                const double e = relative_error_of(k, d, x, with ? ones : NULL) * 1000;
                cr_expect(e < promises[i].per_mille, "%s, %s, importance %d: %.1f per mille",
                          k->name, dtype_traits[d].name, with, e);
                cr_expect(e > 0.7 * promises[i].per_mille, "%s, %s: %.1f, promise more", k->name,
                          dtype_traits[d].name, e);
            }
        }
    }
}

/* The trap a zero block is: d = 0 / -8. */
Test(kernels, zero_block_of_q4_0_has_a_negative_zero_scale)
{
    for (size_t t = 0; codec_table(t); t++) {
        for (int sign = 0; sign < 2; sign++) {
            float x[32];
            uint8_t stored[18];
            for (int i = 0; i < 32; i++)
                x[i] = sign ? -0.0f : 0.0f;
            codec_table(t)->encode[DTYPE_Q4_0](x, stored, 32);
            cr_assert(stored[0] == 0 && stored[1] == 0x80, "%s", codec_table(t)->name);
            for (int i = 2; i < 18; i++)
                cr_assert_eq(stored[i], 0x88);
        }
    }
}

/* What decoding and encoding makes, or false when something is not finite. */
Test(kernels, q8_0_from_bf16_is_decoding_and_encoding)
{
    enum { LENGTH = 32 * 40 };
    static float x[LENGTH];
    static uint16_t half[LENGTH];
    static uint8_t want[LENGTH / 32 * 34], got[LENGTH / 32 * 34];
    for (size_t i = 0; i < NDISTRIBUTIONS; i++) {
        seed = 900 + i;
        fill(x, LENGTH, i);
        kernels_reference.encode[DTYPE_BF16](x, half, LENGTH);
        kernels_reference.decode[DTYPE_BF16](half, x, LENGTH);
        kernels_reference.encode[DTYPE_Q8_0](x, want, LENGTH);
        const bool finite = codec_first_nonfinite(DTYPE_BF16, half, LENGTH) == LENGTH &&
                            codec_first_nonfinite(DTYPE_Q8_0, want, LENGTH) == LENGTH;
        for (size_t t = 0; codec_table(t); t++) {
            const struct kernels *k = codec_table(t);
            for (size_t n = 32; n <= LENGTH; n += n < 320 ? 32 : LENGTH - 320)
                cr_assert(k->q8_0_from_bf16(half, got, n) == finite || n < LENGTH, "%s", k->name);
            cr_assert(!finite || memcmp(got, want, sizeof got) == 0, "%s %zu", k->name, i);
        }
    }
}

Test(kernels, q8_0_from_bf16_finds_what_is_not_finite)
{
    enum { LENGTH = 32 * 20 };
    static const uint16_t bad[] = {0x7f80, 0xff80, 0x7fc0, 0xff81, 0x7f00}; /* the last: 2^127 */
    static uint16_t half[LENGTH];
    static uint8_t got[LENGTH / 32 * 34];
    for (size_t t = 0; codec_table(t); t++)
        for (size_t b = 0; b < 5; b++)
            for (size_t at = 0; at < LENGTH; at++) {
                for (size_t i = 0; i < LENGTH; i++)
                    half[i] = 0x3f80;
                cr_assert(codec_table(t)->q8_0_from_bf16(half, got, LENGTH));
                half[at] = bad[b];
                cr_assert(!codec_table(t)->q8_0_from_bf16(half, got, LENGTH), "%s %zu %zu",
                          codec_table(t)->name, b, at);
            }
}
