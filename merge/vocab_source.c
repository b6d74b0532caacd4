/* vocab_source.c - read a tensor's rows in the order of another vocabulary. */
#include "merge/vocab_source.h"

#include <assert.h>

/* Of a worker, followed by the mean row (when there is padding) and the inner source's scratch. */
struct rows_scratch {
    double piece[PIECE]; /* of a row that goes into a mean */
    double line[PIECE];  /* of the rows that go into the padding */
    uint64_t next;       /* of the inner source: where the last read ended */
    uint32_t inner;      /* the model that was read last + 1; 0: none */
    bool has_mean;
};

/* One read, on its way. */
struct reading {
    const struct vocab_rows *v;
    struct rows_scratch *scratch;
    double *mean;
    void *inner;
    size_t inner_bytes;
    bool wide;
    uint64_t *moved;
    struct quern_error *err;
};

static bool has_padding(const struct vocab_rows *v)
{
    return v->map->nrows > v->map->nkept;
}

static size_t mean_bytes(const struct vocab_rows *v)
{
    return has_padding(v) ? ((size_t)v->width * sizeof(double) + 63) & ~(size_t)63 : 0;
}

static size_t inner_bytes(const struct vocab_rows *v, bool wide)
{
    size_t most = 0;
    for (unsigned k = 0; k < v->map->nmodels; k++) {
        const size_t n = source_scratch_bytes(&v->sources[k], wide);
        most = n > most ? n : most;
    }
    return most;
}

static size_t header_bytes(void)
{
    return (sizeof(struct rows_scratch) + 63) & ~(size_t)63;
}

static size_t scratch_bytes(const struct source *s, bool wide)
{
    const struct vocab_rows *v = s->params;
    return header_bytes() + mean_bytes(v) + inner_bytes(v, wide);
}

static void *element(void *x, bool wide, size_t i)
{
    return wide ? (void *)((double *)x + i) : (void *)((float *)x + i);
}

/* From a model as it was. A source that makes its values may keep something from read to read as
 * long as they go upwards: else it starts anew. */
static enum quern_status read_inner(struct reading *r, unsigned model, uint64_t first, size_t n,
                                    void *x)
{
    struct rows_scratch *w = r->scratch;
    const struct source *s = &r->v->sources[model];
    if (s->kind && (w->inner != model + 1 || first < w->next))
        memset(r->inner, 0, r->inner_bytes);
    w->inner = model + 1;
    w->next = first + n;
    return source_read(s, r->inner, r->wide, first, n, x, r->moved, r->err);
}

static struct default_row origin_of(const struct vocab_rows *v, uint32_t row)
{
    const struct row_map *map = v->map;
    const uint32_t own = map->own[v->model][row];
    if (own == NO_ROW || map->defaults[row].forced)
        return map->defaults[row];
    return (struct default_row){.row = own, .model = (uint8_t)v->model, .origin = ROW_OF_MODEL};
}

/* Elements from (row, column) on that lie behind each other in one model, at most n. */
static size_t run_length(const struct vocab_rows *v, uint32_t row, uint64_t column, size_t n)
{
    const struct default_row from = origin_of(v, row);
    uint64_t length = v->width - column;
    for (uint32_t i = 1; length < n && row + i < v->map->nkept; i++, length += v->width) {
        const struct default_row next = origin_of(v, row + i);
        if (next.origin != ROW_OF_MODEL || next.model != from.model || next.row != from.row + i)
            break;
    }
    return length < n ? (size_t)length : n;
}

