/* gram.c - measure Gram matrices, add up weighted vectors. */
#include "merge/gram.h"

#include <math.h>

#include "merge/arith.h"
#include "quant/codec.h"

/* ---- dot products ---------------------------------------------------------------------------- */

static void add_dots_f32(const void *const x[], const float *base, unsigned count, size_t n,
                         double *dots)
{
    const float *narrow[MAX_SOURCES];
    double some[MAX_SOURCES * (MAX_SOURCES + 1) / 2];
    for (unsigned i = 0; i < count; i++)
        narrow[i] = x[i];
    codec_kernels()->gram(narrow, base, count, n, some);
    for (size_t i = 0; i < gram_count(count); i++)
        dots[i] += some[i];
}

static void add_dots_f64(const double *const x[], unsigned count, size_t n, double *dots)
{
    for (unsigned i = 0; i < count; i++)
        for (unsigned k = 0; k <= i; k++)
            *dots++ += dot_f64(x[i], x[k], n);
}

/* Differences that are made at a time; a multiple of DOT_LANES. */
#define DELTAS 512u

static void add_deltas_f64(const void *const x[], const double *base, unsigned count, size_t n,
                           double *dots)
{
    double deltas[MAX_SOURCES][DELTAS];
    const double *rows[MAX_SOURCES];
    for (unsigned i = 0; i < count; i++)
        rows[i] = deltas[i];
    for (size_t at = 0; at < n; at += DELTAS) {
        const size_t some = n - at < DELTAS ? n - at : DELTAS;
        for (unsigned i = 0; i < count; i++)
            for (size_t k = 0; k < some; k++)
                deltas[i][k] = ((const double *)x[i])[at + k] - base[at + k];
        add_dots_f64(rows, count, some, dots);
    }
}

void gram_add(bool wide, const void *const x[], const void *base, unsigned count, size_t n,
              double *dots)
{
    if (!wide)
        add_dots_f32(x, base, count, n, dots);
    else if (base)
        add_deltas_f64(x, base, count, n, dots);
    else
        add_dots_f64((const double *const *)x, count, n, dots);
}

/* ---- steps ----------------------------------------------------------------------------------- */

enum quern_status blend_prepare(const struct merge_job *job, struct step *s, struct blend *b,
                                const struct op *op, struct quern_error *err)
{
    struct blend *kept = ARENA_NEW(job->arena, struct blend, 1);
    s->sources = b->origin ? sources_base_first(job) : job->models;
    if (!kept || !s->sources)
        return fail_memory(err, sizeof *kept);
    b->count = job->nmodels - b->origin;
    *kept = *b;
    s->op = op;
    s->params = kept;
    s->nsources = (uint8_t)job->nmodels;
    s->npasses = op->measure ? 1 : 0;
    return QUERN_OK;
}

enum quern_status blend_single(const struct merge_job *job, struct step *s, struct quern_error *err)
{
    const struct source *sources = sources_base_first(job);
    if (!sources)
        return fail_memory(err, sizeof *sources);
    s->op = &op_copy;
    s->sources = &sources[job->nmodels - 1];
    s->nsources = 1;
    s->npasses = 0;
    return QUERN_OK;
}

static const void *const *vectors(const struct blend *b, const void *const x[])
{
    return x + (b->origin ? 1 : 0);
}

static void add_up(const struct step *s, const void *const x[], const double weights[], void *y,
                   size_t n)
{
    const struct blend *b = s->params;
    if (b->origin)
        sum_differences(s->wide, y, x[0], vectors(b, x), weights, b->count, n);
    else
        sum_weighted(s->wide, y, x, weights, b->count, n);
}

/* ---- whole tensors --------------------------------------------------------------------------- */

size_t blend_state_bytes(const struct step *s)
{
    const struct blend *b = s->params;
    return b->count * sizeof(double);
}

struct measure_need blend_need(const struct step *s, unsigned pass)
{
    const struct blend *b = s->params;
    (void)pass;
    return (struct measure_need){.record_bytes = gram_count(b->count) * sizeof(double)};
}

