/* manifest_matrix.c - the combinations of a matrix, and texts with its variables. */
#include <stdlib.h>
#include <string.h>

#include "manifest_reader.h"

/* ---- texts ---------------------------------------------------------------------------------- */

struct filling {
    char text[MANIFEST_MAX_TEXT + 1];
    size_t n;
    bool overflow;
};

static void put(struct filling *f, struct str s)
{
    if (s.n > MANIFEST_MAX_TEXT - f->n) {
        f->overflow = true;
        return;
    }
    memcpy(f->text + f->n, s.p, s.n);
    f->n += s.n;
}

/* The name of a model without its directory and what says its format. */
static struct str short_name(struct str path)
{
    static const char *const known[] = {".gguf", ".safetensors", ".qpk", ".yml", ".yaml", ".dat"};
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    for (size_t i = path.n; i > 0; i--)
        if (path.p[i - 1] == '/' && i < path.n) {
            path = (struct str){path.p + i, path.n - i};
            break;
        }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (str_ends(path, known[i]) && path.n > strlen(known[i]))
            return (struct str){path.p, path.n - strlen(known[i])};
    return path;
}

static bool put_variable(struct filling *f, struct str name, const struct bindings *b)
{
    const char *dot = memchr(name.p, '.', name.n);
    const struct str plain = {name.p, dot ? (size_t)(dot - name.p) : name.n};
    const struct str part = {name.p + plain.n, name.n - plain.n};
    if (dot && !str_is(part, ".name"))
        return false;
    for (uint32_t i = 0; i < b->count; i++)
        if (str_eq(b->names[i], plain)) {
            put(f, dot ? short_name(b->values[i]) : b->values[i]);
            return true;
        }
    return false;
}

static void unknown_variable(struct manifest_reader *r, const struct yaml_node *n, struct str name,
                             const struct bindings *b)
{
    char known[400] = "none";
    size_t used = 0;
    for (uint32_t i = 0; i < b->count && used < sizeof known - 1; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "",
                                 quoted(b->names[i]).text);
    manifest_wrong(r, n->line, "variable",
                   "'{%s}' is no variable of the matrix" WANT
                   "expected {NAME} or {NAME.name}, known: %s; {{ and }} stand for braces",
                   quoted(name).text, known);
}

/* False after a mistake. */
static bool fill(struct manifest_reader *r, const struct yaml_node *n, struct str text,
                 const struct bindings *b, struct filling *f)
{
    for (size_t i = 0; i < text.n; i++) {
        const char c = text.p[i];
        if ((c == '{' || c == '}') && i + 1 < text.n && text.p[i + 1] == c) {
            put(f, (struct str){&text.p[i++], 1});
            continue;
        }
        if (c != '{') {
            put(f, (struct str){&text.p[i], 1});
            continue;
        }
        const char *end = memchr(text.p + i, '}', text.n - i);
        const struct str name = {text.p + i + 1,
                                 end ? (size_t)(end - text.p) - i - 1 : text.n - i - 1};
        if (!end || !put_variable(f, name, b)) {
            unknown_variable(r, n, name, b);
            return false;
        }
        i = (size_t)(end - text.p);
    }
    return true;
}

const char *manifest_fill(struct manifest_reader *r, const struct yaml_node *n, const char *what,
                          const struct bindings *b)
{
    struct filling f;
    struct str text;
    f.n = 0; /* its text stays as it is: there are many of these */
    f.overflow = false;
    if (!manifest_text(r, n, what, &text) || !fill(r, n, text, b, &f))
        return NULL;
    if (f.overflow || f.n == 0) {
        manifest_wrong(r, n->line, "manifest", "%s is %s", what,
                       f.n ? "longer than 4096 bytes" : "empty");
        return NULL;
    }
    return manifest_memory(r, (void *)arena_str(&r->m->arena, (struct str){f.text, f.n}).p);
}

