/* pairing.c - compare models by their headers. */
#include "merge/pairing.h"

#include <inttypes.h>
#include <stdio.h>

#include "merge/targets.h"
#include "merge/vocab_names.h"
#include "pipeline/config_edit.h"
#include "quant/codec.h"

bool is_weights(const struct tensor *t)
{
    return dtype_is_float(t->dtype) || dtype_is_quantized(t->dtype);
}

/* ---- models --------------------------------------------------------------------------------- */

static const char *format_name(const struct model *m)
{
    return m->format == MODEL_GGUF ? "GGUF" : "safetensors";
}

static enum quern_status check_format(const struct model *a, const struct model *b,
                                      struct quern_error *err)
{
    if (a->format == b->format)
        return QUERN_OK;
    return in_file(err, b->path,
                   fail(err, QUERN_EUNSUPPORTED, "mixed-formats",
                        "it is %s and '%s' is %s" WANT
                        "expected all safetensors or all GGUF: their tensors have other names",
                        format_name(b), quoted(str_from(a->path)).text, format_name(a)));
}

static enum quern_status in_config(const struct model *m, enum quern_status status,
                                   struct quern_error *err)
{
    if (status == QUERN_OK)
        return status;
    struct arena arena = {0};
    in_file(err, path_join(&arena, m->dir ? m->dir : m->path, "config.json"), status);
    arena_free(&arena);
    return status;
}

/* general.architecture, or model_type of config.json; empty where nothing tells. */
static enum quern_status architecture(const struct view *v, struct arena *scratch, struct str *out,
                                      struct quern_error *err)
{
    const struct meta *k = view_meta(v, "general.architecture");
    bool found;
    *out = (struct str){"", 0};
    if (v->model->format == MODEL_GGUF && k)
        meta_string(k, out);
    if (!v->config.p)
        return QUERN_OK;
    TRY(in_config(v->model, config_find(scratch, v->config, "model_type", &found, out, err), err));
    if (!found || out->n < 2 || out->p[0] != '"')
        *out = (struct str){"", 0};
    else
        *out = (struct str){out->p + 1, out->n - 2};
    return QUERN_OK;
}

static enum quern_status check_architecture(const struct view *a, const struct view *b,
                                            struct arena *scratch, struct quern_error *err)
{
    struct str x, y;
    TRY(architecture(a, scratch, &x, err));
    TRY(architecture(b, scratch, &y, err));
    if (str_eq(x, y) || (a->model->format != MODEL_GGUF && (x.n == 0 || y.n == 0)))
        return QUERN_OK;
    return in_file(err, b->model->path,
                   fail(err, QUERN_EUSAGE, "architecture",
                        "its architecture is '%s' and that of '%s' is '%s'" WANT
                        "expected models of one architecture; --allow-crimes pairs their tensors "
                        "by name",
                        quoted(y).text, quoted(str_from(a->model->path)).text, quoted(x).text));
}

/* The hidden size of a model; *size stays 0 where nothing tells. */
static enum quern_status read_width(const struct view *v, struct arena *scratch, uint64_t *size,
                                    struct quern_error *err)
{
    static const char *const paths[] = {"hidden_size", "n_embd", "text_config.hidden_size"};
    struct str arch, value;
    bool found = false;
    *size = 0;
    if (v->model->format == MODEL_GGUF) {
        TRY(architecture(v, scratch, &arch, err));
        const char *key = arena_printf(scratch, "%.*s.embedding_length", STR_ARG(arch));
        const struct meta *k = key ? view_meta(v, key) : NULL;
        if (k)
            meta_u64(k, size);
        return key ? QUERN_OK : fail_memory(err, arch.n);
    }
    for (size_t i = 0; v->config.p && !found && i < sizeof paths / sizeof *paths; i++)
        TRY(in_config(v->model, config_find(scratch, v->config, paths[i], &found, &value, err),
                      err));
    if (found)
        str_to_u64(value, size);
    return QUERN_OK;
}

enum quern_status check_widths(const struct model_set *set, struct arena *scratch,
                               struct quern_error *err)
{
    uint64_t first = 0, size;
    for (unsigned i = 0; i < set->count; i++) {
        TRY(read_width(&set->views[i], scratch, &size, err));
        if (first == 0)
            first = size;
        if (size != 0 && size != first)
            return in_file(err, set->views[i].model->path,
                           fail(err, QUERN_EUSAGE, "shape",
                                "its hidden size is %" PRIu64 " and that of '%s' %" PRIu64 WANT
                                "layers of these models cannot follow each other",
                                size, quoted(str_from(set->views[0].model->path)).text, first));
    }
    return QUERN_OK;
}

/* Weights that are integers with scales in another tensor cannot be averaged tensor by tensor. */
static enum quern_status fail_scaled(const char *path, struct quern_error *err)
{
    return in_file(err, path,
                   fail(err, QUERN_EUNSUPPORTED, "scaled-weights",
                        "its weights are quantized with scales beside them" WANT
                        "that is not supported yet; merge the unquantized model"));
}

static enum quern_status check_no_scales(const struct view *v, struct arena *scratch,
                                         struct quern_error *err)
{
    static const char *const suffixes[] = {
        "_scale_inv", ".weight_scale", ".qweight", ".qzeros", ".absmax", ".SCB", ".weight_packed"};
    const struct model *m = v->model;
    bool found = false;
    struct str value;
    if (m->format == MODEL_GGUF)
        return QUERN_OK;
    if (v->config.p)
        TRY(in_config(
            m, config_find(scratch, v->config, "quantization_config", &found, &value, err), err));
    if (found && value.p[0] == '{')
        return fail_scaled(m->path, err);
    for (uint32_t i = 0; i < v->count; i++)
        for (size_t k = 0; k < sizeof suffixes / sizeof *suffixes; k++)
            if (str_ends(v->sources[i].tensor->name, suffixes[k]))
                return in_tensor(err, v->sources[i].tensor->name, fail_scaled(m->path, err));
    return QUERN_OK;
}

