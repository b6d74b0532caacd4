/* arcee_fusion.c - Arcee Fusion: take from a model what differs from the base most where it
 * matters.
 *
 * How much an element matters is its difference times the Kullback-Leibler divergence of its row,
 * taken as a distribution. What is above median + 1.5 interquartile ranges is taken. The quartiles
 * are exact: radix counting of f32 bit patterns, which order like the numbers. */
#include <math.h>
#include <string.h>

#include "core/smath.h"
#include "merge/method.h"
#include "merge/rows.h"
#include "quant/codec.h"

enum { HIGH, LOW, NPASSES };

#define SLOTS 65536u /* of a histogram: 16 bits */

/* Divergences of so many rows are kept from the first pass on; of more they are made anew. */
#define MOST_KEPT (1u << 18)

struct fusion {
    uint64_t rank[3];     /* of the quartiles, among those with ... */
    uint32_t quartile[3]; /* ... these leading bits, or all bits once they are found */
    float threshold;
    double divergence[]; /* of each row, when they are kept */
};

/* ---- divergence -------------------------------------------------------------------------------
 */

enum { SEEN, MOST, SUM = MOST + 2, DIVERGENCE = SUM + 2, NSTATS };

static void add_most_f32(const float *x, size_t n, double *most)
{
    float lanes[16];
    size_t i = 0;
    for (size_t k = 0; k < 16; k++)
        lanes[k] = (float)*most;
    for (; i + 16 <= n; i += 16)
        for (size_t k = 0; k < 16; k++)
            lanes[k] = x[i + k] > lanes[k] ? x[i + k] : lanes[k];
    for (; i < n; i++)
        lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
    for (size_t k = 0; k < 16; k++)
        *most = (double)lanes[k] > *most ? (double)lanes[k] : *most;
}

static void add_most_f64(const double *x, size_t n, double *most)
{
    for (size_t i = 0; i < n; i++)
        *most = x[i] > *most ? x[i] : *most;
}

static void add_exp_f64(const double *x, size_t n, double most, double *sum)
{
    for (size_t i = 0; i < n; i++)
        *sum += strict_exp(x[i] - most);
}

static void add_divergence_f64(const double *x, const double *y, size_t n, const double most[2],
                               const double scale[2], double *sum)
{
    for (size_t i = 0; i < n; i++) {
        const double p = strict_exp(x[i] - most[0]) * scale[0] + 1e-8;
        const double q = strict_exp(y[i] - most[1]) * scale[1] + 1e-8;
        *sum += p * strict_log(p / q);
    }
}

/* What the statistics of a row tell of source k: 0 the model, 1 the base. */
static void add_phase(bool wide, unsigned phase, unsigned k, const void *x, size_t n, double *stats)
{
    if (stats[SEEN] == 0)
        stats[MOST + k] = wide ? *(const double *)x : (double)*(const float *)x;
    if (phase == 0 && wide)
        add_most_f64(x, n, &stats[MOST + k]);
    else if (phase == 0)
        add_most_f32(x, n, &stats[MOST + k]);
    else if (wide)
        add_exp_f64(x, n, stats[MOST + k], &stats[SUM + k]);
    else
        stats[SUM + k] += codec_kernels()->exp_sum(x, n, stats[MOST + k]);
}

/* Three times through the row: the largest values, the sums of the softmax, the divergence. */
static void add_row(const struct step *s, unsigned phase, const void *const x[], size_t n,
                    double *stats)
{
    const void *const pair[2] = {x[1], x[0]};
    if (phase < 2) {
        for (unsigned k = 0; k < 2; k++)
            add_phase(s->wide, phase, k, pair[k], n, stats);
        stats[SEEN] = 1;
        return;
    }
    const double scale[2] = {1 / stats[SUM], 1 / stats[SUM + 1]};
    if (s->wide)
        add_divergence_f64(x[1], x[0], n, stats + MOST, scale, &stats[DIVERGENCE]);
    else
        stats[DIVERGENCE] += codec_kernels()->divergence(x[1], x[0], n, stats + MOST, scale);
}

static const struct row_stats divergence_stats = {.count = NSTATS, .nphases = 3, .add = add_row};

static uint64_t nrows(const struct step *s)
{
    return s->nelems ? s->nelems / row_length(s) : 0;
}

static bool keeps_divergence(const struct step *s)
{
    return nrows(s) <= MOST_KEPT;
}

static size_t fusion_fetch_bytes(const struct step *s)
{
    return rows_fetch_bytes(s, &divergence_stats);
}

static enum quern_status fusion_fetch(const struct piece *p, unsigned pass, uint64_t *moved,
                                      struct quern_error *err)
{
    if (pass > 0 && keeps_divergence(p->step))
        return QUERN_OK;
    return rows_fetch(p, &divergence_stats, moved, err);
}

/* Of the row of which n elements lie at `at`, where x begins. It cannot be below 0; that rounding
 * makes it so counts as 0. */
static double divergence_of(const struct piece *p, unsigned pass, const void *const x[], size_t at,
                            size_t n)
{
    const struct fusion *f = p->state;
    double own[NSTATS];
    if (pass > 0 && keeps_divergence(p->step))
        return f->divergence[(p->first + at) / row_length(p->step)];
    const double d = rows_get(p, &divergence_stats, x, at, n, own)[DIVERGENCE];
    return d > 0 ? d : 0;
}

/* ---- importance -------------------------------------------------------------------------------
 */