/* In the order of the models: the sum of their rows, then divided. */
static enum quern_status read_mean(struct reading *r, uint32_t row, uint64_t column, size_t n,
                                   void *x)
{
    const struct row_map *map = r->v->map;
    unsigned count = 0;
    memset(x, 0, n * (r->wide ? sizeof(double) : sizeof(float)));
    for (unsigned k = 0; k < map->nmodels; k++) {
        const uint32_t theirs = map->own[k][row];
        if (theirs == NO_ROW)
            continue;
        TRY(read_inner(r, k, theirs * r->v->width + column, n, r->scratch->piece));
        count++;
        const void *piece = r->scratch->piece;
        for (size_t i = 0; i < n; i++) {
            if (r->wide)
                ((double *)x)[i] += ((const double *)piece)[i];
            else
                ((float *)x)[i] += ((const float *)piece)[i];
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (r->wide)
            ((double *)x)[i] /= count;
        else
            ((float *)x)[i] /= (float)count;
    }
    return QUERN_OK;
}

/* Elements [first, first + n) before the padding. */
static enum quern_status read_rows(struct reading *r, uint64_t first, size_t n, void *x)
{
    const uint64_t width = r->v->width;
    while (n > 0) {
        const uint32_t row = (uint32_t)(first / width);
        const uint64_t column = first % width;
        const struct default_row from = origin_of(r->v, row);
        size_t length = width - column < n ? (size_t)(width - column) : n;
        if (from.origin == ROW_OF_MODEL) {
            length = run_length(r->v, row, column, n);
            TRY(read_inner(r, from.model, from.row * width + column, length, x));
        } else if (from.origin == ROW_MEAN) {
            TRY(read_mean(r, row, column, length, x));
        } else {
            memset(x, 0, length * (r->wide ? sizeof(double) : sizeof(float)));
        }
        x = element(x, r->wide, length);
        first += length;
        n -= length;
    }
    return QUERN_OK;
}

/* Means of the columns of all rows that belong to tokens, rows added up in their order. */
static enum quern_status make_mean(struct reading *r)
{
    void *x = r->scratch->line;
    const uint64_t width = r->v->width, total = r->v->map->ntokens * width;
    uint64_t column = 0;
    for (uint64_t at = 0; at < total;) {
        const size_t n = total - at < PIECE ? (size_t)(total - at) : PIECE;
        TRY(read_rows(r, at, n, x));
        for (size_t i = 0; i < n; i++) {
            r->mean[column] += r->wide ? ((double *)x)[i] : (double)((float *)x)[i];
            column = column + 1 == width ? 0 : column + 1;
        }
        at += n;
    }
    for (uint64_t i = 0; i < width; i++)
        r->mean[i] /= r->v->map->ntokens;
    r->scratch->has_mean = true;
    return QUERN_OK;
}

static enum quern_status read_padding(struct reading *r, uint64_t first, size_t n, void *x)
{
    if (!r->scratch->has_mean)
        TRY(make_mean(r));
    uint64_t column = first % r->v->width;
    for (size_t i = 0; i < n; i++) {
        if (r->wide)
            ((double *)x)[i] = r->mean[column];
        else
            ((float *)x)[i] = (float)r->mean[column];
        column = column + 1 == r->v->width ? 0 : column + 1;
    }
    return QUERN_OK;
}

static enum quern_status read(const struct source *s, void *scratch, bool wide, uint64_t first,
                              size_t n, void *x, uint64_t *moved, struct quern_error *err)
{
    const struct vocab_rows *v = s->params;
    uint8_t *at = (uint8_t *)scratch + header_bytes();
    struct reading r = {.v = v,
                        .scratch = scratch,
                        .mean = (void *)at,
                        .inner = at + mean_bytes(v),
                        .inner_bytes = inner_bytes(v, wide),
                        .wide = wide,
                        .moved = moved,
                        .err = err};
    assert(v->width > 0);
    const uint64_t kept = v->map->nkept * v->width;
    const size_t before = first >= kept ? 0 : kept - first < n ? (size_t)(kept - first) : n;
    TRY(read_rows(&r, first, before, x));
    return before == n ? QUERN_OK
                       : read_padding(&r, first + before, n - before, element(x, wide, before));
}

static const struct source *inner(const struct source *s, uint32_t i)
{
    const struct vocab_rows *v = s->params;
    return i < v->map->nmodels ? &v->sources[i] : NULL;
}

const struct source_kind vocabulary_source = {
    .name = "vocabulary", .scratch_bytes = scratch_bytes, .read = read, .inner = inner};
