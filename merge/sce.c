/* sce.c - SCE: select elements by variance, compute weights from squares, erase minority signs. */
#include <math.h>
#include <string.h>

#include "merge/cuts.h"
#include "merge/method.h"
#include "quant/codec.h"

enum { SELECT_TOPK, NPARAMS };

static const struct method_param sce_params[NPARAMS] = {
    [SELECT_TOPK] = {.name = "select_topk",
                     .fallback = 1,
                     .about = "share of the elements that differ to keep, by variance"},
};

struct sce {
    unsigned nmodels; /* without the base */
    double share;     /* 1 or more: all */
};

#define ROUND_ELEMS 16u

#define REAL        float
#define BITS        uint32_t
#define SCE_ROUND   sce_round_f32
#define SCE_SCORES  sce_scores_f32
#define SCE_SQUARES sce_squares_f32
#define SCE_MERGE   sce_merge_f32
#include "merge/sce_loop.h"

#define REAL        double
#define BITS        uint64_t
#define SCE_ROUND   sce_round_f64
#define SCE_SCORES  sce_scores_f64
#define SCE_SQUARES sce_squares_f64
#define SCE_MERGE   sce_merge_f64
#include "merge/sce_loop.h"

struct chosen {
    struct cut cut;
    double weight[MAX_SOURCES];
};

/* The equals met in this chunk. */
struct carry {
    uint64_t met;
};

union scores {
    uint32_t narrow[PIECE];
    uint64_t wide[PIECE];
};

static enum quern_status sce_check(const struct merge_values *v, unsigned nmodels, int base,
                                   struct quern_error *err)
{
    (void)nmodels;
    (void)base;
    if (v->global[SELECT_TOPK] <= 0)
        return fail(err, QUERN_EUSAGE, "range",
                    "select_topk = %g" WANT "expected a number above 0, at most 1",
                    v->global[SELECT_TOPK]);
    return QUERN_OK;
}

/* Passes: counting variances, placing the cut among equals, and, always, adding squares. */
static unsigned counting_passes(const struct step *s)
{
    const struct sce *c = s->params;
    return c->share < 1 ? cut_passes(s->wide) : 0;
}

static unsigned last_pass(const struct step *s)
{
    const unsigned counting = counting_passes(s);
    return counting > 0 ? counting + 1 : 0;
}

static size_t sce_state_bytes(const struct step *s)
{
    (void)s;
    return sizeof(struct chosen);
}

static struct measure_need sce_need(const struct step *s, unsigned pass)
{
    const struct sce *c = s->params;
    if (pass < counting_passes(s)) /* and one for the elements that differ */
        return (struct measure_need){.ncounts = CUT_SLOTS + 1};
    return (struct measure_need){.record_bytes =
                                     (pass == last_pass(s) ? c->nmodels : 1) * sizeof(double)};
}

static void score(const struct piece *p, const void *const x[], union scores *out)
{
    if (p->step->wide)
        sce_scores_f64(p->step->params, x, out->wide, p->n);
    else
        sce_scores_f32(p->step->params, x, out->narrow, p->n);
}

static uint64_t score_at(bool wide, const union scores *s, size_t i)
{
    return wide ? s->wide[i] : s->narrow[i];
}

/* Which elements of the piece are kept. */
static void select_elements(const struct piece *p, const void *const x[], bool *kept)
{
    const struct sce *c = p->step->params;
    const struct chosen *chosen = p->state;
    struct carry *carry = p->carry;
    const bool wide = p->step->wide;
    if (c->share >= 1) {
        memset(kept, true, p->n);
        return;
    }
    union scores s;
    score(p, x, &s);
    const size_t split = cut_split(&chosen->cut, wide, p->chunk, &s, p->n, &carry->met);
    for (size_t i = 0; i < p->n; i++)
        kept[i] = score_at(wide, &s, i) >= cut_least(&chosen->cut, split, i);
}

