/* reference_k.c - scalar encoders of the K types, byte for byte those of llama.cpp.
 *
 * All have the same shape: a search finds a scale (and a minimum) for every sub-block, these are
 * stored in a few bits relative to the largest, and the codes are then chosen anew for the scales
 * as they are stored. A sub-block whose stored scale is 0 keeps the codes of the search: they
 * decode to the same value all the same, but are what llama.cpp has. */
#include "reference.h"

#include "searches.h"

#define X(id, block) DEFINE_ENCODE(id, block)
K_ENCODE_LIST(X)
#undef X
#define X(id, block) DEFINE_ENCODE_IM(id, block)
K_ENCODE_IM_LIST(X)
#undef X

static float sum_of_squares(const float *x, int n)
{
    float sum = 0.0f;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum;
}

/* What a weight counts for: the importance of its column, more for large weights. Returns the sum
 * over the sub-block. */
static float weigh(const float *x, const float *qw, float sigma2, int n, float *w)
{
    float sum = 0.0f;
    for (int i = 0; i < n; i++)
        w[i] = qw[i] * sqrtf(sigma2 + x[i] * x[i]);
    for (int i = 0; i < n; i++)
        sum += w[i];
    return sum;
}

/* Two bits a weight: four stretches of 32 weights share 32 bytes. */
static void pack_two_bits(const uint8_t codes[SUPER], uint8_t qs[SUPER / 4])
{
    for (int half = 0; half < 2; half++)
        for (int l = 0; l < 32; l++) {
            const uint8_t *c = codes + 128 * half + l;
            qs[32 * half + l] = (uint8_t)(c[0] | c[32] << 2 | c[64] << 4 | c[96] << 6);
        }
}

/* ---- Q2_K: sixteen sub-blocks with scale and minimum, a nibble each ------------------------- */

static void codes_q2_k(const float *x, const struct block_q2_k *b, uint8_t codes[SUPER])
{
    for (int s = 0; s < SUPER / 16; s++) {
        const float d = f16_to_f32(b->d) * (float)(b->scales[s] & 15);
        if (d == 0.0f)
            continue;
        const float min = f16_to_f32(b->dmin) * (float)(b->scales[s] >> 4);
        for (int i = 16 * s; i < 16 * s + 16; i++)
            codes[i] = (uint8_t)clamp_int(nearest((x[i] + min) / d), 0, 3);
    }
}

/* Sixteen numbers as nibbles, shifted to their place in scales. Returns what they are multiples of.
 */
static float nibbles_q2_k(const float x[16], int shift, uint8_t scales[16])
{
    float max = 0.0f;
    for (int s = 0; s < 16; s++)
        max = x[s] > max ? x[s] : max;
    if (!(max > 0.0f))
        return 0.0f;
    const float inverse = 15.0f / max;
    for (int s = 0; s < 16; s++)
        scales[s] |= (uint8_t)((unsigned)nearest(inverse * x[s]) << shift);
    return max / 15.0f;
}

static void encode_Q2_K(const float *x, struct block_q2_k *b)
{
    uint8_t codes[SUPER];
    float scales[16], mins[16], w[16];
    for (int s = 0; s < 16; s++) {
        for (int i = 0; i < 16; i++)
            w[i] = fabsf(x[16 * s + i]);
        scales[s] =
            search_with_min(x + 16 * s, w, 16, 3, -0.5f, 0.1f, 15, true, codes + 16 * s, &mins[s]);
    }
    memset(b->scales, 0, sizeof b->scales);
    b->d = f16_from_f32(nibbles_q2_k(scales, 0, b->scales));
    b->dmin = f16_from_f32(nibbles_q2_k(mins, 4, b->scales));
    codes_q2_k(x, b, codes);
    pack_two_bits(codes, b->qs);
}

static void encode_im_Q2_K(const float *x, const float *qw, float row_sigma2, struct block_q2_k *b)
{
    const float sigma2 = sum_of_squares(x, SUPER) / SUPER;
    uint8_t codes[SUPER], low[16], high[16];
    float scales[16], mins[16], sums[16], w[16];
    (void)row_sigma2;
    for (int s = 0; s < 16; s++) {
        sums[s] = weigh(x + 16 * s, qw + 16 * s, sigma2, 16, w);
        scales[s] = search_with_min(x + 16 * s, w, 16, 3, -0.9f, 0.05f, 36, false, codes + 16 * s,
                                    &mins[s]);
    }
    b->d = f16_from_f32(fit_scales(scales, sums, 16, 15, low));
    b->dmin = f16_from_f32(fit_scales(mins, sums, 16, 15, high));
    for (int s = 0; s < 16; s++)
        b->scales[s] = (uint8_t)(low[s] | high[s] << 4);
    codes_q2_k(x, b, codes);
    pack_two_bits(codes, b->qs);
}

