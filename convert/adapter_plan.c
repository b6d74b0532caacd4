/* adapter_plan.c - plan the way from a PEFT adapter to a GGUF one. */
#include "adapter_plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "conversion.h"
#include "formats/adapter.h"
#include "formats/hub_cache.h"
#include "formats/pack.h"
#include "low_rank.h"
#include "meta_array.h"
#include "output_name.h"
#include "pipeline/name_list.h"
#include "pipeline/retype.h"

struct adapting {
    struct conversion c;
    const struct convert_request *request;
    struct adapter adapter;
    struct hf_config card; /* of the adapter's directory: its folder and config.json, if any */
    struct folder base, own;
    struct archive *base_pack; /* that the base lies in, or NULL */
    double alpha;              /* adapter.lora.alpha */
};

/* ---- the base ---------------------------------------------------------------------------------
 */

static enum quern_status dir_of_file(struct arena *arena, const char *path, const char **dir,
                                     struct quern_error *err)
{
    const char *name = path_base(path);
    *dir = name == path ? "." : arena_printf(arena, "%.*s", (int)(name - path), path);
    return *dir ? QUERN_OK : fail_memory(err, strlen(path));
}

/* The directory, when this is one or the config.json in one; else *dir stays NULL. */
static enum quern_status base_at(struct arena *arena, const char *path, const char **dir,
                                 struct quern_error *err)
{
    *dir = NULL;
    if (!path_exists(path))
        return QUERN_OK;
    if (path_is_dir(path)) {
        *dir = path;
        return QUERN_OK;
    }
    if (strcmp(path_base(path), "config.json") != 0)
        return fail(err, QUERN_EUSAGE, "usage",
                    "the base '%s' is a file" WANT "expected a Hugging Face directory, or the "
                    "config.json of one",
                    quoted(str_from(path)).text);
    return dir_of_file(arena, path, dir, err);
}

static enum quern_status find_base(struct adapting *a, struct quern_error *err)
{
    struct arena *arena = &a->c.plan->arena;
    const struct convert_request *r = a->request;
    const struct str told = a->adapter.config.base_model;
    const struct str name = r->base ? str_from(r->base) : told;
    const char *dir = NULL;
    if (name.n == 0)
        return fail(err, QUERN_EUSAGE, "base",
                    "adapter_config.json does not name the base" WANT
                    "expected --base DIR with the base's config.json");
    if (!memchr(name.p, '\0', name.n)) {
        TRY(pack_enter(name.p, &a->base_pack, err));
        TRY(base_at(arena, name.p, &dir, err));
    }
    if (!dir && r->hub_cache && hub_is_id(name))
        TRY(hub_find(r->hub_cache, name, STR(""), arena, &dir, err));
    if (!dir)
        return fail(err, QUERN_EIO, "not-found",
                    "the base '%s' is neither a path nor in the Hugging Face cache" WANT
                    "get its configuration with: hf download %.*s config.json (or say where it is: "
                    "--base DIR)",
                    quoted(name).text, STR_ARG(name));
    a->base = (struct folder){.path = dir};
    return QUERN_OK;
}

/* ---- what GGUF can hold -----------------------------------------------------------------------
 */

static enum quern_status check_options(const struct convert_request *r, struct quern_error *err)
{
    const struct quern_quantize *q = r->quantize;
    const char *bad = r->pre                     ? "--pre"
                      : r->like                  ? "--like"
                      : r->map || r->map_path    ? "--map"
                      : r->vocab_only            ? "--vocab-only"
                      : r->split_max_bytes       ? "--split-max-size"
                      : r->split_max_tensors     ? "--split-max-tensors"
                      : r->no_tensor_first_split ? "--no-tensor-first-split"
                      : q && q->imatrix          ? "--imatrix"
                      : q && q->keep_names       ? "--keep-names"
                      : q && q->arch             ? "--arch"
                                                 : NULL;
    if (!bad && r->output && !str_ends(str_from(r->output), ".gguf"))
        return fail(err, QUERN_EUSAGE, "usage",
                    "OUTPUT '%s'" WANT "expected a name that ends in .gguf: INPUT is an adapter",
                    quoted(str_from(r->output)).text);
    if (!bad)
        return QUERN_OK;
    return fail(err, QUERN_EUSAGE, "usage",
                "%s has no meaning for an adapter" WANT "an adapter becomes one .gguf file", bad);
}

