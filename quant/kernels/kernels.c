/* kernels.c - the inner loops, written once and compiled for each instruction set.
 *
 * Every function here has a scalar twin in quant/reference*.c that says what it does, and must give
 * the same bits for finite input: float operations may run side by side, never in another order.
 * Plain types and merging work on neighbouring elements. So do blocks whose only reductions are
 * minima and maxima. What needs ordered sums, the K types, IQ4 and whatever looks at importance,
 * gives each lane a block of its own.
 *
 * NaN and Inf are refused elsewhere; here they may give any bits, but nothing else. */
#include "kernels.h"

#include <float.h>

#include "core/philox.h"
#include "quant/blocks.h"
#include "quant/grid_neighbours.h"
#include "quant/grids.h"
#include "simd.h"

/* 1.5 * 2^23: next to it, whole numbers are one mantissa step apart. */
#define BIG_NUMBER 12582912.0f

/* Blocks whose largest weight is below this count as zero. */
#define TINY 1e-15f

/* ---- plain types: the last, short vector goes through a padded copy ------------------------- */

typedef vf load_fn(const uint8_t *p);
typedef void store_fn(uint8_t *p, vf x);

INLINE void decode_with(load_fn *load, size_t width, const uint8_t *p, float *out, size_t n)
{
    for (; n >= 16; n -= 16, p += 16 * width, out += 16)
        for (size_t i = 0; i < 16; i += LANES)
            vf_store(out + i, load(p + i * width));
    while (n > 0) {
        const size_t some = n < LANES ? n : LANES;
        uint8_t rest[LANES * sizeof(uint16_t)] = {0};
        memcpy(rest, p, some * width);
        vf_store_some(out, load(rest), some);
        n -= some;
        p += some * width;
        out += some;
    }
}

INLINE void encode_with(store_fn *store, size_t width, const float *x, uint8_t *p, size_t n)
{
    for (; n >= 16; n -= 16, p += 16 * width, x += 16)
        for (size_t i = 0; i < 16; i += LANES)
            store(p + i * width, vf_load(x + i));
    while (n > 0) {
        const size_t some = n < LANES ? n : LANES;
        uint8_t rest[LANES * sizeof(uint16_t)];
        store(rest, vf_load_some(x, some));
        memcpy(p, rest, some * width);
        n -= some;
        p += some * width;
        x += some;
    }
}

static void decode_f32(const void *stored, float *out, size_t n)
{
    memcpy(out, stored, n * sizeof(float));
}

static void encode_f32(const float *x, void *stored, size_t n)
{
    memcpy(stored, x, n * sizeof(float));
}

static void decode_f16(const void *stored, float *out, size_t n)
{
    decode_with(vf_load_f16, 2, stored, out, n);
}

static void encode_f16(const float *x, void *stored, size_t n)
{
    encode_with(store_f16, 2, x, stored, n);
}

INLINE vf load_bf16(const uint8_t *p)
{
    return (vf)(vu_load_u16(p) << 16);
}

INLINE void store_bf16(uint8_t *p, vf x)
{
    const vu bits = (vu)x;
    const vu rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    const vu nan = bits >> 16 | 0x40;
    store_u16(p, (vu)vi_select(vf_ne(x, x), (vi)nan, (vi)rounded));
}

static void decode_bf16(const void *stored, float *out, size_t n)
{
    decode_with(load_bf16, 2, stored, out, n);
}

static void encode_bf16(const float *x, void *stored, size_t n)
{
    encode_with(store_bf16, 2, x, stored, n);
}

INLINE vf load_e4m3(const uint8_t *p)
{
    const vu byte = (vu)vi_load_u8(p), code = byte & 0x7f;
    const vu finite = vu_magnitude_from_small(code, 3, 7);
    const vm is_nan = vi_eq((vi)code, vi_set(0x7f));
    return (vf)((byte & 0x80) << 24 | (vu)vi_select(is_nan, vi_set(F32_QNAN), (vi)finite));
}

INLINE void store_e4m3(uint8_t *p, vf x)
{
    const vu sign = (vu)x >> 24 & 0x80, magnitude = (vu)x & ~F32_SIGN;
    store_u8(p, (vi)(sign | vu_min(vu_small_from_magnitude(magnitude, 3, 7), 0x7f)));
}

