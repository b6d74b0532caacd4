/* combine.c - add up importance matrices, as llama-imatrix does with --in-file. */
#include "combine.h"

#include <float.h>
#include <inttypes.h>

#define DEFAULT_CHUNK_SIZE 512u
#define MAX_CHUNK_SIZE     (1u << 24)

/* One input's entry of a weight. */
struct part {
    const struct imatrix *im;
    const struct imatrix_entry *e;
    float factor; /* of its sums */
};

/* A weight of the output: what its parts add up to. */
struct sum {
    struct str name;
    const struct part *parts; /* those with a count for every matrix first */
    struct source *sources;   /* the sums of parts, in the order of the inputs */
    const struct part *order; /* the parts in that order */
    unsigned nparts, ncounted;
    uint64_t ncols, nmats;
    uint64_t base;      /* counts of the parts that have one for all matrices */
    uint64_t max_count; /* of a matrix */
    uint64_t nempty;    /* matrices that count nothing */
    uint32_t ncalls;    /* in a .dat */
};

/* ---- ops ------------------------------------------------------------------------------------ */

static enum quern_status add_counts(const struct part *p, uint64_t first, size_t n, float *x,
                                    uint64_t *counts, struct quern_error *err)
{
    TRY(imatrix_round_counts(p->im, p->e->counts, first, n, x, err));
    for (size_t i = 0; i < n; i++)
        counts[i] += (uint64_t)x[i];
    return QUERN_OK;
}

/* Of at most IMATRIX_BATCH matrices. */
static enum quern_status read_counts(const struct sum *s, uint64_t first, size_t n,
                                     uint64_t *counts, struct quern_error *err)
{
    float x[IMATRIX_BATCH];
    for (size_t i = 0; i < n; i++)
        counts[i] = s->base;
    for (unsigned k = 0; k < s->ncounted; k++) {
        TRY(imatrix_counts(s->parts[k].im, s->parts[k].e, first, n, x, err));
        for (size_t i = 0; i < n; i++)
            counts[i] += (uint64_t)x[i];
    }
    return QUERN_OK;
}

static size_t batch_of(uint64_t left)
{
    return left < IMATRIX_BATCH ? (size_t)left : IMATRIX_BATCH;
}

static enum quern_status counts_raw(const struct step *s, const uint8_t *const src[], uint8_t *dst,
                                    size_t nbytes, uint64_t at, struct quern_error *err)
{
    const struct sum *sum = s->params;
    float *y = (void *)dst;
    const size_t n = nbytes / sizeof *y;
    const uint64_t first = at / sizeof *y;
    for (size_t done = 0, batch; done < n; done += batch) {
        uint64_t counts[IMATRIX_BATCH];
        float x[IMATRIX_BATCH];
        batch = batch_of(n - done);
        for (size_t i = 0; i < batch; i++)
            counts[i] = sum->base;
        for (unsigned k = 0; k < sum->ncounted; k++) {
            memcpy(x, src[k] + done * sizeof *x, batch * sizeof *x);
            TRY(add_counts(&sum->parts[k], first + done, batch, x, counts, err));
        }
        for (size_t i = 0; i < batch; i++)
            y[done + i] = (float)counts[i];
    }
    return QUERN_OK;
}

static enum quern_status check_finite(const struct step *s, const float *y, uint64_t first,
                                      size_t n, struct quern_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (y[i] > FLT_MAX)
            return in_tensor(err, s->name,
                             fail(err, QUERN_EFORMAT, "nonfinite",
                                  "value %" PRIu64 " becomes Inf" WANT
                                  "expected sums that a 32-bit float can hold",
                                  first + i));
    return QUERN_OK;
}

/* One part after the other, each sum rounded: the order of the inputs is part of the result. */
static enum quern_status sums_raw(const struct step *s, const uint8_t *const src[], uint8_t *dst,
                                  size_t nbytes, uint64_t at, struct quern_error *err)
{
    const struct sum *sum = s->params;
    float *y = (void *)dst;
    const size_t n = nbytes / sizeof *y;
    const uint64_t first = at / sizeof *y;
    memset(y, 0, nbytes);
    for (unsigned k = 0; k < sum->nparts; k++) {
        const struct part *p = &sum->order[k];
        const float *x = (const void *)src[k];
        TRY(imatrix_check_values(p->im, p->e->sums, first, n, x, err));
        for (size_t i = 0; i < n; i++)
            y[i] += x[i] * p->factor;
    }
    return check_finite(s, y, first, n, err);
}

