/* merge.c - from a recipe to a plan with one step per tensor. */
#include "merge/merge.h"

#include <assert.h>
#include <stdlib.h>

#include "core/io.h"
#include "merge/card.h"
#include "merge/moe.h"
#include "merge/pairing.h"
#include "merge/params.h"
#include "pipeline/carry.h"
#include "pipeline/retype.h"
#include "quant/mix.h"

#define DEFAULT_SHARD UINT64_C(5000000000)

struct planner {
    const struct merge_request *req;
    struct recipe recipe;
    struct plan *plan;
    struct arena scratch; /* what only planning needs */
    struct model_set set;
    struct layers layers;
    bool hub[MAX_SOURCES]; /* the model's name is a hub id */
    bool to_gguf, to_file; /* output is one file: GGUF, safetensors */
};

/* ---- recipe and models ---------------------------------------------------------------------- */

static enum quern_status recipe_text(struct planner *pl, struct str *text, struct quern_error *err)
{
    const struct merge_request *req = pl->req;
    const int given = !!req->recipe_path + !!req->recipe_text + !!req->flags.method;
    if (given != 1)
        return fail(err, QUERN_EUSAGE, "usage",
                    given ? "a recipe and a method" WANT "expected one of them"
                          : "no recipe" WANT "expected a recipe or a method");
    struct arena *arena = &pl->plan->arena;
    if (req->recipe_path)
        return read_small_file(req->recipe_path, YAML_MAX_TEXT, arena, text, err);
    if (req->flags.method)
        return flags_recipe(&req->flags, arena, text, err);
    *text = str_from(req->recipe_text);
    return QUERN_OK;
}

static enum quern_status load_recipe(struct planner *pl, struct str text, struct quern_error *err)
{
    TRY(recipe_parse(&pl->recipe, text, pl->req->recipe_path, err));
    for (uint32_t i = 0; i < pl->recipe.nnotes; i++)
        TRY(plan_note(pl->plan, err, "%s", pl->recipe.notes[i]));
    return QUERN_OK;
}

/* Keys that are read and not followed yet. */
static enum quern_status check_supported(const struct planner *pl, struct quern_error *err)
{
    const struct recipe *r = &pl->recipe;
    const struct {
        const char *name;
        bool given;
    } keys[] = {
        {"tokenizer_source", r->tokenizer_source != NULL},
        {"tokenizer",        r->tokenizer != NULL       },
        {"chat_template",    r->chat_template.n > 0     },
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i].given)
            return in_file(
                err, r->path,
                fail(err, QUERN_EUNSUPPORTED, "recipe", "'%s' is not supported yet", keys[i].name));
    for (unsigned i = 0; i < r->nmodels; i++)
        if (r->models[i].ref.override_architecture.n)
            return in_file(err, r->path,
                           fail(err, QUERN_EUNSUPPORTED, "recipe",
                                "'%s': 'override_architecture' is not supported",
                                ref_name(&r->models[i].ref).text));
    if (pl->req->mergekit_exact)
        return fail(err, QUERN_EUNSUPPORTED, "mergekit-exact", "that is not supported yet");
    return QUERN_OK;
}

/* A model that is open already, under the same path. */
static struct model *opened(const struct planner *pl, const char *path)
{
    for (uint32_t i = 0; i < pl->plan->nmodels; i++)
        if (strcmp(pl->plan->models[i]->path, path) == 0)
            return pl->plan->models[i];
    return NULL;
}

static enum quern_status open_model(struct planner *pl, unsigned i, struct quern_error *err)
{
    struct location at;
    const struct model_ref *ref = &pl->recipe.models[i].ref;
    TRY(in_file(err, pl->recipe.path,
                locate_model(ref, &pl->req->places, &pl->plan->arena, &at, err)));
    pl->hub[i] = at.hub;
    if (at.lora)
        return in_file(err, pl->recipe.path,
                       fail(err, QUERN_EUNSUPPORTED, "lora",
                            "'%s': a LoRA adapter is not supported yet" WANT
                            "merge it into its model first",
                            ref_name(ref).text));
    struct model *m = opened(pl, at.path);
    if (!m) {
        TRY(model_open(at.path, &m, err));
        const enum quern_status status = plan_add_model(pl->plan, m, err);
        if (status != QUERN_OK) {
            model_close(m);
            return status;
        }
        for (uint32_t k = 0; k < m->nnotes; k++)
            TRY(plan_note(pl->plan, err, "%s: %s", quoted(str_from(at.path)).text, m->notes[k]));
    }
    return view_of_model(m, &pl->scratch, &pl->set.views[i], err);
}