/* Up to Inf the bits are those of an F16's upper half. */
INLINE vf load_e5m2(const uint8_t *p)
{
    const vu byte = (vu)vi_load_u8(p), code = byte & 0x7f;
    const vu finite = vu_magnitude_from_small(code, 2, 15);
    const vu nan = code << 21 | F32_QNAN;
    const vi special = vi_select(vi_gt((vi)code, vi_set(0x7c)), (vi)nan, vi_set(F32_INF));
    const vm is_special = vi_gt((vi)code, vi_set(0x7b));
    return (vf)((byte & 0x80) << 24 | (vu)vi_select(is_special, special, (vi)finite));
}

INLINE void store_e5m2(uint8_t *p, vf x)
{
    const vu sign = (vu)x >> 24 & 0x80, magnitude = (vu)x & ~F32_SIGN;
    const vu code = vu_min(vu_small_from_magnitude(magnitude, 2, 15), 0x7c);
    const vm is_nan = vi_gt((vi)magnitude, vi_set(F32_INF));
    store_u8(p, (vi)sign | vi_select(is_nan, vi_set(0x7f), (vi)code));
}

static void decode_f8_e4m3(const void *stored, float *out, size_t n)
{
    decode_with(load_e4m3, 1, stored, out, n);
}

static void encode_f8_e4m3(const float *x, void *stored, size_t n)
{
    encode_with(store_e4m3, 1, x, stored, n);
}

static void decode_f8_e5m2(const void *stored, float *out, size_t n)
{
    decode_with(load_e5m2, 1, stored, out, n);
}

static void encode_f8_e5m2(const float *x, void *stored, size_t n)
{
    encode_with(store_e5m2, 1, x, stored, n);
}

/* ---- blocks of 32 --------------------------------------------------------------------------- */

#define N32 (2 * N16)

INLINE float get_f16(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return f16_value(h);
}

INLINE void load32(vf v[N32], const float *x)
{
    for (int i = 0; i < N32; i++)
        v[i] = vf_load(x + i * LANES);
}

/* 1/d, and 0 both for d = 0 and for a d so small that its reciprocal is infinite. */
INLINE vf reciprocal(vf d)
{
    const vf id = 1.0f / d;
    return vf_select(vf_gt(vf_set(__builtin_inff()), vf_abs(id)), id, vf_set(0.0f));
}

INLINE vf max_of_32(const vf v[N32])
{
    vf max = v[0];
    for (int i = 1; i < N32; i++)
        max = vf_max(max, v[i]);
    return vf_max_across(max);
}

/* x[i] for the first i where v[i] is what. */
INLINE float first_equal(const float *x, const vf v[N32], vf what)
{
    uint32_t found = 1u << 31; /* in case of NaN */
    for (int i = 0; i < N32; i++)
        found |= (uint32_t)m_bits(vf_eq(v[i], what)) << i * LANES;
    return x[__builtin_ctz(found)];
}

/* Low nibbles are the first sixteen codes, high nibbles the others; fifth bits go before them. */
INLINE void put_codes(uint8_t *p, const vi codes[N32], bool five)
{
    if (five) {
        uint32_t fifth = 0;
        for (int i = 0; i < N32; i++)
            fifth |= (uint32_t)m_bits(vi_gt(codes[i], vi_set(15))) << i * LANES;
        memcpy(p, &fifth, sizeof fifth);
        p += sizeof fifth;
    }
    vi bytes[N16];
    for (int i = 0; i < N16; i++)
        bytes[i] = (codes[i] & 15) | (codes[i + N16] & 15) << 4;
    store16_u8(p, bytes);
}

/* Blocks are encoded in batches, a lane for each: first what the scales follow from, then all
 * scales at once, then the codes. One block after the other would wait for its divisions. */
INLINE size_t batch_blocks(size_t nelems)
{
    return nelems / 32 < LANES ? nelems / 32 : LANES;
}

/* Q4_0 and Q5_0: codes around half, such that the largest |x|, the first if there are several,
 * becomes code 0. */
