/* relayer.c - layer counts and lists by layer, in config.json and in the keys of a GGUF. */
#include "merge/relayer.h"

#include <inttypes.h>

#include "pipeline/config_edit.h"

/* Where a layer of the output comes from. */
struct origin {
    unsigned model;
    uint64_t layer;
};

/* A list of a model's config.json that has an item for each of its layers. */
struct items {
    bool looked;
    struct str *list; /* NULL: it has no such list */
};

/* Each such list takes a copy of the text. */
#define MAX_LISTS 256u

/* The layers of a module that is made of slices. */
struct relaid {
    struct planner *pl;
    const struct module *module;
    struct str stack; /* their prefix in the donor; empty where it has none */
    struct origin *origins;
    uint64_t nlayers;
    uint64_t had[MAX_SOURCES]; /* layers of each model */
    struct str *config;
    const char *object; /* in it, whose lists are being looked at */
    uint32_t nlists;
};

static enum quern_status count_layers(struct relaid *r, unsigned model, struct quern_error *err)
{
    const struct view *v = &r->pl->set.views[model];
    struct layers layers = {0};
    bool ok = true;
    for (uint32_t i = 0; ok && i < v->count; i++)
        ok = layers_add(&layers, v->sources[i].tensor->name);
    const struct layer_stack *s = ok ? layers_of_module(&layers, r->module->name) : NULL;
    r->had[model] = s ? s->nlayers : 0;
    if (s && model == r->pl->set.donor)
        r->stack = s->prefix;
    layers_free(&layers);
    return ok ? QUERN_OK : fail_memory(err, sizeof layers);
}

static enum quern_status find_origins(struct relaid *r, struct quern_error *err)
{
    for (unsigned k = 0; k < r->pl->set.count; k++)
        TRY(count_layers(r, k, err));
    for (uint32_t i = 0; i < r->module->nslices; i++)
        r->nlayers += r->module->slices[i].sources[0].end - r->module->slices[i].sources[0].first;
    r->origins = ARENA_NEW(&r->pl->scratch, struct origin, (size_t)r->nlayers + 1);
    if (!r->origins)
        return fail_memory(err, r->nlayers * sizeof *r->origins);
    uint64_t n = 0;
    for (uint32_t i = 0; i < r->module->nslices; i++) {
        const struct slice *s = &r->module->slices[i];
        const struct slice_source *lead = &s->sources[s->base >= 0 ? s->base : 0];
        for (uint64_t layer = lead->first; layer < lead->end; layer++)
            r->origins[n++] = (struct origin){lead->model, layer};
    }
    return QUERN_OK;
}

/* ---- config.json ------------------------------------------------------------------------------
 */

/* The keys that may hold a layer count, by the kind of module; the first that is there counts, and
 * every other one with the same number. */
static const char *const text_keys[] = {"num_hidden_layers",
                                        "n_layer",
                                        "n_layers",
                                        "num_layers",
                                        "text_config.num_hidden_layers",
                                        "text_config.n_layer",
                                        "text_config.num_layers",
                                        "llm_config.num_hidden_layers",
                                        "language_config.num_hidden_layers",
                                        NULL};
static const char *const vision_keys[] = {"vision_config.num_hidden_layers", "vision_config.depth",
                                          "vision_config.num_layers", "vision_config.n_layer",
                                          NULL};
static const char *const encoder_keys[] = {"encoder_layers", "num_layers", "num_hidden_layers",
                                           NULL};
static const char *const decoder_keys[] = {"decoder_layers", "num_decoder_layers", NULL};

static const char *const text_objects[] = {"", "text_config", "llm_config", "language_config",
                                           NULL};
static const char *const vision_objects[] = {"vision_config", NULL};
static const char *const no_objects[] = {NULL};

static void keys_of(const struct relaid *r, const char *const **keys, const char *const **objects)
{
    *keys = text_keys;
    *objects = text_objects;
    if (str_has(r->stack, "vis")) {
        *keys = vision_keys;
        *objects = vision_objects;
    } else if (r->module->name.n && str_has(r->stack, "encoder")) {
        *keys = encoder_keys;
        *objects = no_objects;
    } else if (r->module->name.n && str_has(r->stack, "decoder") &&
               str_has(r->module->name, "decoder") && !str_has(r->module->name, "text")) {
        *keys = decoder_keys;
        *objects = no_objects;
    }
}

