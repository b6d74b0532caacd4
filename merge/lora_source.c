/* lora_source.c - add low-rank products to the elements of another source. */
#include "merge/lora_source.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>

#include "quant/codec.h"

/* Of the right factor a worker keeps this much in decoded form, the rest is read again for every
 * row. One that is stored the other way round cannot be read by rows and is kept whole. */
#define KEPT_BYTES (UINT64_C(4) << 20)
#define ALIGN      64u

#define REAL       float
#define LORA(name) name##_f32
#include "merge/lora_loop.h"
#undef REAL
#undef LORA
#define REAL       double
#define LORA(name) name##_f64
#include "merge/lora_loop.h"

/* What a worker knows of a product; all zero at the start of a tile. */
struct kept {
    uint64_t matrix;    /* whose right factor is kept, plus one */
    uint64_t left_from; /* rows of the left factor that are kept, over all matrices */
    uint64_t left_count;
    uint64_t norm_row; /* plus one */
    double factor;     /* of that row */
};

/* The scratch of one source, cut. */
struct desk {
    const struct lora *lora;
    bool wide;
    struct kept *kept;                        /* per product */
    uint8_t *inner;                           /* of the inner source */
    uint8_t *again;                           /* of the same, read for lengths */
    uint8_t *stored;                          /* of the factors */
    uint8_t *delta, *rows_delta, *row, *base; /* pieces */
    uint8_t *factors; /* left window and right rows, product after product */
    uint64_t *moved;
};

static size_t padded(size_t n)
{
    return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static size_t width_of(bool wide)
{
    return wide ? sizeof(double) : sizeof(float);
}

static uint64_t kept_rows(const struct lora_product *p, bool wide)
{
    const uint64_t fit = KEPT_BYTES / (p->cols * width_of(wide));
    return p->right_flipped || fit > p->rank ? p->rank : fit;
}

static size_t factor_bytes(const struct lora_product *p, bool wide)
{
    return padded(PIECE * width_of(wide)) +
           padded((size_t)(kept_rows(p, wide) * p->cols) * width_of(wide));
}

static bool has_lengths(const struct lora *l)
{
    for (uint32_t i = 0; i < l->nproducts; i++)
        if (l->products[i].magnitude.tensor)
            return true;
    return false;
}

static size_t lora_scratch_bytes(const struct source *s, bool wide)
{
    const struct lora *l = s->params;
    const size_t inner = padded(source_scratch_bytes(&l->inner, wide));
    const size_t piece = padded(PIECE * width_of(wide));
    size_t total = padded(l->nproducts * sizeof(struct kept)) + inner;
    if (l->nproducts == 0)
        return total;
    total += padded(source_scratch_bytes(&l->products[0].right, wide)) + 2 * piece;
    if (has_lengths(l))
        total += inner + 2 * piece;
    for (uint32_t i = 0; i < l->nproducts; i++)
        total += factor_bytes(&l->products[i], wide);
    return total;
}

static uint8_t *take(uint8_t **at, size_t n)
{
    uint8_t *p = *at;
    *at += padded(n);
    return p;
}

static void lay_out(struct desk *d, void *scratch)
{
    const struct lora *l = d->lora;
    const size_t inner = source_scratch_bytes(&l->inner, d->wide);
    const size_t piece = PIECE * width_of(d->wide);
    uint8_t *at = scratch;
    d->kept = (struct kept *)take(&at, l->nproducts * sizeof(struct kept));
    d->inner = take(&at, inner);
    if (l->nproducts == 0)
        return;
    d->stored = take(&at, source_scratch_bytes(&l->products[0].right, d->wide));
    d->delta = take(&at, piece);
    d->row = take(&at, piece);
    if (has_lengths(l)) {
        d->again = take(&at, inner);
        d->rows_delta = take(&at, piece);
        d->base = take(&at, piece);
    }
    d->factors = at;
}

/* Where the left window of product i begins; the right rows follow. */
static uint8_t *left_of(const struct desk *d, uint32_t i)
{
    uint8_t *at = d->factors;
    for (uint32_t k = 0; k < i; k++)
        at += factor_bytes(&d->lora->products[k], d->wide);
    return at;
}

static uint8_t *right_of(const struct desk *d, uint32_t i)
{
    return left_of(d, i) + padded(PIECE * width_of(d->wide));
}

/* ---- factors -----------------------------------------------------------------------------------
 */

static size_t first_nonfinite(bool wide, const void *x, size_t n)
{
    if (!wide)
        return codec_first_nonfinite_f32(x, n);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(((const double *)x)[i]))
            return i;
    return n;
}

