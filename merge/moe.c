/* moe.c - plan a mixture: all but the MLPs from the base, MLPs from the experts, routers made new.
 */
#include "merge/moe.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/io.h"
#include "core/json.h"
#include "core/philox.h"
#include "merge/pairing.h"
#include "pipeline/carry.h"

#define DEFAULT_SHARD UINT64_C(5000000000)

struct moe_planner {
    const struct merge_request *req;
    struct moe_recipe recipe;
    struct plan *plan;
    struct arena scratch; /* what only planning needs */
    struct model_set set; /* the models of the recipe, the base first */
    const struct moe_arch *arch;
    struct gate gate, shared_gate; /* what all routers have in common */
    uint64_t width;                /* of the residual stream */
    uint32_t capacity;             /* of plan->steps */
    bool to_file;
};

/* ---- models ---------------------------------------------------------------------------------- */

static enum quern_status open_model(struct moe_planner *pl, unsigned i, struct quern_error *err)
{
    struct location at;
    const struct model_ref *ref = &pl->recipe.r.models[i].ref;
    TRY(in_file(err, pl->recipe.r.path,
                locate_model(ref, &pl->req->places, &pl->plan->arena, &at, err)));
    if (at.lora)
        return in_file(err, pl->recipe.r.path,
                       fail(err, QUERN_EUNSUPPORTED, "lora",
                            "'%s': an adapter in the recipe of a mixture" WANT
                            "merge it into its model first",
                            ref_name(ref).text));
    struct model *m;
    TRY(model_open(at.path, &m, err));
    const enum quern_status status = plan_add_model(pl->plan, m, err);
    if (status != QUERN_OK) {
        model_close(m);
        return status;
    }
    for (uint32_t k = 0; k < m->nnotes; k++)
        TRY(plan_note(pl->plan, err, "%s: %s", quoted(str_from(at.path)).text, m->notes[k]));
    if (m->format == MODEL_GGUF || !m->dir)
        return in_file(err, at.path,
                       fail(err, QUERN_EUNSUPPORTED, "mixture",
                            "a mixture is built from directories with config.json" WANT
                            "expected a Hugging Face directory"));
    return view_of_model(m, &pl->scratch, &pl->set.views[i], err);
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
    TRY(check_mappings(&pl->req->places, r, err));
    pl->set.count = r->nmodels;
    pl->set.has_base = true;
    for (unsigned i = 0; i < r->nmodels; i++)
        TRY(open_model(pl, i, err));
    TRY(check_models_alike(&pl->set, false, &pl->scratch, err));
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
    if (access(path, F_OK) != 0)
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
    if (!embedding || embedding->tensor->ndims != 2)
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

/* ---- steps ----------------------------------------------------------------------------------- */

/* The next step of the plan. */
static enum quern_status new_step(struct moe_planner *pl, const char *name, struct step **out,
                                  struct quern_error *err)
{
    struct plan *p = pl->plan;
    if (!name)
        return fail_memory(err, 1);
    if (p->nsteps == pl->capacity) {
        const uint32_t capacity = pl->capacity ? 2 * pl->capacity : 256;
        struct step *steps = ARENA_NEW(&p->arena, struct step, capacity);
        if (!steps)
            return fail_memory(err, capacity * sizeof *steps);
        if (p->nsteps)
            memcpy(steps, p->steps, p->nsteps * sizeof *steps);
        p->steps = steps;
        pl->capacity = capacity;
    }
    *out = &p->steps[p->nsteps++];
    **out = (struct step){.name = str_from(name), .round_dtype = DTYPE_COUNT, .nsources = 1};
    return QUERN_OK;
}

static enum dtype stored_type(const struct moe_planner *pl, const struct tensor *t)
{
    if (!is_weights(t))
        return t->dtype;
    if (pl->recipe.r.dtype != DTYPE_COUNT)
        return pl->recipe.r.dtype;
    return dtype_is_quantized(t->dtype) ? DTYPE_BF16 : t->dtype;
}

/* A tensor that is there already, under another name. */
static enum quern_status add_copy(struct moe_planner *pl, const char *name, const struct source *s,
                                  enum dtype dtype, struct step **out, struct quern_error *err)
{
    struct source *source = ARENA_NEW(&pl->plan->arena, struct source, 1);
    if (!source)
        return fail_memory(err, sizeof *source);
    *source = *s;
    TRY(new_step(pl, name, out, err));
    struct step *step = *out;
    step->dims = s->tensor->dims;
    step->ndims = s->tensor->ndims;
    step->dtype = (uint8_t)dtype;
    step->wide = s->tensor->dtype == DTYPE_F64;
    step->sources = source;
    step->op = &op_copy;
    return QUERN_OK;
}

/* A tensor of which the base has nothing: a matrix, or with rows 0 a vector. */
static enum quern_status add_made(struct moe_planner *pl, const char *name, uint64_t rows,
                                  uint64_t cols, const struct source_kind *kind, const void *params,
                                  enum dtype dtype, struct quern_error *err)
{
    struct arena *arena = &pl->plan->arena;
    struct tensor *t = ARENA_NEW(arena, struct tensor, 1);
    uint64_t *dims = ARENA_NEW(arena, uint64_t, 2);
    if (!t || !dims || !name)
        return fail_memory(err, sizeof *t);
    dims[0] = rows ? rows : cols;
    dims[1] = cols;
    *t = (struct tensor){.name = str_from(name),
                         .dims = dims,
                         .ndims = rows ? 2 : 1,
                         .nelems = (rows ? rows : 1) * cols,
                         .dtype = DTYPE_F32};
    t->nbytes = t->nelems * sizeof(float);
    const struct source s = {
        .model = pl->set.views[0].model, .tensor = t, .kind = kind, .params = params};
    struct step *step;
    return add_copy(pl, name, &s, dtype, &step, err);
}

/* Layer and rest of "model.layers.N.rest". */
static bool in_layer(struct str name, struct str *number, struct str *rest)
{
    static const char stack[] = "model.layers.";
    if (!str_starts(name, stack))
        return false;
    const char *p = name.p + strlen(stack);
    const char *dot = memchr(p, '.', (size_t)(name.p + name.n - p));
    if (!dot)
        return false;
    *number = (struct str){p, (size_t)(dot - p)};
    *rest = (struct str){dot + 1, (size_t)(name.p + name.n - dot - 1)};
    return true;
}

/* Index in arch->parts for "mlp.PART.weight" or ".bias", with what follows the part; else -1. */
static int mlp_part(struct str rest, struct str *suffix)
{
    static const char *const parts[] = {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"};
    for (int i = 0; i < 3; i++) {
        const size_t n = strlen(parts[i]);
        if (str_starts(rest, parts[i]) && rest.n > n && rest.p[n] == '.') {
            *suffix = (struct str){rest.p + n, rest.n - n};
            return i;
        }
    }
    return -1;
}

static enum quern_status fail_no_place(const struct moe_planner *pl, struct str name,
                                       struct quern_error *err)
{
    return in_tensor(err, name,
                     fail(err, QUERN_EUNSUPPORTED, "mixture", "%s has no place for this tensor",
                          pl->arch->name));
}

/* An expert's matrix. like: the base's. */
static enum quern_status add_expert(struct moe_planner *pl, const char *name,
                                    const struct moe_expert *e, const struct tensor *like,
                                    bool residual, struct quern_error *err)
{
    const struct view *view = &pl->set.views[e->model];
    const struct source *s = view_find(view, like->name);
    if (!s || s->tensor->ndims != like->ndims ||
        memcmp(s->tensor->dims, like->dims, like->ndims * sizeof *like->dims) != 0)
        return in_file(err, view->model->path,
                       in_tensor(err, like->name,
                                 fail(err, QUERN_EUSAGE, "shape",
                                      s ? "its shape is not that of the base's"
                                        : "it is missing" WANT "expected a model like the base")));
    struct step *step;
    TRY(add_copy(pl, name, s, stored_type(pl, like), &step, err));
    const double scale = residual ? e->scale : 1;
    if (e->noise == 0 && scale == 1)
        return QUERN_OK;
    struct expert_change *c = ARENA_NEW(&pl->plan->arena, struct expert_change, 1);
    if (!c)
        return fail_memory(err, sizeof *c);
    *c = (struct expert_change){.noise = e->noise,
                                .scale = scale,
                                .seed = pl->req->seed,
                                .name_hash = fnv1a_64(str_from(name))};
    step->op = &op_expert;
    step->params = c;
    return QUERN_OK;
}

/* The router of a layer; for the shared expert when shared. */
static enum quern_status add_gate(struct moe_planner *pl, struct str layer, bool shared,
                                  enum dtype dtype, struct quern_error *err)
{
    struct arena *arena = &pl->plan->arena;
    const char *name = arena_printf(arena, "model.layers.%.*s.%s", STR_ARG(layer),
                                    shared ? pl->arch->shared_gate : pl->arch->gate);
    struct gate *g = ARENA_NEW(arena, struct gate, 1);
    if (!name || !g)
        return fail_memory(err, sizeof *g);
    *g = shared ? pl->shared_gate : pl->gate;
    g->name_hash = fnv1a_64(str_from(name));
    return add_made(pl, name, shared ? pl->recipe.nshared : pl->recipe.nexperts, pl->width,
                    &source_gate, g, dtype, err);
}

/* One matrix of a layer's MLP: that of every expert. */
static enum quern_status add_mlp(struct moe_planner *pl, const struct tensor *t, struct str layer,
                                 int part, struct str suffix, struct quern_error *err)
{
    const struct moe_arch *a = pl->arch;
    const struct moe_recipe *m = &pl->recipe;
    struct arena *arena = &pl->plan->arena;
    if (!str_is(suffix, ".weight") || t->ndims != 2)
        return fail_no_place(pl, t->name, err);
    for (unsigned i = 0; i < m->nexperts; i++)
        TRY(add_expert(pl,
                       arena_printf(arena, "model.layers.%.*s.%s%u.%s.weight", STR_ARG(layer),
                                    a->expert, i, a->parts[part]),
                       &m->experts[i], t, part == 2, err));
    for (unsigned i = 0; i < m->nshared; i++)
        TRY(add_expert(pl,
                       arena_printf(arena, "model.layers.%.*s.%s%s.weight", STR_ARG(layer),
                                    a->shared, a->parts[part]),
                       &m->shared[i], t, part == 2, err));
    if (part != 0)
        return QUERN_OK;
    TRY(add_gate(pl, layer, false, stored_type(pl, t), err));
    return m->nshared && a->shared_gate ? add_gate(pl, layer, true, stored_type(pl, t), err)
                                        : QUERN_OK;
}

/* Zeros for a bias that the base has not. t: its weights. */
static enum quern_status add_bias(struct moe_planner *pl, const struct tensor *t,
                                  struct quern_error *err)
{
    const struct str stem = {t->name.p, t->name.n - strlen("weight")};
    const char *name = arena_printf(&pl->plan->arena, "%.*sbias", STR_ARG(stem));
    if (!name)
        return fail_memory(err, t->name.n);
    if (view_find(&pl->set.views[0], str_from(name)))
        return QUERN_OK;
    return add_made(pl, name, 0, t->dims[0], &source_zeros, NULL, stored_type(pl, t), err);
}

static bool ends_attention(struct str rest)
{
    return str_is(rest, "self_attn.q_proj.weight") || str_is(rest, "self_attn.k_proj.weight") ||
           str_is(rest, "self_attn.v_proj.weight");
}

/* A tensor of the base. */
static enum quern_status add_tensor(struct moe_planner *pl, const struct source *s,
                                    struct quern_error *err)
{
    const struct tensor *t = s->tensor;
    struct str layer, rest = {NULL, 0}, suffix;
    const bool layered = in_layer(t->name, &layer, &rest);
    const int part = layered ? mlp_part(rest, &suffix) : -1;
    if (part >= 0)
        return add_mlp(pl, t, layer, part, suffix, err);
    if (str_ends(t->name, "rotary_emb.inv_freq"))
        return plan_drop(pl->plan, t->name, "made anew from config.json when the model is loaded",
                         err);
    const bool bias = str_ends(t->name, ".bias");
    if (layered && (str_starts(rest, "mlp.") || (bias && !pl->arch->attention_bias)))
        return fail_no_place(pl, t->name, err);
    struct step *step;
    TRY(add_copy(pl, t->name.p, s, stored_type(pl, t), &step, err));
    if (pl->arch->attention_bias && ends_attention(rest) && t->ndims == 2)
        return add_bias(pl, t, err);
    return QUERN_OK;
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct step *)a)->name, ((const struct step *)b)->name);
}

