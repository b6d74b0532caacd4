/* recipe_params.c - read parameters: numbers, lists of them, filters. */
#include <inttypes.h>

#include "merge/recipe_reader.h"

#define MAX_CHOICES 4096u

static bool read_number(struct reader *d, const struct yaml_node *n, struct str param, double *out)
{
    bool truth;
    if (yaml_number(n, out))
        return true;
    if (yaml_bool(n, &truth)) {
        *out = truth;
        return true;
    }
    reader_wrong(d, n, QUERN_EUSAGE, "value",
                 "%s: %s%s%s" WANT "expected a finite number, true or false", quoted(param).text,
                 n->kind == YAML_IS_SCALAR ? "'" : "",
                 n->kind == YAML_IS_SCALAR ? quoted(n->text).text : node_kind(n),
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
        reader_wrong(d, n, QUERN_EUSAGE, "value",
                     "%s: a list of %" PRIu32 " values" WANT "expected 1 to %u", quoted(param).text,
                     count, MAX_CHOICES);
        return false;
    }
    double *values = reader_memory(d, ARENA_NEW(&d->r->arena, double, count));
    if (!values)
        return false;
    const struct yaml_node *item = list ? n->first : n;
    for (uint32_t i = 0; item && i < count; i++, item = item->next)
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
            reader_wrong(d, i, QUERN_EUSAGE, "unknown-key", "%s: key '%s'" WANT "%s%s%s",
                         quoted(param).text, quoted(i->key).text,
                         near ? "did you mean '" : "expected 'filter' and 'value'",
                         near ? near : "", near ? "'?" : "");
            return false;
        }
    }
    if (!value) {
        reader_wrong(d, n, QUERN_EUSAGE, "value", "%s: no 'value' for filter '%s'",
                     quoted(param).text, quoted(c->filter).text);
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
        reader_wrong(d, n, QUERN_EUSAGE, "value", "%s: a list of %" PRIu32 " entries",
                     quoted(n->key).text, count);
        return;
    }
    struct choice *choices = reader_memory(d, ARENA_NEW(&d->r->arena, struct choice, count));
    if (!choices)
        return;
    const struct yaml_node *item = list ? n->first : n;
    for (uint32_t i = 0; item && i < count; i++, item = item->next) {
        if (list && item->kind != YAML_IS_MAP) {
            reader_wrong(d, item, QUERN_EUSAGE, "value",
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
        reader_wrong(d, n, QUERN_EUSAGE, "unknown-key",
                     "unknown parameter '%s'" WANT "did you mean '%s'?", quoted(n->key).text, near);
    else
        reader_wrong(d, n, QUERN_EUSAGE, "unknown-key", "%s has no parameter '%s'",
                     d->r->method->name, quoted(n->key).text);
}

/* The parameters of the recipe (of_model false) or of one model. */
void reader_params(struct reader *d, const struct yaml_node *n, bool of_model,
                   struct setting *settings)
{
    const struct method *method = d->r->method;
    if (!n || yaml_is_null(n))
        return;
    if (n->kind != YAML_IS_MAP) {
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "parameters is %s" WANT "expected a map",
                     node_kind(n));
        return;
    }
    for (const struct yaml_node *i = n->first; i; i = i->next) {
        const int p = method_param_index(method, i->key);
        if (p >= 0 && of_model && !method->params[p].per_model)
            reader_note(d, "%s under a model has no effect in %s", quoted(i->key).text,
                        method->name);
        else if (p >= 0)
            read_setting(d, i, &settings[p]);
        else if (param_without_effect(i->key))
            reader_note(d, "%s has no effect in %s", quoted(i->key).text, method->name);
        else
            unknown_param(d, i);
    }
}
