/* reference_blocks.c - scalar codecs of the block types, byte for byte those of llama.cpp.
 *
 * Sums run in index order in one float and every operation rounds once: that order is the format's
 * reference. Only the F16 form of a scale is stored, but codes are chosen with the scale before
 * that rounding unless a comment says otherwise. */
#include "reference.h"

#include <math.h>

#include "core/load.h"
#include "grids.h"
#include "levels.h"
#include "searches.h"
#include "small_floats.h"

/* Defines reference_decode_ID from decode_ID, which does one block. */
#define X(id, block)                                                          \
    static void decode_##id(const struct block *b, float *y);                 \
    void reference_decode_##id(const void *stored, float *out, size_t nelems) \
    {                                                                         \
        const char *p = stored;                                               \
        for (size_t i = 0; i < nelems / ELEMS_##id; i++) {                    \
            struct block b;                                                   \
            memcpy(&b, p + i * sizeof b, sizeof b);                           \
            decode_##id(&b, out + i * ELEMS_##id);                            \
        }                                                                     \
    }
BLOCK_LIST(X)
#undef X

#define X(id, block) DEFINE_ENCODE(id, block)
SIMPLE_ENCODE_LIST(X)
#undef X

/* Nibble j of a block of 32: low halves first, then high halves. */
static int nibble(const uint8_t *qs, int j)
{
    return j < 16 ? qs[j] & 15 : qs[j - 16] >> 4;
}

/* ---- decoding: 32 weights, one scale -------------------------------------------------------- */

static void decode_Q4_0(const struct block_q4_0 *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int j = 0; j < 32; j++)
        y[j] = (float)(nibble(b->qs, j) - 8) * d;
}

static void decode_Q4_1(const struct block_q4_1 *b, float *y)
{
    const float d = f16_to_f32(b->d), m = f16_to_f32(b->m);
    for (int j = 0; j < 32; j++)
        y[j] = (float)nibble(b->qs, j) * d + m;
}

static int fifth_bit(const uint8_t *qh, int j)
{
    return (int)(load_u32(qh) >> j & 1) << 4;
}

static void decode_Q5_0(const struct block_q5_0 *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int j = 0; j < 32; j++)
        y[j] = (float)((nibble(b->qs, j) | fifth_bit(b->qh, j)) - 16) * d;
}

static void decode_Q5_1(const struct block_q5_1 *b, float *y)
{
    const float d = f16_to_f32(b->d), m = f16_to_f32(b->m);
    for (int j = 0; j < 32; j++)
        y[j] = (float)(nibble(b->qs, j) | fifth_bit(b->qh, j)) * d + m;
}

static void decode_Q8_0(const struct block_q8_0 *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int j = 0; j < 32; j++)
        y[j] = (float)b->qs[j] * d;
}

static void decode_Q8_1(const struct block_q8_1 *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int j = 0; j < 32; j++)
        y[j] = (float)b->qs[j] * d;
}

static void decode_Q1_0(const struct block_q1_0 *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int j = 0; j < ELEMS_Q1_0; j++)
        y[j] = b->qs[j / 8] >> j % 8 & 1 ? d : -d;
}

static void decode_Q2_0(const struct block_q2_0 *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int j = 0; j < ELEMS_Q2_0; j++)
        y[j] = (float)((b->qs[j / 4] >> j % 4 * 2 & 3) - 1) * d;
}

/* ---- decoding: 4-bit levels from a table ---------------------------------------------------- */

static void decode_MXFP4(const struct block_mxfp4 *b, float *y)
{
    const float d = mxfp4_scale(b->e);
    for (int j = 0; j < 32; j++)
        y[j] = (float)fp4_levels[nibble(b->qs, j)] * d;
}

static void decode_NVFP4(const struct block_nvfp4 *b, float *y)
{
    for (int s = 0; s < 4; s++) {
        const float d = nvfp4_scale(b->d[s]);
        const uint8_t *qs = b->qs + 8 * s;
        for (int j = 0; j < 16; j++)
            y[16 * s + j] = (float)fp4_levels[j < 8 ? qs[j] & 15 : qs[j - 8] >> 4] * d;
    }
}