void blend_measure(const struct piece *p, unsigned pass, const void *const x[], uint64_t *counts,
                   void *record)
{
    const struct blend *b = p->step->params;
    (void)pass;
    (void)counts;
    gram_add(p->step->wide, vectors(b, x), b->origin ? x[0] : NULL, b->count, p->n, record);
}

enum quern_status blend_combine(const struct step *s, unsigned pass, void *state,
                                const uint64_t *counts, void *records, uint64_t nrecords,
                                struct quern_error *err)
{
    const struct blend *b = s->params;
    const size_t ndots = gram_count(b->count);
    double dots[MAX_SOURCES * (MAX_SOURCES + 1) / 2] = {0};
    (void)pass;
    (void)counts;
    for (size_t i = 0; i < ndots; i++)
        dots[i] = fold_records(records, nrecords, ndots, i);
    for (unsigned i = 0; i < b->count; i++)
        if (!isfinite(gram_at(dots, i, i)))
            return fail(err, QUERN_EFORMAT, "overflow",
                        "values so large that their norm overflows");
    return b->solve(b, dots, state, err);
}

void blend_apply(const struct piece *p, const void *const x[], void *y)
{
    add_up(p->step, x, p->state, y, p->n);
}

bool blend_measure_bf16(const struct piece *p, unsigned pass, const uint16_t *const x[],
                        uint64_t *counts, void *record)
{
    const struct blend *b = p->step->params;
    const unsigned origin = b->origin;
    double some[MAX_SOURCES * (MAX_SOURCES + 1) / 2], *dots = record;
    (void)pass;
    (void)counts;
    if (!codec_kernels()->gram_bf16(x + origin, origin ? x[0] : NULL, b->count, p->n, some))
        return false;
    for (size_t i = 0; i < gram_count(b->count); i++)
        dots[i] += some[i];
    return true;
}

bool blend_apply_bf16(const struct piece *p, const uint16_t *const x[], uint16_t *y)
{
    const struct blend *b = p->step->params;
    const unsigned origin = b->origin;
    return sum_bf16(y, origin ? x[0] : NULL, x + origin, p->state, b->count, p->n);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void add_row(const struct step *s, unsigned phase, const void *const x[], size_t n,
                    double *stats)
{
    const struct blend *b = s->params;
    (void)phase;
    gram_add(s->wide, vectors(b, x), b->origin ? x[0] : NULL, b->count, n, stats);
}

static struct row_stats row_stats_of(const struct step *s)
{
    const struct blend *b = s->params;
    return (struct row_stats){.count = gram_count(b->count), .nphases = 1, .add = add_row};
}

size_t blend_rows_fetch_bytes(const struct step *s)
{
    const struct row_stats r = row_stats_of(s);
    return rows_fetch_bytes(s, &r);
}

enum quern_status blend_rows_fetch(const struct piece *p, unsigned pass, uint64_t *moved,
                                   struct quern_error *err)
{
    const struct row_stats r = row_stats_of(p->step);
    (void)pass;
    return rows_fetch(p, &r, moved, err);
}

/* What has no solution shows in the result as NaN, which is an error that names the element. */
static void row_weights(const struct blend *b, const double *dots, double weights[])
{
    struct quern_error e;
    if (b->solve(b, dots, weights, &e) == QUERN_OK)
        return;
    for (unsigned i = 0; i < b->count; i++)
        weights[i] = NAN;
}

void blend_rows_apply(const struct piece *p, const void *const x[], void *y)
{
    const struct step *s = p->step;
    const struct row_stats r = row_stats_of(s);
    double own[MAX_SOURCES * (MAX_SOURCES + 1) / 2], weights[MAX_SOURCES];
    const void *part[MAX_SOURCES];
    for (size_t at = 0, n; at < p->n; at += n) {
        n = row_part(p, at);
        rows_advance(s, x, at, part);
        row_weights(s->params, rows_get(p, &r, part, at, n, own), weights);
        add_up(s, part, weights, (uint8_t *)y + at * (s->wide ? sizeof(double) : sizeof(float)), n);
    }
}
