/* flags.c - write the YAML of a merge that was asked for with options. */
#include "merge/flags.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/text_file.h"
#include "core/yaml.h"
#include "formats/pack.h"
#include "merge/method.h"

struct writer {
    const struct merge_flags *flags;
    const struct method *method;
    FILE *out; /* a growing buffer */
    struct quern_error *err;
};

/* A double-quoted scalar holds any text. */
static void write_quoted(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (*c < 0x20 || *c == 0x7F)
            fprintf(out, "\\x%02X", *c);
        else
            fputc(*c, out);
    }
    fputc('"', out);
}

static size_t count_values(struct str list)
{
    size_t n = 1;
    for (size_t i = 0; i < list.n; i++)
        n += list.p[i] == ',';
    return n;
}

/* Value number i of a list with commas. */
static struct str value_at(struct str list, size_t i)
{
    size_t from = 0, to = 0;
    for (;; from = ++to) {
        while (to < list.n && list.p[to] != ',')
            to++;
        if (i-- == 0 || to == list.n)
            return (struct str){list.p + from, to - from};
    }
}

/* Only what means itself in YAML: a number or a truth value. */
static bool is_value(struct str s)
{
    const struct yaml_node n = {.kind = YAML_IS_SCALAR, .plain = true, .text = s};
    double number;
    bool truth;
    return yaml_number(&n, &number) || yaml_bool(&n, &truth);
}

static bool is_truth(struct str s)
{
    const struct yaml_node n = {.kind = YAML_IS_SCALAR, .plain = true, .text = s};
    bool truth;
    return yaml_bool(&n, &truth);
}

/* Two values for one parameter: only one could count. */
static enum quern_status check_once(const struct writer *w, const char *text, struct str name)
{
    for (size_t i = 0; w->flags->params[i] != text; i++)
        if (strncmp(w->flags->params[i], name.p, name.n + 1) == 0)
            return fail(w->err, QUERN_EUSAGE, "usage", "parameter '%s' is there twice",
                        quoted(name).text);
    return QUERN_OK;
}

/* Splits and checks "name=value,..."; index is the parameter's, or -1 for one without effect. */
static enum quern_status read_param(const struct writer *w, const char *text, struct str *name,
                                    struct str *values, int *index)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || !equals[1])
        return fail(w->err, QUERN_EUSAGE, "usage", "parameter '%s'" WANT "expected NAME=VALUE",
                    quoted(str_from(text)).text);
    *name = (struct str){text, (size_t)(equals - text)};
    *values = str_from(equals + 1);
    TRY(check_once(w, text, *name));
    *index = method_param_index(w->method, *name);
    if (*index < 0) {
        const char *near = closest_param(w->method, *name);
        return fail(w->err, QUERN_EUSAGE, "usage", "%s has no parameter '%s'" WANT "%s%s%s",
                    w->method->name, quoted(*name).text, near ? "did you mean '" : "",
                    near ? near : "", near ? "'?" : "");
    }
    const size_t n = count_values(*values);
    for (size_t i = 0; i < n; i++)
        if (!is_value(value_at(*values, i)))
            return fail(w->err, QUERN_EUSAGE, "value",
                        "%s = '%s'" WANT "expected a finite number, true or false",
                        w->method->params[*index].name, quoted(value_at(*values, i)).text);
    if (w->method->params[*index].per_model && n > 1 && n != w->flags->nmodels)
        return fail(w->err, QUERN_EUSAGE, "value",
                    "%s has %zu values for %zu models" WANT
                    "expected one value, or one for each --model in their order",
                    w->method->params[*index].name, n, w->flags->nmodels);
    return QUERN_OK;
}

static bool is_per_model(const struct writer *w, int index, struct str values)
{
    return w->method->params[index].per_model && count_values(values) > 1;
}

/* The parameters of model number k, or those of the recipe when whole is set. */
static enum quern_status write_params(const struct writer *w, bool whole, size_t k)
{
    const char *indent = whole ? "" : "    ";
    bool any = false;
    for (size_t i = 0; i < w->flags->nparams; i++) {
        struct str name = {NULL, 0}, values = {NULL, 0};
        int index = -1;
        TRY(read_param(w, w->flags->params[i], &name, &values, &index));
        if (is_per_model(w, index, values) == whole)
            continue;
        fprintf(w->out, "%s%s%s  %.*s: ", any ? "" : indent, any ? "" : "parameters:\n", indent,
                STR_ARG(name));
        any = true;
        if (!whole)
            values = value_at(values, k);
        const bool list = count_values(values) > 1;
        fprintf(w->out, "%s%.*s%s\n", list ? "[" : "", STR_ARG(values), list ? "]" : "");
    }
    return QUERN_OK;
}