static void decode_IQ4_NL(const struct block_iq4_nl *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int j = 0; j < 32; j++)
        y[j] = (float)iq4_levels[nibble(b->qs, j)] * d;
}

static void decode_IQ4_XS(const struct block_iq4_xs *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int s = 0; s < SUPER / 32; s++) {
        const int low = b->scales_l[s / 2] >> s % 2 * 4 & 15;
        const int high = b->scales_h >> 2 * s & 3;
        const float scale = d * (float)((low | high << 4) - 32);
        for (int j = 0; j < 32; j++)
            y[32 * s + j] = scale * (float)iq4_levels[nibble(b->qs + 16 * s, j)];
    }
}

/* ---- decoding: super-blocks of 256 ---------------------------------------------------------- */

/* Two bits of weight e: four stretches of 32 weights share 32 bytes. */
static int low_two_bits(const uint8_t *qs, int e)
{
    return qs[e / 128 * 32 + e % 32] >> e % 128 / 32 * 2 & 3;
}

static void decode_Q2_K(const struct block_q2_k *b, float *y)
{
    const float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
    for (int e = 0; e < SUPER; e++) {
        const uint8_t scale = b->scales[e / 16];
        y[e] = d * (float)(scale & 15) * (float)low_two_bits(b->qs, e) - dmin * (float)(scale >> 4);
    }
}

static void decode_Q3_K(const struct block_q3_k *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int e = 0; e < SUPER; e++) {
        const int s = e / 16;
        const int low = s < 8 ? b->scales[s] & 15 : b->scales[s - 8] >> 4;
        const int high = b->scales[8 + s % 4] >> s / 4 * 2 & 3;
        const int minus = b->hmask[e % 32] >> e / 32 & 1 ? 0 : 4;
        y[e] = d * (float)((low | high << 4) - 32) * (float)(low_two_bits(b->qs, e) - minus);
    }
}

/* Four bits of weight e: two stretches of 32 weights share 32 bytes. */
static int low_four_bits(const uint8_t *qs, int e)
{
    return qs[e / 64 * 32 + e % 32] >> e % 64 / 32 * 4 & 15;
}

static void decode_Q4_K(const struct block_q4_k *b, float *y)
{
    const float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
    for (int e = 0; e < SUPER; e++) {
        int scale, min;
        scale_and_min(b->scales, e / 32, &scale, &min);
        y[e] = d * (float)scale * (float)low_four_bits(b->qs, e) - dmin * (float)min;
    }
}

static void decode_Q5_K(const struct block_q5_k *b, float *y)
{
    const float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
    for (int e = 0; e < SUPER; e++) {
        int scale, min;
        scale_and_min(b->scales, e / 32, &scale, &min);
        const int code = low_four_bits(b->qs, e) | (b->qh[e % 32] >> e / 32 & 1) << 4;
        y[e] = d * (float)scale * (float)code - dmin * (float)min;
    }
}

static void decode_Q6_K(const struct block_q6_k *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int e = 0; e < SUPER; e++) {
        const int s = e / 16, half = e / 128, quarter = e % 128 / 32, l = e % 32;
        const int low = b->ql[64 * half + quarter % 2 * 32 + l] >> quarter / 2 * 4 & 15;
        const int high = b->qh[32 * half + l] >> quarter * 2 & 3;
        y[e] = d * (float)b->scales[s] * (float)((low | high << 4) - 32);
    }
}

static void decode_Q8_K(const struct block_q8_k *b, float *y)
{
    for (int e = 0; e < SUPER; e++)
        y[e] = b->d * (float)b->qs[e];
}

/* ---- decoding: ternary ---------------------------------------------------------------------- */

/* Trit n of a byte: the byte is the number 0.t0t1t2t3t4 in base 3, scaled to 256. */
static int trit(uint8_t byte, int n)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    return (byte * power[n] & 255) * 3 >> 8;
}

static void decode_TQ1_0(const struct block_tq1_0 *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int e = 0; e < 160; e++)
        y[e] = (float)(trit(b->qs[e % 32], e / 32) - 1) * d;
    for (int e = 0; e < 80; e++)
        y[160 + e] = (float)(trit(b->qs[32 + e % 16], e / 16) - 1) * d;
    for (int e = 0; e < 16; e++)
        y[240 + e] = (float)(trit(b->qh[e % 4], e / 4) - 1) * d;
}

