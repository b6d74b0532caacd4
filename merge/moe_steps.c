/* moe_steps.c - the tensors of a mixture: all but the MLPs from the base, MLPs from the experts,
 * routers made new. */
#include <stdlib.h>

#include "core/philox.h"
#include "merge/moe.h"

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
    if (!s || s->tensor->ndims != like->ndims || !is_weights(s->tensor) ||
        memcmp(s->tensor->dims, like->dims, like->ndims * sizeof *like->dims) != 0)
        return in_file(err, view->model->path,
                       in_tensor(err, like->name,
                                 fail(err, QUERN_EUSAGE, "shape",
                                      s ? "its type or shape is not that of the base's"
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
    if (!str_is(suffix, ".weight") || t->ndims != 2 || !is_weights(t))
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

/* For a dry run: what a step's tensor is made from. */
static const char *explain(const struct moe_planner *pl, const struct step *s)
{
    static const char *const modes[] = {[GATE_RANDOM] = "random numbers, normal",
                                        [GATE_UNIFORM] = "random numbers, uniform",
                                        [GATE_EMBEDDING] = "the embeddings of the prompts"};
    const struct source *from = s->sources;
    struct arena *arena = &pl->plan->arena;
    if (from->kind == &source_gate)
        return modes[pl->recipe.gate];
    if (from->kind == &source_zeros)
        return "zeros";
    const char *path = arena_printf(arena, "%s", quoted(str_from(from->model->path)).text);
    const struct expert_change *c = s->op == &op_expert ? s->params : NULL;
    const bool renamed = !str_eq(from->tensor->name, s->name);
    if (!path || !c)
        return path && renamed
                   ? arena_printf(arena, "%s (%s)", path, quoted(from->tensor->name).text)
                   : path;
    return arena_printf(arena, "%s (%s), noise %g, times %g", path, quoted(from->tensor->name).text,
                        c->noise, c->scale);
}

/* What an expert has in its MLP and the base has not would be lost. */
static enum quern_status check_surplus(const struct moe_planner *pl, const struct moe_expert *e,
                                       struct quern_error *err)
{
    const struct view *base = &pl->set.views[0], *view = &pl->set.views[e->model];
    for (uint32_t i = 0; i < view->count; i++) {
        const struct str name = view->sources[i].tensor->name;
        struct str number, rest, suffix;
        if (!in_layer(name, &number, &rest) || mlp_part(rest, &suffix) < 0 || view_find(base, name))
            continue;
        return in_source(err, &view->sources[i],
                         fail(err, QUERN_EUSAGE, "surplus",
                              "the base '%s' has no such tensor" WANT
                              "expected experts with the layers of the base",
                              quoted(str_from(base->model->path)).text));
    }
    return QUERN_OK;
}

enum quern_status moe_steps(struct moe_planner *pl, struct quern_error *err)
{
    const struct view *base = &pl->set.views[0];
    for (unsigned i = 0; i < pl->recipe.nexperts; i++)
        TRY(check_surplus(pl, &pl->recipe.experts[i], err));
    for (unsigned i = 0; i < pl->recipe.nshared; i++)
        TRY(check_surplus(pl, &pl->recipe.shared[i], err));
    for (uint32_t i = 0; i < base->count; i++)
        TRY(add_tensor(pl, &base->sources[i], err));
    struct plan *p = pl->plan;
    bool routed = false;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        struct step *s = &p->steps[i];
        routed |= s->sources[0].kind == &source_gate;
        if (pl->req->explain && !(s->detail = explain(pl, s)))
            return fail_memory(err, s->name.n);
    }
    if (!routed)
        return in_file(err, base->model->path,
                       fail(err, QUERN_EUNSUPPORTED, "mixture",
                            "it has no model.layers.N.mlp.gate_proj.weight" WANT
                            "expected a dense language model"));
    qsort(p->steps, p->nsteps, sizeof *p->steps, by_name);
    return QUERN_OK;
}
