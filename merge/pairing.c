/* pairing.c - compare models by their headers. */
#include "merge/pairing.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "core/pull.h"
#include "quant/codec.h"

#define MAX_CONFIG (1u << 20)

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

static struct str architecture(const struct model *m)
{
    struct str name = {NULL, 0};
    const struct meta *k = model_meta(m, "general.architecture");
    if (k)
        meta_string(k, &name);
    return name;
}

static enum quern_status check_architecture(const struct model *a, const struct model *b,
                                            struct quern_error *err)
{
    if (a->format != MODEL_GGUF || str_eq(architecture(a), architecture(b)))
        return QUERN_OK;
    return in_file(err, b->path,
                   fail(err, QUERN_EUSAGE, "architecture",
                        "its architecture is '%s' and that of '%s' is '%s'" WANT
                        "expected models of one architecture",
                        quoted(architecture(b)).text, quoted(str_from(a->path)).text,
                        quoted(architecture(a)).text));
}

/* Weights that are integers with scales in another tensor cannot be averaged tensor by tensor. */
static enum quern_status fail_scaled(const char *path, struct quern_error *err)
{
    return in_file(err, path,
                   fail(err, QUERN_EUNSUPPORTED, "scaled-weights",
                        "its weights are quantized with scales beside them" WANT
                        "that is not supported yet; merge the unquantized model"));
}

/* Has this config.json a quantization_config at its top level? */
static enum quern_status find_quantization(struct str config, bool *found, struct quern_error *err)
{
    struct pull p;
    pull_start(&p, (char *)config.p, config.n);
    p.nonfinite = true;
    *found = false;
    if (pull_next(&p) != PULL_OBJECT)
        return QUERN_OK; /* whoever carries the file over says what is wrong with it */
    while (pull_next(&p) == PULL_KEY) {
        const bool ours = str_is(p.str, "quantization_config");
        const enum pull_token t = pull_next(&p);
        *found |= ours && t == PULL_OBJECT;
        if (!pull_skip(&p, t))
            return pull_fail(&p, 0, err);
    }
    return QUERN_OK;
}

static enum quern_status check_config(const struct model *m, struct arena *arena,
                                      struct quern_error *err)
{
    struct str text;
    bool scaled;
    char *path = m->dir ? path_join(arena, m->dir, "config.json") : NULL;
    if (!path || access(path, F_OK) != 0)
        return QUERN_OK;
    TRY(read_small_file(path, MAX_CONFIG, arena, &text, err));
    TRY(in_file(err, path, find_quantization(text, &scaled, err)));
    return scaled ? fail_scaled(m->path, err) : QUERN_OK;
}

static enum quern_status check_no_scales(const struct model *m, struct quern_error *err)
{
    static const char *const suffixes[] = {
        "_scale_inv", ".weight_scale", ".qweight", ".qzeros", ".absmax", ".SCB", ".weight_packed"};
    if (m->format == MODEL_GGUF)
        return QUERN_OK;
    struct arena arena = {0};
    const enum quern_status status = check_config(m, &arena, err);
    arena_free(&arena);
    TRY(status);
    for (uint32_t i = 0; i < m->ntensors; i++)
        for (size_t k = 0; k < sizeof suffixes / sizeof *suffixes; k++)
            if (str_ends(m->tensors[i].name, suffixes[k]))
                return in_tensor(err, m->tensors[i].name, fail_scaled(m->path, err));
    return QUERN_OK;
}

enum quern_status check_models_alike(const struct model_set *set, struct quern_error *err)
{
    const struct model *donor = set->views[set->donor].model;
    for (unsigned i = 0; i < set->count; i++) {
        TRY(check_format(donor, set->views[i].model, err));
        TRY(check_architecture(donor, set->views[i].model, err));
        TRY(check_no_scales(set->views[i].model, err));
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

/* Tensors with a row per token. */
static bool is_vocabulary(struct str name)
{
    static const char *const parts[] = {"embed_tokens",    "lm_head",  "token_embd", "wte.",
                                        "word_embeddings", "embed_in", "embed_out"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (str_has(name, parts[i]))
            return true;
    return str_is(name, "output.weight");
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
    if (is_vocabulary(x->name) && x->ndims == 2 && y->ndims == 2 && x->dims[1] == y->dims[1])
        why = "the vocabularies have different sizes: merge models with the same tokenizer, or "
              "resize the embeddings of one first (aligning them by token is not supported yet)";
    fail(e, QUERN_EUSAGE, "shape", "its shape is %s and in '%s' it is %s" WANT "%s",
         shape_of(y).text, quoted(str_from(a->model->path)).text, shape_of(x).text, why);
    at_source(e, b);
}

static void missing(const struct source *has, const struct view *lacks, struct mistakes *m)
{
    struct quern_error *e = mistake(m);
    const struct str name = has->tensor->name;
    const bool head = str_is(name, "lm_head.weight") || str_is(name, "output.weight");
    fail(e, QUERN_EUSAGE, "missing-tensor", "it is not in '%s'" WANT "%s",
         quoted(str_from(lacks->model->path)).text,
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

void check_tensors_alike(const struct model_set *set, struct mistakes *m)
{
    const struct view *donor = &set->views[set->donor];
    for (uint32_t i = 0; i < donor->count; i++) {
        const struct source *x = &donor->sources[i];
        check_readable(x, m);
        for (unsigned k = 0; k < set->count; k++) {
            if (k == set->donor)
                continue;
            const struct source *y = view_find(&set->views[k], x->tensor->name);
            if (y)
                check_pair(x, y, m);
            else
                missing(x, &set->views[k], m);
        }
    }
    for (unsigned k = 0; k < set->count; k++)
        for (uint32_t i = 0; i < set->views[k].count; i++)
            if (!view_find(donor, set->views[k].sources[i].tensor->name))
                missing(&set->views[k].sources[i], donor, m);
}
