/* error_totals.c - add up errors by stored type; the public face of error statistics. */
#include "error_totals.h"

#include <stdlib.h>

#include "compare.h"

struct named {
    struct str name;
    uint32_t step;
};

bool step_has_errors(const struct step *s)
{
    return dtype_is_float(s->dtype) || dtype_is_quantized(s->dtype);
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static void add(struct error_total *t, const struct error_sums *sums)
{
    error_sums_join(&t->sums, sums);
    t->ntensors++;
}

/* In the order of names, so that a file read back, with its tensors in any order, gives the totals
 * of the run that made it to the last bit. */
bool error_totals(const struct plan *p, struct error_totals *out)
{
    struct named *order = calloc((size_t)p->nsteps + 1, sizeof *order);
    size_t n = 0;
    *out = (struct error_totals){0};
    if (!order)
        return false;
    for (uint32_t i = 0; i < p->nsteps; i++)
        if (step_has_errors(&p->steps[i]))
            order[n++] = (struct named){p->steps[i].name, i};
    qsort(order, n, sizeof *order, by_name);
    for (size_t k = 0; k < n; k++) {
        const uint32_t i = order[k].step;
        add(&out->type[p->steps[i].dtype], &p->errors[i]);
        add(&out->all, &p->errors[i]);
    }
    free(order);
    return true;
}

/* ---- the public interface ------------------------------------------------------------------- */

static void publish(const struct error_sums *s, struct quern_errors *out)
{
    struct error_figures f;
    error_figures(s, &f);
    out->equal = error_free(s);
    out->nelems = s->npairs;
    out->nnonfinite = s->nbad[0] + s->nbad[1];
    out->rmse = f.rmse;
    out->relative_rmse = f.relative;
    out->sqnr_db = f.sqnr_db;
    out->cosine = f.cosine;
    out->max_error = s->max_error;
    out->worst_block_rmse = f.worst_rmse;
    out->weighted_rmse = f.weighted_rmse;
    out->weighted_relative_rmse = f.weighted_relative;
}

bool quern_plan_errors(const struct quern_plan *plan, size_t i, struct quern_errors *out)
{
    const struct plan *p = (const struct plan *)plan;
    if (!p->errors || i >= p->nsteps)
        return false;
    const struct step *s = &p->steps[i];
    *out = (struct quern_errors){.tensor = s->name.p,
                                 .from = dtype_traits[s->sources[0].tensor->dtype].name,
                                 .to = dtype_traits[s->dtype].name,
                                 .as_bytes = !step_has_errors(s),
                                 .max_error_at = p->errors[i].max_at,
                                 .worst_block = p->errors[i].worst_at,
                                 .block_elems = (unsigned)error_block(s->dtype)};
    publish(&p->errors[i], out);
    return true;
}

bool quern_plan_total_errors(const struct quern_plan *plan, const char *type,
                             struct quern_errors *out)
{
    const struct plan *p = (const struct plan *)plan;
    struct error_totals totals;
    enum dtype d = DTYPE_COUNT;
    if (!p->errors || (type && !dtype_from_name(str_from(type), &d)) || !error_totals(p, &totals))
        return false;
    const struct error_total *t = type ? &totals.type[d] : &totals.all;
    *out = (struct quern_errors){.to = type ? dtype_traits[d].name : NULL};
    publish(&t->sums, out);
    return t->ntensors > 0;
}

enum quern_status quern_plan_compare(struct quern_model *a, struct quern_model *b,
                                     const char *imatrix, struct quern_plan **out,
                                     struct quern_error *err)
{
    struct plan *p;
    struct comparison *comparison;
    TRY(plan_compare((struct model *)a, (struct model *)b, imatrix, &p, &comparison, err));
    *out = (struct quern_plan *)p;
    return QUERN_OK;
}

const char *quern_plan_left_out(const struct quern_plan *plan, size_t i)
{
    const struct plan *p = (const struct plan *)plan;
    return i < p->ndropped ? p->dropped[i] : NULL;
}
