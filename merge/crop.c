/* crop.c - the top left part of a matrix as a source. */
#include "merge/crop.h"

#include <inttypes.h>

#include "merge/made.h"
#include "merge/vocab_names.h"

struct crop {
    struct source inner;
    uint64_t cols, inner_cols;
};

static size_t crop_scratch_bytes(const struct source *s, bool wide)
{
    const struct crop *c = s->params;
    return source_scratch_bytes(&c->inner, wide);
}

static enum quern_status crop_read(const struct source *s, void *scratch, bool wide, uint64_t first,
                                   size_t n, void *x, uint64_t *moved, struct quern_error *err)
{
    const struct crop *c = s->params;
    const size_t width = wide ? sizeof(double) : sizeof(float);
    for (size_t done = 0, now; done < n; done += now) {
        const uint64_t at = first + done, row = at / c->cols, col = at % c->cols;
        now = c->cols == c->inner_cols || c->cols - col > n - done ? n - done
                                                                   : (size_t)(c->cols - col);
        TRY(source_read(&c->inner, scratch, wide, row * c->inner_cols + col, now,
                        (uint8_t *)x + done * width, moved, err));
    }
    return QUERN_OK;
}

static const struct source *crop_inner(const struct source *s, uint32_t i)
{
    return i == 0 ? &((const struct crop *)s->params)->inner : NULL;
}

static const struct source_kind crop_kind = {
    .name = "crop", .scratch_bytes = crop_scratch_bytes, .read = crop_read, .inner = crop_inner};

enum quern_status crop_source(const struct source *s, uint64_t rows, uint64_t cols,
                              struct arena *arena, struct source *out, struct quern_error *err)
{
    struct crop *c = ARENA_NEW(arena, struct crop, 1);
    struct tensor *t = ARENA_NEW(arena, struct tensor, 1);
    uint64_t *dims = ARENA_NEW(arena, uint64_t, 2);
    if (!c || !t || !dims)
        return fail_memory(err, sizeof *c);
    *c = (struct crop){.inner = *s, .cols = cols, .inner_cols = s->tensor->dims[1]};
    dims[0] = rows;
    dims[1] = cols;
    *t = *s->tensor;
    t->dims = dims;
    t->nelems = rows * cols; /* no more than the tensor has */
    if (!dtype_bytes(t->dtype, t->nelems, &t->nbytes))
        t->nbytes = s->tensor->nbytes; /* half a block: what is read is counted, not stored */
    *out = (struct source){.model = s->model, .tensor = t, .kind = &crop_kind, .params = c};
    return QUERN_OK;
}

/* ---- which part -------------------------------------------------------------------------------
 */

static bool are_matrices(const struct target *t)
{
    for (unsigned k = 0; k < t->slice->nsources; k++)
        if (!t->inputs[k].tensor || t->inputs[k].tensor->ndims != 2)
            return false;
    return true;
}

static bool has_size(const struct tensor *t, const uint64_t size[2])
{
    return t->dims[0] == size[0] && t->dims[1] == size[1];
}

/* The size that all inputs are cut to. False, after a mistake, when one is too small. */
static bool common_size(const struct planner *pl, const struct target *t, uint64_t size[2],
                        struct mistakes *m)
{
    const struct source *base = &t->inputs[t->lead];
    memcpy(size, base->tensor->dims, 2 * sizeof *size);
    for (unsigned k = 0; k < t->slice->nsources; k++) {
        const uint64_t *dims = t->inputs[k].tensor->dims;
        for (unsigned d = 0; d < 2; d++) {
            if (dims[d] >= size[d])
                continue;
            if (pl->recipe.method->crop == CROP_TO_BASE) {
                struct quern_error *e = mistake(m);
                fail(e, QUERN_EUSAGE, "shape",
                     "%" PRIu64 " x %" PRIu64 " is less than the base's %" PRIu64 " x %" PRIu64 WANT
                     "%s can cut a tensor down to the base's size only",
                     dims[0], dims[1], base->tensor->dims[0], base->tensor->dims[1],
                     pl->recipe.method->name);
                in_source(e, &t->inputs[k], QUERN_EUSAGE);
                return false;
            }
            size[d] = dims[d];
        }
    }
    return true;
}

enum quern_status crop_target(struct planner *pl, struct target *t, struct mistakes *m,
                              struct quern_error *err)
{
    const enum crop_rule rule = pl->recipe.method->crop;
    uint64_t size[2];
    bool any = false;
    if (!pl->req->allow_crimes || rule == CROP_NEVER || pl->to_gguf || !is_vocabulary(t->name) ||
        !are_matrices(t))
        return QUERN_OK;
    if (!common_size(pl, t, size, m))
        return QUERN_OK;
    for (unsigned k = 0; k < t->slice->nsources; k++) {
        const struct tensor *in = t->inputs[k].tensor;
        if (has_size(in, size))
            continue;
        TRY(made_check_alone(&t->inputs[k], t->name, err));
        any = true;
        if (k == t->lead)
            pl->cut_rows = size[0];
        TRY(crop_source(&t->inputs[k], size[0], size[1], &pl->plan->arena, &t->inputs[k], err));
    }
    if (!any)
        return QUERN_OK;
    return plan_note(pl->plan, err,
                     "%s: models of different sizes, cut to their first %" PRIu64 " rows and "
                     "%" PRIu64 " columns",
                     quoted(t->name).text, size[0], size[1]);
}
