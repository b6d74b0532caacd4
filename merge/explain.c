/* explain.c - how a tensor is made, in words, for a dry run. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/text_file.h"
#include "merge/planner.h"

static void put_value(FILE *f, const struct method_param *p, double v, const char *before)
{
    if (p->flag)
        fprintf(f, "%s%s=%s", before, p->name, v != 0 ? "true" : "false");
    else
        fprintf(f, "%s%s=%g", before, p->name, v);
}

/* Name, type and shape of an input where they are not those of the output. */
static void put_difference(FILE *f, const struct target *t, const struct tensor *in)
{
    const struct tensor *lead = t->inputs[t->lead].tensor;
    if (!str_eq(in->name, t->name))
        fprintf(f, " (%s)", quoted(in->name).text);
    if (in->dtype != lead->dtype)
        fprintf(f, " %s", dtype_traits[in->dtype].name);
    if (in->ndims == lead->ndims && memcmp(in->dims, lead->dims, in->ndims * sizeof *in->dims) == 0)
        return;
    for (unsigned i = 0; i < in->ndims; i++)
        fprintf(f, "%s%" PRIu64, i ? "x" : " ", in->dims[i]);
}

static void put_target(FILE *f, const struct recipe *r, const struct target *t,
                       const struct merge_values *values)
{
    const struct method *m = r->method;
    for (unsigned k = 0; k < t->slice->nsources; k++) {
        const bool is_base = (int)k == t->slice->base;
        fprintf(f, "%s%s%s", k ? "; " : "", is_base && m->base != BASE_INPUT ? "base " : "",
                ref_name(&r->models[t->slice->sources[k].model].ref).text);
        put_difference(f, t, t->inputs[k].tensor);
        for (unsigned i = 0; values && i < m->nparams; i++)
            if (m->params[i].per_model && !(is_base && m->base == BASE_ORIGIN))
                put_value(f, &m->params[i], values->model[k][i], " ");
    }
    const char *before = "; ";
    for (unsigned i = 0; values && i < m->nparams; i++)
        if (!m->params[i].per_model) {
            put_value(f, &m->params[i], values->global[i], before);
            before = " ";
        }
}

const char *explain_target(struct planner *pl, const struct target *t,
                           const struct merge_values *values)
{
    struct text_file file;
    size_t n = 0;
    if (!text_file_begin(&file))
        return NULL;
    put_target(file.f, &pl->recipe, t, values);
    char *text = text_file_end(&file, &n);
    const char *copy = text ? arena_str(&pl->plan->arena, (struct str){text, n}).p : NULL;
    free(text);
    return copy;
}
