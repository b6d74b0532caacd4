/* keep_blocks.c - weights that lie packed in blocks of a GGUF type are moved, not computed. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "conversion.h"
#include "pipeline/as_blocks.h"
#include "quant/mix.h"

/* What is kept, for the note at the end. */
struct kept {
    uint64_t nelems;
    uint32_t nsteps;
};

static enum quern_status note_kept(struct conversion *c, const struct kept *k, enum dtype d,
                                   struct quern_error *err)
{
    if (k->nsteps == 0)
        return QUERN_OK;
    return plan_note(c->plan, err,
                     "%" PRIu32 " tensor%s keep%s the blocks of the checkpoint (%s): 0 of %" PRIu64
                     " values changed",
                     k->nsteps, k->nsteps == 1 ? "" : "s", k->nsteps == 1 ? "s" : "",
                     dtype_traits[d].name, k->nelems);
}

static enum quern_status use_blocks(struct conversion *c, struct step *s, struct kept *k,
                                    struct quern_error *err)
{
    struct source *blocks = ARENA_NEW(&c->plan->arena, struct source, 1);
    if (!blocks)
        return fail_memory(err, sizeof *blocks);
    TRY(source_as_blocks(&c->plan->arena, &s->sources[0], blocks, err));
    s->sources = blocks;
    s->dtype = blocks->tensor->dtype;
    s->round_dtype = DTYPE_COUNT;
    s->fallback = false;
    k->nelems += blocks->tensor->nelems;
    k->nsteps++;
    return QUERN_OK;
}

static const struct block_form *form_of_step(const struct step *s)
{
    return s->op == &op_copy && s->ndims >= 2 ? source_block_form(&s->sources[0], 0) : NULL;
}

/* ---- the converter's own choice ---------------------------------------------------------------
 */

static uint64_t count_forms(const struct source *s, uint64_t most)
{
    uint64_t n = 0;
    while (n <= most && source_block_form(s, (uint32_t)n))
        n++;
    return n;
}

/* Factors of one number for the tensor, or one for each matrix of a stack. */
static bool can_keep(const struct conversion *c, const struct step *s)
{
    const struct block_form *form = form_of_step(s);
    const struct quern_quantize *q = c->request->quantize;
    const struct model *types_of = q ? (const struct model *)q->types_of : NULL;
    const struct tensor *t = types_of ? model_find(types_of, s->name) : NULL;
    if (types_of && form && (!t || t->dtype != form->dtype))
        return false;
    if (!form || (form->dtype != DTYPE_MXFP4 && form->dtype != DTYPE_NVFP4) ||
        !str_ends(s->name, ".weight") ||
        s->dims[s->ndims - 1] % dtype_traits[form->dtype].block_elems != 0)
        return false;
    const uint64_t n = count_forms(&s->sources[0], s->ndims > 2 ? s->dims[0] : 1);
    return n == 1 || (s->ndims > 2 && n == s->dims[0]);
}

static float *read_factors(struct conversion *c, const struct source *s, uint64_t n, bool of_input)
{
    float *x = ARENA_NEW(&c->plan->arena, float, n);
    for (uint64_t i = 0; x && i < n; i++) {
        const struct block_form *f = source_block_form(s, (uint32_t)i);
        x[i] = of_input ? f->input_factor : f->factor;
    }
    return x;
}

/* Close enough to one for the converter to leave it out: of several it asks less. */
static bool all_ones(const float *x, uint64_t n)
{
    const double most = n == 1 ? 1e-6 : 1e-6 + 1e-5;
    for (uint64_t i = 0; i < n; i++)
        if (!(fabs((double)x[i] - 1.0) <= most))
            return false;
    return true;
}

/* "blk.0.attn_q.weight" has its factor in "blk.0.attn_q.scale". */
static enum quern_status add_factors(struct conversion *c, struct str weight, const char *ending,
                                     const struct source *s, uint64_t n, bool of_input,
                                     struct quern_error *err)
{
    const float *x = read_factors(c, s, n, of_input);
    const char *name = arena_printf(&c->plan->arena, "%.*s%s", (int)(weight.n - strlen(".weight")),
                                    weight.p, ending);
    if (!x || !name)
        return fail_memory(err, n * sizeof *x);
    return all_ones(x, n) ? QUERN_OK : convert_add_values(c, name, x, n, err);
}

static enum quern_status keep_step(struct conversion *c, const struct step *old, struct kept *k,
                                   struct quern_error *err)
{
    const struct source *s = &old->sources[0];
    const uint64_t n = count_forms(s, old->ndims > 2 ? old->dims[0] : 1);
    TRY(convert_add_step(c, old->name, s, &op_copy, err));
    TRY(use_blocks(c, &c->steps[c->nsteps - 1], k, err));
    TRY(add_factors(c, old->name, ".scale", s, n, false, err));
    return add_factors(c, old->name, ".input_scale", s, n, true, err);
}

/* The list anew: first what is kept, then the rest. */
static enum quern_status reorder(struct conversion *c, const struct step *old, uint32_t nold,
                                 struct kept k[DTYPE_COUNT], struct quern_error *err)
{
    for (uint32_t i = 0; i < nold; i++)
        if (can_keep(c, &old[i]))
            TRY(keep_step(c, &old[i], &k[form_of_step(&old[i])->dtype], err));
    for (uint32_t i = 0; i < nold; i++) {
        if (can_keep(c, &old[i]))
            continue;
        TRY(convert_add_step(c, old[i].name, &old[i].sources[0], old[i].op, err));
        c->steps[c->nsteps - 1] = old[i];
    }
    return QUERN_OK;
}

enum quern_status convert_keep_blocks(struct conversion *c, struct quern_error *err)
{
    struct kept k[DTYPE_COUNT] = {0};
    struct step *old = c->steps;
    const uint32_t nold = c->nsteps;
    c->kept = DTYPE_COUNT;
    if (c->quantizes && !file_type_find(str_from(c->request->type))->copies)
        return QUERN_OK;
    c->steps = NULL;
    c->nsteps = c->step_capacity = 0;
    const enum quern_status s = reorder(c, old, nold, k, err);
    free(old);
    TRY(s);
    c->kept = k[DTYPE_NVFP4].nsteps   ? DTYPE_NVFP4
              : k[DTYPE_MXFP4].nsteps ? DTYPE_MXFP4
                                      : DTYPE_COUNT;
    TRY(note_kept(c, &k[DTYPE_MXFP4], DTYPE_MXFP4, err));
    return note_kept(c, &k[DTYPE_NVFP4], DTYPE_NVFP4, err);
}

/* ---- after types were chosen ------------------------------------------------------------------
 */

static bool is_exact(const struct step *s)
{
    const struct block_form *f = form_of_step(s);
    if (!f || f->dtype != s->dtype || s->sources[0].tensor->dtype == s->dtype)
        return false; /* it has none, or they are kept already */
    for (uint32_t i = 0; (f = source_block_form(&s->sources[0], i)); i++)
        if (f->factor != 1.0f)
            return false;
    return true;
}

enum quern_status convert_keep_exact(struct conversion *c, struct quern_error *err)
{
    struct kept k[DTYPE_COUNT] = {0};
    for (uint32_t i = 0; i < c->plan->nsteps; i++) {
        struct step *s = &c->plan->steps[i];
        if (s->nsources == 1 && is_exact(s))
            TRY(use_blocks(c, s, &k[s->dtype], err));
    }
    for (unsigned d = 0; d < DTYPE_COUNT; d++)
        TRY(note_kept(c, &k[d], (enum dtype)d, err));
    return QUERN_OK;
}
