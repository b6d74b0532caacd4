/* fuse.c - one op that does the work of a tree of steps. */
#include "merge/fuse.h"

#include <math.h>

#include "quant/codec.h"

#define MAX_NODES 64u /* one bit each */
#define ALIGN     64u

/* Where a node gets an input from. */
struct input {
    bool is_node;
    uint8_t index; /* of a node, else of a leaf */
};

/* A step in the tree, with its places in the memory of the whole. */
struct node {
    struct step step; /* as it was planned */
    const struct input *inputs;
    uint64_t needs;      /* a bit for every node that must be made first */
    unsigned first_pass; /* of its own, among those of the tree */
    size_t state, carry, fetched;
    size_t value; /* among what is fetched: a piece of its result in the tree's width */
};

struct tree {
    struct op op;
    struct node *nodes; /* each after those that it needs; the last gives the result */
    unsigned nnodes;
    bool wide;
    size_t state_bytes, fetched_bytes;
    size_t narrow;  /* among what is fetched: inputs and result of a node that is not wide */
    size_t rounded; /* a piece in the type of a node */
};

static size_t padded(size_t n)
{
    return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

/* ---- running ----------------------------------------------------------------------------------
 */

static const struct tree *tree_of(const struct step *s)
{
    return s->params;
}

/* The node whose pass this is; the last one when it is time to apply. */
static const struct node *node_of_pass(const struct tree *t, unsigned pass)
{
    unsigned i = 0;
    while (i + 1 < t->nnodes && pass >= t->nodes[i].first_pass + t->nodes[i].step.npasses)
        i++;
    return &t->nodes[i];
}

static struct piece piece_of(const struct node *n, const struct piece *p)
{
    struct piece inner = *p;
    inner.step = &n->step;
    inner.state = (uint8_t *)p->state + n->state;
    inner.carry = (uint8_t *)p->carry + n->carry;
    inner.fetched = (uint8_t *)p->fetched + n->fetched;
    return inner;
}

static void to_narrow(const double *from, float *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (float)from[i];
}

static void to_wide(const float *from, double *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (double)from[i];
}

/* Nothing is lost when a node that is not wide gets its inputs from a wide tree: they are of types
 * that a float holds. */
static bool is_narrow(const struct tree *t, const struct node *n)
{
    return t->wide && !n->step.wide;
}

static void gather(const struct tree *t, const struct node *n, const struct piece *p,
                   const void *const x[], const void *inputs[])
{
    uint8_t *own = (uint8_t *)p->fetched;
    for (unsigned k = 0; k < n->step.nsources; k++) {
        const struct input *in = &n->inputs[k];
        inputs[k] = in->is_node ? own + t->nodes[in->index].value : x[in->index];
        if (!is_narrow(t, n))
            continue;
        float *to = (float *)(void *)(own + t->narrow) + (size_t)k * PIECE;
        to_narrow(inputs[k], to, p->n);
        inputs[k] = to;
    }
}

/* Index of the first element of a piece that is no number, or n. */
static size_t first_bad(bool wide, const void *y, size_t n)
{
    if (!wide)
        return codec_first_nonfinite_f32(y, n);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(((const double *)y)[i]))
            return i;
    return n;
}

/* The result of a node, into y. The last one is rounded by who encodes it. */
static void make(const struct tree *t, const struct node *n, const struct piece *p,
                 const void *const x[], void *y)
{
    const void *inputs[MAX_SOURCES];
    const struct piece inner = piece_of(n, p);
    uint8_t *own = (uint8_t *)p->fetched;
    float *narrow = NULL; /* the result of one of those */
    if (is_narrow(t, n))
        narrow = (float *)(void *)(own + t->narrow) + (size_t)n->step.nsources * PIECE;
    void *result = narrow ? (void *)narrow : y;
    gather(t, n, p, x, inputs);
    n->step.op->apply(&inner, inputs, result);
    if (n != &t->nodes[t->nnodes - 1])
        made_round(&n->step, result, own + t->rounded, p->n);
    if (narrow)
        to_wide(narrow, y, p->n);
}

