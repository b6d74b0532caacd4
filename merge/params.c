/* params.c - precedence, filters and gradients. */
#include "merge/params.h"

#include <inttypes.h>

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
static bool concerns(const struct recipe *r, const struct slice *s, unsigned source,
                     const struct method_param *p)
{
    return p->per_model && !((int)source == s->base && base_is_origin(r->method));
}

static bool is_constant(const struct setting *s)
{
    return s->nchoices == 0 ||
           (s->nchoices == 1 && s->choices[0].filter.n == 0 && s->choices[0].nvalues == 1);
}

bool params_constant(const struct recipe *r, const struct module *module, const struct slice *s,
                     struct merge_values *out)
{
    struct mistakes none = {0};
    for (unsigned i = 0; i < r->method->nparams; i++) {
        if (!is_constant(&r->settings[i]) || !is_constant(&module->settings[i]) ||
            !is_constant(&s->settings[i]))
            return false;
        for (unsigned k = 0; k < s->nsources; k++)
            if (!is_constant(&s->sources[k].settings[i]))
                return false;
    }
    const struct param_place anywhere = {.module = module, .slice = s, .output = STR("")};
    params_of(r, &anywhere, out, &none);
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

/* Parameter i as slice, module and recipe set it for a tensor of this name. */
static bool look_up_general(const struct recipe *r, const struct param_place *at, unsigned i,
                            struct str tensor, double *out)
{
    return look_up(&at->slice->settings[i], tensor, at->position, out) ||
           look_up(&at->module->settings[i], tensor, at->position, out) ||
           look_up(&r->settings[i], tensor, at->position, out);
}

static void model_values(const struct recipe *r, const struct param_place *at, unsigned i,
                         struct merge_values *out, struct mistakes *m)
{
    const struct method_param *p = &r->method->params[i];
    const struct slice *s = at->slice;
    for (unsigned k = 0; k < s->nsources; k++) {
        const struct str input = at->inputs ? at->inputs[k] : at->output;
        double *value = &out->model[k][i];
        *value = p->fallback;
        if (!concerns(r, s, k, p)) {
            look_up_general(r, at, i, input, value);
            continue;
        }
        if (!look_up(&s->sources[k].settings[i], input, at->position, value) &&
            !look_up_general(r, at, i, input, value) && p->required)
            no_value(r, p, ref_name(&r->models[s->sources[k].model].ref).text, input, m);
    }
}

void params_of(const struct recipe *r, const struct param_place *at, struct merge_values *out,
               struct mistakes *m)
{
    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < r->method->nparams; i++) {
        const struct method_param *p = &r->method->params[i];
        out->global[i] = p->fallback;
        if (!look_up_general(r, at, i, at->output, &out->global[i]) && p->required && !p->per_model)
            no_value(r, p, NULL, at->output, m);
        model_values(r, at, i, out, m);
    }
}

static void never_set(const struct recipe *r, const struct method_param *p, const struct slice *s,
                      int source, struct mistakes *m)
{
    struct quern_error *e = mistake(m);
    struct quoted name = {""};
    if (source >= 0)
        name = ref_name(&r->models[s->sources[source].model].ref);
    if (source < 0)
        fail(e, QUERN_EUSAGE, "parameter", "%s needs the parameter '%s'" WANT "give it %s%s%s",
             r->method->name, p->name, r->path ? "under parameters" : "with --param ",
             r->path ? "" : p->name, r->path ? "" : "=VALUE");
    else if (source == s->base)
        fail(e, QUERN_EUSAGE, "parameter",
             "base_model '%s' is one more input of %s and has no '%s'" WANT
             "list it under models with a %s, or leave base_model out",
             name.text, r->method->name, p->name, p->name);
    else
        fail(e, QUERN_EUSAGE, "parameter",
             "model '%s' has no '%s', which %s needs" WANT "give it %s%s%s", name.text, p->name,
             r->method->name,
             r->path ? "under the parameters of the model or of the recipe" : "with --param ",
             r->path ? "" : p->name, r->path ? "" : "=VALUE");
    in_file(e, r->path, QUERN_EUSAGE);
}

void params_missing(const struct recipe *r, const struct module *module, const struct slice *s,
                    struct mistakes *m)
{
    for (unsigned i = 0; i < r->method->nparams; i++) {
        const struct method_param *p = &r->method->params[i];
        if (!p->required ||
            r->settings[i].nchoices + module->settings[i].nchoices + s->settings[i].nchoices > 0)
            continue;
        if (!p->per_model)
            never_set(r, p, s, -1, m);
        for (unsigned k = 0; k < s->nsources; k++)
            if (concerns(r, s, k, p) && s->sources[k].settings[i].nchoices == 0)
                never_set(r, p, s, (int)k, m);
    }
}

/* ---- filters --------------------------------------------------------------------------------- */

struct names {
    const struct str *items;
    uint32_t count;
};

static void unused_filters(const struct recipe *r, const struct setting settings[],
                           const struct names *names, struct mistakes *m)
{
    for (unsigned p = 0; p < r->method->nparams; p++)
        for (uint32_t i = 0; i < settings[p].nchoices; i++) {
            const struct choice *c = &settings[p].choices[i];
            bool used = c->filter.n == 0;
            for (uint32_t t = 0; !used && t < names->count; t++)
                used = fits(c, names->items[t]);
            if (used)
                continue;
            struct quern_error *e = mistake(m);
            const struct str example =
                names->count ? names->items[names->count / 2] : (struct str){"", 0};
            fail(e, QUERN_EUSAGE, "filter",
                 "line %" PRIu32 ": filter '%s' is part of no tensor name" WANT
                 "names here look like '%s'",
                 c->line, quoted(c->filter).text, quoted(example).text);
            in_file(e, r->path, QUERN_EUSAGE);
        }
}

void params_unused_filters(const struct recipe *r, const struct str *names, uint32_t nnames,
                           struct mistakes *m)
{
    const struct names all = {names, nnames};
    unused_filters(r, r->settings, &all, m);
    for (uint32_t i = 0; i < r->nmodules; i++) {
        const struct module *module = &r->modules[i];
        unused_filters(r, module->settings, &all, m);
        for (uint32_t k = 0; k < module->nslices; k++) {
            unused_filters(r, module->slices[k].settings, &all, m);
            for (unsigned j = 0; j < module->slices[k].nsources; j++)
                unused_filters(r, module->slices[k].sources[j].settings, &all, m);
        }
    }
}
