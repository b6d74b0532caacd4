/* low_rank.c - apply to the factors of a product what a source does to the product. */
#include "low_rank.h"

#include <assert.h>
#include <inttypes.h>

static size_t no_scratch(const struct source *s, bool wide)
{
    (void)s;
    (void)wide;
    return 0;
}

static enum quern_status no_values(const struct source *s, void *scratch, bool wide, uint64_t first,
                                   size_t n, void *x, uint64_t *moved, struct quern_error *err)
{
    (void)scratch;
    (void)wide;
    (void)first;
    (void)n;
    (void)x;
    (void)moved;
    return in_source(err, s,
                     fail(err, QUERN_EUNSUPPORTED, "adapter-target",
                          "what becomes of it depends on its values" WANT
                          "an adapter knows a difference only"));
}

static const struct source_kind product_kind = {
    .name = "product", .scratch_bytes = no_scratch, .read = no_values};

bool is_low_rank(const struct source *s)
{
    return s->kind == &product_kind;
}

enum quern_status low_rank_source(struct arena *arena, struct str name,
                                  const struct low_rank *product, struct source *out,
                                  struct quern_error *err)
{
    struct tensor *t = ARENA_NEW(arena, struct tensor, 1);
    uint64_t *dims = ARENA_NEW(arena, uint64_t, 2);
    if (!t || !dims)
        return fail_memory(err, sizeof *t);
    dims[0] = product->b.tensor->dims[0];
    dims[1] = product->a.tensor->dims[1];
    *t = *product->b.tensor;
    t->name = name;
    t->dims = dims;
    t->ndims = 2;
    if (!dims_product(dims, 2, &t->nelems) || !dtype_bytes(t->dtype, t->nelems, &t->nbytes))
        return fail(err, QUERN_EFORMAT, "overflow", "the matrix it belongs to is too large");
    *out = (struct source){
        .model = product->b.model, .tensor = t, .kind = &product_kind, .params = product};
    return QUERN_OK;
}

enum quern_status low_rank_turn(struct arena *arena, const struct source *from, struct source *out,
                                struct quern_error *err)
{
    const struct source *before = turned_behind(from);
    if (!before)
        return turned_source(arena, from, out, err);
    *out = *before;
    return QUERN_OK;
}

static enum quern_status no_product(const struct source *s, struct quern_error *err)
{
    return in_source(err, s,
                     fail(err, QUERN_EUNSUPPORTED, "adapter-target",
                          "llama.cpp keeps that matrix in another form, which is no product of two "
                          "small ones" WANT "merge the adapter into its base and convert that"));
}

/* The runs of g over other sources; nrows: of each, when it is not as many as before. */
static enum quern_status regather(struct arena *arena, const struct gather *g, struct str name,
                                  const uint64_t *dims, unsigned ndims, const struct source *parts,
                                  uint64_t nrows, struct source *out, struct quern_error *err)
{
    struct row_run *runs = ARENA_NEW(arena, struct row_run, g->nruns);
    uint64_t *shape = ARENA_NEW(arena, uint64_t, ndims);
    if (!runs || !shape)
        return fail_memory(err, g->nruns * sizeof *runs);
    memcpy(shape, dims, ndims * sizeof *shape);
    for (uint32_t i = 0; i < g->nruns; i++) {
        runs[i] = g->runs[i];
        runs[i].source = &parts[i];
        if (nrows)
            runs[i].count[2] = nrows;
    }
    return gather_source(arena, name, shape, (uint8_t)ndims, dims[ndims - 1], runs, g->nruns, out,
                         err);
}

static bool same_shape(const struct tensor *a, const struct tensor *b)
{
    return a->dtype == b->dtype && a->ndims == b->ndims &&
           memcmp(a->dims, b->dims, a->ndims * sizeof *a->dims) == 0;
}

