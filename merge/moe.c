/* moe.c - plan a mixture: all but the MLPs from the base, MLPs from the experts, routers made new.
 */
#include "merge/moe.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/io.h"
#include "core/json.h"
#include "merge/chat_template.h"
#include "merge/open_view.h"
#include "merge/pairing.h"
#include "merge/to_gguf.h"
#include "pipeline/carry.h"

/* ---- models ---------------------------------------------------------------------------------- */

static enum quern_status open_model(struct moe_planner *pl, unsigned i, struct quern_error *err)
{
    struct location at;
    const struct model_ref *ref = &pl->recipe.r.models[i].ref;
    TRY(in_file(err, pl->recipe.r.path,
                locate_model(ref, &pl->req->places, &pl->plan->arena, &at, err)));
    struct view *v = &pl->set.views[i];
    TRY(open_view(&at, false, pl->plan, &pl->scratch, v, err));
    if (v->model->format != MODEL_GGUF && v->model->dir)
        return QUERN_OK;
    return in_file(err, at.path,
                   fail(err, QUERN_EUNSUPPORTED, "mixture",
                        "a mixture is built from directories with config.json" WANT
                        "expected a Hugging Face directory"));
}

static enum quern_status model_type_of(struct moe_planner *pl, const struct model *m,
                                       struct str *type, struct quern_error *err)
{
    struct str text;
    struct json *root;
    const char *path = path_join(&pl->scratch, m->dir, "config.json");
    if (!path)
        return fail_memory(err, strlen(m->dir));
    TRY(read_small_file(path, JSON_MAX_BYTES, &pl->scratch, &text, err));
    TRY(in_file(err, path, json_parse(text, &root, err)));
    const bool there = json_text(json_get(root, "model_type"), type);
    *type = there ? arena_str(&pl->scratch, *type) : *type;
    json_free(root);
    if (!there)
        return in_file(err, path, fail(err, QUERN_EFORMAT, "config", "it has no model_type"));
    return type->p ? QUERN_OK : fail_memory(err, 1);
}

static enum quern_status open_models(struct moe_planner *pl, struct quern_error *err)
{
    const struct recipe *r = &pl->recipe.r;
    struct str base = {NULL, 0}, other;
    TRY(check_mappings(&pl->req->places, &r, 1, err));
    pl->set.count = r->nmodels;
    pl->set.has_base = true;
    for (unsigned i = 0; i < r->nmodels; i++)
        TRY(open_model(pl, i, err));
    TRY(model_type_of(pl, pl->set.views[0].model, &base, err));
    for (unsigned i = 1; i < r->nmodels; i++) {
        const struct model *m = pl->set.views[i].model;
        TRY(model_type_of(pl, m, &other, err));
        if (!str_eq(base, other))
            return in_file(err, m->path,
                           fail(err, QUERN_EUSAGE, "architecture",
                                "its model_type is '%s'" WANT "expected '%s' as in the base",
                                quoted(other).text, quoted(base).text));
    }
    TRY(check_models_alike(&pl->set, false, pl->plan, &pl->scratch, err));
    return in_file(err, r->path, moe_arch_choose(&pl->recipe, base, &pl->arch, err));
}

/* ---- prompts --------------------------------------------------------------------------------- */

/* What begins a text: the tokenizer's word for it, or nothing. */
static enum quern_status first_token(struct moe_planner *pl, const char *dir, struct str *out,
                                     struct quern_error *err)
{
    struct str text;
    struct json *root;
    *out = STR("");
    const char *path = path_join(&pl->scratch, dir, "tokenizer_config.json");
    if (!path)
        return fail_memory(err, strlen(dir));
    if (!path_exists(path))
        return QUERN_OK;
    TRY(read_small_file(path, JSON_MAX_BYTES, &pl->scratch, &text, err));
    TRY(in_file(err, path, json_parse(text, &root, err)));
    const struct json *bos = json_get(root, "bos_token");
    struct str class_name = {NULL, 0}, word = {NULL, 0};
    json_text(json_get(root, "tokenizer_class"), &class_name);
    if (json_text(json_is_object(bos) ? json_get(bos, "content") : bos, &word))
        *out = arena_str(&pl->scratch, word);
    else if (!bos && str_starts(class_name, "LlamaTokenizer"))
        *out = STR("<s>");
    json_free(root);
    return out->p ? QUERN_OK : fail_memory(err, word.n);
}

