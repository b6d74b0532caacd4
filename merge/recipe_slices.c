/* recipe_slices.c - read models, slices and modules: three ways to say what is made from what. */
#include <inttypes.h>

#include "merge/recipe_reader.h"

#define MAX_SLICES  10000u
#define MAX_MODULES 64u
#define MAX_LAYER   1000000u

unsigned reader_add_model(struct reader *d, const struct yaml_node *n, const struct model_ref *ref)
{
    struct recipe *r = d->r;
    for (unsigned i = 0; i < r->nmodels; i++)
        if (ref_same(&r->models[i].ref, ref))
            return i;
    if (r->nmodels == MAX_SOURCES) {
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "more than %u models", MAX_SOURCES);
        return 0;
    }
    r->models[r->nmodels].ref = *ref;
    return r->nmodels++;
}

/* ---- sources --------------------------------------------------------------------------------- */

static bool read_layer(const struct yaml_node *n, uint64_t *out)
{
    return n->kind == YAML_IS_SCALAR && n->plain && str_to_u64(n->text, out) && *out <= MAX_LAYER;
}

#define RANGE "[first, end] with the end left out: [0, 4] is layers 0 to 3"

static void read_range(struct reader *d, const struct yaml_node *n, struct slice_source *s)
{
    if (n->kind != YAML_IS_LIST || n->count != 2 || !read_layer(n->first, &s->first) ||
        !read_layer(n->first->next, &s->end))
        reader_wrong(d, n, QUERN_EUSAGE, "layer-range",
                     "layer_range is no pair of layers" WANT "expected " RANGE);
    else if (s->first >= s->end)
        reader_wrong(d, n, QUERN_EUSAGE, "layer-range",
                     "layer_range [%" PRIu64 ", %" PRIu64 "] holds no layer" WANT "expected " RANGE,
                     s->first, s->end);
}

static void read_source_key(struct reader *d, const struct yaml_node *n, bool ranges,
                            struct slice_source *s, struct model_ref *ref)
{
    static const char *const keys[] = {"model", "parameters", "layer_range"};
    if (str_is(n->key, "model"))
        reader_ref(d, n, "model", ref);
    else if (str_is(n->key, "parameters"))
        reader_params(d, n, true, s->settings);
    else if (str_is(n->key, "layer_range") && ranges)
        read_range(d, n, s);
    else if (str_is(n->key, "layer_range"))
        reader_wrong(d, n, QUERN_EUSAGE, "recipe",
                     "layer_range under models" WANT "expected under the sources of slices");
    else
        reader_unknown_key(d, n, ranges ? "a source of a slice" : "an entry of models", keys,
                           ranges ? 3 : 2);
}

static void read_source(struct reader *d, const struct yaml_node *n, bool ranges,
                        struct slice *slice)
{
    if (n->kind != YAML_IS_MAP || !yaml_get(n, "model")) {
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "%s without the key 'model'",
                     ranges ? "a source of a slice" : "an entry of models");
        return;
    }
    struct model_ref ref = {0};
    struct slice_source *s = &slice->sources[slice->nsources++];
    for (const struct yaml_node *i = n->first; i; i = i->next)
        read_source_key(d, i, ranges, s, &ref);
    s->model = reader_add_model(d, n, &ref);
    if (ranges && !yaml_get(n, "layer_range"))
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "a source of a slice without layer_range");
}

/* A list of models: models, or the sources of a slice. */
static void read_sources(struct reader *d, const struct yaml_node *n, bool ranges,
                         struct slice *slice)
{
    const char *what = ranges ? "sources" : "models";
    if (n->kind != YAML_IS_LIST || n->count == 0) {
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "%s is %s" WANT "expected a list of models",
                     what, n->kind == YAML_IS_LIST ? "empty" : node_kind(n));
        return;
    }
    if (n->count > MAX_SOURCES) {
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "more than %u models", MAX_SOURCES);
        return;
    }
    /* Room for a base that is not listed. */
    slice->sources =
        reader_memory(d, ARENA_NEW(&d->r->arena, struct slice_source, (size_t)n->count + 1));
    for (const struct yaml_node *i = n->first; i && slice->sources; i = i->next)
        read_source(d, i, ranges, slice);
}

/* ---- slices ---------------------------------------------------------------------------------- */

