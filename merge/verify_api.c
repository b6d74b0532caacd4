/* verify_api.c - the public face of verifying. */
#include "merge/verify_plan.h"
#include "pipeline/differences.h"
#include "pipeline/error_totals.h"
#include "pipeline/verify.h"

static void take_convert(struct merge_request *r, const struct quern_convert *c)
{
    r->convert.model_name = c->model_name;
    r->convert.metadata = c->metadata;
    r->convert.pre = c->pre;
    r->convert.like = c->like;
    r->convert.map_path = c->map;
    r->convert.text_only = c->text_only;
    r->convert.base = c->base;
    r->convert.hub_cache = c->hub_cache;
}

static void take_merge(struct merge_request *r, const struct quern_merge *m)
{
    r->recipe_text = m->recipe_text;
    r->places = (struct places){
        .mappings = m->model_paths, .nmappings = m->nmodel_paths, .hub_cache = m->hub_cache};
    r->seed = m->seed;
    r->mergekit_exact = m->mergekit_exact;
    r->allow_crimes = m->allow_crimes;
    r->no_tokenizer = m->no_tokenizer;
    if (m->pre)
        r->convert.pre = m->pre;
}

enum quern_status quern_plan_verify(const char *source, const char *made,
                                    const struct quern_verify *options, struct quern_plan **out,
                                    struct quern_error *err)
{
    static const struct quern_verify none;
    const struct quern_verify *o = options ? options : &none;
    struct merge_request r = {
        .convert = {.quantize = o->quantize, .via = o->via}
    };
    struct plan *p;
    if (o->convert)
        take_convert(&r, o->convert);
    if (o->merge)
        take_merge(&r, o->merge);
    TRY(verify_plan(source, made, &r, &p, err));
    *out = (struct quern_plan *)p;
    return QUERN_OK;
}

bool quern_plan_difference(const struct quern_plan *plan, size_t i, struct quern_difference *out)
{
    const struct plan *p = (const struct plan *)plan;
    if (!p->compares || i >= p->nsteps)
        return false;
    const struct step *s = &p->steps[i];
    const struct difference *d = &p->differences[i];
    const size_t block = difference_block(s->dtype);
    const uint64_t row = s->ndims && s->dims[s->ndims - 1] ? s->dims[s->ndims - 1] : 1;
    struct error_figures f;
    error_figures(&d->errors, &f);
    *out = (struct quern_difference){.tensor = s->name.p,
                                     .type = dtype_traits[s->dtype].name,
                                     .exact = d->nblocks == 0,
                                     .nblocks = d->nblocks,
                                     .total_blocks = s->nelems / block,
                                     .block_elems = (unsigned)block,
                                     .row = d->first_elem / row,
                                     .block = d->first_elem % row / block,
                                     .element = d->first_elem % row,
                                     .has_values = step_has_errors(s),
                                     .max_error = d->errors.max_error,
                                     .max_error_at = d->errors.max_at,
                                     .relative_rmse = f.relative,
                                     .nnonfinite = d->errors.nbad[1]};
    return true;
}

static const char *why(const struct mismatch *x)
{
    return !x->there ? "missing" : !x->made ? "extra" : x->other_shape ? "shape" : "type";
}

bool quern_plan_mismatch(const struct quern_plan *plan, size_t i, struct quern_mismatch *out)
{
    const struct verification *v = ((const struct plan *)plan)->verification;
    if (!v)
        return false;
    if (i < v->ntensors) {
        *out = (struct quern_mismatch){"tensor", v->tensors[i].name.p, why(&v->tensors[i]), false};
        return true;
    }
    i -= v->ntensors;
    if (i < v->nkeys) {
        const struct key_mismatch *k = &v->keys[i];
        *out = (struct quern_mismatch){"key", k->made ? k->made->key.p : k->there->key.p,
                                       !k->there  ? "missing"
                                       : !k->made ? "extra"
                                                  : "value",
                                       k->describes};
        return true;
    }
    i -= v->nkeys;
    if (i >= v->nsides)
        return false;
    *out =
        (struct quern_mismatch){"file", v->sides[i].name, v->sides[i].what, v->sides[i].describes};
    return true;
}
