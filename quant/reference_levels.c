/* reference_levels.c - scalar encoders of the types that are neither K types nor grids: tables of
 * levels, small floats, one to three levels, and 32 weights with importance.
 *
 * Byte for byte those of llama.cpp: sums run in index order in one float and every operation rounds
 * once. */
#include "reference.h"

#include "levels.h"
#include "searches.h"

#define X(id, block) DEFINE_ENCODE(id, block)
LEVEL_ENCODE_LIST(X)
#undef X

#define X(id, block) DEFINE_ENCODE_IM(id, block)
LEVEL_ENCODE_IM_LIST(X)
#undef X

/* ---- 32 weights with importance ------------------------------------------------------------- */

/* How much a weight counts: its importance, more so when it is large next to the others. */
static void importance_weights(const float *x, const float *qw, float sigma2, int n, float *w)
{
    for (int i = 0; i < n; i++)
        w[i] = qw[i] * sqrtf(sigma2 + x[i] * x[i]);
}

static void encode_im_Q4_0(const float *x, const float *qw, float row_sigma2, struct block_q4_0 *b)
{
    float w[32];
    uint8_t codes[32];
    importance_weights(x, qw, row_sigma2, 32, w);
    b->d = f16_from_f32(search_symmetric(x, w, 32, 8, codes));
    pack_4_bits(codes, b->qs);
}

static void encode_im_Q5_0(const float *x, const float *qw, float row_sigma2, struct block_q5_0 *b)
{
    float w[32];
    uint8_t codes[32];
    importance_weights(x, qw, row_sigma2, 32, w);
    b->d = f16_from_f32(search_symmetric(x, w, 32, 16, codes));
    pack_5_bits(codes, b->qs, b->qh);
}

static void encode_im_Q4_1(const float *x, const float *qw, float row_sigma2, struct block_q4_1 *b)
{
    float w[32], min;
    uint8_t codes[32];
    importance_weights(x, qw, row_sigma2, 32, w);
    b->d = f16_from_f32(search_with_min(x, w, 32, 15, -0.9f, 0.05f, 36, false, codes, &min));
    b->m = f16_from_f32(-min);
    pack_4_bits(codes, b->qs);
}

static void encode_im_Q5_1(const float *x, const float *qw, float row_sigma2, struct block_q5_1 *b)
{
    float w[32], min;
    uint8_t codes[32];
    importance_weights(x, qw, row_sigma2, 32, w);
    b->d = f16_from_f32(search_with_min(x, w, 32, 31, -0.9f, 0.05f, 36, false, codes, &min));
    b->m = f16_from_f32(-min);
    pack_5_bits(codes, b->qs, b->qh);
}

/* ---- IQ4_NL, IQ4_XS ------------------------------------------------------------------------- */

/* The level nearest to x, the upper one of two that are equally near. */
static int nearest_iq4(float x)
{
    if (x <= (float)iq4_levels[0])
        return 0;
    int upper = 1;
    while (upper < 15 && !(x < (float)iq4_levels[upper]))
        upper++;
    if (x >= (float)iq4_levels[15])
        return 15;
    return x - (float)iq4_levels[upper - 1] < (float)iq4_levels[upper] - x ? upper - 1 : upper;
}

static void iq4_codes(const float *x, float inverse, uint8_t *codes)
{
    for (int j = 0; j < 32; j++)
        codes[j] = (uint8_t)nearest_iq4(inverse * x[j]);
}

static struct code_sums iq4_sums(const float *x, const float *w, float inverse)
{
    struct code_sums sum = {0.0f, 0.0f};
    for (int j = 0; j < 32; j++) {
        const float q = (float)iq4_levels[nearest_iq4(inverse * x[j])];
        sum.lx += w[j] * q * x[j];
        sum.l2 += w[j] * q * q;
    }
    return sum;
}

/* The scale for 32 weights: tries those that map the largest weight to -127, then to -134..-120. */
static float search_iq4(const float *x, const float *w)
{
    const float max = signed_max(x, 32);
    if (fabsf(max) < TINY)
        return 0.0f;
    struct code_sums sum = iq4_sums(x, w, 1.0f / (-max / (float)iq4_levels[0]));
    float scale = sum.l2 > 0.0f ? sum.lx / sum.l2 : 0.0f;
    float best = scale * sum.lx;
    for (int step = -7; step <= 7; step++) {
        sum = iq4_sums(x, w, (float)(step + iq4_levels[0]) / max);
        if (sum.l2 > 0.0f && sum.lx * sum.lx > best * sum.l2) {
            scale = sum.lx / sum.l2;
            best = scale * sum.lx;
        }
    }
    return scale;
}

/* Weights for n elements: with importance as above, but sigma2 is twice the mean square and of the
 * block alone; without, the square of each. */
static void iq4_weights(const float *x, const float *qw, int n, float *w)
{
    float sum = 0.0f;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    if (qw)
        importance_weights(x, qw, sum * (2.0f / (float)n), n, w);
    else
        for (int i = 0; i < n; i++)
            w[i] = x[i] * x[i];
}

static void encode_iq4_nl_block(const float *x, const float *qw, struct block_iq4_nl *b)
{
    float w[32];
    uint8_t codes[32];
    iq4_weights(x, qw, 32, w);
    const float d = search_iq4(x, w);
    b->d = f16_from_f32(d);
    iq4_codes(x, reciprocal(d), codes);
    pack_4_bits(codes, b->qs);
}

