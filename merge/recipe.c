/* recipe.c - mergekit's YAML schema, strictly. */
#include "merge/recipe.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "merge/mistakes.h"
#include "merge/params.h"

#define MAX_CHOICES 4096u

/* What is being read, and all that is wrong with it. */
struct reader {
    struct recipe *r;
    struct mistakes m;
    enum quern_status memory; /* QUERN_EMEMORY once memory ran out */
};

static void wrong(struct reader *d, const struct yaml_node *n, enum quern_status status,
                  const char *kind, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* A mistake at a node. A recipe made of options has no lines to speak of. */
static void wrong(struct reader *d, const struct yaml_node *n, enum quern_status status,
                  const char *kind, const char *format, ...)
{
    char text[900];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct quern_error *e = mistake(&d->m);
    if (d->r->path && n)
        fail(e, status, kind, "line %" PRIu32 ": %s", n->line, text);
    else
        fail(e, status, kind, "%s", text);
    in_file(e, d->r->path, status);
}

static void *need_memory(struct reader *d, void *p)
{
    if (!p)
        d->memory = QUERN_EMEMORY;
    return p;
}

static void note(struct reader *d, const char *format, const char *word, const char *method)
{
    struct recipe *r = d->r;
    char *text = need_memory(d, arena_printf(&r->arena, "%s %s %s", word, format, method));
    for (uint32_t i = 0; text && i < r->nnotes; i++)
        if (strcmp(r->notes[i], text) == 0)
            return;
    const char **notes = need_memory(d, ARENA_NEW(&r->arena, const char *, r->nnotes + 1));
    if (!notes || !text)
        return;
    if (r->nnotes)
        memcpy(notes, r->notes, r->nnotes * sizeof *notes);
    notes[r->nnotes++] = text;
    r->notes = notes;
}

static const char *kind_name(const struct yaml_node *n)
{
    if (n->kind == YAML_IS_LIST)
        return "a list";
    if (n->kind == YAML_IS_MAP)
        return "a map";
    return yaml_is_null(n) ? "nothing" : "text";
}

/* ---- model references ----------------------------------------------------------------------- */

static bool text_of(struct reader *d, const struct yaml_node *n, const char *what, struct str *out)
{
    if (n->kind == YAML_IS_SCALAR && !yaml_is_null(n) && n->text.n > 0) {
        *out = n->text;
        return true;
    }
    wrong(d, n, QUERN_EUSAGE, "recipe", "%s is %s" WANT "expected %s", what, kind_name(n),
          "a path or the id of a model");
    return false;
}

static void read_ref(struct reader *d, const struct yaml_node *n, const char *what,
                     struct model_ref *ref);

static void read_ref_key(struct reader *d, const struct yaml_node *n, const char *what,
                         struct model_ref *ref)
{
    if (str_is(n->key, "model"))
        read_ref(d, n, what, ref);
    else if (str_is(n->key, "path"))
        text_of(d, n, what, &ref->path);
    else if (yaml_is_null(n) && (str_is(n->key, "revision") || str_is(n->key, "lora") ||
                                 str_is(n->key, "override_architecture")))
        return;
    else if (str_is(n->key, "revision"))
        text_of(d, n, "revision", &ref->revision);
    else if (str_is(n->key, "lora") || str_is(n->key, "override_architecture"))
        wrong(d, n, QUERN_EUNSUPPORTED, "recipe", "%s: '%s' is not supported yet", what, n->key.p);
    else
        wrong(d, n, QUERN_EUSAGE, "unknown-key",
              "%s: unknown key '%s'" WANT "expected model, path or revision", what,
              quoted(n->key).text);
}

/* "path@revision", or a map of path and revision, which may be wrapped in a map with 'model'. */
static void read_ref(struct reader *d, const struct yaml_node *n, const char *what,
                     struct model_ref *ref)
{
    ref->line = n->line;
    if (n->kind != YAML_IS_MAP) {
        text_of(d, n, what, &ref->text);
        return;
    }
    for (const struct yaml_node *i = n->first; i; i = i->next)
        read_ref_key(d, i, what, ref);
    if (ref->path.n == 0 && ref->text.n == 0 && n->count == 0)
        wrong(d, n, QUERN_EUSAGE, "recipe", "%s is an empty map" WANT "expected a path", what);
}

static struct str trimmed(struct str path)
{
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    return path;
}

static bool same_ref(const struct model_ref *a, const struct model_ref *b)
{
    return str_eq(trimmed(a->text), trimmed(b->text)) &&
           str_eq(trimmed(a->path), trimmed(b->path)) && str_eq(a->revision, b->revision);
}

struct quoted ref_name(const struct model_ref *ref)
{
    return quoted(ref->text.n ? ref->text : ref->path);
}

/* ---- parameters ------------------------------------------------------------------------------ */

static bool read_number(struct reader *d, const struct yaml_node *n, struct str param, double *out)
{
    bool truth;
    if (yaml_number(n, out))
        return true;
    if (yaml_bool(n, &truth)) {
        *out = truth;
        return true;
    }
    wrong(d, n, QUERN_EUSAGE, "value", "%s: %s%s%s" WANT "expected a finite number, true or false",
          param.p, n->kind == YAML_IS_SCALAR ? "'" : "",
          n->kind == YAML_IS_SCALAR ? quoted(n->text).text : kind_name(n),
          n->kind == YAML_IS_SCALAR ? "'" : "");
    return false;
}

/* A number, or a list of numbers. */
static bool read_values(struct reader *d, const struct yaml_node *n, struct str param,
                        struct choice *c)
{
    const bool list = n->kind == YAML_IS_LIST;
    const uint32_t count = list ? n->count : 1;
    if (count == 0 || count > MAX_CHOICES) {
        wrong(d, n, QUERN_EUSAGE, "value", "%s: a list of %" PRIu32 " values", param.p, count);
        return false;
    }
    double *values = need_memory(d, ARENA_NEW(&d->r->arena, double, count));
    if (!values)
        return false;
    const struct yaml_node *item = list ? n->first : n;
    for (uint32_t i = 0; i < count; i++, item = item->next)
        if (!read_number(d, item, param, &values[i]))
            return false;
    c->values = values;
    c->nvalues = count;
    return true;
}

/* {filter?, value}. */
static bool read_conditional(struct reader *d, const struct yaml_node *n, struct str param,
                             struct choice *c)
{
    const struct yaml_node *value = NULL;
    for (const struct yaml_node *i = n->first; i; i = i->next) {
        if (str_is(i->key, "value")) {
            value = i;
        } else if (str_is(i->key, "filter") && i->kind == YAML_IS_SCALAR) {
            if (!yaml_is_null(i) && !str_is(i->text, "*"))
                c->filter = i->text;
        } else {
            const char *const keys[] = {"filter", "value"};
            const char *near = closest(i->key, keys, 2);
            wrong(d, i, QUERN_EUSAGE, "unknown-key", "%s: key '%s'" WANT "%s%s%s", param.p,
                  quoted(i->key).text, near ? "did you mean '" : "expected 'filter' and 'value'",
                  near ? near : "", near ? "'?" : "");
            return false;
        }
    }
    if (!value) {
        wrong(d, n, QUERN_EUSAGE, "value", "%s: no 'value' for filter '%s'", param.p,
              quoted(c->filter).text);
        return false;
    }
    return read_values(d, value, param, c);
}

static bool read_choice(struct reader *d, const struct yaml_node *n, struct str param,
                        struct choice *c)
{
    c->line = n->line;
    return n->kind == YAML_IS_MAP ? read_conditional(d, n, param, c) : read_values(d, n, param, c);
}

static void read_setting(struct reader *d, const struct yaml_node *n, struct setting *s)
{
    const bool list = n->kind == YAML_IS_LIST && n->first && n->first->kind == YAML_IS_MAP;
    const uint32_t count = list ? n->count : 1;
    if (count > MAX_CHOICES) {
        wrong(d, n, QUERN_EUSAGE, "value", "%s: a list of %" PRIu32 " entries", n->key.p, count);
        return;
    }
    struct choice *choices = need_memory(d, ARENA_NEW(&d->r->arena, struct choice, count));
    if (!choices)
        return;
    const struct yaml_node *item = list ? n->first : n;
    for (uint32_t i = 0; i < count; i++, item = item->next) {
        if (list && item->kind != YAML_IS_MAP) {
            wrong(d, item, QUERN_EUSAGE, "value",
                  "%s: numbers and entries with a filter in one list", n->key.p);
            return;
        }
        if (!read_choice(d, item, n->key, &choices[i]))
            return;
    }
    s->choices = choices;
    s->nchoices = count;
}

static void unknown_param(struct reader *d, const struct yaml_node *n)
{
    const char *near = closest_param(d->r->method, n->key);
    if (near)
        wrong(d, n, QUERN_EUSAGE, "unknown-key", "unknown parameter '%s'" WANT "did you mean '%s'?",
              quoted(n->key).text, near);
    else
        wrong(d, n, QUERN_EUSAGE, "unknown-key", "%s has no parameter '%s'", d->r->method->name,
              quoted(n->key).text);
}

/* The parameters of the recipe (of_model false) or of one model. */
static void read_params(struct reader *d, const struct yaml_node *n, bool of_model,
                        struct setting *settings)
{
    const struct method *method = d->r->method;
    if (!n || yaml_is_null(n))
        return;
    if (n->kind != YAML_IS_MAP) {
        wrong(d, n, QUERN_EUSAGE, "recipe", "parameters is %s" WANT "expected a map", kind_name(n));
        return;
    }
    for (const struct yaml_node *i = n->first; i; i = i->next) {
        const int p = method_param_index(method, i->key);
        if (p >= 0 && of_model && !method->params[p].per_model)
            note(d, "under a model has no effect in", i->key.p, method->name);
        else if (p >= 0)
            read_setting(d, i, &settings[p]);
        else if (param_without_effect(i->key))
            note(d, "has no effect in", i->key.p, method->name);
        else
            unknown_param(d, i);
    }
}

/* ---- the recipe ------------------------------------------------------------------------------ */

static void unknown_key(struct reader *d, const struct yaml_node *n, const char *where,
                        const char *const *keys, size_t nkeys)
{
    const char *near = closest(n->key, keys, nkeys);
    if (near)
        wrong(d, n, QUERN_EUSAGE, "unknown-key", "unknown key '%s' in %s" WANT "did you mean '%s'?",
              quoted(n->key).text, where, near);
    else
        wrong(d, n, QUERN_EUSAGE, "unknown-key", "unknown key '%s' in %s", quoted(n->key).text,
              where);
}

static void read_model(struct reader *d, const struct yaml_node *n)
{
    static const char *const keys[] = {"model", "parameters"};
    struct recipe *r = d->r;
    if (n->kind != YAML_IS_MAP || !yaml_get(n, "model")) {
        wrong(d, n, QUERN_EUSAGE, "recipe", "an entry of models without the key 'model'");
        return;
    }
    if (r->nmodels == MAX_SOURCES) {
        wrong(d, n, QUERN_EUSAGE, "recipe", "more than %u models", MAX_SOURCES);
        return;
    }
    struct recipe_model *model = &r->models[r->nmodels++];
    for (const struct yaml_node *i = n->first; i; i = i->next) {
        if (str_is(i->key, "model"))
            read_ref(d, i, "model", &model->ref);
        else if (str_is(i->key, "parameters"))
            read_params(d, i, true, model->settings);
        else if (str_is(i->key, "layer_range"))
            wrong(d, i, QUERN_EUNSUPPORTED, "recipe", "'layer_range' is not supported yet");
        else
            unknown_key(d, i, "an entry of models", keys, 2);
    }
}

static void read_models(struct reader *d, const struct yaml_node *n)
{
    if (n->kind != YAML_IS_LIST || n->count == 0) {
        wrong(d, n, QUERN_EUSAGE, "recipe", "models is %s" WANT "expected a list of models",
              n->kind == YAML_IS_LIST ? "empty" : kind_name(n));
        return;
    }
    for (const struct yaml_node *i = n->first; i; i = i->next)
        read_model(d, i);
}

static void read_dtype(struct reader *d, const struct yaml_node *n, enum dtype *out)
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
    wrong(d, n, QUERN_EUSAGE, "dtype",
          "%s '%s'" WANT "expected float32, float16, bfloat16 or float64", n->key.p,
          n->kind == YAML_IS_SCALAR ? quoted(n->text).text : kind_name(n));
}

