/* searches.h - the three scale searches of llama.cpp's encoders, scalar: private to quant/.
 *
 * Every sum runs in index order in one float and every operation rounds once; ties go to what was
 * found first. That is the formats' reference, so none of it may be regrouped. */
#ifndef QUERN_SEARCHES_H
#define QUERN_SEARCHES_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "quant/small_floats.h"

/* Blocks whose largest weight is below this count as zero. */
#define TINY 1e-15f

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
    for (int j = 0; j < n; j++) {
        if (amax < fabsf(x[j])) {
            amax = fabsf(x[j]);
            max = x[j];
        }
    }
    return max;
}

/* ---- codes around zero ---------------------------------------------------------------------- */

/* Sums for codes l made with 1/scale = inverse: lx / l2 is the scale with the least error,
 * lx * lx / l2 how much error it removes. */
struct fit {
    float lx, l2;
};

static inline struct fit fit_symmetric(float inverse, const float *x, const float *w, int n,
                                       int nmax)
{
    struct fit sum = {0.0f, 0.0f};
    for (int i = 0; i < n; i++) {
        const float l = (float)clamp_int(nearest(inverse * x[i]), -nmax, nmax - 1);
        const float wi = w ? w[i] : x[i] * x[i];
        sum.lx += wi * x[i] * l;
        sum.l2 += wi * l * l;
    }
    return sum;
}

/* Codes 0..2*nmax-1, nmax standing for zero, and their scale: of nineteen scales around the one
 * that maps the largest weight to code 0, the one with the least squared error. w NULL: every
 * weight counts as much as its square. */
static inline float search_symmetric(const float *x, const float *w, int n, int nmax,
                                     uint8_t *codes)
{
    const float max = signed_max(x, n);
    if (fabsf(max) < TINY) {
        memset(codes, 0, (size_t)n);
        return 0.0f;
    }
    float inverse = -(float)nmax / max;
    struct fit sum = fit_symmetric(inverse, x, w, n, nmax);
    float scale = sum.l2 != 0.0f ? sum.lx / sum.l2 : 0.0f;
    float best = scale * sum.lx;
    for (int step = -9; step <= 9; step++) {
        if (step == 0)
            continue;
        const float other = -((float)nmax + 0.1f * (float)step) / max;
        sum = fit_symmetric(other, x, w, n, nmax);
        if (sum.l2 > 0.0f && sum.lx * sum.lx > best * sum.l2) {
            inverse = other;
            scale = sum.lx / sum.l2;
            best = scale * sum.lx;
        }
    }
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)(clamp_int(nearest(inverse * x[i]), -nmax, nmax - 1) + nmax);
    return scale;
}

/* ---- codes from a minimum up ---------------------------------------------------------------- */

/* What one try gives: x is about scale * code + min. */
struct range_try {
    float scale, min;
};

static inline float range_error(const float *x, const float *w, int n, int nmax, float inverse,
                                float least, struct range_try t, bool absolute)
{
    float error = 0.0f;
    for (int i = 0; i < n; i++) {
        const float l = (float)clamp_int(nearest(inverse * (x[i] - least)), 0, nmax);
        const float diff = t.scale * l + t.min - x[i];
        error += w[i] * (absolute ? fabsf(diff) : diff * diff);
    }
    return error;
}

/* The best scale and minimum for the codes that 1/scale = inverse gives; false when there is none.
 */
static inline bool range_fit(const float *x, const float *w, int n, int nmax, float inverse,
                             float least, float sum_w, float sum_x, struct range_try *out)
{
    float sum_l = 0.0f, sum_l2 = 0.0f, sum_xl = 0.0f;
    for (int i = 0; i < n; i++) {
        const float l = (float)clamp_int(nearest(inverse * (x[i] - least)), 0, nmax);
        sum_l += w[i] * l;
        sum_l2 += w[i] * l * l;
        sum_xl += w[i] * l * x[i];
    }
    const float determinant = sum_w * sum_l2 - sum_l * sum_l;
    if (!(determinant > 0.0f))
        return false;
    out->scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
    out->min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
    if (out->min > 0.0f) {
        out->min = 0.0f;
        out->scale = sum_xl / sum_l2;
    }
    return true;
}

/* Codes 0..nmax, their scale, and *min, which is to be subtracted and never negative: of nsteps + 1
 * scales, 1/scale growing from nmax + rmin by rdelta over the range of x, the one with the least
 * squared (or absolute) error, weighted by w. */
