/* importance.c - find, check and hand out the entries of an importance matrix. */
#include "importance.h"

#include <inttypes.h>

#include "quant/codec.h"
#include "quant/mix.h"

/* ---- filters --------------------------------------------------------------------------------- */

static bool has_one_of(struct str name, const char *const *parts, size_t nparts)
{
    for (size_t i = 0; i < nparts; i++)
        if (str_has(name, parts[i]))
            return true;
    return false;
}

static enum quern_status check_filters(const char *option, const char *const *parts, size_t nparts,
                                       const struct imatrix *matrix, struct quern_error *err)
{
    for (size_t i = 0; i < nparts; i++) {
        bool found = false;
        for (uint32_t e = 0; e < matrix->nentries && !found; e++)
            found = str_has(matrix->entries[e].name, parts[i]);
        if (!found)
            return fail(err, QUERN_EUSAGE, "pattern",
                        "%s '%s' matches no entry of the importance matrix", option,
                        quoted(str_from(parts[i])).text);
    }
    return QUERN_OK;
}

static enum quern_status filter(struct importance *im, const struct imatrix *matrix,
                                struct quern_error *err)
{
    const struct quern_quantize *q = im->q;
    TRY(check_filters("--include-weights", q->include_weights, q->ninclude_weights, matrix, err));
    TRY(check_filters("--exclude-weights", q->exclude_weights, q->nexclude_weights, matrix, err));
    im->left_out = ARENA_NEW(&im->plan->arena, bool, matrix->nentries + 1);
    if (!im->left_out)
        return fail_memory(err, matrix->nentries);
    for (uint32_t i = 0; i < matrix->nentries; i++) {
        const struct str name = matrix->entries[i].name;
        im->left_out[i] =
            (q->ninclude_weights && !has_one_of(name, q->include_weights, q->ninclude_weights)) ||
            has_one_of(name, q->exclude_weights, q->nexclude_weights);
        im->nkept += !im->left_out[i];
    }
    for (uint32_t i = 0; i < matrix->nentries; i++)
        if (!im->left_out[i])
            TRY(imatrix_check_entry(matrix, &matrix->entries[i], err));
    if (im->nkept == 0)
        return plan_note(im->plan, err,
                         "--exclude-weights leaves no entry of the importance "
                         "matrix: as if there were none");
    return QUERN_OK;
}

enum quern_status importance_open(struct importance *im, struct plan *p,
                                  const struct quern_quantize *q, struct quern_error *err)
{
    *im = (struct importance){.plan = p, .q = q};
    if (q->ninclude_weights && q->nexclude_weights)
        return fail(err, QUERN_EUSAGE, "usage",
                    "--include-weights and --exclude-weights exclude each other");
    if (!q->imatrix) {
        if (q->ninclude_weights || q->nexclude_weights)
            return plan_note(p, err, "--%s-weights has no effect without --imatrix",
                             q->ninclude_weights ? "include" : "exclude");
        return QUERN_OK;
    }
    TRY(imatrix_open(q->imatrix, &p->imatrix, err));
    TRY(plan_add_model(p, p->imatrix->model, err));
    return filter(im, p->imatrix, err);
}

/* ---- keys ------------------------------------------------------------------------------------ */

/* llama-quantize has room for 127 bytes and stops at a NUL. */
static struct str cut(struct str s)
{
    if (s.n > 127)
        s.n = 127;
    return (struct str){s.p, strnlen(s.p, s.n)};
}

enum quern_status importance_keys(const struct importance *im, struct meta_list *metas,
                                  struct quern_error *err)
{
    const struct imatrix *matrix = im->plan->imatrix;
    if (im->nkept == 0)
        return QUERN_OK;
    const struct str path = str_from(im->q->imatrix_name ? im->q->imatrix_name : im->q->imatrix);
    bool ok = meta_list_set_string(metas, "quantize.imatrix.file", cut(path));
    if (matrix->ndatasets)
        ok =
            ok && meta_list_set_string(metas, "quantize.imatrix.dataset", cut(matrix->datasets[0]));
    ok = ok && meta_list_set_u32(metas, "quantize.imatrix.entries_count", im->nkept);
    /* A signed number there: what does not fit it counts as none. */
    if (matrix->chunk_count > 0 && matrix->chunk_count <= INT32_MAX)
        ok = ok && meta_list_set_u32(metas, "quantize.imatrix.chunks_count", matrix->chunk_count);
    if (!ok)
        return fail_memory(err, path.n);
    if (path.n > 127 || (matrix->ndatasets && matrix->datasets[0].n > 127))
        return plan_note(im->plan, err,
                         "quantize.imatrix.*: strings are cut at 127 bytes, as in "
                         "llama-quantize");
    return QUERN_OK;
}

/* ---- entries --------------------------------------------------------------------------------- */