static void check_lengths(struct reader *d, const struct slice *s)
{
    for (unsigned k = 1; k < s->nsources; k++) {
        const struct slice_source *a = &s->sources[0], *b = &s->sources[k];
        if (a->end - a->first == b->end - b->first)
            continue;
        reader_wrong(d, s->node, QUERN_EUSAGE, "layer-range",
                     "a slice of %" PRIu64 " layers of '%s' and %" PRIu64 " of '%s'" WANT
                     "expected as many layers of each source",
                     a->end - a->first, ref_name(&d->r->models[a->model].ref).text,
                     b->end - b->first, ref_name(&d->r->models[b->model].ref).text);
        return;
    }
}

static void read_slice(struct reader *d, const struct yaml_node *n, struct slice *slice)
{
    static const char *const keys[] = {"sources", "base_model", "parameters", "residual_weight"};
    const uint32_t before = d->m.count;
    slice->node = n;
    if (n->kind != YAML_IS_MAP || !yaml_get(n, "sources")) {
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "a slice without the key 'sources'");
        return;
    }
    for (const struct yaml_node *i = n->first; i; i = i->next) {
        if (str_is(i->key, "sources"))
            read_sources(d, i, true, slice);
        else if (str_is(i->key, "parameters"))
            reader_params(d, i, false, slice->settings);
        else if (str_is(i->key, "residual_weight"))
            reader_note(d, "residual_weight has no effect in a slice");
        else if (!str_is(i->key, "base_model")) /* read once all models are known */
            reader_unknown_key(d, i, "a slice", keys, sizeof keys / sizeof *keys);
    }
    if (d->m.count == before)
        check_lengths(d, slice);
}

static struct slice *new_slices(struct reader *d, uint32_t n, struct module *module)
{
    module->slices = reader_memory(d, ARENA_NEW(&d->r->arena, struct slice, n));
    for (uint32_t i = 0; module->slices && i < n; i++)
        module->slices[i].base = -1;
    module->nslices = module->slices ? n : 0;
    return module->slices;
}

void reader_slices(struct reader *d, const struct yaml_node *n, struct module *module)
{
    if (n->kind != YAML_IS_LIST || n->count == 0 || n->count > MAX_SLICES) {
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "slices is %s" WANT "expected a list of slices",
                     n->kind == YAML_IS_LIST ? n->count ? "too long" : "empty" : node_kind(n));
        return;
    }
    struct slice *slice = new_slices(d, n->count, module);
    for (const struct yaml_node *i = n->first; i && slice; i = i->next)
        read_slice(d, i, slice++);
}

void reader_models(struct reader *d, const struct yaml_node *n, struct module *module)
{
    struct slice *slice = new_slices(d, 1, module);
    if (!slice)
        return;
    slice->whole = true;
    slice->node = n;
    read_sources(d, n, false, slice);
}

/* ---- modules --------------------------------------------------------------------------------- */

static void read_module(struct reader *d, const struct yaml_node *n, struct module *module)
{
    static const char *const keys[] = {"models", "slices", "parameters"};
    module->name = n->key;
    module->node = n;
    const struct yaml_node *models = yaml_get(n, "models"), *slices = yaml_get(n, "slices");
    if (n->kind != YAML_IS_MAP || !models == !slices) {
        reader_wrong(d, n, QUERN_EUSAGE, "recipe",
                     "module '%s'" WANT "expected a map with one of models and slices",
                     quoted(n->key).text);
        return;
    }
    for (const struct yaml_node *i = n->first; i; i = i->next) {
        if (i == models)
            reader_models(d, i, module);
        else if (i == slices)
            reader_slices(d, i, module);
        else if (str_is(i->key, "parameters"))
            reader_params(d, i, false, module->settings);
        else
            reader_unknown_key(d, i, "a module", keys, 3);
    }
}

void reader_modules(struct reader *d, const struct yaml_node *n)
{
    struct recipe *r = d->r;
    if (n->kind != YAML_IS_MAP || n->count == 0 || n->count > MAX_MODULES) {
        reader_wrong(d, n, QUERN_EUSAGE, "recipe",
                     "modules is %s" WANT "expected a map of modules by name",
                     n->kind == YAML_IS_MAP ? n->count ? "too long" : "empty" : node_kind(n));
        return;
    }
    r->modules = reader_memory(d, ARENA_NEW(&r->arena, struct module, n->count));
    for (const struct yaml_node *i = n->first; i && r->modules; i = i->next)
        read_module(d, i, &r->modules[r->nmodules++]);
}
