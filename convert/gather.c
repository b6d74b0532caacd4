/* gather.c - read elements of sources in another order than they are stored in. */
#include "gather.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/checked.h"
#include "pipeline/as_blocks.h"
#include "quant/codec.h"

/* ---- rows in another order ------------------------------------------------------------------ */

/* Elements [first, first + n) of source, which are consecutive in the output too. */
struct stretch {
    const struct source *source;
    uint64_t first, n;
};

static uint32_t run_of(const struct gather *g, uint64_t row)
{
    uint32_t low = 0, high = g->nruns;
    while (high - low > 1) {
        const uint32_t mid = low + (high - low) / 2;
        if (g->starts[mid] <= row)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* What element `at` of the output begins, at most `most` elements of it. */
static struct stretch stretch_at(const struct gather *g, uint64_t at, uint64_t most)
{
    const uint64_t row = at / g->row_elems, column = at % g->row_elems;
    const struct row_run *r = &g->runs[run_of(g, row)];
    const uint64_t i = row - g->starts[r - g->runs];
    const uint64_t c = i % r->count[2], b = i / r->count[2] % r->count[1];
    const uint64_t a = i / r->count[2] / r->count[1];
    const uint64_t from = r->first + a * r->step[0] + b * r->step[1] + c * r->step[2];
    const uint64_t nrows = r->step[2] == 1 ? r->count[2] - c : 1;
    uint64_t n = nrows * g->row_elems - column;
    if (n > most)
        n = most;
    return (struct stretch){r->source, from * g->row_elems + column, n};
}

/* The scratch belongs to the source that was read last. */
struct gather_scratch {
    const struct source *of;
    _Alignas(64) uint8_t rest[];
};

static size_t inner_scratch(const struct gather *g, bool wide)
{
    size_t most = 0;
    for (uint32_t i = 0; i < g->nruns; i++) { /* some may be stored, others be made */
        const size_t n = source_scratch_bytes(g->runs[i].source, wide);
        most = n > most ? n : most;
    }
    return most;
}

static size_t gather_scratch(const struct source *s, bool wide)
{
    return sizeof(struct gather_scratch) + inner_scratch(s->params, wide);
}

static enum quern_status gather_read(const struct source *s, void *scratch, bool wide,
                                     uint64_t first, size_t n, void *x, uint64_t *moved,
                                     struct quern_error *err)
{
    const struct gather *g = s->params;
    struct gather_scratch *room = scratch;
    const size_t width = wide ? sizeof(double) : sizeof(float);
    for (size_t done = 0; done < n;) {
        const struct stretch t = stretch_at(g, first + done, n - done);
        if (room->of && room->of != t.source && t.source->kind)
            memset(room->rest, 0, source_scratch_bytes(t.source, wide));
        room->of = t.source;
        TRY(source_read(t.source, room->rest, wide, t.first, (size_t)t.n,
                        (uint8_t *)x + done * width, moved, err));
        done += (size_t)t.n;
    }
    return QUERN_OK;
}

static enum quern_status gather_read_raw(const struct source *s, uint64_t first, uint64_t n,
                                         uint8_t *to, uint64_t *moved, struct quern_error *err)
{
    const struct gather *g = s->params;
    for (uint64_t done = 0; done < n;) {
        const struct stretch t = stretch_at(g, first + done, n - done);
        TRY(source_read_raw(t.source, t.first, t.n, to + dtype_stored(s->tensor->dtype, done),
                            moved, err));
        done += t.n;
    }
    return QUERN_OK;
}

static const struct source *gather_inner(const struct source *s, uint32_t i)
{
    const struct gather *g = s->params;
    return i < g->nruns ? g->runs[i].source : NULL;
}

/* Packed blocks can be moved when every row is whole blocks of one type. Each run is a part; a
 * single run has those of its source. */
static const struct block_form *gather_block_form(const struct source *s, uint32_t i)
{
    const struct gather *g = s->params;
    const struct block_form *first = source_block_form(g->runs[0].source, 0), *form;
    if (!first || g->row_elems % dtype_traits[first->dtype].block_elems != 0)
        return NULL;
    if (g->nruns == 1)
        return source_block_form(g->runs[0].source, i);
    for (uint32_t k = 0; k < g->nruns; k++) {
        form = source_block_form(g->runs[k].source, 0);
        if (!form || form->dtype != first->dtype || source_block_form(g->runs[k].source, 1))
            return NULL;
    }
    return i < g->nruns ? source_block_form(g->runs[i].source, 0) : NULL;
}

static enum quern_status gather_read_blocks(const struct source *s, uint64_t first, uint64_t n,
                                            uint8_t *to, uint64_t *moved, struct quern_error *err)
{
    const struct gather *g = s->params;
    const enum dtype d = source_block_form(g->runs[0].source, 0)->dtype;
    for (uint64_t done = 0; done < n;) {
        const struct stretch t = stretch_at(g, first + done, n - done);
        TRY(t.source->kind->read_blocks(t.source, t.first, t.n, to + dtype_stored(d, done), moved,
                                        err));
        done += t.n;
    }
    return QUERN_OK;
}

static const struct source_kind gathering = {.name = "gather",
                                             .inner = gather_inner,
                                             .scratch_bytes = gather_scratch,
                                             .read = gather_read,
                                             .read_raw = gather_read_raw,
                                             .block_form = gather_block_form,
                                             .read_blocks = gather_read_blocks};
static const struct source_kind gathering_values = {.name = "gather",
                                                    .inner = gather_inner,
                                                    .scratch_bytes = gather_scratch,
                                                    .read = gather_read,
                                                    .block_form = gather_block_form,
                                                    .read_blocks = gather_read_blocks};

/* ---- making them ---------------------------------------------------------------------------- */

static enum quern_status new_tensor(struct arena *arena, struct str name, const uint64_t *dims,
                                    uint8_t ndims, const struct source *like, struct tensor **out,
                                    struct quern_error *err)
{
    struct tensor *t = arena_alloc(arena, sizeof *t);
    if (!t)
        return fail_memory(err, sizeof *t);
    *t = (struct tensor){.name = name,
                         .dims = dims,
                         .ndims = ndims,
                         .dtype = like ? like->tensor->dtype : DTYPE_F32,
                         .file = like ? like->tensor->file : 0};
    if (!dims_product(dims, ndims, &t->nelems) || !dtype_bytes(t->dtype, t->nelems, &t->nbytes))
        return in_tensor(err, name,
                         fail(err, QUERN_EFORMAT, "shape",
                              "%" PRIu64 " elements are no whole blocks of %s", t->nelems,
                              dtype_traits[t->dtype].name));
    *out = t;
    return QUERN_OK;
}

/* The last row a run reads is the largest: steps are not negative. */
static bool run_fits(const struct row_run *r, uint64_t row_elems)
{
    uint64_t last = r->first;
    for (int k = 0; k < 3; k++) {
        uint64_t far;
        if (r->count[k] == 0 || !checked_mul(r->count[k] - 1, r->step[k], &far) ||
            !checked_add(last, far, &last))
            return false;
    }
    return last < r->source->tensor->nelems / row_elems;
}

static enum quern_status check_runs(const struct gather *g, const struct tensor *t,
                                    struct quern_error *err)
{
    uint64_t *starts = (uint64_t *)g->starts;
    for (uint32_t i = 0; i < g->nruns; i++) {
        const struct row_run *r = &g->runs[i];
        if (r->source->tensor->nelems % g->row_elems != 0 || !run_fits(r, g->row_elems))
            return in_source(err, r->source,
                             fail(err, QUERN_EFORMAT, "shape",
                                  "it has %" PRIu64 " elements" WANT
                                  "expected the shape that config.json's numbers ask for",
                                  r->source->tensor->nelems));
        starts[i + 1] = starts[i] + r->count[0] * r->count[1] * r->count[2];
    }
    if (starts[g->nruns] * g->row_elems != t->nelems)
        return in_source(err, g->runs[0].source,
                         fail(err, QUERN_EFORMAT, "shape",
                              "its rows give %" PRIu64 " elements" WANT "expected %" PRIu64
                              " from config.json's numbers",
                              starts[g->nruns] * g->row_elems, t->nelems));
    return QUERN_OK;
}

/* Bytes can be moved when every row is whole blocks, all the way down. */
static bool moves_bytes(const struct gather *g, enum dtype d)
{
    if (g->row_elems % dtype_traits[d].block_elems != 0)
        return false;
    for (uint32_t i = 0; i < g->nruns; i++)
        if (g->runs[i].source->tensor->dtype != d || !source_has_raw(g->runs[i].source))
            return false;
    return true;
}

enum quern_status gather_source(struct arena *arena, struct str name, const uint64_t *dims,
                                uint8_t ndims, uint64_t row_elems, const struct row_run *runs,
                                uint32_t nruns, struct source *out, struct quern_error *err)
{
    struct gather *g = arena_alloc(arena, sizeof *g);
    uint64_t *starts = ARENA_NEW(arena, uint64_t, nruns + 1);
    struct tensor *t;
    if (!g || !starts)
        return fail_memory(err, nruns * sizeof *starts);
    *g = (struct gather){.runs = runs, .starts = starts, .nruns = nruns, .row_elems = row_elems};
    TRY(new_tensor(arena, name, dims, ndims, runs[0].source, &t, err));
    if (row_elems == 0 || t->nelems == 0)
        return in_tensor(err, name, fail(err, QUERN_EFORMAT, "shape", "it is empty"));
    TRY(check_runs(g, t, err));
    *out = (struct source){.model = runs[0].source->model,
                           .tensor = t,
                           .kind = moves_bytes(g, t->dtype) ? &gathering : &gathering_values,
                           .params = g};
    return QUERN_OK;
}

enum quern_status reshaped_source(struct arena *arena, const struct source *from,
                                  const uint64_t *dims, uint8_t ndims, struct source *out,
                                  struct quern_error *err)
{
    struct tensor *t = arena_alloc(arena, sizeof *t);
    uint64_t nelems;
    if (!t)
        return fail_memory(err, sizeof *t);
    if (!dims_product(dims, ndims, &nelems) || nelems != from->tensor->nelems)
        return in_source(err, from,
                         fail(err, QUERN_EFORMAT, "shape",
                              "it has %" PRIu64 " elements" WANT "expected the shape that "
                              "config.json's numbers ask for",
                              from->tensor->nelems));
    *t = *from->tensor;
    t->dims = dims;
    t->ndims = ndims;
    *out = *from;
    out->tensor = t;
    return QUERN_OK;
}

/* ---- matrices turned around ----------------------------------------------------------------- */

/* A band of output rows is held at a time, which is a strip of columns of the source: reading a
 * column element by element would be a system call for each. */
#define BAND_ELEMS (UINT64_C(1) << 18)
#define LEAST_BAND UINT64_C(16)

struct turned {
    const struct source *from;
    uint64_t nrows, ncols; /* of a matrix of the output */
    uint64_t band;         /* rows of the output held */
};

/* At the head of the scratch; the source's own comes next, then the band. */
struct band_state {
    uint64_t first, nrows; /* output rows held, counted over all matrices */
};

static size_t aligned(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static size_t turned_scratch(const struct source *s, bool wide)
{
    const struct turned *t = s->params;
    const size_t width = wide ? sizeof(double) : sizeof(float);
    return aligned(sizeof(struct band_state)) + aligned(source_scratch_bytes(t->from, wide)) +
           aligned((size_t)(t->band * width)) + (size_t)(t->band * t->ncols) * width;
}

static enum quern_status load_band(const struct turned *t, struct band_state *b, uint8_t *rest,
                                   bool wide, uint64_t row, uint64_t *moved,
                                   struct quern_error *err)
{
    const size_t width = wide ? sizeof(double) : sizeof(float);
    uint8_t *column = rest + aligned(source_scratch_bytes(t->from, wide));
    uint8_t *band = column + aligned((size_t)t->band * width);
    const uint64_t matrix = row / t->nrows, at = row % t->nrows / t->band * t->band;
    const uint64_t n = t->nrows - at < t->band ? t->nrows - at : t->band;
    b->nrows = 0;
    for (uint64_t c = 0; c < t->ncols; c++) {
        const uint64_t from = (matrix * t->ncols + c) * t->nrows + at;
        TRY(source_read(t->from, rest, wide, from, (size_t)n, column, moved, err));
        for (uint64_t r = 0; r < n; r++)
            memcpy(band + (r * t->ncols + c) * width, column + r * width, width);
    }
    b->first = matrix * t->nrows + at;
    b->nrows = n;
    return QUERN_OK;
}

static enum quern_status turned_read(const struct source *s, void *scratch, bool wide,
                                     uint64_t first, size_t n, void *x, uint64_t *moved,
                                     struct quern_error *err)
{
    const struct turned *t = s->params;
    const size_t width = wide ? sizeof(double) : sizeof(float);
    struct band_state *b = scratch;
    uint8_t *rest = (uint8_t *)scratch + aligned(sizeof *b);
    const uint8_t *band =
        rest + aligned(source_scratch_bytes(t->from, wide)) + aligned((size_t)t->band * width);
    for (size_t done = 0; done < n;) {
        const uint64_t row = (first + done) / t->ncols, column = (first + done) % t->ncols;
        if (b->nrows == 0 || row < b->first || row >= b->first + b->nrows)
            TRY(load_band(t, b, rest, wide, row, moved, err));
        const uint64_t held = (b->first + b->nrows - row) * t->ncols - column;
        const size_t m = held < n - done ? (size_t)held : n - done;
        memcpy((uint8_t *)x + done * width, band + ((row - b->first) * t->ncols + column) * width,
               m * width);
        done += m;
    }
    return QUERN_OK;
}

static const struct source *turned_inner(const struct source *s, uint32_t i)
{
    return i == 0 ? ((const struct turned *)s->params)->from : NULL;
}

static const struct source_kind turning = {
    .name = "turn", .scratch_bytes = turned_scratch, .read = turned_read, .inner = turned_inner};

enum quern_status turned_source(struct arena *arena, const struct source *from, struct source *out,
                                struct quern_error *err)
{
    const struct tensor *f = from->tensor;
    if (from->kind == &turning) {
        const struct turned *back = from->params;
        *out = *back->from;
        return QUERN_OK;
    }
    struct turned *t = arena_alloc(arena, sizeof *t);
    uint64_t *dims = ARENA_NEW(arena, uint64_t, f->ndims);
    struct tensor *tensor;
    if (!t || !dims)
        return fail_memory(err, sizeof *t);
    memcpy(dims, f->dims, f->ndims * sizeof *dims);
    dims[f->ndims - 2] = f->dims[f->ndims - 1];
    dims[f->ndims - 1] = f->dims[f->ndims - 2];
    TRY(new_tensor(arena, f->name, dims, f->ndims, from, &tensor, err));
    if (f->nelems == 0)
        return in_source(err, from, fail(err, QUERN_EFORMAT, "shape", "it is empty"));
    *t = (struct turned){.from = from, .nrows = dims[f->ndims - 2], .ncols = dims[f->ndims - 1]};
    t->band = BAND_ELEMS / t->ncols;
    t->band = t->band < LEAST_BAND ? LEAST_BAND : t->band;
    t->band = t->band > t->nrows ? t->nrows : t->band;
    t->band = t->band > PIECE ? PIECE : t->band;
    *out = (struct source){.model = from->model, .tensor = tensor, .kind = &turning, .params = t};
    return QUERN_OK;
}

const struct gather *gather_behind(const struct source *s)
{
    return s->kind == &gathering || s->kind == &gathering_values ? s->params : NULL;
}

const struct source *turned_behind(const struct source *s)
{
    return s->kind == &turning ? ((const struct turned *)s->params)->from : NULL;
}

/* ---- values known when planning ------------------------------------------------------------- */

static size_t fixed_scratch(const struct source *s, bool wide)
{
    (void)s;
    (void)wide;
    return 0;
}

static enum quern_status fixed_read(const struct source *s, void *scratch, bool wide,
                                    uint64_t first, size_t n, void *x, uint64_t *moved,
                                    struct quern_error *err)
{
    const float *values = s->params;
    (void)scratch;
    (void)moved;
    (void)err;
    for (size_t i = 0; i < n; i++)
        if (wide)
            ((double *)x)[i] = (double)values[first + i];
        else
            ((float *)x)[i] = values[first + i];
    return QUERN_OK;
}

static const struct source_kind fixing = {
    .name = "computed", .scratch_bytes = fixed_scratch, .read = fixed_read};

enum quern_status fixed_source(struct arena *arena, struct str name, const float *values,
                               uint64_t n, struct source *out, struct quern_error *err)
{
    uint64_t *dims = ARENA_NEW(arena, uint64_t, 1);
    struct tensor *t;
    if (!dims)
        return fail_memory(err, sizeof *dims);
    dims[0] = n;
    TRY(new_tensor(arena, name, dims, 1, NULL, &t, err));
    *out = (struct source){.tensor = t, .kind = &fixing, .params = values};
    return QUERN_OK;
}

bool source_is_fixed(const struct source *s)
{
    return s->kind == &fixing;
}