static enum quern_status encode_all(struct moe_planner *pl, struct prompt_encoder *e,
                                    struct str begin, const struct prompts *prompts,
                                    struct token_list *out, struct quern_error *err)
{
    const uint64_t rows = pl->gate.embedding.tensor->dims[0];
    for (uint32_t i = 0; i < prompts->count; i++) {
        const char *text =
            arena_printf(&pl->scratch, "%.*s%.*s", STR_ARG(begin), STR_ARG(prompts->items[i]));
        if (!text)
            return fail_memory(err, prompts->items[i].n);
        TRY(prompt_encode(e, str_from(text), &pl->plan->arena, out, err));
    }
    for (uint32_t i = 0; i < out->count; i++)
        if (out->ids[i] >= rows)
            return fail(err, QUERN_EFORMAT, "token",
                        "token %" PRIu32 " of a prompt is beyond the %" PRIu64
                        " rows of the embedding",
                        out->ids[i], rows);
    return QUERN_OK;
}

/* Texts of which the tokenizer knows nothing say nothing, and would make a row of zeros. */
static enum quern_status check_tokens(const struct prompts *prompts, const struct token_list *found,
                                      struct quern_error *err)
{
    if (prompts->count == 0 || found->count > 0)
        return QUERN_OK;
    return fail(err, QUERN_EUSAGE, "token", "no part of the prompt '%s' is in its vocabulary",
                quoted(prompts->items[0]).text);
}

static enum quern_status encode_experts(struct moe_planner *pl, struct prompt_encoder *e,
                                        struct str begin, const struct moe_expert *experts,
                                        unsigned n, const struct gate_prompts **out,
                                        struct quern_error *err)
{
    struct gate_prompts *lists = ARENA_NEW(&pl->plan->arena, struct gate_prompts, n + 1);
    if (!lists)
        return fail_memory(err, n * sizeof *lists);
    for (unsigned i = 0; i < n; i++) {
        TRY(encode_all(pl, e, begin, &experts[i].positive, &lists[i].positive, err));
        TRY(encode_all(pl, e, begin, &experts[i].negative, &lists[i].negative, err));
        TRY(check_tokens(&experts[i].positive, &lists[i].positive, err));
        TRY(check_tokens(&experts[i].negative, &lists[i].negative, err));
    }
    *out = lists;
    return QUERN_OK;
}

/* What the routers are made from. */
static enum quern_status prepare_gates(struct moe_planner *pl, struct quern_error *err)
{
    const struct moe_recipe *m = &pl->recipe;
    const struct model *base = pl->set.views[0].model;
    const struct source *embedding = view_find(&pl->set.views[0], STR("model.embed_tokens.weight"));
    if (!embedding || embedding->tensor->ndims != 2 || !is_weights(embedding->tensor))
        return in_file(err, base->path,
                       fail(err, QUERN_EUNSUPPORTED, "mixture",
                            "it has no matrix model.embed_tokens.weight" WANT
                            "expected a language model of the llama, mistral or qwen kind"));
    pl->width = embedding->tensor->dims[1];
    pl->gate = (struct gate){
        .mode = m->gate, .seed = pl->req->seed, .width = pl->width, .embedding = *embedding};
    pl->shared_gate = pl->gate;
    if (m->gate != GATE_EMBEDDING)
        return QUERN_OK;
    struct prompt_encoder *e = NULL;
    struct str begin;
    const char *path = path_join(&pl->scratch, base->dir, "tokenizer.json");
    if (!path)
        return fail_memory(err, strlen(base->dir));
    TRY(first_token(pl, base->dir, &begin, err));
    enum quern_status s = prompt_open(path, &e, err);
    if (s == QUERN_OK)
        s = encode_experts(pl, e, begin, m->experts, m->nexperts, &pl->gate.prompts, err);
    if (s == QUERN_OK)
        s = encode_experts(pl, e, begin, m->shared, m->nshared, &pl->shared_gate.prompts, err);
    prompt_close(e);
    return s == QUERN_OK ? s : in_file(err, path, s);
}

