/* test_convert.c - small floats and integers against formulas of their own; the f64 forms. */
#include <criterion/criterion.h>
#include <math.h>

#include "quant/codec.h"
#include "quant/small_floats.h"

/* A binary float described by its numbers; the formulas below work in double and know no tricks. */
struct format {
    const char *name;
    enum dtype dtype;
    int exponent_bits, mantissa_bits;
    bool has_inf;
};

static const struct format formats[] = {
    {"F16",     DTYPE_F16,     5, 10, true },
    {"BF16",    DTYPE_BF16,    8, 7,  true },
    {"F8_E4M3", DTYPE_F8_E4M3, 4, 3,  false},
    {"F8_E5M2", DTYPE_F8_E5M2, 5, 2,  true },
};

#define NFORMATS (sizeof formats / sizeof formats[0])

static unsigned codes_of(const struct format *f)
{
    return 1u << (1 + f->exponent_bits + f->mantissa_bits);
}

/* The value of a code. NaN and Inf where the format has them. */
static double value_of(const struct format *f, unsigned code)
{
    const unsigned sign = code >> (f->exponent_bits + f->mantissa_bits);
    const int exponent = (int)(code >> f->mantissa_bits) & ((1 << f->exponent_bits) - 1);
    const int mantissa = (int)code & ((1 << f->mantissa_bits) - 1);
    const int top = (1 << f->exponent_bits) - 1, bias = top / 2;
    double v;
    if (exponent == top && f->has_inf)
        v = mantissa ? NAN : INFINITY;
    else if (exponent == top && mantissa == (1 << f->mantissa_bits) - 1)
        v = NAN;
    else if (exponent == 0)
        v = ldexp(mantissa, 1 - bias - f->mantissa_bits);
    else
        v = ldexp((1 << f->mantissa_bits) + mantissa, exponent - bias - f->mantissa_bits);
    return sign ? -v : v;
}

/* The code nearest to a non-negative x below the largest code, by bisection; ties to even. */
static unsigned nearest_code(const struct format *f, double x)
{
    unsigned low = 0, high = codes_of(f) / 2 - 1;
    while (!isfinite(value_of(f, high)))
        high--;
    const unsigned last = high;
    /* Where the next number would be, were there one more. */
    const double beyond = 2 * value_of(f, last) - value_of(f, last - 1);
    if (x > (value_of(f, last) + beyond) / 2 ||
        (x == (value_of(f, last) + beyond) / 2 && last % 2 == 1))
        return last + 1; /* Inf, or NaN where there is none */
    while (high - low > 1) {
        const unsigned mid = (low + high) / 2;
        if (value_of(f, mid) <= x)
            low = mid;
        else
            high = mid;
    }
    const double below = x - value_of(f, low), above = value_of(f, high) - x;
    return below < above || (below == above && low % 2 == 0) ? low : high;
}

static unsigned encode_one(const struct kernels *k, enum dtype d, float x)
{
    uint16_t code = 0;
    k->encode[d](&x, &code, 1);
    return code;
}

static float decode_one(const struct kernels *k, enum dtype d, unsigned code)
{
    const uint16_t stored = (uint16_t)code;
    float x;
    k->decode[d](&stored, &x, 1);
    return x;
}

Test(convert, every_code_decodes_to_its_value_and_back)
{
    for (size_t t = 0; codec_table(t); t++) {
        const struct kernels *k = codec_table(t);
        for (size_t i = 0; i < NFORMATS; i++) {
            const struct format *f = &formats[i];
            for (unsigned code = 0; code < codes_of(f); code++) {
                const double want = value_of(f, code);
                const float got = decode_one(k, f->dtype, code);
                if (isnan(want)) {
                    cr_assert(isnan(got), "%s %s %x", k->name, f->name, code);
                    cr_assert_eq(signbit(got) != 0, code >= codes_of(f) / 2);
                    cr_assert(f32_bits(got) & 0x00400000 || f->dtype == DTYPE_BF16, "quiet");
                    continue;
                }
                cr_assert(got == want && !signbit(got) == !signbit(want), "%s %s %x: %a is not %a",
                          k->name, f->name, code, (double)got, want);
                cr_assert_eq(encode_one(k, f->dtype, got), code, "%s %s %x", k->name, f->name,
                             code);
            }
        }
    }
}

