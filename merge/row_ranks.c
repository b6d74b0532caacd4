/* row_ranks.c - how likely an element is kept, from the rank of its magnitude in its row.
 *
 * A worker ranks a whole row when a piece enters it, and remembers the limits of that row: its
 * memory grows with the length of rows, as fetch_bytes says. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "merge/task_vector.h"

/* An element of a row. */
struct ranked {
    uint64_t score; /* orders like its magnitude */
    uint32_t column;
};

/* What lies in p->fetched. */
struct room {
    uint64_t *row;           /* 1 + number of the row whose limits are known */
    double *base;            /* a row */
    struct ranked *order[2]; /* a row each */
    uint32_t *limits;        /* [ntrimmed][row] */
    uint32_t *here;          /* [ntrimmed][PIECE]: of the piece */
    double *values;          /* a piece */
    uint8_t *scratch;        /* of the sources, one after the other */
};

static size_t padded(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static uint8_t *take(uint8_t **at, size_t n)
{
    uint8_t *p = *at;
    *at += padded(n);
    return p;
}

/* Cuts the room; returns how much it is. */
static size_t cut_room(const struct step *s, uint8_t *fetched, struct room *r)
{
    const struct task_vector *t = s->params;
    const size_t length = (size_t)s->dims[s->ndims - 1];
    uint8_t *at = fetched;
    r->row = (uint64_t *)take(&at, sizeof *r->row);
    r->base = (double *)take(&at, length * sizeof *r->base);
    for (size_t i = 0; i < 2; i++)
        r->order[i] = (struct ranked *)take(&at, length * sizeof *r->order[i]);
    r->limits = (uint32_t *)take(&at, t->ntrimmed * length * sizeof *r->limits);
    r->here = (uint32_t *)take(&at, t->ntrimmed * (size_t)PIECE * sizeof *r->here);
    r->values = (double *)take(&at, PIECE * sizeof *r->values);
    r->scratch = at;
    size_t total = (size_t)(at - fetched);
    for (unsigned k = 0; k < s->nsources; k++)
        total += padded(source_scratch_bytes(&s->sources[k], s->wide));
    return total;
}

size_t row_ranks_bytes(const struct step *s)
{
    static uint8_t nothing;
    struct room r;
    return cut_room(s, &nothing, &r);
}

static uint8_t *scratch_of(const struct step *s, const struct room *r, unsigned source)
{
    uint8_t *at = r->scratch;
    for (unsigned k = 0; k < source; k++)
        at += padded(source_scratch_bytes(&s->sources[k], s->wide));
    return at;
}

/* Calls that read a row, a piece at a time: element i of those is a f64. */
static enum quern_status read_some(const struct piece *p, const struct room *r, unsigned source,
                                   uint64_t first, size_t n, uint64_t *moved,
                                   struct quern_error *err)
{
    const struct step *s = p->step;
    TRY(source_read(&s->sources[source], scratch_of(s, r, source), s->wide, first, n, r->values,
                    moved, err));
    if (s->wide)
        return QUERN_OK;
    for (size_t i = n; i-- > 0;) {
        float x;
        memcpy(&x, (const char *)r->values + i * sizeof x, sizeof x);
        r->values[i] = (double)x;
    }
    return QUERN_OK;
}

/* Of the difference as the step computes it. */
static uint64_t score_of(bool wide, double x, double base)
{
    const double size = fabs(wide ? x - base : (double)((float)x - (float)base));
    uint64_t bits;
    memcpy(&bits, &size, sizeof bits);
    return bits;
}

/* Ascending by score, 8 bits at a time; equals stay in the order of their columns. Returns which of
 * the two has the result. */
static unsigned sort_row(struct ranked *order[2], size_t n)
{
    unsigned from = 0;
    for (unsigned shift = 0; shift < 64; shift += 8) {
        size_t start[257] = {0};
        for (size_t i = 0; i < n; i++)
            start[(order[from][i].score >> shift & 255) + 1]++;
        const size_t first = order[from][0].score >> shift & 255;
        if (start[first + 1] == n)
            continue;
        for (size_t b = 0; b < 256; b++)
            start[b + 1] += start[b];
        for (size_t i = 0; i < n; i++) {
            const struct ranked e = order[from][i];
            order[!from][start[e.score >> shift & 255]++] = e;
        }
        from = !from;
    }
    return from;
}

/* The limits of trimmed model j in the row whose order is known. */
static void set_limits(const struct task_vector *t, unsigned j, const struct ranked *order,
                       size_t n, uint32_t *limits)
{
    const double density = t->density[t->trimmed[j]], epsilon = t->spread[t->trimmed[j]];
    for (size_t rank = 0; rank < n; rank++) {
        const double place = n > 1 ? (double)rank / (double)(n - 1) : 0.5;
        limits[order[rank].column] = draw_limit((density - epsilon) + 2 * epsilon * place);
    }
}

static enum quern_status rank_row(const struct piece *p, const struct room *r, uint64_t row,
                                  uint64_t *moved, struct quern_error *err)
{
    const struct step *s = p->step;
    const struct task_vector *t = s->params;
    const size_t length = (size_t)s->dims[s->ndims - 1];
    const uint64_t first = row * length;
    for (size_t i = 0, n; i < length; i += n) {
        n = length - i < PIECE ? length - i : PIECE;
        TRY(read_some(p, r, 0, first + i, n, moved, err));
        memcpy(r->base + i, r->values, n * sizeof *r->base);
    }
    for (unsigned j = 0; j < t->ntrimmed; j++) {
        for (size_t i = 0, n; i < length; i += n) {
            n = length - i < PIECE ? length - i : PIECE;
            TRY(read_some(p, r, t->trimmed[j] + 1u, first + i, n, moved, err));
            for (size_t k = 0; k < n; k++)
                r->order[0][i + k] = (struct ranked){
                    score_of(s->wide, r->values[k], r->base[i + k]), (uint32_t)(i + k)};
        }
        struct ranked *order[2] = {r->order[0], r->order[1]};
        set_limits(t, j, order[sort_row(order, length)], length, r->limits + j * length);
    }
    *r->row = row + 1;
    return QUERN_OK;
}

enum quern_status row_ranks_fetch(const struct piece *p, unsigned pass, uint64_t *moved,
                                  struct quern_error *err)
{
    (void)pass;
    const struct task_vector *t = p->step->params;
    const uint64_t length = p->step->dims[p->step->ndims - 1];
    struct room r;
    cut_room(p->step, p->fetched, &r);
    for (size_t i = 0, n; i < p->n && t->ntrimmed > 0; i += n) {
        const uint64_t row = (p->first + i) / length, column = (p->first + i) % length;
        n = length - column < p->n - i ? (size_t)(length - column) : p->n - i;
        if (*r.row != row + 1)
            TRY(rank_row(p, &r, row, moved, err));
        for (unsigned j = 0; j < t->ntrimmed; j++)
            memcpy(r.here + j * (size_t)PIECE + i, r.limits + j * length + column,
                   n * sizeof *r.here);
    }
    return QUERN_OK;
}

const uint32_t *row_limits(const struct piece *p, unsigned j)
{
    struct room r;
    cut_room(p->step, p->fetched, &r);
    return r.here + j * (size_t)PIECE;
}