INLINE void encode_symmetric(const float *x, uint8_t *p, size_t n, float half, bool five)
{
    const size_t block_bytes = five ? BYTES_Q5_0 : BYTES_Q4_0;
    while (n >= 32) {
        const size_t nblocks = batch_blocks(n);
        float max[LANES] = {0}, inverse[LANES], offset[LANES];
        uint8_t scale[2 * LANES];
        for (size_t k = 0; k < nblocks; k++) {
            vf v[N32];
            load32(v, x + 32 * k);
            for (int i = 0; i < N32; i++)
                v[i] = vf_abs(v[i]);
            max[k] = first_equal(x + 32 * k, v, max_of_32(v));
        }

        /* + 0 since a block of zeros of either sign counts as +0. */
        const vf d = (vf_load(max) + 0.0f) / -half;
        const vf id = reciprocal(d);
        /* With an infinite 1/d all codes are 0, see to_int() in reference_blocks.c. */
        const vm is_zero = vf_eq(id, vf_set(0.0f)), is_odd = m_and(is_zero, vf_ne(d, id));
        vf_store(inverse, id);
        vf_store(offset, vf_select(is_odd, vf_set(0.0f), vf_set(half + 0.5f)));
        store_f16(scale, d);

        for (size_t k = 0; k < nblocks; k++, x += 32, p += block_bytes) {
            vf v[N32];
            vi codes[N32];
            load32(v, x);
            for (int i = 0; i < N32; i++) {
                const vf q = v[i] * inverse[k] + offset[k];
                codes[i] = vi_trunc(vf_min(q, vf_set(2 * half - 1)));
            }
            memcpy(p, scale + 2 * k, 2);
            put_codes(p + 2, codes, five);
        }
        n -= 32 * nblocks;
    }
}

/* Q4_1 and Q5_1: codes 0 (the minimum) to top. */
INLINE void encode_from_min(const float *x, uint8_t *p, size_t n, float top, bool five)
{
    const size_t block_bytes = five ? BYTES_Q5_1 : BYTES_Q4_1;
    while (n >= 32) {
        const size_t nblocks = batch_blocks(n);
        float max[LANES] = {0}, min[LANES] = {0}, inverse[LANES];
        uint8_t scale[2 * LANES], minimum[2 * LANES];
        for (size_t k = 0; k < nblocks; k++) {
            vf v[N32], minus[N32];
            load32(v, x + 32 * k);
            for (int i = 0; i < N32; i++)
                minus[i] = -v[i];
            max[k] = max_of_32(v)[0];
            const vf least = -max_of_32(minus);
            /* The sign of the first zero is stored. */
            min[k] = least[0] == 0.0f ? first_equal(x + 32 * k, v, least) : least[0];
        }

        /* + 0 so that the range of a block of zeros is +0 whatever their signs. */
        const vf d = ((vf_load(max) + 0.0f) - vf_load(min)) / top;
        vf_store(inverse, reciprocal(d));
        store_f16(scale, d);
        store_f16(minimum, vf_load(min));

        for (size_t k = 0; k < nblocks; k++, x += 32, p += block_bytes) {
            vf v[N32];
            vi codes[N32];
            load32(v, x);
            for (int i = 0; i < N32; i++) {
                /* The range may be infinite, and the product NaN: max makes that 0. */
                const vf q = vf_max((v[i] - min[k]) * inverse[k] + 0.5f, vf_set(0.0f));
                codes[i] = vi_trunc(vf_min(q, vf_set(top)));
            }
            memcpy(p, scale + 2 * k, 2);
            memcpy(p + 2, minimum + 2 * k, 2);
            put_codes(p + 4, codes, five);
        }
        n -= 32 * nblocks;
    }
}

static void encode_q4_0(const float *x, void *stored, size_t n)
{
    encode_symmetric(x, stored, n, 8.0f, false);
}

static void encode_q5_0(const float *x, void *stored, size_t n)
{
    encode_symmetric(x, stored, n, 16.0f, true);
}

static void encode_q4_1(const float *x, void *stored, size_t n)
{
    encode_from_min(x, stored, n, 15.0f, false);
}

static void encode_q5_1(const float *x, void *stored, size_t n)
{
    encode_from_min(x, stored, n, 31.0f, true);
}

/* Half away from zero, as roundf() does: the largest float below a half keeps what is just below.
 */
INLINE vi round_away(vf x)
{
    const vu half = ((vu)x & F32_SIGN) | f32_bits(0.49999997f);
    return vi_trunc(x + (vf)half);
}

/* Scales of a batch of blocks, from the largest magnitude in each. */
INLINE vf q8_0_scales(const float max[LANES], float inverse[LANES], uint8_t scale[2 * LANES])
{
    const vf d = vf_load(max) / 127.0f;
    vf_store(inverse, reciprocal(d));
    store_f16(scale, d);
    return d;
}

