/* learn_parts.c - tensors that are stacks of others, parts of one, or one without some rows. */
#include <stdlib.h>

#include "learn_parts.h"

/* More leftovers than that in several shapes are not searched for what adds up. */
#define MOST_LEFT 64u

struct leftovers {
    uint32_t groups[MOST_LEFT];
    unsigned count;
};

static uint64_t target_sum(const struct learning *l, uint32_t target)
{
    return l->to[target].of[learn_type(l, target) * NCHANGES].any_order;
}

/* ---- stacks -----------------------------------------------------------------------------------
 */

/* The members of a family in one layer, stacked, have the values of this target. */
static bool adds_up_to(const struct learning *l, const struct name_family *f,
                       const struct group_member *target)
{
    const struct tensor *t = &l->gguf->tensors[target->tensor];
    const unsigned k = learn_type(l, target->tensor);
    uint64_t sum = 0;
    if (f->count == 0 || t->nelems % f->count != 0)
        return false;
    for (uint32_t e = 0; e < f->count; e++) {
        const struct group_member *s =
            group_at(&l->sources, &l->sources.groups[f->groups[e]], target->layer);
        const struct fingerprints *from = s ? &l->from[s->tensor] : NULL;
        if (!from || !from->known || !from->has[k] || from->tensor->nelems != t->nelems / f->count)
            return false;
        sum += from->of[k * NCHANGES].any_order;
    }
    return sum == target_sum(l, target->tensor);
}

static bool family_fits(const struct learning *l, const struct name_family *f, uint32_t group)
{
    const struct name_group *g = &l->targets.groups[group];
    for (uint32_t i = 0; i < g->count; i++)
        if (!adds_up_to(l, f, &l->targets.members[g->first + i]))
            return false;
    return g->layered;
}

static void use_family(struct learning *l, const struct name_family *f, uint32_t group)
{
    const struct name_group *g = &l->targets.groups[group];
    for (uint32_t i = 0; i < g->count; i++)
        for (uint32_t e = 0; e < f->count; e++)
            l->used[group_at(&l->sources, &l->sources.groups[f->groups[e]],
                             l->targets.members[g->first + i].layer)
                        ->tensor] = true;
}

static bool group_in_use(const struct learning *l, uint32_t group)
{
    const struct name_group *g = &l->sources.groups[group];
    for (uint32_t i = 0; i < g->count; i++)
        if (l->used[l->sources.members[g->first + i].tensor])
            return true;
    return false;
}

static enum quern_status find_families(struct learning *l, struct quern_error *err)
{
    bool *used = calloc(l->sources.ngroups + 1u, sizeof *used);
    if (!used)
        return fail_memory(err, l->sources.ngroups);
    for (uint32_t g = 0; g < l->sources.ngroups; g++)
        used[g] = group_in_use(l, g);
    const enum quern_status s =
        name_families_of(&l->sources, used, &l->arena, &l->families, &l->nfamilies, err);
    free(used);
    return s;
}

static enum quern_status match_stacks(struct learning *l, struct quern_error *err)
{
    TRY(find_families(l, err));
    for (uint32_t f = 0; f < l->nfamilies; f++) {
        uint32_t found = NO_GROUP;
        for (uint32_t g = 0; g < l->targets.ngroups; g++) {
            if (l->placed[g] || !family_fits(l, &l->families[f], g))
                continue;
            if (found != NO_GROUP)
                return in_file(err, l->gguf->path,
                               fail(err, QUERN_EUSAGE, "ambiguous",
                                    "'%s' and '%s' have the values of '%s'" WANT
                                    "expected tensors that differ; --map says which it is",
                                    quoted(str_from(l->targets.groups[found].pattern)).text,
                                    quoted(str_from(l->targets.groups[g].pattern)).text,
                                    quoted(str_from(l->families[f].pattern)).text));
            found = g;
        }
        if (found == NO_GROUP)
            continue;
        struct making *m = learn_new_making(l, f, found, err);
        if (!m)
            return QUERN_EMEMORY;
        m->stacked = true;
        use_family(l, &l->families[f], found);
        l->placed[found] = true;
    }
    return QUERN_OK;
}

/* ---- splits -----------------------------------------------------------------------------------
 */

static bool same_layers(const struct learning *l, uint32_t a, uint32_t b)
{
    const struct name_group *x = &l->targets.groups[a], *y = &l->targets.groups[b];
    if (x->count != y->count || x->layered != y->layered)
        return false;
    for (uint32_t i = 0; i < x->count; i++)
        if (l->targets.members[x->first + i].layer != l->targets.members[y->first + i].layer ||
            learn_type(l, l->targets.members[x->first + i].tensor) !=
                learn_type(l, l->targets.members[y->first + i].tensor))
            return false;
    return true;
}

/* The n groups of targets together have the values of the group of sources. */
static bool splits_into(const struct learning *l, uint32_t from, const uint32_t *to, unsigned n)
{
    const struct name_group *g = &l->targets.groups[to[0]];
    const struct making m = {.from = from, .literal = NO_TENSOR};
    for (uint32_t i = 0; i < g->count; i++) {
        const struct group_member *first = &l->targets.members[g->first + i];
        const uint32_t s = learn_source(l, &m, to[0], first);
        const unsigned k = learn_type(l, first->tensor);
        uint64_t sum = 0, nelems = 0;
        for (unsigned p = 0; p < n; p++) {
            const uint32_t t = l->targets.members[l->targets.groups[to[p]].first + i].tensor;
            sum += target_sum(l, t);
            nelems += l->gguf->tensors[t].nelems;
        }
        if (s == NO_TENSOR || l->used[s] || !l->from[s].known || !l->from[s].has[k] ||
            l->from[s].tensor->nelems != nelems || l->from[s].of[k * NCHANGES].any_order != sum)
            return false;
    }
    return l->sources.groups[from].layered == g->layered;
}

