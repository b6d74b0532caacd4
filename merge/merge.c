/* merge.c - plan a merge: the recipe and its models, then steps, then the layout. */
#include "merge/merge.h"

#include <assert.h>
#include <stdio.h>

#include "core/io.h"
#include "merge/chat_template.h"
#include "merge/experts.h"
#include "merge/fuse.h"
#include "merge/heads.h"
#include "merge/hidden.h"
#include "merge/moe.h"
#include "merge/open_view.h"
#include "merge/stages.h"
#include "merge/to_gguf.h"
#include "pipeline/carry.h"

/* ---- models ---------------------------------------------------------------------- */

/* Names the methods that can. */
static enum quern_status fail_inexact(const struct recipe *r, struct quern_error *err)
{
    char can[256];
    size_t n = 0;
    for (size_t i = 0; method_at(i) && n < sizeof can; i++)
        if (method_at(i)->exact)
            n += (size_t)snprintf(can + n, sizeof can - n, "%s%s", n ? ", " : "",
                                  method_at(i)->name);
    return fail(err, QUERN_EUNSUPPORTED, "mergekit-exact",
                "method '%s' cannot round as mergekit does" WANT "expected one of %s",
                r->method->name, can);
}

/* What can be read in a recipe and cannot be followed. */
static enum quern_status check_supported(const struct planner *pl, struct quern_error *err)
{
    const struct recipe *r = &pl->recipe;
    for (unsigned i = 0; i < r->nmodels; i++)
        if (r->models[i].ref.override_architecture.n)
            return in_file(err, r->path,
                           fail(err, QUERN_EUNSUPPORTED, "recipe",
                                "'%s': 'override_architecture' is not supported",
                                ref_name(&r->models[i].ref).text));
    if (pl->req->mergekit_exact && !r->method->exact)
        return in_file(err, r->path, fail_inexact(r, err));
    return QUERN_OK;
}

/* A model that is nowhere, in a recipe of several stages: did its name mean one of them? */
static enum quern_status no_such_model(struct planner *pl, struct str name,
                                       enum quern_status status, struct quern_error *err)
{
    const char *names[MAX_STAGES];
    size_t n = 0;
    for (uint32_t k = 0; k < pl->stages->count && status == QUERN_EIO; k++) {
        const struct str stage = pl->stages->items[k].recipe.name;
        if (stage.n > 0 && (names[n] = arena_str(&pl->scratch, stage).p))
            n++;
    }
    const char *near = closest(name, names, n);
    if (near)
        status = fail(err, status, "not-found",
                      "'%s' is neither a model nor a stage" WANT "did you mean the stage '%s'?",
                      quoted(name).text, quoted(str_from(near)).text);
    return in_file(err, pl->recipe.path, status);
}

static enum quern_status find_model(struct planner *pl, unsigned i, struct location *at,
                                    struct quern_error *err)
{
    const struct model_ref *ref = &pl->recipe.models[i].ref;
    const enum quern_status found = locate_model(ref, &pl->req->places, &pl->plan->arena, at, err);
    pl->hub[i] = found == QUERN_OK && at->hub;
    return found == QUERN_OK ? found : no_such_model(pl, ref_text(ref), found, err);
}

static enum quern_status open_model(struct planner *pl, unsigned i, struct quern_error *err)
{
    struct planner *stage = stage_of(pl, i);
    if (stage)
        return stage_view(stage, pl, &pl->set.views[i], err);
    struct location at;
    TRY(find_model(pl, i, &at, err));
    return open_view(&at, pl->as_hf, pl->plan, &pl->scratch, &pl->set.views[i], err);
}

/* GGUF models that meet others, or whose result is no GGUF, are shown in the layout of Hugging
 * Face, all of them. What cannot be opened is an error later, in its place. */