/* A .dat has means, times its number of calls. Where nothing was counted all columns are alike. */
static void to_row(float *y, size_t n, uint64_t count, uint32_t ncalls)
{
    const float c = (float)count, calls = (float)ncalls;
    for (size_t i = 0; i < n; i++)
        y[i] = count ? y[i] / c * calls : calls;
}

static enum quern_status rows_raw(const struct step *s, const uint8_t *const src[], uint8_t *dst,
                                  size_t nbytes, uint64_t at, struct quern_error *err)
{
    const struct sum *sum = s->params;
    float *y = (void *)dst;
    const uint64_t first = at / sizeof *y, end = first + nbytes / sizeof *y;
    TRY(sums_raw(s, src, dst, nbytes, at, err));
    const uint64_t end_mat = (end - 1) / sum->ncols + 1;
    uint64_t value = first;
    for (uint64_t mat = first / sum->ncols; mat < end_mat;) {
        uint64_t counts[IMATRIX_BATCH];
        const size_t batch = batch_of(end_mat - mat);
        TRY(read_counts(sum, mat, batch, counts, err));
        for (size_t i = 0; i < batch; i++, mat++) {
            const uint64_t stop = (mat + 1) * sum->ncols < end ? (mat + 1) * sum->ncols : end;
            to_row(y + (value - first), (size_t)(stop - value), counts[i], sum->ncalls);
            value = stop;
        }
    }
    /* A mean times the calls of the busiest expert may be more than its sum was. */
    return check_finite(s, y, first, (size_t)(end - first), err);
}

static const struct op op_sums = {.name = "add", .raw = sums_raw};
static const struct op op_counts = {.name = "add", .raw = counts_raw};
static const struct op op_rows = {.name = "mean", .raw = rows_raw};

/* ---- weights -------------------------------------------------------------------------------- */

struct combine {
    const struct combine_request *r;
    struct plan *plan;
    uint32_t chunk_size;
    struct sum *sums;
    uint32_t nsums;
    uint64_t max_count;
    uint32_t npartial, nempty; /* weights that count nothing for some, for all of their matrices */
};

/* The next name in byte order among those that the inputs have not given yet. */
static const struct str *next_name(const struct combine_request *r, const uint32_t *at)
{
    const struct str *least = NULL;
    for (size_t k = 0; k < r->ninputs; k++) {
        if (at[k] == r->inputs[k]->nentries)
            continue;
        const struct str *name = &r->inputs[k]->entries[at[k]].name;
        if (!least || str_cmp(*name, *least) < 0)
            least = name;
    }
    return least;
}

static enum quern_status different(const struct sum *s, const struct part *a, const struct part *b,
                                   const char *what, uint64_t found, uint64_t expected,
                                   struct quern_error *err)
{
    return in_file(
        err, b->im->model->path,
        in_tensor(err, s->name,
                  fail(err, QUERN_EUSAGE, "shape",
                       "it has %" PRIu64 " %s" WANT "expected %" PRIu64 " as in %s", found, what,
                       expected, quoted(str_from(a->im->model->path)).text)));
}

/* One count may stand for all matrices: a .dat has no other, and llama-imatrix writes one for a
 * stack of matrices that are used together. */
static enum quern_status settle_shape(struct sum *s, struct quern_error *err)
{
    const struct part *first = &s->order[0], *most = first;
    for (unsigned k = 1; k < s->nparts; k++) {
        const struct part *p = &s->order[k];
        if (p->e->sums->nelems != first->e->sums->nelems)
            return different(s, first, p, "values", p->e->sums->nelems, first->e->sums->nelems,
                             err);
        if (most->e->nmats == 1)
            most = p;
        else if (p->e->nmats != 1 && p->e->nmats != most->e->nmats)
            return different(s, most, p, "counts", p->e->nmats, most->e->nmats, err);
    }
    s->nmats = most->e->nmats;
    s->ncols = most->e->ncols;
    return QUERN_OK;
}

