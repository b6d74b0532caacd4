/* searches.h - the searches for scales and minima that block types share.
 *
 * Byte for byte those of llama.cpp: sums run in index order in one float, every operation rounds
 * once, products associate to the left. w: how much each weight counts; NULL: as its square. */
#ifndef QUERN_SEARCHES_H
#define QUERN_SEARCHES_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "quant/small_floats.h"

/* Blocks whose largest weight is below this count as zero. */
#define TINY 1e-15f

enum { MOST_SEARCHED = 32 }; /* weights in a sub-block */

/* Rounds to nearest even by way of the last mantissa bit. Far out of range it wraps rather than
 * saturates, which llama.cpp shares. */
static inline int nearest(float x)
{
    return (int)(f32_bits(x + 12582912.0f) & 0x007fffff) - 0x00400000;
}

static inline int min_int(int a, int b)
{
    return a < b ? a : b;
}

static inline int clamp_int(int x, int low, int high)
{
    return x < low ? low : x > high ? high : x;
}

/* The largest |x|, with its sign; the first one when there are several. */
static inline float signed_max(const float *x, int n)
{
    float amax = 0.0f, max = 0.0f;
    for (int i = 0; i < n; i++) {
        if (amax < fabsf(x[i])) {
            amax = fabsf(x[i]);
            max = x[i];
        }
    }
    return max;
}

static inline float weight_of(const float *x, const float *w, int i)
{
    return w ? w[i] : x[i] * x[i];
}

/* ---- codes around zero ---------------------------------------------------------------------- */

/* Codes -nmax..nmax-1, stored with nmax added. */
static inline void symmetric_codes(const float *x, int n, int nmax, float inverse, uint8_t *codes)
{
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)(clamp_int(nearest(inverse * x[i]), -nmax, nmax - 1) + nmax);
}

/* Sums over codes l: lx / l2 is the scale with the least error for them, lx * lx / l2 how much
 * error it removes. */
struct code_sums {
    float lx, l2;
};

static inline struct code_sums symmetric_sums(const float *x, const float *w, int n, int nmax,
                                              float inverse)
{
    struct code_sums sum = {0.0f, 0.0f};
    for (int i = 0; i < n; i++) {
        const float l = (float)clamp_int(nearest(inverse * x[i]), -nmax, nmax - 1);
        const float weight = weight_of(x, w, i);
        sum.lx += weight * x[i] * l;
        sum.l2 += weight * l * l;
    }
    return sum;
}

/* Tries nineteen scales around the one that maps the largest weight to -nmax; keeps the best.
 * Codes are 0..2*nmax-1, all 0 for a tiny sub-block. */
static inline float search_symmetric(const float *x, const float *w, int n, int nmax,
                                     uint8_t *codes)
{
    const float max = signed_max(x, n);
    if (fabsf(max) < TINY) {
        memset(codes, 0, (size_t)n);
        return 0.0f;
    }

    float inverse = -(float)nmax / max;
    struct code_sums sum = symmetric_sums(x, w, n, nmax, inverse);
    float scale = sum.l2 != 0.0f ? sum.lx / sum.l2 : 0.0f;
    float best = scale * sum.lx;
    for (int step = -9; step <= 9; step++) {
        if (step == 0)
            continue;
        const float other = -((float)nmax + 0.1f * (float)step) / max;
        sum = symmetric_sums(x, w, n, nmax, other);
        if (sum.l2 > 0.0f && sum.lx * sum.lx > best * sum.l2) {
            inverse = other;
            scale = sum.lx / sum.l2;
            best = scale * sum.lx;
        }
    }
    symmetric_codes(x, n, nmax, inverse, codes);
    return scale;
}

/* ---- codes above a minimum ------------------------------------------------------------------ */

static inline void codes_above(const float *x, int n, int nmax, float inverse, float min,
                               uint8_t *codes)
{
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)clamp_int(nearest(inverse * (x[i] - min)), 0, nmax);
}

static inline float error_of(const float *x, const float *w, int n, const uint8_t *codes,
                             float scale, float min, bool absolute)
{
    float sum = 0.0f;
    for (int i = 0; i < n; i++) {
        const float diff = scale * (float)codes[i] + min - x[i];
        sum += weight_of(x, w, i) * (absolute ? fabsf(diff) : diff * diff);
    }
    return sum;
}

/* The line through the weights that fits the codes best: x = scale * code + min, min <= 0. False
 * when there is none. */
static inline bool fit_line(const float *x, const float *w, int n, const uint8_t *codes,
                            float sum_w, float sum_x, float *scale, float *min)
{
    float sum_l = 0.0f, sum_l2 = 0.0f, sum_xl = 0.0f;
    for (int i = 0; i < n; i++) {
        const float l = (float)codes[i], weight = weight_of(x, w, i);
        sum_l += weight * l;
        sum_l2 += weight * l * l;
        sum_xl += weight * l * x[i];
    }
    const float determinant = sum_w * sum_l2 - sum_l * sum_l;
    if (!(determinant > 0.0f))
        return false;
    *scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
    *min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
    if (*min > 0.0f) {
        *min = 0.0f;
        *scale = sum_xl / sum_l2;
    }
    return true;
}

