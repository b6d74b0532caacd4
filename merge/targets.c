/* targets.c - list what a recipe makes: slices, layers and modules become pairs of names. */
#include "merge/targets.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

/* ---- where weights stand that belong to no layer ----------------------------------------------
 */

/* Parts of names of weights that come after the layers. */
static const char *const post_parts[] = {"lm_head",          "embed_out",       "final_layernorm",
                                         "final_layer_norm", "final_norm",      "ln_f.",
                                         "norm_f.",          "output_norm.",    "output_layer.",
                                         "layernorm_post.",  "post_layernorm.", "classifier.",
                                         "pooler.",          "score.",          "cls.",
                                         "vocab_projector.", "vocab_transform", "vocab_layer_norm"};
static const char *const post_ends[] = {".norm.weight", ".norm.bias"};
static const char *const post_names[] = {"output.weight", "output.bias", "norm.weight",
                                         "norm.bias"};

static bool comes_after_layers(struct str name)
{
    for (size_t i = 0; i < sizeof post_parts / sizeof *post_parts; i++)
        if (str_has(name, post_parts[i]))
            return true;
    for (size_t i = 0; i < sizeof post_ends / sizeof *post_ends; i++)
        if (str_ends(name, post_ends[i]))
            return true;
    for (size_t i = 0; i < sizeof post_names / sizeof *post_names; i++)
        if (str_is(name, post_names[i]))
            return true;
    return false;
}

/* ---- parts of the model -----------------------------------------------------------------------
 */

/* A module of the recipe and what is its own in the model. */
struct part {
    const struct module *module;
    struct str stack; /* prefix of its layers; empty: it has none */
    struct str root;  /* prefix of all it has; empty: none in particular */
};

/* The sources of one stack of a view by layer. */
struct shelf {
    const struct view *view;
    uint32_t *start; /* nlayers + 1: where in items a layer begins */
    uint32_t *items; /* indexes of sources, in file order within a layer */
    uint64_t nlayers;
};

struct lister {
    const struct recipe *r;
    const struct model_set *set;
    struct arena *keep, *scratch;
    struct targets *out;
    struct mistakes *m;
    struct part *parts;
    const struct part *first; /* what gets the weights that no part lays claim to */
    struct shelf *shelves;    /* of the part being listed, by model */
    struct quern_error *err;
};

static const struct view *view_of(const struct lister *l, const struct slice *s, unsigned k)
{
    return &l->set->views[s->sources[k].model];
}

static unsigned lead_of(const struct slice *s)
{
    return s->base >= 0 ? (unsigned)s->base : 0;
}

static bool begins_with(struct str name, struct str prefix)
{
    return name.n > prefix.n && name.p[prefix.n] == '.' && memcmp(name.p, prefix.p, prefix.n) == 0;
}

/* mergekit's name of what stands between a vision tower and a language model. */
static bool is_projector(struct str module, struct str tensor)
{
    return str_is(module, "multi_modal_projector") && str_has(tensor, "merger");
}

/* How strongly a part lays claim to a tensor; 0: not at all. */
static size_t claim(const struct part *p, struct str tensor)
{
    const struct str name = p->module->name;
    struct layer_name layer;
    if (p->stack.n > 0 && layer_of(tensor, &layer) && str_eq(layer.prefix, p->stack))
        return 2 * tensor.n + 2;
    if (p->stack.n == 0 && name.n > 0 &&
        (is_projector(name, tensor) || memmem(tensor.p, tensor.n, name.p, name.n)))
        return 2 * tensor.n + 1;
    return p->root.n > 0 && begins_with(tensor, p->root) ? p->root.n : 0;
}

static bool belongs(const struct lister *l, const struct part *part, struct str tensor)
{
    const struct part *best = NULL;
    size_t most = 0;
    if (l->r->nmodules == 1 && l->r->modules[0].name.n == 0)
        return true;
    for (uint32_t i = 0; i < l->r->nmodules; i++) {
        const size_t c = claim(&l->parts[i], tensor);
        if (c > most) {
            most = c;
            best = &l->parts[i];
        }
    }
    return (best ? best : l->first) == part;
}

/* ---- targets ----------------------------------------------------------------------------------
 */

static struct target *new_target(struct lister *l, const struct part *part, const struct slice *s,
                                 struct str name)
{
    struct targets *t = l->out;
    if (t->count == t->capacity) {
        const uint32_t capacity = t->capacity ? 2 * t->capacity : 64;
        struct target *bigger = ARENA_NEW(l->scratch, struct target, capacity);
        if (bigger && t->count)
            memcpy(bigger, t->items, t->count * sizeof *bigger);
        if (!bigger)
            return NULL;
        t->items = bigger;
        t->capacity = capacity;
    }
    struct source *inputs = ARENA_NEW(l->keep, struct source, s->nsources);
    if (!inputs)
        return NULL;
    struct target *target = &t->items[t->count];
    *target = (struct target){
        .name = name, .module = part->module, .slice = s, .inputs = inputs, .lead = lead_of(s)};
    return target;
}