static enum quern_status set_count(struct relaid *r, const char *const *keys,
                                   struct quern_error *err)
{
    struct arena *arena = &r->pl->plan->arena;
    const char *text = arena_printf(arena, "%" PRIu64, r->nlayers);
    struct str first = {NULL, 0}, value;
    if (!text)
        return fail_memory(err, 32);
    for (; *keys; keys++) {
        bool found;
        TRY(config_find(arena, *r->config, *keys, &found, &value, err));
        if (!found || (first.p && !str_eq(first, value)))
            continue;
        const struct config_edit edit = {.path = *keys, .value = str_from(text)};
        if (!first.p && !(first = arena_str(arena, value)).p)
            return fail_memory(err, value.n);
        TRY(config_apply(arena, *r->config, &edit, 1, r->config, err));
    }
    if (first.p)
        return QUERN_OK;
    return plan_note(r->pl->plan, err,
                     "config.json has no key with the number of layers, which is %s now", text);
}

/* Looks for the list of a model, once. Memory is the scratch's. */
static enum quern_status look_up(const struct relaid *r, unsigned model, const char *path,
                                 struct arena *scratch, struct items *out, struct quern_error *err)
{
    const struct str config = r->pl->set.views[model].config;
    struct str list = {NULL, 0}, *items;
    bool found = false;
    size_t n;
    if (out->looked)
        return QUERN_OK;
    out->looked = true;
    if (config.p)
        TRY(config_find(scratch, config, path, &found, &list, err));
    if (!found || list.n == 0 || list.p[0] != '[')
        return QUERN_OK;
    TRY(config_items(scratch, list, &items, &n, err));
    if (n == r->had[model])
        out->list = items;
    return QUERN_OK;
}

/* The items for all layers: those of the models they come from. False in *all: not each has one. */
static enum quern_status collect(const struct relaid *r, const char *path, struct arena *scratch,
                                 struct str *items, bool *all, struct quern_error *err)
{
    struct items of_models[MAX_SOURCES] = {0};
    *all = false;
    for (uint64_t i = 0; i < r->nlayers; i++) {
        const struct origin *o = &r->origins[i];
        TRY(look_up(r, o->model, path, scratch, &of_models[o->model], err));
        if (!of_models[o->model].list || o->layer >= r->had[o->model])
            return QUERN_OK;
        items[i] = of_models[o->model].list[o->layer];
    }
    *all = true;
    return QUERN_OK;
}

static enum quern_status join(struct arena *arena, const struct str *items, uint64_t n,
                              struct str *out, struct quern_error *err)
{
    size_t nbytes = 2;
    for (uint64_t i = 0; i < n; i++)
        nbytes += items[i].n + 2;
    char *text = arena_alloc(arena, nbytes);
    if (!text)
        return fail_memory(err, nbytes);
    size_t at = 0;
    text[at++] = '[';
    for (uint64_t i = 0; i < n; i++) {
        memcpy(text + at, ", ", i ? 2 : 0);
        at += i ? 2 : 0;
        memcpy(text + at, items[i].p, items[i].n);
        at += items[i].n;
    }
    text[at++] = ']';
    *out = (struct str){text, at};
    return QUERN_OK;
}

/* The list anew; .p is NULL when not all layers have an item. */
static enum quern_status rebuild(struct relaid *r, const char *path, struct str *out,
                                 struct quern_error *err)
{
    struct arena scratch = {0};
    bool all = false;
    struct str *items = ARENA_NEW(&scratch, struct str, (size_t)r->nlayers + 1);
    *out = (struct str){NULL, 0};
    enum quern_status status = items ? collect(r, path, &scratch, items, &all, err)
                                     : fail_memory(err, r->nlayers * sizeof *items);
    if (status == QUERN_OK && all)
        status = join(&r->pl->plan->arena, items, r->nlayers, out, err);
    arena_free(&scratch);
    return status;
}

static enum quern_status see_list(void *user, struct str key, struct str list,
                                  struct quern_error *err)
{
    struct relaid *r = user;
    struct arena *scratch = &r->pl->scratch;
    struct str *items, value;
    size_t n;
    TRY(config_items(scratch, list, &items, &n, err));
    /* Names of architectures and the like are lists of one, even in a model of one layer. */
    if (n != r->had[r->pl->set.donor] || n < 2 || memchr(key.p, '.', key.n))
        return QUERN_OK;
    if (r->nlists++ == MAX_LISTS)
        return fail(err, QUERN_EUNSUPPORTED, "config",
                    "it has more than %u lists with an item for each layer", MAX_LISTS);
    const char *path = arena_printf(&r->pl->plan->arena, "%s%s%.*s", r->object,
                                    *r->object ? "." : "", STR_ARG(key));
    if (!path)
        return fail_memory(err, key.n);
    TRY(rebuild(r, path, &value, err));
    if (!value.p)
        return plan_note(r->pl->plan, err,
                         "config.json: %s has an item for each layer, but not in all models, and "
                         "stays as it is",
                         quoted(str_from(path)).text);
    const struct config_edit edit = {.path = path, .value = value};
    return config_apply(&r->pl->plan->arena, *r->config, &edit, 1, r->config, err);
}

