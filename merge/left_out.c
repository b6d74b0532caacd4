/* left_out.c - name what of the inputs goes into no tensor of the output. */
#include <inttypes.h>

#include "merge/planner.h"

struct ledger {
    const struct planner *pl;
    const struct model_ref *ref;
    const struct view *view;
    const bool *used;
    struct quern_error *err;
};

static enum quern_status left_out(const struct ledger *l, struct str what, const char *why)
{
    struct plan *p = l->pl->plan;
    const char *text = arena_printf(&p->arena, "of %s, %s", ref_name(l->ref).text, why);
    return text ? plan_drop(p, what, text, l->err) : fail_memory(l->err, 256);
}

static bool stack_layer(const struct ledger *l, uint32_t i, struct str stack, uint64_t *layer)
{
    struct layer_name n;
    if (!layer_of(l->view->sources[i].tensor->name, &n) || !str_eq(n.prefix, stack))
        return false;
    *layer = n.layer;
    return true;
}

/* Runs of layers none of whose tensors is used, one entry each. whole[layer] tells which. */
static enum quern_status list_runs(const struct ledger *l, struct str stack, const bool *whole,
                                   uint64_t nlayers)
{
    struct arena *arena = &l->pl->plan->arena;
    for (uint64_t from = 0, to; from < nlayers; from = to + 1) {
        for (to = from; to < nlayers && whole[to]; to++)
            ;
        if (to == from)
            continue;
        const char *name =
            to - from == 1
                ? arena_printf(arena, "%.*s.%" PRIu64, STR_ARG(stack), from)
                : arena_printf(arena, "%.*s.%" PRIu64 " to %" PRIu64, STR_ARG(stack), from, to - 1);
        if (!name)
            return fail_memory(l->err, stack.n);
        TRY(left_out(l, str_from(name), "outside of its layer ranges"));
    }
    return QUERN_OK;
}

/* The layers of a stack; marks their tensors as told of. */
static enum quern_status list_stack(const struct ledger *l, const struct layer_stack *s, bool *told,
                                    struct arena *scratch)
{
    const struct view *v = l->view;
    bool *whole = ARENA_NEW(scratch, bool, (size_t)s->nlayers + 1);
    uint64_t layer;
    if (!whole)
        return fail_memory(l->err, s->nlayers);
    for (uint32_t i = 0; i < v->count; i++)
        if (stack_layer(l, i, s->prefix, &layer))
            whole[layer] = true;
    for (uint32_t i = 0; i < v->count; i++)
        if (l->used[i] && stack_layer(l, i, s->prefix, &layer))
            whole[layer] = false;
    for (uint32_t i = 0; i < v->count; i++)
        if (stack_layer(l, i, s->prefix, &layer))
            told[i] = whole[layer];
    return list_runs(l, s->prefix, whole, s->nlayers);
}

static enum quern_status list_view(const struct ledger *l, struct arena *scratch)
{
    const struct view *v = l->view;
    struct layers layers = {0};
    enum quern_status status = QUERN_OK;
    uint32_t nused = 0;
    bool *told = ARENA_NEW(scratch, bool, (size_t)v->count + 1);
    if (!told)
        return fail_memory(l->err, v->count);
    for (uint32_t i = 0; i < v->count; i++)
        nused += l->used[i];
    if (nused == v->count)
        return QUERN_OK;
    if (nused == 0)
        return left_out(l, STR("all tensors"), "which gives its files alone");
    for (uint32_t i = 0; i < v->count && status == QUERN_OK; i++)
        if (!layers_add(&layers, v->sources[i].tensor->name))
            status = fail_memory(l->err, sizeof layers);
    for (uint32_t i = 0; i < layers.count && status == QUERN_OK; i++)
        /* Numbers far apart are no layers. */
        if (layers.stacks[i].nlayers <= v->count)
            status = list_stack(l, &layers.stacks[i], told, scratch);
    layers_free(&layers);
    for (uint32_t i = 0; i < v->count && status == QUERN_OK; i++)
        if (!l->used[i] && !told[i])
            status = left_out(l, v->sources[i].tensor->name, "where another model gives this one");
    return status;
}

enum quern_status list_left_out(struct planner *pl, struct quern_error *err)
{
    for (unsigned k = 0; k < pl->set.count; k++) {
        const struct ledger l = {.pl = pl,
                                 .ref = &pl->recipe.models[k].ref,
                                 .view = &pl->set.views[k],
                                 .used = pl->targets.used[k],
                                 .err = err};
        TRY(list_view(&l, &pl->scratch));
    }
    return QUERN_OK;
}
