/* passthrough.c - one model as it is, or with some tensors scaled. */
#include "merge/arith.h"
#include "merge/method.h"
#include "quant/codec.h"

enum { SCALE, NPARAMS };

static const struct method_param passthrough_params[NPARAMS] = {
    [SCALE] = {.name = "scale",
               .per_model = true,
               .fallback = 1,
               .about = "factor of a tensor; 1 leaves it as it is"},
};

static void passthrough_apply(const struct piece *p, const void *const x[], void *y)
{
    sum_weighted(p->step->wide, y, x, p->step->params, 1, p->n);
}

static const struct op op_passthrough = {.name = "passthrough", .apply = passthrough_apply};

/* The factor as a tensor of this type would hold it. */
static double rounded(double x, enum dtype d)
{
    uint64_t stored[1];
    double result;
    codec_encode_f64(d, &x, stored, 1);
    codec_decode_f64(d, stored, &result, 1);
    return result;
}

static enum quern_status passthrough_prepare(const struct merge_job *job, struct step *s,
                                             struct quern_error *err)
{
    double *scale = ARENA_NEW(job->arena, double, 1);
    if (!scale)
        return fail_memory(err, sizeof *scale);
    *scale = job->values->model[0][SCALE];
    if (job->exact != DTYPE_COUNT)
        *scale = rounded(*scale, job->exact);
    s->op = *scale == 1 ? &op_copy : &op_passthrough;
    s->params = scale;
    s->sources = job->models;
    s->nsources = 1;
    return QUERN_OK;
}

const struct method method_passthrough = {
    .name = "passthrough",
    .title = "Passthrough",
    .paper = "https://arxiv.org/abs/2312.15166",
    .base = BASE_NONE,
    .min_models = 1,
    .max_models = 1,
    .params = passthrough_params,
    .nparams = NPARAMS,
    .check = check_nothing,
    .prepare = passthrough_prepare,
};