static void check_encoding(const struct kernels *k, const struct format *f, float x)
{
    const unsigned sign = signbit(x) ? codes_of(f) / 2 : 0;
    const unsigned want = sign | nearest_code(f, fabs((double)x));
    const unsigned got = encode_one(k, f->dtype, x);
    cr_assert_eq(got, want, "%s %s %a: %x is not %x", k->name, f->name, (double)x, got, want);
}

/* Half-way points and their neighbours are where rounding goes wrong. */
Test(convert, half_way_points_go_to_even)
{
    for (size_t t = 0; codec_table(t); t++) {
        const struct kernels *k = codec_table(t);
        for (size_t i = 0; i < NFORMATS; i++) {
            const struct format *f = &formats[i];
            const unsigned stride =
                codes_of(f) > 256 ? 7 : 1; /* all is too slow; 7 meets both parities */
            for (unsigned code = 0; code + 1 < codes_of(f) / 2; code += stride) {
                const double a = value_of(f, code), b = value_of(f, code + 1);
                if (!isfinite(b))
                    continue;
                const float half = (float)(a / 2 + b / 2);
                if ((double)half != a / 2 + b / 2)
                    continue; /* below the smallest float */
                const float near[] = {half, nextafterf(half, INFINITY), nextafterf(half, 0)};
                for (size_t j = 0; j < 3; j++) {
                    check_encoding(k, f, near[j]);
                    check_encoding(k, f, -near[j]);
                }
            }
        }
    }
}

Test(convert, dense_sample_of_all_floats)
{
    for (size_t t = 0; codec_table(t); t++) {
        const struct kernels *k = codec_table(t);
        for (size_t i = 0; i < NFORMATS; i++) {
            const struct format *f = &formats[i];
            for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 65537 * 3) {
                const float x = f32_from_bits((uint32_t)bits);
                if (isfinite(x))
                    check_encoding(k, f, x);
            }
        }
    }
}

/* The same sample, denser, against the reference in one call per type. */
Test(convert, tables_agree_on_a_denser_sample)
{
    enum { N = 65536 };
    static float x[N];
    static uint16_t want[N], got[N];
    for (uint32_t offset = 0; offset < 64; offset++) {
        for (uint32_t i = 0; i < N; i++)
            x[i] = f32_from_bits(i * 65537u + offset * 1031u);
        for (size_t i = 0; i < NFORMATS; i++) {
            memset(want, 0, sizeof want);
            memset(got, 0, sizeof got);
            kernels_reference.encode[formats[i].dtype](x, want, N);
            for (size_t t = 1; codec_table(t); t++) {
                codec_table(t)->encode[formats[i].dtype](x, got, N);
                cr_assert(memcmp(got, want, sizeof got) == 0, "%s %s", codec_table(t)->name,
                          formats[i].name);
            }
        }
    }
}

/* PyTorch's limits: the last value that rounds to the largest number, and the first that does not.
 */
