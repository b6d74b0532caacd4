/* passthrough.c - one model as it is, or with some tensors scaled. */
#include "merge/arith.h"
#include "merge/method.h"

enum { SCALE, NPARAMS };

static const struct method_param passthrough_params[NPARAMS] = {
    [SCALE] = {.name = "scale",
               .per_model = true,
               .fallback = 1,
               .about = "factor of a tensor; 1 leaves it as it is"},
};

struct passthrough {
    double scale;
    enum dtype exact; /* rounded to after every operation; DTYPE_COUNT: not */
};

static void passthrough_apply(const struct piece *p, const void *const x[], void *y)
{
    const struct passthrough *t = p->step->params;
    if (t->exact == DTYPE_COUNT) {
        sum_weighted(p->step->wide, y, x, &t->scale, 1, p->n);
        return;
    }
    for (size_t i = 0; i < p->n; i++)
        ((float *)y)[i] = round_value(t->exact, ((const float *)x[0])[i]) * (float)t->scale;
    round_values(t->exact, y, p->n);
}

static const struct op op_passthrough = {.name = "passthrough", .apply = passthrough_apply};

static enum quern_status passthrough_prepare(const struct merge_job *job, struct step *s,
                                             struct quern_error *err)
{
    struct passthrough *t = ARENA_NEW(job->arena, struct passthrough, 1);
    if (!t)
        return fail_memory(err, sizeof *t);
    t->scale = job->values->model[0][SCALE];
    t->exact = job->exact;
    if (job->exact != DTYPE_COUNT)
        t->scale = (double)round_value(job->exact, (float)t->scale);
    const bool rounds = job->exact != DTYPE_COUNT && job->exact != job->models[0].tensor->dtype;
    s->op = t->scale == 1 && !rounds ? &op_copy : &op_passthrough;
    s->params = t;
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
    .exact = true,
};
