/* multislerp.c - spherical interpolation of any number of models. */
#include <math.h>
#include <string.h>

#include "core/smath.h"
#include "merge/gram.h"

enum { WEIGHT, NORMALIZE_WEIGHTS, EPS, NPARAMS };

static const struct method_param multislerp_params[NPARAMS] = {
    [WEIGHT] = {.name = "weight",                           .per_model = true, .required = true, .about = "share of a model"},
    [NORMALIZE_WEIGHTS] = {.name = "normalize_weights",
                .fallback = 1,
                .flag = true,
                .about = "divide the weights by their sum"},
    [EPS] = {.name = "eps", .fallback = 1e-8,                  .about = "a sum of directions this short has none"                     },
};

static enum quern_status multislerp_check(const struct merge_values *v, unsigned nmodels, int base,
                                          struct quern_error *err)
{
    double sum = 0, size = 0;
    unsigned count = 0;
    for (unsigned m = 0; m < nmodels; m++) {
        if ((int)m == base)
            continue;
        sum += v->model[m][WEIGHT];
        size += fabs(v->model[m][WEIGHT]);
        count++;
    }
    if (count == 0)
        return fail(err, QUERN_EUSAGE, "recipe",
                    "no model but the base" WANT "multislerp merges at least one");
    if (!(v->global[EPS] >= 0 && v->global[EPS] <= 1))
        return fail(err, QUERN_EUSAGE, "range", "eps = %g" WANT "expected 0 ... 1", v->global[EPS]);
    if (v->global[NORMALIZE_WEIGHTS] != 0 && fabs(sum) <= 1e-7 * size)
        return fail(err, QUERN_EUSAGE, "weights",
                    "the weights of the models sum to 0, so normalize_weights would divide by "
                    "0" WANT "change a weight, or set normalize_weights to false");
    return QUERN_OK;
}

/* a_i a_k times the dot product of vectors i and k, summed; and their sizes summed, of which a
 * sum in f64 cannot tell 0 from about 1e-16. */
static double squared(const double *dots, unsigned n, const double a[], double *size)
{
    double sum = 0;
    *size = 0;
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < n; k++) {
            const double term = a[i] * a[k] * gram_at(dots, i, k);
            sum += term;
            *size += fabs(term);
        }
    return sum;
}

/* With mu the direction of sum w_m U_m, the tangents at mu towards the U_m sum up to 0 whatever the
 * weights, so the exponential map stays at mu but for the eps that stands for the way's length. */
static enum quern_status multislerp_solve(const struct blend *b, const double *dots,
                                          double weights[], struct quern_error *err)
{
    const double eps = b->params[EPS];
    double mean_length = 0, size;
    for (unsigned m = 0; m < b->count; m++) {
        const double length = sqrt(gram_at(dots, m, m));
        mean_length += b->weight[m] * length;
        weights[m] = length > 0 ? b->weight[m] / (length + eps) : 0;
    }
    const double square = squared(dots, b->count, weights, &size);
    if (size == 0) { /* nothing but zeros */
        memset(weights, 0, b->count * sizeof *weights);
        return QUERN_OK;
    }
    if (!(sqrt(square) < eps) && !(square <= 1e-15 * size)) {
        const double by = strict_cos(eps) * mean_length / sqrt(square);
        for (unsigned m = 0; m < b->count; m++)
            weights[m] *= by;
        return QUERN_OK;
    }
    if (b->count > 2)
        return fail(err, QUERN_EUSAGE, "opposite",
                    "the directions of the models, by weight, sum up to 0" WANT
                    "give this tensor other weights: what lies between opposite directions is not "
                    "defined");
    memcpy(weights, b->weight, b->count * sizeof *weights);
    return QUERN_OK;
}

static const struct op op_multislerp = BLEND_OP("multislerp");

static enum quern_status multislerp_prepare(const struct merge_job *job, struct step *s,
                                            struct quern_error *err)
{
    struct blend b = {.origin = job->base >= 0, .solve = multislerp_solve};
    double sum = 0;
    unsigned n = 0;
    b.params[EPS] = job->values->global[EPS];
    for (unsigned m = 0; m < job->nmodels; m++)
        if ((int)m != job->base)
            sum += b.weight[n++] = job->values->model[m][WEIGHT];
    for (unsigned m = 0; m < n && job->values->global[NORMALIZE_WEIGHTS] != 0; m++)
        b.weight[m] /= sum;
    return n == 1 ? blend_single(job, s, err) : blend_prepare(job, s, &b, &op_multislerp, err);
}

const struct method method_multislerp = {
    .name = "multislerp",
    .title = "Multi-SLERP",
    .paper = "https://goddard.blog/posts/multislerp-wow-what-a-cool-idea",
    .base = BASE_OPTIONAL,
    .min_models = 1,
    .max_models = MAX_SOURCES,
    .params = multislerp_params,
    .nparams = NPARAMS,
    .check = multislerp_check,
    .prepare = multislerp_prepare,
};
