/* error_stats.c - sums over pairs of values and the figures that follow from them. */
#include "error_stats.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "codec.h"

#define MIN_BLOCK 16u

size_t error_block(enum dtype d)
{
    return dtype_is_quantized(d) ? dtype_traits[d].block_elems : PLAIN_BLOCK;
}

static double value(const struct error_pairs *p, const void *x, size_t i)
{
    return p->wide ? ((const double *)x)[i] : (double)((const float *)x)[i];
}

/* ---- one piece ------------------------------------------------------------------------------ */

/* Of each block of a piece. */
struct blocks {
    double error_sq[MAX_ERROR_PAIRS / MIN_BLOCK];
    double max[MAX_ERROR_PAIRS / MIN_BLOCK];
};

static void block_errors_f64(const double *a, const double *b, size_t n, size_t block,
                             struct blocks *out)
{
    for (size_t i = 0; i < n; i++) {
        const double d = fabs(a[i] - b[i]);
        const size_t k = i / block;
        if (i % block == 0)
            out->error_sq[k] = out->max[k] = 0.0;
        out->error_sq[k] += d * d;
        out->max[k] = d > out->max[k] ? d : out->max[k];
    }
}

static void dots_f64(const double *a, const double *b, size_t n, double dots[3])
{
    for (size_t i = 0; i < n; i++) {
        dots[0] += a[i] * a[i];
        dots[1] += a[i] * b[i];
        dots[2] += b[i] * b[i];
    }
}

static size_t find_error(const struct error_pairs *p, size_t first, double error)
{
    size_t i = first;
    while (i + 1 < p->n && fabs(value(p, p->a, i) - value(p, p->b, i)) != error)
        i++;
    return i;
}

static void add_blocks(struct error_sums *s, const struct error_pairs *p, const struct blocks *b)
{
    assert(p->block >= MIN_BLOCK && p->first % p->block == 0);
    for (size_t at = 0, k = 0; at < p->n; at += p->block, k++) {
        const size_t n = p->n - at < p->block ? p->n - at : p->block;
        const double mean_sq = b->error_sq[k] / (double)n;
        s->sum[SUM_ERROR_SQ] += b->error_sq[k];
        if (b->max[k] > s->max_error) {
            s->max_error = b->max[k];
            s->max_at = p->first + find_error(p, at, b->max[k]);
        }
        if (mean_sq > s->worst_mean_sq) {
            s->worst_mean_sq = mean_sq;
            s->worst_at = (p->first + at) / p->block;
        }
    }
}

static void add_weighted(struct error_sums *s, const struct error_pairs *p)
{
    double weighted[3] = {0};
    if (p->wide) {
        for (size_t i = 0; i < p->n; i++) {
            const double a = ((const double *)p->a)[i], d = a - ((const double *)p->b)[i];
            const double w = (double)p->importance[i];
            weighted[0] += w;
            weighted[1] += w * (d * d);
            weighted[2] += w * (a * a);
        }
    } else {
        codec_kernels()->weighted_errors(p->a, p->b, p->importance, p->n, weighted);
    }
    for (size_t k = 0; k < 3; k++)
        s->sum[SUM_WEIGHT + k] += weighted[k];
}

static void add_finite(struct error_sums *s, const struct error_pairs *p, const double dots[3])
{
    struct blocks blocks;
    if (p->wide)
        block_errors_f64(p->a, p->b, p->n, p->block, &blocks);
    else
        codec_kernels()->block_errors(p->a, p->b, p->n, p->block, blocks.error_sq, blocks.max);
    for (size_t k = 0; k < 3; k++)
        s->sum[SUM_AA + k] += dots[k];
    s->npairs += p->n;
    add_blocks(s, p, &blocks);
    if (p->importance)
        add_weighted(s, p);
}

static void take_dots(const struct error_pairs *p, double dots[3])
{
    memset(dots, 0, 3 * sizeof *dots);
    if (p->wide)
        dots_f64(p->a, p->b, p->n, dots);
    else
        codec_kernels()->pair_dots(p->a, p->b, p->n, dots);
}

/* ---- NaN and Inf ---------------------------------------------------------------------------- */

static bool count_bad(struct error_sums *s, const struct error_pairs *p, size_t i)
{
    const bool bad[2] = {!isfinite(value(p, p->a, i)), !isfinite(value(p, p->b, i))};
    for (unsigned k = 0; k < 2; k++)
        if (bad[k] && s->nbad[k]++ == 0)
            s->first_bad[k] = p->first + i;
    return bad[0] || bad[1];
}

