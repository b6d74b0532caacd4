/* learn_try.c - try the transforms that may give a tensor's values in the order they stand in. */
#include <math.h>
#include <stdlib.h>

#include "learn_parts.h"
#include "like.h"
#include "quant/codec.h"

/* ---- the op: does what a transform gives agree with what is there? ------------------------------
 */

/* A worker's. */
struct workplace {
    float y[PIECE];
    uint8_t raw[PIECE * sizeof(float)];
};

struct trial {
    const struct op *op; /* of single values, from the transform */
    bool encodes;        /* the values are to be taken as the target's type stores them */
    uint32_t making, attempt;
    uint64_t differ, far;
};

enum { DIFFER, FAR, NSUMS };

static struct measure_need agree_need(const struct step *s, unsigned pass)
{
    (void)s;
    (void)pass;
    return (struct measure_need){.ncounts = NSUMS};
}

/* A few units in the last place: another program's exponential. */
static bool is_near(float a, float b)
{
    return fabsf(a - b) <= 1e-6f * fabsf(b);
}

static void agree_measure(const struct piece *p, unsigned pass, const void *const x[],
                          uint64_t *counts, void *record)
{
    const struct trial *t = p->step->params;
    const enum dtype d = p->step->dtype;
    struct workplace *w = p->carry;
    const float *theirs = x[1];
    (void)pass;
    (void)record;
    t->op->apply(p, x, w->y);
    if (t->encodes) {
        codec_encode(d, w->y, NULL, 0.0f, w->raw, p->n);
        codec_kernels()->decode[d](w->raw, w->y, p->n);
    }
    for (size_t i = 0; i < p->n; i++) {
        const bool same = w->y[i] == theirs[i] || (isnan(w->y[i]) && isnan(theirs[i]));
        counts[DIFFER] += !same;
        counts[FAR] += !same && !is_near(w->y[i], theirs[i]);
    }
}

static enum quern_status agree_combine(const struct step *s, unsigned pass, void *state,
                                       const uint64_t *counts, void *records, uint64_t nrecords,
                                       struct quern_error *err)
{
    struct trial *t = (struct trial *)s->params;
    (void)pass;
    (void)state;
    (void)records;
    (void)nrecords;
    (void)err;
    t->differ = counts[DIFFER];
    t->far = counts[FAR];
    return QUERN_OK;
}

static const struct op op_agree = {.name = "try",
                                   .sees_nonfinite = true,
                                   .carry_bytes = sizeof(struct workplace),
                                   .need = agree_need,
                                   .measure = agree_measure,
                                   .combine = agree_combine};

/* ---- attempts ---------------------------------------------------------------------------------
 */

static void add_try(struct making *m, enum transform how, const uint8_t *order)
{
    static const uint8_t usual[MOST_PARTS] = {0, 1, 2};
    struct attempt *a = &m->tries[m->ntries++];
    *a = (struct attempt){.how = how, .possible = true};
    memcpy(a->order, order ? order : usual, sizeof a->order);
}

static void tries_of_split(struct making *m)
{
    static const enum transform of_two[] = {HALVES, EVEN_ODD, TURN_EVEN_ODD, SPLIT_KV_B,
                                            SPLIT_ROWS};
    static const enum transform of_three[] = {QKV_SPLIT, SPLIT_ROWS};
    static const uint8_t orders[][MOST_PARTS] = {
        {0, 1, 2},
        {1, 0, 2},
        {0, 2, 1},
        {1, 2, 0},
        {2, 0, 1},
        {2, 1, 0}
    };
    if (m->nto == 2)
        for (size_t k = 0; k < 10; k++)
            add_try(m, of_two[k / 2], orders[k % 2]);
    else
        for (size_t k = 0; k < 12; k++)
            add_try(m, of_three[k / 6], orders[k % 6]);
}

