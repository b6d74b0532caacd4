/* rows.c - measure rows, reading again those that a piece cuts. */
#include "merge/rows.h"

#include <string.h>

#define ALIGN 64u

/* The two rows that a piece may cut: the first and the last. */
struct cut_rows {
    uint64_t row[2]; /* index + 1; 0: none yet */
};

static size_t padded(size_t n)
{
    return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static size_t width(const struct step *s)
{
    return s->wide ? sizeof(double) : sizeof(float);
}

size_t rows_fetch_bytes(const struct step *s, const struct row_stats *r)
{
    size_t n = padded(sizeof(struct cut_rows)) + 2 * padded(r->count * sizeof(double));
    for (unsigned k = 0; k < s->nsources; k++)
        n += padded(PIECE * width(s)) + padded(source_scratch_bytes(&s->sources[k], s->wide));
    return n;
}

static double *cut_stats(const struct piece *p, const struct row_stats *r, unsigned slot)
{
    uint8_t *at = (uint8_t *)p->fetched + padded(sizeof(struct cut_rows));
    return (double *)(at + slot * padded(r->count * sizeof(double)));
}

/* Where the sources' values go, and behind them their scratch. */
static uint8_t *buffers(const struct piece *p, const struct row_stats *r)
{
    return (uint8_t *)cut_stats(p, r, 2);
}

/* n elements of every source. A read that goes back begins with fresh scratch. */
static enum quern_status read_block(const struct piece *p, uint8_t *at, uint64_t first, size_t n,
                                    bool fresh, const void *x[], uint64_t *moved,
                                    struct quern_error *err)
{
    const struct step *s = p->step;
    for (unsigned k = 0; k < s->nsources; k++) {
        const struct source *src = &s->sources[k];
        const size_t nscratch = source_scratch_bytes(src, s->wide);
        uint8_t *values = at, *scratch = at + padded(PIECE * width(s));
        at = scratch + padded(nscratch);
        if (fresh && src->kind)
            memset(scratch, 0, nscratch);
        x[k] = values;
        TRY(source_read(src, scratch, s->wide, first, n, values, moved, err));
    }
    return QUERN_OK;
}

static enum quern_status measure_row(const struct piece *p, const struct row_stats *r, uint64_t row,
                                     double *stats, uint64_t *moved, struct quern_error *err)
{
    const uint64_t length = row_length(p->step);
    const void *x[MAX_SOURCES];
    memset(stats, 0, r->count * sizeof *stats);
    for (unsigned phase = 0; phase < r->nphases; phase++)
        for (uint64_t done = 0; done < length; done += PIECE) {
            const size_t n = length - done < PIECE ? (size_t)(length - done) : PIECE;
            if (phase == 0 || length > PIECE)
                TRY(read_block(p, buffers(p, r), row * length + done, n, done == 0, x, moved, err));
            r->add(p->step, phase, x, n, stats);
        }
    return QUERN_OK;
}

enum quern_status rows_fetch(const struct piece *p, const struct row_stats *r, uint64_t *moved,
                             struct quern_error *err)
{
    const uint64_t length = row_length(p->step), end = p->first + p->n;
    const uint64_t first = p->first / length, last = (end - 1) / length;
    struct cut_rows *cut = p->fetched;
    const bool first_cut = p->first % length != 0 || (first + 1) * length > end;
    if (first_cut && cut->row[0] != first + 1) {
        if (cut->row[1] == first + 1)
            memcpy(cut_stats(p, r, 0), cut_stats(p, r, 1), r->count * sizeof(double));
        else
            TRY(measure_row(p, r, first, cut_stats(p, r, 0), moved, err));
        cut->row[0] = first + 1;
    }
    if (last != first && end % length != 0) {
        TRY(measure_row(p, r, last, cut_stats(p, r, 1), moved, err));
        cut->row[1] = last + 1;
    }
    return QUERN_OK;
}

void rows_advance(const struct step *s, const void *const x[], size_t at, const void *out[])
{
    for (unsigned k = 0; k < s->nsources; k++)
        out[k] = (const uint8_t *)x[k] + at * width(s);
}

const double *rows_get(const struct piece *p, const struct row_stats *r, const void *const x[],
                       size_t at, size_t n, double *own)
{
    const uint64_t length = row_length(p->step), row = (p->first + at) / length;
    const struct cut_rows *cut = p->fetched;
    if (n < length)
        return cut_stats(p, r, cut->row[0] == row + 1 ? 0 : 1);
    memset(own, 0, r->count * sizeof *own);
    for (unsigned phase = 0; phase < r->nphases; phase++)
        r->add(p->step, phase, x, n, own);
    return own;
}
