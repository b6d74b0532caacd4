/* extract_op.c - randomized singular value decomposition of D = tuned - base, which is never held.
 *
 * Passes over D, each a product with a thin matrix (docs/lora.md has the mathematics):
 *   0        Y = D W      W random                 -> Q, orthonormal
 *   1, 3     Z = D^T Q                             -> P, orthonormal
 *   2, 4     Y = D P                               -> Q
 *   5        Z = D^T Q    the decomposition of the thin Z gives that of D -> A, B
 *   6        |D - B A|
 * Rows of Y belong to chunks, and are records. A chunk adds to all of Z, so Z is summed as
 * integers: fixed point, fine enough for 2^-61 of |D|, in any order. */
#include "merge/extract_op.h"

#include <math.h>

#include "merge/svd.h"
#include "quant/codec.h"

#define TEMP_FLOATS 16384u

/* What a worker holds of a chunk. */
struct bench {
    float d[CHUNK];
    float temp[TEMP_FLOATS];
};

/* The state of a step, cut. Matrices by columns in double, by rows in float. */
struct found {
    double *norm;  /* of D */
    double *unit;  /* what an integer of Z counts for is 1 / unit */
    double *q, *z; /* width columns of rows, of cols */
    double *small, *v, *sigma;
    double *column; /* as long as the longer of rows and cols */
    float *left;    /* q by rows */
    float *right;   /* z by rows */
    float *factors; /* A, then B */
};

static const struct extraction *extraction_of(const struct step *s)
{
    return s->params;
}

static uint64_t longer(const struct extraction *e)
{
    return e->rows > e->cols ? e->rows : e->cols;
}

static size_t doubles_needed(const struct extraction *e)
{
    return 2 + e->width * (e->rows + e->cols) + 2 * e->width * e->width + e->width + longer(e);
}

static size_t extract_state_bytes(const struct step *s)
{
    const struct extraction *e = extraction_of(s);
    return doubles_needed(e) * sizeof(double) +
           (e->width + e->rank) * (e->rows + e->cols) * sizeof(float);
}

static struct found find(const struct step *s, void *state)
{
    const struct extraction *e = extraction_of(s);
    struct found f;
    double *at = state;
    f.norm = at++;
    f.unit = at++;
    f.q = at;
    f.z = f.q + e->width * e->rows;
    f.small = f.z + e->width * e->cols;
    f.v = f.small + e->width * e->width;
    f.sigma = f.v + e->width * e->width;
    f.column = f.sigma + e->width;
    void *floats = f.column + longer(e);
    f.left = floats;
    f.right = f.left + e->width * e->rows;
    f.factors = f.right + e->width * e->cols;
    return f;
}

static bool sums_rows(unsigned pass)
{
    return pass % 2 == 0 && pass + 1 < EXTRACT_PASSES;
}

/* ---- what the passes gather --------------------------------------------------------------------
 */

/* Of a chunk: the sum of squares and, from there on as floats, the rows of Y it touches. */
static uint64_t rows_of_chunk(const struct extraction *e)
{
    const uint64_t n = CHUNK / e->cols + 2;
    return n < e->rows ? n : e->rows;
}

static struct measure_need extract_need(const struct step *s, unsigned pass)
{
    const struct extraction *e = extraction_of(s);
    if (sums_rows(pass))
        return (struct measure_need){.record_bytes =
                                         sizeof(double) +
                                         (rows_of_chunk(e) * e->width + 1) / 2 * sizeof(double)};
    if (pass + 1 < EXTRACT_PASSES)
        return (struct measure_need){.ncounts = e->cols * e->width};
    return (struct measure_need){.record_bytes = sizeof(double)};
}

/* The part of the matrix that a chunk is: elements [first, end), which begin in row `row` at column
 * `from` and end in the row before `row_end` at column `to`. */
struct span {
    uint64_t first, end, row, row_end, from, to;
};