static void tries_of_one(const struct learning *l, struct making *m)
{
    const struct str name = str_from(l->targets.groups[m->to[0]].pattern);
    const bool keys = str_has(name, "attn_k") || str_has(name, "_k.");
    if (m->change == CHANGE_ADD_ONE) {
        add_try(m, ADD_ONE, NULL);
    } else if (m->change == CHANGE_NEG_EXP) {
        add_try(m, NEG_EXP, NULL);
        add_try(m, NEG_EXP_COLUMN, NULL);
    } else if (m->in_order) {
        add_try(m, AS_IT_IS, NULL);
        add_try(m, SQUEEZE, NULL);
        add_try(m, FLAT, NULL);
        add_try(m, COLUMN, NULL);
        add_try(m, BY_GROUPS, NULL);
    } else {
        add_try(m, keys ? PERMUTE_K : PERMUTE_Q, NULL);
        add_try(m, keys ? PERMUTE_Q : PERMUTE_K, NULL);
        add_try(m, TURN, NULL);
        add_try(m, QKV_BY_HEAD, NULL);
        add_try(m, QKV_BY_GROUP, NULL);
    }
}

static void list_tries(const struct learning *l, struct making *m)
{
    if (m->hope) {
        add_try(m, CUT_FRONT, NULL);
        add_try(m, CUT_BACK, NULL);
        add_try(m, NEG_EXP, NULL);
        add_try(m, NEG_EXP_COLUMN, NULL);
    } else if (m->stacked) {
        add_try(m, STACK_ALONE, NULL);
    } else if (m->nto == 1) {
        tries_of_one(l, m);
    } else if (m->in_order) {
        add_try(m, TWICE, NULL);
    } else {
        tries_of_split(m);
    }
}

/* ---- shapes -----------------------------------------------------------------------------------
 */

static bool same_dims(const struct step *s, const struct tensor *t)
{
    return s->ndims == t->ndims && memcmp(s->dims, t->dims, s->ndims * sizeof *s->dims) == 0;
}

static const struct tensor *target_of(const struct learning *l, const struct making *m,
                                      const struct attempt *a, unsigned part, uint32_t member)
{
    const struct name_group *g = &l->targets.groups[m->to[a->order[part]]];
    return &l->gguf->tensors[l->targets.members[g->first + member].tensor];
}

/* Where values of one layer come from, or the first of a stack of them. */
static uint32_t first_source(const struct learning *l, const struct making *m, uint32_t member)
{
    const struct name_group *g = &l->targets.groups[m->to[0]];
    const struct making one = {.from = m->stacked ? l->families[m->from].groups[0] : m->from,
                               .literal = m->literal};
    return learn_source(l, &one, m->to[0], &l->targets.members[g->first + member]);
}

/* The steps that an attempt makes of one layer, into l->trial. */
static enum quern_status make_steps(struct learning *l, const struct making *m,
                                    const struct attempt *a, uint32_t member,
                                    struct quern_error *err)
{
    struct arena *arena = &l->trial.plan->arena;
    const struct name_group *g = &l->targets.groups[m->to[0]];
    const struct group_member *t = &l->targets.members[g->first + member];
    const uint32_t n = m->stacked ? l->families[m->from].count : 1;
    const struct source **members = ARENA_NEW(arena, const struct source *, n);
    const char *to = "";
    const struct tensor_rule rule = {.from = "", .to = "", .transform = a->how};
    l->trial.nsteps = 0;
    for (unsigned p = 0; p < m->nto && to; p++)
        to = arena_printf(arena, "%s%s%s", to, p ? " " : "", target_of(l, m, a, p, member)->name.p);
    if (!members || !to)
        return fail_memory(err, n * sizeof *members);
    for (uint32_t e = 0; e < n; e++) {
        const struct making one = {.from = m->stacked ? l->families[m->from].groups[e] : m->from,
                                   .literal = m->literal};
        members[e] = &l->view.sources[learn_source(l, &one, m->to[0], t)];
    }
    return m->stacked ? convert_stack(&l->trial, str_from(to), members, n, err)
                      : convert_transform(&l->trial, &rule, members[0], to, (struct str){0}, err);
}

/* The first layer decides whether the shapes are those of the targets. */
static enum quern_status check_attempt(struct learning *l, struct making *m, struct attempt *a,
                                       bool exactly, struct quern_error *err)
{
    const enum quern_status s = make_steps(l, m, a, 0, NULL);
    a->possible = s == QUERN_OK && l->trial.nsteps == m->nto;
    for (unsigned p = 0; a->possible && p < m->nto; p++) {
        const struct step *made = &l->trial.steps[p];
        const struct tensor *target = target_of(l, m, a, p, 0);
        a->possible = exactly ? same_dims(made, target) : like_same_shape(made, target);
    }
    return s == QUERN_EMEMORY ? fail_memory(err, sizeof *m) : QUERN_OK;
}