static enum quern_status settle_base(const struct combine *c, struct sum *s, struct part *parts,
                                     struct quern_error *err)
{
    for (unsigned k = 0; k < s->nparts; k++) {
        const struct part *p = &s->order[k];
        float count;
        if (!p->e->counts) {
            s->base += (uint64_t)p->e->ncalls * c->chunk_size;
        } else if (p->e->nmats == s->nmats) {
            parts[s->ncounted++] = *p;
        } else {
            TRY(imatrix_counts(p->im, p->e, 0, 1, &count, err));
            s->base += (uint64_t)count;
        }
    }
    s->parts = parts;
    return QUERN_OK;
}

static enum quern_status survey_counts(struct combine *c, struct sum *s, struct quern_error *err)
{
    uint64_t counts[IMATRIX_BATCH];
    for (uint64_t done = 0; done < s->nmats;) {
        const size_t batch = batch_of(s->nmats - done);
        TRY(read_counts(s, done, batch, counts, err));
        for (size_t i = 0; i < batch; i++) {
            s->max_count = counts[i] > s->max_count ? counts[i] : s->max_count;
            s->nempty += counts[i] == 0;
        }
        done += batch;
    }
    if (s->max_count > c->max_count)
        c->max_count = s->max_count;
    c->npartial += s->nempty > 0 && s->nempty < s->nmats;
    c->nempty += s->nempty == s->nmats;
    /* Rounded up, so that little is not nothing. */
    const uint64_t ncalls = (s->max_count + c->chunk_size - 1) / c->chunk_size;
    s->ncalls = ncalls < UINT32_MAX ? (uint32_t)ncalls : UINT32_MAX;
    return QUERN_OK;
}

/* Takes the entries called name from the inputs. */
static enum quern_status gather(struct combine *c, struct str name, uint32_t *at,
                                struct quern_error *err)
{
    const struct combine_request *r = c->r;
    struct arena *arena = &c->plan->arena;
    struct sum *s = &c->sums[c->nsums++];
    struct part *order = ARENA_NEW(arena, struct part, 2 * r->ninputs);
    struct source *sources = ARENA_NEW(arena, struct source, r->ninputs);
    if (!order || !sources)
        return fail_memory(err, r->ninputs * sizeof *order);
    *s = (struct sum){.name = name, .order = order, .sources = sources};
    for (size_t k = 0; k < r->ninputs; k++) {
        const struct imatrix *im = r->inputs[k];
        if (at[k] == im->nentries || !str_eq(im->entries[at[k]].name, name))
            continue;
        const struct imatrix_entry *e = &im->entries[at[k]++];
        sources[s->nparts] = (struct source){.model = im->model, .tensor = e->sums};
        order[s->nparts++] = (struct part){im, e, e->counts ? 1.0f : (float)c->chunk_size};
    }
    TRY(settle_shape(s, err));
    TRY(settle_base(c, s, order + r->ninputs, err));
    return survey_counts(c, s, err);
}

static enum quern_status gather_all(struct combine *c, struct quern_error *err)
{
    const struct combine_request *r = c->r;
    uint32_t at[MAX_SOURCES] = {0};
    size_t total = 0;
    for (size_t k = 0; k < r->ninputs; k++) {
        total += r->inputs[k]->nentries;
        c->plan->held_bytes += r->inputs[k]->arena.nbytes;
        TRY(plan_add_model(c->plan, r->inputs[k]->model, err));
    }
    c->sums = ARENA_NEW(&c->plan->arena, struct sum, total);
    if (!c->sums)
        return fail_memory(err, total * sizeof *c->sums);
    const struct str *name;
    while ((name = next_name(r, at)))
        TRY(gather(c, *name, at, err));
    return QUERN_OK;
}

/* ---- steps ---------------------------------------------------------------------------------- */

/* rows of cols values; 0 rows: one dimension. */
static enum quern_status add_step(struct combine *c, const struct sum *s, const char *suffix,
                                  uint64_t rows, uint64_t cols, const struct op *op,
                                  struct quern_error *err)
{
    struct plan *p = c->plan;
    const char *name = arena_printf(&p->arena, "%.*s%s", STR_ARG(s->name), suffix);
    uint64_t *dims = ARENA_NEW(&p->arena, uint64_t, 2);
    if (!name || !dims)
        return fail_memory(err, s->name.n);
    dims[0] = rows;
    dims[1] = cols;
    p->steps[p->nsteps++] = (struct step){.name = str_from(name),
                                          .dims = rows ? dims : dims + 1,
                                          .ndims = rows ? 2 : 1,
                                          .dtype = DTYPE_F32,
                                          .round_dtype = DTYPE_COUNT,
                                          .nsources = (uint8_t)s->nparts,
                                          .sources = s->sources,
                                          .op = op,
                                          .params = s};
    return QUERN_OK;
}

