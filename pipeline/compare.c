/* compare.c - plan the comparison of two models, tensor by tensor. */
#include "compare.h"

#include <inttypes.h>

#include "importance.h"
#include "quant/codec.h"
#include "quant/mix.h"

/* ---- the op --------------------------------------------------------------------------------- */

static struct measure_need compare_need(const struct step *s, unsigned pass)
{
    (void)s;
    (void)pass;
    return (struct measure_need){.record_bytes = sizeof(struct error_sums)};
}

static void compare_measure(const struct piece *p, unsigned pass, const void *const x[],
                            uint64_t *counts, void *record)
{
    (void)pass;
    (void)counts;
    const struct error_pairs pairs = {.a = x[0],
                                      .b = x[1],
                                      .wide = p->step->wide,
                                      .importance = p->importance,
                                      .block = error_block(p->step->dtype),
                                      .first = p->first,
                                      .n = p->n};
    error_sums_add(record, &pairs);
}

static enum quern_status compare_combine(const struct step *s, unsigned pass, void *state,
                                         const uint64_t *counts, void *records, uint64_t nrecords,
                                         struct quern_error *err)
{
    (void)pass;
    (void)state;
    (void)counts;
    (void)err;
    fold_errors(records, nrecords, (struct error_sums *)s->params);
    return QUERN_OK;
}

static const struct op op_compare = {.name = "compare",
                                     .sees_nonfinite = true,
                                     .need = compare_need,
                                     .measure = compare_measure,
                                     .combine = compare_combine};

/* ---- pairs ---------------------------------------------------------------------------------- */

static bool is_weights(const struct tensor *t)
{
    return (dtype_is_float(t->dtype) || dtype_is_quantized(t->dtype)) && codec_can_decode(t->dtype);
}

static bool comparable(const struct source *a, const struct source *b)
{
    if (is_weights(a->tensor) && is_weights(b->tensor))
        return true;
    return a->tensor->dtype == b->tensor->dtype && !a->kind && !b->kind;
}

bool step_compares_bytes(const struct step *s)
{
    return s->dtype == DTYPE_U8;
}

struct builder {
    struct plan *plan;
    struct comparison *comparison;
    const struct view *a, *b;
    uint32_t ncommon; /* names in both, whatever their shapes */
};

static enum quern_status add_unmatched(struct builder *b, struct unmatched u,
                                       struct quern_error *err)
{
    const char *why = !u.b            ? "only in the first model"
                      : !u.a          ? "only in the second model"
                      : u.other_shape ? "of another shape in each model"
                                      : "of types that do not compare";
    b->comparison->unmatched[b->comparison->nunmatched++] = u;
    return plan_drop(b->plan, u.a ? u.a->name : u.b->name, why, err);
}

/* The same bytes as a tensor of U8. */
static bool show_bytes(struct arena *arena, struct source *s)
{
    struct tensor *t = ARENA_NEW(arena, struct tensor, 1);
    if (!t)
        return false;
    *t = *s->tensor;
    t->dtype = DTYPE_U8;
    t->nelems = t->nbytes;
    s->tensor = t;
    return true;
}

/* What quantize takes, and what it ignores, is taken and ignored here. */
static enum quern_status give_importance(struct step *s, struct plan *p,
                                         const struct imatrix_entry *e, struct quern_error *err)
{
    bool fits;
    TRY(importance_attach(p, s, e, &fits, err));
    if (fits || mix_is_embedding(s->name))
        return QUERN_OK;
    uint64_t nmats = 1;
    for (unsigned d = 0; d + 2 < s->ndims; d++)
        nmats *= s->dims[d];
    return in_file(
        err, p->imatrix->model->path,
        in_tensor(err, s->name,
                  fail(err, QUERN_EUSAGE, "shape",
                       "importance of %" PRIu64 " columns, %" PRIu64 " times" WANT
                       "expected %" PRIu64 " columns, %" PRIu64 " times, as in the models",
                       e->ncols, e->nmats, s->ndims ? s->dims[s->ndims - 1] : 1, nmats)));
}

static enum quern_status add_step(struct builder *b, const struct source *original,
                                  const struct source *approximation, struct quern_error *err)
{
    struct plan *p = b->plan;
    struct source *sources = ARENA_NEW(&p->arena, struct source, 2);
    const bool bytes = !is_weights(approximation->tensor);
    if (!sources)
        return fail_memory(err, 2 * sizeof *sources);
    sources[0] = *original;
    sources[1] = *approximation;
    if (bytes && (!show_bytes(&p->arena, &sources[0]) || !show_bytes(&p->arena, &sources[1])))
        return fail_memory(err, sizeof(struct tensor));
    const struct tensor *x = sources[0].tensor, *y = sources[1].tensor;
    struct step *s = &p->steps[p->nsteps];
    *s = (struct step){.name = y->name,
                       .dims = y->dims,
                       .ndims = y->ndims,
                       .dtype = y->dtype,
                       .round_dtype = DTYPE_COUNT,
                       .wide = x->dtype == DTYPE_F64 || y->dtype == DTYPE_F64,
                       .nsources = 2,
                       .npasses = 1,
                       .sources = sources,
                       .op = &op_compare,
                       .params = &p->errors[p->nsteps],
                       .nelems = y->nelems,
                       .nbytes = y->nbytes};
    p->nsteps++;
    const struct imatrix_entry *e =
        p->imatrix && !bytes && y->nelems ? imatrix_find(p->imatrix, y->name) : NULL;
    return e ? give_importance(s, p, e, err) : QUERN_OK;
}