static bool read_method(struct reader *d, const struct yaml_node *root)
{
    const struct yaml_node *n = yaml_get(root, "merge_method");
    if (!n || n->kind != YAML_IS_SCALAR || n->text.n == 0) {
        wrong(d, n ? n : root, QUERN_EUSAGE, "recipe",
              "no merge_method" WANT "expected for example 'merge_method: slerp'");
        return false;
    }
    struct quern_error e;
    const enum quern_status status = method_find(n->text, &d->r->method, &e);
    if (status != QUERN_OK)
        wrong(d, n, status, e.kind, "%s" WANT "%s", e.found, e.expected);
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
    {"tokenizer_source", NOT_YET  },
    {"tokenizer",        NOT_YET  },
    {"chat_template",    NOT_YET  },
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
            wrong(d, n, QUERN_EUNSUPPORTED, "recipe", "'%s' is not supported yet%s", names[i],
                  str_is(n->key, "slices") ? WANT
                      "list the models under 'models' to merge all their layers"
                                           : "");
        else if (top_keys[i].use == IGNORE_IT)
            note(d, "has no effect in", names[i], "a recipe");
        return;
    }
    unknown_key(d, n, "the recipe", names, NTOP_KEYS);
}

/* Finds the base among the models, or adds it as the last of them. */
static void place_base(struct reader *d, const struct model_ref *base)
{
    struct recipe *r = d->r;
    for (unsigned i = 0; i < r->nmodels; i++)
        if (same_ref(&r->models[i].ref, base)) {
            r->base = (int)i;
            return;
        }
    if (r->nmodels == MAX_SOURCES) {
        wrong(d, NULL, QUERN_EUSAGE, "recipe", "more than %u models with the base", MAX_SOURCES);
        return;
    }
    r->base = (int)r->nmodels;
    r->models[r->nmodels++].ref = *base;
}

