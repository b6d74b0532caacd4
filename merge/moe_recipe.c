/* moe_recipe.c - read recipes of mixtures of experts. */
#include "merge/moe_recipe.h"

#include <inttypes.h>

#include "merge/recipe_reader.h"

#define MAX_PROMPTS 10000u

/* struct reader knows plain recipes; this one has ours beside it. */
struct moe_reader {
    struct reader d;
    struct moe_recipe *m;
};

/* The index of a model, which is added when it is new. */
static bool place_model(struct moe_reader *d, const struct yaml_node *n, const char *what,
                        unsigned *index)
{
    struct recipe *r = &d->m->r;
    struct model_ref ref = {0};
    const uint32_t before = d->d.m.count;
    reader_ref(&d->d, n, what, &ref);
    if (d->d.m.count > before)
        return false;
    for (*index = 0; *index < r->nmodels; ++*index)
        if (ref_same(&r->models[*index].ref, &ref))
            return true;
    if (r->nmodels == MAX_SOURCES) {
        reader_wrong(&d->d, n, QUERN_EUSAGE, "recipe", "more than %u models", MAX_SOURCES);
        return false;
    }
    r->models[r->nmodels++].ref = ref;
    return true;
}

static void read_number(struct moe_reader *d, const struct yaml_node *n, double *out)
{
    if (!yaml_is_null(n) && !yaml_number(n, out))
        reader_wrong(&d->d, n, QUERN_EUSAGE, "value", "%s is %s" WANT "expected a finite number",
                     n->key.p, n->kind == YAML_IS_SCALAR ? quoted(n->text).text : node_kind(n));
}

static void read_prompts(struct moe_reader *d, const struct yaml_node *n, struct prompts *out)
{
    if (yaml_is_null(n))
        return;
    if (n->kind != YAML_IS_LIST || n->count > MAX_PROMPTS) {
        reader_wrong(&d->d, n, QUERN_EUSAGE, "value", "%s is %s" WANT "expected at most %u texts",
                     n->key.p, n->kind == YAML_IS_LIST ? "too long" : node_kind(n), MAX_PROMPTS);
        return;
    }
    struct str *items = reader_memory(&d->d, ARENA_NEW(&d->m->r.arena, struct str, n->count + 1));
    if (!items)
        return;
    for (const struct yaml_node *i = n->first; i; i = i->next)
        if (reader_text(&d->d, i, n->key.p, "a text that is not empty", &items[out->count]))
            out->count++;
    out->items = items;
}

static void read_expert(struct moe_reader *d, const struct yaml_node *n, struct moe_expert *e)
{
    static const char *const keys[] = {"source_model", "positive_prompts", "negative_prompts",
                                       "noise_scale", "residual_scale"};
    *e = (struct moe_expert){.scale = 1};
    if (n->kind != YAML_IS_MAP || !yaml_get(n, "source_model")) {
        reader_wrong(&d->d, n, QUERN_EUSAGE, "recipe", "an expert without the key 'source_model'");
        return;
    }
    for (const struct yaml_node *i = n->first; i; i = i->next) {
        if (str_is(i->key, "source_model"))
            place_model(d, i, "source_model", &e->model);
        else if (str_is(i->key, "positive_prompts"))
            read_prompts(d, i, &e->positive);
        else if (str_is(i->key, "negative_prompts"))
            read_prompts(d, i, &e->negative);
        else if (str_is(i->key, "noise_scale"))
            read_number(d, i, &e->noise);
        else if (str_is(i->key, "residual_scale"))
            read_number(d, i, &e->scale);
        else
            reader_unknown_key(&d->d, i, "an expert", keys, sizeof keys / sizeof *keys);
    }
}

static void read_experts(struct moe_reader *d, const struct yaml_node *n, struct moe_expert *list,
                         unsigned max, unsigned *count)
{
    if (n->kind != YAML_IS_LIST || n->count == 0 || n->count > max) {
        reader_wrong(&d->d, n, QUERN_EUSAGE, "recipe", "%s is %s" WANT "expected 1 to %u experts",
                     n->key.p,
                     n->kind != YAML_IS_LIST ? node_kind(n)
                     : n->count              ? "too long"
                                             : "empty",
                     max);
        return;
    }
    for (const struct yaml_node *i = n->first; i; i = i->next)
        read_expert(d, i, &list[(*count)++]);
}

static void read_gate(struct moe_reader *d, const struct yaml_node *n)
{
    const struct str mode = n->kind == YAML_IS_SCALAR ? n->text : STR("");
    if (str_is(mode, "random"))
        d->m->gate = GATE_RANDOM;
    else if (str_is(mode, "uniform_random"))
        d->m->gate = GATE_UNIFORM;
    else if (str_is(mode, "cheap_embed"))
        d->m->gate = GATE_EMBEDDING;
    else if (str_is(mode, "hidden") || str_is(mode, "hidden_avg") || str_is(mode, "hidden_last"))
        reader_wrong(&d->d, n, QUERN_EUNSUPPORTED, "gate-mode",
                     "gate_mode %s needs to run the model, which quern does not" WANT
                     "use cheap_embed, random or uniform_random",
                     mode.p);
    else
        reader_wrong(&d->d, n, QUERN_EUSAGE, "gate-mode",
                     "gate_mode '%s'" WANT "expected cheap_embed, random or uniform_random",
                     quoted(mode).text);
}

