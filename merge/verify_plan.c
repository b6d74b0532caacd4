/* verify_plan.c - choose the planner that would write a model of this form from this source. */
#include "merge/verify_plan.h"

#include "convert/adapter_plan.h"
#include "convert/back.h"
#include "formats/adapter.h"
#include "pipeline/retype.h"
#include "pipeline/verify.h"

struct verifying {
    const char *source;
    struct model *made, *model; /* model: the source when it is one and no plan has it yet */
    struct merge_request req;   /* as the planners take it */
    struct quern_quantize quantize;
    struct arena arena;
    bool takes_types;
};

/* The plain type that most of the weights have; DTYPE_COUNT when most of them lie in blocks. */
static enum dtype main_type(const struct model *m)
{
    uint64_t nelems[DTYPE_COUNT] = {0};
    enum dtype most = DTYPE_COUNT;
    for (uint32_t i = 0; i < m->ntensors; i++) {
        const enum dtype d = (enum dtype)m->tensors[i].dtype;
        nelems[d] += m->tensors[i].nelems;
        if (most == DTYPE_COUNT || nelems[d] > nelems[most])
            most = d;
    }
    return most;
}

bool verify_is_recipe(const char *source)
{
    return str_ends(str_from(source), ".yml") || str_ends(str_from(source), ".yaml");
}

/* Are the tensors called alike? Then nothing was converted. */
static bool same_names(const struct model *a, const struct model *b)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < a->ntensors; i++)
        n += model_find(b, a->tensors[i].name) != NULL;
    return n > 0 && n >= a->ntensors / 2;
}

/* Planners go by the form of the output's name, and files may be called anything. */
static const char *output_name(struct verifying *v)
{
    const struct model *m = v->made;
    const char *ending = m->format == MODEL_GGUF ? ".gguf" : ".safetensors";
    if (m->dir)
        return m->dir;
    return str_ends(str_from(m->path), ending) ? m->path
                                               : arena_printf(&v->arena, "%s%s", m->path, ending);
}

/* How a plain type is asked for; NULL for others. */
static const char *type_option(enum dtype d)
{
    return d == DTYPE_F32 ? "f32" : d == DTYPE_F16 ? "f16" : d == DTYPE_BF16 ? "bf16" : NULL;
}

/* ---- options -------------------------------------------------------------------------------- */

/* Ways from a source to what is there. */
enum way {
    WAY_MERGE = 1,
    WAY_MERGE_GGUF = 2,
    WAY_ADAPTER = 4,
    WAY_QUANTIZE = 8, /* GGUF to GGUF, or a plain container */
    WAY_CONVERT = 16,
    WAY_SAFETENSORS = 32
};
#define TO_GGUF   (WAY_MERGE_GGUF | WAY_QUANTIZE | WAY_CONVERT)
#define CONVERTED (WAY_MERGE_GGUF | WAY_CONVERT)