static void decode_TQ2_0(const struct block_tq2_0 *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int e = 0; e < SUPER; e++)
        y[e] = (float)(low_two_bits(b->qs, e) - 1) * d;
}

/* ---- decoding: grids ------------------------------------------------------------------------ */

static const uint8_t iq2_levels[4] = {8, 25, 43, 0};
static const uint8_t iq3_xxs_levels[8] = {4, 12, 20, 28, 36, 44, 52, 62};

/* Seven stored signs; the eighth makes their number even. */
static int even_signs(uint32_t seven)
{
    return (int)(seven & 127) | __builtin_parity(seven & 127) << 7;
}

/* Eight weights of one IQ2 grid point. */
static void decode_iq2_point(uint16_t code, int signs, float d, float *y)
{
    for (int j = 0; j < 8; j++)
        y[j] = d * (float)iq2_levels[code >> 2 * j & 3] * (signs >> j & 1 ? -1.0f : 1.0f);
}

static void decode_IQ2_XXS(const struct block_iq2_xxs *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int s = 0; s < SUPER / 32; s++) {
        const uint16_t *q = b->qs + 4 * s;
        const uint32_t points = q[0] | (uint32_t)q[1] << 16;
        const uint32_t signs = q[2] | (uint32_t)q[3] << 16;
        const float scale = d * (0.5f + (float)(signs >> 28)) * 0.25f;
        for (int g = 0; g < 4; g++)
            decode_iq2_point(iq2xxs_codes[points >> 8 * g & 255], even_signs(signs >> 7 * g), scale,
                             y + 32 * s + 8 * g);
    }
}

/* Scale of group g of eight weights, a nibble per two groups. */
static float iq2_scale(float d, const uint8_t *scales, int g)
{
    return d * (0.5f + (float)(scales[g / 4] >> g % 4 / 2 * 4 & 15)) * 0.25f;
}

static void decode_IQ2_XS(const struct block_iq2_xs *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int g = 0; g < SUPER / 8; g++)
        decode_iq2_point(iq2xs_codes[b->qs[g] & 511], even_signs(b->qs[g] >> 9u),
                         iq2_scale(d, b->scales, g), y + 8 * g);
}

static void decode_IQ2_S(const struct block_iq2_s *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int g = 0; g < SUPER / 8; g++) {
        const int high = b->qh[g / 4] >> g % 4 * 2 & 3;
        decode_iq2_point(iq2s_codes[b->qs[g] | high << 8], b->signs[g], iq2_scale(d, b->scales, g),
                         y + 8 * g);
    }
}

static void decode_IQ3_XXS(const struct block_iq3_xxs *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int e = 0; e < SUPER; e++) {
        const uint32_t extra = load_u32(b->signs_scales + e / 32 * 4);
        const float scale = d * (0.5f + (float)(extra >> 28)) * 0.5f;
        const int level = iq3xxs_codes[b->qs[e / 4]] >> e % 4 * 3 & 7;
        const int minus = even_signs(extra >> e % 32 / 8 * 7) >> e % 8 & 1;
        y[e] = scale * (float)iq3_xxs_levels[level] * (minus ? -1.0f : 1.0f);
    }
}

static void decode_IQ3_S(const struct block_iq3_s *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int e = 0; e < SUPER; e++) {
        const int scale_bits = b->scales[e / 64] >> e % 64 / 32 * 4 & 15;
        const float scale = d * (float)(1 + 2 * scale_bits);
        const int point = b->qs[e / 4] | (b->qh[e / 32] >> e % 32 / 4 & 1) << 8;
        const int level = iq3s_codes[point] >> e % 4 * 3 & 7;
        const int minus = b->signs[e / 8] >> e % 8 & 1;
        y[e] = scale * (float)(2 * level + 1) * (minus ? -1.0f : 1.0f);
    }
}

/* Eight weights of one IQ1 grid point: levels -1, 0, 1, all moved by an eighth. */
static void decode_iq1_point(uint16_t code, bool down, float d, float *y)
{
    for (int j = 0; j < 8; j++)
        y[j] = d * ((float)((code >> 2 * j & 3) - 1) + (down ? -0.125f : 0.125f));
}

