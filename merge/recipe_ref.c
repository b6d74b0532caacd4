/* recipe_ref.c - references to models: path@revision+lora@revision, as text or as a map. */
#include "merge/recipe_reader.h"

/* ---- reading --------------------------------------------------------------------------------- */

/* "path@revision", or a map of the two. */
static void read_place(struct reader *d, const struct yaml_node *n, const char *what,
                       struct ref_place *place)
{
    static const char *const keys[] = {"path", "revision"};
    if (n->kind != YAML_IS_MAP) {
        reader_text(d, n, what, "a path or the id of a model", &place->text);
        return;
    }
    for (const struct yaml_node *i = n->first; i; i = i->next) {
        if (str_is(i->key, "path"))
            reader_text(d, i, what, "a path or the id of a model", &place->path);
        else if (!str_is(i->key, "revision"))
            reader_unknown_key(d, i, what, keys, 2);
        else if (!yaml_is_null(i))
            reader_text(d, i, "revision", "a branch, a tag or a commit", &place->revision);
    }
    if (!yaml_get(n, "path"))
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "%s has no 'path'", what);
}

void reader_ref(struct reader *d, const struct yaml_node *n, const char *what,
                struct model_ref *ref)
{
    static const char *const keys[] = {"model", "lora", "override_architecture", "path",
                                       "revision"};
    ref->line = n->line;
    if (n->kind != YAML_IS_MAP || yaml_get(n, "path")) {
        read_place(d, n, what, &ref->model);
        ref->whole = ref->model.text.n > 0;
        return;
    }
    for (const struct yaml_node *i = n->first; i; i = i->next) {
        if (str_is(i->key, "model"))
            read_place(d, i, what, &ref->model);
        else if (str_is(i->key, "lora") && !yaml_is_null(i))
            read_place(d, i, "lora", &ref->lora);
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
    struct ref_place model = ref->model, lora = ref->lora;
    if (ref->whole && !split_at(ref->model.text, '+', &model.text, &lora.text))
        return fail_form(ref, "+", err);
    if (!split_place(&model, &out->path, &out->revision) ||
        !split_place(&lora, &out->lora, &out->lora_revision))
        return fail_form(ref, "@", err);
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
    return str_eq(trimmed(x.path), trimmed(y.path)) && str_eq(x.revision, y.revision) &&
           str_eq(trimmed(x.lora), trimmed(y.lora)) && str_eq(x.lora_revision, y.lora_revision);
}

struct str ref_text(const struct model_ref *ref)
{
    return ref->model.text.n ? ref->model.text : ref->model.path;
}

struct quoted ref_name(const struct model_ref *ref)
{
    return quoted(ref_text(ref));
}