enum quern_status check_models_alike(const struct model_set *set, bool crimes, struct plan *plan,
                                     struct arena *scratch, struct quern_error *err)
{
    const struct view *donor = &set->views[set->donor];
    for (unsigned i = 0; i < set->count; i++) {
        struct quern_error e;
        TRY(check_format(donor->model, set->views[i].model, err));
        TRY(check_no_scales(&set->views[i], scratch, err));
        const enum quern_status status = check_architecture(donor, &set->views[i], scratch, &e);
        if (status == QUERN_EUSAGE && crimes) {
            TRY(plan_note(plan, err, "%s: %s; tensors are paired by name", e.file, e.found));
        } else if (status != QUERN_OK) {
            if (err)
                *err = e;
            return status;
        }
    }
    return QUERN_OK;
}

/* ---- tensors -------------------------------------------------------------------------------- */

struct shape_text {
    char text[160];
};

static struct shape_text shape_of(const struct tensor *t)
{
    struct shape_text s;
    size_t n = (size_t)snprintf(s.text, sizeof s.text, "[");
    for (unsigned i = 0; i < t->ndims && n < sizeof s.text; i++)
        n += (size_t)snprintf(s.text + n, sizeof s.text - n, "%s%" PRIu64, i ? ", " : "",
                              t->dims[i]);
    if (n < sizeof s.text)
        snprintf(s.text + n, sizeof s.text - n, "]");
    return s;
}

static bool same_shape(const struct tensor *a, const struct tensor *b)
{
    return a->ndims == b->ndims && memcmp(a->dims, b->dims, a->ndims * sizeof *a->dims) == 0;
}

/* An error about a tensor of an input: its name and file. */
static void at_source(struct quern_error *e, const struct source *s)
{
    in_source(e, s, QUERN_EUSAGE);
}

static void wrong_shape(const struct source *a, const struct source *b, struct mistakes *m)
{
    struct quern_error *e = mistake(m);
    const struct tensor *x = a->tensor, *y = b->tensor;
    const char *why = "models must have the same shapes to be merged";
    const bool tokens =
        is_vocabulary(x->name) && x->ndims == y->ndims && x->ndims > 0 && x->ndims <= 2;
    if (tokens && a->model->format == MODEL_GGUF)
        why =
            "the vocabularies have different sizes: with tokenizer_source: base in the recipe rows "
            "are aligned by token";
    else if (tokens)
        why = "the vocabularies have different sizes: with tokenizer_source (union, base or a "
              "model) in the recipe rows are aligned by token; --allow-crimes cuts off what not "
              "all have";
    fail(e, QUERN_EUSAGE, "shape", "its shape is %s and in '%s' it is %s" WANT "%s",
         shape_of(y).text, quoted(str_from(a->model->path)).text, shape_of(x).text, why);
    at_source(e, b);
}

void missing_tensor(const struct source *has, const struct model *lacks, struct mistakes *m)
{
    struct quern_error *e = mistake(m);
    const struct str name = has->tensor->name;
    const bool head = str_is(name, "lm_head.weight") || str_is(name, "output.weight");
    fail(e, QUERN_EUSAGE, "missing-tensor", "it is not in '%s'" WANT "%s",
         quoted(str_from(lacks->path)).text,
         head ? "expected all models to tie the output head to the embeddings, or none"
              : "expected the same tensors in all models");
    at_source(e, has);
}

static void wrong_type(const struct source *a, const struct source *b, struct mistakes *m)
{
    struct quern_error *e = mistake(m);
    fail(e, QUERN_EUSAGE, "type",
         "its type is %s and in '%s' it is %s" WANT "expected one type: these are not weights",
         dtype_traits[b->tensor->dtype].name, quoted(str_from(a->model->path)).text,
         dtype_traits[a->tensor->dtype].name);
    at_source(e, b);
}

static void check_readable(const struct source *s, struct mistakes *m)
{
    const enum dtype d = s->tensor->dtype;
    if (!is_weights(s->tensor) || codec_can_decode(d))
        return;
    struct quern_error *e = mistake(m);
    fail(e, QUERN_EUNSUPPORTED, "type", "its type is %s" WANT "quern cannot read that type yet",
         dtype_traits[d].name);
    at_source(e, s);
}

static void check_pair(const struct source *a, const struct source *b, struct mistakes *m)
{
    const struct tensor *x = a->tensor, *y = b->tensor;
    if (!same_shape(x, y))
        wrong_shape(a, b, m);
    else if (is_weights(x) != is_weights(y) || (!is_weights(x) && x->dtype != y->dtype))
        wrong_type(a, b, m);
    else
        check_readable(b, m);
}

void check_target(const struct target *t, struct mistakes *m)
{
    const struct source *lead = &t->inputs[t->lead];
    check_readable(lead, m);
    for (unsigned k = 0; k < t->slice->nsources; k++) {
        if (k == t->lead)
            continue;
        if (t->inputs[k].tensor)
            check_pair(lead, &t->inputs[k], m);
        else
            missing_tensor(lead, t->inputs[k].model, m);
    }
}