Test(convert, too_large_becomes_inf_or_nan)
{
    for (size_t t = 0; codec_table(t); t++) {
        const struct kernels *k = codec_table(t);
        cr_assert_eq(encode_one(k, DTYPE_F16, 65519.996f), 0x7bff);
        cr_assert_eq(encode_one(k, DTYPE_F16, 65520.0f), 0x7c00);
        cr_assert_eq(encode_one(k, DTYPE_F16, -INFINITY), 0xfc00);
        cr_assert_eq(encode_one(k, DTYPE_BF16, 3.3961775e38f), 0x7f80);
        cr_assert_eq(encode_one(k, DTYPE_F8_E4M3, 464.0f), 0x7e);
        cr_assert_eq(encode_one(k, DTYPE_F8_E4M3, nextafterf(464.0f, 500)), 0x7f);
        cr_assert_eq(encode_one(k, DTYPE_F8_E4M3, -1e30f), 0xff);
        cr_assert_eq(encode_one(k, DTYPE_F8_E4M3, INFINITY), 0x7f);
        cr_assert_eq(encode_one(k, DTYPE_F8_E5M2, nextafterf(61440.0f, 0)), 0x7b);
        cr_assert_eq(encode_one(k, DTYPE_F8_E5M2, 61440.0f), 0x7c);
        cr_assert_eq(encode_one(k, DTYPE_F8_E5M2, -INFINITY), 0xfc);
    }
}

Test(convert, nan_has_one_code)
{
    const uint32_t nans[] = {0x7f800001, 0x7fc00000, 0x7fffffff, 0x7fa12345};
    for (size_t t = 0; codec_table(t); t++) {
        const struct kernels *k = codec_table(t);
        for (size_t i = 0; i < 4; i++) {
            const float x = f32_from_bits(nans[i]), minus = f32_from_bits(nans[i] | F32_SIGN);
            cr_assert_eq(encode_one(k, DTYPE_F16, x), 0x7e00);
            cr_assert_eq(encode_one(k, DTYPE_F16, minus), 0xfe00);
            cr_assert_eq(encode_one(k, DTYPE_F8_E4M3, minus), 0xff);
            cr_assert_eq(encode_one(k, DTYPE_F8_E5M2, x), 0x7f);
            cr_assert_eq(encode_one(k, DTYPE_BF16, x), (nans[i] >> 16) | 0x40);
        }
    }
}

Test(convert, integers_round_to_nearest_even)
{
    const int64_t i64[] = {0, -1, 16777217, 16777219, INT64_MAX, INT64_MIN, -16777217};
    const float as_f32[] = {0, -1, 16777216, 16777220, 0x1p63f, -0x1p63f, -16777216};
    float out[8];
    for (size_t t = 0; codec_table(t); t++) {
        const struct kernels *k = codec_table(t);
        k->decode[DTYPE_I64](i64, out, 7);
        cr_assert(memcmp(out, as_f32, sizeof as_f32) == 0, "%s", k->name);

        const uint64_t u64[] = {UINT64_MAX, UINT64_C(0x8000008000000000),
                                UINT64_C(0x8000008000000001), 7};
        k->decode[DTYPE_U64](u64, out, 4);
        cr_assert(out[0] == 0x1p64f && out[1] == 0x1p63f && out[2] == 0x1.000002p63f &&
                  out[3] == 7);

        const uint32_t u32[] = {UINT32_MAX, 16777217, 3};
        k->decode[DTYPE_U32](u32, out, 3);
        cr_assert(out[0] == 0x1p32f && out[1] == 16777216 && out[2] == 3);

        const int32_t i32[] = {INT32_MIN, 16777219, -3};
        k->decode[DTYPE_I32](i32, out, 3);
        cr_assert(out[0] == -0x1p31f && out[1] == 16777220 && out[2] == -3);

        const int16_t i16[] = {INT16_MIN, 77};
        const uint16_t u16[] = {UINT16_MAX, 77};
        const int8_t i8[] = {INT8_MIN, 77};
        const uint8_t u8[] = {UINT8_MAX, 77}, truth[] = {0, 1, 255};
        k->decode[DTYPE_I16](i16, out, 2);
        cr_assert(out[0] == -32768 && out[1] == 77);
        k->decode[DTYPE_U16](u16, out, 2);
        cr_assert(out[0] == 65535 && out[1] == 77);
        k->decode[DTYPE_I8](i8, out, 2);
        cr_assert(out[0] == -128 && out[1] == 77);
        k->decode[DTYPE_U8](u8, out, 2);
        cr_assert(out[0] == 255 && out[1] == 77);
        k->decode[DTYPE_BOOL](truth, out, 3);
        cr_assert(out[0] == 0 && out[1] == 1 && out[2] == 1);

        const double f64[] = {0x1.000001p0, 0x1.0000010000001p0, 1e300, -1e-300, 0x1p-149};
        k->decode[DTYPE_F64](f64, out, 5);
        cr_assert(out[0] == 1 && out[1] == 0x1.000002p0f && isinf(out[2]) && out[3] == 0 &&
                  signbit(out[3]) && out[4] == 0x1p-149f);
    }
}

