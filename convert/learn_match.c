/* learn_match.c - which tensor of the model has the values of which tensor of the GGUF. */
#include <inttypes.h>
#include <stdlib.h>

#include "learn_parts.h"

/* One group may have the values of that many others before it counts as ambiguous anyway ... */
#define MOST_CANDIDATES 32u
/* ... and that many tensors are looked at to find them. */
#define MOST_LOOKED_AT 4096u

/* ---- sums of the sources, sorted --------------------------------------------------------------
 */

struct entry {
    uint64_t sum;
    uint32_t tensor;
    uint8_t type, change;
};

struct candidate {
    uint32_t group;   /* of sources */
    uint32_t literal; /* the one tensor, when only that is meant */
    enum change change;
};

/* A group of targets and what it may come from. */
struct search {
    struct candidate found[MOST_CANDIDATES];
    unsigned count;
    bool many; /* there are more */
};

struct matching {
    struct learning *l;
    struct entry *entries;
    size_t nentries;
    struct search *searches; /* of every group of targets */
};

static int by_sum(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->sum != y->sum)
        return x->sum < y->sum ? -1 : 1;
    if (x->tensor != y->tensor)
        return x->tensor < y->tensor ? -1 : 1;
    return x->type * (int)NCHANGES + x->change - (y->type * (int)NCHANGES + y->change);
}

static enum quern_status sort_sums(struct matching *m, struct quern_error *err)
{
    const struct learning *l = m->l;
    const size_t room = (size_t)l->view.count * l->ask.ntypes * NCHANGES + 1;
    m->entries = malloc(room * sizeof *m->entries);
    if (!m->entries)
        return fail_memory(err, room * sizeof *m->entries);
    for (uint32_t i = 0; i < l->view.count; i++)
        for (unsigned k = 0; k < l->ask.ntypes * NCHANGES; k++) {
            const struct fingerprints *f = &l->from[i];
            const unsigned type = k / NCHANGES, change = k % NCHANGES;
            if (!f->known || !f->has[type] || (change != CHANGE_NONE && !f->changed[type]))
                continue;
            m->entries[m->nentries++] =
                (struct entry){f->of[k].any_order, i, (uint8_t)type, (uint8_t)change};
        }
    qsort(m->entries, m->nentries, sizeof *m->entries, by_sum);
    return QUERN_OK;
}

static size_t first_with(const struct matching *m, uint64_t sum)
{
    size_t low = 0, high = m->nentries;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (m->entries[mid].sum < sum)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* ---- does a group have the values of another? ---------------------------------------------------
 */

static bool same_tensor(const struct learning *l, uint32_t source, uint32_t target,
                        enum change change, bool *in_order)
{
    const unsigned k = learn_type(l, target) * NCHANGES;
    const struct fingerprints *f = &l->from[source], *t = &l->to[target];
    *in_order = f->of[k + change].this_order == t->of[k].this_order;
    return f->known && f->has[k / NCHANGES] &&
           (change == CHANGE_NONE || f->changed[k / NCHANGES]) &&
           f->tensor->nelems == t->tensor->nelems &&
           f->of[k + change].any_order == t->of[k].any_order;
}

/* Every layer of the targets has its source. */
static bool covers(const struct learning *l, const struct candidate *c, uint32_t target_group,
                   bool *in_order)
{
    const struct name_group *g = &l->targets.groups[target_group];
    const struct making m = {.from = c->group, .literal = c->literal};
    *in_order = true;
    for (uint32_t i = 0; i < g->count; i++) {
        const struct group_member *t = &l->targets.members[g->first + i];
        const uint32_t source = learn_source(l, &m, target_group, t);
        bool here;
        if (source == NO_TENSOR || !same_tensor(l, source, t->tensor, c->change, &here))
            return false;
        *in_order &= here;
    }
    return true;
}

uint32_t learn_source(const struct learning *l, const struct making *m, uint32_t group,
                      const struct group_member *target)
{
    const struct group_member *s;
    (void)group;
    if (m->literal != NO_TENSOR)
        return m->literal;
    s = group_at(&l->sources, &l->sources.groups[m->from], target->layer);
    return s ? s->tensor : NO_TENSOR;
}

static void add_candidate(struct search *s, struct candidate c)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->found[i].group == c.group && s->found[i].literal == c.literal)
            return;
    if (s->count == MOST_CANDIDATES)
        s->many = true;
    else
        s->found[s->count++] = c;
}