static bool is_norm(struct str name)
{
    return str_has(name, "_layernorm") || str_has(name, ".norm") || str_has(name, "_norm");
}

static enum quern_status check_part(const struct adapter_part *p, struct name_list *whole,
                                    struct quern_error *err)
{
    if (p->kind == ADAPTER_WHOLE && !is_norm(p->target))
        name_list_add(whole, p->target);
    if (p->kind == ADAPTER_BIAS)
        return fail(err, QUERN_EUNSUPPORTED, "adapter-kind",
                    "it is the bias of an adapter" WANT "GGUF adapters have no place for one");
    if (p->magnitude)
        return fail(err, QUERN_EUNSUPPORTED, "adapter-kind",
                    "it is DoRA" WANT
                    "GGUF adapters have no place for its magnitudes; quern merge can add it to its "
                    "base");
    if (p->kind == ADAPTER_PRODUCT && (p->a->ndims != 2 || p->b->ndims != 2))
        return fail(err, QUERN_EUNSUPPORTED, "adapter-target",
                    "it changes a convolution" WANT "GGUF adapters change matrices only");
    return QUERN_OK;
}

static enum quern_status check_parts(const struct adapter *a, struct quern_error *err)
{
    struct name_list whole = {0};
    for (uint32_t i = 0; i < a->nparts; i++)
        TRY(in_tensor(err, a->parts[i].a->name, check_part(&a->parts[i], &whole, err)));
    if (whole.count == 0)
        return QUERN_OK;
    return fail(err, QUERN_EUNSUPPORTED, "adapter-tensor",
                "it has %" PRIu32 " tensor%s whole: %s" WANT
                "GGUF adapters hold products of two matrices; quern merge puts it into its base",
                whole.count, plural(whole.count), whole.text);
}

/* ---- the factor -------------------------------------------------------------------------------
 */

/* llama.cpp multiplies by alpha / rank, with one alpha for all: what this one would have to be. */
static double alpha_of(const struct adapting *a, const struct adapter_part *p)
{
    return a->adapter.config.rslora ? p->alpha * sqrt((double)p->rank) : p->alpha;
}

/* The alpha that most products have; others are multiplied beforehand. */
static enum quern_status choose_alpha(struct adapting *a, struct quern_error *err)
{
    const struct adapter *x = &a->adapter;
    uint32_t most = 0;
    a->alpha = 0;
    for (uint32_t i = 0; i < x->nparts; i++) {
        uint32_t count = 0;
        if (x->parts[i].kind != ADAPTER_PRODUCT || alpha_of(a, &x->parts[i]) == a->alpha)
            continue;
        for (uint32_t k = i; k < x->nparts; k++)
            count += x->parts[k].kind == ADAPTER_PRODUCT &&
                     alpha_of(a, &x->parts[k]) == alpha_of(a, &x->parts[i]);
        if (count > most) {
            most = count;
            a->alpha = alpha_of(a, &x->parts[i]);
        }
    }
    if (most == 0 || (float)a->alpha == 0.0f || !isfinite((float)a->alpha))
        return fail(err, QUERN_EUNSUPPORTED, "adapter-config",
                    "lora_alpha is %g" WANT
                    "expected a factor other than 0, which llama.cpp takes for alpha = rank",
                    x->config.alpha);
    return QUERN_OK;
}

/* ---- inputs -----------------------------------------------------------------------------------
 */

struct input {
    const struct adapter_part *part;
    struct str first; /* the name by which it is found when names are sorted */
};

static int by_first(const void *a, const void *b)
{
    const struct input *x = a, *y = b;
    const bool xw = x->part->kind == ADAPTER_WHOLE, yw = y->part->kind == ADAPTER_WHOLE;
    return xw != yw ? yw - xw : str_cmp(x->first, y->first);
}