static void encode_iq4_xs_block(const float *x, const float *qw, struct block_iq4_xs *b)
{
    enum { NSUB = SUPER / 32 };
    float w[SUPER], scales[NSUB];
    iq4_weights(x, qw, SUPER, w);
    for (int s = 0; s < NSUB; s++)
        scales[s] = search_iq4(x + 32 * s, w + 32 * s);

    memset(b, 0, sizeof *b);
    const float d = -signed_max(scales, NSUB) / 32.0f;
    const float id = reciprocal(d);
    b->d = f16_from_f32(d);
    for (int s = 0; s < NSUB; s++) {
        const int l = clamp_int(nearest(id * scales[s]), -32, 31);
        uint8_t codes[32];
        iq4_codes(x + 32 * s, reciprocal(d * (float)l), codes);
        pack_4_bits(codes, b->qs + 16 * s);
        b->scales_l[s / 2] |= (uint8_t)(((l + 32) & 15) << s % 2 * 4);
        b->scales_h |= (uint16_t)((l + 32) >> 4 << 2 * s);
    }
}

static void encode_IQ4_NL(const float *x, struct block_iq4_nl *b)
{
    encode_iq4_nl_block(x, NULL, b);
}

static void encode_im_IQ4_NL(const float *x, const float *qw, float row_sigma2,
                             struct block_iq4_nl *b)
{
    (void)row_sigma2;
    encode_iq4_nl_block(x, qw, b);
}

static void encode_IQ4_XS(const float *x, struct block_iq4_xs *b)
{
    encode_iq4_xs_block(x, NULL, b);
}

static void encode_im_IQ4_XS(const float *x, const float *qw, float row_sigma2,
                             struct block_iq4_xs *b)
{
    (void)row_sigma2;
    encode_iq4_xs_block(x, qw, b);
}

/* ---- one, two and three levels -------------------------------------------------------------- */

static void encode_Q1_0(const float *x, struct block_q1_0 *b)
{
    float sum = 0.0f;
    memset(b, 0, sizeof *b);
    for (int j = 0; j < ELEMS_Q1_0; j++) {
        sum += fabsf(x[j]);
        b->qs[j / 8] |= (uint8_t)((x[j] >= 0.0f) << j % 8);
    }
    b->d = f16_from_f32(sum / (float)ELEMS_Q1_0);
}

/* Code 3, twice the scale, is never used: the scale is that of the largest weight. */
static void encode_Q2_0(const float *x, struct block_q2_0 *b)
{
    const float d = fabsf(signed_max(x, ELEMS_Q2_0));
    const float id = reciprocal(d);
    memset(b, 0, sizeof *b);
    b->d = f16_from_f32(d);
    for (int j = 0; j < ELEMS_Q2_0; j++) {
        const int q = clamp_int(to_int(roundf(x[j] * id)), -1, 2) + 1;
        b->qs[j / 4] |= (uint8_t)(q << j % 4 * 2);
    }
}

/* 0, 1, 2 for -1, 0, 1. An infinite quotient, of weights so small that their reciprocal is one,
 * comes out as 1. */
static int to_trit(float x)
{
    return x >= -2.0f && x <= 2.0f ? (int)roundf(x) + 1 : 1;
}

/* Trits of weights x[0], x[stride] ... as a fraction in base 3, scaled to 256 and rounded up. */
static uint8_t pack_trits(const float *x, int ntrits, int stride, float id)
{
    int number = 0;
    for (int n = 0; n < 5; n++)
        number = 3 * number + (n < ntrits ? to_trit(x[n * stride] * id) : 0);
    return (uint8_t)((number * 256 + 242) / 243);
}

static void encode_TQ1_0(const float *x, struct block_tq1_0 *b)
{
    const float d = fabsf(signed_max(x, SUPER));
    const float id = reciprocal(d);
    b->d = f16_from_f32(d);
    for (int j = 0; j < 32; j++)
        b->qs[j] = pack_trits(x + j, 5, 32, id);
    for (int j = 0; j < 16; j++)
        b->qs[32 + j] = pack_trits(x + 160 + j, 5, 16, id);
    for (int j = 0; j < 4; j++)
        b->qh[j] = pack_trits(x + 240 + j, 4, 4, id);
}

static void encode_TQ2_0(const float *x, struct block_tq2_0 *b)
{
    const float d = fabsf(signed_max(x, SUPER));
    const float id = reciprocal(d);
    memset(b, 0, sizeof *b);
    b->d = f16_from_f32(d);
    for (int e = 0; e < SUPER; e++)
        b->qs[e / 128 * 32 + e % 32] |= (uint8_t)(to_trit(x[e] * id) << e % 128 / 32 * 2);
}

/* ---- FP4 ------------------------------------------------------------------------------------ */

/* The first of the nearest levels: of two equally near ones that is the smaller in size. */
static int nearest_fp4(float x, float scale)
{
    int best = 0;
    float least = fabsf(x);
    for (int i = 1; i < 16; i++) {
        const float error = fabsf((float)fp4_levels[i] * scale - x);
        if (error < least) {
            best = i;
            least = error;
        }
    }
    return best;
}

static void encode_MXFP4(const float *x, struct block_mxfp4 *b)
{
    b->e = mxfp4_exponent(fabsf(signed_max(x, 32)));
    const float scale = mxfp4_scale(b->e);
    for (int j = 0; j < 16; j++)
        b->qs[j] = (uint8_t)(nearest_fp4(x[j], scale) | nearest_fp4(x[j + 16], scale) << 4);
}

static void encode_NVFP4(const float *x, struct block_nvfp4 *b)
{
    for (int s = 0; s < 4; s++, x += 16) {
        b->d[s] = nvfp4_code(fabsf(signed_max(x, 16)) / 6.0f);
        const float scale = nvfp4_scale(b->d[s]);
        for (int j = 0; j < 8; j++)
            b->qs[8 * s + j] =
                (uint8_t)(nearest_fp4(x[j], scale) | nearest_fp4(x[j + 8], scale) << 4);
    }
}
