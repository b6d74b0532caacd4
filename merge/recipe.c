/* recipe.c - mergekit's YAML schema, strictly. */
#include "merge/recipe.h"

#include "merge/params.h"
#include "merge/recipe_reader.h"

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

/* Keys of the top level, and whether anything is done with them. */
static const struct {
    const char *name;
    bool ignored;
} top_keys[] = {
    {"merge_method",     false},
    {"models",           false},
    {"slices",           false},
    {"modules",          false},
    {"base_model",       false},
    {"parameters",       false},
    {"dtype",            false},
    {"out_dtype",        false},
    {"tokenizer_source", false},
    {"tokenizer",        false},
    {"chat_template",    false},
    {"name",             false},
    {"embed_slerp",      true },
};
#define NTOP_KEYS (sizeof top_keys / sizeof *top_keys)

static void check_top_key(struct reader *d, const struct yaml_node *n)
{
    const char *names[NTOP_KEYS];
    for (size_t i = 0; i < NTOP_KEYS; i++) {
        names[i] = top_keys[i].name;
        if (!str_is(n->key, names[i]))
            continue;
        if (top_keys[i].ignored)
            reader_note(d, "%s has no effect in a recipe", names[i]);
        return;
    }
    reader_unknown_key(d, n, "the recipe", names, NTOP_KEYS);
}

/* ---- bases ----------------------------------------------------------------------------------- */

/* A base that a slice does not list joins it with the layers of the others. */
static void append_base(struct reader *d, struct slice *s, unsigned model)
{
    const struct slice_source *first = &s->sources[0];
    for (unsigned k = 1; k < s->nsources && !s->whole; k++)
        if (s->sources[k].first != first->first || s->sources[k].end != first->end) {
            reader_wrong(d, s->node, QUERN_EUSAGE, "recipe",
                         "base_model '%s' is not among the sources of this slice, which have "
                         "different layers" WANT "list it with its layer_range",
                         ref_name(&d->r->models[model].ref).text);
            return;
        }
    if (s->nsources == MAX_SOURCES) {
        reader_wrong(d, s->node, QUERN_EUSAGE, "recipe", "more than %u models with the base",
                     MAX_SOURCES);
        return;
    }
    s->base = (int)s->nsources;
    s->sources[s->nsources++] =
        (struct slice_source){.model = model, .first = first->first, .end = first->end};
}

/* The base of a slice: its own, else that of the recipe. */
static void place_slice_base(struct reader *d, struct slice *s)
{
    const struct recipe *r = d->r;
    const struct yaml_node *n = s->whole ? NULL : yaml_get(s->node, "base_model");
    int base = r->base;
    if (n && !yaml_is_null(n)) {
        struct model_ref ref = {0};
        reader_ref(d, n, "base_model", &ref);
        base = (int)reader_add_model(d, n, &ref);
    }
    if (base < 0)
        return;
    bool listed = false;
    for (unsigned k = 0; k < s->nsources && !listed; k++) {
        listed = s->sources[k].model == (unsigned)base;
        if (listed && r->method->base != BASE_NONE)
            s->base = (int)k;
    }
    /* In slices, a method that makes nothing of a base works on what is listed. */
    const bool useless = r->method->base == BASE_INPUT || r->method->base == BASE_NONE;
    if (!listed && (s->whole || !useless))
        append_base(d, s, (unsigned)base);
}

static void place_bases(struct reader *d, const struct yaml_node *root)
{
    struct recipe *r = d->r;
    const struct yaml_node *n = yaml_get(root, "base_model");
    if (n && !yaml_is_null(n)) {
        struct model_ref base = {0};
        reader_ref(d, n, "base_model", &base);
        r->base = (int)reader_add_model(d, n, &base);
    }
    for (uint32_t i = 0; i < r->nmodules; i++)
        for (uint32_t k = 0; k < r->modules[i].nslices; k++)
            place_slice_base(d, &r->modules[i].slices[k]);
}

/* ---- what can be said before any model is open ------------------------------------------------
 */

/* Calls check for every slice, until something is wrong with one. */
static void check_slices(struct reader *d, const struct yaml_node *root,
                         void (*check)(struct reader *, const struct yaml_node *,
                                       const struct module *, const struct slice *))
{
    const struct recipe *r = d->r;
    for (uint32_t i = 0; i < r->nmodules; i++)
        for (uint32_t k = 0; k < r->modules[i].nslices && d->m.count == 0; k++) {
            const struct slice *s = &r->modules[i].slices[k];
            check(d, s->whole ? root : s->node, &r->modules[i], s);
        }
}

static void check_models(struct reader *d, const struct yaml_node *n, const struct module *module,
                         const struct slice *s)
{
    const struct method *m = d->r->method;
    (void)module;
    if ((m->base == BASE_MEMBER || m->base == BASE_ORIGIN) && s->base < 0) {
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "%s needs a base_model", m->name);
        return;
    }
    if (m->base == BASE_NONE && s->base >= 0) {
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "%s has no base_model" WANT "leave it out",
                     m->name);
        return;
    }
    if (s->nsources < m->min_models || s->nsources > m->max_models)
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "%u model%s%s" WANT "%s merges %s%u%s",
                     s->nsources, s->nsources == 1 ? "" : "s", s->base >= 0 ? " with the base" : "",
                     m->name, m->min_models < m->max_models ? "at least " : "", m->min_models,
                     s->base >= 0 ? ", the base_model included" : "");
    for (unsigned i = 0; s->base >= 0 && base_is_origin(m) && i < m->nparams; i++)
        if (s->sources[s->base].settings[i].nchoices > 0)
            reader_note(d, "%s under the base model has no effect in %s", m->params[i].name,
                        m->name);
    for (unsigned i = 0; i < s->nsources; i++)
        for (unsigned k = 0; k < i; k++)
            if (s->sources[i].model == s->sources[k].model &&
                s->sources[i].first == s->sources[k].first)
                reader_note(d, "%s is listed twice in the recipe",
                            ref_name(&d->r->models[s->sources[i].model].ref).text);
}

