/* scaled.c - make values from those of few bits and the scales they share. */
#include "scaled.h"

#define WINDOW PIECE /* most scales held at a time */
#define USUAL  1024u

/* Weights as matrices of rows; the scale of (matrix, row, column) is number
 * matrix * per_matrix + row / row_block * per_row + column / column_block. */
struct scaled {
    struct source weight, scale;
    uint64_t rows, columns;
    uint64_t per_matrix, per_row;
    uint64_t row_block, column_block;
};

/* At the head of the scratch; then come that of the scale and that of the weight. */
struct window {
    uint64_t first;
    size_t n;
    float scales[WINDOW];
    float values[PIECE]; /* when double is asked for */
    uint8_t raw[WINDOW];
};

static size_t aligned(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static size_t scaled_scratch(const struct source *s, bool wide)
{
    const struct scaled *k = s->params;
    (void)wide;
    return aligned(sizeof(struct window)) + aligned(source_scratch_bytes(&k->scale, false)) +
           source_scratch_bytes(&k->weight, false);
}

/* Of F8_E8M0: 2^(e - 127), and NaN for 255. */
static float power_of_two(uint8_t e)
{
    const uint32_t bits = e == 255 ? 0x7fc00000u : e ? (uint32_t)e << 23 : 0x00400000u;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static enum quern_status read_scales(const struct source *s, void *scratch, struct window *w,
                                     uint64_t first, size_t n, uint64_t *moved,
                                     struct quern_error *err)
{
    w->n = 0;
    if (s->tensor->dtype == DTYPE_F8_E8M0) {
        TRY(source_read_raw(s, first, n, w->raw, moved, err));
        for (size_t i = 0; i < n; i++)
            w->scales[i] = power_of_two(w->raw[i]);
    } else {
        TRY(source_read(s, scratch, false, first, n, w->scales, moved, err));
    }
    w->first = first;
    w->n = n;
    return QUERN_OK;
}

/* The scales from number `first` on, n of them. The window begins where their row does, because
 * several rows in succession share them. */
static enum quern_status get_scales(const struct scaled *k, struct window *w, void *scratch,
                                    uint64_t first, size_t n, const float **out, uint64_t *moved,
                                    struct quern_error *err)
{
    if (first < w->first || first + n > w->first + w->n) {
        const uint64_t total = k->scale.tensor->nelems, before = first % k->per_row;
        const uint64_t from = before + n <= WINDOW ? first - before : first;
        size_t some = before + n <= WINDOW ? (size_t)before + n : n;
        if (some < USUAL)
            some = total - from < USUAL ? (size_t)(total - from) : USUAL;
        TRY(read_scales(&k->scale, scratch, w, from, some, moved, err));
    }
    *out = w->scales + (first - w->first);
    return QUERN_OK;
}

/* x has n values of one row, from this column on. */
static void multiply(const struct scaled *k, uint64_t column, size_t n, const float *scales,
                     float *x)
{
    for (size_t i = 0; i < n;) {
        const uint64_t left = k->column_block - (column + i) % k->column_block;
        const size_t end = left < n - i ? i + (size_t)left : n;
        const float scale = *scales++;
        for (; i < end; i++)
            x[i] *= scale;
    }
}

static enum quern_status scaled_read(const struct source *s, void *scratch, bool wide,
                                     uint64_t first, size_t n, void *x, uint64_t *moved,
                                     struct quern_error *err)
{
    const struct scaled *k = s->params;
    struct window *w = scratch;
    uint8_t *of_scale = (uint8_t *)scratch + aligned(sizeof *w);
    uint8_t *of_weight = of_scale + aligned(source_scratch_bytes(&k->scale, false));
    float *values = wide ? w->values : x;
    TRY(source_read(&k->weight, of_weight, false, first, n, values, moved, err));
    for (size_t done = 0; done < n;) {
        const uint64_t row = (first + done) / k->columns, column = (first + done) % k->columns;
        const size_t some =
            k->columns - column < n - done ? (size_t)(k->columns - column) : n - done;
        const uint64_t at = row / k->rows * k->per_matrix +
                            row % k->rows / k->row_block * k->per_row + column / k->column_block;
        const size_t nscales =
            (size_t)((column + some - 1) / k->column_block - column / k->column_block + 1);
        const float *scales;
        TRY(get_scales(k, w, of_scale, at, nscales, &scales, moved, err));
        multiply(k, column, some, scales, values + done);
        done += some;
    }
    for (size_t i = 0; wide && i < n; i++)
        ((double *)x)[i] = (double)values[i];
    return QUERN_OK;
}

static const struct source *scaled_inner(const struct source *s, uint32_t i)
{
    const struct scaled *k = s->params;
    return i == 0 ? &k->weight : i == 1 ? &k->scale : NULL;
}

static const struct source_kind scaling = {.name = "scaled values",
                                           .scratch_bytes = scaled_scratch,
                                           .read = scaled_read,
                                           .inner = scaled_inner};

/* ---- making them ---------------------------------------------------------------------------- */

static uint64_t dim(const struct tensor *t, unsigned i)
{
    return i < t->ndims ? t->dims[i] : 1;
}

/* How many elements along a dimension share a scale: all, one, or a block. 0: it does not fit. */
static uint64_t share(uint64_t nelems, uint64_t nscales, uint64_t block)
{
    if (nscales == 1)
        return nelems;
    if (nscales == nelems)
        return 1;
    return nscales == nelems / block + (nelems % block != 0) ? block : 0;
}

static bool fit(struct scaled *k, const uint64_t block[2])
{
    const struct tensor *w = k->weight.tensor, *s = k->scale.tensor;
    const unsigned matrix_dims = w->ndims >= 2 ? w->ndims - 2u : 0;
    uint64_t nmats = 1;
    bool shared = true, own = true;
    if (s->ndims > w->ndims && !(s->ndims == 1 && s->nelems == 1))
        return false;
    for (unsigned i = 0; i < matrix_dims; i++) {
        shared &= dim(s, i) == 1;
        own &= dim(s, i) == w->dims[i];
        nmats *= w->dims[i];
    }
    const uint64_t rows = dim(s, matrix_dims), columns = dim(s, matrix_dims + 1);
    k->rows = dim(w, matrix_dims);
    k->columns = dim(w, matrix_dims + 1);
    k->row_block = share(k->rows, rows, block[0]);
    k->column_block = share(k->columns, columns, block[1]);
    k->per_row = columns;
    k->per_matrix = shared ? 0 : rows * columns;
    return k->row_block && k->column_block && (shared || own) && nmats && s->nelems && w->nelems;
}

static bool is_scale(const struct source *s)
{
    const enum dtype d = s->tensor->dtype;
    return s->kind || d == DTYPE_F32 || d == DTYPE_F16 || d == DTYPE_BF16 || d == DTYPE_F8_E8M0;
}

enum quern_status scaled_source(struct arena *arena, const struct source *weight,
                                const struct source *scale, const uint64_t block[2],
                                enum dtype dtype, struct source *out, struct quern_error *err)
{
    struct scaled *k = ARENA_NEW(arena, struct scaled, 1);
    struct tensor *t = ARENA_NEW(arena, struct tensor, 1);
    if (!k || !t)
        return fail_memory(err, sizeof *k);
    k->weight = *weight;
    k->scale = *scale;
    if (!weight->kind && !dtype_is_float(weight->tensor->dtype))
        return source_misfit(err, weight, "8-bit floats, for it has scales beside it");
    if (!is_scale(scale))
        return source_misfit(err, scale, "scales in F32, F16, BF16 or F8_E8M0");
    if (!fit(k, block))
        return source_misfit(err, scale, "scales for the weight, its rows or its blocks");
    *t = *weight->tensor;
    t->dtype = (uint8_t)dtype;
    if (!dtype_bytes(dtype, t->nelems, &t->nbytes))
        return source_misfit(err, weight, "fewer elements");
    *out = (struct source){.model = weight->model, .tensor = t, .kind = &scaling, .params = k};
    return QUERN_OK;
}