static const struct imatrix_entry *find(const struct importance *im, struct str name)
{
    const struct imatrix *matrix = im->plan->imatrix;
    const struct imatrix_entry *e = im->nkept ? imatrix_find(matrix, name) : NULL;
    return e && !im->left_out[e - matrix->entries] ? e : NULL;
}

/* The plan can still be shown: what it lacks is kept and stops the run. The first tensor counts. */
static enum quern_status refuse(struct importance *im, const struct step *s,
                                struct quern_error *err)
{
    if (im->nneeds++ > 0)
        return QUERN_OK;
    struct quern_error *why = arena_alloc(&im->plan->arena, sizeof *why);
    if (!why)
        return fail_memory(err, sizeof *why);
    const char *type = dtype_traits[s->dtype].name;
    const char *advice = im->q->types_of   ? "--imatrix FILE, with the matrix it was made with"
                         : !im->q->imatrix ? "--imatrix FILE, or another type"
                                           : "another type";
    fail(why, QUERN_EUSAGE, "imatrix",
         "%s cannot be made without importance, and %s" WANT "expected %s", type,
         im->nkept ? "the matrix has none of this tensor" : "there is no importance matrix",
         advice);
    in_tensor(why, s->name, QUERN_EUSAGE);
    im->plan->refusal = why;
    return QUERN_OK;
}

static uint64_t matrices_of(const struct step *s)
{
    uint64_t n = 1;
    for (unsigned d = 0; d + 2 < s->ndims; d++)
        n *= s->dims[d];
    return n;
}

static uint64_t columns_of(const struct step *s)
{
    return s->ndims ? s->dims[s->ndims - 1] : 1;
}

enum quern_status importance_attach(struct plan *p, struct step *s, const struct imatrix_entry *e,
                                    bool *fits, struct quern_error *err)
{
    const uint64_t ncols = columns_of(s), nmats = matrices_of(s);
    *fits = e->sums->nelems == ncols * nmats;
    if (!*fits)
        return QUERN_OK;
    s->importance = e;
    if (e->ncols == ncols && e->nmats == nmats)
        return QUERN_OK;
    struct imatrix_entry *own = arena_alloc(&p->arena, sizeof *own);
    if (!own)
        return fail_memory(err, sizeof *own);
    *own = *e;
    own->ncols = ncols;
    own->nmats = nmats;
    s->importance = own;
    return QUERN_OK;
}

/* Also for types that make nothing of it: stats weigh errors by it. */
static enum quern_status fit(struct importance *im, struct step *s, const struct imatrix_entry *e,
                             bool *fits, struct quern_error *err)
{
    TRY(importance_attach(im->plan, s, e, fits, err));
    if (*fits || mix_is_embedding(s->name))
        return QUERN_OK;
    const uint64_t ncols = columns_of(s), nmats = matrices_of(s);
    return in_tensor(err, s->name,
                     fail(err, QUERN_EUSAGE, "imatrix",
                          "its importance matrix entry has %" PRIu64 " values" WANT
                          "expected %" PRIu64 " (%" PRIu64 " columns of %" PRIu64 " matri%s)",
                          e->sums->nelems, ncols * nmats, ncols, nmats, nmats == 1 ? "x" : "ces"));
}

enum quern_status importance_give(struct importance *im, struct step *s, struct str name,
                                  bool required, struct quern_error *err)
{
    const struct imatrix_entry *e = find(im, name);
    bool fits = false;
    if (e)
        TRY(fit(im, s, e, &fits, err));
    if (fits)
        return QUERN_OK;
    if (required || codec_needs_importance(s->dtype))
        return refuse(im, s, err);
    if (im->nkept && codec_uses_importance(s->dtype))
        name_list_add(&im->missing, s->name);
    return QUERN_OK;
}

enum quern_status importance_notes(const struct importance *im, const struct model *m,
                                   struct quern_error *err)
{
    const struct imatrix *matrix = im->plan->imatrix;
    struct name_list idle = {0};
    for (uint32_t i = 0; im->nkept && i < matrix->nentries; i++)
        if (!im->left_out[i] && !model_find(m, matrix->entries[i].name))
            name_list_add(&idle, matrix->entries[i].name);
    if (im->missing.count)
        TRY(plan_note(im->plan, err,
                      "%" PRIu32 " tensor%s quantized without importance, which the matrix does "
                      "not have: %s",
                      im->missing.count, im->missing.count == 1 ? " is" : "s are",
                      im->missing.text));
    if (idle.count)
        TRY(plan_note(
            im->plan, err, "%" PRIu32 " entr%s of the importance matrix match%s no tensor: %s",
            idle.count, idle.count == 1 ? "y" : "ies", idle.count == 1 ? "es" : "", idle.text));
    return QUERN_OK;
}