static enum quern_status relayer_module(struct relaid *r, struct quern_error *err)
{
    const char *const *keys, *const *objects;
    TRY(find_origins(r, err));
    keys_of(r, &keys, &objects);
    /* The lists are found in the text as it was, and changed in what it has become. */
    const struct str before = *r->config;
    for (; *objects; objects++) {
        r->object = *objects;
        TRY(config_lists(&r->pl->scratch, before, r->object, see_list, r, err));
    }
    return set_count(r, keys, err);
}

enum quern_status relayer_config(struct planner *pl, struct str *config, struct quern_error *err)
{
    for (uint32_t i = 0; i < pl->recipe.nmodules; i++) {
        struct relaid r = {.pl = pl, .module = &pl->recipe.modules[i], .config = config};
        if (!r.module->slices[0].whole)
            TRY(relayer_module(&r, err));
    }
    return QUERN_OK;
}

/* ---- GGUF -------------------------------------------------------------------------------------
 */

/* The key of the model that a layer comes from, when it has an item for each of its layers. */
static const struct meta *array_of(const struct relaid *r, const struct origin *o,
                                   const struct meta *like)
{
    const struct meta *k = view_meta(&r->pl->set.views[o->model], like->key.p);
    const bool fits = k && k->type == META_ARRAY && k->item_type == like->item_type &&
                      k->count == r->had[o->model] && o->layer < k->count;
    return fits ? k : NULL;
}

static enum quern_status rebuild_array(const struct relaid *r, struct meta *k,
                                       struct quern_error *err)
{
    const size_t item = meta_item_bytes(k->item_type);
    char *value = arena_alloc(&r->pl->plan->arena, (size_t)r->nlayers * item + 1);
    if (!value)
        return fail_memory(err, r->nlayers * item);
    for (uint64_t i = 0; i < r->nlayers; i++) {
        const struct meta *from = array_of(r, &r->origins[i], k);
        if (!from)
            return plan_note(r->pl->plan, err,
                             "key %s has a value for each layer, but not in all models, and stays "
                             "as it is",
                             quoted(k->key).text);
        memcpy(value + i * item, from->value.p + r->origins[i].layer * item, item);
    }
    k->value = (struct str){value, (size_t)r->nlayers * item};
    k->count = r->nlayers;
    return QUERN_OK;
}

static enum quern_status relayer_keys(struct relaid *r, struct meta_list *metas,
                                      struct quern_error *err)
{
    struct str arch = {"", 0};
    const struct model *donor = donor_of(r->pl);
    const struct meta *k = model_meta(donor, "general.architecture");
    TRY(find_origins(r, err));
    if (k)
        meta_string(k, &arch);
    const uint64_t had = r->had[r->pl->set.donor];
    for (uint32_t i = 0; i < metas->count; i++) {
        struct meta *item = &metas->items[i];
        const bool ours = item->key.n > arch.n && memcmp(item->key.p, arch.p, arch.n) == 0;
        if (ours && item->type == META_ARRAY && item->count == had && had > 1 &&
            meta_item_bytes(item->item_type) != 0)
            TRY(rebuild_array(r, item, err));
    }
    const char *key = arena_printf(&r->pl->plan->arena, "%.*s.block_count", STR_ARG(arch));
    if (!key || !meta_list_set_u32(metas, key, (uint32_t)r->nlayers))
        return fail_memory(err, arch.n);
    return QUERN_OK;
}

enum quern_status relayer_metas(struct planner *pl, struct meta_list *metas,
                                struct quern_error *err)
{
    for (uint32_t i = 0; i < pl->recipe.nmodules; i++) {
        struct relaid r = {.pl = pl, .module = &pl->recipe.modules[i]};
        if (!r.module->slices[0].whole)
            TRY(relayer_keys(&r, metas, err));
    }
    return QUERN_OK;
}
