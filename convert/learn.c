/* learn.c - the stages of learning: measure, match, try, write the map. */
#include "learn.h"

#include <stdlib.h>

#include "learn_parts.h"
#include "like.h"
#include "quant/codec.h"
#include "unpack.h"

/* ---- what there is ----------------------------------------------------------------------------
 */

/* Values can be stored in it again, and come out the same. */
static bool can_be_made(enum dtype d)
{
    return d != DTYPE_F64 && codec_can_decode(d) && codec_can_encode(d) &&
           !codec_needs_importance(d) && (dtype_is_float(d) || dtype_is_quantized(d));
}

static enum quern_status list_types(struct learning *l, struct quern_error *err)
{
    struct fingerprint_ask *ask = &l->ask;
    for (uint32_t i = 0; i < l->gguf->ntensors; i++) {
        const struct tensor *t = &l->gguf->tensors[i];
        unsigned k = 0;
        while (k < ask->ntypes && ask->types[k] != t->dtype)
            k++;
        if (!can_be_made(t->dtype) || k == MOST_TYPES)
            return in_tensor(
                err, t->name,
                fail(err, QUERN_EUNSUPPORTED, "type",
                     "its type is %s" WANT
                     "expected a GGUF in F32, F16, BF16 or at most %u other types that "
                     "need no importance matrix",
                     dtype_traits[t->dtype].name, MOST_TYPES));
        if (k == ask->ntypes)
            ask->types[ask->ntypes++] = t->dtype;
        ask->nelems_of[k] += t->nelems;
        if (t->nelems > ask->largest_of[k])
            ask->largest_of[k] = t->nelems;
    }
    return QUERN_OK;
}

unsigned learn_type(const struct learning *l, uint32_t target)
{
    unsigned k = 0;
    while (k + 1 < l->ask.ntypes && l->ask.types[k] != l->gguf->tensors[target].dtype)
        k++;
    return k;
}

static enum quern_status survey_gguf(struct learning *l, struct quern_error *err)
{
    struct arena *a = &l->arena;
    struct str arch;
    if (l->gguf->format != MODEL_GGUF || l->gguf->ntensors == 0)
        return fail(err, QUERN_EUSAGE, "learn",
                    "it is no GGUF with tensors" WANT
                    "expected the GGUF that was made of the model");
    if (!meta_string(model_meta(l->gguf, "general.architecture"), &arch))
        return fail(err, QUERN_EFORMAT, "arch",
                    "it has no general.architecture" WANT "expected a GGUF of a language model");
    TRY(list_types(l, err));
    l->to = ARENA_NEW(a, struct fingerprints, l->gguf->ntensors + 1u);
    l->placed = ARENA_NEW(a, bool, l->gguf->ntensors + 1u);
    l->arch.name = arena_printf(a, "%.*s", STR_ARG(arch));
    l->map.architecture = arena_str(&l->map.arena, arch);
    if (!l->to || !l->placed || !l->arch.name || !l->map.architecture.p)
        return fail_memory(err, l->gguf->ntensors * sizeof *l->to);
    l->arch.classes = "";
    l->trial = (struct conversion){.like = l->gguf, .arch = &l->arch};
    like_numbers(&l->trial);
    TRY(view_of_model(l->gguf, a, &l->made, err));
    return name_groups_of(&l->made, a, &l->targets, err);
}

static enum quern_status survey_model(struct learning *l, struct quern_error *err)
{
    struct arena *a = &l->arena;
    struct unpacked u;
    const struct folder folder = {.path = l->hf->dir};
    if (l->hf->format != MODEL_SAFETENSORS)
        return fail(err, QUERN_EUSAGE, "learn",
                    "it is no safetensors model" WANT "expected the one the GGUF is of");
    TRY(view_of_model(l->hf, a, &l->view, err));
    if (l->hf->dir)
        TRY(unpack_view(&l->view, &folder, a, &u, err));
    l->from = ARENA_NEW(a, struct fingerprints, l->view.count + 1u);
    l->used = ARENA_NEW(a, bool, l->view.count + 1u);
    if (!l->from || !l->used)
        return fail_memory(err, l->view.count * sizeof *l->from);
    return name_groups_of(&l->view, a, &l->sources, err);
}

enum quern_status learn_new(struct model *hf, struct model *gguf, struct learning **out,
                            struct quern_error *err)
{
    struct learning *l = calloc(1, sizeof *l);
    if (!l)
        return fail_memory(err, sizeof *l);
    l->hf = hf;
    l->gguf = gguf;
    enum quern_status s = in_file(err, gguf->path, survey_gguf(l, err));
    if (s == QUERN_OK)
        s = in_file(err, hf->path, survey_model(l, err));
    if (s == QUERN_OK)
        *out = l;
    else
        learn_free(l);
    return s;
}

void learn_free(struct learning *l)
{
    if (!l)
        return;
    view_free(&l->view);
    view_free(&l->made);
    free(l->trial.steps);
    free(l->makings);
    map_free(&l->map);
    arena_free(&l->arena);
    free(l);
}

/* ---- the first plan ---------------------------------------------------------------------------
 */

static enum quern_status measuring_steps(struct learning *l, struct plan *p,
                                         struct quern_error *err)
{
    for (uint32_t i = 0; i < l->view.count; i++) {
        const struct source *source = &l->view.sources[i];
        l->from[i].tensor = source->tensor;
        if (source->kind || codec_can_decode(source->tensor->dtype))
            TRY(fingerprint_step(p, &p->steps[p->nsteps++], source, &l->ask, true, &l->from[i],
                                 err));
    }
    for (uint32_t i = 0; i < l->made.count; i++) {
        const unsigned own = learn_type(l, i);
        TRY(fingerprint_step(p, &p->steps[p->nsteps++], &l->made.sources[i], &l->ask, false,
                             &l->to[i], err));
        for (unsigned k = 0; k < l->ask.ntypes; k++)
            l->to[i].has[k] = k == own;
    }
    return QUERN_OK;
}

static enum quern_status plan_measuring(struct learning *l, struct plan *p, struct quern_error *err)
{
    p->steps = ARENA_NEW(&p->arena, struct step, l->view.count + l->gguf->ntensors + 1u);
    if (!p->steps)
        return fail_memory(err, sizeof *p->steps);
    TRY(plan_add_model(p, l->hf, err));
    TRY(plan_add_model(p, l->gguf, err));
    TRY(measuring_steps(l, p, err));
    p->held_bytes = l->arena.nbytes;
    return QUERN_OK;
}

/* ---- stages -----------------------------------------------------------------------------------
 */

enum quern_status learn_next(struct learning *l, struct plan **plan, struct quern_error *err)
{
    *plan = NULL;
    if (l->stage == 0) {
        struct plan *p = plan_new("learn", err);
        if (!p)
            return QUERN_EMEMORY;
        const enum quern_status s = plan_measuring(l, p, err);
        if (s == QUERN_OK)
            *plan = p;
        else
            plan_free(p);
        l->stage = 1;
        return s;
    }
    if (l->stage == 1) {
        l->stage = 2;
        TRY(learn_match(l, err));
        TRY(learn_plan_trials(l, plan, err));
        if (*plan)
            return QUERN_OK;
    }
    if (l->stage == 2) {
        l->stage = 3;
        TRY(learn_choose(l, err));
        return learn_write_map(l, err);
    }
    return QUERN_OK;
}

const struct tensor_map *learn_map(const struct learning *l)
{
    return &l->map;
}

const char *learn_note(const struct learning *l, uint32_t i)
{
    return i < l->nnotes ? l->notes[i] : NULL;
}