static void read_key(struct moe_reader *d, const struct yaml_node *n)
{
    static const char *const keys[] = {"base_model",  "experts",           "gate_mode",
                                       "dtype",       "experts_per_token", "shared_experts",
                                       "architecture"};
    struct moe_recipe *m = d->m;
    double number = 0;
    if (str_is(n->key, "base_model")) {
        return; /* was the first to be read */
    } else if (str_is(n->key, "experts")) {
        read_experts(d, n, m->experts, MAX_EXPERTS, &m->nexperts);
    } else if (str_is(n->key, "shared_experts")) {
        if (!yaml_is_null(n))
            read_experts(d, n, m->shared, 1, &m->nshared);
    } else if (str_is(n->key, "gate_mode")) {
        read_gate(d, n);
    } else if (str_is(n->key, "dtype")) {
        reader_dtype(&d->d, n, &m->r.dtype);
    } else if (str_is(n->key, "architecture")) {
        if (!yaml_is_null(n))
            reader_text(&d->d, n, "architecture", "the name of an architecture", &m->architecture);
    } else if (str_is(n->key, "experts_per_token")) {
        read_number(d, n, &number);
        if (number >= 1 && number <= MAX_EXPERTS && number == (double)(uint64_t)number)
            m->per_token = (uint64_t)number;
        else
            reader_wrong(&d->d, n, QUERN_EUSAGE, "value",
                         "experts_per_token" WANT "expected a whole number from 1 to %u",
                         MAX_EXPERTS);
    } else {
        reader_unknown_key(&d->d, n, "the recipe of a mixture", keys, sizeof keys / sizeof *keys);
    }
}

/* ---- what the experts have to do with each other --------------------------------------------- */

static bool same_prompts(const struct prompts *a, const struct prompts *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (!str_eq(a->items[i], b->items[i]))
            return false;
    return true;
}

/* With one row for all, a router has nothing to choose by. */
static void check_prompts(struct moe_reader *d, const struct yaml_node *root)
{
    const struct moe_recipe *m = d->m;
    bool alike = m->nexperts > 1;
    for (unsigned i = 0; i < m->nexperts; i++) {
        const struct moe_expert *e = &m->experts[i];
        if (e->positive.count == 0)
            reader_wrong(&d->d, root, QUERN_EUSAGE, "recipe",
                         "expert %u has no positive_prompts, which cheap_embed needs", i);
        alike &= same_prompts(&e->positive, &m->experts[0].positive) &&
                 same_prompts(&e->negative, &m->experts[0].negative);
    }
    if (alike)
        reader_wrong(&d->d, root, QUERN_EUSAGE, "recipe",
                     "all experts have the same prompts, so the router could not tell them apart");
}

static void check_experts(struct moe_reader *d, const struct yaml_node *root)
{
    const struct moe_recipe *m = d->m;
    if (m->per_token > m->nexperts)
        reader_wrong(&d->d, root, QUERN_EUSAGE, "recipe",
                     "experts_per_token is %" PRIu64 " and there %s %u expert%s", m->per_token,
                     m->nexperts == 1 ? "is" : "are", m->nexperts, m->nexperts == 1 ? "" : "s");
    if (m->gate == GATE_EMBEDDING)
        check_prompts(d, root);
    bool alike = m->nexperts > 1;
    for (unsigned i = 0; i < m->nexperts; i++)
        alike &= m->experts[i].model == m->experts[0].model;
    if (alike)
        reader_note(&d->d, "all experts are the same model: of use only if it is trained further");
    if (m->nexperts & (m->nexperts - 1))
        reader_note(&d->d,
                    "%u experts are no power of two: llama.cpp may not be able to run the model",
                    m->nexperts);
}

static void read_recipe(struct moe_reader *d, const struct yaml_node *root)
{
    unsigned index;
    const struct yaml_node *base = yaml_get(root, "base_model");
    if (base)
        place_model(d, base, "base_model", &index);
    else
        reader_wrong(&d->d, root, QUERN_EUSAGE, "recipe", "no base_model");
    if (!yaml_get(root, "gate_mode"))
        reader_wrong(&d->d, root, QUERN_EUNSUPPORTED, "gate-mode",
                     "no gate_mode, which means 'hidden' and needs to run the model" WANT
                     "set gate_mode to cheap_embed, random or uniform_random");
    for (const struct yaml_node *n = root->first; n; n = n->next)
        read_key(d, n);
    if (d->d.m.count == 0)
        check_experts(d, root);
}

bool is_moe_recipe(struct str text)
{
    struct arena arena = {0};
    const struct yaml_node *root;
    const bool yes = yaml_parse(text, NULL, &arena, &root, NULL) == QUERN_OK &&
                     yaml_get(root, "experts") && !yaml_get(root, "merge_method");
    arena_free(&arena);
    return yes;
}

enum quern_status moe_recipe_parse(struct moe_recipe *m, struct str text, const char *path,
                                   const struct mistake_sink *sink, struct quern_error *err)
{
    *m = (struct moe_recipe){
        .r = {.dtype = DTYPE_COUNT, .out_dtype = DTYPE_COUNT},
          .per_token = 2
    };
    struct recipe *r = &m->r;
    r->text = arena_str(&r->arena, text);
    r->path = path ? arena_printf(&r->arena, "%s", path) : NULL;
    if (!r->text.p || (path && !r->path))
        return fail_memory(err, text.n);
    const struct yaml_node *root;
    TRY(yaml_parse(r->text, r->path, &r->arena, &root, err));
    struct moe_reader d = {
        .d = {.r = r, .m = {.sink = sink}},
          .m = m
    };
    read_recipe(&d, root);
    if (d.d.memory != QUERN_OK)
        return fail_memory(err, sizeof(struct str));
    return mistakes_end(&d.d.m, err);
}

void moe_recipe_free(struct moe_recipe *m)
{
    recipe_free(&m->r);
}