static enum quern_status no_room(struct lister *l)
{
    return fail_memory(l->err, sizeof(struct target));
}

/* Takes the tensor of this name from source k, and notes that it is used. */
static void take_input(struct lister *l, struct target *t, unsigned k, struct str name)
{
    const struct view *v = view_of(l, t->slice, k);
    const struct source *found = view_find(v, name);
    t->inputs[k] = found ? *found : (struct source){.model = v->model};
    if (found)
        l->out->used[t->slice->sources[k].model][found - v->sources] = true;
}

/* A weight that has the same name everywhere. */
static enum quern_status add_plain(struct lister *l, const struct part *part, const struct slice *s,
                                   struct str name, double position)
{
    struct target *t = new_target(l, part, s, name);
    if (!t)
        return no_room(l);
    for (unsigned k = 0; k < s->nsources; k++)
        take_input(l, t, k, name);
    t->position = position;
    l->out->count++;
    return QUERN_OK;
}

/* ---- slices that are whole --------------------------------------------------------------------
 */

static enum quern_status list_whole(struct lister *l, const struct part *part,
                                    const struct slice *s)
{
    const struct view *lead = view_of(l, s, lead_of(s));
    struct layers layers = {0};
    enum quern_status status = QUERN_OK;
    for (uint32_t i = 0; i < lead->count && status == QUERN_OK; i++)
        if (!layers_add(&layers, lead->sources[i].tensor->name))
            status = no_room(l);
    for (uint32_t i = 0; i < lead->count && status == QUERN_OK; i++) {
        const struct str name = lead->sources[i].tensor->name;
        if (belongs(l, part, name))
            status = add_plain(l, part, s, name, layers_position(&layers, name));
    }
    layers_free(&layers);
    TRY(status);
    for (unsigned k = 0; k < s->nsources; k++) {
        const struct view *v = view_of(l, s, k);
        for (uint32_t i = 0; v != lead && i < v->count; i++)
            if (belongs(l, part, v->sources[i].tensor->name) &&
                !view_find(lead, v->sources[i].tensor->name))
                missing_tensor(&v->sources[i], lead->model, l->m);
    }
    return QUERN_OK;
}

/* ---- layers -----------------------------------------------------------------------------------
 */

static bool in_stack(const struct source *s, struct str stack, uint64_t *layer)
{
    struct layer_name n;
    if (!layer_of(s->tensor->name, &n) || !str_eq(n.prefix, stack))
        return false;
    *layer = n.layer;
    return true;
}

static enum quern_status fill_shelf(struct lister *l, const struct view *v, struct str stack,
                                    struct shelf *shelf)
{
    uint64_t layer;
    *shelf = (struct shelf){.view = v};
    for (uint32_t i = 0; i < v->count; i++)
        if (in_stack(&v->sources[i], stack, &layer) && layer >= shelf->nlayers)
            shelf->nlayers = layer + 1;
    /* Numbers beyond the tensors there are would be a hostile way to ask for memory. */
    if (shelf->nlayers > v->count)
        return in_file(l->err, v->model->path,
                       fail(l->err, QUERN_EFORMAT, "layers",
                            "'%s' has layer %" PRIu64 " and the model %" PRIu32 " tensors",
                            quoted(stack).text, shelf->nlayers - 1, v->count));
    shelf->start = ARENA_NEW(l->scratch, uint32_t, (size_t)shelf->nlayers + 2);
    shelf->items = ARENA_NEW(l->scratch, uint32_t, (size_t)v->count + 1);
    if (!shelf->start || !shelf->items)
        return no_room(l);
    for (uint32_t i = 0; i < v->count; i++)
        if (in_stack(&v->sources[i], stack, &layer))
            shelf->start[layer + 2]++;
    for (uint64_t k = 2; k < shelf->nlayers + 2; k++)
        shelf->start[k] += shelf->start[k - 1];
    /* start[layer + 1] is where the next one goes, and ends as the end of the layer. */
    for (uint32_t i = 0; i < v->count; i++)
        if (in_stack(&v->sources[i], stack, &layer))
            shelf->items[shelf->start[layer + 1]++] = i;
    return QUERN_OK;
}

