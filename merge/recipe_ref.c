/* recipe_ref.c - references to models: path@revision+lora@revision, as text or as a map. */
#include "merge/recipe_reader.h"

/* ---- reading --------------------------------------------------------------------------------- */

static void read_weight(struct reader *d, const struct yaml_node *n, double *weight)
{
    if (!yaml_number(n, weight))
        reader_wrong(d, n, QUERN_EUSAGE, "value",
                     "the weight of an adapter is no number" WANT "expected a finite number");
}

/* "path@revision", or a map of the two. weight: of an adapter, or NULL. */
static void read_place(struct reader *d, const struct yaml_node *n, const char *what,
                       struct ref_place *place, double *weight)
{
    static const char *const keys[] = {"path", "revision", "weight"};
    if (n->kind != YAML_IS_MAP) {
        reader_text(d, n, what, "a path or the id of a model", &place->text);
        return;
    }
    for (const struct yaml_node *i = n->first; i; i = i->next) {
        if (str_is(i->key, "path"))
            reader_text(d, i, what, "a path or the id of a model", &place->path);
        else if (weight && str_is(i->key, "weight"))
            read_weight(d, i, weight);
        else if (!str_is(i->key, "revision"))
            reader_unknown_key(d, i, what, keys, weight ? 3 : 2);
        else if (!yaml_is_null(i))
            reader_text(d, i, "revision", "a branch, a tag or a commit", &place->revision);
    }
    if (!yaml_get(n, "path"))
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "%s has no 'path'", what);
}

/* An adapter, or a list of some: quern's own addition, as is their weight. */
static void read_loras(struct reader *d, const struct yaml_node *n, struct model_ref *ref)
{
    const bool many = n->kind == YAML_IS_LIST;
    for (const struct yaml_node *i = many ? n->first : n; i; i = many ? i->next : NULL) {
        if (ref->nloras == MAX_LORAS) {
            reader_wrong(d, i, QUERN_EUSAGE, "recipe", "more than %u adapters on one model",
                         MAX_LORAS);
            return;
        }
        struct ref_lora *lora = &ref->loras[ref->nloras++];
        lora->weight = 1;
        read_place(d, i, "lora", &lora->place, &lora->weight);
    }
}

void reader_ref(struct reader *d, const struct yaml_node *n, const char *what,
                struct model_ref *ref)
{
    static const char *const keys[] = {"model", "lora", "override_architecture", "path",
                                       "revision"};
    ref->line = n->line;
    if (n->kind != YAML_IS_MAP || yaml_get(n, "path")) {
        read_place(d, n, what, &ref->model, NULL);
        ref->whole = ref->model.text.n > 0;
        return;
    }
    for (const struct yaml_node *i = n->first; i; i = i->next) {
        if (str_is(i->key, "model"))
            read_place(d, i, what, &ref->model, NULL);
        else if (str_is(i->key, "lora") && !yaml_is_null(i))
            read_loras(d, i, ref);
        else if (str_is(i->key, "override_architecture") && !yaml_is_null(i))
            reader_text(d, i, "override_architecture", "the name of a class",
                        &ref->override_architecture);
        else if (!str_is(i->key, "lora") && !str_is(i->key, "override_architecture"))
            reader_unknown_key(d, i, what, keys, sizeof keys / sizeof *keys);
    }
    if (!yaml_get(n, "model"))
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "%s has no 'model' or 'path'", what);
}

/* ---- taking apart ---------------------------------------------------------------------------- */

static enum quern_status fail_form(const struct model_ref *ref, const char *sign,
                                   struct quern_error *err)
{
    return fail(err, QUERN_EUSAGE, "recipe",
                "'%s': '%s' is there twice or has nothing beside it" WANT
                "expected path@revision+lora@revision; names with such signs need the form "
                "{model: {path: ..., revision: ...}, lora: {path: ..., revision: ...}}",
                ref_name(ref).text, sign);
}

/* Splits s at the one place where sign is. False when there are two, or nothing beside it. */
static bool split_at(struct str s, char sign, struct str *before, struct str *after)
{
    *before = s;
    *after = (struct str){NULL, 0};
    const char *at = s.n ? memchr(s.p, sign, s.n) : NULL;
    if (!at)
        return true;
    before->n = (size_t)(at - s.p);
    *after = (struct str){at + 1, s.n - before->n - 1};
    return before->n > 0 && after->n > 0 && !memchr(after->p, sign, after->n);
}

static bool split_place(const struct ref_place *place, struct str *path, struct str *revision)
{
    *path = place->path;
    *revision = place->revision;
    return place->text.n == 0 || split_at(place->text, '@', path, revision);
}

enum quern_status ref_take_apart(const struct model_ref *ref, struct ref_parts *out,
                                 struct quern_error *err)
{
    struct ref_place model = ref->model;
    struct ref_lora only = {.weight = 1};
    if (ref->whole && !split_at(ref->model.text, '+', &model.text, &only.place.text))
        return fail_form(ref, "+", err);
    const bool in_text = only.place.text.n > 0;
    out->nloras = in_text ? 1 : ref->nloras;
    if (!split_place(&model, &out->path, &out->revision))
        return fail_form(ref, "@", err);
    for (unsigned i = 0; i < out->nloras; i++) {
        const struct ref_lora *lora = in_text ? &only : &ref->loras[i];
        out->loras[i].weight = lora->weight;
        if (!split_place(&lora->place, &out->loras[i].path, &out->loras[i].revision))
            return fail_form(ref, "@", err);
    }
    return QUERN_OK;
}

/* ---- comparing and naming -------------------------------------------------------------------- */

static struct str trimmed(struct str path)
{
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    return path;
}

/* However it is written. */
bool ref_same(const struct model_ref *a, const struct model_ref *b)
{
    struct ref_parts x, y;
    if (ref_take_apart(a, &x, NULL) != QUERN_OK || ref_take_apart(b, &y, NULL) != QUERN_OK)
        return str_eq(trimmed(ref_text(a)), trimmed(ref_text(b)));
    bool same = str_eq(trimmed(x.path), trimmed(y.path)) && str_eq(x.revision, y.revision) &&
                x.nloras == y.nloras;
    for (unsigned i = 0; same && i < x.nloras; i++)
        same = str_eq(trimmed(x.loras[i].path), trimmed(y.loras[i].path)) &&
               str_eq(x.loras[i].revision, y.loras[i].revision) &&
               x.loras[i].weight == y.loras[i].weight;
    return same;
}

struct str ref_text(const struct model_ref *ref)
{
    return ref->model.text.n ? ref->model.text : ref->model.path;
}

struct quoted ref_name(const struct model_ref *ref)
{
    return quoted(ref_text(ref));
}