static enum quern_status pair_up(struct builder *b, struct quern_error *err)
{
    for (uint32_t i = 0; i < b->a->count; i++)
        if (!view_find(b->b, b->a->sources[i].tensor->name))
            TRY(add_unmatched(b, (struct unmatched){.a = b->a->sources[i].tensor}, err));
    for (uint32_t i = 0; i < b->b->count; i++) {
        const struct source *y = &b->b->sources[i], *x = view_find(b->a, y->tensor->name);
        const bool fits =
            x && dims_alike(x->tensor->dims, x->tensor->ndims, y->tensor->dims, y->tensor->ndims);
        b->ncommon += x != NULL;
        if (fits && comparable(x, y))
            TRY(add_step(b, x, y, err));
        else
            TRY(add_unmatched(b, (struct unmatched){x ? x->tensor : NULL, y->tensor, x && !fits},
                              err));
    }
    return QUERN_OK;
}

static enum quern_status check_common(const struct builder *b, struct quern_error *err)
{
    if (b->ncommon || b->a->count + b->b->count == 0)
        return QUERN_OK;
    if (b->a->count == 0 || b->b->count == 0)
        return fail(err, QUERN_EUSAGE, "nothing-common",
                    "one model has no tensors" WANT "expected two forms of the same model");
    return fail(
        err, QUERN_EUSAGE, "nothing-common",
        "the models have no tensor name in common: one has '%.80s', the other '%.80s'" WANT "%s",
        quoted(b->a->sources[0].tensor->name).text, quoted(b->b->sources[0].tensor->name).text,
        b->a->model->format == b->b->model->format
            ? "expected two forms of the same model"
            : "expected the same names (Hugging Face and GGUF name the same tensors "
              "differently: compare two models of one kind)");
}

static enum quern_status check_imatrix(const struct plan *p, struct quern_error *err)
{
    bool used = p->imatrix == NULL;
    for (uint32_t i = 0; i < p->nsteps && !used; i++)
        used = p->steps[i].importance != NULL;
    if (used)
        return QUERN_OK;
    return in_file(err, p->imatrix->model->path,
                   fail(err, QUERN_EUSAGE, "no-match",
                        "no entry has the name of a compared tensor" WANT
                        "expected the importance matrix of this model"));
}

static enum quern_status build(struct builder *b, const char *imatrix_path, struct quern_error *err)
{
    struct plan *p = b->plan;
    const size_t n = (size_t)b->a->count + b->b->count + 1;
    b->comparison = ARENA_NEW(&p->arena, struct comparison, 1);
    p->steps = ARENA_NEW(&p->arena, struct step, (size_t)b->b->count + 1);
    p->errors = ARENA_NEW(&p->arena, struct error_sums, (size_t)b->b->count + 1);
    struct unmatched *unmatched = ARENA_NEW(&p->arena, struct unmatched, n);
    if (!b->comparison || !p->steps || !p->errors || !unmatched)
        return fail_memory(err, n * sizeof *p->steps);
    *b->comparison =
        (struct comparison){.a = b->a->model, .b = b->b->model, .unmatched = unmatched};
    TRY(plan_add_model(p, b->a->model, err));
    TRY(plan_add_model(p, b->b->model, err));
    if (imatrix_path) {
        TRY(imatrix_open(imatrix_path, &p->imatrix, err));
        TRY(plan_add_model(p, p->imatrix->model, err));
    }
    TRY(pair_up(b, err));
    TRY(check_common(b, err));
    return check_imatrix(p, err);
}

static enum quern_status plan_with(struct plan *p, const struct view *a, const struct view *b,
                                   const char *imatrix_path, struct comparison **comparison,
                                   struct quern_error *err)
{
    struct builder builder = {.plan = p, .a = a, .b = b};
    TRY(build(&builder, imatrix_path, err));
    *comparison = builder.comparison;
    return QUERN_OK;
}

enum quern_status plan_compare_views(const struct view *a, const struct view *b,
                                     const char *imatrix_path, struct plan **out,
                                     struct comparison **comparison, struct quern_error *err)
{
    struct plan *p = plan_new("compare", err);
    if (!p)
        return QUERN_EMEMORY;
    const enum quern_status s = plan_with(p, a, b, imatrix_path, comparison, err);
    if (s == QUERN_OK)
        *out = p;
    else
        plan_free(p);
    return s;
}

enum quern_status plan_compare(struct model *a, struct model *b, const char *imatrix_path,
                               struct plan **out, struct comparison **comparison,
                               struct quern_error *err)
{
    struct view views[2] = {{.count = 0}, {.count = 0}};
    struct plan *p = plan_new("compare", err);
    if (!p)
        return QUERN_EMEMORY;
    enum quern_status s = view_of_model(a, &p->arena, &views[0], err);
    if (s == QUERN_OK)
        s = view_of_model(b, &p->arena, &views[1], err);
    if (s == QUERN_OK)
        s = plan_with(p, &views[0], &views[1], imatrix_path, comparison, err);
    view_free(&views[0]);
    view_free(&views[1]);
    if (s == QUERN_OK)
        *out = p;
    else
        plan_free(p);
    return s;
}
