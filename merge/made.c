/* made.c - read what a step makes. */
#include "merge/made.h"

#include <assert.h>

#include "quant/codec.h"

#define ALIGN 64u

static size_t padded(size_t n)
{
    return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static size_t fetch_bytes(const struct step *s)
{
    return s->op->fetch_bytes ? s->op->fetch_bytes(s) : 0;
}

void made_round(const struct step *s, void *y, uint8_t *room, size_t n)
{
    const enum dtype d = s->dtype;
    if (d == (s->wide ? DTYPE_F64 : DTYPE_F32))
        return;
    if (s->wide) {
        codec_encode_f64(d, y, room, n);
        codec_decode_f64(d, room, y, n);
    } else {
        codec_kernels()->encode[d](y, room, n);
        codec_kernels()->decode[d](room, y, n);
    }
}

/* More reads for one piece than anyone would want. */
#define MAX_READS 256u

struct made {
    const struct step *step;
    struct hidden_step *hidden; /* has its state; or NULL */
    unsigned nreads;            /* sources that are read for a piece of it, all stages together */
    bool alone;
};

static const struct step *step_of(const struct source *s)
{
    return ((const struct made *)s->params)->step;
}

/* An op that carries something along a chunk must make it from its beginning. Rows in another order
 * are a few such walks at a time; each has a cursor, followed by what is carried. */
#define CURSORS 4u
struct cursor {
    uint64_t next; /* element it stands before, plus one; 0: not in use */
    uint64_t used; /* count of reads when it was used last */
};

/* The memory of a worker, in this order. */
struct layout {
    size_t piece; /* of an input, and of the result: in the step's width */
    size_t cursor, carry;
    size_t inputs, result, rounded, cursors, fetched, inner;
    size_t nbytes;
};

static struct layout layout_of(const struct step *s)
{
    struct layout l = {.piece = padded(PIECE * (s->wide ? sizeof(double) : sizeof(float)))};
    l.result = l.inputs + s->nsources * l.piece;
    l.rounded = l.result + l.piece;
    l.carry = padded(s->op->carry_bytes);
    l.cursor = padded(sizeof(struct cursor)) + l.carry;
    l.cursors = l.rounded + padded(PIECE * sizeof(double));
    l.fetched = l.cursors + (l.carry ? CURSORS * l.cursor : 0);
    l.inner = l.fetched + padded(fetch_bytes(s));
    l.nbytes = l.inner;
    for (unsigned k = 0; k < s->nsources; k++)
        l.nbytes += padded(source_scratch_bytes(&s->sources[k], s->wide));
    return l;
}

static size_t made_scratch_bytes(const struct source *s, bool wide)
{
    (void)wide;
    return layout_of(step_of(s)).nbytes;
}

/* At most PIECE elements that lie in one chunk. */
static enum quern_status make(const struct made *m, const struct layout *l, uint8_t *scratch,
                              void *carry, uint64_t first, size_t n, uint64_t *moved,
                              struct quern_error *err)
{
    const struct step *s = m->step;
    const void *x[MAX_SOURCES] = {NULL};
    uint8_t *inner = scratch + l->inner;
    for (unsigned k = 0; k < s->nsources; k++) {
        uint8_t *to = scratch + l->inputs + k * l->piece;
        TRY(source_read(&s->sources[k], inner, s->wide, first, n, to, moved, err));
        inner += padded(source_scratch_bytes(&s->sources[k], s->wide));
        x[k] = to;
    }
    const struct piece p = {.step = s,
                            .state = m->hidden ? m->hidden->state : NULL,
                            .carry = carry,
                            .fetched = scratch + l->fetched,
                            .chunk = first / CHUNK,
                            .first = first,
                            .n = n};
    if (s->op->fetch)
        TRY(s->op->fetch(&p, s->npasses, moved, err));
    if (s->op == &op_copy)
        memcpy(scratch + l->result, x[0], l->piece);
    else
        s->op->apply(&p, x, scratch + l->result);
    made_round(s, scratch + l->result, scratch + l->rounded, n);
    return QUERN_OK;
}

static struct cursor *cursor_at(const struct layout *l, uint8_t *scratch, unsigned i)
{
    return (struct cursor *)(void *)(scratch + l->cursors + i * l->cursor);
}

static void *carry_of(struct cursor *c)
{
    return (uint8_t *)c + padded(sizeof *c);
}

/* The cursor that has the least way to go to this element of its chunk; a new one for a chunk that
 * none is in. */
static struct cursor *find_cursor(const struct layout *l, uint8_t *scratch, uint64_t first)
{
    struct cursor *best = NULL, *oldest = cursor_at(l, scratch, 0);
    uint64_t newest = 0;
    for (unsigned i = 0; i < CURSORS; i++) {
        struct cursor *c = cursor_at(l, scratch, i);
        newest = c->used > newest ? c->used : newest;
        oldest = c->used < oldest->used ? c : oldest;
        /* One that has come to the end of its chunk stands at the begin of the next with the carry
         * of the old one: it is in neither. */
        if (c->next && (c->next - 1) % CHUNK != 0 && c->next - 1 <= first &&
            (c->next - 1) / CHUNK == first / CHUNK && (!best || c->next > best->next))
            best = c;
    }
    if (!best) {
        best = oldest;
        best->next = first / CHUNK * CHUNK + 1;
        memset(carry_of(best), 0, l->carry);
    }
    best->used = newest + 1;
    return best;
}

static enum quern_status make_after(const struct made *m, const struct layout *l, uint8_t *scratch,
                                    uint64_t first, size_t n, uint64_t *moved,
                                    struct quern_error *err)
{
    if (!l->carry)
        return make(m, l, scratch, NULL, first, n, moved, err);
    struct cursor *c = find_cursor(l, scratch, first);
    for (uint64_t at = c->next - 1, some; at < first; at += some) {
        some = first - at < PIECE ? first - at : PIECE;
        TRY(make(m, l, scratch, carry_of(c), at, (size_t)some, moved, err));
    }
    TRY(make(m, l, scratch, carry_of(c), first, n, moved, err));
    c->next = first + n + 1;
    return QUERN_OK;
}

/* n numbers of one width as the other. */
static void give(bool from_wide, const void *from, bool to_wide, void *to, size_t n)
{
    if (from_wide == to_wide) {
        memcpy(to, from, n * (to_wide ? sizeof(double) : sizeof(float)));
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (to_wide)
            ((double *)to)[i] = (double)((const float *)from)[i];
        else
            ((float *)to)[i] = (float)((const double *)from)[i];
    }
}

static enum quern_status made_read(const struct source *src, void *scratch, bool wide,
                                   uint64_t first, size_t n, void *x, uint64_t *moved,
                                   struct quern_error *err)
{
    const struct step *s = step_of(src);
    const struct layout l = layout_of(s);
    const size_t width = wide ? sizeof(double) : sizeof(float);
    for (size_t done = 0, now; done < n; done += now) {
        const uint64_t at = first + done, left = CHUNK - at % CHUNK;
        now = n - done < left ? n - done : (size_t)left;
        TRY(in_tensor(err, s->name, make_after(src->params, &l, scratch, at, now, moved, err)));
        give(s->wide, (uint8_t *)scratch + l.result, wide, (uint8_t *)x + done * width, now);
    }
    return QUERN_OK;
}

static bool made_ready(const struct source *s)
{
    const struct made *m = s->params;
    return m->hidden ? m->hidden->measured : m->step->npasses == 0;
}

static const struct source *made_inner(const struct source *s, uint32_t i)
{
    const struct step *step = step_of(s);
    return i < step->nsources ? &step->sources[i] : NULL;
}

static const struct source_kind made_kind = {.name = "stage",
                                             .scratch_bytes = made_scratch_bytes,
                                             .read = made_read,
                                             .ready = made_ready,
                                             .inner = made_inner};

static struct made judge(const struct step *s, struct hidden_step *h)
{
    struct made m = {
        .step = s, .hidden = h, .nreads = 1, .alone = (h || s->npasses == 0) && s->op->apply};
    for (unsigned k = 0; k < s->nsources; k++) {
        const struct source *src = &s->sources[k];
        const struct made *inner = made_by(src) ? src->params : NULL;
        m.alone &= !inner || inner->alone;
        m.nreads += inner ? inner->nreads : 1;
    }
    m.alone &= m.nreads <= MAX_READS;
    if (!m.alone)
        m.nreads = MAX_READS;
    return m;
}

static enum quern_status make_source(const struct step *s, const struct made *as,
                                     struct arena *arena, struct source *out,
                                     struct quern_error *err)
{
    const struct source *first = &s->sources[0];
    struct tensor *t = ARENA_NEW(arena, struct tensor, 1);
    struct made *made = ARENA_NEW(arena, struct made, 1);
    if (!t || !made)
        return fail_memory(err, sizeof *t);
    *t = *first->tensor;
    t->name = s->name;
    if (s->op == &op_copy && first->tensor->dtype == s->dtype) {
        *out = *first;
        out->tensor = t;
        return QUERN_OK;
    }
    *made = *as;
    t->dims = s->dims;
    t->ndims = s->ndims;
    t->dtype = s->dtype;
    t->nelems = s->nelems;
    if (!dtype_bytes(t->dtype, t->nelems, &t->nbytes))
        t->nbytes = first->tensor->nbytes;
    *out = (struct source){.model = first->model, .tensor = t, .kind = &made_kind, .params = made};
    return QUERN_OK;
}

enum quern_status made_source(const struct step *s, struct arena *arena, struct source *out,
                              struct quern_error *err)
{
    const struct made made = judge(s, NULL);
    return make_source(s, &made, arena, out, err);
}

enum quern_status made_measured(struct hidden_step *h, struct arena *arena, struct source *out,
                                struct quern_error *err)
{
    assert(h);
    const struct made made = judge(&h->step, h);
    return make_source(&h->step, &made, arena, out, err);
}

struct hidden_step *made_needs(const struct source *s)
{
    return s->kind == &made_kind ? ((const struct made *)s->params)->hidden : NULL;
}

const struct step *made_by(const struct source *s)
{
    return s->kind == &made_kind ? step_of(s) : NULL;
}

bool made_alone(const struct source *s)
{
    return !made_by(s) || ((const struct made *)s->params)->alone;
}

enum quern_status made_fail(struct quern_error *err, struct str tensor, const char *why)
{
    return in_tensor(err, tensor,
                     fail(err, QUERN_EUNSUPPORTED, "stages",
                          "%s" WANT "run the stages one after the other: each as a recipe of its "
                          "own, the later ones with the output of the earlier",
                          why));
}

enum quern_status made_check_alone(const struct source *s, struct str name, struct quern_error *err)
{
    return made_alone(s) ? QUERN_OK
                         : made_fail(err, name, "too much is read for what earlier stages make");
}