/* The rows of embeddings belong to tokens: there the small matrices change places. */
static enum quern_status product_of(struct adapting *a, const struct adapter_part *p,
                                    struct low_rank *out, struct quern_error *err)
{
    struct arena *arena = &a->c.plan->arena;
    struct model *m = a->adapter.model;
    *out = (struct low_rank){
        .a = {.model = m, .tensor = p->a},
        .b = {.model = m, .tensor = p->b},
        .times = alpha_of(a, p) / a->alpha,
    };
    if (!p->embedding)
        return QUERN_OK;
    const struct low_rank as_told = *out;
    struct source *from = ARENA_NEW(arena, struct source, 2);
    if (!from)
        return fail_memory(err, 2 * sizeof *from);
    from[0] = as_told.a;
    from[1] = as_told.b;
    TRY(low_rank_turn(arena, &from[1], &out->a, err));
    return low_rank_turn(arena, &from[0], &out->b, err);
}

static enum quern_status add_input(struct adapting *a, const struct adapter_part *p,
                                   struct quern_error *err)
{
    struct arena *arena = &a->c.plan->arena;
    struct source *s = ARENA_NEW(arena, struct source, 1);
    struct low_rank *product = ARENA_NEW(arena, struct low_rank, 1);
    struct tensor *named = ARENA_NEW(arena, struct tensor, 1);
    if (!s || !product || !named)
        return fail_memory(err, sizeof *product);
    a->c.inputs[a->c.ninputs++] = s;
    if (p->kind == ADAPTER_PRODUCT) {
        TRY(product_of(a, p, product, err));
        return low_rank_source(arena, p->target, product, s, err);
    }
    *named = *p->a;
    named->name = p->target;
    *s = (struct source){.model = a->adapter.model, .tensor = named};
    return QUERN_OK;
}

/* Norms first, then products, each in the order of names. */
static enum quern_status order_inputs(struct adapting *a, struct quern_error *err)
{
    const uint32_t n = a->adapter.nparts;
    struct input *all = ARENA_NEW(&a->c.plan->arena, struct input, n + 1u);
    a->c.inputs = ARENA_NEW(&a->c.plan->arena, const struct source *, n + 1u);
    if (!all || !a->c.inputs)
        return fail_memory(err, n * sizeof *all);
    for (uint32_t i = 0; i < n; i++) {
        const struct adapter_part *p = &a->adapter.parts[i];
        const bool b_first = p->b && str_cmp(p->b->name, p->a->name) < 0;
        all[i] = (struct input){p, b_first ? p->b->name : p->a->name};
    }
    qsort(all, n, sizeof *all, by_first);
    for (uint32_t i = 0; i < n; i++)
        TRY(in_tensor(err, all[i].first, add_input(a, all[i].part, err)));
    return QUERN_OK;
}

/* ---- steps ------------------------------------------------------------------------------------
 */

static void multiply(const struct piece *p, const void *const x[], void *y)
{
    const float times = (float)*(const double *)p->step->params;
    const float *from = x[0];
    float *to = y;
    for (size_t i = 0; i < p->n; i++)
        to[i] = from[i] * times;
}

static const struct op op_multiply = {.name = "times a factor", .apply = multiply};

static enum quern_status add_factor(struct adapting *a, struct str name, const char *suffix,
                                    const struct source *from, const double *times,
                                    struct quern_error *err)
{
    struct source *s = ARENA_NEW(&a->c.plan->arena, struct source, 1);
    char *full = arena_printf(&a->c.plan->arena, "%.*s%s", STR_ARG(name), suffix);
    if (!s || !full)
        return fail_memory(err, name.n);
    *s = *from;
    const bool plain = *times == 1.0;
    TRY(convert_add_step(&a->c, str_from(full), s, plain ? &op_copy : &op_multiply, err));
    a->c.steps[a->c.nsteps - 1].params = plain ? NULL : times;
    return QUERN_OK;
}

/* llama.cpp looks rows of lora_a up by token. */
static enum quern_status as_embedding(struct arena *arena, struct low_rank *x,
                                      struct quern_error *err)
{
    struct source *from = ARENA_NEW(arena, struct source, 2);
    if (!from)
        return fail_memory(err, 2 * sizeof *from);
    from[0] = x->a;
    from[1] = x->b;
    x->a = from[1];
    return low_rank_turn(arena, &from[0], &x->b, err);
}