static void encode_q8_0(const float *x, void *stored, size_t n)
{
    uint8_t *p = stored;
    while (n >= 32) {
        const size_t nblocks = batch_blocks(n);
        float max[LANES] = {0}, inverse[LANES];
        uint8_t scale[2 * LANES];
        for (size_t k = 0; k < nblocks; k++) {
            vf v[N32];
            load32(v, x + 32 * k);
            for (int i = 0; i < N32; i++)
                v[i] = vf_abs(v[i]);
            max[k] = max_of_32(v)[0];
        }
        q8_0_scales(max, inverse, scale);
        for (size_t k = 0; k < nblocks; k++, x += 32, p += BYTES_Q8_0) {
            vf v[N32];
            vi codes[N32];
            load32(v, x);
            for (int i = 0; i < N32; i++)
                codes[i] = round_away(v[i] * inverse[k]);
            memcpy(p, scale + 2 * k, 2);
            store16_i8(p + 2, codes);
            store16_i8(p + 18, codes + N16);
        }
        n -= 32 * nblocks;
    }
}

#define BF16_BITS 0xffff0000u /* of a number that has been made an f32 */
#define BF16_ABS  0x7fff0000u

/* Two BF16 numbers to a lane: to make them f32, one is cut out of it and the other moved up. Their
 * codes go back as pairs of bytes. */
static bool q8_0_from_bf16(const void *stored, void *out, size_t n)
{
    const uint8_t *x = stored;
    uint8_t *p = out;
    vi top = vi_set(0);
    vf top_scale = vf_set(0.0f);
    while (n >= 32) {
        const size_t nblocks = batch_blocks(n);
        float max[LANES] = {0}, inverse[LANES];
        uint8_t scale[2 * LANES];
        for (size_t k = 0; k < nblocks; k++) {
            vi most = vi_set(0);
            for (int i = 0; i < N16; i++) {
                const vu pairs = vu_load_bytes(x + 64 * k + i * 4 * LANES);
                most = vi_max(most, vi_max((vi)(pairs & BF16_ABS), (vi)(pairs << 16 & BF16_ABS)));
            }
            top = vi_max(top, most);
            max[k] = vf_max_across((vf)most)[0];
        }
        top_scale = vf_max(top_scale, q8_0_scales(max, inverse, scale));
        for (size_t k = 0; k < nblocks; k++, x += 64, p += BYTES_Q8_0) {
            memcpy(p, scale + 2 * k, 2);
            for (int i = 0; i < N16; i++) {
                const vu pairs = vu_load_bytes(x + i * 4 * LANES);
                const vi low = round_away((vf)(pairs << 16) * inverse[k]);
                const vi high = round_away((vf)(pairs & BF16_BITS) * inverse[k]);
                store_u16(p + 2 + i * 2 * LANES, (vu)((low & 0xff) | (high << 8 & 0xff00)));
            }
        }
        n -= 32 * nblocks;
    }
    const vm too_large = vf_gt(top_scale, vf_set(65519.996f)); /* becomes Inf in F16 */
    return m_bits(vi_gt(top, vi_set(F32_INF - 1))) == 0 && m_bits(too_large) == 0;
}

/* ---- decoding blocks of 32 ------------------------------------------------------------------ */

/* Of a byte, the low nibble is in codes[i], the high one in codes[i + N16]. */
INLINE void get_nibbles(const uint8_t *qs, vi codes[N32])
{
    for (int i = 0; i < N16; i++) {
        const vi byte = vi_load_u8(qs + i * LANES);
        codes[i] = byte & 15;
        codes[i + N16] = byte >> 4;
    }
}

INLINE void add_fifth_bits(const uint8_t *qh, vi codes[N32])
{
    static const int32_t one_each[16] = {1,       1 << 1,  1 << 2,  1 << 3, 1 << 4,  1 << 5,
                                         1 << 6,  1 << 7,  1 << 8,  1 << 9, 1 << 10, 1 << 11,
                                         1 << 12, 1 << 13, 1 << 14, 1 << 15};
    vi lane_bit;
    memcpy(&lane_bit, one_each, sizeof lane_bit);
    uint32_t bits;
    memcpy(&bits, qh, sizeof bits);
    for (int i = 0; i < N32; i++) {
        const vi mine = vi_set((int32_t)(bits >> i * LANES)) & lane_bit;
        codes[i] |= vi_select(vi_eq(mine, vi_set(0)), vi_set(0), vi_set(16));
    }
}

INLINE void store_scaled(float *out, const vi codes[N32], int offset, float d)
{
    for (int i = 0; i < N32; i++)
        vf_store(out + i * LANES, vf_from_vi(codes[i] - offset) * d);
}