static bool is_needed(const struct node *n, unsigned i)
{
    return n->needs >> i & 1;
}

/* Makes what a node needs. Index of the first element that is no number in any of it, or p->n. */
static size_t make_needed(const struct tree *t, const struct node *n, const struct piece *p,
                          const void *const x[])
{
    size_t bad = p->n;
    for (unsigned i = 0; &t->nodes[i] != n; i++) {
        void *y = (uint8_t *)p->fetched + t->nodes[i].value;
        if (!is_needed(n, i))
            continue;
        make(t, &t->nodes[i], p, x, y);
        const size_t at = first_bad(t->wide, y, p->n);
        bad = at < bad ? at : bad;
    }
    return bad;
}

static size_t tree_state_bytes(const struct step *s)
{
    return tree_of(s)->state_bytes;
}

static size_t tree_fetch_bytes(const struct step *s)
{
    return tree_of(s)->fetched_bytes;
}

static enum quern_status tree_fetch(const struct piece *p, unsigned pass, uint64_t *moved,
                                    struct quern_error *err)
{
    const struct tree *t = tree_of(p->step);
    const struct node *now = node_of_pass(t, pass);
    for (unsigned i = 0; i < t->nnodes; i++) {
        const struct node *n = &t->nodes[i];
        if (!n->step.op->fetch || (n != now && !is_needed(now, i)))
            continue;
        const struct piece inner = piece_of(n, p);
        TRY(n->step.op->fetch(&inner, n == now ? pass - n->first_pass : n->step.npasses, moved,
                              err));
    }
    return QUERN_OK;
}

static struct measure_need tree_need(const struct step *s, unsigned pass)
{
    const struct node *n = node_of_pass(tree_of(s), pass);
    return n->step.op->need ? n->step.op->need(&n->step, pass - n->first_pass)
                            : (struct measure_need){0};
}

static void tree_measure(const struct piece *p, unsigned pass, const void *const x[],
                         uint64_t *counts, void *record)
{
    const struct tree *t = tree_of(p->step);
    const struct node *n = node_of_pass(t, pass);
    const void *inputs[MAX_SOURCES];
    const struct piece inner = piece_of(n, p);
    make_needed(t, n, p, x);
    gather(t, n, p, x, inputs);
    n->step.op->measure(&inner, pass - n->first_pass, inputs, counts, record);
}

static enum quern_status tree_combine(const struct step *s, unsigned pass, void *state,
                                      const uint64_t *counts, void *records, uint64_t nrecords,
                                      struct quern_error *err)
{
    const struct node *n = node_of_pass(tree_of(s), pass);
    if (!n->step.op->combine)
        return QUERN_OK;
    return n->step.op->combine(&n->step, pass - n->first_pass, (uint8_t *)state + n->state, counts,
                               records, nrecords, err);
}

/* The passes of one node follow on those of the one before. */
static unsigned tree_next_pass(const struct step *s, unsigned pass, const void *state)
{
    const struct node *n = node_of_pass(tree_of(s), pass);
    if (!n->step.op->next_pass)
        return pass + 1;
    return n->first_pass +
           n->step.op->next_pass(&n->step, pass - n->first_pass, (const uint8_t *)state + n->state);
}

static void tree_apply(const struct piece *p, const void *const x[], void *y)
{
    const struct tree *t = tree_of(p->step);
    const struct node *last = &t->nodes[t->nnodes - 1];
    const size_t bad = make_needed(t, last, p, x);
    make(t, last, p, x, y);
    /* A file of an earlier stage could not have held it, so nor may the result. */
    if (bad < p->n && t->wide)
        ((double *)y)[bad] = NAN;
    else if (bad < p->n)
        ((float *)y)[bad] = NAN;
}

/* ---- building ---------------------------------------------------------------------------------
 */

struct fuser {
    struct arena *arena;
    struct node nodes[MAX_NODES];
    const struct step *steps[MAX_NODES]; /* of the nodes */
    unsigned nnodes;
    struct source leaves[MAX_SOURCES];
    unsigned nleaves;
    size_t carry_bytes;
    bool needs_hidden; /* it must stay several steps */
    struct quern_error *err;
};