static enum quern_status plan_steps(struct moe_planner *pl, struct quern_error *err)
{
    const struct view *base = &pl->set.views[0];
    for (uint32_t i = 0; i < base->count; i++)
        TRY(add_tensor(pl, &base->sources[i], err));
    struct plan *p = pl->plan;
    bool routed = false;
    for (uint32_t i = 0; i < p->nsteps; i++)
        routed |= p->steps[i].sources[0].kind == &source_gate;
    if (!routed)
        return in_file(err, base->model->path,
                       fail(err, QUERN_EUNSUPPORTED, "mixture",
                            "it has no model.layers.N.mlp.gate_proj.weight" WANT
                            "expected a dense language model"));
    qsort(p->steps, p->nsteps, sizeof *p->steps, by_name);
    return QUERN_OK;
}

/* ---- output ---------------------------------------------------------------------------------- */

static enum quern_status check_output(struct moe_planner *pl, struct quern_error *err)
{
    const struct merge_request *req = pl->req;
    const struct str name = str_from(req->output ? req->output : "");
    if (name.n == 0)
        return fail(err, QUERN_EUSAGE, "usage", "the output name is empty");
    if (str_ends(name, ".gguf") || req->type)
        return fail(err, QUERN_EUNSUPPORTED, "conversion",
                    "a mixture as GGUF" WANT "build it as a directory and convert that");
    pl->to_file = str_ends(name, ".safetensors");
    if (pl->to_file && req->shard_bytes)
        return fail(err, QUERN_EUSAGE, "usage",
                    "a shard size for an output of one file" WANT "expected a directory as output");
    return QUERN_OK;
}

