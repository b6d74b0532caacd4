/* params.c - precedence, filters and gradients. */
#include "merge/params.h"

#include <inttypes.h>
#include <stdlib.h>

static bool fits(const struct choice *c, struct str tensor)
{
    return c->filter.n == 0 || memmem(tensor.p, tensor.n, c->filter.p, c->filter.n) != NULL;
}

static double gradient(const struct choice *c, double position)
{
    const double at = position * (c->nvalues - 1);
    const uint32_t i = (uint32_t)at;
    const uint32_t next = i + 1 < c->nvalues ? i + 1 : i;
    const double part = at - i;
    return (1 - part) * c->values[i] + part * c->values[next];
}

static bool look_up(const struct setting *s, struct str tensor, double position, double *out)
{
    for (uint32_t i = 0; i < s->nchoices; i++) {
        const struct choice *c = &s->choices[i];
        if (!fits(c, tensor))
            continue;
        *out = c->nvalues == 1 ? c->values[0] : gradient(c, position);
        return true;
    }
    return false;
}

/* Does the base need this parameter, or any? */
static bool concerns(const struct recipe *r, unsigned model, const struct method_param *p)
{
    return p->per_model && !((int)model == r->base && base_is_origin(r->method));
}

static bool is_constant(const struct setting *s)
{
    return s->nchoices == 0 ||
           (s->nchoices == 1 && s->choices[0].filter.n == 0 && s->choices[0].nvalues == 1);
}

bool params_constant(const struct recipe *r, struct merge_values *out)
{
    struct mistakes none = {0};
    for (unsigned i = 0; i < r->method->nparams; i++) {
        if (!is_constant(&r->settings[i]))
            return false;
        for (unsigned m = 0; m < r->nmodels; m++)
            if (!is_constant(&r->models[m].settings[i]))
                return false;
    }
    params_of(r, STR(""), 0, out, &none);
    return none.count == 0;
}

static void no_value(const struct recipe *r, const struct method_param *p, const char *model,
                     struct str tensor, struct mistakes *m)
{
    struct quern_error *e = mistake(m);
    fail(e, QUERN_EUSAGE, "parameter",
         "no value of '%s'%s%s%s fits this tensor" WANT "add an entry without filter", p->name,
         model ? " for model '" : "", model ? model : "", model ? "'" : "");
    in_tensor(e, tensor, QUERN_EUSAGE);
    in_file(e, r->path, QUERN_EUSAGE);
}

void params_of(const struct recipe *r, struct str tensor, double position, struct merge_values *out,
               struct mistakes *m)
{
    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < r->method->nparams; i++) {
        const struct method_param *p = &r->method->params[i];
        double general = p->fallback;
        const bool known = look_up(&r->settings[i], tensor, position, &general) || !p->required;
        out->global[i] = general;
        if (!p->per_model && !known)
            no_value(r, p, NULL, tensor, m);
        for (unsigned k = 0; k < r->nmodels; k++) {
            out->model[k][i] = general;
            if (concerns(r, k, p) &&
                !look_up(&r->models[k].settings[i], tensor, position, &out->model[k][i]) && !known)
                no_value(r, p, ref_name(&r->models[k].ref).text, tensor, m);
        }
    }
}

static void never_set(const struct recipe *r, const struct method_param *p, int model,
                      struct mistakes *m)
{
    struct quern_error *e = mistake(m);
    if (model < 0)
        fail(e, QUERN_EUSAGE, "parameter",
             "%s needs the parameter '%s'" WANT "give it under parameters", r->method->name,
             p->name);
    else if (model == r->base)
        fail(e, QUERN_EUSAGE, "parameter",
             "base_model '%s' is one more input of %s and has no '%s'" WANT
             "list it under models with a %s, or leave base_model out",
             ref_name(&r->models[model].ref).text, r->method->name, p->name, p->name);
    else
        fail(e, QUERN_EUSAGE, "parameter",
             "model '%s' has no '%s', which %s needs" WANT
             "give it under the parameters of the model or of the recipe",
             ref_name(&r->models[model].ref).text, p->name, r->method->name);
    in_file(e, r->path, QUERN_EUSAGE);
}