static struct span span_of(const struct extraction *e, uint64_t chunk)
{
    const uint64_t total = e->rows * e->cols, first = chunk * CHUNK;
    struct span p = {.first = first, .end = total - first < CHUNK ? total : first + CHUNK};
    p.row = first / e->cols;
    p.from = first % e->cols;
    p.row_end = (p.end - 1) / e->cols + 1;
    p.to = (p.end - 1) % e->cols + 1;
    return p;
}

/* Element (row, column) of the difference, which lies in the chunk. */
static const float *at(const struct extraction *e, const struct span *p, const struct bench *b,
                       uint64_t row, uint64_t column)
{
    return b->d + (row * e->cols + column - p->first);
}

/* Rows of Y: columns [from, to) of `count` rows from `row` on times the right matrix. */
static void multiply_rows(const struct extraction *e, const struct span *p, const struct bench *b,
                          uint64_t row, uint64_t count, uint64_t from, uint64_t to,
                          const float *right, uint64_t right_row, float *y)
{
    const struct product m = {.y = y + (row - p->row) * e->width,
                              .l = at(e, p, b, row, from),
                              .r = right + from * right_row,
                              .y_row = e->width,
                              .l_row = e->cols,
                              .l_col = 1,
                              .r_row = right_row,
                              .rows = count,
                              .inner = to - from,
                              .cols = e->width};
    codec_kernels()->product(&m);
}

static void add_to_y(const struct extraction *e, const struct span *p, const struct bench *b,
                     const float *right, uint64_t right_row, float *y)
{
    uint64_t row = p->row, last = p->row_end - 1;
    if (row == last) {
        multiply_rows(e, p, b, row, 1, p->from, p->to, right, right_row, y);
        return;
    }
    if (p->from > 0) {
        multiply_rows(e, p, b, row, 1, p->from, e->cols, right, right_row, y);
        row++;
    }
    if (p->to == e->cols)
        last++;
    else
        multiply_rows(e, p, b, last, 1, 0, p->to, right, right_row, y);
    if (last > row)
        multiply_rows(e, p, b, row, last - row, 0, e->cols, right, right_row, y);
}

/* Columns [from, to) of Z get what the rows [row, end) of the chunk add to them. */
static void add_columns(const struct extraction *e, const struct span *p, struct bench *b,
                        uint64_t from, uint64_t to, uint64_t row, uint64_t end, const float *left,
                        double unit, uint64_t *counts)
{
    const uint64_t some = TEMP_FLOATS / e->width;
    for (uint64_t j = from; j < to && row < end; j += some) {
        const uint64_t n = to - j < some ? to - j : some;
        const struct product m = {.y = b->temp,
                                  .l = at(e, p, b, row, j),
                                  .r = left + row * e->width,
                                  .y_row = e->width,
                                  .l_row = 1,
                                  .l_col = e->cols,
                                  .r_row = e->width,
                                  .rows = n,
                                  .inner = end - row,
                                  .cols = e->width};
        codec_kernels()->product(&m);
        for (uint64_t i = 0; i < n * e->width; i++)
            counts[j * e->width + i] += (uint64_t)(int64_t)((double)b->temp[i] * unit);
    }
}

static void add_to_z(const struct extraction *e, const struct span *p, struct bench *b,
                     const float *left, double unit, uint64_t *counts)
{
    /* Columns before `from` lack the first row, those from `to` on the last. */
    const uint64_t a = p->from < p->to ? p->from : p->to, c = p->from < p->to ? p->to : p->from;
    const uint64_t cuts[] = {0, a, c, e->cols};
    for (size_t i = 0; i < 3; i++) {
        if (cuts[i] == cuts[i + 1])
            continue;
        const uint64_t row = cuts[i] < p->from ? p->row + 1 : p->row;
        const uint64_t end = cuts[i] >= p->to ? p->row_end - 1 : p->row_end;
        add_columns(e, p, b, cuts[i], cuts[i + 1], row, end, left, unit, counts);
    }
}

