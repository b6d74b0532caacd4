/* model_stock.c - Model Stock: how far to go from the base to the mean of models, from the angles
 * between their differences. */
#include <math.h>

#include "merge/gram.h"

enum { FILTER_WISE, NPARAMS };

static const struct method_param model_stock_params[NPARAMS] = {
    [FILTER_WISE] = {.name = "filter_wise", .flag = true, .about = "each row for itself"},
};

/* Below this 1 + (M - 1) c counts as 0. */
#define LEAST_DIVISOR 1e-6

static double cosine(const double *dots, unsigned i, unsigned k)
{
    const double product = sqrt(gram_at(dots, i, i)) * sqrt(gram_at(dots, k, k));
    const double c = gram_at(dots, i, k) / (product < 1e-6 ? 1e-6 : product);
    return c > 1 ? 1 : c < -1 ? -1 : c;
}

static enum quern_status model_stock_solve(const struct blend *b, const double *dots,
                                           double weights[], struct quern_error *err)
{
    const unsigned n = b->count;
    double sum = 0;
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = i + 1; k < n; k++)
            sum += cosine(dots, i, k);
    const double mean = sum / (n * (n - 1) / 2);
    const double divisor = 1 + (n - 1) * mean;
    if (fabs(divisor) < LEAST_DIVISOR)
        return fail(err, QUERN_EUSAGE, "opposite",
                    "the models' differences from the base point away from each other (mean cosine "
                    "%.6g)" WANT "expected differences that do not cancel: model_stock has no "
                    "result for %u models at a cosine of %.6g",
                    mean, n, -1.0 / (n - 1));
    for (unsigned i = 0; i < n; i++)
        weights[i] = mean / divisor; /* t / n */
    return QUERN_OK;
}

static const struct op op_model_stock = BLEND_OP("model_stock");
static const struct op op_model_stock_rows = BLEND_ROWS_OP("model_stock");

static enum quern_status model_stock_prepare(const struct merge_job *job, struct step *s,
                                             struct quern_error *err)
{
    const bool rows = job->values->global[FILTER_WISE] != 0;
    struct blend b = {.origin = true, .solve = model_stock_solve};
    return blend_prepare(job, s, &b, rows ? &op_model_stock_rows : &op_model_stock, err);
}

const struct method method_model_stock = {
    .name = "model_stock",
    .title = "Model Stock",
    .paper = "https://arxiv.org/abs/2403.19522",
    .base = BASE_ORIGIN,
    .crop = CROP_COMMON,
    .min_models = 3,
    .max_models = MAX_SOURCES,
    .params = model_stock_params,
    .nparams = NPARAMS,
    .check = check_nothing,
    .prepare = model_stock_prepare,
};
