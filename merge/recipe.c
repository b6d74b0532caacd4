/* recipe.c - mergekit's YAML schema, strictly. */
#include "merge/recipe.h"

#include "merge/params.h"
#include "merge/recipe_reader.h"

static void read_model(struct reader *d, const struct yaml_node *n)
{
    static const char *const keys[] = {"model", "parameters"};
    struct recipe *r = d->r;
    if (n->kind != YAML_IS_MAP || !yaml_get(n, "model")) {
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "an entry of models without the key 'model'");
        return;
    }
    if (r->nmodels == MAX_SOURCES) {
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "more than %u models", MAX_SOURCES);
        return;
    }
    struct recipe_model *model = &r->models[r->nmodels++];
    for (const struct yaml_node *i = n->first; i; i = i->next) {
        if (str_is(i->key, "model"))
            reader_ref(d, i, "model", &model->ref);
        else if (str_is(i->key, "parameters"))
            reader_params(d, i, true, model->settings);
        else if (str_is(i->key, "layer_range"))
            reader_wrong(d, i, QUERN_EUNSUPPORTED, "recipe", "'layer_range' is not supported yet");
        else
            reader_unknown_key(d, i, "an entry of models", keys, 2);
    }
}

static void read_models(struct reader *d, const struct yaml_node *n)
{
    if (n->kind != YAML_IS_LIST || n->count == 0) {
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "models is %s" WANT "expected a list of models",
                     n->kind == YAML_IS_LIST ? "empty" : node_kind(n));
        return;
    }
    for (const struct yaml_node *i = n->first; i; i = i->next)
        read_model(d, i);
}

void reader_dtype(struct reader *d, const struct yaml_node *n, enum dtype *out)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } names[] = {
        {"float32",  DTYPE_F32 },
        {"float16",  DTYPE_F16 },
        {"bfloat16", DTYPE_BF16},
        {"float64",  DTYPE_F64 },
        {"f32",      DTYPE_F32 },
        {"fp32",     DTYPE_F32 },
        {"f16",      DTYPE_F16 },
        {"fp16",     DTYPE_F16 },
        {"half",     DTYPE_F16 },
        {"bf16",     DTYPE_BF16},
        {"f64",      DTYPE_F64 },
        {"double",   DTYPE_F64 }
    };
    if (yaml_is_null(n))
        return;
    struct str name = n->text;
    if (n->kind == YAML_IS_SCALAR && str_starts(name, "torch."))
        name = (struct str){name.p + 6, name.n - 6};
    for (size_t i = 0; n->kind == YAML_IS_SCALAR && i < sizeof names / sizeof *names; i++)
        if (str_eq_nocase(name, str_from(names[i].name))) {
            *out = names[i].dtype;
            return;
        }
    reader_wrong(d, n, QUERN_EUSAGE, "dtype",
                 "%s '%s'" WANT "expected float32, float16, bfloat16 or float64", n->key.p,
                 n->kind == YAML_IS_SCALAR ? quoted(n->text).text : node_kind(n));
}

static bool read_method(struct reader *d, const struct yaml_node *root)
{
    const struct yaml_node *n = yaml_get(root, "merge_method");
    if (!n || n->kind != YAML_IS_SCALAR || n->text.n == 0) {
        reader_wrong(d, n ? n : root, QUERN_EUSAGE, "recipe",
                     "no merge_method" WANT "expected for example 'merge_method: slerp'");
        return false;
    }
    struct quern_error e;
    const enum quern_status status = method_find(n->text, &d->r->method, &e);
    if (status != QUERN_OK)
        reader_wrong(d, n, status, e.kind, "%s" WANT "%s", e.found, e.expected);
    return status == QUERN_OK;
}

/* Keys of the top level: what is done with them. */
enum key_use { USE_IT, NOT_YET, IGNORE_IT };
static const struct {
    const char *name;
    enum key_use use;
} top_keys[] = {
    {"merge_method",     USE_IT   },
    {"models",           USE_IT   },
    {"base_model",       USE_IT   },
    {"parameters",       USE_IT   },
    {"dtype",            USE_IT   },
    {"out_dtype",        USE_IT   },
    {"slices",           NOT_YET  },
    {"modules",          NOT_YET  },
    {"tokenizer_source", USE_IT   },
    {"tokenizer",        USE_IT   },
    {"chat_template",    USE_IT   },
    {"name",             IGNORE_IT},
    {"embed_slerp",      IGNORE_IT},
};
#define NTOP_KEYS (sizeof top_keys / sizeof *top_keys)

static void check_top_key(struct reader *d, const struct yaml_node *n)
{
    const char *names[NTOP_KEYS];
    for (size_t i = 0; i < NTOP_KEYS; i++) {
        names[i] = top_keys[i].name;
        if (!str_is(n->key, names[i]))
            continue;
        if (top_keys[i].use == NOT_YET && !yaml_is_null(n))
            reader_wrong(d, n, QUERN_EUNSUPPORTED, "recipe", "'%s' is not supported yet%s",
                         names[i],
                         str_is(n->key, "slices") ? WANT
                             "list the models under 'models' to merge all their layers"
                                                  : "");
        else if (top_keys[i].use == IGNORE_IT)
            reader_note(d, "%s has no effect in a recipe", names[i]);
        return;
    }
    reader_unknown_key(d, n, "the recipe", names, NTOP_KEYS);
}