/* ---- output ---------------------------------------------------------------------------------- */

static enum quern_status check_output(struct moe_planner *pl, struct quern_error *err)
{
    const struct merge_request *req = pl->req;
    const struct str name = str_from(req->output ? req->output : "");
    if (name.n == 0)
        return fail(err, QUERN_EUSAGE, "usage", "the output name is empty");
    pl->to_gguf = str_ends(name, ".gguf");
    if (req->type && !pl->to_gguf)
        return fail(err, QUERN_EUSAGE, "usage", "type %s for an output that is no .gguf",
                    quoted(str_from(req->type)).text);
    pl->to_file = str_ends(name, ".safetensors");
    if ((pl->to_file || pl->to_gguf) && req->shard_bytes)
        return fail(err, QUERN_EUSAGE, "usage",
                    "a shard size for an output of one file" WANT "expected a directory as output");
    return QUERN_OK;
}

static enum quern_status lay_out(struct moe_planner *pl, const char *output,
                                 struct quern_error *err)
{
    struct plan *p = pl->plan;
    const struct model *base = pl->set.views[0].model;
    if (pl->to_file)
        return layout_safetensors(p, output, base->metas, base->nmetas, err);
    struct str config = pl->set.views[0].config;
    TRY(in_file(err, base->path,
                moe_config(pl->arch, &pl->recipe, config, &pl->scratch, &config, err)));
    TRY(config_with_dtype(&pl->scratch, config, pl->recipe.r.dtype, &config, err));
    TRY(plan_carry_over(p, base->dir, &config, err));
    if (pl->req->no_tokenizer)
        plan_leave_tokenizer(p);
    if (!pl->req->no_model_card)
        TRY(plan_add_side_text(p, "mergekit_moe_config.yml", pl->recipe.r.text, err));
    return layout_directory(p, output, base->metas, base->nmetas, merge_shard_bytes(pl->req), err);
}

static enum quern_status build(struct moe_planner *pl, struct str text, struct quern_error *err)
{
    struct plan *p = pl->plan;
    p->owns_models = true;
    p->force = pl->req->force;
    TRY(check_output(pl, err));
    TRY(moe_recipe_parse(&pl->recipe, text, pl->req->recipe_path, pl->req->sink, err));
    for (uint32_t i = 0; i < pl->recipe.r.nnotes; i++)
        TRY(plan_note(p, err, "%s", pl->recipe.r.notes[i]));
    TRY(open_models(pl, err));
    if (!pl->to_file)
        TRY(chat_template_notes(&pl->recipe.r, &pl->set, &pl->scratch, p, err));
    TRY(plan_note(p, err, "the mixture is a %s: %u experts, %" PRIu64 " for each token",
                  pl->arch->name, pl->recipe.nexperts, pl->recipe.per_token));
    TRY(prepare_gates(pl, err));
    TRY(moe_steps(pl, err));
    if (!pl->to_gguf)
        return lay_out(pl, pl->req->output, err);
    const char *unwritten = unwritten_directory(pl->req, &p->arena);
    if (!unwritten)
        return fail_memory(err, strlen(pl->req->output));
    TRY(lay_out(pl, unwritten, err));
    return follow_with_gguf(p, pl->req, err);
}

enum quern_status moe_plan(const struct merge_request *req, struct str text, struct plan *plan,
                           struct quern_error *err)
{
    struct moe_planner pl = {.req = req, .plan = plan};
    const enum quern_status status = build(&pl, text, err);
    for (unsigned i = 0; i < MAX_SOURCES; i++)
        view_free(&pl.set.views[i]);
    arena_free(&pl.scratch);
    moe_recipe_free(&pl.recipe);
    return status;
}