static void check_needed(struct reader *d, const struct yaml_node *n, const struct module *module,
                         const struct slice *s)
{
    (void)n;
    params_missing(d->r, module, s, &d->m);
}

static void check_values(struct reader *d, const struct yaml_node *n, const struct module *module,
                         const struct slice *s)
{
    const struct recipe *r = d->r;
    struct merge_values v;
    struct quern_error e;
    (void)n;
    if (!params_constant(r, module, s, &v))
        return;
    const enum quern_status status = r->method->check(&v, s->nsources, s->base, &e);
    if (status != QUERN_OK) {
        struct quern_error *slot = mistake(&d->m); /* never NULL: it is the first */
        *slot = e;
        in_file(slot, r->path, status);
    }
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void read_name(struct reader *d, const struct yaml_node *root)
{
    const struct yaml_node *n = yaml_get(root, "name");
    if (n && !yaml_is_null(n))
        reader_text(d, n, "name", "the name of a stage", &d->r->name);
}

static void read_tokenizer(struct reader *d, const struct yaml_node *root)
{
    struct recipe *r = d->r;
    const struct yaml_node *source = yaml_get(root, "tokenizer_source");
    const struct yaml_node *block = yaml_get(root, "tokenizer");
    const struct yaml_node *chat = yaml_get(root, "chat_template");
    source = source && !yaml_is_null(source) ? source : NULL;
    block = block && !yaml_is_null(block) ? block : NULL;
    if (source && block)
        reader_wrong(d, block, QUERN_EUSAGE, "recipe",
                     "tokenizer and tokenizer_source" WANT "expected one of them");
    else
        reader_tokenizer(d, source, block, &r->tokenizer);
    if (chat && !yaml_is_null(chat))
        reader_text(d, chat, "chat_template", "auto, a name or a template", &r->chat_template);
}

/* The one of models, slices and modules that is there. */
static void read_parts(struct reader *d, const struct yaml_node *root)
{
    static const char *const names[] = {"models", "slices", "modules"};
    static void (*const readers[])(struct reader *, const struct yaml_node *,
                                   struct module *) = {reader_models, reader_slices};
    const struct yaml_node *found[3];
    unsigned n = 0, which = 0;
    for (unsigned i = 0; i < 3; i++) {
        found[i] = yaml_get(root, names[i]);
        if (!found[i] || yaml_is_null(found[i]))
            continue;
        n++;
        which = i;
    }
    if (n != 1) {
        reader_wrong(d, root, QUERN_EUSAGE, "recipe",
                     n ? "more than one of models, slices and modules" WANT "expected one of them"
                       : "no models" WANT "expected models, slices or modules");
        return;
    }
    if (which == 2) {
        reader_modules(d, found[2]);
        return;
    }
    d->r->modules = reader_memory(d, ARENA_NEW(&d->r->arena, struct module, 1));
    if (!d->r->modules)
        return;
    d->r->nmodules = 1;
    readers[which](d, found[which], d->r->modules);
}

static void read_recipe(struct reader *d, const struct yaml_node *root)
{
    struct recipe *r = d->r;
    if (root->kind != YAML_IS_MAP) {
        reader_wrong(d, root, QUERN_EUSAGE, "recipe",
                     "the recipe is %s" WANT "expected keys such as merge_method and models",
                     yaml_is_null(root) ? "empty" : node_kind(root));
        return;
    }
    for (const struct yaml_node *n = root->first; n; n = n->next)
        check_top_key(d, n);
    if (!read_method(d, root))
        return;
    read_parts(d, root);
    reader_params(d, yaml_get(root, "parameters"), false, r->settings);
    const struct yaml_node *n;
    if ((n = yaml_get(root, "dtype")))
        reader_dtype(d, n, &r->dtype);
    if ((n = yaml_get(root, "out_dtype")))
        reader_dtype(d, n, &r->out_dtype);
    read_tokenizer(d, root);
    read_name(d, root);
    if (d->m.count == 0 && d->memory == QUERN_OK)
        place_bases(d, root);
    check_slices(d, root, check_models);
    check_slices(d, root, check_needed);
    check_slices(d, root, check_values);
}

enum quern_status recipe_read(struct recipe *r, const struct yaml_node *root, struct str text,
                              const char *path, const struct mistake_sink *sink,
                              struct quern_error *err)
{
    r->base = -1;
    r->dtype = r->out_dtype = DTYPE_COUNT;
    r->text = text;
    r->path = path;
    struct reader d = {.r = r, .m = {.sink = sink}};
    read_recipe(&d, root);
    if (d.memory != QUERN_OK)
        return fail_memory(err, sizeof(struct choice));
    return mistakes_end(&d.m, err);
}

enum quern_status recipe_parse(struct recipe *r, struct str text, const char *path,
                               const struct mistake_sink *sink, struct quern_error *err)
{
    *r = (struct recipe){0};
    const struct str copy = arena_str(&r->arena, text);
    const char *name = path ? arena_printf(&r->arena, "%s", path) : NULL;
    if (!copy.p || (path && !name))
        return fail_memory(err, text.n);
    const struct yaml_node *root;
    TRY(yaml_parse(copy, name, &r->arena, &root, err));
    return recipe_read(r, root, copy, name, sink, err);
}

void recipe_free(struct recipe *r)
{
    arena_free(&r->arena);
}

enum dtype recipe_out_dtype(const struct recipe *r)
{
    return r->out_dtype != DTYPE_COUNT ? r->out_dtype : r->dtype;
}