/* The squares of what B A leaves of the chunk. */
static double rest_of(const struct extraction *e, const struct span *p, struct bench *b,
                      const float *factors)
{
    const float *a = factors, *left = factors + e->rank * e->cols;
    double sum = 0;
    for (uint64_t i = p->first, n; i < p->end; i += n) {
        const uint64_t row = i / e->cols, column = i % e->cols;
        double square, most;
        n = e->cols - column < TEMP_FLOATS ? e->cols - column : TEMP_FLOATS;
        n = p->end - i < n ? p->end - i : n;
        const struct product m = {.y = b->temp,
                                  .l = left + row * e->rank,
                                  .r = a + column,
                                  .y_row = n,
                                  .l_row = e->rank,
                                  .l_col = 1,
                                  .r_row = e->cols,
                                  .rows = 1,
                                  .inner = e->rank,
                                  .cols = n};
        codec_kernels()->product(&m);
        codec_kernels()->block_errors(b->d + (i - p->first), b->temp, n, TEMP_FLOATS, &square,
                                      &most);
        sum += square;
    }
    return sum;
}

static void extract_measure(const struct piece *p, unsigned pass, const void *const x[],
                            uint64_t *counts, void *record)
{
    const struct extraction *e = extraction_of(p->step);
    const struct span span = span_of(e, p->chunk);
    const struct found f = find(p->step, p->state);
    struct bench *b = p->carry;
    const float *tuned = x[0], *base = x[1];
    float *d = b->d + (p->first - span.first);
    for (size_t i = 0; i < p->n; i++)
        d[i] = tuned[i] - base[i];
    if (p->first + p->n < span.end)
        return; /* the rest of the chunk comes first */
    double *sums = record;
    void *rows = sums + 1;
    if (pass == 0) {
        double dots[3];
        codec_kernels()->pair_dots(b->d, b->d, span.end - span.first, dots);
        sums[0] = dots[0];
    }
    if (pass == 0)
        add_to_y(e, &span, b, e->start, e->start_row, rows);
    else if (sums_rows(pass))
        add_to_y(e, &span, b, f.right, e->width, rows);
    else if (pass + 1 < EXTRACT_PASSES)
        add_to_z(e, &span, b, f.left, *f.unit, counts);
    else
        sums[0] = rest_of(e, &span, b, f.factors);
}

/* ---- what is made of it -------------------------------------------------------------------------
 */

/* Rows of Y that lie in two chunks are put together here. */
static void fold_y(const struct step *s, const struct found *f, const double *records,
                   uint64_t nrecords)
{
    const struct extraction *e = extraction_of(s);
    const size_t ndoubles = extract_need(s, 0).record_bytes / sizeof(double);
    memset(f->q, 0, e->width * e->rows * sizeof *f->q);
    for (uint64_t c = 0; c < nrecords; c++) {
        const struct span p = span_of(e, c);
        const void *rows = records + c * ndoubles + 1;
        const float *y = rows;
        for (uint64_t row = p.row; row < p.row_end; row++)
            for (uint64_t k = 0; k < e->width; k++)
                f->q[k * e->rows + row] += (double)y[(row - p.row) * e->width + k];
    }
}

static void unpack_z(const struct extraction *e, const struct found *f, const uint64_t *counts)
{
    for (uint64_t j = 0; j < e->cols; j++)
        for (uint64_t k = 0; k < e->width; k++)
            f->z[k * e->cols + j] = (double)(int64_t)counts[j * e->width + k] / *f->unit;
}

static void by_rows(const double *columns, uint64_t n, uint64_t ncols, float *rows)
{
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t k = 0; k < ncols; k++)
            rows[i * ncols + k] = (float)columns[k * n + i];
}

static enum quern_status set_norm(const struct step *s, const struct found *f,
                                  const double *records, uint64_t nrecords, struct quern_error *err)
{
    const size_t ndoubles = extract_need(s, 0).record_bytes / sizeof(double);
    int exponent;
    *f->norm = sqrt(fold_records(records, nrecords, ndoubles, 0));
    if (!isfinite(*f->norm))
        return fail(err, QUERN_EFORMAT, "overflow",
                    "differences so large that their norm overflows");
    frexp(*f->norm, &exponent);
    *f->unit = ldexp(1, 61 - exponent);
    return QUERN_OK;
}