static inline float search_with_min(const float *x, const float *w, int n, int nmax, float rmin,
                                    float rdelta, int nsteps, bool absolute, uint8_t *codes,
                                    float *min)
{
    float least = x[0], most = x[0], sum_w = w[0], sum_x = w[0] * x[0];
    for (int i = 1; i < n; i++) {
        if (x[i] < least)
            least = x[i];
        if (x[i] > most)
            most = x[i];
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    if (least > 0.0f)
        least = 0.0f;
    if (most <= least) {
        memset(codes, 0, (size_t)n);
        *min = -least;
        return 0.0f;
    }
    /* The minimum found so far is also where the next try starts from. */
    struct range_try best = {(float)nmax / (most - least), least};
    float best_inverse = best.scale, best_least = least;
    best.scale = 1.0f / best.scale;
    float error = range_error(x, w, n, nmax, best_inverse, least, best, absolute);
    for (int step = 0; step <= nsteps; step++) {
        struct range_try t;
        const float from = best.min;
        const float inverse = (rmin + rdelta * (float)step + (float)nmax) / (most - from);
        if (!range_fit(x, w, n, nmax, inverse, from, sum_w, sum_x, &t))
            continue;
        const float e = range_error(x, w, n, nmax, inverse, from, t, absolute);
        if (e < error) {
            error = e;
            best = t;
            best_inverse = inverse;
            best_least = from;
        }
    }
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)clamp_int(nearest(best_inverse * (x[i] - best_least)), 0, nmax);
    *min = -best.min;
    return best.scale;
}

/* ---- scales of scales ----------------------------------------------------------------------- */

/* One sweep that moves single codes where that removes error; how many moved. Codes are bytes: a
 * negative one has wrapped, in llama.cpp too. */
static inline int improve_codes(const float *x, const float *w, int n, int nmax, uint8_t *codes,
                                struct fit *sum)
{
    int nmoved = 0;
    for (int i = 0; i < n; i++) {
        const float old = (float)codes[i];
        float lx = sum->lx - w[i] * x[i] * old, l2 = sum->l2 - w[i] * old * old;
        if (!(lx > 0.0f && l2 > 0.0f))
            continue;
        const int l = min_int(nmax, nearest(x[i] * l2 / lx));
        if (l == codes[i])
            continue;
        lx += w[i] * x[i] * (float)l;
        l2 += w[i] * (float)l * (float)l;
        if (lx * lx * sum->l2 > sum->lx * sum->lx * l2) {
            codes[i] = (uint8_t)l;
            *sum = (struct fit){lx, l2};
            nmoved++;
        }
    }
    return nmoved;
}

/* Codes up to nmax for x >= 0, and their scale. */
static inline float fit_scales(const float *x, const float *w, int n, int nmax, uint8_t *codes)
{
    float max = 0.0f;
    for (int i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    if (max < TINY) {
        memset(codes, 0, (size_t)n);
        return 0.0f;
    }
    float best_inverse = (float)nmax / max, least_error = 0.0f;
    for (int step = -5; step <= 4; step++) {
        /* Step -5 stands for the plain scale, which is tried first and without an upper limit. */
        const float top = step == -5 ? (float)nmax : 0.1f * (float)step + (float)nmax;
        const float inverse = top / max, scale = 1.0f / inverse;
        float error = 0.0f;
        if (step == 0)
            continue;
        for (int i = 0; i < n; i++) {
            const int l = nearest(inverse * x[i]);
            const float q = (float)(step == -5 ? (uint8_t)l : min_int(nmax, l));
            const float diff = x[i] - scale * q;
            error += w[i] * diff * diff;
        }
        if (step == -5 || error < least_error) {
            least_error = error;
            best_inverse = inverse;
        }
    }
    struct fit sum = {0.0f, 0.0f};
    for (int i = 0; i < n; i++) {
        const int l = min_int(nmax, nearest(best_inverse * x[i]));
        codes[i] = (uint8_t)l;
        sum.lx += w[i] * x[i] * (float)l;
        sum.l2 += w[i] * (float)l * (float)l;
    }
    for (int sweep = 0; sweep < 5; sweep++)
        if (improve_codes(x, w, n, nmax, codes, &sum) == 0)
            break;
    return sum.l2 > 0.0f ? sum.lx / sum.l2 : 0.0f;
}

#endif