/* An option that decides nothing on this way is a mistake, or the other file is no such file. */
static enum quern_status check_options(const struct verifying *v, unsigned way,
                                       struct quern_error *err)
{
    const struct convert_request *r = &v->req.convert;
    const struct quern_quantize *q = &v->quantize;
    const struct {
        const char *name;
        unsigned ways;
        bool given;
    } options[] = {
        {"--imatrix",         TO_GGUF,                    q->imatrix         },
        {"--include-weights", TO_GGUF,                    q->ninclude_weights},
        {"--exclude-weights", TO_GGUF,                    q->nexclude_weights},
        {"--prune-layers",    TO_GGUF,                    q->nprune_layers   },
        {"--reference-bugs",  TO_GGUF,                    q->reference_bugs  },
        {"--override-kv",     TO_GGUF | WAY_ADAPTER,      q->noverride_kvs   },
        {"--keep-names",      WAY_QUANTIZE,               q->keep_names      },
        {"--arch",            WAY_QUANTIZE,               q->arch            },
        {"--via",             CONVERTED,                  r->via             },
        {"--pre",             CONVERTED,                  r->pre             },
        {"--like",            CONVERTED,                  r->like            },
        {"--map",             CONVERTED,                  r->map_path        },
        {"--text-only",       CONVERTED,                  r->text_only       },
        {"--model-name",      CONVERTED | WAY_ADAPTER,    r->model_name      },
        {"--metadata",        CONVERTED | WAY_ADAPTER,    r->metadata        },
        {"--base",            WAY_ADAPTER,                r->base            },
        {"--random-seed",     WAY_MERGE | WAY_MERGE_GGUF, v->req.seed        },
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (options[i].given && !(options[i].ways & way))
            return fail(err, QUERN_EUSAGE, "usage",
                        "%s decides nothing between %s" WANT "expected it left out",
                        options[i].name,
                        way == WAY_QUANTIZE      ? "models with the same names of tensors"
                        : way == WAY_CONVERT     ? "a Hugging Face model and a GGUF"
                        : way == WAY_ADAPTER     ? "a PEFT adapter and a GGUF"
                        : way == WAY_SAFETENSORS ? "a model and safetensors"
                                                 : "models and their merge");
    return QUERN_OK;
}

/* ---- to GGUF -------------------------------------------------------------------------------- */

static enum quern_status merged(struct verifying *v, enum way way, struct plan **out,
                                struct quern_error *err)
{
    TRY(check_options(v, way, err));
    return merge_plan(&v->req, out, err);
}

static enum quern_status container(struct verifying *v, struct plan **out, struct quern_error *err)
{
    struct str arch = {"", 0};
    meta_string(model_meta(v->made, "general.architecture"), &arch);
    const struct str copy = arena_str(&v->arena, arch);
    if (!copy.p)
        return fail_memory(err, arch.n);
    TRY(check_options(v, WAY_QUANTIZE, err));
    v->quantize.keep_names = true;
    if (!v->quantize.arch)
        v->quantize.arch = copy.n ? copy.p : "unknown";
    return plan_quantize(v->model, v->req.output, &v->quantize, out, err);
}

static enum quern_status adapter_to_gguf(struct verifying *v, struct plan **out,
                                         struct quern_error *err)
{
    const enum dtype d = main_type(v->made);
    TRY(check_options(v, WAY_ADAPTER, err));
    v->req.convert.type = d == DTYPE_Q8_0 ? "q8_0" : type_option(d);
    if (v->made->ntensors && !v->req.convert.type)
        return fail(err, QUERN_EUNSUPPORTED, "type",
                    "the source is an adapter, and the other file holds %s" WANT
                    "expected f32, f16, bf16 or q8_0",
                    dtype_traits[d].name);
    return adapter_plan(v->source, &v->req.convert, out, err);
}

/* What was not quantized is what the converter made for that type. */
static enum quern_status converted(struct verifying *v, struct plan **out, struct quern_error *err)
{
    struct convert_request *r = &v->req.convert;
    TRY(check_options(v, WAY_CONVERT, err));
    r->vocab_only = v->made->ntensors == 0;
    if (!r->via)
        r->via = type_option(main_type(v->made));
    return convert_plan(v->model, r, out, err);
}

static enum quern_status to_gguf(struct verifying *v, struct plan **out, struct quern_error *err)
{
    v->req.type = v->req.convert.type = v->quantize.type = "COPY";
    v->quantize.types_of = (const struct quern_model *)v->made;
    v->quantize.allow_requantize = true;
    if (!v->source)
        return merged(v, WAY_MERGE_GGUF, out, err);
    if (is_adapter(v->source))
        return adapter_to_gguf(v, out, err);
    TRY(model_open(v->source, &v->model, err));
    if (v->model->format == MODEL_GGUF) {
        TRY(check_options(v, WAY_QUANTIZE, err));
        return plan_quantize(v->model, v->req.output, &v->quantize, out, err);
    }
    if (!v->model->dir || v->quantize.keep_names || same_names(v->model, v->made))
        return container(v, out, err);
    return converted(v, out, err);
}

/* ---- to safetensors ------------------------------------------------------------------------- */

static enum quern_status to_safetensors(struct verifying *v, struct plan **out,
                                        struct quern_error *err)
{
    if (!v->source)
        return merged(v, WAY_MERGE, out, err);
    TRY(check_options(v, WAY_SAFETENSORS, err));
    TRY(model_open(v->source, &v->model, err));
    const enum dtype d = main_type(v->made);
    const bool alike = same_names(v->model, v->made);
    const bool retyped = d < DTYPE_COUNT && dtype_is_float(d) && d != main_type(v->model);
    const struct quern_quantize q = {.type = retyped ? dtype_traits[d].name : "COPY"};
    const struct back_request back = {.output = v->req.output,
                                      .type = type_option(d) ? type_option(d) : "auto",
                                      .keep_names = alike};
    v->takes_types = true;
    if (alike && v->model->format != MODEL_GGUF)
        return plan_quantize(v->model, v->req.output, &q, out, err);
    return convert_back_plan(v->model, &back, out, err);
}

/* ---- the whole ------------------------------------------------------------------------------ */

static enum quern_status make_plan(struct verifying *v, struct plan **out, struct quern_error *err)
{
    v->req.output = v->req.convert.output = output_name(v);
    if (!v->req.output)
        return fail_memory(err, strlen(v->made->path));
    if (v->source && verify_is_recipe(v->source)) {
        v->req.recipe_path = v->source;
        v->source = NULL;
    }
    v->req.convert.quantize = &v->quantize;
    v->req.shard_bytes = v->made->format != MODEL_GGUF && v->made->dir ? UINT64_MAX : 0;
    return (v->made->format == MODEL_GGUF ? to_gguf : to_safetensors)(v, out, err);
}

/* From here on the plan has all models. */
static enum quern_status compare(struct verifying *v, struct plan *p, struct quern_error *err)
{
    struct model *made = v->made;
    p->owns_models = true;
    v->model = NULL;
    TRY(plan_add_model(p, made, err));
    v->made = NULL;
    return plan_verify(p, made, v->takes_types, err);
}

enum quern_status verify_plan(const char *source, const char *made,
                              const struct merge_request *options, struct plan **out,
                              struct quern_error *err)
{
    struct verifying v = {.source = source, .req = *options};
    struct plan *p = NULL;
    if (options->convert.quantize)
        v.quantize = *options->convert.quantize;
    TRY(model_open(made, &v.made, err));
    enum quern_status s = make_plan(&v, &p, err);
    if (s == QUERN_OK)
        s = compare(&v, p, err);
    if (s == QUERN_OK)
        *out = p;
    else
        plan_free(p);
    model_close(v.model);
    model_close(v.made);
    arena_free(&v.arena);
    return s;
}
