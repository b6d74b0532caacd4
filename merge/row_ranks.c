/* row_ranks.c - how likely an element is kept, from the rank of its magnitude in its row.
 *
 * A worker ranks a whole row when a piece enters it, and remembers the limits of that row: its
 * memory grows with the length of rows, as fetch_bytes says. */
#include <math.h>
#include <string.h>

#include "merge/task_vector.h"

/* What lies in p->fetched. */
struct room {
    uint64_t *row;      /* 1 + number of the row whose limits are known */
    double *base;       /* a row */
    uint64_t *score;    /* of a row: orders like the magnitudes of the differences */
    uint64_t *order[2]; /* a row each: score << 32 | column */
    uint32_t *limits;   /* [ntrimmed][row] */
    uint32_t *here;     /* [ntrimmed][PIECE]: of the piece */
    double *values;     /* a piece */
    uint8_t *scratch;   /* of the sources, one after the other */
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

uint64_t row_length(const struct step *s)
{
    return s->ndims > 0 ? s->dims[s->ndims - 1] : 1;
}

/* Cuts the room; returns how much it is. */
static size_t cut_room(const struct step *s, uint8_t *fetched, struct room *r)
{
    const struct task_vector *t = s->params;
    const size_t length = (size_t)row_length(s);
    uint8_t *at = fetched;
    r->row = (uint64_t *)take(&at, sizeof *r->row);
    r->base = (double *)take(&at, length * sizeof *r->base);
    r->score = (uint64_t *)take(&at, length * sizeof *r->score);
    for (size_t i = 0; i < 2; i++)
        r->order[i] = (uint64_t *)take(&at, length * sizeof *r->order[i]);
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

/* Of the difference as the step computes it: bits that order like its magnitude, 32 in f32. */
static uint64_t score_of(bool wide, double x, double base)
{
    uint64_t bits;
    uint32_t narrow;
    const double size = fabs(x - base);
    const float narrow_size = fabsf((float)x - (float)base);
    memcpy(&bits, &size, sizeof bits);
    memcpy(&narrow, &narrow_size, sizeof narrow);
    return wide ? bits : narrow;
}

/* Ascending by the upper 32 bits, 8 at a time; equals stay in their order. The result is in
 * order[0]. */
static void sort_upper(uint64_t *order[2], size_t n)
{
    size_t start[4][257] = {{0}};
    for (size_t i = 0; i < n; i++)
        for (unsigned d = 0; d < 4; d++)
            start[d][(order[0][i] >> (32 + 8 * d) & 255) + 1]++;
    for (unsigned d = 0; d < 4; d++) {
        const unsigned shift = 32 + 8 * d;
        if (start[d][(order[0][0] >> shift & 255) + 1] == n)
            continue;
        for (size_t b = 0; b < 256; b++)
            start[d][b + 1] += start[d][b];
        for (size_t i = 0; i < n; i++)
            order[1][start[d][order[0][i] >> shift & 255]++] = order[0][i];
        uint64_t *const sorted = order[1];
        order[1] = order[0];
        order[0] = sorted;
    }
}

/* Columns in ascending order of their scores, in the lower halves of the result. */
static const uint64_t *sort_row(const struct room *r, bool wide, size_t n)
{
    uint64_t *order[2] = {r->order[0], r->order[1]};
    for (size_t i = 0; i < n; i++)
        order[0][i] = r->score[i] << 32 | i;
    sort_upper(order, n);
    if (!wide)
        return order[0];
    for (size_t i = 0; i < n; i++) {
        const uint32_t column = (uint32_t)order[0][i];
        order[0][i] = r->score[column] >> 32 << 32 | column;
    }
    sort_upper(order, n);
    return order[0];
}

/* The limits of trimmed model j in the row whose order is known. */
static void set_limits(const struct task_vector *t, unsigned j, const uint64_t *order, size_t n,
                       uint32_t *limits)
{
    const double density = t->density[t->trimmed[j]], epsilon = t->spread[t->trimmed[j]];
    for (size_t rank = 0; rank < n; rank++) {
        const double place = n > 1 ? (double)rank / (double)(n - 1) : 0.5;
        limits[(uint32_t)order[rank]] = draw_limit((density - epsilon) + 2 * epsilon * place);
    }
}

static enum quern_status rank_row(const struct piece *p, const struct room *r, uint64_t row,
                                  uint64_t *moved, struct quern_error *err)
{
    const struct step *s = p->step;
    const struct task_vector *t = s->params;
    const size_t length = (size_t)row_length(s);
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
                r->score[i + k] = score_of(s->wide, r->values[k], r->base[i + k]);
        }
        set_limits(t, j, sort_row(r, s->wide, length), length, r->limits + j * length);
    }
    *r->row = row + 1;
    return QUERN_OK;
}

enum quern_status row_ranks_fetch(const struct piece *p, unsigned pass, uint64_t *moved,
                                  struct quern_error *err)
{
    (void)pass;
    const struct task_vector *t = p->step->params;
    const uint64_t length = row_length(p->step);
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