/* ---- the matrix ----------------------------------------------------------------------------- */

struct axis {
    struct str name;
    const struct yaml_node *list;    /* or the only value */
    const struct yaml_node *current; /* the value whose turn it is */
    uint32_t count;
};

struct matrix {
    struct axis axes[MANIFEST_MAX_VARS];
    uint32_t naxes;
    uint64_t ncombinations;
};

static bool is_name(struct str s)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    return s.n > 0 && s.n < 64 && strspn(s.p, letters) >= s.n && !strchr("0123456789", s.p[0]);
}

static const struct yaml_node *first_value(const struct axis *a)
{
    return a->list->kind == YAML_IS_LIST ? a->list->first : a->list;
}

static bool take_axis(struct manifest_reader *r, const struct yaml_node *n, struct axis *a)
{
    struct str text;
    *a = (struct axis){.name = n->key, .list = n, .count = n->kind == YAML_IS_LIST ? n->count : 1};
    if (!is_name(n->key)) {
        manifest_wrong(r, n->line, "variable",
                       "'%s' is no name of a variable" WANT "expected letters, digits and _",
                       quoted(n->key).text);
        return false;
    }
    if (a->count == 0) {
        manifest_wrong(r, n->line, "variable", "variable '%s' has no values", quoted(n->key).text);
        return false;
    }
    const struct yaml_node *value = a->current = first_value(a);
    for (uint32_t i = 0; i < a->count; i++, value = value->next)
        if (!manifest_text(r, value, "a value of the matrix", &text))
            return false;
    return true;
}

static bool take_matrix(struct manifest_reader *r, const struct yaml_node *n, struct matrix *m)
{
    bool good = true;
    *m = (struct matrix){.ncombinations = 1};
    if (!n)
        return true;
    if (n->kind != YAML_IS_MAP || n->count == 0 || n->count > MANIFEST_MAX_VARS) {
        manifest_wrong(r, n->line, "manifest",
                       "the matrix is no map of variables" WANT
                       "expected 1 to %u of NAME: [VALUE, ...]",
                       MANIFEST_MAX_VARS);
        return false;
    }
    for (const struct yaml_node *v = n->first; v; v = v->next) {
        struct axis *a = &m->axes[m->naxes++];
        good &= take_axis(r, v, a);
        /* At most 16 lists of a text of 1 MiB: no overflow once it is cut here. */
        if (m->ncombinations <= MANIFEST_MAX_JOBS)
            m->ncombinations *= a->count;
    }
    return good;
}

/* The next combination, the last variable first. False after the last. */
static bool step(struct matrix *m)
{
    for (uint32_t i = m->naxes; i-- > 0;) {
        struct axis *a = &m->axes[i];
        if (a->list->kind == YAML_IS_LIST && a->current->next) {
            a->current = a->current->next;
            return true;
        }
        a->current = first_value(a);
    }
    return false;
}

static void bind(const struct matrix *m, struct bindings *b)
{
    b->count = m->naxes;
    for (uint32_t i = 0; i < m->naxes; i++) {
        b->names[i] = m->axes[i].name;
        b->values[i] = m->axes[i].current->text;
    }
}

/* ---- include and exclude -------------------------------------------------------------------- */

/* Every member of the map is a variable that has this value. */
static bool applies(const struct yaml_node *rule, const struct bindings *b)
{
    for (const struct yaml_node *n = rule->first; n; n = n->next) {
        bool same = false;
        for (uint32_t i = 0; i < b->count; i++)
            same |= str_eq(b->names[i], n->key) && str_eq(b->values[i], n->text);
        if (!same)
            return false;
    }
    return true;
}

static bool is_excluded(const struct yaml_node *rules, const struct bindings *b)
{
    for (const struct yaml_node *rule = rules ? rules->first : NULL; rule; rule = rule->next)
        if (applies(rule, b))
            return true;
    return false;
}