static bool same_source(const struct source *a, const struct source *b)
{
    return a->model == b->model && a->kind == b->kind && a->params == b->params &&
           a->tensor->file == b->tensor->file && a->tensor->offset == b->tensor->offset &&
           a->tensor->dtype == b->tensor->dtype &&
           (!a->kind || str_eq(a->tensor->name, b->tensor->name));
}

static enum quern_status add_leaf(struct fuser *f, const struct source *s, struct input *in)
{
    unsigned i = 0;
    while (i < f->nleaves && !same_source(&f->leaves[i], s))
        i++;
    if (i == MAX_SOURCES)
        return made_fail(f->err, s->tensor->name, "the stages read more than 65 tensors for one");
    if (i == f->nleaves)
        f->leaves[f->nleaves++] = *s;
    *in = (struct input){false, (uint8_t)i};
    return QUERN_OK;
}

/* An op that fetches looks at rows: what is made of them is read on its own, and when that takes
 * statistics, hidden steps have them. */
static enum quern_status check_node(struct fuser *f, const struct step *s)
{
    if (!s->op->apply)
        return made_fail(f->err, s->name, "what is made here are no numbers");
    for (unsigned k = 0; s->op->fetch && k < s->nsources; k++) {
        TRY(made_check_alone(&s->sources[k], s->name, f->err));
        f->needs_hidden |= !source_ready(&s->sources[k]);
    }
    return QUERN_OK;
}

static enum quern_status add_node(struct fuser *f, const struct step *s, uint8_t *index);

static enum quern_status add_input(struct fuser *f, const struct source *s, struct input *in,
                                   uint64_t *needs)
{
    const struct step *step = made_by(s);
    if (!step)
        return add_leaf(f, s, in);
    in->is_node = true;
    TRY(add_node(f, step, &in->index));
    *needs |= UINT64_C(1) << in->index | f->nodes[in->index].needs;
    return QUERN_OK;
}

/* Adds the steps that s needs, then s, unless it is there already. Stages are as deep as there are
 * of them at most. */
static enum quern_status add_node(struct fuser *f, const struct step *s, uint8_t *index)
{
    uint64_t needs = 0;
    for (unsigned i = 0; i < f->nnodes; i++)
        if (f->steps[i] == s) {
            *index = (uint8_t)i;
            return QUERN_OK;
        }
    TRY(check_node(f, s));
    struct input *inputs = ARENA_NEW(f->arena, struct input, s->nsources);
    if (!inputs)
        return fail_memory(f->err, s->nsources);
    for (unsigned k = 0; k < s->nsources; k++)
        TRY(add_input(f, &s->sources[k], &inputs[k], &needs));
    if (f->nnodes == MAX_NODES)
        return made_fail(f->err, s->name, "the stages take more than 64 steps for one tensor");
    *index = (uint8_t)f->nnodes;
    f->steps[f->nnodes] = s;
    f->nodes[f->nnodes++] = (struct node){.step = *s, .inputs = inputs, .needs = needs};
    return QUERN_OK;
}

/* Gives every node its memory and its passes. */
static enum quern_status place_nodes(struct fuser *f, struct tree *t, struct step *s)
{
    const size_t piece = padded(PIECE * (t->wide ? sizeof(double) : sizeof(float)));
    unsigned npasses = 0, most = 0;
    for (unsigned i = 0; i < t->nnodes; i++) {
        struct node *n = &t->nodes[i];
        const struct op *op = n->step.op;
        n->first_pass = npasses;
        npasses += n->step.npasses;
        n->state = t->state_bytes;
        t->state_bytes += padded(op->state_bytes ? op->state_bytes(&n->step) : 0);
        n->carry = f->carry_bytes;
        f->carry_bytes += padded(op->carry_bytes);
        n->fetched = t->fetched_bytes;
        t->fetched_bytes += padded(op->fetch_bytes ? op->fetch_bytes(&n->step) : 0);
        n->value = t->fetched_bytes;
        t->fetched_bytes += piece;
        t->op.fetch = op->fetch ? tree_fetch : t->op.fetch;
        most = n->step.nsources > most ? n->step.nsources : most;
    }
    t->op.carry_bytes = f->carry_bytes;
    t->rounded = t->fetched_bytes;
    t->fetched_bytes += padded(PIECE * sizeof(double));
    t->narrow = t->fetched_bytes;
    t->fetched_bytes += t->wide ? (size_t)(most + 1) * PIECE * sizeof(float) : 0;
    if (npasses > UINT8_MAX)
        return made_fail(f->err, s->name, "the stages read this tensor too often");
    s->npasses = (uint8_t)npasses;
    return QUERN_OK;
}