static void write_word(const struct writer *w, const char *key, const char *value)
{
    if (!value)
        return;
    fprintf(w->out, "%s: ", key);
    write_quoted(w->out, value);
    fputc('\n', w->out);
}

/* Weights are numbers behind the last colon. */
static struct str adapter_weight(struct str text)
{
    for (size_t i = text.n; i-- > 1;)
        if (text.p[i] == ':') {
            const struct str rest = {text.p + i + 1, text.n - i - 1};
            return is_value(rest) && !is_truth(rest) ? rest : STR("");
        }
    return STR("");
}

static enum quern_status write_adapter(const struct writer *w, const char *flag)
{
    const struct str weight = adapter_weight(str_from(flag));
    struct str path = str_from(flag);
    if (weight.n > 0)
        path.n -= weight.n + 1;
    struct arena arena = {0};
    char *plain = arena_printf(&arena, "%.*s", STR_ARG(path));
    if (!plain)
        return fail_memory(w->err, path.n);
    char *at = named_path_exists(plain) ? NULL : strchr(plain, '@');
    if (at)
        *at = '\0';
    fputs("        - path: ", w->out);
    write_quoted(w->out, plain);
    if (at) {
        fputs("\n          revision: ", w->out);
        write_quoted(w->out, at + 1);
    }
    if (weight.n > 0)
        fprintf(w->out, "\n          weight: %.*s", STR_ARG(weight));
    fputc('\n', w->out);
    arena_free(&arena);
    return QUERN_OK;
}

/* The base with its adapters, and nothing to merge it with. */
static enum quern_status write_adapted(const struct writer *w)
{
    const struct merge_flags *f = w->flags;
    if (!f->base || f->method || f->nmodels || f->nparams)
        return fail(w->err, QUERN_EUSAGE, "usage",
                    "adapters with other options" WANT "expected a base and its adapters only; to "
                    "merge the result with more models write a recipe");
    fputs("merge_method: passthrough\nmodels:\n  - model:\n      model: ", w->out);
    write_quoted(w->out, f->base);
    fputs("\n      lora:\n", w->out);
    for (size_t i = 0; i < f->nloras; i++)
        TRY(write_adapter(w, f->loras[i]));
    write_word(w, "dtype", f->dtype);
    write_word(w, "out_dtype", f->out_dtype);
    return QUERN_OK;
}

static enum quern_status write_recipe(const struct writer *w)
{
    const struct merge_flags *f = w->flags;
    fprintf(w->out, "merge_method: %s\n", w->method->name);
    write_word(w, "base_model", f->base);
    fputs("models:\n", w->out);
    for (size_t k = 0; k < f->nmodels; k++) {
        fputs("  - model: ", w->out);
        write_quoted(w->out, f->models[k]);
        fputc('\n', w->out);
        TRY(write_params(w, false, k));
    }
    TRY(write_params(w, true, 0));
    write_word(w, "dtype", f->dtype);
    write_word(w, "out_dtype", f->out_dtype);
    return QUERN_OK;
}

enum quern_status flags_recipe(const struct merge_flags *f, struct arena *arena, struct str *yaml,
                               struct quern_error *err)
{
    struct writer w = {.flags = f, .err = err};
    if (f->method)
        TRY(method_find(str_from(f->method), &w.method, err));
    if (f->method && f->nmodels == 0)
        return fail(err, QUERN_EUSAGE, "usage", "no models to merge");
    struct text_file file;
    size_t n = 0;
    if (!text_file_begin(&file))
        return fail_memory(err, 4096);
    w.out = file.f;
    enum quern_status status = w.method ? write_recipe(&w) : write_adapted(&w);
    char *text = text_file_end(&file, &n);
    if (status == QUERN_OK) {
        *yaml = text ? arena_str(arena, (struct str){text, n}) : (struct str){NULL, 0};
        if (!yaml->p)
            status = fail_memory(err, n);
    }
    free(text);
    return status;
}