static void sce_measure(const struct piece *p, unsigned pass, const void *const x[],
                        uint64_t *counts, void *record)
{
    const struct sce *c = p->step->params;
    const struct chosen *chosen = p->state;
    const bool wide = p->step->wide;
    if (pass == last_pass(p->step)) {
        bool kept[PIECE];
        select_elements(p, x, kept);
        if (wide)
            sce_squares_f64(c, x, kept, record, p->n);
        else
            sce_squares_f32(c, x, kept, record, p->n);
        return;
    }
    union scores s;
    score(p, x, &s);
    if (pass < counting_passes(p->step))
        cut_count(&chosen->cut, wide, pass, &s, p->n, counts);
    else
        *(double *)record += (double)cut_count_score(wide, &s, p->n, chosen->cut.score);
    for (size_t i = 0; pass == 0 && i < p->n; i++)
        counts[CUT_SLOTS] += score_at(wide, &s, i) != 0;
}

static void set_weights(const struct step *s, const double *records, uint64_t nrecords,
                        double weight[])
{
    const struct sce *c = s->params;
    double sum = 0;
    for (unsigned m = 0; m < c->nmodels; m++) {
        weight[m] = fold_records(records, nrecords, c->nmodels, m) / (double)s->nelems;
        sum += weight[m];
    }
    for (unsigned m = 0; m < c->nmodels; m++)
        weight[m] = sum < 1e-6 ? 1.0 / c->nmodels : weight[m] / sum;
}

static enum quern_status sce_combine(const struct step *s, unsigned pass, void *state,
                                     const uint64_t *counts, void *records, uint64_t nrecords,
                                     struct quern_error *err)
{
    (void)err;
    const struct sce *c = s->params;
    struct chosen *chosen = state;
    if (pass == last_pass(s)) {
        set_weights(s, records, nrecords, chosen->weight);
        return QUERN_OK;
    }
    if (pass == 0) {
        const uint64_t differing = counts[CUT_SLOTS];
        const uint64_t k = (uint64_t)(c->share * (double)differing);
        chosen->cut.rank = k > 0 || differing == 0 ? k : 1;
    }
    if (pass < counting_passes(s))
        cut_narrow(&chosen->cut, counts);
    else
        cut_place(&chosen->cut, records, nrecords, 1);
    return QUERN_OK;
}

static void sce_apply(const struct piece *p, const void *const x[], void *y)
{
    const struct chosen *chosen = p->state;
    bool kept[PIECE];
    select_elements(p, x, kept);
    if (p->step->wide)
        sce_merge_f64(p->step->params, chosen->weight, x, kept, y, p->n);
    else
        sce_merge_f32(p->step->params, chosen->weight, x, kept, y, p->n);
}

static const struct op op_sce = {
    .name = "sce",
    .state_bytes = sce_state_bytes,
    .carry_bytes = sizeof(struct carry),
    .need = sce_need,
    .measure = sce_measure,
    .combine = sce_combine,
    .apply = sce_apply,
};

static enum quern_status sce_prepare(const struct merge_job *job, struct step *s,
                                     struct quern_error *err)
{
    struct sce *c = ARENA_NEW(job->arena, struct sce, 1);
    s->sources = sources_base_first(job);
    if (!c || !s->sources)
        return fail_memory(err, sizeof *c);
    c->nmodels = job->nmodels - 1;
    c->share = job->values->global[SELECT_TOPK];
    s->op = &op_sce;
    s->params = c;
    s->nsources = (uint8_t)job->nmodels;
    s->npasses = (uint8_t)(last_pass(s) + 1);
    return QUERN_OK;
}

const struct method method_sce = {
    .name = "sce",
    .title = "SCE",
    .paper = "https://arxiv.org/abs/2408.07990",
    .base = BASE_ORIGIN,
    .min_models = 2,
    .max_models = MAX_SOURCES,
    .params = sce_params,
    .nparams = NPARAMS,
    .check = sce_check,
    .prepare = sce_prepare,
};