/* ---- Q3_K: sixteen sub-blocks with a scale of six bits -------------------------------------- */

/* Codes 0..7 around 4 and their scale: from the scale that maps the largest weight to code 0, moves
 * single codes as long as that removes error. */
static float search_q3(const float *x, uint8_t codes[16])
{
    const float max = signed_max(x, 16);
    int l[16];
    if (fabsf(max) < TINY) {
        memset(codes, 0, 16);
        return 0.0f;
    }
    const float inverse = -4.0f / max;
    struct code_sums sum = {0.0f, 0.0f};
    for (int i = 0; i < 16; i++) {
        const float w = x[i] * x[i];
        l[i] = clamp_int(nearest(inverse * x[i]), -4, 3);
        sum.lx += w * x[i] * (float)l[i];
        sum.l2 += w * (float)l[i] * (float)l[i];
    }
    for (int sweep = 0, nmoved = 1; sweep < 5 && nmoved > 0; sweep++) {
        nmoved = 0;
        for (int i = 0; i < 16; i++) {
            const float w = x[i] * x[i], old = (float)l[i];
            float lx = sum.lx - w * x[i] * old, l2 = sum.l2 - w * old * old;
            if (!(lx > 0.0f))
                continue;
            const int other = clamp_int(nearest(x[i] * l2 / lx), -4, 3);
            if (other == l[i])
                continue;
            lx += w * x[i] * (float)other;
            l2 += w * (float)other * (float)other;
            if (l2 > 0.0f && lx * lx * sum.l2 > sum.lx * sum.lx * l2) {
                l[i] = other;
                sum = (struct code_sums){lx, l2};
                nmoved++;
            }
        }
    }
    for (int i = 0; i < 16; i++)
        codes[i] = (uint8_t)(l[i] + 4);
    return sum.l2 > 0.0f ? sum.lx / sum.l2 : 0.0f;
}

/* Scale s, 0..63, to its place. */
static void put_scale_q3_k(int s, int scale, uint8_t scales[12])
{
    scales[s % 8] |= (uint8_t)((scale & 15) << s / 8 * 4);
    scales[8 + s % 4] |= (uint8_t)(scale >> 4 << s / 4 * 2);
}

/* Chooses the codes for the stored scales and puts them to their places. */
static void finish_q3_k(const float *x, const uint8_t scale[16], uint8_t codes[SUPER],
                        struct block_q3_k *b)
{
    memset(b->hmask, 0, sizeof b->hmask);
    for (int s = 0; s < 16; s++) {
        const float d = f16_to_f32(b->d) * (float)(scale[s] - 32);
        if (d == 0.0f)
            continue;
        for (int i = 16 * s; i < 16 * s + 16; i++)
            codes[i] = (uint8_t)(clamp_int(nearest(x[i] / d), -4, 3) + 4);
    }
    for (int e = 0; e < SUPER; e++) {
        b->hmask[e % 32] |= (uint8_t)(codes[e] >> 2 << e / 32);
        codes[e] &= 3;
    }
    pack_two_bits(codes, b->qs);
}

static void encode_Q3_K(const float *x, struct block_q3_k *b)
{
    uint8_t codes[SUPER], stored[16] = {0};
    float scales[16];
    for (int s = 0; s < 16; s++)
        scales[s] = search_q3(x + 16 * s, codes + 16 * s);
    const float max = signed_max(scales, 16);
    memset(b->scales, 0, sizeof b->scales);
    b->d = 0;
    if (max != 0.0f) {
        const float inverse = -32.0f / max;
        for (int s = 0; s < 16; s++) {
            stored[s] = (uint8_t)(clamp_int((int8_t)nearest(inverse * scales[s]), -32, 31) + 32);
            put_scale_q3_k(s, stored[s], b->scales);
        }
        b->d = f16_from_f32(1.0f / inverse);
    }
    finish_q3_k(x, stored, codes, b);
}

