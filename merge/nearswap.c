/* nearswap.c - NearSwap: take from the other model what is near to the base. */
#include <math.h>

#include "merge/arith.h"
#include "merge/method.h"

enum { T, NPARAMS };

static const struct method_param nearswap_params[NPARAMS] = {
    [T] = {.name = "t",
           .required = true,
           .about = "differences up to this are taken over whole, larger ones in part"},
};

struct nearswap {
    double t, least; /* least: distances count as at least this */
    enum dtype exact;
};

#define REAL        float
#define ABS(x)      fabsf(x)
#define ROUND(s, x) (x)
#define NEARSWAP    nearswap_f32
#include "merge/nearswap_loop.h"

#define REAL        float
#define ABS(x)      fabsf(x)
#define ROUND(s, x) round_value((s)->exact, x)
#define NEARSWAP    nearswap_exact
#include "merge/nearswap_loop.h"

#define REAL        double
#define ABS(x)      fabs(x)
#define ROUND(s, x) (x)
#define NEARSWAP    nearswap_f64
#include "merge/nearswap_loop.h"

static enum quern_status nearswap_check(const struct merge_values *v, unsigned nmodels, int base,
                                        struct quern_error *err)
{
    (void)nmodels;
    (void)base;
    if (v->global[T] < 0)
        return fail(err, QUERN_EUSAGE, "range", "t = %g" WANT "expected a number of at least 0",
                    v->global[T]);
    return QUERN_OK;
}

static void nearswap_apply(const struct piece *p, const void *const x[], void *y)
{
    const struct nearswap *s = p->step->params;
    if (p->step->wide)
        nearswap_f64(s, x[0], x[1], y, p->n);
    else if (s->exact != DTYPE_COUNT)
        nearswap_exact(s, x[0], x[1], y, p->n);
    else
        nearswap_f32(s, x[0], x[1], y, p->n);
}

static const struct op op_nearswap = {.name = "nearswap", .apply = nearswap_apply};

static enum quern_status nearswap_prepare(const struct merge_job *job, struct step *s,
                                          struct quern_error *err)
{
    struct nearswap *n = ARENA_NEW(job->arena, struct nearswap, 1);
    s->sources = sources_base_first(job);
    if (!n || !s->sources)
        return fail_memory(err, sizeof *n);
    n->exact = job->exact;
    n->t = job->values->global[T];
    n->least = 1e-6;
    if (job->exact != DTYPE_COUNT) {
        n->t = (double)round_value(job->exact, (float)n->t);
        n->least = (double)round_value(job->exact, (float)n->least);
    }
    s->op = &op_nearswap;
    s->params = n;
    s->nsources = (uint8_t)job->nmodels;
    return QUERN_OK;
}

const struct method method_nearswap = {
    .name = "nearswap",
    .title = "NearSwap",
    .paper = "https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
    .base = BASE_ORIGIN,
    .min_models = 2,
    .max_models = 2,
    .params = nearswap_params,
    .nparams = NPARAMS,
    .exact = true,
    .check = nearswap_check,
    .prepare = nearswap_prepare,
};
