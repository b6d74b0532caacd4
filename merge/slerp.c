/* slerp.c - spherical interpolation between two models, tensor by tensor. */
#include <math.h>

#include "core/smath.h"
#include "merge/arith.h"
#include "merge/method.h"

enum { T, NPARAMS };

static const struct method_param slerp_params[NPARAMS] = {
    [T] = {.name = "t", .required = true, .about = "0 gives the base, 1 the other model"},
};

/* Farther than this the angle t * theta would lose bits (and nobody means it). */
#define MAX_T 1e5

struct slerp_state {
    double weight[2];
};

static enum quern_status slerp_check(const struct merge_values *v, unsigned nmodels, int base,
                                     struct quern_error *err)
{
    (void)nmodels;
    (void)base;
    if (fabs(v->global[T]) > MAX_T)
        return fail(err, QUERN_EUSAGE, "range",
                    "t = %g" WANT "expected a number near 0 ... 1, at most 1e5", v->global[T]);
    return QUERN_OK;
}

static size_t slerp_state_bytes(const struct step *s)
{
    (void)s;
    return sizeof(struct slerp_state);
}

static struct measure_need slerp_need(const struct step *s, unsigned pass)
{
    (void)s;
    (void)pass;
    return (struct measure_need){.record_bytes = 3 * sizeof(double)};
}

static void slerp_measure(const struct piece *p, unsigned pass, const void *const x[],
                          uint64_t *counts, void *record)
{
    (void)pass;
    (void)counts;
    add_pair_dots(p->step->wide, x[0], x[1], p->n, record);
}

/* Vectors as short as this are taken as they are: they have no direction. */
static double length_or_1(double square)
{
    const double length = sqrt(square);
    return length > 1e-8 ? length : 1;
}

/* The weights of a and b in the result. On nearly parallel (or opposite) vectors the angle says
 * nothing and the straight line is taken. */
static void slerp_weights(double aa, double ab, double bb, double t, double weight[2])
{
    const double cosine = ab / (length_or_1(aa) * length_or_1(bb));
    if (fabs(cosine) > 0.9995) {
        weight[0] = 1 - t;
        weight[1] = t;
        return;
    }
    const double theta = strict_acos(cosine);
    const double part = theta * t;
    const double sine = strict_sin(theta);
    weight[0] = strict_sin(theta - part) / sine;
    weight[1] = strict_sin(part) / sine;
}

static enum quern_status slerp_combine(const struct step *s, unsigned pass, void *state,
                                       const uint64_t *counts, void *records, uint64_t nrecords,
                                       struct quern_error *err)
{
    (void)pass;
    (void)counts;
    double dots[3];
    for (size_t i = 0; i < 3; i++)
        dots[i] = fold_records(records, nrecords, 3, i);
    if (!isfinite(dots[0]) || !isfinite(dots[2]))
        return fail(err, QUERN_EFORMAT, "overflow", "values so large that their norm overflows");
    const double *t = s->params;
    struct slerp_state *result = state;
    slerp_weights(dots[0], dots[1], dots[2], *t, result->weight);
    return QUERN_OK;
}

static void slerp_apply(const struct piece *p, const void *const x[], void *y)
{
    const struct slerp_state *state = p->state;
    sum_weighted(p->step->wide, y, x, state->weight, 2, p->n);
}

static const struct op op_slerp = {
    .name = "slerp",
    .state_bytes = slerp_state_bytes,
    .need = slerp_need,
    .measure = slerp_measure,
    .combine = slerp_combine,
    .apply = slerp_apply,
};

static enum quern_status slerp_prepare(const struct merge_job *job, struct step *s,
                                       struct quern_error *err)
{
    double *t = ARENA_NEW(job->arena, double, 1);
    s->sources = sources_base_first(job);
    if (!t || !s->sources)
        return fail_memory(err, sizeof *t);
    *t = job->values->global[T];
    s->op = &op_slerp;
    s->params = t;
    s->nsources = 2;
    s->npasses = 1;
    return QUERN_OK;
}

const struct method method_slerp = {
    .name = "slerp",
    .title = "SLERP",
    .paper = "https://en.wikipedia.org/wiki/Slerp",
    .base = BASE_MEMBER,
    .crop = CROP_COMMON,
    .min_models = 2,
    .max_models = 2,
    .params = slerp_params,
    .nparams = NPARAMS,
    .check = slerp_check,
    .prepare = slerp_prepare,
};
