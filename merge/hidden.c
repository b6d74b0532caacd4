/* hidden.c - hide steps behind what they make, and find the steps that need them. */
#include "merge/hidden.h"

#include <stdlib.h>

#include "pipeline/row_sums.h"

enum quern_status hide_step(const struct step *s, struct arena *arena, struct source *out,
                            struct quern_error *err)
{
    if (s->npasses == 0)
        return made_source(s, arena, out, err);
    struct hidden_step *h = ARENA_NEW(arena, struct hidden_step, 1);
    if (!h)
        return fail_memory(err, sizeof *h);
    h->step = *s;
    return made_measured(h, arena, out, err);
}

enum quern_status hide_row_makers(struct plan *p, struct quern_error *err)
{
    for (uint32_t i = 0; i < p->nsteps; i++) {
        struct step *s = &p->steps[i];
        if (!row_sums_needed(s) || s->op == &op_copy)
            continue;
        struct step *inner = ARENA_NEW(&p->arena, struct step, 1);
        struct source *made = ARENA_NEW(&p->arena, struct source, 1);
        if (!inner || !made)
            return fail_memory(err, sizeof *inner);
        *inner = *s;
        if (s->round_dtype != DTYPE_COUNT)
            inner->dtype = s->round_dtype;
        inner->importance = NULL;
        TRY(hide_step(inner, &p->arena, made, err));
        s->op = &op_copy;
        s->params = NULL;
        s->sources = made;
        s->nsources = 1;
        s->npasses = 0;
    }
    return QUERN_OK;
}

/* ---- needs ----------------------------------------------------------------------------------- */

/* Hidden steps, each after those that it needs. */
struct list {
    struct hidden_step **items; /* malloc'ed */
    uint32_t count, room;
};

static enum quern_status append(struct list *l, struct hidden_step *h, struct quern_error *err)
{
    if (l->count == l->room) {
        const uint32_t room = 2 * l->room + 16;
        struct hidden_step **items = realloc(l->items, room * sizeof *items);
        if (!items)
            return fail_memory(err, room * sizeof *items);
        l->items = items;
        l->room = room;
    }
    l->items[l->count++] = h;
    return QUERN_OK;
}

/* Those that reading this source takes and that are not in the list yet. No source that is read on
 * its own reads many others, see made_alone(). */
static enum quern_status collect(const struct source *s, struct list *l, struct quern_error *err)
{
    struct hidden_step *own = made_needs(s);
    if (own && own->listed)
        return QUERN_OK;
    for (uint32_t i = 0; s->kind && s->kind->inner && s->kind->inner(s, i); i++)
        TRY(collect(s->kind->inner(s, i), l, err));
    if (!own)
        return QUERN_OK;
    own->listed = true;
    return append(l, own, err);
}

static enum quern_status collect_all(const struct step *s, struct list *l, struct quern_error *err)
{
    enum quern_status status = QUERN_OK;
    l->count = 0;
    for (unsigned k = 0; k < s->nsources && status == QUERN_OK; k++)
        status = collect(&s->sources[k], l, err);
    for (uint32_t i = 0; i < l->count; i++)
        l->items[i]->listed = false;
    return status;
}

static struct hidden_step **copy_list(struct arena *arena, const struct list *l)
{
    struct hidden_step **items = ARENA_NEW(arena, struct hidden_step *, l->count);
    if (items)
        memcpy(items, l->items, l->count * sizeof *items);
    return items;
}

/* What is needed by hidden steps is needed by those that need them: own holds it already. */
static enum quern_status set_needs(struct plan *p, struct step *s, struct list *own,
                                   struct quern_error *err)
{
    TRY(collect_all(s, own, err));
    s->nneeds = own->count;
    s->needs = NULL;
    if (own->count == 0)
        return QUERN_OK;
    s->needs = copy_list(&p->arena, own);
    return s->needs ? QUERN_OK : fail_memory(err, own->count * sizeof *s->needs);
}

static enum quern_status set_all(struct plan *p, struct list *own, struct list *all,
                                 struct quern_error *err)
{
    for (uint32_t i = 0; i < p->nsteps; i++)
        TRY(set_needs(p, &p->steps[i], own, err));
    for (uint32_t i = 0; i < p->nsteps; i++) {
        const struct step *s = &p->steps[i];
        for (uint32_t k = 0; k < s->nneeds; k++)
            if (!s->needs[k]->listed) {
                s->needs[k]->listed = true;
                TRY(append(all, s->needs[k], err));
            }
    }
    for (uint32_t i = 0; i < all->count; i++)
        all->items[i]->listed = false;
    for (uint32_t i = 0; i < all->count; i++)
        TRY(set_needs(p, &all->items[i]->step, own, err));
    p->nhidden = all->count;
    p->hidden = all->count ? copy_list(&p->arena, all) : NULL;
    return p->hidden || all->count == 0 ? QUERN_OK : fail_memory(err, all->count);
}

enum quern_status hidden_needs(struct plan *p, struct quern_error *err)
{
    struct list own = {0}, all = {0};
    const enum quern_status s = set_all(p, &own, &all, err);
    free(own.items);
    free(all.items);
    return s;
}
