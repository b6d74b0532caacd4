/* ram.c - Reinforced Agent Merging: add what one model alone changed, average what several did. */
#include <math.h>

#include "merge/arith.h"
#include "merge/method.h"

enum { EPSILON, NRAM, R = NRAM, ALPHA, NPLUS };

#define EPSILON_PARAM \
    [EPSILON] = {     \
        .name = "epsilon", .fallback = 1e-5, .about = "differences up to this are no changes"}

static const struct method_param ram_params[NRAM] = {EPSILON_PARAM};

static const struct method_param plus_params[NPLUS] = {
    EPSILON_PARAM,
    [R] = {.name = "r",     .fallback = 0.1, .about = "how much a model's own changes are raised"},
    [ALPHA] = {.name = "alpha",
           .fallback = 0.2,
           .about = "highest ratio of shared to own changes that counts"                         },
};

struct ram {
    unsigned nmodels; /* without the base */
    double epsilon, r, alpha;
    enum dtype exact;
};

#define REAL        float
#define ABS(x)      fabsf(x)
#define ROUND(s, x) round_value((s)->exact, x)
#define RAM_COUNT   ram_count_f32
#define RAM_MERGE   ram_merge_f32
#include "merge/ram_loop.h"

#define REAL        double
#define ABS(x)      fabs(x)
#define ROUND(s, x) (x)
#define RAM_COUNT   ram_count_f64
#define RAM_MERGE   ram_merge_f64
#include "merge/ram_loop.h"

static enum quern_status ram_check(const struct merge_values *v, unsigned nmodels, int base,
                                   struct quern_error *err)
{
    (void)nmodels;
    (void)base;
    if (v->global[EPSILON] < 0)
        return fail(err, QUERN_EUSAGE, "range",
                    "epsilon = %g" WANT "expected a number of at least 0", v->global[EPSILON]);
    return QUERN_OK;
}

static enum quern_status plus_check(const struct merge_values *v, unsigned nmodels, int base,
                                    struct quern_error *err)
{
    TRY(ram_check(v, nmodels, base, err));
    if (v->global[ALPHA] < 0)
        return fail(err, QUERN_EUSAGE, "range", "alpha = %g" WANT "expected a number of at least 0",
                    v->global[ALPHA]);
    return QUERN_OK;
}

/* The state: the factor of each model's own changes. */
static size_t ram_state_bytes(const struct step *s)
{
    return (s->nsources - 1u) * sizeof(double);
}

static struct measure_need ram_need(const struct step *s, unsigned pass)
{
    (void)pass;
    return (struct measure_need){.ncounts = 2 * (s->nsources - 1u)};
}

static void ram_measure(const struct piece *p, unsigned pass, const void *const x[],
                        uint64_t *counts, void *record)
{
    (void)pass;
    (void)record;
    (p->step->wide ? ram_count_f64 : ram_count_f32)(p->step->params, x, counts, p->n);
}

static enum quern_status ram_combine(const struct step *s, unsigned pass, void *state,
                                     const uint64_t *counts, void *records, uint64_t nrecords,
                                     struct quern_error *err)
{
    (void)pass;
    (void)records;
    (void)nrecords;
    (void)err;
    const struct ram *r = s->params;
    double *factor = state;
    for (unsigned m = 0; m < r->nmodels; m++) {
        const double own = (double)counts[2 * m], shared = (double)counts[2 * m + 1];
        /* Without own changes the factor is used nowhere. */
        const double ratio = own > 0 ? shared / own : 0;
        factor[m] = 1 + r->r * (ratio < r->alpha ? ratio : r->alpha);
    }
    return QUERN_OK;
}

static void ram_apply(const struct piece *p, const void *const x[], void *y)
{
    static const double ones[MAX_SOURCES] = {[0 ... MAX_SOURCES - 1] = 1};
    const double *factor = p->step->npasses > 0 ? p->state : ones;
    if (p->step->wide)
        ram_merge_f64(p->step->params, factor, x, y, p->n);
    else
        ram_merge_f32(p->step->params, factor, x, y, p->n);
}

static const struct op op_ram = {.name = "ram", .apply = ram_apply};

static const struct op op_ramplus = {
    .name = "ramplus_tl",
    .state_bytes = ram_state_bytes,
    .need = ram_need,
    .measure = ram_measure,
    .combine = ram_combine,
    .apply = ram_apply,
};

static struct ram *prepare(const struct merge_job *job, struct step *s)
{
    struct ram *r = ARENA_NEW(job->arena, struct ram, 1);
    s->sources = sources_base_first(job);
    if (!r || !s->sources)
        return NULL;
    r->nmodels = job->nmodels - 1;
    r->exact = job->exact;
    r->epsilon = job->values->global[EPSILON];
    if (job->exact != DTYPE_COUNT)
        r->epsilon = (double)round_value(job->exact, (float)r->epsilon);
    s->params = r;
    s->nsources = (uint8_t)job->nmodels;
    return r;
}

static enum quern_status ram_prepare(const struct merge_job *job, struct step *s,
                                     struct quern_error *err)
{
    s->op = &op_ram;
    return prepare(job, s) ? QUERN_OK : fail_memory(err, sizeof(struct ram));
}

static enum quern_status plus_prepare(const struct merge_job *job, struct step *s,
                                      struct quern_error *err)
{
    struct ram *r = prepare(job, s);
    if (!r)
        return fail_memory(err, sizeof *r);
    r->r = job->values->global[R];
    r->alpha = job->values->global[ALPHA];
    s->op = &op_ramplus;
    s->npasses = 1;
    return QUERN_OK;
}

const struct method method_ram = {
    .name = "ram",
    .title = "RAM",
    .paper = "https://arxiv.org/abs/2601.13572",
    .base = BASE_ORIGIN,
    .min_models = 2,
    .max_models = MAX_SOURCES,
    .params = ram_params,
    .nparams = NRAM,
    .exact = true,
    .check = ram_check,
    .prepare = ram_prepare,
};

const struct method method_ramplus_tl = {
    .name = "ramplus_tl",
    .title = "RAM+ (tensor-local)",
    .paper = "https://arxiv.org/abs/2601.13572",
    .base = BASE_ORIGIN,
    .min_models = 2,
    .max_models = MAX_SOURCES,
    .params = plus_params,
    .nparams = NPLUS,
    .check = plus_check,
    .prepare = plus_prepare,
};