static void choose_layout(struct stages *s, bool to_gguf)
{
    bool any_gguf = false, all_gguf = true;
    for (uint32_t i = 0; i < s->norder; i++) {
        struct planner *pl = &s->items[s->order[i]];
        for (unsigned k = 0; k < pl->recipe.nmodels; k++) {
            struct location at;
            struct model *m;
            struct quern_error err;
            if (stage_of(pl, k) || find_model(pl, k, &at, &err) != QUERN_OK ||
                open_located(&at, pl->plan, &m, &err) != QUERN_OK)
                continue;
            any_gguf |= m->format == MODEL_GGUF;
            all_gguf &= m->format == MODEL_GGUF;
        }
    }
    for (uint32_t i = 0; i < s->norder; i++)
        s->items[s->order[i]].as_hf = any_gguf && (!all_gguf || !to_gguf);
}

static enum quern_status open_models(struct planner *pl, struct quern_error *err)
{
    pl->set.count = pl->recipe.nmodels;
    pl->set.has_base = pl->recipe.base >= 0;
    pl->set.donor = pl->set.has_base ? (unsigned)pl->recipe.base : 0;
    for (unsigned i = 0; i < pl->recipe.nmodels; i++)
        TRY(open_model(pl, i, err));
    return QUERN_OK;
}

static enum quern_status align_vocabularies(struct planner *pl, struct quern_error *err)
{
    const struct vocab_job job = {.sink = pl->req->sink,
                                  .recipe = &pl->recipe,
                                  .places = &pl->req->places,
                                  .set = &pl->set,
                                  .plan = pl->plan,
                                  .scratch = &pl->scratch};
    TRY(vocab_align(&job, &pl->aligned, err));
    pl->vocabulary = pl->aligned.given ? &pl->aligned : donor_view(pl)->vocabulary;
    if (pl->aligned.given)
        pl->cut_rows = pl->aligned.nrows;
    TRY(chat_template_text(&pl->recipe, &pl->set, &pl->plan->arena, &pl->chat_template, err));
    if (!pl->chat_template.p)
        pl->chat_template = donor_view(pl)->chat_template;
    return pl->to_file ? QUERN_OK
                       : chat_template_notes(&pl->recipe, &pl->set, &pl->scratch, pl->plan, err);
}

const struct view *donor_view(const struct planner *pl)
{
    return &pl->set.views[pl->set.donor];
}

const struct model *donor_of(const struct planner *pl)
{
    const struct model *donor = donor_view(pl)->model;
    assert(donor);
    return donor;
}

/* ---- the output ------------------------------------------------------------------------------ */

static enum quern_status check_output(struct planner *pl, struct quern_error *err)
{
    const struct merge_request *req = pl->req;
    const struct str name = str_from(req->output ? req->output : "");
    if (name.n == 0)
        return fail(err, QUERN_EUSAGE, "usage", "the output name is empty");
    pl->to_gguf = str_ends(name, ".gguf");
    pl->to_file = str_ends(name, ".safetensors");
    if (req->type && !pl->to_gguf)
        return fail(err, QUERN_EUSAGE, "usage",
                    "type %s for an output that is no .gguf" WANT
                    "use out_dtype in the recipe to choose a type for safetensors",
                    quoted(str_from(req->type)).text);
    if (req->shard_bytes && (pl->to_gguf || pl->to_file))
        return fail(err, QUERN_EUSAGE, "usage",
                    "a shard size for an output of one file" WANT "expected a directory as output");
    return QUERN_OK;
}

