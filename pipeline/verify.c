/* verify.c - turn a plan that writes into one that compares. */
#include "verify.h"

#include <assert.h>
#include <stdlib.h>

#include "quant/codec.h"
#include "tile.h"

/* It is made by arithmetic, so it can be made in this type as well. */
static bool can_take(const struct step *s, enum dtype d)
{
    return s->op == &op_copy && dtype_is_float(s->dtype) && dtype_is_float(d) &&
           codec_can_encode(d);
}

struct matching {
    struct plan *plan;
    struct verification *v;
    bool *used; /* by tensor of the model */
    bool takes_types;
};

static void add_mismatch(struct matching *m, struct mismatch x)
{
    m->v->tensors[m->v->ntensors++] = x;
}

/* Is the step one to compare? Else it is noted. */
static enum quern_status match_step(struct matching *m, struct step *s, bool *compares,
                                    struct quern_error *err)
{
    struct model *there = m->v->there;
    const struct tensor *t = model_find(there, s->name);
    struct mismatch x = {.name = s->name, .made = s, .there = t};
    struct source *against;
    assert(!s->parts);
    *compares = false;
    if (t)
        m->used[t - there->tensors] = true;
    x.other_shape = t && !dims_alike(s->dims, s->ndims, t->dims, t->ndims);
    if (!t || x.other_shape ||
        (t->dtype != s->dtype && !(m->takes_types && can_take(s, t->dtype)))) {
        add_mismatch(m, x);
        return QUERN_OK;
    }
    against = ARENA_NEW(&m->plan->arena, struct source, 1);
    if (!against)
        return fail_memory(err, sizeof *against);
    *against = (struct source){.model = there, .tensor = t};
    s->against = against;
    s->dtype = t->dtype;
    s->nbytes = t->nbytes;
    if (s->dtype == DTYPE_F64 && step_is_raw(s))
        s->wide = true; /* what differs is measured as what it is */
    *compares = true;
    return QUERN_OK;
}

/* Steps that are compared move up; the others are behind them, for whoever tells about them. */
static enum quern_status match_steps(struct matching *m, struct quern_error *err)
{
    struct plan *p = m->plan;
    struct step *kept = ARENA_NEW(&p->arena, struct step, p->nsteps + 1u);
    uint32_t n = 0;
    bool compares;
    if (!kept)
        return fail_memory(err, p->nsteps * sizeof *kept);
    for (uint32_t i = 0; i < p->nsteps; i++) {
        TRY(match_step(m, &p->steps[i], &compares, err));
        if (compares)
            kept[n++] = p->steps[i];
    }
    p->steps = kept;
    p->nsteps = n;
    for (uint32_t i = 0; i < m->v->there->ntensors; i++)
        if (!m->used[i]) {
            const struct tensor *t = &m->v->there->tensors[i];
            add_mismatch(m, (struct mismatch){.name = t->name, .there = t});
        }
    return QUERN_OK;
}

static enum quern_status match(struct matching *m, struct quern_error *err)
{
    struct plan *p = m->plan;
    const size_t most = (size_t)p->nsteps + m->v->there->ntensors;
    m->v->tensors = ARENA_NEW(&p->arena, struct mismatch, most + 1);
    m->used = calloc(m->v->there->ntensors + 1u, sizeof *m->used);
    const enum quern_status s = m->v->tensors && m->used
                                    ? match_steps(m, err)
                                    : fail_memory(err, most * sizeof *m->v->tensors);
    free(m->used);
    return s;
}

enum quern_status plan_verify(struct plan *p, struct model *there, bool takes_types,
                              struct quern_error *err)
{
    struct verification *v = ARENA_NEW(&p->arena, struct verification, 1);
    if (!v)
        return fail_memory(err, sizeof *v);
    *v = (struct verification){.there = there};
    struct matching m = {.plan = p, .v = v, .takes_types = takes_types};
    TRY(match(&m, err));
    TRY(verify_keys(p, v, err));
    TRY(verify_sides(p, v, err));
    p->differences = ARENA_NEW(&p->arena, struct difference, p->nsteps + 1u);
    if (!p->differences)
        return fail_memory(err, p->nsteps * sizeof *p->differences);
    p->verb = "verify";
    p->verification = v;
    p->compares = true;
    p->files = NULL;
    p->nfiles = p->nsides = 0;
    p->dir = NULL;
    return QUERN_OK;
}

bool plan_verified(const struct plan *p, bool tensors_only)
{
    const struct verification *v = p->verification;
    if (v->ntensors)
        return false;
    for (uint32_t i = 0; i < p->nsteps; i++)
        if (p->differences[i].nblocks)
            return false;
    for (uint32_t i = 0; !tensors_only && i < v->nkeys; i++)
        if (!v->keys[i].describes)
            return false;
    for (uint32_t i = 0; !tensors_only && i < v->nsides; i++)
        if (!v->sides[i].describes)
            return false;
    return true;
}