/* ---- codec.c -------------------------------------------------------------------------------- */

Test(convert, what_can_be_read_and_written)
{
    cr_assert(codec_can_decode(DTYPE_Q8_K) && !codec_can_encode(DTYPE_Q8_K));
    cr_assert(codec_can_decode(DTYPE_I32) && !codec_can_encode(DTYPE_I32));
    cr_assert(codec_can_decode(DTYPE_Q6_K) && codec_can_encode(DTYPE_Q6_K));
    cr_assert(!codec_can_decode(DTYPE_C64) && !codec_can_encode(DTYPE_C64));
    for (int d = 0; d < DTYPE_COUNT; d++) {
        if (dtype_is_quantized((enum dtype)d) || dtype_is_float((enum dtype)d))
            cr_assert(codec_can_decode((enum dtype)d), "%s", dtype_traits[d].name);
        if (dtype_is_float((enum dtype)d))
            cr_assert(codec_can_encode((enum dtype)d), "%s", dtype_traits[d].name);
    }
}

Test(convert, some_types_use_importance_and_some_need_it)
{
    for (int i = 0; i < DTYPE_COUNT; i++) {
        const enum dtype d = (enum dtype)i;
        const bool needs = d == DTYPE_IQ2_XXS || d == DTYPE_IQ2_XS || d == DTYPE_IQ1_S;
        cr_assert_eq(codec_needs_importance(d), needs, "%s", dtype_traits[d].name);
        if (needs)
            cr_assert(codec_uses_importance(d) && codec_can_encode(d));
        if (!dtype_is_quantized(d))
            cr_assert(!codec_uses_importance(d), "%s", dtype_traits[d].name);
    }
    static const enum dtype without[] = {DTYPE_Q8_0,  DTYPE_Q1_0,  DTYPE_Q2_0,
                                         DTYPE_TQ1_0, DTYPE_TQ2_0, DTYPE_MXFP4};
    for (size_t i = 0; i < sizeof without / sizeof *without; i++)
        cr_assert(!codec_uses_importance(without[i]), "%s", dtype_traits[without[i]].name);
    cr_assert(codec_uses_importance(DTYPE_Q4_0) && codec_uses_importance(DTYPE_Q6_K));
}

Test(convert, tables_are_chosen_by_name)
{
    cr_assert_str_eq(codec_table(0)->name, "reference");
    cr_assert(codec_set("portable"));
    cr_assert_str_eq(codec_kernels()->name, "portable");
    cr_assert(!codec_set("avx1024"));
    cr_assert_str_eq(codec_kernels()->name, "portable");
    size_t last = 0;
    while (codec_table(last + 1))
        last++;
    cr_assert(codec_set(NULL));
    cr_assert_eq(codec_kernels(), codec_table(last));
}