INLINE void store_scaled_plus(float *out, const vi codes[N32], float d, float m)
{
    for (int i = 0; i < N32; i++)
        vf_store(out + i * LANES, vf_from_vi(codes[i]) * d + m);
}

static void decode_q4_0(const void *stored, float *out, size_t n)
{
    const uint8_t *p = stored;
    for (; n >= 32; n -= 32, out += 32, p += BYTES_Q4_0) {
        vi codes[N32];
        get_nibbles(p + 2, codes);
        store_scaled(out, codes, 8, get_f16(p));
    }
}

static void decode_q5_0(const void *stored, float *out, size_t n)
{
    const uint8_t *p = stored;
    for (; n >= 32; n -= 32, out += 32, p += BYTES_Q5_0) {
        vi codes[N32];
        get_nibbles(p + 6, codes);
        add_fifth_bits(p + 2, codes);
        store_scaled(out, codes, 16, get_f16(p));
    }
}

static void decode_q4_1(const void *stored, float *out, size_t n)
{
    const uint8_t *p = stored;
    for (; n >= 32; n -= 32, out += 32, p += BYTES_Q4_1) {
        vi codes[N32];
        get_nibbles(p + 4, codes);
        store_scaled_plus(out, codes, get_f16(p), get_f16(p + 2));
    }
}

static void decode_q5_1(const void *stored, float *out, size_t n)
{
    const uint8_t *p = stored;
    for (; n >= 32; n -= 32, out += 32, p += BYTES_Q5_1) {
        vi codes[N32];
        get_nibbles(p + 8, codes);
        add_fifth_bits(p + 4, codes);
        store_scaled_plus(out, codes, get_f16(p), get_f16(p + 2));
    }
}

static void decode_q8_0(const void *stored, float *out, size_t n)
{
    const uint8_t *p = stored;
    for (; n >= 32; n -= 32, out += 32, p += BYTES_Q8_0) {
        vi codes[N32];
        for (int i = 0; i < N32; i++)
            codes[i] = vi_load_i8(p + 2 + i * LANES);
        store_scaled(out, codes, 0, get_f16(p));
    }
}

#include "k_search.inc"

#include "k_types.inc"

#include "levels.inc"

#include "weighted32.inc"

#include "levels_decode.inc"

#include "k_decode.inc"

#include "grid.inc"

#include "iq1.inc"

#include "grid_decode.inc"

#include "merging.inc"

#include "bf16.inc"

#include "divergence.inc"

#include "sparse.inc"

#include "task_bf16.inc"

#include "errors.inc"

#include "product.inc"

/* ---- the table ------------------------------------------------------------------------------ */

#define TABLE(isa)       TABLE_PASTE(isa)
#define TABLE_PASTE(isa) kernels_##isa
#define NAME(isa)        NAME_QUOTE(isa)
#define NAME_QUOTE(isa)  #isa

extern const struct kernels TABLE(KERNELS_ISA);