/* Elements of a tensor of the adapter, which must be finite: otherwise the base would be blamed. */
static enum quern_status read_factor(const struct desk *d, const struct source *s, uint64_t first,
                                     size_t n, void *x, struct quern_error *err)
{
    TRY(source_read(s, d->stored, d->wide, first, n, x, d->moved, err));
    const size_t bad = first_nonfinite(d->wide, x, n);
    if (bad == n)
        return QUERN_OK;
    return in_source(err, s,
                     fail(err, QUERN_EFORMAT, "nonfinite",
                          "element %" PRIu64 " is NaN or Inf" WANT "expected finite weights",
                          first + bad));
}

/* to[i * stride] = from[i]. */
static void scatter(bool wide, const void *from, void *to, size_t stride, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (wide)
            ((double *)to)[i * stride] = ((const double *)from)[i];
        else
            ((float *)to)[i * stride] = ((const float *)from)[i];
    }
}

static void set_ones(bool wide, void *to, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (wide)
            ((double *)to)[i] = 1;
        else
            ((float *)to)[i] = 1;
    }
}

/* The right factor of a matrix, as rows of columns. */
static enum quern_status keep_right(const struct desk *d, uint32_t i, uint64_t matrix,
                                    struct quern_error *err)
{
    const struct lora_product *p = &d->lora->products[i];
    const size_t w = width_of(d->wide);
    if (d->kept[i].matrix == matrix + 1)
        return QUERN_OK;
    uint8_t *to = right_of(d, i);
    const uint64_t total = kept_rows(p, d->wide) * p->cols, first = matrix * p->rank * p->cols;
    /* Flipped, whole columns are read at a time. */
    const uint64_t step = p->right_flipped ? PIECE / p->rank * p->rank : PIECE;
    for (uint64_t done = 0; done < total; done += step) {
        const size_t n = (size_t)(total - done < step ? total - done : step);
        if (!p->right_flipped) {
            TRY(read_factor(d, &p->right, first + done, n, to + done * w, err));
            continue;
        }
        TRY(read_factor(d, &p->right, first + done, n, d->row, err));
        for (size_t at = 0; at < n; at += p->rank)
            scatter(d->wide, d->row + at * w, to + (done + at) / p->rank * w, p->cols, p->rank);
    }
    d->kept[i].matrix = matrix + 1;
    return QUERN_OK;
}

/* A row of the left factor. Rows count over all matrices. */
static enum quern_status get_left(const struct desk *d, uint32_t i, uint64_t row,
                                  const uint8_t **out, struct quern_error *err)
{
    const struct lora_product *p = &d->lora->products[i];
    struct kept *k = &d->kept[i];
    const size_t w = width_of(d->wide);
    uint8_t *window = left_of(d, i);
    *out = window;
    if (row >= k->left_from && row - k->left_from < k->left_count) {
        *out += (row - k->left_from) * p->rank * w;
        return QUERN_OK;
    }
    const uint64_t matrix = row / p->rows, in_matrix = row % p->rows, fit = PIECE / p->rank;
    const size_t n = (size_t)(p->rows - in_matrix < fit ? p->rows - in_matrix : fit);
    k->left_count = 0;
    if (!p->left.tensor)
        set_ones(d->wide, window, n);
    else if (!p->left_flipped)
        TRY(read_factor(d, &p->left, row * p->rank, n * p->rank, window, err));
    for (uint64_t r = 0; p->left.tensor && p->left_flipped && r < p->rank; r++) {
        const uint64_t first = (matrix * p->rank + r) * p->rows + in_matrix;
        TRY(read_factor(d, &p->left, first, n, d->row, err));
        scatter(d->wide, d->row, window + r * w, p->rank, n);
    }
    k->left_from = row;
    k->left_count = n;
    return QUERN_OK;
}