/* A GGUF of Hugging Face models is planned as the directory that is then converted. */
static enum quern_status check_conversion(struct planner *pl, struct quern_error *err)
{
    const bool gguf = donor_of(pl)->format == MODEL_GGUF;
    assert(!gguf || pl->to_gguf);
    if (!gguf && pl->to_gguf && !donor_of(pl)->dir && !donor_view(pl)->gguf)
        return in_file(err, donor_of(pl)->path,
                       fail(err, QUERN_EUNSUPPORTED, "conversion",
                            "it is a file without config.json and tokenizer, and the output is "
                            "GGUF" WANT "expected Hugging Face directories"));
    const struct convert_request *r = &pl->req->convert;
    const char *idle = r->like         ? "--like"
                       : r->map_path   ? "--map"
                       : r->pre        ? "--pre"
                       : r->model_name ? "--model-name"
                       : r->metadata   ? "--metadata"
                       : r->text_only  ? "--text-only"
                                       : NULL;
    if (gguf && idle)
        return fail(err, QUERN_EUSAGE, "usage",
                    "%s has no meaning for GGUF models" WANT
                    "expected --override-kv, which sets any key",
                    idle);
    pl->converts = !gguf && pl->to_gguf;
    pl->to_gguf = gguf;
    return QUERN_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* From a recipe to steps. */
static enum quern_status plan_stage(struct planner *pl, struct quern_error *err)
{
    TRY(check_supported(pl, err));
    TRY(open_models(pl, err));
    TRY(check_models_alike(&pl->set, pl->req->allow_crimes, pl->plan, &pl->scratch, err));
    TRY(check_conversion(pl, err));
    TRY(match_experts(&pl->set, &pl->plan->arena, &pl->scratch, err));
    TRY(share_heads(&pl->set, &pl->plan->arena, &pl->scratch, &pl->new_head, err));
    TRY(align_vocabularies(pl, err));
    TRY(plan_steps(pl, err));
    return list_left_out(pl, err);
}

static enum quern_status lay_out_converted(struct planner *pl, struct quern_error *err)
{
    struct merge_request unwritten = *pl->req;
    const struct merge_request *req = pl->req;
    unwritten.output = unwritten_directory(req, &pl->plan->arena);
    if (!unwritten.output)
        return fail_memory(err, strlen(req->output));
    pl->req = &unwritten;
    const enum quern_status s = lay_out(pl, err);
    pl->req = req;
    return s == QUERN_OK ? follow_with_gguf(pl->plan, req, err) : s;
}

static enum quern_status check_places(const struct stages *s, const struct places *places,
                                      struct quern_error *err)
{
    const struct recipe *recipes[MAX_STAGES];
    for (uint32_t i = 0; i < s->count; i++)
        recipes[i] = &s->items[i].recipe;
    return check_mappings(places, recipes, s->count, err);
}

/* What the parameters of ops follow from, beside the models. */
static void tell_request(const struct merge_request *req, struct str text, struct plan *p)
{
    const uint64_t numbers[] = {req->seed, req->mergekit_exact, req->allow_crimes};
    plan_asked(p, text.p, text.n);
    plan_asked(p, numbers, sizeof numbers);
}

static enum quern_status build(struct stages *s, const struct merge_request *req, struct plan *p,
                               struct quern_error *err)
{
    struct planner out = {.req = req};
    struct str text;
    p->owns_models = true;
    p->force = req->force;
    p->nonfinite = NONFINITE_ERROR;
    TRY(request_text(req, &p->arena, &text, err));
    tell_request(req, text, p);
    if (is_moe_recipe(text))
        return moe_plan(req, text, p, err);
    TRY(check_output(&out, err));
    TRY(stages_load(s, req, text, p, err));
    TRY(check_places(s, &req->places, err));
    struct planner *pl = NULL;
    choose_layout(s, out.to_gguf);
    for (uint32_t i = 0; i < s->norder; i++) {
        pl = &s->items[s->order[i]];
        pl->to_gguf = out.to_gguf;
        pl->to_file = out.to_file;
        TRY(plan_stage(pl, err));
    }
    assert(pl);
    for (uint32_t i = 0; i < pl->targets.count; i++)
        TRY(in_file(err, req->recipe_path, fuse_step(&pl->steps[i], &p->arena, err)));
    p->steps = pl->steps;
    p->nsteps = pl->targets.count;
    if (pl->converts)
        return lay_out_converted(pl, err);
    TRY(lay_out(pl, err));
    return hidden_needs(p, err);
}

enum quern_status merge_plan(const struct merge_request *req, struct plan **out,
                             struct quern_error *err)
{
    struct stages stages = {0};
    struct plan *p = plan_new("merge", err);
    if (!p)
        return QUERN_EMEMORY;
    const enum quern_status status = build(&stages, req, p, err);
    stages_free(&stages);
    if (status == QUERN_OK)
        *out = p;
    else
        plan_free(p);
    return status;
}