static void encode_im_Q3_K(const float *x, const float *qw, float row_sigma2, struct block_q3_k *b)
{
    const float sigma2 = 2.0f * sum_of_squares(x, SUPER) / SUPER;
    uint8_t codes[SUPER], stored[16];
    float scales[16], sums[16], w[16];
    (void)row_sigma2;
    for (int s = 0; s < 16; s++) {
        sums[s] = weigh(x + 16 * s, qw + 16 * s, sigma2, 16, w);
        scales[s] = search_symmetric(x + 16 * s, w, 16, 4, codes + 16 * s);
    }
    memset(b->scales, 0, sizeof b->scales);
    b->d = f16_from_f32(search_symmetric(scales, sums, 16, 32, stored));
    for (int s = 0; s < 16; s++)
        put_scale_q3_k(s, stored[s], b->scales);
    finish_q3_k(x, stored, codes, b);
}

/* ---- Q4_K, Q5_K: eight sub-blocks with scale and minimum of six bits ------------------------ */

/* What the two types have in common of a block. */
struct head_k {
    uint16_t d, dmin;
    uint8_t scales[12];
};

/* Scale and minimum s to their place: two numbers of six bits, but for those that wrapped. */
static void put_scale_and_min(int s, uint8_t scale, uint8_t min, uint8_t scales[12])
{
    if (s < 4) {
        scales[s] = scale;
        scales[s + 4] = min;
    } else {
        scales[s + 4] = (uint8_t)((scale & 15) | (min & 15) << 4);
        scales[s - 4] |= (uint8_t)(scale >> 4 << 6);
        scales[s] |= (uint8_t)(min >> 4 << 6);
    }
}

static uint8_t six_bits(float x)
{
    const uint8_t l = (uint8_t)nearest(x);
    return l < 63 ? l : 63;
}