/* out[j] = l[0] * r[0][j] + l[1] * r[1][j] + ..., nk rows of r that lie `stride` apart, every sum
 * in this order. */
static void multiply(const struct desk *d, const void *l, const void *r, size_t stride, size_t nk,
                     void *out, size_t n)
{
    if (!d->wide) {
        const struct product m = {.y = out,
                                  .l = l,
                                  .r = r,
                                  .l_col = 1,
                                  .r_row = stride,
                                  .rows = 1,
                                  .inner = nk,
                                  .cols = n};
        codec_kernels()->product(&m);
        return;
    }
    memset(out, 0, n * sizeof(double));
    for (size_t k = 0; k < nk; k++)
        add_row_f64(((const double *)l)[k], (const double *)r + k * stride, out, n);
}

/* Columns [column, column + n) of a row of product i. */
static enum quern_status make_delta(const struct desk *d, uint32_t i, uint64_t row, uint64_t column,
                                    size_t n, uint8_t *delta, struct quern_error *err)
{
    const struct lora_product *p = &d->lora->products[i];
    const size_t w = width_of(d->wide);
    const uint64_t kept = kept_rows(p, d->wide), matrix = row / p->rows;
    const uint8_t *left;
    TRY(keep_right(d, i, matrix, err));
    TRY(get_left(d, i, row, &left, err));
    multiply(d, left, right_of(d, i) + column * w, p->cols, kept, delta, n);
    for (uint64_t k = kept; k < p->rank; k++) {
        TRY(read_factor(d, &p->right, (matrix * p->rank + k) * p->cols + column, n, d->row, err));
        if (d->wide)
            add_row_f64(((const double *)left)[k], (const double *)d->row, (double *)delta, n);
        else
            add_row_f32(((const float *)left)[k], (const float *)d->row, (float *)delta, n);
    }
    return QUERN_OK;
}

/* ---- lengths of rows (DoRA) --------------------------------------------------------------------
 */

static void add_squares(const struct desk *d, const struct lora_product *p, const void *x,
                        const void *delta, uint64_t column, size_t n, double sums[8])
{
    if (d->wide)
        add_squares_f64(x, delta, p->scale, column, n, sums);
    else
        add_squares_f32(x, delta, p->scale, column, n, sums);
}

static enum quern_status set_factor(const struct desk *d, uint32_t i, uint64_t row,
                                    const double sums[8], struct quern_error *err)
{
    const struct lora_product *p = &d->lora->products[i];
    double square = 0, magnitude;
    float narrow;
    for (size_t k = 0; k < 8; k++)
        square += sums[k];
    TRY(read_factor(d, &p->magnitude, row, 1, d->wide ? (void *)&magnitude : &narrow, err));
    if (!d->wide)
        magnitude = (double)narrow;
    if (!(square > 0 && isfinite(square)))
        return in_source(err, &p->magnitude,
                         fail(err, QUERN_EFORMAT, "nonfinite",
                              "row %" PRIu64 " has the length %g" WANT
                              "expected one that can be divided by",
                              row, sqrt(square)));
    d->kept[i].factor = magnitude / sqrt(square);
    d->kept[i].norm_row = row + 1;
    return QUERN_OK;
}