/* Tries nsteps + 1 ranges of codes, nmax + rmin and so on by rdelta, and keeps the line with the
 * least error: of squares, or of absolute values. *min is the positive amount to subtract. */
static inline float search_with_min(const float *x, const float *w, int n, int nmax, float rmin,
                                    float rdelta, int nsteps, bool absolute, uint8_t *codes,
                                    float *min)
{
    float low = x[0], high = x[0];
    float sum_w = weight_of(x, w, 0), sum_x = sum_w * x[0];
    for (int i = 1; i < n; i++) {
        if (x[i] < low)
            low = x[i];
        if (x[i] > high)
            high = x[i];
        sum_w += weight_of(x, w, i);
        sum_x += weight_of(x, w, i) * x[i];
    }
    if (low > 0.0f)
        low = 0.0f;
    if (high <= low) {
        memset(codes, 0, (size_t)n);
        *min = -low;
        return 0.0f;
    }

    const float inverse = (float)nmax / (high - low);
    float scale = 1.0f / inverse;
    codes_above(x, n, nmax, inverse, low, codes);
    float least = error_of(x, w, n, codes, scale, low, absolute);
    for (int step = 0; step <= nsteps; step++) {
        /* What was found so far is where the next range starts. */
        const float other = (rmin + rdelta * (float)step + (float)nmax) / (high - low);
        uint8_t tried[MOST_SEARCHED];
        float tried_scale, tried_low;
        codes_above(x, n, nmax, other, low, tried);
        if (!fit_line(x, w, n, tried, sum_w, sum_x, &tried_scale, &tried_low))
            continue;
        const float error = error_of(x, w, n, tried, tried_scale, tried_low, absolute);
        if (error < least) {
            memcpy(codes, tried, (size_t)n);
            least = error;
            scale = tried_scale;
            low = tried_low;
        }
    }
    *min = -low;
    return scale;
}

/* ---- codes of numbers that are not negative: the scales and minima of sub-blocks ------------- */

/* Error of codes made with inverse. The codes of the first try are bytes and not clamped. */
static inline float scales_error(const float *x, const float *w, int n, int nmax, float inverse,
                                 bool clamp)
{
    const float scale = 1.0f / inverse;
    float sum = 0.0f;
    for (int i = 0; i < n; i++) {
        const int l = nearest(inverse * x[i]);
        const float diff = x[i] - scale * (float)(clamp ? min_int(nmax, l) : (uint8_t)l);
        sum += w[i] * diff * diff;
    }
    return sum;
}

/* One sweep that moves single codes as long as that removes error; false when none moved. */
static inline bool improve_codes(const float *x, const float *w, int n, int nmax, uint8_t *codes,
                                 struct code_sums *sum)
{
    bool moved = false;
    for (int i = 0; i < n; i++) {
        const float l = (float)codes[i];
        struct code_sums other = {sum->lx - w[i] * x[i] * l, sum->l2 - w[i] * l * l};
        if (!(other.lx > 0.0f && other.l2 > 0.0f))
            continue;
        const int code = min_int(nmax, nearest(x[i] * other.l2 / other.lx));
        if (code == codes[i])
            continue;
        other.lx += w[i] * x[i] * (float)code;
        other.l2 += w[i] * (float)code * (float)code;
        if (other.lx * other.lx * sum->l2 > sum->lx * sum->lx * other.l2) {
            codes[i] = (uint8_t)code;
            *sum = other;
            moved = true;
        }
    }
    return moved;
}

/* Codes 0..nmax and their scale. Should a number be negative, its code is that of llama.cpp, which
 * lets bytes wrap. */
static inline float fit_scales(const float *x, const float *w, int n, int nmax, uint8_t *codes)
{
    float max = 0.0f;
    for (int i = 0; i < n; i++)
        max = max > x[i] ? max : x[i];
    if (max < TINY) {
        memset(codes, 0, (size_t)n);
        return 0.0f;
    }

    float inverse = (float)nmax / max;
    float least = scales_error(x, w, n, nmax, inverse, false);
    for (int step = -4; step <= 4; step++) {
        if (step == 0)
            continue;
        const float other = (0.1f * (float)step + (float)nmax) / max;
        const float error = scales_error(x, w, n, nmax, other, true);
        if (error < least) {
            least = error;
            inverse = other;
        }
    }

    struct code_sums sum = {0.0f, 0.0f};
    for (int i = 0; i < n; i++) {
        const int l = min_int(nmax, nearest(inverse * x[i]));
        codes[i] = (uint8_t)l;
        sum.lx += w[i] * x[i] * (float)l;
        sum.l2 += w[i] * (float)l * (float)l;
    }
    for (int sweep = 0; sweep < 5 && improve_codes(x, w, n, nmax, codes, &sum); sweep++)
        continue;
    return sum.l2 > 0.0f ? sum.lx / sum.l2 : 0.0f;
}

#endif