void params_missing(const struct recipe *r, struct mistakes *m)
{
    for (unsigned i = 0; i < r->method->nparams; i++) {
        const struct method_param *p = &r->method->params[i];
        if (!p->required || r->settings[i].nchoices > 0)
            continue;
        if (!p->per_model)
            never_set(r, p, -1, m);
        for (unsigned k = 0; k < r->nmodels; k++)
            if (concerns(r, k, p) && r->models[k].settings[i].nchoices == 0)
                never_set(r, p, (int)k, m);
    }
}

static void unused_filters(const struct recipe *r, const struct setting *s,
                           const struct view *tensors, struct mistakes *m)
{
    for (uint32_t i = 0; i < s->nchoices; i++) {
        const struct choice *c = &s->choices[i];
        bool used = c->filter.n == 0;
        for (uint32_t t = 0; !used && t < tensors->count; t++)
            used = fits(c, tensors->sources[t].tensor->name);
        if (used)
            continue;
        struct quern_error *e = mistake(m);
        const char *example =
            tensors->count ? tensors->sources[tensors->count / 2].tensor->name.p : "";
        fail(e, QUERN_EUSAGE, "filter",
             "line %" PRIu32 ": filter '%s' is part of no tensor name" WANT
             "names here look like '%s'",
             c->line, quoted(c->filter).text, quoted(str_from(example)).text);
        in_file(e, r->path, QUERN_EUSAGE);
    }
}

void params_unused_filters(const struct recipe *r, const struct view *tensors, struct mistakes *m)
{
    for (unsigned i = 0; i < r->method->nparams; i++)
        unused_filters(r, &r->settings[i], tensors, m);
    for (unsigned k = 0; k < r->nmodels; k++)
        for (unsigned i = 0; i < r->method->nparams; i++)
            unused_filters(r, &r->models[k].settings[i], tensors, m);
}

/* ---- layers ---------------------------------------------------------------------------------- */

struct layer_stack {
    struct str prefix;
    uint64_t nlayers;
};

/* Splits "model.layers.12.mlp" into "model.layers" and 12. */
static bool find_layer(struct str name, struct str *prefix, uint64_t *layer)
{
    for (size_t dot = 0; dot < name.n; dot++) {
        if (name.p[dot] != '.')
            continue;
        size_t end = dot + 1;
        while (end < name.n && name.p[end] >= '0' && name.p[end] <= '9')
            end++;
        if (end < name.n && name.p[end] == '.' &&
            str_to_u64((struct str){name.p + dot + 1, end - dot - 1}, layer) &&
            *layer < UINT32_MAX) {
            *prefix = (struct str){name.p, dot};
            return true;
        }
    }
    return false;
}

static struct str stack_name(const void *owner, uint32_t i)
{
    return ((const struct layers *)owner)->stacks[i].prefix;
}

bool layers_add(struct layers *l, struct str tensor)
{
    struct str prefix;
    uint64_t layer;
    if (!find_layer(tensor, &prefix, &layer))
        return true;
    if (l->count == l->capacity) {
        const uint32_t capacity = l->capacity ? 2 * l->capacity : 8;
        void *bigger = realloc(l->stacks, capacity * sizeof *l->stacks);
        if (!bigger)
            return false;
        l->stacks = bigger;
        l->capacity = capacity;
    }
    l->stacks[l->count] = (struct layer_stack){.prefix = prefix};
    bool fresh;
    uint32_t i = l->count;
    if (!name_table_add(&l->index, prefix, i, stack_name, l, &fresh, &i))
        return false;
    l->count += fresh;
    if (layer >= l->stacks[i].nlayers)
        l->stacks[i].nlayers = layer + 1;
    return true;
}

double layers_position(const struct layers *l, struct str tensor)
{
    struct str prefix;
    uint64_t layer;
    uint32_t i;
    if (!find_layer(tensor, &prefix, &layer) ||
        !name_table_find(&l->index, prefix, stack_name, l, &i))
        return 0;
    const uint64_t n = l->stacks[i].nlayers;
    return n > 1 ? (double)layer / (double)(n - 1) : 1;
}

void layers_free(struct layers *l)
{
    name_table_free(&l->index);
    free(l->stacks);
    *l = (struct layers){0};
}