Test(convert, f64_goes_through_f32_unless_it_is_f64)
{
    enum { N = 3001 };
    static double x[N], back[N];
    static uint8_t stored[N * sizeof(double)];
    for (size_t i = 0; i < N; i++)
        x[i] = sin((double)i) * 1e3;

    codec_encode_f64(DTYPE_F64, x, stored, N);
    codec_decode_f64(DTYPE_F64, stored, back, N);
    cr_assert(memcmp(x, back, sizeof x) == 0);

    codec_encode_f64(DTYPE_BF16, x, stored, N);
    codec_decode_f64(DTYPE_BF16, stored, back, N);
    for (size_t i = 0; i < N; i++)
        cr_assert_eq(back[i], (double)bf16_to_f32(bf16_from_f32((float)x[i])));

    enum { BLOCKS = 2048 + 256 };
    static float narrow[BLOCKS], want[BLOCKS];
    static uint8_t blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++)
        narrow[i] = (float)x[i];
    codec_kernels()->encode[DTYPE_Q8_0](narrow, stored, BLOCKS);
    codec_kernels()->decode[DTYPE_Q8_0](stored, want, BLOCKS);
    codec_encode_f64(DTYPE_Q4_0, x, blocks, BLOCKS);
    codec_decode_f64(DTYPE_Q8_0, stored, back, BLOCKS);
    for (size_t i = 0; i < BLOCKS; i++)
        cr_assert_eq(back[i], (double)want[i]);
    codec_kernels()->encode[DTYPE_Q4_0](narrow, stored, BLOCKS);
    cr_assert(memcmp(stored, blocks, BLOCKS / 32 * 18) == 0);
}

Test(convert, nonfinite_is_found_at_every_place)
{
    enum { N = 2500 };
    static float x[N];
    static uint8_t stored[N * 8];
    static const enum dtype types[] = {DTYPE_F64,  DTYPE_F32,     DTYPE_F16,
                                       DTYPE_BF16, DTYPE_F8_E4M3, DTYPE_F8_E5M2};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        for (size_t at = 0; at < N; at += 97) {
            for (size_t i = 0; i < N; i++)
                x[i] = (float)i;
            if (types[t] == DTYPE_F8_E4M3) /* ends at 448 */
                memset(x, 0, sizeof x);
            codec_kernels()->encode[types[t]](x, stored, N);
            cr_assert_eq(codec_first_nonfinite(types[t], stored, N), N);
            x[at] = at % 2 ? NAN : -INFINITY;
            codec_kernels()->encode[types[t]](x, stored, N);
            cr_assert_eq(codec_first_nonfinite(types[t], stored, N), at, "%s",
                         dtype_traits[types[t]].name);
            cr_assert_eq(codec_first_nonfinite(types[t], stored, at), at);
        }
    }
    const double large = 1e300; /* no float, but finite */
    cr_assert_eq(codec_first_nonfinite(DTYPE_F64, &large, 1), 1);
    memset(stored, 0xff, sizeof stored);
    cr_assert_eq(codec_first_nonfinite(DTYPE_I32, stored, 100), 100);
    cr_assert_eq(codec_first_nonfinite(DTYPE_NVFP4, stored, 640), 640);
}

/* All bits set is a NaN in every kind of scale; the weights show it where the scale is NaN. */
Test(convert, nonfinite_scale_is_found_in_every_block_type)
{
    enum { N = 1024 };
    static uint8_t stored[N / 32 * 40];
    static float x[N];
    for (int i = 0; i < DTYPE_COUNT; i++) {
        const enum dtype d = (enum dtype)i;
        const struct dtype_traits *t = &dtype_traits[d];
        if (!dtype_is_quantized(d) || d == DTYPE_NVFP4)
            continue;
        const size_t nblocks = N / t->block_elems;
        memset(stored, 0, sizeof stored);
        cr_assert_eq(codec_first_nonfinite(d, stored, N), N, "%s", t->name);
        memset(stored + (nblocks - 1) * t->block_bytes, 0xff, t->block_bytes);
        cr_assert_eq(codec_first_nonfinite(d, stored, N), (size_t)N - t->block_elems, "%s",
                     t->name);
        if (d == DTYPE_MXFP4) /* its NaN is one by agreement only */
            continue;
        codec_kernels()->decode[d](stored, x, N);
        cr_assert(isnan(x[N - 1]), "%s", t->name);
        cr_assert_eq(kernels_reference.first_beyond(x, 0x7f800000, N), (size_t)N - t->block_elems,
                     "%s", t->name);
    }
}