static void check_models(struct reader *d, const struct yaml_node *root)
{
    const struct recipe *r = d->r;
    const struct method *m = r->method;
    if ((m->base == BASE_MEMBER || m->base == BASE_ORIGIN) && r->base < 0) {
        wrong(d, root, QUERN_EUSAGE, "recipe", "%s needs a base_model", m->name);
        return;
    }
    if (m->base == BASE_NONE && r->base >= 0) {
        wrong(d, root, QUERN_EUSAGE, "recipe", "%s has no base_model" WANT "leave it out", m->name);
        return;
    }
    if (r->nmodels < m->min_models || r->nmodels > m->max_models)
        wrong(d, root, QUERN_EUSAGE, "recipe", "%u model%s%s" WANT "%s merges %s%u%s", r->nmodels,
              r->nmodels == 1 ? "" : "s", r->base >= 0 ? " with the base" : "", m->name,
              m->min_models < m->max_models ? "at least " : "", m->min_models,
              r->base >= 0 ? ", the base included" : "");
    if (base_is_origin(m) && r->base >= 0)
        for (unsigned i = 0; i < m->nparams; i++)
            if (r->models[r->base].settings[i].nchoices > 0)
                note(d, "under the base model has no effect in", m->params[i].name, m->name);
    for (unsigned i = 0; i < r->nmodels; i++)
        for (unsigned k = 0; k < i; k++)
            if (same_ref(&r->models[i].ref, &r->models[k].ref))
                note(d, "is listed twice in", ref_name(&r->models[i].ref).text, "the recipe");
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

static void read_recipe(struct reader *d, const struct yaml_node *root)
{
    struct recipe *r = d->r;
    if (root->kind != YAML_IS_MAP) {
        wrong(d, root, QUERN_EUSAGE, "recipe",
              "the recipe is %s" WANT "expected keys such as merge_method and models",
              kind_name(root));
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
        wrong(d, root, QUERN_EUSAGE, "recipe", "no models");
    read_params(d, yaml_get(root, "parameters"), false, r->settings);
    if ((n = yaml_get(root, "dtype")))
        read_dtype(d, n, &r->dtype);
    if ((n = yaml_get(root, "out_dtype")))
        read_dtype(d, n, &r->out_dtype);
    if ((n = yaml_get(root, "base_model")) && !yaml_is_null(n)) {
        struct model_ref base = {0};
        read_ref(d, n, "base_model", &base);
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
