/* packed_ints.c - make weights of packed integers while they are read. */
#include "packed_ints.h"

#include <inttypes.h>

#include "core/checked.h"
#include "quant/codec.h"

#define WIDE_BAND (UINT64_C(1) << 21) /* codes, where rows are read a few bytes at a time */
#define LONG_BAND UINT64_C(8192)      /* where they are read as they lie */
#define MOST_ROWS UINT64_C(4096)
#define MOST_COLS (UINT64_C(1) << 22)
#define LANES     16u

/* ---- values --------------------------------------------------------------------------------- */

/* Loops of a fixed length over what does not overlap are what compilers make vectors of. */
static void scale_run(const uint8_t *restrict q, float zero, float scale, float *restrict x,
                      size_t n)
{
    size_t i = 0;
    for (; n - i >= LANES; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            x[i + k] = ((float)q[i + k] - zero) * scale;
    for (; i < n; i++)
        x[i] = ((float)q[i] - zero) * scale;
}

static void multiply_run(float *x, float factor, size_t n)
{
    size_t i = 0;
    for (; n - i >= LANES; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            x[i + k] *= factor;
    for (; i < n; i++)
        x[i] *= factor;
}

static void add_run(float *x, float bias, size_t n)
{
    size_t i = 0;
    for (; n - i >= LANES; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            x[i + k] += bias;
    for (; i < n; i++)
        x[i] += bias;
}

static void look_up_run(const uint8_t *restrict q, const float *restrict map, float scale,
                        float *restrict x, size_t n)
{
    float scaled[16];
    for (size_t i = 0; i < 16; i++)
        scaled[i] = map[i] * scale;
    for (size_t i = 0; i < n; i++)
        x[i] = scaled[q[i]];
}

/* A run of columns of one group. */
static void make_run(const struct packed_ints *p, const uint8_t *q, float scale, float second,
                     float *x, size_t n)
{
    switch (p->rule) {
    case VALUE_SCALED:
        scale_run(q, second, scale, x, n);
        break;
    case VALUE_TWICE:
        scale_run(q, second, scale, x, n);
        multiply_run(x, p->factor, n);
        break;
    case VALUE_BIASED: /* the bias comes later */
        scale_run(q, 0, scale, x, n);
        break;
    case VALUE_LOOK_UP:
        look_up_run(q, p->map, scale, x, n);
        break;
    }
}

/* Columns whose groups are anywhere: codes with zeros, that is. */
static void make_mixed(const uint8_t *restrict q, const int32_t *restrict order,
                       const float *restrict scales, const float *restrict zeros, float *restrict x,
                       size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = ((float)q[i] - zeros[order[i]]) * scales[order[i]];
}

/* Columns [column, column + n) of a row that is held. */
static void make_row(const struct packed_desk *d, uint64_t row, uint64_t column, size_t n, float *x)
{
    const struct packed_ints *p = d->p;
    const uint64_t r = row - d->band->first;
    const uint8_t *q = d->codes + r * p->stride + column;
    const float *scales = d->scales + r * p->ngroups, *seconds = d->seconds + r * p->ngroups;
    if (d->band->mixed) {
        make_mixed(q, d->order + column, scales, seconds, x, n);
        return;
    }
    for (size_t i = 0, m; i < n; i += m) {
        const uint64_t g = (column + i) / p->group, left = (g + 1) * p->group - (column + i);
        m = left < n - i ? (size_t)left : n - i;
        make_run(p, q + i, scales[g], seconds[g], x + i, m);
    }
}

static void add_biases(const struct packed_desk *d, uint64_t row, uint64_t column, size_t n,
                       float *x)
{
    const struct packed_ints *p = d->p;
    const float *biases = d->seconds + (row - d->band->first) * p->ngroups;
    for (size_t i = 0, m; i < n; i += m) {
        const uint64_t g = (column + i) / p->group, left = (g + 1) * p->group - (column + i);
        m = left < n - i ? (size_t)left : n - i;
        add_run(x + i, biases[g], m);
    }
}

/* As if they had been stored as p->round. */
static void round_values(const struct packed_desk *d, float *x, size_t n)
{
    const enum dtype t = d->p->round;
    if (t == DTYPE_F32)
        return;
    codec_kernels()->encode[t](x, d->stage, n);
    codec_kernels()->decode[t](d->stage, x, n);
}

static size_t packed_scratch(const struct source *s, bool wide)
{
    (void)wide;
    return packed_scratch_bytes(s->params);
}

static enum quern_status packed_read(const struct source *s, void *scratch, bool wide,
                                     uint64_t first, size_t n, void *x, uint64_t *moved,
                                     struct quern_error *err)
{
    const struct packed_ints *p = s->params;
    struct packed_desk d;
    packed_lay_out(&d, p, scratch, moved);
    float *values = wide ? d.values : x;
    for (size_t done = 0, m; done < n; done += m) {
        const uint64_t row = (first + done) / p->cols, column = (first + done) % p->cols;
        m = p->cols - column < n - done ? (size_t)(p->cols - column) : n - done;
        TRY(packed_hold(&d, row, err));
        make_row(&d, row, column, m, values + done);
        if (p->rule == VALUE_BIASED) {
            round_values(&d, values + done, m);
            add_biases(&d, row, column, m, values + done);
        }
    }
    round_values(&d, values, n);
    for (size_t i = 0; wide && i < n; i++)
        ((double *)x)[i] = (double)values[i];
    return QUERN_OK;
}

static const struct source *packed_inner(const struct source *s, uint32_t i)
{
    const struct packed_ints *p = s->params;
    const struct source *parts[] = {p->codes, p->scales, p->zeros, p->biases, p->order};
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        if (parts[k] && i-- == 0)
            return parts[k];
    return NULL;
}

static const struct source_kind packed = {.name = "packed integers",
                                          .scratch_bytes = packed_scratch,
                                          .read = packed_read,
                                          .inner = packed_inner};
static const struct source_kind packed_as_blocks = {.name = "packed integers",
                                                    .scratch_bytes = packed_scratch,
                                                    .read = packed_read,
                                                    .inner = packed_inner,
                                                    .block_form = packed_block_form,
                                                    .read_blocks = packed_read_blocks};

/* ---- what is stored fits together ----------------------------------------------------------- */

static uint64_t words_of(uint64_t ncodes, unsigned bits)
{
    return (ncodes * bits + 31) / 32;
}

static enum quern_status expect_type(const struct source *s, bool fits, const char *expected,
                                     struct quern_error *err)
{
    if (fits && !s->kind)
        return QUERN_OK;
    return in_source(err, s,
                     fail(err, QUERN_EUNSUPPORTED, "packing",
                          "it is %s" WANT "expected %s, as it is stored",
                          dtype_traits[s->tensor->dtype].name, expected));
}

static bool is_words(const struct source *s)
{
    return s->tensor->dtype == DTYPE_I32 || s->tensor->dtype == DTYPE_U32;
}

static bool is_floats(const struct source *s)
{
    return s->tensor->dtype == DTYPE_F16 || s->tensor->dtype == DTYPE_BF16 ||
           s->tensor->dtype == DTYPE_F32;
}

/* The last dimension is `last`, the others together are `lines`. */
static enum quern_status expect_shape(const struct source *s, uint64_t lines, uint64_t last,
                                      struct quern_error *err)
{
    const struct tensor *t = s->tensor;
    uint64_t n;
    const bool whole = checked_mul(lines, last, &n) && t->nelems == n;
    if (whole && t->ndims > 0 && (t->dims[t->ndims - 1] == last || (last == 1 && t->ndims == 1)))
        return QUERN_OK;
    return in_source(err, s,
                     fail(err, QUERN_EFORMAT, "shape",
                          "it has %" PRIu64 " elements in %u dimensions" WANT "expected %" PRIu64
                          " x %" PRIu64,
                          t->nelems, t->ndims, lines, last));
}

static enum quern_status check_codes(const struct packed_ints *p, uint64_t nelems,
                                     struct quern_error *err)
{
    const struct source *s = p->codes;
    switch (p->layout) {
    case CODES_ALONG:
        TRY(expect_type(s, is_words(s), "I32 or U32", err));
        return expect_shape(s, p->rows, words_of(p->cols, p->bits), err);
    case CODES_DOWN:
        TRY(expect_type(s, is_words(s), "I32", err));
        return expect_shape(s, words_of(p->cols, p->bits), p->rows, err);
    case CODES_ACROSS:
        TRY(expect_type(s, is_words(s), "I32", err));
        return expect_shape(s, p->cols, p->rows / 8, err);
    case CODES_SIGNED:
        TRY(expect_type(s, s->tensor->dtype == DTYPE_I8, "I8", err));
        return expect_shape(s, p->rows, p->cols, err);
    case CODES_NIBBLES:
        TRY(expect_type(s, true, "bytes", err));
        if (s->tensor->nbytes == nelems / 2 + nelems % 2)
            return QUERN_OK;
        break;
    }
    return in_source(err, s,
                     fail(err, QUERN_EFORMAT, "shape",
                          "it has %" PRIu64 " bytes" WANT "expected two of %" PRIu64
                          " values in each",
                          s->tensor->nbytes, nelems));
}

static enum quern_status check_zeros(const struct packed_ints *p, struct quern_error *err)
{
    const struct source *s = p->zeros;
    switch (p->zero_layout) {
    case ZEROS_FIXED:
        break;
    case ZEROS_ALONG:
        TRY(expect_type(s, is_words(s), "I32", err));
        return expect_shape(s, p->ngroups, words_of(p->rows, p->bits), err);
    case ZEROS_ACROSS:
        TRY(expect_type(s, is_words(s), "I32", err));
        return expect_shape(s, p->ngroups, p->rows / 8, err);
    case ZEROS_DOWN:
        TRY(expect_type(s, is_words(s), "I32", err));
        return expect_shape(s, words_of(p->rows, p->bits), p->ngroups, err);
    case ZEROS_SIGNED:
        TRY(expect_type(s, s->tensor->dtype == DTYPE_I8, "I8", err));
        return expect_shape(s, p->rows, p->ngroups, err);
    }
    return QUERN_OK;
}

static enum quern_status check_scales(const struct packed_ints *p, const struct source *s,
                                      struct quern_error *err)
{
    TRY(expect_type(s, is_floats(s), "F16, BF16 or F32", err));
    if (p->scale_layout == SCALES_ONE)
        return s->tensor->nelems == 1 ? QUERN_OK : expect_shape(s, 1, 1, err);
    if (p->scale_layout == SCALES_BY_GROUP)
        return expect_shape(s, p->ngroups, p->rows, err);
    return expect_shape(s, p->rows, p->ngroups, err);
}

static enum quern_status check_parts(const struct packed_ints *p, uint64_t nelems,
                                     struct quern_error *err)
{
    TRY(check_codes(p, nelems, err));
    TRY(check_zeros(p, err));
    if (p->outer) {
        const struct packed_scales *o = p->outer;
        TRY(expect_type(p->scales, p->scales->tensor->dtype == DTYPE_U8, "U8", err));
        TRY(expect_shape(p->scales, p->rows, 1, err));
        TRY(expect_type(o->outer, o->outer->tensor->dtype == DTYPE_F32, "F32", err));
        TRY(expect_shape(o->outer, (p->rows + o->block - 1) / o->block, 1, err));
    } else {
        TRY(check_scales(p, p->scales, err));
    }
    if (p->biases)
        TRY(check_scales(p, p->biases, err));
    if (p->order && p->rule == VALUE_SCALED) {
        TRY(expect_type(p->order, p->order->tensor->dtype == DTYPE_I32, "I32", err));
        TRY(expect_shape(p->order, 1, p->cols, err));
    }
    return QUERN_OK;
}

static enum quern_status check_size(const struct packed_ints *p, uint64_t nelems,
                                    struct quern_error *err)
{
    uint64_t all;
    const bool last_short = p->layout == CODES_NIBBLES;
    if (p->rows == 0 || p->cols == 0 || !checked_mul(p->rows, p->cols, &all) || nelems > all ||
        (last_short ? all - nelems >= p->cols : all != nelems))
        return in_source(err, p->codes,
                         fail(err, QUERN_EFORMAT, "shape",
                              "it stands for %" PRIu64 " rows of %" PRIu64 WANT
                              "expected a matrix that is not empty",
                              p->rows, p->cols));
    if (p->cols > MOST_COLS)
        return in_source(err, p->codes,
                         fail(err, QUERN_EUNSUPPORTED, "packing",
                              "its rows have %" PRIu64 " elements" WANT
                              "packed rows of at most %" PRIu64 " are read",
                              p->cols, MOST_COLS));
    if (p->group == 0 || p->bits < 1 || p->bits > 8 || (p->outer && p->outer->block == 0) ||
        ((p->layout == CODES_ACROSS || p->zero_layout == ZEROS_ACROSS) &&
         (p->bits != 4 || p->rows % 8 != 0)))
        return in_source(err, p->codes,
                         fail(err, QUERN_EFORMAT, "shape",
                              "%u bits, groups of %" PRIu64 ", %" PRIu64 " rows" WANT
                              "expected 1 to 8 bits, groups that are not empty and whole words",
                              p->bits, p->group, p->rows));
    return QUERN_OK;
}

static void choose_band(struct packed_ints *p)
{
    const bool wide = p->layout == CODES_DOWN || p->layout == CODES_ACROSS;
    const uint64_t all = (p->rows + 7) / 8 * 8, least = wide ? 8 : 1;
    p->band = wide ? WIDE_BAND / p->cols / 8 * 8 : LONG_BAND / p->cols;
    p->band = p->band < least ? least : p->band;
    p->band = p->band > MOST_ROWS ? MOST_ROWS : p->band;
    p->band = p->band > all ? all : p->band;
    p->stride = (p->cols + 63) / 64 * 64;
    if (wide) /* rows at the same place of a page would push each other out of the cache */
        p->stride += 64;
    p->stage_bytes = packed_stage_bytes(p);
}

enum quern_status packed_ints_source(struct arena *arena, struct packed_ints *p, struct str name,
                                     enum dtype dtype, const uint64_t *dims, uint8_t ndims,
                                     struct source *out, struct quern_error *err)
{
    struct tensor *t = ARENA_NEW(arena, struct tensor, 1);
    if (!t)
        return fail_memory(err, sizeof *t);
    *t = (struct tensor){.name = name,
                         .dims = dims,
                         .ndims = ndims,
                         .dtype = (uint8_t)dtype,
                         .file = p->codes->tensor->file};
    if (!dims_product(dims, ndims, &t->nelems) || !dtype_bytes(dtype, t->nelems, &t->nbytes))
        t->nelems = 0;
    TRY(check_size(p, t->nelems, err));
    p->ngroups = p->cols / p->group + (p->cols % p->group != 0);
    TRY(check_parts(p, t->nelems, err));
    choose_band(p);
    *out =
        (struct source){.model = p->codes->model,
                        .tensor = t,
                        .kind = packed_block_type(p) != DTYPE_COUNT ? &packed_as_blocks : &packed,
                        .params = p};
    return QUERN_OK;
}

enum quern_status packed_ints_put(struct unpacking *u, const struct source *at, struct str stem,
                                  struct packed_ints *p, const uint64_t *dims, uint8_t ndims,
                                  struct quern_error *err)
{
    struct str name;
    struct source s;
    TRY(unpack_name(u, stem, ".weight", &name, err));
    TRY(packed_ints_source(u->arena, p, name, u->dtype, dims, ndims, &s, err));
    return unpack_put(u, at, name, &s, err);
}

/* ---- while planning ---------------------------------------------------------------------------
 */

enum quern_status packed_values(const struct source *s, enum dtype type, void *to, uint64_t n,
                                struct quern_error *err)
{
    TRY(expect_type(s, s->tensor->dtype == type, dtype_traits[type].name, err));
    if (s->tensor->nelems != n)
        return in_source(err, s,
                         fail(err, QUERN_EFORMAT, "shape",
                              "it has %" PRIu64 " elements" WANT "expected %" PRIu64,
                              s->tensor->nelems, n));
    return in_source(err, s,
                     model_pread(s->model, s->tensor->file, to, (size_t)s->tensor->nbytes,
                                 s->tensor->offset, err));
}

enum quern_status packed_group_size(const struct json *config, const char *key, uint64_t *out,
                                    struct quern_error *err)
{
    const struct json *v = json_get(config, key);
    double number;
    *out = 0;
    if (!v || json_is_null(v) || (json_f64(v, &number) && number == -1))
        return QUERN_OK;
    if (json_u64(v, out) && *out > 0)
        return QUERN_OK;
    return unpack_unknown(key, v, "expected a number of columns, or -1", err);
}
