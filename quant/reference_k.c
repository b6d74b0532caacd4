/* reference_k.c - scalar encoders of the K types, byte for byte those of llama.cpp.
 *
 * Sums run in index order in one float and every operation rounds once. */
#include "reference.h"

#include <math.h>

#include "small_floats.h"

#define X(id, block) DEFINE_ENCODE(id, block)
K_ENCODE_LIST(X)
#undef X

static float signed_max(const float *x, int n)
{
    float amax = 0.0f, max = 0.0f;
    for (int j = 0; j < n; j++) {
        if (amax < fabsf(x[j])) {
            amax = fabsf(x[j]);
            max = x[j];
        }
    }
    return max;
}

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* ---- encoding Q6_K -------------------------------------------------------------------------- */

/* Blocks whose largest weight is below this count as zero. */
#define TINY 1e-15f

/* Rounds to nearest even by way of the last mantissa bit. Far out of range it wraps rather than
 * saturates, which llama.cpp shares. */
static int nearest(float x)
{
    return (int)(f32_bits(x + 12582912.0f) & 0x007fffff) - 0x00400000;
}

static int clamp_int(int x, int low, int high)
{
    return x < low ? low : x > high ? high : x;
}

/* Codes -nmax..nmax-1 of a sub-block, stored with nmax added. */
static void codes_for(float inverse, const float *x, int n, int nmax, uint8_t *codes)
{
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)(clamp_int(nearest(inverse * x[i]), -nmax, nmax - 1) + nmax);
}

/* Sums for codes l made with 1/scale = inverse, every weight counting as much as its square:
 * lx / l2 is the scale with the least error, lx * lx / l2 how much error it removes. */
struct sums {
    float lx, l2;
};

static struct sums fit(float inverse, const float *x, int n, int nmax)
{
    struct sums sum = {0.0f, 0.0f};
    for (int i = 0; i < n; i++) {
        const float l = (float)clamp_int(nearest(inverse * x[i]), -nmax, nmax - 1);
        const float w = x[i] * x[i];
        sum.lx += w * x[i] * l;
        sum.l2 += w * l * l;
    }
    return sum;
}

/* Tries nineteen scales around the one that maps the largest weight to -nmax; keeps the best. */
static float search_scale(const float *x, int n, int nmax, uint8_t *codes)
{
    const float max = signed_max(x, n);
    if (fabsf(max) < TINY) {
        memset(codes, 0, (size_t)n);
        return 0.0f;
    }

    float inverse = -(float)nmax / max;
    struct sums sum = fit(inverse, x, n, nmax);
    float scale = sum.l2 != 0.0f ? sum.lx / sum.l2 : 0.0f;
    float best = scale * sum.lx;
    for (int step = -9; step <= 9; step++) {
        if (step == 0)
            continue;
        const float other = -((float)nmax + 0.1f * (float)step) / max;
        sum = fit(other, x, n, nmax);
        if (sum.l2 > 0.0f && sum.lx * sum.lx > best * sum.l2) {
            inverse = other;
            scale = sum.lx / sum.l2;
            best = scale * sum.lx;
        }
    }
    codes_for(inverse, x, n, nmax, codes);
    return scale;
}

static void encode_Q6_K(const float *x, struct block_q6_k *b)
{
    uint8_t codes[SUPER];
    float scales[SUPER / 16];
    for (int s = 0; s < SUPER / 16; s++)
        scales[s] = search_scale(x + 16 * s, 16, 32, codes + 16 * s);

    const float max_scale = signed_max(scales, SUPER / 16);
    if (fabsf(max_scale) < TINY) {
        memset(b, 0, sizeof *b);
        return;
    }
    const float inverse = -128.0f / max_scale;
    b->d = f16_from_f32(1.0f / inverse);

    for (int s = 0; s < SUPER / 16; s++) {
        b->scales[s] = (int8_t)min_int(127, nearest(inverse * scales[s]));
        /* Codes are chosen anew for the scale as it is stored. A sub-block whose stored scale is 0
         * keeps those of the search: they decode to 0 all the same, but are what llama.cpp has. */
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
