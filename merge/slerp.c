/* slerp.c - spherical interpolation between two models, tensor by tensor. */
#include <math.h>

#include "core/smath.h"
#include "merge/gram.h"

enum { T, NPARAMS };

static const struct method_param slerp_params[NPARAMS] = {
    [T] = {.name = "t", .required = true, .about = "0 gives the base, 1 the other model"},
};

/* Farther than this the angle t * theta would lose bits (and nobody means it). */
#define MAX_T 1e5

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

/* Vectors as short as this are taken as they are: they have no direction. */
static double length_or_1(double square)
{
    const double length = sqrt(square);
    return length > 1e-8 ? length : 1;
}

/* On nearly parallel (or opposite) vectors the angle says nothing and the straight line is taken.
 */
static enum quern_status slerp_solve(const struct blend *b, const double *dots, double weights[],
                                     struct quern_error *err)
{
    const double t = b->params[T];
    const double cosine =
        gram_at(dots, 0, 1) / (length_or_1(gram_at(dots, 0, 0)) * length_or_1(gram_at(dots, 1, 1)));
    (void)err;
    if (fabs(cosine) > 0.9995) {
        weights[0] = 1 - t;
        weights[1] = t;
        return QUERN_OK;
    }
    const double theta = strict_acos(cosine);
    const double part = theta * t;
    const double sine = strict_sin(theta);
    weights[0] = strict_sin(theta - part) / sine;
    weights[1] = strict_sin(part) / sine;
    return QUERN_OK;
}

static const struct op op_slerp = BLEND_OP("slerp");

static enum quern_status slerp_prepare(const struct merge_job *job, struct step *s,
                                       struct quern_error *err)
{
    struct blend b = {.solve = slerp_solve, .params = {[T] = job->values->global[T]}};
    TRY(blend_prepare(job, s, &b, &op_slerp, err));
    s->sources = sources_base_first(job);
    return s->sources ? QUERN_OK : fail_memory(err, sizeof *s->sources);
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