static enum quern_status add_count_step(struct combine *c, const struct sum *s,
                                        struct quern_error *err)
{
    struct plan *p = c->plan;
    struct source *sources = ARENA_NEW(&p->arena, struct source, s->ncounted + 1);
    if (!sources)
        return fail_memory(err, s->ncounted * sizeof *sources);
    for (unsigned k = 0; k < s->ncounted; k++)
        sources[k] =
            (struct source){.model = s->parts[k].im->model, .tensor = s->parts[k].e->counts};
    TRY(add_step(c, s, ".counts", s->nmats, 1, &op_counts, err));
    p->steps[p->nsteps - 1].sources = sources;
    p->steps[p->nsteps - 1].nsources = (uint8_t)s->ncounted;
    return QUERN_OK;
}

static enum quern_status make_steps(struct combine *c, uint32_t *ncalls, struct quern_error *err)
{
    c->plan->steps = ARENA_NEW(&c->plan->arena, struct step, 2 * (size_t)c->nsums + 1);
    if (!c->plan->steps)
        return fail_memory(err, c->nsums * sizeof(struct step));
    for (uint32_t i = 0; i < c->nsums; i++) {
        const struct sum *s = &c->sums[i];
        if (!c->r->legacy) {
            TRY(add_step(c, s, ".in_sum2", s->nmats, s->ncols, &op_sums, err));
            TRY(add_count_step(c, s, err));
        } else if (s->max_count > 0) {
            ncalls[c->plan->nsteps] = s->ncalls;
            TRY(add_step(c, s, "", 0, s->nmats * s->ncols, &op_rows, err));
        }
    }
    return QUERN_OK;
}

/* ---- the file ------------------------------------------------------------------------------- */

/* All data sets of all inputs, as the items of a GGUF array of strings. */
static enum quern_status all_datasets(const struct combine *c, struct meta *k,
                                      struct quern_error *err)
{
    uint64_t nbytes = 0;
    for (size_t i = 0; i < c->r->ninputs; i++)
        for (uint32_t d = 0; d < c->r->inputs[i]->ndatasets; d++)
            nbytes += 8 + c->r->inputs[i]->datasets[d].n;
    char *at = arena_alloc(&c->plan->arena, nbytes + 1);
    if (!at)
        return fail_memory(err, nbytes);
    *k = (struct meta){
        .key = STR("imatrix.datasets"),
        .value = {at, nbytes},
        .type = META_ARRAY,
        .item_type = META_STRING
    };
    for (size_t i = 0; i < c->r->ninputs; i++)
        for (uint32_t d = 0; d < c->r->inputs[i]->ndatasets; d++, k->count++) {
            const struct str s = c->r->inputs[i]->datasets[d];
            for (size_t b = 0; b < 8; b++)
                *at++ = (char)((uint64_t)s.n >> (8 * b));
            memcpy(at, s.p, s.n);
            at += s.n;
        }
    return QUERN_OK;
}

static enum quern_status to_gguf(const struct combine *c, uint32_t chunk_count,
                                 struct quern_error *err)
{
    struct meta_list l = {.arena = &c->plan->arena};
    struct meta datasets;
    TRY(all_datasets(c, &datasets, err));
    if (!meta_list_set_string(&l, "general.type", STR("imatrix")) || !meta_list_set(&l, datasets) ||
        !meta_list_set_u32(&l, "imatrix.chunk_count", chunk_count) ||
        !meta_list_set_u32(&l, "imatrix.chunk_size", c->chunk_size))
        return fail_memory(err, datasets.value.n);
    return layout_gguf(c->plan, c->r->output, &l, GGUF_DEFAULT_ALIGNMENT, err);
}