static struct str layer_tensor_name(struct arena *arena, struct str stack, uint64_t layer,
                                    struct str rest)
{
    const char *text =
        arena_printf(arena, "%.*s.%" PRIu64 ".%.*s", STR_ARG(stack), layer, STR_ARG(rest));
    return text ? str_from(text) : (struct str){NULL, 0};
}

static const struct shelf *shelf_of(const struct lister *l, const struct slice *s, unsigned k)
{
    return &l->shelves[s->sources[k].model];
}

/* The tensors of layer number i of a slice, which becomes layer `number` of the output. */
static enum quern_status list_layer(struct lister *l, const struct part *part,
                                    const struct slice *s, uint64_t i, uint64_t number)
{
    const unsigned lead = lead_of(s);
    const uint64_t length = s->sources[0].end - s->sources[0].first;
    const uint64_t from = s->sources[lead].first + i;
    const struct shelf *shelf = shelf_of(l, s, lead);
    for (uint32_t n = shelf->start[from]; n < shelf->start[from + 1]; n++) {
        struct layer_name name;
        const bool layered = layer_of(shelf->view->sources[shelf->items[n]].tensor->name, &name);
        assert(layered);
        const struct str out = layer_tensor_name(l->keep, part->stack, number, name.rest);
        struct target *t = out.p && layered ? new_target(l, part, s, out) : NULL;
        if (!t)
            return no_room(l);
        for (unsigned k = 0; k < s->nsources; k++) {
            const struct str in =
                layer_tensor_name(l->scratch, part->stack, s->sources[k].first + i, name.rest);
            if (!in.p)
                return no_room(l);
            take_input(l, t, k, in);
        }
        t->position = length > 1 ? (double)i / (double)(length - 1) : 1;
        l->out->count++;
    }
    return QUERN_OK;
}

/* What a source has in this layer and the leading one has not. */
static void list_surplus(struct lister *l, const struct part *part, const struct slice *s,
                         uint64_t i)
{
    const unsigned lead = lead_of(s);
    for (unsigned k = 0; k < s->nsources; k++) {
        const struct shelf *shelf = shelf_of(l, s, k);
        const uint64_t from = s->sources[k].first + i;
        for (uint32_t n = shelf->start[from]; k != lead && n < shelf->start[from + 1]; n++) {
            const struct source *has = &shelf->view->sources[shelf->items[n]];
            struct layer_name name;
            if (!layer_of(has->tensor->name, &name))
                continue;
            const struct str in =
                layer_tensor_name(l->scratch, part->stack, s->sources[lead].first + i, name.rest);
            if (in.p && !view_find(view_of(l, s, lead), in))
                missing_tensor(has, view_of(l, s, lead)->model, l->m);
        }
    }
}

static bool range_fits(struct lister *l, const struct part *part, const struct slice_source *s,
                       const struct shelf *shelf)
{
    if (s->end <= shelf->nlayers)
        return true;
    struct quern_error *e = mistake(l->m);
    if (shelf->nlayers == 0)
        fail(e, QUERN_EUSAGE, "layer-range", "'%s' has no layers '%s.N'",
             ref_name(&l->r->models[s->model].ref).text, quoted(part->stack).text);
    else
        fail(e, QUERN_EUSAGE, "layer-range",
             "layer_range [%" PRIu64 ", %" PRIu64 "] of '%s'" WANT "it has %" PRIu64 " layers",
             s->first, s->end, ref_name(&l->r->models[s->model].ref).text, shelf->nlayers);
    in_file(e, l->r->path, QUERN_EUSAGE);
    return false;
}

static enum quern_status list_slice(struct lister *l, const struct part *part,
                                    const struct slice *s, uint64_t *number)
{
    bool fits = true;
    for (unsigned k = 0; k < s->nsources; k++) {
        struct shelf *shelf = &l->shelves[s->sources[k].model];
        if (!shelf->view)
            TRY(fill_shelf(l, view_of(l, s, k), part->stack, shelf));
        fits &= range_fits(l, part, &s->sources[k], shelf);
    }
    const uint64_t length = s->sources[0].end - s->sources[0].first;
    for (uint64_t i = 0; fits && i < length; i++) {
        TRY(list_layer(l, part, s, i, (*number)++));
        list_surplus(l, part, s, i);
    }
    return QUERN_OK;
}

