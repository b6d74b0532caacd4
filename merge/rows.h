/* rows.h - statistics of whole rows, for ops that see them in pieces.
 *
 * A row that lies in one piece is measured from the piece. One that a piece cuts is read from its
 * beginning when the first piece with a part of it comes, and its statistics are kept for the
 * next. Either way it is measured in blocks of PIECE from its own beginning, so the statistics do
 * not depend on where pieces lie. */
#ifndef QUERN_ROWS_H
#define QUERN_ROWS_H

#include "pipeline/plan.h"

struct row_stats {
    size_t count;     /* doubles; zero at first */
    unsigned nphases; /* a row is gone through so often */
    /* Adds n elements of a row. */
    void (*add)(const struct step *s, unsigned phase, const void *const x[], size_t n,
                double *stats);
};

/* Elements along the last dimension. */
static inline uint64_t row_length(const struct step *s)
{
    return s->ndims ? s->dims[s->ndims - 1] : 1;
}

/* Elements of the row at place `at` of the piece that lie in the piece from there on. */
static inline size_t row_part(const struct piece *p, size_t at)
{
    const uint64_t length = row_length(p->step), left = length - (p->first + at) % length;
    return p->n - at < left ? p->n - at : (size_t)left;
}

size_t rows_fetch_bytes(const struct step *s, const struct row_stats *r);

/* For op->fetch: the statistics of rows that the piece cuts. */
enum quern_status rows_fetch(const struct piece *p, const struct row_stats *r, uint64_t *moved,
                             struct quern_error *err);

/* x moved on by `at` elements. */
void rows_advance(const struct step *s, const void *const x[], size_t at, const void *out[]);

/* The statistics of the row of which n elements (see row_part()) lie at place `at`; x begins
 * there. own has room for them. */
const double *rows_get(const struct piece *p, const struct row_stats *r, const void *const x[],
                       size_t at, size_t n, double *own);

#endif