/* to = sum over p of columns[p] * mix[p] * factor. */
static void mix_columns(const double *columns, uint64_t n, uint64_t ncols, const double *mix,
                        double factor, double *to)
{
    memset(to, 0, n * sizeof *to);
    for (uint64_t p = 0; p < ncols; p++) {
        const double m = mix[p] * factor;
        for (uint64_t i = 0; i < n; i++)
            to[i] += m * columns[p * n + i];
    }
}

/* The values as the output's type has them, for the last pass to measure. */
static void round_factors(const struct step *s, const struct found *f)
{
    const struct extraction *e = extraction_of(s);
    const uint64_t n = e->rank * (e->rows + e->cols);
    uint8_t stored[256 * sizeof(float)];
    for (uint64_t i = 0; s->dtype != DTYPE_F32 && i < n; i += 256) {
        const size_t some = n - i < 256 ? (size_t)(n - i) : 256;
        codec_kernels()->encode[s->dtype](f->factors + i, stored, some);
        codec_kernels()->decode[s->dtype](stored, f->factors + i, some);
    }
}

/* z = Qz R, R = U S V^T: then D is about Q z^T = (Q V) S (Qz U)^T. */
static void make_factors(const struct step *s, const struct found *f)
{
    const struct extraction *e = extraction_of(s);
    float *a = f->factors, *b = f->factors + e->rank * e->cols;
    orthonormalize(f->z, e->cols, e->width, f->small);
    small_svd(f->small, f->v, f->sigma, e->width);
    for (uint64_t k = 0; k < e->rank; k++) {
        const double root = sqrt(f->sigma[k]);
        mix_columns(f->z, e->cols, e->width, f->small + k * e->width, root, f->column);
        for (uint64_t j = 0; j < e->cols; j++)
            a[k * e->cols + j] = (float)f->column[j];
        mix_columns(f->q, e->rows, e->width, f->v + k * e->width, root, f->column);
        for (uint64_t i = 0; i < e->rows; i++)
            b[i * e->rank + k] = (float)f->column[i];
    }
    round_factors(s, f);
}

static enum quern_status extract_combine(const struct step *s, unsigned pass, void *state,
                                         const uint64_t *counts, void *records, uint64_t nrecords,
                                         struct quern_error *err)
{
    const struct extraction *e = extraction_of(s);
    const struct found f = find(s, state);
    if (pass == 0)
        TRY(set_norm(s, &f, records, nrecords, err));
    if (sums_rows(pass)) {
        fold_y(s, &f, records, nrecords);
        orthonormalize(f.q, e->rows, e->width, NULL);
        by_rows(f.q, e->rows, e->width, f.left);
    } else if (pass + 2 < EXTRACT_PASSES) {
        unpack_z(e, &f, counts);
        orthonormalize(f.z, e->cols, e->width, NULL);
        by_rows(f.z, e->cols, e->width, f.right);
    } else if (pass + 1 < EXTRACT_PASSES) {
        unpack_z(e, &f, counts);
        make_factors(s, &f);
    } else {
        e->result->norm = *f.norm;
        e->result->error = sqrt(fold_records(records, nrecords, 1, 0));
    }
    return QUERN_OK;
}

static void extract_apply(const struct piece *p, const void *const x[], void *y)
{
    (void)x;
    const struct found f = find(p->step, p->state);
    memcpy(y, f.factors + p->first, p->n * sizeof(float));
}

static void *extract_report(const struct step *s)
{
    return extraction_of(s)->result;
}

const struct op op_extract = {
    .name = "extract",
    .report_bytes = sizeof(struct extracted),
    .report = extract_report,
    .state_bytes = extract_state_bytes,
    .carry_bytes = sizeof(struct bench),
    .need = extract_need,
    .measure = extract_measure,
    .combine = extract_combine,
    .apply = extract_apply,
};