/* A .dat names one data set: the last. */
static enum quern_status to_dat(const struct combine *c, const uint32_t *ncalls,
                                uint32_t chunk_count, struct quern_error *err)
{
    struct str last = STR("");
    uint64_t n = 0;
    bool experts = false;
    for (size_t i = 0; i < c->r->ninputs; i++) {
        const struct imatrix *im = c->r->inputs[i];
        n += im->ndatasets;
        if (im->ndatasets)
            last = im->datasets[im->ndatasets - 1];
    }
    for (uint32_t i = 0; i < c->nsums; i++)
        experts |= c->sums[i].nmats > 1;
    if (n > 1)
        TRY(plan_note(c->plan, err,
                      "a .dat names one data set: '%s' is kept, %" PRIu64 " more are not",
                      quoted(last).text, n - 1));
    if (experts)
        TRY(plan_note(c->plan, err,
                      "a .dat has one count a weight: how often each expert was used is lost"));
    return layout_imatrix_dat(c->plan, c->r->output, ncalls, chunk_count, last, err);
}

static enum quern_status note_empty(const struct combine *c, struct quern_error *err)
{
    if (c->npartial)
        TRY(plan_note(c->plan, err,
                      "%" PRIu32 " weight%s some experts that were never used; their columns will "
                      "count alike",
                      c->npartial, c->npartial == 1 ? " has" : "s have"));
    if (!c->nempty)
        return QUERN_OK;
    return plan_note(c->plan, err, "%" PRIu32 " weight%s no data%s", c->nempty,
                     c->nempty == 1 ? " has" : "s have",
                     c->r->legacy ? " and is left out, as a .dat has no way to say so" : "");
}

/* Tokens of a chunk: what was asked for, or as the first input says that knows. */
static enum quern_status settle_chunk_size(struct combine *c, struct quern_error *err)
{
    uint32_t first = 0, other = 0;
    for (size_t i = 0; i < c->r->ninputs; i++) {
        const uint32_t size = c->r->inputs[i]->chunk_size;
        if (!first)
            first = size;
        else if (size && size != first)
            other = size;
    }
    c->chunk_size = c->r->chunk_size ? c->r->chunk_size : first ? first : DEFAULT_CHUNK_SIZE;
    if (c->chunk_size > MAX_CHUNK_SIZE)
        return fail(err, QUERN_EUSAGE, "count",
                    "a chunk has %" PRIu32 " tokens" WANT "expected at most %u; see --chunk-size",
                    c->chunk_size, MAX_CHUNK_SIZE);
    if (!other || c->r->chunk_size)
        return QUERN_OK;
    return plan_note(c->plan, err,
                     "the inputs have chunks of %" PRIu32 " and of %" PRIu32
                     " tokens; the output counts in chunks of %" PRIu32,
                     first, other, c->chunk_size);
}

static enum quern_status build(struct combine *c, struct quern_error *err)
{
    c->plan->force = c->r->force;
    if (c->r->ninputs == 0 || c->r->ninputs > MAX_SOURCES)
        return fail(err, QUERN_EUSAGE, "usage",
                    "%zu importance matrices" WANT "expected 1 to %d; combine some of them first",
                    c->r->ninputs, MAX_SOURCES);
    TRY(settle_chunk_size(c, err));
    TRY(gather_all(c, err));
    uint32_t *ncalls = ARENA_NEW(&c->plan->arena, uint32_t, c->nsums);
    if (!ncalls)
        return fail_memory(err, c->nsums * sizeof *ncalls);
    TRY(make_steps(c, ncalls, err));
    TRY(note_empty(c, err));
    const uint64_t chunks = c->max_count / c->chunk_size;
    if (chunks > INT32_MAX)
        return fail(err, QUERN_EUSAGE, "count",
                    "there are %" PRIu64 " chunks" WANT "expected at most %d; see --chunk-size",
                    chunks, INT32_MAX);
    if (c->plan->nsteps == 0)
        return fail(err, QUERN_EUSAGE, "empty",
                    "no weight has any data" WANT "a .dat needs some; write a .gguf");
    return c->r->legacy ? to_dat(c, ncalls, (uint32_t)chunks, err)
                        : to_gguf(c, (uint32_t)chunks, err);
}

enum quern_status combine_plan(const struct combine_request *r, struct plan **out,
                               struct quern_error *err)
{
    struct combine c = {.r = r, .plan = plan_new("imatrix", err)};
    if (!c.plan)
        return QUERN_EMEMORY;
    const enum quern_status s = build(&c, err);
    if (s == QUERN_OK)
        *out = c.plan;
    else
        plan_free(c.plan);
    return s;
}