/* The weights of this slice's sources that stand before, or after, the layers. */
static enum quern_status list_loose(struct lister *l, const struct part *part,
                                    const struct slice *s, bool after)
{
    const struct view *lead = view_of(l, s, lead_of(s));
    uint64_t layer;
    for (uint32_t i = 0; i < lead->count; i++) {
        const struct source *src = &lead->sources[i];
        if (!in_stack(src, part->stack, &layer) && belongs(l, part, src->tensor->name) &&
            comes_after_layers(src->tensor->name) == after)
            TRY(add_plain(l, part, s, src->tensor->name, 0));
    }
    for (unsigned k = 0; k < s->nsources; k++) {
        const struct view *v = view_of(l, s, k);
        for (uint32_t i = 0; v != lead && i < v->count; i++) {
            const struct source *src = &v->sources[i];
            if (!in_stack(src, part->stack, &layer) && belongs(l, part, src->tensor->name) &&
                comes_after_layers(src->tensor->name) == after &&
                !view_find(lead, src->tensor->name))
                missing_tensor(src, lead->model, l->m);
        }
    }
    return QUERN_OK;
}

static enum quern_status list_part(struct lister *l, const struct part *part)
{
    const struct module *module = part->module;
    if (module->slices[0].whole)
        return list_whole(l, part, &module->slices[0]);
    l->out->relaid = true;
    l->shelves = ARENA_NEW(l->scratch, struct shelf, MAX_SOURCES);
    if (!l->shelves)
        return no_room(l);
    TRY(list_loose(l, part, &module->slices[0], false));
    uint64_t number = 0;
    for (uint32_t i = 0; i < module->nslices; i++)
        TRY(list_slice(l, part, &module->slices[i], &number));
    return list_loose(l, part, &module->slices[module->nslices - 1], true);
}

/* ---- modules ----------------------------------------------------------------------------------
 */

static void list_stacks(const struct layers *layers, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < layers->count && used + 80 < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s'%.60s'", i ? ", " : "",
                                 quoted(layers->stacks[i].prefix).text);
}

static void no_stack(struct lister *l, const struct module *module, const struct layers *layers)
{
    char stacks[400];
    list_stacks(layers, stacks, sizeof stacks);
    struct quern_error *e = mistake(l->m);
    if (module->name.n)
        fail(e, QUERN_EUSAGE, "layers",
             "slices of module '%s', and no tensor names look like its layers" WANT
             "name a module after one of %s",
             quoted(module->name).text, layers->count ? stacks : "those there are: none");
    else
        fail(e, QUERN_EUSAGE, "layers", "slices, and the layers of the model are in %s" WANT "%s",
             layers->count ? stacks : "no stack",
             layers->count ? "say with modules which of them are meant"
                           : "expected names such as model.layers.0.mlp.up_proj.weight");
    in_file(e, l->r->path, QUERN_EUSAGE);
}

/* The layers of a module, by the names of its first slice's leading source. */
static enum quern_status find_part(struct lister *l, struct part *part)
{
    const struct slice *s = &part->module->slices[0];
    const struct view *lead = view_of(l, s, lead_of(s));
    struct layers layers = {0};
    bool ok = true;
    for (uint32_t i = 0; ok && i < lead->count; i++)
        ok = layers_add(&layers, lead->sources[i].tensor->name);
    const struct layer_stack *stack = ok ? layers_of_module(&layers, part->module->name) : NULL;
    if (stack) {
        part->stack = part->root = stack->prefix;
        while (part->root.n > 0 && part->root.p[--part->root.n] != '.')
            ;
    } else if (ok && !s->whole) {
        no_stack(l, part->module, &layers);
    }
    layers_free(&layers);
    return ok ? QUERN_OK : no_room(l);
}

enum quern_status targets_list(const struct recipe *r, const struct model_set *set,
                               struct arena *keep, struct arena *scratch, struct targets *out,
                               struct mistakes *m, struct quern_error *err)
{
    struct lister l = {
        .r = r, .set = set, .keep = keep, .scratch = scratch, .out = out, .m = m, .err = err};
    const uint32_t before = m->count;
    *out = (struct targets){0};
    l.parts = ARENA_NEW(scratch, struct part, r->nmodules);
    if (!l.parts)
        return no_room(&l);
    for (unsigned k = 0; k < set->count; k++)
        if (!(out->used[k] = ARENA_NEW(scratch, bool, (size_t)set->views[k].count + 1)))
            return no_room(&l);
    l.first = &l.parts[0];
    for (uint32_t i = 0; i < r->nmodules; i++) {
        l.parts[i].module = &r->modules[i];
        TRY(find_part(&l, &l.parts[i]));
    }
    for (uint32_t i = r->nmodules; i-- > 0;)
        if (l.parts[i].stack.n > 0)
            l.first = &l.parts[i];
    for (uint32_t i = 0; m->count == before && i < r->nmodules; i++)
        TRY(list_part(&l, &l.parts[i]));
    return QUERN_OK;
}