/* Groups with layers come from such groups; single tensors from single ones, or from one layer. */
static void look_for(const struct matching *m, uint32_t target_group, bool literal)
{
    const struct learning *l = m->l;
    const struct name_group *g = &l->targets.groups[target_group];
    struct search *s = &m->searches[target_group];
    const uint32_t target = l->targets.members[g->first].tensor;
    const unsigned type = learn_type(l, target);
    const uint64_t sum = l->to[target].of[type * NCHANGES].any_order;
    const size_t begin = first_with(m, sum);
    if (literal && g->count > 1)
        return;
    for (size_t i = begin; i < m->nentries && m->entries[i].sum == sum; i++) {
        const struct entry *e = &m->entries[i];
        const struct candidate c = {.group = l->sources.group_of[e->tensor],
                                    .literal = literal ? e->tensor : NO_TENSOR,
                                    .change = (enum change)e->change};
        bool in_order;
        s->many |= i - begin > MOST_LOOKED_AT;
        if (s->many)
            return;
        if (e->type == type && (literal || l->sources.groups[c.group].layered == g->layered) &&
            covers(l, &c, target_group, &in_order))
            add_candidate(s, c);
    }
}

/* ---- which of them it is ------------------------------------------------------------------------
 */

static bool is_free(const struct learning *l, const struct candidate *c, uint32_t target_group)
{
    const struct name_group *g = &l->targets.groups[target_group];
    const struct making m = {.from = c->group, .literal = c->literal};
    for (uint32_t i = 0; i < g->count; i++) {
        const uint32_t source =
            learn_source(l, &m, target_group, &l->targets.members[g->first + i]);
        if (source == NO_TENSOR || l->used[source])
            return false;
    }
    return true;
}

struct making *learn_new_making(struct learning *l, uint32_t from, uint32_t to,
                                struct quern_error *err)
{
    if (l->nmakings == l->making_capacity) {
        const uint32_t capacity = l->making_capacity ? l->making_capacity * 2 : 64;
        struct making *bigger = realloc(l->makings, capacity * sizeof *bigger);
        if (!bigger) {
            fail_memory(err, capacity * sizeof *bigger);
            return NULL;
        }
        l->makings = bigger;
        l->making_capacity = capacity;
    }
    struct making *m = &l->makings[l->nmakings++];
    *m = (struct making){.from = from, .literal = NO_TENSOR, .to = {to}, .nto = 1};
    return m;
}

static bool all_one_value(const struct learning *l, uint32_t target_group)
{
    const struct name_group *g = &l->targets.groups[target_group];
    for (uint32_t i = 0; i < g->count; i++) {
        const uint32_t t = l->targets.members[g->first + i].tensor;
        const uint64_t n = l->to[t].tensor->nelems;
        const uint64_t sum = l->to[t].of[learn_type(l, t) * NCHANGES].any_order;
        if (sum != fingerprint_of_same(0.0f, n) && sum != fingerprint_of_same(1.0f, n))
            return false;
    }
    return true;
}

static enum quern_status assign(struct learning *l, uint32_t target_group,
                                const struct candidate *c, struct quern_error *err)
{
    const struct name_group *g = &l->targets.groups[target_group];
    struct making *m = learn_new_making(l, c->group, target_group, err);
    if (!m)
        return QUERN_EMEMORY;
    m->literal = c->literal;
    m->change = c->change;
    m->same_value = all_one_value(l, target_group);
    covers(l, c, target_group, &m->in_order);
    for (uint32_t i = 0; i < g->count; i++)
        l->used[learn_source(l, m, target_group, &l->targets.members[g->first + i])] = true;
    l->placed[target_group] = true;
    return QUERN_OK;
}

/* A table of some architecture has just this pair of names. */
static bool is_known_pair(const char *from, const char *to)
{
    static const char *const ends[] = {"", ".weight", ".bias"};
    const struct str source = str_from(from), target = str_from(to);
    for (const struct architecture *const *a = architectures; *a; a++)
        for (size_t k = 0; k < sizeof(*a)->tensors / sizeof *(*a)->tensors && (*a)->tensors[k]; k++)
            for (const struct tensor_rule *r = (*a)->tensors[k]; r->from; r++)
                for (size_t e = 0; e < sizeof ends / sizeof *ends; e++) {
                    char x[600], y[600];
                    snprintf(x, sizeof x, "%s%s", r->from, ends[e]);
                    snprintf(y, sizeof y, "%s%s", r->to, ends[e]);
                    if (str_is(target, y) && str_ends(source, x) &&
                        (source.n == strlen(x) || source.p[source.n - strlen(x) - 1] == '.'))
                        return true;
                }
    return false;
}