static enum quern_status add_split(struct learning *l, uint32_t from, const uint32_t *to,
                                   unsigned n, struct quern_error *err)
{
    const struct name_group *g = &l->targets.groups[to[0]];
    struct making *m = learn_new_making(l, from, to[0], err);
    if (!m)
        return QUERN_EMEMORY;
    memcpy(m->to, to, n * sizeof *to);
    m->nto = n;
    for (uint32_t i = 0; i < g->count; i++)
        l->used[learn_source(l, m, to[0], &l->targets.members[g->first + i])] = true;
    for (unsigned p = 0; p < n; p++)
        l->placed[to[p]] = true;
    return QUERN_OK;
}

/* Two of the leftovers, or three: the first that add up, when no others do. */
static unsigned find_parts(const struct learning *l, uint32_t from, const struct leftovers *left,
                           uint32_t to[MOST_PARTS], unsigned *nto)
{
    unsigned found = 0;
    for (unsigned a = 0; a < left->count; a++)
        for (unsigned b = a + 1; b < left->count; b++) {
            const uint32_t x = left->groups[a], y = left->groups[b];
            if (l->placed[x] || l->placed[y] || !same_layers(l, x, y))
                continue;
            if (splits_into(l, from, (const uint32_t[]){x, y}, 2) && found++ == 0) {
                memcpy(to, (const uint32_t[]){x, y}, 2 * sizeof *to);
                *nto = 2;
            }
            for (unsigned c = b + 1; c < left->count; c++) {
                const uint32_t three[] = {x, y, left->groups[c]};
                if (l->placed[three[2]] || !same_layers(l, x, three[2]) ||
                    !splits_into(l, from, three, 3) || found++ > 0)
                    continue;
                memcpy(to, three, sizeof three);
                *nto = 3;
            }
        }
    return found;
}

static enum quern_status match_splits(struct learning *l, const struct leftovers *sources,
                                      const struct leftovers *left, struct quern_error *err)
{
    for (unsigned s = 0; s < sources->count; s++) {
        uint32_t to[MOST_PARTS];
        unsigned nto = 0;
        const unsigned found = find_parts(l, sources->groups[s], left, to, &nto);
        if (found > 1)
            return in_file(
                err, l->hf->path,
                fail(err, QUERN_EUSAGE, "ambiguous",
                     "'%s' may have been split in more than one way" WANT
                     "expected tensors that differ; --map says which it is",
                     quoted(str_from(l->sources.groups[sources->groups[s]].pattern)).text));
        if (found == 1)
            TRY(add_split(l, sources->groups[s], to, nto, err));
    }
    return QUERN_OK;
}

/* ---- what sums cannot tell ----------------------------------------------------------------------
 */

/* Without some rows, or -exp(x) as another program rounds it. */
static bool may_become(const struct tensor *s, const struct tensor *t)
{
    if (s->ndims == 2 && t->ndims == 2 && s->dims[1] == t->dims[1])
        return s->dims[0] > t->dims[0];
    return t->dtype == DTYPE_F32 && s->nelems == t->nelems && dtype_is_float(s->dtype);
}

static enum quern_status add_hopes(struct learning *l, const struct leftovers *sources,
                                   const struct leftovers *left, struct quern_error *err)
{
    for (unsigned a = 0; a < sources->count; a++)
        for (unsigned b = 0; b < left->count; b++) {
            const uint32_t from = sources->groups[a], to = left->groups[b];
            const struct name_group *g = &l->targets.groups[to];
            const struct group_member *t = &l->targets.members[g->first];
            const struct making is = {.from = from, .literal = NO_TENSOR};
            const uint32_t s = learn_source(l, &is, to, t);
            if (l->placed[to] || s == NO_TENSOR || l->used[s] ||
                l->sources.groups[from].layered != g->layered ||
                !may_become(l->view.sources[s].tensor, &l->gguf->tensors[t->tensor]))
                continue;
            struct making *m = learn_new_making(l, from, to, err);
            if (!m)
                return QUERN_EMEMORY;
            m->hope = true;
        }
    return QUERN_OK;
}

/* ---- all of them --------------------------------------------------------------------------------
 */

static void list_leftovers(const struct learning *l, struct leftovers *sources,
                           struct leftovers *targets)
{
    for (uint32_t g = 0; g < l->sources.ngroups && sources->count < MOST_LEFT; g++)
        if (!group_in_use(l, g))
            sources->groups[sources->count++] = g;
    for (uint32_t g = 0; g < l->targets.ngroups && targets->count < MOST_LEFT; g++)
        if (!l->placed[g])
            targets->groups[targets->count++] = g;
}

enum quern_status learn_match_parts(struct learning *l, struct quern_error *err)
{
    struct leftovers sources = {.count = 0}, targets = {.count = 0};
    TRY(match_stacks(l, err));
    list_leftovers(l, &sources, &targets);
    TRY(match_splits(l, &sources, &targets, err));
    return add_hopes(l, &sources, &targets, err);
}