static unsigned count_possible(const struct making *m)
{
    unsigned n = 0;
    for (unsigned k = 0; k < m->ntries; k++)
        n += m->tries[k].possible;
    return n;
}

/* Shapes as they are count before those that only differ in outer dimensions of 1. */
static enum quern_status check_tries(struct learning *l, struct making *m, struct quern_error *err)
{
    for (unsigned k = 0; k < m->ntries; k++)
        TRY(check_attempt(l, m, &m->tries[k], true, err));
    for (unsigned k = 0; count_possible(m) == 0 && k < m->ntries; k++)
        TRY(check_attempt(l, m, &m->tries[k], false, err));
    return QUERN_OK;
}

/* ---- the second plan --------------------------------------------------------------------------
 */

static bool must_run(const struct making *m)
{
    return !m->in_order && (m->change == CHANGE_NONE || m->hope);
}

static enum quern_status add_trials(struct learning *l, struct plan *p, uint32_t making,
                                    uint32_t attempt, uint32_t member, struct quern_error *err)
{
    const struct making *m = &l->makings[making];
    const struct attempt *a = &m->tries[attempt];
    TRY(make_steps(l, m, a, member, err));
    const bool exact = l->from[first_source(l, m, member)].exact;
    for (unsigned k = 0; k < m->nto && k < l->trial.nsteps; k++) {
        const struct step *made = &l->trial.steps[k];
        const struct tensor *t = target_of(l, m, a, k, member);
        struct source *sources = ARENA_NEW(&p->arena, struct source, 2);
        struct trial *trial = &l->trials[l->ntrials++];
        if (!sources)
            return fail_memory(err, 2 * sizeof *sources);
        if (!like_same_shape(made, t))
            return in_tensor(err, t->name,
                             fail(err, QUERN_EUSAGE, "shape",
                                  "its shape is of another kind than that of other layers"));
        sources[0] = made->sources[0];
        sources[1] = (struct source){.model = l->gguf, .tensor = t};
        *trial = (struct trial){.op = made->op,
                                .encodes = sources[0].tensor->dtype != t->dtype &&
                                           !(exact && dtype_is_quantized(t->dtype)),
                                .making = making,
                                .attempt = attempt};
        p->steps[p->nsteps++] = (struct step){.name = t->name,
                                              .dims = t->dims,
                                              .ndims = t->ndims,
                                              .dtype = t->dtype,
                                              .round_dtype = DTYPE_COUNT,
                                              .nsources = 2,
                                              .npasses = 1,
                                              .sources = sources,
                                              .op = &op_agree,
                                              .params = trial,
                                              .nelems = t->nelems,
                                              .nbytes = t->nbytes};
    }
    return QUERN_OK;
}

static uint64_t count_trials(const struct learning *l)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < l->nmakings; i++) {
        const struct making *m = &l->makings[i];
        if (must_run(m))
            n += (uint64_t)count_possible(m) * m->nto * l->targets.groups[m->to[0]].count;
    }
    return n;
}

static enum quern_status fill_trials(struct learning *l, struct plan *p, struct quern_error *err)
{
    const uint64_t n = count_trials(l);
    p->steps = ARENA_NEW(&p->arena, struct step, n + 1);
    l->trials = ARENA_NEW(&l->arena, struct trial, n + 1);
    if (!p->steps || !l->trials)
        return fail_memory(err, n * sizeof *p->steps);
    TRY(plan_add_model(p, l->hf, err));
    TRY(plan_add_model(p, l->gguf, err));
    for (uint32_t i = 0; i < l->nmakings; i++) {
        const struct making *m = &l->makings[i];
        for (unsigned k = 0; must_run(m) && k < m->ntries; k++)
            for (uint32_t j = 0; m->tries[k].possible && j < l->targets.groups[m->to[0]].count; j++)
                TRY(add_trials(l, p, i, k, j, err));
    }
    p->held_bytes = l->arena.nbytes;
    return QUERN_OK;
}