/* One slot a line. */
/* clang-format off */
const struct kernels TABLE(KERNELS_ISA) = {
    .name = NAME(KERNELS_ISA),
    .decode = {
        [DTYPE_F32] = decode_f32,
        [DTYPE_F16] = decode_f16,
        [DTYPE_BF16] = decode_bf16,
        [DTYPE_F8_E4M3] = decode_f8_e4m3,
        [DTYPE_F8_E5M2] = decode_f8_e5m2,
        [DTYPE_Q4_0] = decode_q4_0,
        [DTYPE_Q4_1] = decode_q4_1,
        [DTYPE_Q5_0] = decode_q5_0,
        [DTYPE_Q5_1] = decode_q5_1,
        [DTYPE_Q8_0] = decode_q8_0,
        [DTYPE_Q2_K] = decode_q2_k,
        [DTYPE_Q3_K] = decode_q3_k,
        [DTYPE_Q4_K] = decode_q4_k,
        [DTYPE_Q5_K] = decode_q5_k,
        [DTYPE_Q6_K] = decode_q6_k,
        [DTYPE_IQ2_XXS] = decode_iq2_xxs,
        [DTYPE_IQ2_XS] = decode_iq2_xs,
        [DTYPE_IQ2_S] = decode_iq2_s,
        [DTYPE_IQ3_XXS] = decode_iq3_xxs,
        [DTYPE_IQ3_S] = decode_iq3_s,
        [DTYPE_IQ1_S] = decode_iq1_s,
        [DTYPE_IQ1_M] = decode_iq1_m,
        [DTYPE_IQ4_NL] = decode_iq4_nl,
        [DTYPE_IQ4_XS] = decode_iq4_xs,
        [DTYPE_TQ1_0] = decode_tq1_0,
        [DTYPE_TQ2_0] = decode_tq2_0,
        [DTYPE_MXFP4] = decode_mxfp4,
        [DTYPE_NVFP4] = decode_nvfp4,
        [DTYPE_Q1_0] = decode_q1_0,
        [DTYPE_Q2_0] = decode_q2_0,
    },
    .encode = {
        [DTYPE_F32] = encode_f32,
        [DTYPE_F16] = encode_f16,
        [DTYPE_BF16] = encode_bf16,
        [DTYPE_F8_E4M3] = encode_f8_e4m3,
        [DTYPE_F8_E5M2] = encode_f8_e5m2,
        [DTYPE_Q4_0] = encode_q4_0,
        [DTYPE_Q4_1] = encode_q4_1,
        [DTYPE_Q5_0] = encode_q5_0,
        [DTYPE_Q5_1] = encode_q5_1,
        [DTYPE_Q8_0] = encode_q8_0,
        [DTYPE_Q2_K] = encode_q2_k,
        [DTYPE_Q3_K] = encode_q3_k,
        [DTYPE_Q4_K] = encode_q4_k,
        [DTYPE_Q5_K] = encode_q5_k,
        [DTYPE_Q6_K] = encode_q6_k,
        [DTYPE_IQ2_S] = encode_iq2_s,
        [DTYPE_IQ3_XXS] = encode_iq3_xxs,
        [DTYPE_IQ3_S] = encode_iq3_s,
        [DTYPE_IQ1_M] = encode_iq1_m,
        [DTYPE_IQ4_NL] = encode_iq4_nl,
        [DTYPE_IQ4_XS] = encode_iq4_xs,
        [DTYPE_TQ1_0] = encode_tq1_0,
        [DTYPE_TQ2_0] = encode_tq2_0,
        [DTYPE_MXFP4] = encode_mxfp4,
        [DTYPE_NVFP4] = encode_nvfp4,
        [DTYPE_Q1_0] = encode_q1_0,
        [DTYPE_Q2_0] = encode_q2_0,
    },
    .encode_im = {
        [DTYPE_Q4_0] = encode_im_q4_0,
        [DTYPE_Q4_1] = encode_im_q4_1,
        [DTYPE_Q5_0] = encode_im_q5_0,
        [DTYPE_Q5_1] = encode_im_q5_1,
        [DTYPE_Q2_K] = encode_im_q2_k,
        [DTYPE_Q3_K] = encode_im_q3_k,
        [DTYPE_Q4_K] = encode_im_q4_k,
        [DTYPE_Q5_K] = encode_im_q5_k,
        [DTYPE_Q6_K] = encode_im_q6_k,
        [DTYPE_IQ2_XXS] = encode_im_iq2_xxs,
        [DTYPE_IQ2_XS] = encode_im_iq2_xs,
        [DTYPE_IQ2_S] = encode_im_iq2_s,
        [DTYPE_IQ3_XXS] = encode_im_iq3_xxs,
        [DTYPE_IQ3_S] = encode_im_iq3_s,
        [DTYPE_IQ1_S] = encode_im_iq1_s,
        [DTYPE_IQ1_M] = encode_im_iq1_m,
        [DTYPE_IQ4_NL] = encode_im_iq4_nl,
        [DTYPE_IQ4_XS] = encode_im_iq4_xs,
    },
    .first_beyond = first_beyond,
    .weighted_sum = weighted_sum,
    .product = product,
    .q8_0_from_bf16 = q8_0_from_bf16,
    .pair_dots = pair_dots,
    .gram = gram,
    .weighted_sum_bf16 = weighted_sum_bf16,
    .gram_bf16 = gram_bf16,
    .exp_sum = exp_sum,
    .divergence = divergence,
    .block_errors = block_errors,
    .weighted_errors = weighted_errors,
    .delta_magnitude = delta_magnitude,
    .radix_count = radix_count,
    .count_equal = count_equal,
    .ties = ties,
    .random_bits = random_bits,
    .kept_deltas = kept_deltas,
    .kept_sums = kept_sums,
    .random_kept = random_kept,
    .kept_sums_bf16 = kept_sums_bf16,
    .count_deltas_bf16 = count_deltas_bf16,
    .mix_bf16 = mix_bf16,
};
/* clang-format on */