/* A block's worth of pairs with zeros in place of the bad ones. */
static void add_patched(struct error_sums *s, const struct error_pairs *p, size_t at, size_t n)
{
    double a[PLAIN_BLOCK], b[PLAIN_BLOCK];
    float narrow_a[PLAIN_BLOCK], narrow_b[PLAIN_BLOCK], importance[PLAIN_BLOCK];
    uint64_t nbad = 0;
    for (size_t i = 0; i < n; i++) {
        const bool bad = count_bad(s, p, at + i);
        nbad += bad;
        a[i] = bad ? 0.0 : value(p, p->a, at + i);
        b[i] = bad ? 0.0 : value(p, p->b, at + i);
        importance[i] = bad || !p->importance ? 0.0f : p->importance[at + i];
        if (p->wide)
            continue;
        narrow_a[i] = (float)a[i];
        narrow_b[i] = (float)b[i];
    }
    const struct error_pairs patched = {.a = p->wide ? (void *)a : (void *)narrow_a,
                                        .b = p->wide ? (void *)b : (void *)narrow_b,
                                        .wide = p->wide,
                                        .importance = p->importance ? importance : NULL,
                                        .block = p->block,
                                        .first = p->first + at,
                                        .n = n};
    double dots[3];
    take_dots(&patched, dots);
    add_finite(s, &patched, dots);
    s->npairs -= nbad;
}

void error_sums_add(struct error_sums *s, const struct error_pairs *p)
{
    double dots[3];
    take_dots(p, dots);
    /* Squares of floats are finite in double, so a sum that is not finite tells of NaN and Inf. (It
     * may also tell of huge doubles: then nothing gets patched.) */
    if (isfinite(dots[0] + dots[2])) {
        add_finite(s, p, dots);
        return;
    }
    for (size_t at = 0; at < p->n; at += p->block)
        add_patched(s, p, at, p->n - at < p->block ? p->n - at : p->block);
}

/* ---- totals and figures --------------------------------------------------------------------- */

void error_sums_join(struct error_sums *s, const struct error_sums *later)
{
    for (size_t i = 0; i < NERROR_SUMS; i++)
        s->sum[i] += later->sum[i];
    if (later->max_error > s->max_error) {
        s->max_error = later->max_error;
        s->max_at = later->max_at;
    }
    if (later->worst_mean_sq > s->worst_mean_sq) {
        s->worst_mean_sq = later->worst_mean_sq;
        s->worst_at = later->worst_at;
    }
    s->npairs += later->npairs;
    for (unsigned k = 0; k < 2; k++) {
        if (s->nbad[k] == 0)
            s->first_bad[k] = later->first_bad[k];
        s->nbad[k] += later->nbad[k];
    }
}

static double ratio(double part, double whole)
{
    return part == 0.0 ? 0.0 : sqrt(part / whole);
}

static double cosine(const double sum[NERROR_SUMS])
{
    if (sum[SUM_ERROR_SQ] == 0.0)
        return 1.0;
    if (sum[SUM_AA] == 0.0 || sum[SUM_BB] == 0.0)
        return 0.0;
    const double c = sum[SUM_AB] / (sqrt(sum[SUM_AA]) * sqrt(sum[SUM_BB]));
    return c > 1.0 ? 1.0 : c < -1.0 ? -1.0 : c;
}

/* log10() of the C library may differ in the last bit from CPU to CPU; what is printed may not. */
static double decibels(double power)
{
    return round(10.0 * log10(power) * 1e6) / 1e6;
}

void error_figures(const struct error_sums *s, struct error_figures *out)
{
    const double error_sq = s->sum[SUM_ERROR_SQ];
    *out = (struct error_figures){.rmse = ratio(error_sq, (double)s->npairs),
                                  .relative = ratio(error_sq, s->sum[SUM_AA]),
                                  .sqnr_db = (double)NAN,
                                  .cosine = cosine(s->sum),
                                  .worst_rmse = sqrt(s->worst_mean_sq),
                                  .weighted_rmse = (double)NAN,
                                  .weighted_relative = (double)NAN};
    if (error_sq > 0.0)
        out->sqnr_db = decibels(s->sum[SUM_AA] / error_sq);
    if (s->sum[SUM_WEIGHT] > 0.0) {
        const double weighted = s->sum[SUM_WEIGHTED_ERROR_SQ];
        out->weighted_rmse = ratio(weighted, s->sum[SUM_WEIGHT]);
        out->weighted_relative = ratio(weighted, s->sum[SUM_WEIGHTED_AA]);
    }
}

bool error_free(const struct error_sums *s)
{
    return s->max_error == 0.0 && s->nbad[0] == 0 && s->nbad[1] == 0;
}