static float largest(const float *x, int n)
{
    float max = 0.0f;
    for (int i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

static void put_head(const float scales[8], const float mins[8], struct head_k *head)
{
    const float max_scale = largest(scales, 8), max_min = largest(mins, 8);
    const float to_scale = max_scale > 0.0f ? 63.0f / max_scale : 0.0f;
    const float to_min = max_min > 0.0f ? 63.0f / max_min : 0.0f;
    for (int s = 0; s < 8; s++)
        put_scale_and_min(s, six_bits(to_scale * scales[s]), six_bits(to_min * mins[s]),
                          head->scales);
    head->d = f16_from_f32(max_scale / 63.0f);
    head->dmin = f16_from_f32(max_min / 63.0f);
}

static void codes_with_min(const float *x, int nmax, const struct head_k *head,
                           uint8_t codes[SUPER])
{
    for (int s = 0; s < 8; s++) {
        int scale, min;
        scale_and_min(head->scales, s, &scale, &min);
        const float d = f16_to_f32(head->d) * (float)scale;
        if (d == 0.0f)
            continue;
        const float dm = f16_to_f32(head->dmin) * (float)min;
        for (int i = 32 * s; i < 32 * s + 32; i++)
            codes[i] = (uint8_t)clamp_int(nearest((x[i] + dm) / d), 0, nmax);
    }
}

static void search_k(const float *x, int nmax, float rmin, int nsteps, struct head_k *head,
                     uint8_t codes[SUPER])
{
    float scales[8], mins[8], w[32];
    for (int s = 0; s < 8; s++) {
        const float *xs = x + 32 * s;
        const float average = sqrtf(sum_of_squares(xs, 32) / 32.0f);
        for (int i = 0; i < 32; i++)
            w[i] = average + fabsf(xs[i]);
        scales[s] =
            search_with_min(xs, w, 32, nmax, rmin, 0.1f, nsteps, false, codes + 32 * s, &mins[s]);
    }
    put_head(scales, mins, head);
    codes_with_min(x, nmax, head, codes);
}

static void search_im_k(const float *x, const float *qw, int nmax, struct head_k *head,
                        uint8_t codes[SUPER])
{
    const float sigma2 = 2.0f * sum_of_squares(x, SUPER) / SUPER;
    float scales[8], mins[8], sums[8], w[32];
    uint8_t stored_scales[8], stored_mins[8];
    for (int s = 0; s < 8; s++) {
        const float *xs = x + 32 * s;
        sums[s] = weigh(xs, qw + 32 * s, sigma2, 32, w);
        scales[s] =
            search_with_min(xs, w, 32, nmax, -0.9f, 0.05f, 36, false, codes + 32 * s, &mins[s]);
    }
    head->d = f16_from_f32(fit_scales(scales, sums, 8, 63, stored_scales));
    head->dmin = f16_from_f32(fit_scales(mins, sums, 8, 63, stored_mins));
    /* Those of Q5_K that wrapped are stored as the largest; of those of Q4_K what fits is kept. */
    const uint8_t most = nmax == 31 ? 63 : UINT8_MAX;
    for (int s = 0; s < 8; s++)
        put_scale_and_min(s, (uint8_t)min_int(stored_scales[s], most),
                          (uint8_t)min_int(stored_mins[s], most), head->scales);
    codes_with_min(x, nmax, head, codes);
}

/* Two stretches of 32 weights share 32 bytes. */
static void pack_four_bits(const uint8_t codes[SUPER], uint8_t qs[SUPER / 2])
{
    for (int l = 0; l < SUPER / 2; l++) {
        const uint8_t *c = codes + l / 32 * 64 + l % 32;
        qs[l] = (uint8_t)((c[0] & 15) | (c[32] & 15) << 4);
    }
}

static void pack_q4_k(const struct head_k *head, const uint8_t codes[SUPER], struct block_q4_k *b)
{
    b->d = head->d;
    b->dmin = head->dmin;
    memcpy(b->scales, head->scales, sizeof b->scales);
    pack_four_bits(codes, b->qs);
}

static void pack_q5_k(const struct head_k *head, const uint8_t codes[SUPER], struct block_q5_k *b)
{
    b->d = head->d;
    b->dmin = head->dmin;
    memcpy(b->scales, head->scales, sizeof b->scales);
    pack_four_bits(codes, b->qs);
    memset(b->qh, 0, sizeof b->qh);
    for (int e = 0; e < SUPER; e++)
        b->qh[e % 32] |= (uint8_t)(codes[e] >> 4 << e / 32);
}

static void encode_Q4_K(const float *x, struct block_q4_k *b)
{
    uint8_t codes[SUPER];
    struct head_k head;
    search_k(x, 15, -1.0f, 20, &head, codes);
    pack_q4_k(&head, codes, b);
}

static void encode_im_Q4_K(const float *x, const float *qw, float row_sigma2, struct block_q4_k *b)
{
    uint8_t codes[SUPER];
    struct head_k head;
    (void)row_sigma2;
    search_im_k(x, qw, 15, &head, codes);
    pack_q4_k(&head, codes, b);
}

static void encode_Q5_K(const float *x, struct block_q5_k *b)
{
    uint8_t codes[SUPER];
    struct head_k head;
    search_k(x, 31, -0.5f, 15, &head, codes);
    pack_q5_k(&head, codes, b);
}

static void encode_im_Q5_K(const float *x, const float *qw, float row_sigma2, struct block_q5_k *b)
{
    uint8_t codes[SUPER];
    struct head_k head;
    (void)row_sigma2;
    search_im_k(x, qw, 31, &head, codes);
    pack_q5_k(&head, codes, b);
}

/* ---- Q6_K: sixteen sub-blocks with a scale of eight bits ------------------------------------ */

static void encode_q6_k(const float *x, const float *qw, struct block_q6_k *b)
{
    uint8_t codes[SUPER];
    float scales[16];
    for (int s = 0; s < 16; s++)
        scales[s] = search_symmetric(x + 16 * s, qw ? qw + 16 * s : NULL, 16, 32, codes + 16 * s);

    const float max_scale = signed_max(scales, 16);
    if (fabsf(max_scale) < TINY) {
        memset(b, 0, sizeof *b);
        return;
    }
    const float inverse = -128.0f / max_scale;
    b->d = f16_from_f32(1.0f / inverse);
    for (int s = 0; s < 16; s++) {
        b->scales[s] = (int8_t)min_int(127, nearest(inverse * scales[s]));
        const float d = f16_to_f32(b->d) * (float)b->scales[s];
        if (d == 0.0f)
            continue;
        for (int i = 16 * s; i < 16 * s + 16; i++)
            codes[i] = (uint8_t)(clamp_int(nearest(x[i] / d), -32, 31) + 32);
    }

    for (int half = 0; half < 2; half++) {
        const uint8_t *c = codes + 128 * half;
        for (int l = 0; l < 32; l++) {
            b->ql[64 * half + l] = (uint8_t)((c[l] & 15) | (c[l + 64] & 15) << 4);
            b->ql[64 * half + l + 32] = (uint8_t)((c[l + 32] & 15) | (c[l + 96] & 15) << 4);
            b->qh[32 * half + l] = (uint8_t)(c[l] >> 4 | c[l + 32] >> 4 << 2 | c[l + 64] >> 4 << 4 |
                                             c[l + 96] >> 4 << 6);
        }
    }
}

static void encode_Q6_K(const float *x, struct block_q6_k *b)
{
    encode_q6_k(x, NULL, b);
}

static void encode_im_Q6_K(const float *x, const float *qw, float row_sigma2, struct block_q6_k *b)
{
    (void)row_sigma2;
    encode_q6_k(x, qw, b);
}
