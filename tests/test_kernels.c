/* test_kernels.c - every table against the scalar reference, and the reference against llama.cpp.
 */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "quant/codec.h"
#include "quant/levels.h"
#include "quant/small_floats.h"

#ifndef TEST_DATA
#define TEST_DATA "tests/data"
#endif

/* Defined in test_kernels_wide.c: what AVX-512 would run, lane for lane. */
extern const struct kernels kernels_wide;

/* All tables this CPU can run but the reference itself, and one it can always run. */
static const struct kernels *table_under_test(size_t i)
{
    if (codec_table(i + 1))
        return codec_table(i + 1);
    return codec_table(i) ? &kernels_wide : NULL;
}

/* ---- random numbers: the same on every run -------------------------------------------------- */

static uint64_t seed;

static uint64_t random_u64(void)
{
    uint64_t z = seed += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static float uniform(void)
{
    return (float)(random_u64() >> 40) * 0x1p-24f;
}

static float gauss(void)
{
    float sum = -6;
    for (int i = 0; i < 12; i++)
        sum += uniform();
    return sum;
}

static unsigned below(unsigned n)
{
    return (unsigned)(random_u64() >> 33) % n;
}

/* ---- distributions -------------------------------------------------------------------------- */

static float d_gauss(size_t i)
{
    (void)i;
    return gauss() * 0.02f;
}

static float d_gauss_bf16(size_t i)
{
    return bf16_to_f32(bf16_from_f32(d_gauss(i)));
}

static float d_outliers(size_t i)
{
    return gauss() * (i % 97 == 5 ? 8.0f : 0.01f);
}

static float d_ties(size_t i)
{
    (void)i;
    return (float)((int)below(9) - 4) * 0.125f;
}

static float d_sparse(size_t i)
{
    return below(8) || i % 512 < 70 ? 0.0f : gauss() * 0.05f;
}

static float d_six_decades(size_t i)
{
    (void)i;
    return gauss() * powf(10, -6 * uniform());
}

static float d_block_scales(size_t i)
{
    return gauss() * ldexpf(1, (int)(i / 16 * 7 % 41) - 20);
}

static float d_constant(size_t i)
{
    return i / 256 % 2 ? -0.25f : 0.5f;
}

static float d_constant_blocks(size_t i)
{
    return (float)(i / 16 % 5) * 0.1f - 0.2f;
}

static float d_zeros(size_t i)
{
    (void)i;
    return below(2) ? 0.0f : -0.0f;
}

static float d_zeros_and_positive(size_t i)
{
    return below(2) ? d_zeros(i) : uniform();
}

static float d_zeros_and_negative(size_t i)
{
    return below(2) ? d_zeros(i) : -uniform();
}

static float d_denormal(size_t i)
{
    (void)i;
    return gauss() * 1e-39f;
}

static float d_reciprocal_overflows(size_t i)
{
    return i % 32 == below(32) ? 0.0f : gauss() * ldexpf(1, -120 - (int)(i / 32 % 12));
}

static float d_positive(size_t i)
{
    (void)i;
    return fabsf(gauss()) * 0.02f + 0.01f;
}

static float d_negative(size_t i)
{
    return -d_positive(i);
}

static float d_1e17(size_t i)
{
    (void)i;
    return gauss() * 1e17f;
}

static float d_huge(size_t i)
{
    static const float some[] = {FLT_MAX, -FLT_MAX, 1e38f, -3e38f, 1, 0};
    return i % 7 ? gauss() * 1e37f : some[below(6)];
}

static float d_any_finite(size_t i)
{
    (void)i;
    for (;;) {
        const float x = f32_from_bits((uint32_t)random_u64());
        if (isfinite(x))
            return x;
    }
}

static float d_one_spike(size_t i)
{
    return i % 256 == 100 ? 50.0f : gauss() * 1e-4f;
}

static float d_near_one(size_t i)
{
    (void)i;
    return 1 + (float)((int)below(3) - 1) * 0x1p-23f;
}

static float d_half_codes(size_t i) /* where rounding has to choose */
{
    return i % 32 == 0 ? -8.0f : (float)((int)below(31) - 15) * 0.5f;
}

static float d_tiny_groups(size_t i) /* around the threshold below which Q6_K sees zeros */
{
    static const float scales[] = {1, 1e-12f, 1e-15f, 3e-16f, 1e-17f, 0};
    return gauss() * scales[i / 16 % 6];
}

static const struct {
    const char *name;
    float (*draw)(size_t i);
} distributions[] = {
    {"gauss",               d_gauss               },
    {"gauss bf16",          d_gauss_bf16          },
    {"outliers",            d_outliers            },
    {"ties",                d_ties                },
    {"sparse",              d_sparse              },
    {"six decades",         d_six_decades         },
    {"block scales",        d_block_scales        },
    {"constant",            d_constant            },
    {"constant blocks",     d_constant_blocks     },
    {"zeros",               d_zeros               },
    {"zeros and positive",  d_zeros_and_positive  },
    {"zeros and negative",  d_zeros_and_negative  },
    {"denormal",            d_denormal            },
    {"reciprocal overflow", d_reciprocal_overflows},
    {"positive",            d_positive            },
    {"negative",            d_negative            },
    {"1e17",                d_1e17                },
    {"huge",                d_huge                },
    {"any finite",          d_any_finite          },
    {"one spike",           d_one_spike           },
    {"near one",            d_near_one            },
    {"half codes",          d_half_codes          },
    {"tiny groups",         d_tiny_groups         },
};

#define NDISTRIBUTIONS (sizeof distributions / sizeof distributions[0])

static void fill(float *x, size_t n, size_t distribution)
{
    for (size_t i = 0; i < n; i++)
        x[i] = distributions[distribution].draw(i);
}

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

static const struct {
    const char *name;
    float (*draw)(size_t i);
} importances[] = {
    {"squares",    i_squares   },
    {"ones",       i_ones      },
    {"with zeros", i_with_zeros},
    {"wide",       i_wide      },
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

/* ---- merging: small cases by hand
 * ----------------------------------------------------------------------- */

static bool close_to(float a, float b)
{
    return fabsf(a - b) <= 1e-6f * fabsf(b);
}

Test(kernels, ties_by_hand)
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

Test(kernels, weighted_sum_by_hand)
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
Test(kernels, dots_are_folded_in_the_promised_order)
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

Test(kernels, radix_count_by_hand)
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

Test(kernels, first_beyond_at_every_place)
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

Test(kernels, ties_equals_the_reference)
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

Test(kernels, products_equal_the_reference)
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

Test(kernels, other_merge_loops_equal_the_reference)
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
Test(kernels, divergence_equals_the_reference)
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

Test(kernels, sparse_loops_equal_the_reference)
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
Test(kernels, errors_equal_the_reference)
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

Test(kernels, radix_count_equals_the_reference)
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
