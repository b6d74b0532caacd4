/* nuslerp.c - spherical interpolation of two models with weights: of whole tensors, rows or
 * columns. */
#include <math.h>

#include "core/smath.h"
#include "merge/nuslerp.h"

enum { WEIGHT, FLATTEN, ROW_WISE, NPARAMS };

static const struct method_param nuslerp_params[NPARAMS] = {
    [WEIGHT] = {.name = "weight",                                       .per_model = true, .required = true, .about = "share of a model"},
    [FLATTEN] = {.name = "nuslerp_flatten",
                .fallback = 1,
                .flag = true,
                .about = "take a tensor as one vector, not row by row"},
    [ROW_WISE] = {.name = "nuslerp_row_wise",
                .flag = true,
                .about = "without nuslerp_flatten: vectors along the first dimension"        },
};

/* Farther than this the angle t * theta would lose bits (and nobody means it). */
#define MAX_T 1e5

/* t = 0 gives the first model, 1 the second. */
static double position(double w1, double w2)
{
    return fabs(w1 + w2) < 1e-6 ? 0.5 : w2 / (w1 + w2);
}

/* The weights of the two models besides the base; how many there are. */
static unsigned both_weights(const struct merge_values *v, unsigned nmodels, int base, double w[2])
{
    unsigned n = 0;
    for (unsigned m = 0; m < nmodels; m++)
        if ((int)m != base && n++ < 2)
            w[n - 1] = v->model[m][WEIGHT];
    return n;
}

static enum quern_status nuslerp_check(const struct merge_values *v, unsigned nmodels, int base,
                                       struct quern_error *err)
{
    double w[2] = {0, 0};
    const unsigned n = both_weights(v, nmodels, base, w);
    if (n != 2)
        return fail(err, QUERN_EUSAGE, "recipe",
                    "%u model%s besides the base" WANT
                    "nuslerp merges two; its base_model, if any, is a third",
                    n, n == 1 ? "" : "s");
    if (fabs(position(w[0], w[1])) > MAX_T)
        return fail(err, QUERN_EUSAGE, "weights",
                    "the weights %g and %g nearly cancel" WANT
                    "expected the second's share of their sum to be near 0 ... 1, at most 1e5",
                    w[0], w[1]);
    return QUERN_OK;
}

void nuslerp_weights(double aa, double ab, double bb, double t, double weights[2])
{
    const double a = sqrt(aa), b = sqrt(bb);
    const double cosine = ab / ((a < 1e-7 ? 1e-7 : a) * (b < 1e-7 ? 1e-7 : b));
    weights[0] = 1 - t;
    weights[1] = t;
    if (fabs(cosine) > 1 - 1e-12)
        return;
    const double theta = strict_acos(cosine);
    const double sine = strict_sin(theta);
    weights[0] = strict_sin((1 - t) * theta) / sine;
    weights[1] = strict_sin(t * theta) / sine;
}

static enum quern_status nuslerp_solve(const struct blend *b, const double *dots, double weights[],
                                       struct quern_error *err)
{
    (void)err;
    nuslerp_weights(gram_at(dots, 0, 0), gram_at(dots, 0, 1), gram_at(dots, 1, 1), b->params[0],
                    weights);
    return QUERN_OK;
}

static const struct op op_nuslerp = BLEND_OP("nuslerp");
static const struct op op_nuslerp_rows = BLEND_ROWS_OP("nuslerp");

static enum quern_status nuslerp_prepare(const struct merge_job *job, struct step *s,
                                         struct quern_error *err)
{
    const struct merge_values *v = job->values;
    struct blend b = {.origin = job->base >= 0, .solve = nuslerp_solve};
    double w[2] = {0, 0};
    both_weights(v, job->nmodels, job->base, w);
    b.params[0] = position(w[0], w[1]);
    const struct op *op = &op_nuslerp;
    /* A tensor of one dimension is one vector in any layout. */
    if (v->global[FLATTEN] == 0 && s->ndims > 1)
        op = v->global[ROW_WISE] != 0 ? &op_nuslerp_columns : &op_nuslerp_rows;
    TRY(blend_prepare(job, s, &b, op, err));
    if (op == &op_nuslerp_columns)
        s->npasses = NUSLERP_COLUMN_PASSES;
    return QUERN_OK;
}

const struct method method_nuslerp = {
    .name = "nuslerp",
    .title = "NuSLERP",
    .paper = "https://en.wikipedia.org/wiki/Slerp",
    .base = BASE_OPTIONAL,
    .crop = CROP_COMMON,
    .min_models = 2,
    .max_models = 3,
    .params = nuslerp_params,
    .nparams = NPARAMS,
    .check = nuslerp_check,
    .prepare = nuslerp_prepare,
};