/* Finds the base among the models, or adds it as the last of them. */
static void place_base(struct reader *d, const struct model_ref *base)
{
    struct recipe *r = d->r;
    for (unsigned i = 0; i < r->nmodels; i++)
        if (ref_same(&r->models[i].ref, base)) {
            r->base = (int)i;
            return;
        }
    if (r->nmodels == MAX_SOURCES) {
        reader_wrong(d, NULL, QUERN_EUSAGE, "recipe", "more than %u models with the base",
                     MAX_SOURCES);
        return;
    }
    r->base = (int)r->nmodels;
    r->models[r->nmodels++].ref = *base;
}

static void check_models(struct reader *d, const struct yaml_node *root)
{
    const struct recipe *r = d->r;
    const struct method *m = r->method;
    if (m->base != BASE_INPUT && r->base < 0) {
        reader_wrong(d, root, QUERN_EUSAGE, "recipe", "%s needs a base_model", m->name);
        return;
    }
    if (r->nmodels < m->min_models || r->nmodels > m->max_models)
        reader_wrong(d, root, QUERN_EUSAGE, "recipe", "%u model%s%s" WANT "%s merges %s%u%s",
                     r->nmodels, r->nmodels == 1 ? "" : "s", r->base >= 0 ? " with the base" : "",
                     m->name, m->min_models < m->max_models ? "at least " : "", m->min_models,
                     r->base >= 0 ? ", the base included" : "");
    if (m->base == BASE_ORIGIN)
        for (unsigned i = 0; i < m->nparams; i++)
            if (r->models[r->base].settings[i].nchoices > 0)
                reader_note(d, "%s under the base model has no effect in %s", m->params[i].name,
                            m->name);
    for (unsigned i = 0; i < r->nmodels; i++)
        for (unsigned k = 0; k < i; k++)
            if (ref_same(&r->models[i].ref, &r->models[k].ref))
                reader_note(d, "%s is listed twice in the recipe",
                            ref_name(&r->models[i].ref).text);
}

/* What can be said about the values before any model is open. */
static void check_values(struct reader *d)
{
    struct recipe *r = d->r;
    params_missing(r, &d->m);
    struct merge_values v;
    struct quern_error e;
    if (d->m.count > 0 || !params_constant(r, &v))
        return;
    const enum quern_status status = r->method->check(&v, r->nmodels, r->base, &e);
    if (status != QUERN_OK) {
        struct quern_error *slot = mistake(&d->m); /* never NULL: it is the first */
        *slot = e;
        in_file(slot, r->path, status);
    }
}

/* What is in them is for the planner of vocabularies to read. */
static void read_tokenizer(struct reader *d, const struct yaml_node *root)
{
    struct recipe *r = d->r;
    const struct yaml_node *source = yaml_get(root, "tokenizer_source");
    const struct yaml_node *block = yaml_get(root, "tokenizer");
    const struct yaml_node *chat = yaml_get(root, "chat_template");
    r->tokenizer_source = source && !yaml_is_null(source) ? source : NULL;
    r->tokenizer = block && !yaml_is_null(block) ? block : NULL;
    if (r->tokenizer_source && r->tokenizer)
        reader_wrong(d, block, QUERN_EUSAGE, "recipe",
                     "tokenizer and tokenizer_source" WANT "expected one of them");
    if (chat && !yaml_is_null(chat))
        reader_text(d, chat, "chat_template", "auto, a name or a template", &r->chat_template);
}

static void read_recipe(struct reader *d, const struct yaml_node *root)
{
    struct recipe *r = d->r;
    if (root->kind != YAML_IS_MAP) {
        reader_wrong(d, root, QUERN_EUSAGE, "recipe",
                     "the recipe is %s" WANT "expected keys such as merge_method and models",
                     node_kind(root));
        return;
    }
    for (const struct yaml_node *n = root->first; n; n = n->next)
        check_top_key(d, n);
    if (!read_method(d, root))
        return;
    const struct yaml_node *n = yaml_get(root, "models");
    if (n)
        read_models(d, n);
    else if (!yaml_get(root, "slices") && !yaml_get(root, "modules"))
        reader_wrong(d, root, QUERN_EUSAGE, "recipe", "no models");
    reader_params(d, yaml_get(root, "parameters"), false, r->settings);
    if ((n = yaml_get(root, "dtype")))
        reader_dtype(d, n, &r->dtype);
    if ((n = yaml_get(root, "out_dtype")))
        reader_dtype(d, n, &r->out_dtype);
    read_tokenizer(d, root);
    if ((n = yaml_get(root, "base_model")) && !yaml_is_null(n)) {
        struct model_ref base = {0};
        reader_ref(d, n, "base_model", &base);
        place_base(d, &base);
    }
    if (d->m.count == 0)
        check_models(d, root);
    if (d->m.count == 0)
        check_values(d);
}

enum quern_status recipe_parse(struct recipe *r, struct str text, const char *path,
                               struct quern_error *err)
{
    *r = (struct recipe){.base = -1, .dtype = DTYPE_COUNT, .out_dtype = DTYPE_COUNT};
    r->text = arena_str(&r->arena, text);
    r->path = path ? arena_printf(&r->arena, "%s", path) : NULL;
    if (!r->text.p || (path && !r->path))
        return fail_memory(err, text.n);
    const struct yaml_node *root;
    TRY(yaml_parse(r->text, r->path, &r->arena, &root, err));
    struct reader d = {.r = r};
    read_recipe(&d, root);
    if (d.memory != QUERN_OK)
        return fail_memory(err, sizeof(struct choice));
    return mistakes_end(&d.m, err);
}

void recipe_free(struct recipe *r)
{
    arena_free(&r->arena);
}

enum dtype recipe_out_dtype(const struct recipe *r)
{
    return r->out_dtype != DTYPE_COUNT ? r->out_dtype : r->dtype;
}