/* Whole matrices on top of each other. */
static enum quern_status stacked(struct arena *arena, const struct source *s,
                                 const struct gather *g, bool conv1d, struct low_rank *out,
                                 struct quern_error *err)
{
    const uint64_t *dims = s->tensor->dims;
    struct source *a = ARENA_NEW(arena, struct source, g->nruns);
    struct source *b = ARENA_NEW(arena, struct source, g->nruns);
    if (!a || !b)
        return fail_memory(err, g->nruns * sizeof *a);
    if (g->nruns != dims[0])
        return no_product(s, err);
    for (uint32_t i = 0; i < g->nruns; i++) {
        const struct row_run *r = &g->runs[i];
        struct low_rank one = {0};
        TRY(low_rank_factors(arena, r->source, conv1d, &one, err));
        assert(one.a.tensor && one.b.tensor);
        a[i] = one.a;
        b[i] = one.b;
        if (i == 0)
            *out = one;
        if (r->first != 0 || r->count[0] != 1 || r->count[1] != 1 || r->count[2] != dims[1] ||
            r->step[2] != 1)
            return no_product(s, err);
        if (!same_shape(a[i].tensor, a[0].tensor) || !same_shape(b[i].tensor, b[0].tensor) ||
            one.times != out->times)
            return in_source(err, r->source,
                             fail(err, QUERN_EUNSUPPORTED, "rank",
                                  "its rank, type or factor is not that of the other experts" WANT
                                  "expected all alike: GGUF stacks them"));
    }
    const uint64_t rank = b[0].tensor->dims[1];
    const uint64_t a_dims[3] = {dims[0], rank, dims[2]}, b_dims[3] = {dims[0], dims[1], rank};
    TRY(regather(arena, g, a[0].tensor->name, a_dims, 3, a, rank, &out->a, err));
    return regather(arena, g, b[0].tensor->name, b_dims, 3, b, 0, &out->b, err);
}

/* Rows of one matrix in another order: those of B. */
static enum quern_status rows_of(struct arena *arena, const struct source *s,
                                 const struct gather *g, bool conv1d, struct low_rank *out,
                                 struct quern_error *err)
{
    const struct source *from = g->runs[0].source;
    for (uint32_t i = 0; i < g->nruns; i++)
        if (g->runs[i].source != from)
            return no_product(s, err);
    TRY(low_rank_factors(arena, from, conv1d, out, err));
    assert(out->a.tensor && out->b.tensor);
    struct source *parts = ARENA_NEW(arena, struct source, g->nruns);
    if (!parts)
        return fail_memory(err, g->nruns * sizeof *parts);
    for (uint32_t i = 0; i < g->nruns; i++)
        parts[i] = out->b;
    if (g->row_elems != out->a.tensor->dims[1] || out->b.tensor->ndims != 2)
        return no_product(s, err);
    const uint64_t dims[2] = {s->tensor->dims[0], out->b.tensor->dims[1]};
    return regather(arena, g, out->b.tensor->name, dims, 2, parts, 0, &out->b, err);
}

static enum quern_status turned(struct arena *arena, const struct source *from, bool conv1d,
                                struct low_rank *out, struct quern_error *err)
{
    struct low_rank inner = {0};
    TRY(low_rank_factors(arena, from, conv1d, &inner, err));
    assert(inner.a.tensor);
    *out = inner;
    if (conv1d)
        return QUERN_OK;
    if (inner.a.tensor->ndims != 2)
        return no_product(from, err);
    TRY(low_rank_turn(arena, &inner.b, &out->a, err));
    return low_rank_turn(arena, &inner.a, &out->b, err);
}

enum quern_status low_rank_factors(struct arena *arena, const struct source *s, bool conv1d,
                                   struct low_rank *out, struct quern_error *err)
{
    const struct gather *g = gather_behind(s);
    const struct source *from = turned_behind(s);
    if (from)
        return turned(arena, from, conv1d, out, err);
    if (g && s->tensor->ndims == 3)
        return stacked(arena, s, g, conv1d, out, err);
    if (g && s->tensor->ndims == 2)
        return rows_of(arena, s, g, conv1d, out, err);
    if (!is_low_rank(s) || s->tensor->ndims != 2)
        return no_product(s, err);
    *out = *(const struct low_rank *)s->params;
    return QUERN_OK;
}