static enum quern_status expand_step(struct adapting *a, const struct step *s,
                                     struct quern_error *err)
{
    static const double one = 1.0;
    struct arena *arena = &a->c.plan->arena;
    struct low_rank *x = ARENA_NEW(arena, struct low_rank, 1);
    const struct source *from = &s->sources[0];
    if (!x)
        return fail_memory(err, sizeof *x);
    if (!from->kind && s->ndims == 1 && str_has(s->name, "_norm")) {
        TRY(convert_add_step(&a->c, s->name, from, s->op, err));
        return plan_note(a->c.plan, err,
                         "'%s' is written, but llama.cpp does not use norms of "
                         "adapters",
                         quoted(s->name).text);
    }
    if (s->op != &op_copy)
        return in_source(err, from,
                         fail(err, QUERN_EUNSUPPORTED, "adapter-target",
                              "llama.cpp keeps other values in its place" WANT
                              "merge the adapter into its base and convert that"));
    TRY(low_rank_factors(arena, from, a->adapter.config.fan_in_fan_out, x, err));
    const bool embedding = str_is(s->name, "token_embd.weight");
    if (embedding)
        TRY(as_embedding(arena, x, err));
    TRY(add_factor(a, s->name, ".lora_a", &x->a, &one, err));
    return add_factor(a, s->name, ".lora_b", &x->b, &x->times, err);
}

/* Every tensor of the base that the adapter changes becomes two, of factors. */
static enum quern_status expand_steps(struct adapting *a, struct quern_error *err)
{
    struct step *whole = a->c.steps;
    const uint32_t n = a->c.nsteps;
    enum quern_status s = QUERN_OK;
    a->c.steps = NULL;
    a->c.nsteps = a->c.step_capacity = 0;
    for (uint32_t i = 0; i < n && s == QUERN_OK; i++)
        s = expand_step(a, &whole[i], err);
    free(whole);
    return s;
}

/* What the base loses as well when it becomes GGUF does not matter, but for the head: there the
 * embeddings take its place. */
static enum quern_status check_dropped(const struct adapting *a, struct quern_error *err)
{
    struct plan *p = a->c.plan;
    for (uint32_t i = 0; i < p->ndropped; i++)
        if (strstr(p->dropped[i], "lm_head"))
            return fail(err, QUERN_EUNSUPPORTED, "adapter-target",
                        "it changes the output head, which is the embeddings in %s" WANT
                        "expected an adapter that leaves it alone",
                        a->c.arch->name);
    if (p->ndropped == 0)
        return QUERN_OK;
    return plan_note(p, err, "%" PRIu32 " change%s left out: %s%s", p->ndropped,
                     p->ndropped == 1 ? " is" : "s are", p->dropped[0],
                     p->ndropped > 1 ? " ..." : "");
}

static enum quern_status all_steps(struct adapting *a, struct quern_error *err)
{
    struct plan *p = a->c.plan;
    TRY(order_inputs(a, err));
    TRY(convert_tensors(&a->c, err));
    TRY(check_dropped(a, err));
    TRY(expand_steps(a, err));
    TRY(convert_choose_types(&a->c, err));
    p->steps = ARENA_NEW(&p->arena, struct step, a->c.nsteps + 1u);
    if (!p->steps)
        return fail_memory(err, a->c.nsteps * sizeof *p->steps);
    memcpy(p->steps, a->c.steps, a->c.nsteps * sizeof *p->steps);
    p->nsteps = a->c.nsteps;
    return QUERN_OK;
}

/* ---- the whole --------------------------------------------------------------------------------
 */

static enum quern_status choose_type(struct adapting *a, struct quern_error *err)
{
    const char *type = a->request->type ? a->request->type : "f32";
    if (convert_is_own_type(str_from(type), &a->c.weights))
        return QUERN_OK;
    return fail(err, QUERN_EUSAGE, "usage",
                "'%s' is no type for an adapter" WANT "expected f32, f16, bf16, q8_0 or auto",
                quoted(str_from(type)).text);
}

/* -t auto: the 16-bit type of the factors, else F32. */
static void guess_type(struct adapting *a)
{
    const struct adapter *x = &a->adapter;
    for (uint32_t i = 0; a->c.weights == DTYPE_COUNT && i < x->nparts; i++) {
        const enum dtype d = x->parts[i].a->dtype;
        if (x->parts[i].kind == ADAPTER_PRODUCT && (d == DTYPE_F16 || d == DTYPE_BF16))
            a->c.weights = d;
    }
    if (a->c.weights == DTYPE_COUNT)
        a->c.weights = DTYPE_F32;
}