static void row_importance(bool wide, const void *const x[], double divergence, size_t n,
                           float *importance)
{
    const float *base = x[0], *other = x[1], factor = (float)divergence;
    if (!wide) {
        for (size_t i = 0; i < n; i++)
            importance[i] = fabsf(other[i] - base[i]) * factor;
        return;
    }
    for (size_t i = 0; i < n; i++)
        importance[i] =
            (float)(fabs(((const double *)x[1])[i] - ((const double *)x[0])[i]) * divergence);
}

static void find_importance(const struct piece *p, unsigned pass, const void *const x[],
                            float *importance)
{
    const struct step *s = p->step;
    struct fusion *f = p->state;
    const uint64_t length = row_length(s);
    const void *part[2];
    for (size_t at = 0, n; at < p->n; at += n) {
        n = row_part(p, at);
        rows_advance(s, x, at, part);
        const double divergence = divergence_of(p, pass, part, at, n);
        /* The row's first element is in this piece alone, so nobody else writes this. */
        if (pass == HIGH && keeps_divergence(s) && (p->first + at) % length == 0)
            f->divergence[(p->first + at) / length] = divergence;
        row_importance(s->wide, part, divergence, n, importance + at);
    }
}

/* ---- quartiles --------------------------------------------------------------------------------
 */

static size_t fusion_state_bytes(const struct step *s)
{
    const size_t kept = keeps_divergence(s) ? (size_t)nrows(s) : 0;
    return sizeof(struct fusion) + kept * sizeof(double);
}

static struct measure_need fusion_need(const struct step *s, unsigned pass)
{
    (void)s;
    return (struct measure_need){.ncounts = pass == HIGH ? SLOTS : 3 * SLOTS};
}

static void fusion_measure(const struct piece *p, unsigned pass, const void *const x[],
                           uint64_t *counts, void *record)
{
    float importance[PIECE];
    uint32_t bits[PIECE];
    const struct fusion *f = p->state;
    (void)record;
    find_importance(p, pass, x, importance);
    memcpy(bits, importance, p->n * sizeof *bits);
    if (pass == HIGH) {
        codec_kernels()->radix_count(bits, p->n, 32, 0, 16, SLOTS - 1, counts);
        return;
    }
    for (size_t q = 0; q < 3; q++)
        codec_kernels()->radix_count(bits, p->n, 16, f->quartile[q], 0, SLOTS - 1,
                                     counts + q * SLOTS);
}

/* Takes 16 more bits: those of the slot in which the rank-th element lies, counted from 0. */
static void narrow_quartile(const uint64_t *histogram, uint64_t *rank, uint32_t *bits)
{
    uint32_t slot = 0;
    while (slot < SLOTS - 1 && histogram[slot] <= *rank)
        *rank -= histogram[slot++];
    *bits = *bits << 16 | slot;
}

static enum quern_status fusion_combine(const struct step *s, unsigned pass, void *state,
                                        const uint64_t *counts, void *records, uint64_t nrecords,
                                        struct quern_error *err)
{
    struct fusion *f = state;
    float value[3];
    (void)records;
    (void)nrecords;
    (void)err;
    for (unsigned q = 0; q < 3; q++) {
        if (pass == HIGH)
            f->rank[q] = (s->nelems - 1) / 4 * (q + 1) + (s->nelems - 1) % 4 * (q + 1) / 4;
        narrow_quartile(counts + (pass == HIGH ? 0 : q * SLOTS), &f->rank[q], &f->quartile[q]);
        memcpy(&value[q], &f->quartile[q], sizeof value[q]);
    }
    if (pass == LOW)
        f->threshold = value[1] + 1.5f * (value[2] - value[0]);
    return QUERN_OK;
}

/* ---- fusion -----------------------------------------------------------------------------------
 */

static void fusion_apply(const struct piece *p, const void *const x[], void *y)
{
    const struct fusion *f = p->state;
    float importance[PIECE];
    find_importance(p, NPASSES, x, importance);
    if (p->step->wide) {
        const double *base = x[0], *other = x[1];
        for (size_t i = 0; i < p->n; i++)
            ((double *)y)[i] =
                importance[i] >= f->threshold ? base[i] + (other[i] - base[i]) : base[i];
        return;
    }
    const float *base = x[0], *other = x[1];
    for (size_t i = 0; i < p->n; i++)
        ((float *)y)[i] = importance[i] >= f->threshold ? base[i] + (other[i] - base[i]) : base[i];
}

static const struct op op_fusion = {
    .name = "arcee_fusion",
    .state_bytes = fusion_state_bytes,
    .fetch_bytes = fusion_fetch_bytes,
    .fetch = fusion_fetch,
    .need = fusion_need,
    .measure = fusion_measure,
    .combine = fusion_combine,
    .apply = fusion_apply,
};

static enum quern_status fusion_prepare(const struct merge_job *job, struct step *s,
                                        struct quern_error *err)
{
    s->sources = sources_base_first(job);
    if (!s->sources)
        return fail_memory(err, sizeof *s->sources);
    s->op = &op_fusion;
    s->nsources = 2;
    s->npasses = NPASSES;
    return QUERN_OK;
}

const struct method method_arcee_fusion = {
    .name = "arcee_fusion",
    .title = "Arcee Fusion",
    .paper = "https://arcee.ai",
    .base = BASE_ORIGIN,
    .crop = CROP_COMMON,
    .min_models = 2,
    .max_models = 2,
    .check = check_nothing,
    .prepare = fusion_prepare,
};