enum clue { ONLY_ONE, IN_ORDER, BY_NAME, NCLUES };

/* The one free candidate that fits the clue; NULL when there is none, or more than one. */
static const struct candidate *only_candidate(const struct learning *l, const struct search *s,
                                              uint32_t target_group, enum clue clue)
{
    const struct candidate *only = NULL;
    for (unsigned i = 0; i < s->count; i++) {
        const struct candidate *c = &s->found[i];
        const char *name = c->literal == NO_TENSOR ? l->sources.groups[c->group].pattern
                                                   : l->view.sources[c->literal].tensor->name.p;
        bool in_order;
        if (!is_free(l, c, target_group) ||
            (clue == IN_ORDER && !(covers(l, c, target_group, &in_order) && in_order)) ||
            (clue == BY_NAME && !is_known_pair(name, l->targets.groups[target_group].pattern)))
            continue;
        if (only)
            return NULL;
        only = c;
    }
    return only;
}

/* Who has one candidate takes it; that leaves fewer for others. Weaker clues come when the stronger
 * are used up. */
static enum quern_status settle(struct matching *m, struct quern_error *err)
{
    struct learning *l = m->l;
    for (enum clue clue = ONLY_ONE; clue < NCLUES;) {
        bool progress = false;
        for (uint32_t g = 0; g < l->targets.ngroups && !(progress && clue > ONLY_ONE); g++) {
            const struct search *s = &m->searches[g];
            const struct candidate *c =
                l->placed[g] || s->many ? NULL : only_candidate(l, s, g, clue);
            if (!c)
                continue;
            TRY(assign(l, g, c, err));
            progress = true;
        }
        clue = progress ? ONLY_ONE : clue + 1;
    }
    return QUERN_OK;
}

static enum quern_status ambiguous(const struct learning *l, const struct search *s, uint32_t group,
                                   struct quern_error *err)
{
    struct name_list names = {0};
    for (unsigned i = 0; i < s->count; i++)
        name_list_add(&names, s->found[i].literal == NO_TENSOR
                                  ? str_from(l->sources.groups[s->found[i].group].pattern)
                                  : l->view.sources[s->found[i].literal].tensor->name);
    return in_file(err, l->gguf->path,
                   fail(err, QUERN_EUSAGE, "ambiguous",
                        "'%s' has the values of each of %s" WANT
                        "expected tensors that differ; --map says which it is",
                        quoted(str_from(l->targets.groups[group].pattern)).text, names.text));
}

/* Its only source is taken: both are copies of one tensor, as a head and an embedding may be. */
static bool join_other(struct learning *l, const struct search *s, uint32_t group)
{
    for (uint32_t i = 0; i < l->nmakings && s->count == 1; i++) {
        struct making *m = &l->makings[i];
        bool in_order;
        if (m->from != s->found[0].group || m->literal != s->found[0].literal || m->nto != 1 ||
            m->change != CHANGE_NONE || s->found[0].change != CHANGE_NONE || !m->in_order ||
            !covers(l, &s->found[0], group, &in_order) || !in_order)
            continue;
        m->to[m->nto++] = group;
        l->placed[group] = true;
        return true;
    }
    return false;
}

static enum quern_status match_all(struct matching *m, struct quern_error *err)
{
    struct learning *l = m->l;
    TRY(sort_sums(m, err));
    for (uint32_t g = 0; g < l->targets.ngroups; g++) {
        look_for(m, g, false);
        if (m->searches[g].count == 0 && !m->searches[g].many)
            look_for(m, g, true);
    }
    TRY(settle(m, err));
    for (uint32_t g = 0; g < l->targets.ngroups; g++) {
        const struct search *s = &m->searches[g];
        if (l->placed[g] || (s->count == 0 && !s->many) || join_other(l, s, g))
            continue;
        return ambiguous(l, s, g, err);
    }
    return QUERN_OK;
}

enum quern_status learn_match(struct learning *l, struct quern_error *err)
{
    struct matching m = {.l = l};
    m.searches = calloc(l->targets.ngroups + 1u, sizeof *m.searches);
    const enum quern_status s =
        m.searches ? match_all(&m, err) : fail_memory(err, l->targets.ngroups * sizeof *m.searches);
    free(m.searches);
    free(m.entries);
    return s == QUERN_OK ? learn_match_parts(l, err) : s;
}