static const struct source *copy_leaves(const struct fuser *f)
{
    struct source *leaves = ARENA_NEW(f->arena, struct source, f->nleaves);
    if (leaves)
        memcpy(leaves, f->leaves, f->nleaves * sizeof *leaves);
    return leaves;
}

static enum quern_status fuse_numbers(struct fuser *f, struct step *s)
{
    uint8_t last;
    TRY(add_node(f, s, &last));
    if (f->needs_hidden)
        return QUERN_OK;
    struct tree *t = ARENA_NEW(f->arena, struct tree, 1);
    struct node *nodes = ARENA_NEW(f->arena, struct node, f->nnodes);
    const struct source *leaves = copy_leaves(f);
    if (!t || !nodes || !leaves)
        return fail_memory(f->err, f->nnodes * sizeof *nodes);
    memcpy(nodes, f->nodes, f->nnodes * sizeof *nodes);
    *t = (struct tree){.nodes = nodes, .nnodes = f->nnodes};
    t->op = (struct op){.name = s->op->name,
                        .state_bytes = tree_state_bytes,
                        .fetch_bytes = tree_fetch_bytes,
                        .need = tree_need,
                        .measure = tree_measure,
                        .combine = tree_combine,
                        .next_pass = tree_next_pass,
                        .apply = tree_apply};
    for (unsigned i = 0; i < t->nnodes; i++)
        t->wide |= nodes[i].step.wide;
    TRY(place_nodes(f, t, s));
    s->op = &t->op;
    s->params = t;
    s->sources = leaves;
    s->nsources = (uint8_t)f->nleaves;
    s->wide = t->wide;
    return QUERN_OK;
}

/* ---- bytes ------------------------------------------------------------------------------------
 */

/* The sources that this one stands for: those that were compared to make it. */
static enum quern_status flatten(struct fuser *f, const struct source *s)
{
    const struct step *step = made_by(s);
    struct input in;
    if (!step)
        return add_leaf(f, s, &in);
    for (unsigned i = 0; i < f->nnodes; i++)
        if (f->steps[i] == step)
            return QUERN_OK;
    if (f->nnodes == MAX_NODES)
        return made_fail(f->err, s->tensor->name,
                         "the stages take more than 64 steps for one tensor");
    f->steps[f->nnodes++] = step;
    for (unsigned k = 0; k < step->nsources; k++)
        TRY(flatten(f, &step->sources[k]));
    return QUERN_OK;
}

static enum quern_status fuse_bytes(struct fuser *f, struct step *s)
{
    for (unsigned k = 0; k < s->nsources; k++)
        TRY(flatten(f, &s->sources[k]));
    s->sources = copy_leaves(f);
    if (!s->sources)
        return fail_memory(f->err, f->nleaves * sizeof *s->sources);
    s->nsources = (uint8_t)f->nleaves;
    s->op = f->nleaves > 1 ? &op_equal : &op_copy;
    return QUERN_OK;
}

enum quern_status fuse_step(struct step *s, struct arena *arena, struct quern_error *err)
{
    bool any = false, bytes = s->op == &op_equal;
    for (unsigned k = 0; k < s->nsources; k++) {
        const struct step *step = made_by(&s->sources[k]);
        any |= step != NULL;
        bytes |= step && step->op == &op_equal;
    }
    if (!any)
        return QUERN_OK;
    struct fuser f = {.arena = arena, .err = err};
    return bytes ? fuse_bytes(&f, s) : fuse_numbers(&f, s);
}