static enum quern_status lay_out(struct moe_planner *pl, struct quern_error *err)
{
    struct plan *p = pl->plan;
    const struct model *base = pl->set.views[0].model;
    const uint64_t asked = pl->req->shard_bytes;
    const uint64_t shard = asked == 0 ? DEFAULT_SHARD : asked == UINT64_MAX ? 0 : asked;
    if (pl->to_file)
        return layout_safetensors(p, pl->req->output, base->metas, base->nmetas, err);
    struct str config;
    TRY(read_config(base->dir, &pl->scratch, &config, err));
    TRY(in_file(err, base->path,
                moe_config(pl->arch, &pl->recipe, config, &pl->scratch, &config, err)));
    TRY(config_with_dtype(&pl->scratch, config, pl->recipe.r.dtype, &config, err));
    TRY(plan_carry_over(p, base->dir, &config, err));
    if (pl->req->no_tokenizer)
        plan_leave_tokenizer(p);
    if (!pl->req->no_model_card)
        TRY(plan_add_side_text(p, "mergekit_moe_config.yml", pl->recipe.r.text, err));
    return layout_directory(p, pl->req->output, base->metas, base->nmetas, shard, err);
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
    TRY(plan_note(p, err, "the mixture is a %s: %u experts, %" PRIu64 " for each token",
                  pl->arch->name, pl->recipe.nexperts, pl->recipe.per_token));
    TRY(prepare_gates(pl, err));
    TRY(plan_steps(pl, err));
    return lay_out(pl, err);
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