static void decode_IQ1_S(const struct block_iq1_s *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int g = 0; g < SUPER / 8; g++) {
        const int qh = b->qh[g / 4];
        const float scale = d * (float)(2 * (qh >> 12 & 7) + 1);
        const int point = b->qs[g] | (qh >> g % 4 * 3 & 7) << 8;
        decode_iq1_point(iq1s_codes[point], qh >> 15 & 1, scale, y + 8 * g);
    }
}

static void decode_IQ1_M(const struct block_iq1_m *b, float *y)
{
    const float d = f16_to_f32(iq1_m_scale(b));
    for (int g = 0; g < SUPER / 8; g++) {
        const int i = g / 2; /* sub-block of 16 */
        const float scale = d * (float)(2 * (b->scales[i / 4] >> i % 4 * 3 & 7) + 1);
        const int qh = b->qh[i] >> g % 2 * 4;
        const int point = b->qs[g] | (qh & 7) << 8;
        decode_iq1_point(iq1s_codes[point], qh & 8, scale, y + 8 * g);
    }
}

/* ---- encoding ------------------------------------------------------------------------------- */

static int to_i8(float x)
{
    return (int8_t)to_int(x);
}

static uint8_t to_u8(float x)
{
    return (uint8_t)to_int(x);
}

static void min_and_max(const float *x, int n, float *min, float *max)
{
    *min = x[0];
    *max = x[0];
    for (int j = 1; j < n; j++) {
        if (x[j] < *min)
            *min = x[j];
        if (x[j] > *max)
            *max = x[j];
    }
}

static void encode_Q4_0(const float *x, struct block_q4_0 *b)
{
    const float d = signed_max(x, 32) / -8.0f; /* -0.0 for a block of zeros, and stored so */
    const float id = reciprocal(d);
    b->d = f16_from_f32(d);
    for (int j = 0; j < 16; j++) {
        const int low = min_int(15, to_i8(x[j] * id + 8.5f));
        const int high = min_int(15, to_i8(x[j + 16] * id + 8.5f));
        b->qs[j] = (uint8_t)(low | high << 4);
    }
}

static void encode_Q4_1(const float *x, struct block_q4_1 *b)
{
    float min, max;
    min_and_max(x, 32, &min, &max);
    const float d = (max - min) / 15.0f;
    const float id = reciprocal(d);
    b->d = f16_from_f32(d);
    b->m = f16_from_f32(min);
    for (int j = 0; j < 16; j++) {
        const int low = min_int(15, to_i8((x[j] - min) * id + 0.5f));
        const int high = min_int(15, to_i8((x[j + 16] - min) * id + 0.5f));
        b->qs[j] = (uint8_t)(low | high << 4);
    }
}

static void encode_Q5_0(const float *x, struct block_q5_0 *b)
{
    const float d = signed_max(x, 32) / -16.0f;
    const float id = reciprocal(d);
    uint8_t codes[32];
    for (int j = 0; j < 32; j++)
        codes[j] = (uint8_t)min_int(31, to_i8(x[j] * id + 16.5f));
    b->d = f16_from_f32(d);
    pack_5_bits(codes, b->qs, b->qh);
}

static void encode_Q5_1(const float *x, struct block_q5_1 *b)
{
    float min, max;
    min_and_max(x, 32, &min, &max);
    const float d = (max - min) / 31.0f;
    const float id = reciprocal(d);
    uint8_t codes[32];
    for (int j = 0; j < 32; j++)
        codes[j] = to_u8((x[j] - min) * id + 0.5f);
    b->d = f16_from_f32(d);
    b->m = f16_from_f32(min);
    pack_5_bits(codes, b->qs, b->qh);
}

static void encode_Q8_0(const float *x, struct block_q8_0 *b)
{
    const float d = fabsf(signed_max(x, 32)) / 127.0f;
    const float id = reciprocal(d);
    b->d = f16_from_f32(d);
    for (int j = 0; j < 32; j++)
        b->qs[j] = (int8_t)to_int(roundf(x[j] * id));
}
