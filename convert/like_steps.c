/* like_steps.c - the steps in the order of a template: all of its tensors, in its shapes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "gather.h"
#include "like.h"
#include "pipeline/name_list.h"
#include "quant/codec.h"

#define NO_STEP UINT32_MAX

/* Tensors of hyper-parameters that are copied from a template have no more elements. */
#define MOST_CONSTANTS (UINT64_C(1) << 20)

struct fitting {
    struct conversion *c;
    uint32_t *step_of; /* of every tensor of the template */
    uint32_t head;     /* step of an output.weight that the template has not */
    struct name_list extra, missing;
};

/* ---- tensors of the template itself -------------------------------------------------------------
 */

static bool is_computed(const struct step *s)
{
    return source_is_fixed(&s->sources[0]);
}

/* The factors by which positions are stretched follow from hyper-parameters, as the template's do.
 */
static bool is_constant(const struct conversion *c, struct str name)
{
    for (uint32_t i = 0; c->map && i < c->map->nkept; i++)
        if (str_eq(c->map->kept[i], name))
            return true;
    return str_starts(name, "rope_f");
}

static enum quern_status read_floats(struct conversion *c, const struct tensor *t, float **out,
                                     struct quern_error *err)
{
    const enum dtype d = t->dtype;
    if (t->nelems == 0 || t->nelems > MOST_CONSTANTS || !codec_can_decode(d))
        return fail(err, QUERN_EUNSUPPORTED, "like",
                    "it has %" PRIu64 " elements of %s" WANT "expected at most %" PRIu64
                    " numbers, to be copied from the template",
                    t->nelems, dtype_traits[d].name, MOST_CONSTANTS);
    float *values = ARENA_NEW(&c->plan->arena, float, t->nelems);
    uint8_t *raw = malloc(t->nbytes);
    enum quern_status s = values && raw ? QUERN_OK : fail_memory(err, t->nbytes);
    if (s == QUERN_OK)
        s = model_pread(c->like, t->file, raw, t->nbytes, t->offset, err);
    if (s == QUERN_OK)
        codec_kernels()->decode[d](raw, values, t->nelems);
    free(raw);
    *out = values;
    return s;
}

static enum quern_status add_constant(struct conversion *c, const struct tensor *t,
                                      struct quern_error *err)
{
    float *values;
    struct source *s = ARENA_NEW(&c->plan->arena, struct source, 1);
    uint64_t *dims = ARENA_NEW(&c->plan->arena, uint64_t, t->ndims + 1u);
    const struct str name = arena_str(&c->plan->arena, t->name);
    if (!s || !dims || !name.p)
        return fail_memory(err, t->name.n);
    memcpy(dims, t->dims, t->ndims * sizeof *dims);
    TRY(read_floats(c, t, &values, err));
    plan_asked(c->plan, values, t->nelems * sizeof *values);
    TRY(fixed_source(&c->plan->arena, name, values, t->nelems, s, err));
    TRY(reshaped_source(&c->plan->arena, s, dims, t->ndims, s, err));
    return convert_add_step(c, name, s, &op_copy, err);
}

/* What config.json asks for may be something else than what the template has. */
static enum quern_status compare_computed(struct fitting *f, const struct step *s,
                                          const struct tensor *t, struct quern_error *err)
{
    struct conversion *c = f->c;
    const float *ours = s->sources[0].params;
    const uint64_t n = s->sources[0].tensor->nelems;
    float *theirs;
    if (!t)
        return plan_note(c->plan, err, "%s: config.json asks for it, %s has none and counts",
                         s->name.p, c->like->path);
    TRY(in_file(err, c->like->path, in_tensor(err, t->name, read_floats(c, t, &theirs, err))));
    if (n == t->nelems && memcmp(ours, theirs, n * sizeof *ours) == 0)
        return QUERN_OK;
    return plan_note(c->plan, err, "%s is that of %s; config.json gives another", s->name.p,
                     c->like->path);
}

/* ---- each step has its place --------------------------------------------------------------------
 */

/* The template's own head may be the embedding; this one's need not be. */
static enum quern_status take_head(struct fitting *f, uint32_t i, struct quern_error *err)
{
    struct conversion *c = f->c;
    const struct source *s = &c->steps[i].sources[0];
    bool same = false;
    if (source_ready(s))
        TRY(convert_is_embedding(c, s, &same, err));
    if (same)
        return plan_drop(c->plan, s->tensor->name,
                         "it is the token embedding again, and the template has no head", err);
    f->head = i;
    return plan_note(c->plan, err,
                     "output.weight is written, for it differs from the token embedding; %s has "
                     "none",
                     c->like->path);
}

static enum quern_status place_step(struct fitting *f, uint32_t i, struct quern_error *err)
{
    struct conversion *c = f->c;
    const struct step *s = &c->steps[i];
    const struct tensor *t = model_find(c->like, s->name);
    if (is_computed(s))
        return compare_computed(f, s, t, err);
    if (!t && str_is(s->name, "output.weight"))
        return take_head(f, i, err);
    if (!t) {
        name_list_add(&f->extra, s->name);
        return QUERN_OK;
    }
    const size_t k = (size_t)(t - c->like->tensors);
    if (f->step_of[k] != NO_STEP)
        return in_source(err, &s->sources[0],
                         fail(err, QUERN_EUSAGE, "like",
                              "it becomes '%s', as '%s' does" WANT "expected one for each",
                              quoted(s->name).text,
                              quoted(c->steps[f->step_of[k]].sources[0].tensor->name).text));
    f->step_of[k] = i;
    return QUERN_OK;
}