static const struct axis *axis_of(const struct matrix *m, struct str name)
{
    for (uint32_t i = 0; i < m->naxes; i++)
        if (str_eq(m->axes[i].name, name))
            return &m->axes[i];
    return NULL;
}

static bool has_value(const struct axis *a, struct str value)
{
    const struct yaml_node *n = first_value(a);
    for (uint32_t i = 0; i < a->count; i++, n = n->next)
        if (str_eq(n->text, value))
            return true;
    return false;
}

/* One variable of a rule. What excludes nothing is misspelt. */
static bool check_value(struct manifest_reader *r, const struct yaml_node *n,
                        const struct matrix *m, bool whole)
{
    struct str text;
    const struct axis *a = axis_of(m, n->key);
    if (!a && !(whole && m->naxes == 0 && is_name(n->key))) {
        manifest_wrong(r, n->line, "variable", "'%s' is no variable of the matrix",
                       quoted(n->key).text);
        return false;
    }
    if (!manifest_text(r, n, "a value", &text))
        return false;
    if (whole || has_value(a, text))
        return true;
    manifest_wrong(r, n->line, "variable", "'%s' is no value of '%s': nothing is excluded",
                   quoted(text).text, quoted(n->key).text);
    return false;
}

/* A list of maps with variables of the matrix; whole: all of them. */
static bool check_rules(struct manifest_reader *r, const struct yaml_node *rules,
                        const struct matrix *m, const char *what, bool whole)
{
    bool good = true;
    if (!rules)
        return true;
    if (rules->kind != YAML_IS_LIST) {
        manifest_wrong(r, rules->line, "manifest", "'%s' is no list of maps", what);
        return false;
    }
    for (const struct yaml_node *rule = rules->first; rule; rule = rule->next) {
        if (rule->kind != YAML_IS_MAP || rule->count == 0 ||
            (whole && m->naxes && rule->count != m->naxes) || rule->count > MANIFEST_MAX_VARS) {
            manifest_wrong(r, rule->line, "manifest",
                           "an entry of '%s' is no map" WANT "expected values of %svariables", what,
                           whole ? "all " : "");
            good = false;
            continue;
        }
        for (const struct yaml_node *n = rule->first; n; n = n->next)
            good &= check_value(r, n, m, whole);
    }
    return good;
}

static bool is_too_many(struct manifest_reader *r, const struct yaml_node *entry, uint64_t n)
{
    if (n <= MANIFEST_MAX_JOBS - r->m->njobs)
        return false;
    manifest_wrong(r, entry->line, "too-large",
                   "there are more than %u jobs" WANT "expected a manifest that is cut in several",
                   MANIFEST_MAX_JOBS);
    r->full = true;
    return true;
}

void manifest_expand(struct manifest_reader *r, const struct yaml_node *entry, manifest_job_fn *job,
                     void *more)
{
    const struct yaml_node *include = yaml_get(entry, "include"),
                           *exclude = yaml_get(entry, "exclude");
    struct matrix m;
    struct bindings b = {.count = 0};
    if (!take_matrix(r, yaml_get(entry, "matrix"), &m) ||
        !check_rules(r, exclude, &m, "exclude", false) ||
        !check_rules(r, include, &m, "include", true) ||
        is_too_many(r, entry, m.ncombinations + (include ? include->count : 0)))
        return;
    /* Without a matrix there is one job, or those that are included. */
    if (m.naxes > 0 || !include)
        do {
            bind(&m, &b);
            if (!is_excluded(exclude, &b))
                job(r, entry, &b, more);
        } while (!r->full && step(&m));
    for (const struct yaml_node *n = include ? include->first : NULL; n && !r->full; n = n->next) {
        b.count = 0;
        for (const struct yaml_node *v = n->first; v; v = v->next) {
            b.names[b.count] = v->key;
            b.values[b.count++] = v->text;
        }
        job(r, entry, &b, more);
    }
}