/* The length of a row that is longer than the piece: the row is read for it once more. */
static enum quern_status measure_row(const struct desk *d, uint32_t i, uint64_t row,
                                     struct quern_error *err)
{
    const struct lora_product *p = &d->lora->products[i];
    double sums[8] = {0};
    for (uint64_t column = 0; column < p->cols; column += PIECE) {
        const size_t n = (size_t)(p->cols - column < PIECE ? p->cols - column : PIECE);
        TRY(make_delta(d, i, row, column, n, d->rows_delta, err));
        TRY(source_read(&d->lora->inner, d->again, d->wide, row * p->cols + column, n, d->row,
                        d->moved, err));
        add_squares(d, p, d->row, d->rows_delta, column, n, sums);
    }
    return set_factor(d, i, row, sums, err);
}

/* What the columns [column, column + n) of a row, x before anything was added, are multiplied by.
 */
static enum quern_status get_factor(const struct desk *d, uint32_t i, uint64_t row, uint64_t column,
                                    size_t n, const void *x, double *factor,
                                    struct quern_error *err)
{
    const struct lora_product *p = &d->lora->products[i];
    struct kept *k = &d->kept[i];
    *factor = 1;
    if (!p->magnitude.tensor)
        return QUERN_OK;
    if (column == 0 && n == p->cols) {
        double sums[8] = {0};
        add_squares(d, p, x, d->delta, 0, n, sums);
        TRY(set_factor(d, i, row, sums, err));
    } else if (k->norm_row != row + 1) {
        TRY(measure_row(d, i, row, err));
    }
    *factor = k->factor;
    return QUERN_OK;
}

/* ---- reading -----------------------------------------------------------------------------------
 */

/* Adds product i to the elements [first, first + n), row by row. base holds them as they were. */
static enum quern_status add_product(const struct desk *d, uint32_t i, uint64_t first, size_t n,
                                     uint8_t *x, const uint8_t *base, struct quern_error *err)
{
    const struct lora_product *p = &d->lora->products[i];
    const size_t w = width_of(d->wide);
    assert(d->delta); /* there is a product */
    for (size_t done = 0, count; done < n; done += count) {
        const uint64_t row = (first + done) / p->cols, column = (first + done) % p->cols;
        double factor;
        count = p->cols - column < n - done ? (size_t)(p->cols - column) : n - done;
        TRY(make_delta(d, i, row, column, count, d->delta, err));
        TRY(get_factor(d, i, row, column, count, base + done * w, &factor, err));
        if (d->wide)
            add_f64((double *)x + done, (const double *)d->delta, p->scale, factor, count);
        else
            add_f32((float *)x + done, (const float *)d->delta, p->scale, factor, count);
    }
    return QUERN_OK;
}

static enum quern_status lora_read(const struct source *s, void *scratch, bool wide, uint64_t first,
                                   size_t n, void *x, uint64_t *moved, struct quern_error *err)
{
    struct desk d = {.lora = s->params, .wide = wide, .moved = moved};
    const struct lora *l = d.lora;
    lay_out(&d, scratch);
    TRY(source_read(&l->inner, d.inner, wide, first, n, x, moved, err));
    if (first_nonfinite(wide, x, n) < n)
        return QUERN_OK; /* whoever uses it says so */
    const bool keeps_base = l->nproducts > 1 && has_lengths(l);
    if (keeps_base)
        memcpy(d.base, x, n * width_of(wide));
    for (uint32_t i = 0; i < l->nproducts; i++)
        TRY(add_product(&d, i, first, n, x, keeps_base ? d.base : x, err));
    const size_t bad = first_nonfinite(wide, x, n);
    if (bad < n)
        return in_source(err, s,
                         fail(err, QUERN_EFORMAT, "value-range",
                              "the adapter makes element %" PRIu64 " too large" WANT
                              "expected finite weights",
                              first + bad));
    return QUERN_OK;
}

/* What weights are read from. Factors are no weights. */
static const struct source *lora_inner(const struct source *s, uint32_t i)
{
    const struct lora *l = s->params;
    return i == 0 ? &l->inner : NULL;
}

const struct source_kind lora_kind = {
    .name = "lora", .scratch_bytes = lora_scratch_bytes, .read = lora_read, .inner = lora_inner};
