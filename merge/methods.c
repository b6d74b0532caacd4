/* methods.c - the table of merge methods. */
#include <stdio.h>

#include "merge/method.h"

static const struct method *const methods[] = {
    &method_linear,           &method_slerp,           &method_nuslerp,      &method_multislerp,
    &method_karcher,          &method_task_arithmetic, &method_ties,         &method_dare_linear,
    &method_dare_ties,        &method_della,           &method_della_linear, &method_breadcrumbs,
    &method_breadcrumbs_ties, &method_model_stock,     &method_sce,          &method_ram,
    &method_ramplus_tl,       &method_nearswap,        &method_arcee_fusion, &method_passthrough,
};
#define NMETHODS (sizeof methods / sizeof methods[0])

/* Of mergekit's methods, old and new. int8_mask only ever chose how a mask was stored. */
static const char *const without_effect[] = {"int8_mask",
                                             "embed_slerp",
                                             "residual_weight",
                                             "consensus_method",
                                             "rescale",
                                             "normalize",
                                             "lambda",
                                             "density",
                                             "weight",
                                             "t",
                                             "epsilon",
                                             "gamma",
                                             "scale",
                                             "filter_wise",
                                             "select_topk",
                                             "nuslerp_flatten",
                                             "max_iter",
                                             "tol",
                                             "eps",
                                             "alpha",
                                             "r",
                                             "nuslerp_row_wise",
                                             "normalize_weights"};
#define NWITHOUT_EFFECT (sizeof without_effect / sizeof *without_effect)

const struct method *method_at(size_t i)
{
    return i < NMETHODS ? methods[i] : NULL;
}

static void list_names(char *text, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < NMETHODS && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%s", i ? ", " : "", methods[i]->name);
}

enum quern_status method_find(struct str name, const struct method **out, struct quern_error *err)
{
    const char *names[NMETHODS];
    for (size_t i = 0; i < NMETHODS; i++) {
        names[i] = methods[i]->name;
        if (str_is(name, names[i])) {
            *out = methods[i];
            return QUERN_OK;
        }
    }
    char have[512];
    list_names(have, sizeof have);
    const char *near = closest(name, names, NMETHODS);
    if (near)
        return fail(err, QUERN_EUSAGE, "method",
                    "unknown merge method '%s'" WANT "did you mean '%s'?", quoted(name).text, near);
    return fail(err, QUERN_EUSAGE, "method", "unknown merge method '%s'" WANT "expected one of %s",
                quoted(name).text, have);
}

int method_param_index(const struct method *m, struct str name)
{
    for (unsigned i = 0; i < m->nparams; i++)
        if (str_is(name, m->params[i].name))
            return (int)i;
    return -1;
}

bool param_without_effect(struct str name)
{
    for (size_t i = 0; i < NWITHOUT_EFFECT; i++)
        if (str_is(name, without_effect[i]))
            return true;
    return false;
}

const char *closest_param(const struct method *m, struct str word)
{
    const char *names[MAX_METHOD_PARAMS];
    for (unsigned i = 0; i < m->nparams; i++)
        names[i] = m->params[i].name;
    return closest(word, names, m->nparams);
}

enum quern_status check_nothing(const struct merge_values *v, unsigned nmodels, int base,
                                struct quern_error *err)
{
    (void)v;
    (void)nmodels;
    (void)base;
    (void)err;
    return QUERN_OK;
}

struct source *sources_base_first(const struct merge_job *job)
{
    struct source *s = ARENA_NEW(job->arena, struct source, job->nmodels);
    if (!s)
        return NULL;
    unsigned n = 0;
    if (job->base >= 0)
        s[n++] = job->models[job->base];
    for (unsigned i = 0; i < job->nmodels; i++)
        if ((int)i != job->base)
            s[n++] = job->models[i];
    return s;
}