/* A model without a head uses the embedding, as llama.cpp does. */
static bool is_tied(const struct conversion *c)
{
    bool tied = false;
    return hf_bool(&c->config, "tie_word_embeddings", &tied) && tied;
}

static enum quern_status fill_gap(struct fitting *f, uint32_t k, struct quern_error *err)
{
    struct conversion *c = f->c;
    const struct tensor *t = &c->like->tensors[k];
    if (is_constant(c, t->name)) {
        f->step_of[k] = c->nsteps;
        return in_file(err, c->like->path, in_tensor(err, t->name, add_constant(c, t, err)));
    }
    if (str_is(t->name, "output.weight") && is_tied(c))
        return plan_note(c->plan, err,
                         "output.weight is left out: config.json ties it to the token embedding");
    name_list_add(&f->missing, t->name);
    return QUERN_OK;
}

static enum quern_status check_names(const struct fitting *f, struct quern_error *err)
{
    const char *path = f->c->like->path;
    if (f->extra.count)
        return fail(err, QUERN_EUSAGE, "like",
                    "%" PRIu32 " tensor%s not in %s: %s" WANT
                    "expected the tensors of that model, all of them and no others",
                    f->extra.count, f->extra.count == 1 ? " is" : "s are", path, f->extra.text);
    if (f->missing.count)
        return fail(err, QUERN_EUSAGE, "like",
                    "nothing becomes %" PRIu32 " tensor%s of %s: %s" WANT
                    "expected the tensors of that model, all of them and no others",
                    f->missing.count, plural(f->missing.count), path, f->missing.text);
    return QUERN_OK;
}

/* ---- shapes -------------------------------------------------------------------------------------
 */

static void shape_words(const uint64_t *dims, unsigned ndims, char *buf, size_t n)
{
    size_t used = (size_t)snprintf(buf, n, "%s", ndims ? "" : "1");
    for (unsigned d = 0; d < ndims && used + 24 < n; d++)
        used += (size_t)snprintf(buf + used, n - used, "%s%" PRIu64, d ? "x" : "", dims[d]);
}

bool like_same_shape(const struct step *s, const struct tensor *t)
{
    return dims_alike(s->dims, s->ndims, t->dims, t->ndims);
}

static bool is_vocabulary(const struct step *s, const struct tensor *t)
{
    return (str_is(t->name, "token_embd.weight") || str_is(t->name, "output.weight")) &&
           s->ndims == 2 && t->ndims == 2 && s->dims[1] == t->dims[1];
}

static enum quern_status check_shape(const struct conversion *c, const struct step *s,
                                     const struct tensor *t, struct quern_error *err)
{
    char ours[160], theirs[160];
    if (like_same_shape(s, t))
        return QUERN_OK;
    if (is_vocabulary(s, t))
        return fail(err, QUERN_EUSAGE, "vocabulary",
                    "it has %" PRIu64 " rows, '%s' of %s %" PRIu64 WANT
                    "expected the same vocabulary: rows are neither cut nor added",
                    s->dims[0], quoted(t->name).text, c->like->path, t->dims[0]);
    shape_words(s->dims, s->ndims, ours, sizeof ours);
    shape_words(t->dims, t->ndims, theirs, sizeof theirs);
    return fail(err, QUERN_EUSAGE, "shape",
                "it gives '%s' the shape %s" WANT "expected %s, as in %s", quoted(t->name).text,
                ours, theirs, c->like->path);
}

/* ---- all together ------------------------------------------------------------------------------
 */

static enum quern_status reorder(struct fitting *f, struct quern_error *err)
{
    struct conversion *c = f->c;
    const uint32_t capacity = c->like->ntensors + 2;
    struct step *ordered = calloc(capacity, sizeof *ordered);
    uint32_t n = 0;
    if (!ordered)
        return fail_memory(err, capacity * sizeof *ordered);
    for (uint32_t k = 0; k < c->like->ntensors; k++)
        if (f->step_of[k] != NO_STEP)
            ordered[n++] = c->steps[f->step_of[k]];
    if (f->head != NO_STEP)
        ordered[n++] = c->steps[f->head];
    free(c->steps);
    c->steps = ordered;
    c->nsteps = n;
    c->step_capacity = capacity;
    return QUERN_OK;
}

static enum quern_status fit(struct fitting *f, struct quern_error *err)
{
    struct conversion *c = f->c;
    const uint32_t n = c->nsteps;
    for (uint32_t i = 0; i < n; i++)
        TRY(place_step(f, i, err));
    for (uint32_t k = 0; k < c->like->ntensors; k++)
        if (f->step_of[k] == NO_STEP)
            TRY(fill_gap(f, k, err));
    TRY(check_names(f, err));
    for (uint32_t k = 0; k < c->like->ntensors; k++) {
        const uint32_t i = f->step_of[k];
        if (i < n)
            TRY(in_source(err, &c->steps[i].sources[0],
                          check_shape(c, &c->steps[i], &c->like->tensors[k], err)));
    }
    return reorder(f, err);
}

enum quern_status like_steps(struct conversion *c, struct quern_error *err)
{
    struct fitting f = {.c = c, .head = NO_STEP};
    f.step_of = malloc((c->like->ntensors + (size_t)1) * sizeof *f.step_of);
    if (!f.step_of)
        return fail_memory(err, c->like->ntensors * sizeof *f.step_of);
    memset(f.step_of, 0xff, (c->like->ntensors + (size_t)1) * sizeof *f.step_of); /* NO_STEP */
    const enum quern_status s = fit(&f, err);
    free(f.step_of);
    return s;
}
