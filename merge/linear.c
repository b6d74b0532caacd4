/* linear.c - the weighted mean (or sum) of models. */
#include <math.h>

#include "merge/arith.h"
#include "merge/method.h"

enum { WEIGHT, NORMALIZE, NPARAMS };

static const struct method_param linear_params[NPARAMS] = {
    [WEIGHT] = {.name = "weight",    .per_model = true, .required = true, .about = "share of a model"},
    [NORMALIZE] = {.name = "normalize",
                .fallback = 1,
                .flag = true,
                .about = "divide by the sum of the weights"                                          },
};

struct linear {
    double weight[MAX_SOURCES];
    double divisor;   /* 1: none */
    enum dtype exact; /* rounded to after every operation; DTYPE_COUNT: not */
};

/* The weights as f32 arithmetic sees them. */
static double narrow_sum(const double *w, unsigned n)
{
    float sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += (float)w[i];
    return (double)sum;
}

static double wide_sum(const double *w, unsigned n)
{
    double sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += w[i];
    return sum;
}

static enum quern_status linear_check(const struct merge_values *v, unsigned nmodels, int base,
                                      struct quern_error *err)
{
    (void)base;
    double sum = 0, size = 0;
    for (unsigned m = 0; m < nmodels; m++) {
        sum += v->model[m][WEIGHT];
        size += fabs(v->model[m][WEIGHT]);
    }
    /* 0.1 + 0.2 - 0.3 is not 0 in binary, but meant to be. */
    if (v->global[NORMALIZE] != 0 && fabs(sum) <= 1e-7 * size)
        return fail(err, QUERN_EUSAGE, "weights",
                    "the weights of the models sum to 0, so normalize would divide by 0" WANT
                    "change a weight, or set normalize to false");
    return QUERN_OK;
}

/* Sums are added up in f32 and rounded once. */
static void linear_exact(const struct linear *l, const void *const x[], unsigned nx, float *y,
                         size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float sum = 0;
        for (unsigned m = 0; m < nx; m++) {
            const float value = round_value(l->exact, ((const float *)x[m])[i]);
            sum += round_value(l->exact, (float)l->weight[m] * value);
        }
        sum = round_value(l->exact, sum);
        y[i] = l->divisor == 1 ? sum : round_value(l->exact, sum / (float)l->divisor);
    }
}

static void linear_apply(const struct piece *p, const void *const x[], void *y)
{
    const struct linear *l = p->step->params;
    if (l->exact != DTYPE_COUNT) {
        linear_exact(l, x, p->step->nsources, y, p->n);
        return;
    }
    sum_weighted(p->step->wide, y, x, l->weight, p->step->nsources, p->n);
    if (l->divisor != 1)
        divide_all(p->step->wide, y, l->divisor, p->n);
}

static bool linear_apply_bf16(const struct piece *p, const uint16_t *const x[], uint16_t *y)
{
    const struct linear *l = p->step->params;
    return l->exact == DTYPE_COUNT && l->divisor == 1 &&
           sum_bf16(y, NULL, x, l->weight, p->step->nsources, p->n);
}

static const struct op op_linear = {
    .name = "linear",
    .apply = linear_apply,
    .apply_bf16 = linear_apply_bf16,
};

static enum quern_status linear_prepare(const struct merge_job *job, struct step *s,
                                        struct quern_error *err)
{
    struct linear *l = ARENA_NEW(job->arena, struct linear, 1);
    if (!l)
        return fail_memory(err, sizeof *l);
    for (unsigned m = 0; m < job->nmodels; m++)
        l->weight[m] = job->values->model[m][WEIGHT];
    l->exact = job->exact;
    for (unsigned m = 0; m < job->nmodels && l->exact != DTYPE_COUNT; m++)
        l->weight[m] = (double)round_value(l->exact, (float)l->weight[m]);
    l->divisor = 1;
    if (job->values->global[NORMALIZE] != 0)
        l->divisor = (s->wide ? wide_sum : narrow_sum)(l->weight, job->nmodels);
    if (l->exact != DTYPE_COUNT)
        l->divisor = (double)round_value(l->exact, (float)l->divisor);
    const bool as_it_is = job->nmodels == 1 && l->weight[0] == 1 && job->exact == DTYPE_COUNT;
    s->op = as_it_is ? &op_copy : &op_linear;
    s->params = l;
    s->sources = job->models;
    s->nsources = (uint8_t)job->nmodels;
    return QUERN_OK;
}

const struct method method_linear = {
    .name = "linear",
    .title = "Linear",
    .paper = "https://arxiv.org/abs/2203.05482",
    .base = BASE_INPUT,
    .crop = CROP_COMMON,
    .min_models = 1,
    .max_models = MAX_SOURCES,
    .params = linear_params,
    .nparams = NPARAMS,
    .exact = true,
    .check = linear_check,
    .prepare = linear_prepare,
};