static enum quern_status open_models(struct planner *pl, struct quern_error *err)
{
    TRY(check_mappings(&pl->req->places, &pl->recipe, err));
    pl->set.count = pl->recipe.nmodels;
    pl->set.has_base = pl->recipe.base >= 0;
    pl->set.donor = pl->set.has_base ? (unsigned)pl->recipe.base : 0;
    for (unsigned i = 0; i < pl->recipe.nmodels; i++)
        TRY(open_model(pl, i, err));
    return QUERN_OK;
}

/* The model that shapes, types and metadata are taken from. */
static const struct view *donor_view(const struct planner *pl)
{
    return &pl->set.views[pl->set.donor];
}

static const struct model *donor_of(const struct planner *pl)
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

static enum quern_status check_conversion(const struct planner *pl, struct quern_error *err)
{
    const bool gguf = donor_of(pl)->format == MODEL_GGUF;
    if (gguf && !pl->to_gguf)
        return fail(err, QUERN_EUNSUPPORTED, "conversion",
                    "the models are GGUF and the output is not" WANT
                    "turning GGUF back into safetensors is not supported yet; name the output "
                    "*.gguf");
    if (!gguf && pl->to_gguf)
        return fail(err, QUERN_EUNSUPPORTED, "conversion",
                    "the models are safetensors and the output is GGUF" WANT
                    "converting to GGUF is not supported yet; merge into a directory, or merge "
                    "GGUF files");
    return QUERN_OK;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* Passes the bytes on after comparing them with those of every other model. */
static enum quern_status equal_raw(const struct step *s, const uint8_t *const src[], uint8_t *dst,
                                   size_t nbytes, uint64_t at, struct quern_error *err)
{
    (void)at;
    for (unsigned k = 1; k < s->nsources; k++)
        if (memcmp(src[0], src[k], nbytes) != 0)
            return in_tensor(
                err, s->name,
                fail(err, QUERN_EUSAGE, "values",
                     "these are no weights, and their values in '%s' and '%s' differ" WANT
                     "name a base_model to take them from",
                     quoted(str_from(s->sources[0].model->path)).text,
                     quoted(str_from(s->sources[k].model->path)).text));
    memcpy(dst, src[0], nbytes);
    return QUERN_OK;
}

static const struct op op_equal = {.name = "equal", .raw = equal_raw};

/* The type that merged values are rounded to. */
static enum dtype merged_dtype(const struct planner *pl, const struct tensor *t)
{
    const enum dtype wanted = recipe_out_dtype(&pl->recipe);
    /* llama.cpp needs vectors (norms, biases) in F32. */
    if (pl->to_gguf && t->ndims < 2 && t->dtype == DTYPE_F32)
        return DTYPE_F32;
    if (wanted != DTYPE_COUNT)
        return wanted;
    return dtype_is_quantized(t->dtype) ? DTYPE_BF16 : t->dtype;
}

/* The type that mergekit computes in: the recipe's, else the one that is stored. */
static enum dtype exact_dtype(const struct planner *pl, const struct tensor *t)
{
    return pl->recipe.dtype != DTYPE_COUNT ? pl->recipe.dtype : (enum dtype)t->dtype;
}

static void plan_bytes(const struct planner *pl, struct step *s, const struct source *sources)
{
    s->dtype = sources[pl->set.donor].tensor->dtype;
    s->sources = pl->set.has_base ? &sources[pl->set.donor] : sources;
    s->nsources = (uint8_t)(pl->set.has_base ? 1 : pl->set.count);
    s->op = pl->set.has_base ? &op_copy : &op_equal;
}

static enum quern_status plan_weights(struct planner *pl, struct step *s,
                                      const struct source *sources, struct mistakes *m,
                                      struct quern_error *err)
{
    const struct recipe *r = &pl->recipe;
    const enum dtype out = merged_dtype(pl, sources[pl->set.donor].tensor);
    struct merge_values values;
    const uint32_t before = m->count;
    params_of(r, s->name, layers_position(&pl->layers, s->name), &values, m);
    struct quern_error e;
    const enum quern_status status = r->method->check(&values, r->nmodels, r->base, &e);
    if (m->count == before && status != QUERN_OK) {
        struct quern_error *slot = mistake(m);
        if (slot) {
            *slot = e;
            in_tensor(slot, s->name, status);
            in_file(slot, r->path, status);
        }
    }
    if (m->count > 0)
        return QUERN_OK;
    s->dtype = s->round_dtype = (uint8_t)out;
    s->wide = out == DTYPE_F64;
    for (unsigned k = 0; k < pl->set.count; k++)
        s->wide |= sources[k].tensor->dtype == DTYPE_F64;
    const struct merge_job job = {.values = &values,
                                  .models = sources,
                                  .nmodels = r->nmodels,
                                  .base = r->base,
                                  .exact = pl->req->mergekit_exact
                                               ? exact_dtype(pl, sources[pl->set.donor].tensor)
                                               : DTYPE_COUNT,
                                  .seed = pl->req->seed,
                                  .arena = &pl->plan->arena};
    return r->method->prepare(&job, s, err);
}

static enum quern_status plan_step(struct planner *pl, struct step *s, const struct tensor *t,
                                   struct mistakes *m, struct quern_error *err)
{
    struct source *sources = ARENA_NEW(&pl->plan->arena, struct source, pl->set.count);
    if (!sources)
        return fail_memory(err, pl->set.count * sizeof *sources);
    for (unsigned k = 0; k < pl->set.count; k++)
        sources[k] = *view_find(&pl->set.views[k], t->name);
    *s = (struct step){
        .name = t->name, .dims = t->dims, .ndims = t->ndims, .round_dtype = DTYPE_COUNT};
    if (is_weights(t))
        return plan_weights(pl, s, sources, m, err);
    plan_bytes(pl, s, sources);
    return QUERN_OK;
}

static int by_name(const void *a, const void *b)
{
    const struct tensor *const *x = a, *const *y = b;
    return str_cmp((*x)->name, (*y)->name);
}

/* The donor's tensors in the order they are written: as they lie in GGUF files, by name in
 * safetensors. */
static const struct tensor **ordered(struct planner *pl)
{
    const struct view *donor = donor_view(pl);
    const struct tensor **order = ARENA_NEW(&pl->scratch, const struct tensor *, donor->count + 1);
    for (uint32_t i = 0; order && i < donor->count; i++)
        order[i] = donor->sources[i].tensor;
    if (order && !pl->to_gguf)
        qsort(order, donor->count, sizeof order[0], by_name);
    return order;
}

static enum quern_status plan_steps(struct planner *pl, struct quern_error *err)
{
    struct plan *p = pl->plan;
    const struct view *donor = donor_view(pl);
    const struct tensor **order = ordered(pl);
    p->steps = ARENA_NEW(&p->arena, struct step, donor->count + 1);
    if (!p->steps || !order)
        return fail_memory(err, donor->count * sizeof *p->steps);
    for (uint32_t i = 0; i < donor->count; i++)
        if (!layers_add(&pl->layers, order[i]->name))
            return fail_memory(err, sizeof pl->layers);
    struct mistakes m = {0};
    check_tensors_alike(&pl->set, &m);
    TRY(mistakes_end(&m, err));
    params_unused_filters(&pl->recipe, donor, &m);
    uint32_t npassed = 0;
    for (uint32_t i = 0; i < donor->count; i++) {
        TRY(plan_step(pl, &p->steps[i], order[i], &m, err));
        npassed += !is_weights(order[i]);
    }
    TRY(mistakes_end(&m, err));
    p->nsteps = donor->count;
    if (npassed && pl->set.has_base)
        return plan_note(p, err, "%u tensor%s without weights taken from the base", npassed,
                         npassed == 1 ? "" : "s");
    return QUERN_OK;
}

/* ---- layouts --------------------------------------------------------------------------------- */

/* The keys of the donor. Types that merging changed are told in general.file_type. */
static enum quern_status keep_types(struct planner *pl, struct meta_list *metas,
                                    struct quern_error *err)
{
    uint32_t counts[DTYPE_COUNT] = {0};
    enum dtype most = DTYPE_F32;
    bool changed = false;
    for (uint32_t i = 0; i < pl->plan->nsteps; i++) {
        const struct step *s = &pl->plan->steps[i];
        changed |= view_find(donor_view(pl), s->name)->tensor->dtype != s->dtype;
        if (++counts[s->dtype] > counts[most])
            most = s->dtype;
    }
    meta_list_remove(metas, "split.no");
    meta_list_remove(metas, "split.count");
    meta_list_remove(metas, "split.tensors.count");
    if (changed && (!meta_list_set_u32(metas, "general.quantization_version", 2) ||
                    !meta_list_set_u32(metas, "general.file_type", file_type_guess(most))))
        return fail_memory(err, sizeof(struct meta));
    return QUERN_OK;
}

static enum quern_status lay_out_gguf(struct planner *pl, struct quern_error *err)
{
    const struct model *donor = donor_of(pl);
    struct meta_list metas;
    uint64_t alignment;
    if (!meta_list_copy(&metas, &pl->plan->arena, donor->metas, donor->nmetas))
        return fail_memory(err, donor->nmetas * sizeof(struct meta));
    const struct quern_quantize q = {.type = pl->req->type};
    if (q.type)
        TRY(plan_retype_gguf(pl->plan, donor, &q, &metas, err));
    else
        TRY(keep_types(pl, &metas, err));
    TRY(gguf_alignment_of(&metas, &alignment, err));
    return layout_gguf(pl->plan, pl->req->output, &metas, alignment, err);
}

static enum quern_status add_card(struct planner *pl, struct quern_error *err)
{
    struct plan *p = pl->plan;
    struct str output = str_from(pl->req->output);
    while (output.n > 1 && output.p[output.n - 1] == '/')
        output.n--;
    const char *trimmed = arena_str(&p->arena, output).p;
    if (!trimmed)
        return fail_memory(err, output.n);
    struct str card;
    TRY(model_card(&pl->recipe, pl->hub, path_base(trimmed), &p->arena, &card, err));
    TRY(plan_add_side_text(p, "README.md", card, err));
    return plan_add_side_text(p, "mergekit_config.yml", pl->recipe.text, err);
}

static enum quern_status lay_out_directory(struct planner *pl, struct quern_error *err)
{
    const struct model *donor = donor_of(pl);
    const uint64_t asked = pl->req->shard_bytes;
    const uint64_t shard = asked == 0 ? DEFAULT_SHARD : asked == UINT64_MAX ? 0 : asked;
    if (donor->dir)
        TRY(plan_carry_over(pl->plan, donor->dir, recipe_out_dtype(&pl->recipe), err));
    if (!pl->req->no_model_card)
        TRY(add_card(pl, err));
    return layout_directory(pl->plan, pl->req->output, donor->metas, donor->nmetas, shard, err);
}

static enum quern_status lay_out(struct planner *pl, struct quern_error *err)
{
    const struct model *donor = donor_of(pl);
    if (pl->to_gguf)
        return lay_out_gguf(pl, err);
    if (pl->to_file)
        return layout_safetensors(pl->plan, pl->req->output, donor->metas, donor->nmetas, err);
    return lay_out_directory(pl, err);
}

static enum quern_status build(struct planner *pl, struct quern_error *err)
{
    pl->plan->owns_models = true;
    pl->plan->force = pl->req->force;
    struct str text;
    TRY(recipe_text(pl, &text, err));
    if (is_moe_recipe(text))
        return moe_plan(pl->req, text, pl->plan, err);
    TRY(check_output(pl, err));
    TRY(load_recipe(pl, text, err));
    TRY(check_supported(pl, err));
    TRY(open_models(pl, err));
    TRY(check_models_alike(&pl->set, err));
    TRY(check_conversion(pl, err));
    TRY(plan_steps(pl, err));
    return lay_out(pl, err);
}

enum quern_status merge_plan(const struct merge_request *req, struct plan **out,
                             struct quern_error *err)
{
    struct planner pl = {.req = req, .plan = plan_new("merge", err)};
    if (!pl.plan)
        return QUERN_EMEMORY;
    const enum quern_status status = build(&pl, err);
    layers_free(&pl.layers);
    for (unsigned i = 0; i < MAX_SOURCES; i++)
        view_free(&pl.set.views[i]);
    arena_free(&pl.scratch);
    recipe_free(&pl.recipe);
    if (status == QUERN_OK)
        *out = pl.plan;
    else
        plan_free(pl.plan);
    return status;
}