/* Little-endian, as GGUF has them. */
static bool put_invocation(struct adapting *a)
{
    const struct adapter_config *x = &a->adapter.config;
    uint8_t *bytes = ARENA_NEW(&a->c.plan->arena, uint8_t, 4 * (size_t)x->ninvocation + 1);
    for (uint32_t i = 0; bytes && i < 4 * x->ninvocation; i++)
        bytes[i] = (uint8_t)(x->invocation[i / 4] >> (8 * (i % 4)));
    return bytes &&
           meta_list_put_array(&a->c.keys, "adapter.alora.invocation_tokens", META_U32,
                               (struct str){(const char *)bytes, 4 * (size_t)x->ninvocation},
                               x->ninvocation);
}

static enum quern_status all_keys(struct adapting *a, struct quern_error *err)
{
    struct meta_list *l = &a->c.keys;
    if (!meta_list_put_string(l, "general.architecture", str_from(a->c.arch->name)))
        return fail_memory(err, sizeof(struct meta));
    TRY(convert_metadata(&a->c, err));
    if (!meta_list_put_f32(l, "adapter.lora.alpha", (float)a->alpha) || !put_invocation(a) ||
        !meta_list_put_u32(l, "general.quantization_version", 2))
        return fail_memory(err, sizeof(struct meta));
    return a->request->quantize ? gguf_override_keys(a->c.plan, a->request->quantize, l, err)
                                : QUERN_OK;
}

static enum quern_status lay_out(struct adapting *a, struct quern_error *err)
{
    struct plan *p = a->c.plan;
    const char *type = dtype_traits[a->c.weights].name, *output = a->request->output;
    uint64_t alignment;
    if (output) {
        TRY(output_fill_name(&p->arena, output, type, &output, err));
    } else {
        TRY(output_default_name(&p->arena, a->own.path, &a->c.keys, type, OUTPUT_ADAPTER, &output,
                                err));
        TRY(plan_note(p, err, "no OUTPUT is given: it goes to %s", quoted(str_from(output)).text));
    }
    TRY(gguf_alignment_of(&a->c.keys, &alignment, err));
    p->keep_ones = true;
    return layout_gguf(p, output, &a->c.keys, alignment, err);
}

static enum quern_status read_card(struct adapting *a, const char *path, struct quern_error *err)
{
    struct arena *arena = &a->c.plan->arena;
    const char *dir = path;
    if (!path_is_dir(path))
        TRY(dir_of_file(arena, path, &dir, err));
    a->own = (struct folder){.path = dir};
    a->card.folder = &a->own;
    TRY(hf_json_file(&a->card, "config.json", &a->card.file, err));
    a->card.root = a->card.file;
    a->c.card = &a->card;
    return QUERN_OK;
}

static enum quern_status build(struct adapting *a, const char *path, struct quern_error *err)
{
    struct plan *p = a->c.plan;
    TRY(check_options(a->request, err));
    TRY(choose_type(a, err));
    TRY(adapter_open(path, &p->arena, &a->adapter, err));
    p->owns_models = true;
    const enum quern_status added = plan_add_model(p, a->adapter.model, err);
    if (added != QUERN_OK) {
        model_close(a->adapter.model);
        return added;
    }
    TRY(check_parts(&a->adapter, err));
    TRY(choose_alpha(a, err));
    guess_type(a);
    TRY(find_base(a, err));
    TRY(convert_begin(&a->c, &a->base, err));
    TRY(read_card(a, path, err));
    TRY(all_steps(a, err));
    TRY(all_keys(a, err));
    return lay_out(a, err);
}

enum quern_status adapter_plan(const char *path, const struct convert_request *r, struct plan **out,
                               struct quern_error *err)
{
    struct plan *p = plan_new("convert", err);
    if (!p)
        return QUERN_EMEMORY;
    struct adapting a = {
        .c = {.request = r, .plan = p, .kept = DTYPE_COUNT, .adapts = true},
          .request = r
    };
    a.c.keys.arena = &p->arena;
    p->force = r->force;
    p->nonfinite = NONFINITE_ERROR;
    const enum quern_status s = plan_in_file(p, path, build(&a, path, err), err);
    free(a.c.steps);
    hf_config_close(&a.c.config);
    json_free(a.card.file);
    archive_leave(a.base_pack);
    if (s == QUERN_OK)
        *out = p;
    else
        plan_free(p);
    return s;
}