enum quern_status learn_plan_trials(struct learning *l, struct plan **plan, struct quern_error *err)
{
    struct plan *p = plan_new("learn", err);
    if (!p)
        return QUERN_EMEMORY;
    l->trial.plan = p;
    enum quern_status s = QUERN_OK;
    for (uint32_t i = 0; s == QUERN_OK && i < l->nmakings; i++) {
        list_tries(l, &l->makings[i]);
        s = check_tries(l, &l->makings[i], err);
    }
    if (s == QUERN_OK)
        s = fill_trials(l, p, err);
    l->trial.plan = NULL;
    if (s == QUERN_OK && p->nsteps > 0)
        *plan = p;
    else
        plan_free(p);
    return s;
}

/* ---- the choice -------------------------------------------------------------------------------
 */

static const struct attempt *best_attempt(const struct making *m)
{
    for (unsigned k = 0; k < m->ntries; k++)
        if (m->tries[k].possible && m->tries[k].differ == 0)
            return &m->tries[k];
    for (unsigned k = 0; m->hope && k < m->ntries; k++)
        if (m->tries[k].possible && m->tries[k].far == 0 &&
            (m->tries[k].how == NEG_EXP || m->tries[k].how == NEG_EXP_COLUMN))
            return &m->tries[k];
    return NULL;
}

static enum quern_status no_transform(const struct learning *l, const struct making *m,
                                      struct quern_error *err)
{
    const char *from =
        m->stacked ? l->families[m->from].pattern : l->sources.groups[m->from].pattern;
    return in_file(err, l->gguf->path,
                   fail(err, QUERN_EUSAGE, "learn",
                        "'%s' has the values of '%s' in another order or shape" WANT
                        "expected one that a transform of --map gives",
                        quoted(str_from(l->targets.groups[m->to[0]].pattern)).text,
                        quoted(str_from(from)).text));
}

static enum quern_status take_hope(struct learning *l, struct making *m, struct quern_error *err)
{
    const struct name_group *g = &l->targets.groups[m->to[0]];
    if (!m->chosen)
        return QUERN_OK;
    if (l->placed[m->to[0]])
        return in_file(err, l->gguf->path,
                       fail(err, QUERN_EUSAGE, "ambiguous",
                            "'%s' has values of several tensors, one of them '%s'" WANT
                            "expected tensors that differ; --map says which it is",
                            quoted(str_from(g->pattern)).text,
                            quoted(str_from(l->sources.groups[m->from].pattern)).text));
    l->placed[m->to[0]] = true;
    for (uint32_t i = 0; i < g->count; i++)
        l->used[learn_source(l, m, m->to[0], &l->targets.members[g->first + i])] = true;
    return QUERN_OK;
}

/* Values of one kind fit any order: what holds for the weight of the same name counts. */
static void follow_sibling(struct learning *l, struct making *m)
{
    const struct str name = str_from(l->sources.groups[m->from].pattern);
    if (!m->same_value || !str_ends(name, ".bias"))
        return;
    for (uint32_t i = 0; i < l->nmakings; i++) {
        struct making *other = &l->makings[i];
        const struct str weight = str_from(l->sources.groups[other->from].pattern);
        if (other->stacked || !other->chosen || !str_ends(weight, ".weight") ||
            weight.n - 7 != name.n - 5 || memcmp(weight.p, name.p, name.n - 5) != 0)
            continue;
        const enum transform how = other->chosen->how;
        if (how == PERMUTE_Q || how == PERMUTE_K || how == QKV_BY_HEAD || how == QKV_BY_GROUP)
            m->tries[0].how = how;
    }
}

enum quern_status learn_choose(struct learning *l, struct quern_error *err)
{
    for (uint32_t i = 0; i < l->ntrials; i++) {
        const struct trial *t = &l->trials[i];
        l->makings[t->making].tries[t->attempt].differ += t->differ;
        l->makings[t->making].tries[t->attempt].far += t->far;
    }
    for (uint32_t i = 0; i < l->nmakings; i++) {
        struct making *m = &l->makings[i];
        m->chosen = best_attempt(m);
        if (m->hope)
            TRY(take_hope(l, m, err));
        else if (!m->chosen)
            return no_transform(l, m, err);
    }
    for (uint32_t i = 0; i < l->nmakings; i++)
        if (!l->makings[i].hope && !l->makings[i].stacked &&
            l->makings[i].chosen == &l->makings[i].tries[0])
            follow_sibling(l, &l->makings[i]);
    return QUERN_OK;
}
