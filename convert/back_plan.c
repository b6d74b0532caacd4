/* back_plan.c - plan any model as safetensors: one file, or a Hugging Face directory. */
#include <inttypes.h>

#include "back_class.h"
#include "core/io.h"
#include "pipeline/carry.h"
#include "unpack.h"

static enum quern_status choose_type(const char *type, enum dtype *out, struct quern_error *err)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } types[] = {
        {"auto", DTYPE_COUNT},
        {"f32",  DTYPE_F32  },
        {"f16",  DTYPE_F16  },
        {"bf16", DTYPE_BF16 }
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (str_eq_nocase(str_from(type), str_from(types[i].name))) {
            *out = types[i].dtype;
            return QUERN_OK;
        }
    return fail(err, QUERN_EUSAGE, "usage",
                "'%s' is no type for safetensors" WANT
                "expected auto, f32, f16 or bf16 (others need an OUTPUT that ends in .gguf)",
                quoted(str_from(type)).text);
}

static bool is_file_name(const char *output)
{
    return str_ends(str_from(output), ".safetensors");
}

/* Tensors as they are called and shaped in the GGUF. */
static enum quern_status own_names(struct model *m, enum dtype dtype, struct plan *p,
                                   struct hf_form *out, struct quern_error *err)
{
    struct back b;
    back_start(&b, m, dtype, p);
    out->sources = ARENA_NEW(&p->arena, struct source, m->ntensors + 1);
    if (!out->sources)
        return fail_memory(err, m->ntensors * sizeof *out->sources);
    for (uint32_t i = 0; i < m->ntensors; i++) {
        const struct source s = {.model = m, .tensor = &m->tensors[i]};
        enum dtype d = s.tensor->dtype;
        TRY(back_dtype(&b, &s, &d, err));
        TRY(typed_source(&p->arena, &s, s.tensor->name, d, &out->sources[out->count++], err));
    }
    return QUERN_OK;
}

/* ---- safetensors ------------------------------------------------------------------------------
 */

/* Every tensor that holds weights in the type that is asked for; what another program packed is
 * unpacked. */
static enum quern_status safetensors_form(const struct view *v, enum dtype dtype, struct plan *p,
                                          struct hf_form *out, struct quern_error *err)
{
    out->sources = ARENA_NEW(&p->arena, struct source, v->count + 1);
    if (!out->sources)
        return fail_memory(err, v->count * sizeof *out->sources);
    for (uint32_t i = 0; i < v->count; i++) {
        const struct source *s = &v->sources[i];
        const bool casts = dtype != DTYPE_COUNT && dtype_is_float(s->tensor->dtype);
        TRY(typed_source(&p->arena, s, s->tensor->name, casts ? dtype : s->tensor->dtype,
                         &out->sources[out->count++], err));
    }
    return QUERN_OK;
}

/* What lies beside the weights goes along, config.json with their type now. */
static enum quern_status carry(const struct model *m, const struct unpacked *u, enum dtype dtype,
                               struct plan *p, struct quern_error *err)
{
    struct str config = u->config;
    const char *path = path_join(&p->arena, m->dir, "config.json");
    if (!path)
        return fail_memory(err, strlen(m->dir));
    if (config.p && dtype != DTYPE_COUNT)
        TRY(in_file(err, path, config_with_dtype(&p->arena, config, dtype, &config, err)));
    return plan_carry_over(p, m->dir, config.p ? &config : NULL, err);
}

static enum quern_status from_view(struct view *v, const struct back_request *r, enum dtype dtype,
                                   struct plan *p, struct hf_form *out, struct quern_error *err)
{
    const struct model *m = v->model;
    const struct folder folder = {.path = m->dir};
    struct unpacked u = {0};
    if (m->dir)
        TRY(unpack_view(v, &folder, &p->arena, &u, err));
    if (u.by)
        TRY(plan_note(p, err, "%s", unpacked_words(&u).text));
    TRY(safetensors_form(v, dtype, p, out, err));
    return m->dir && !is_file_name(r->output) ? carry(m, &u, dtype, p, err) : QUERN_OK;
}

/* ---- the plan ---------------------------------------------------------------------------------
 */

static enum quern_status add_steps(struct plan *p, const struct hf_form *hf,
                                   struct quern_error *err)
{
    p->steps = ARENA_NEW(&p->arena, struct step, hf->count + 1);
    if (!p->steps)
        return fail_memory(err, hf->count * sizeof *p->steps);
    for (uint32_t i = 0; i < hf->count; i++) {
        const struct source *s = &hf->sources[i];
        p->steps[p->nsteps++] = (struct step){.name = s->tensor->name,
                                              .dims = s->tensor->dims,
                                              .ndims = s->tensor->ndims,
                                              .dtype = s->tensor->dtype,
                                              .round_dtype = DTYPE_COUNT,
                                              .nsources = 1,
                                              .sources = s,
                                              .op = &op_copy};
    }
    return QUERN_OK;
}

static enum quern_status add_files(struct plan *p, const struct hf_form *hf,
                                   struct quern_error *err)
{
    for (uint32_t i = 0; i < hf->nfiles; i++)
        TRY(plan_add_side_text(p, hf->files[i].name, hf->files[i].text, err));
    return QUERN_OK;
}

static enum quern_status find_form(struct model *m, const struct back_request *r, enum dtype dtype,
                                   struct plan *p, struct hf_form *out, struct quern_error *err)
{
    if (m->format == MODEL_GGUF)
        return r->keep_names ? own_names(m, dtype, p, out, err)
                             : hf_form_of_gguf(m, dtype, p, out, err);
    struct view v = {0};
    enum quern_status s = view_of_model(m, &p->arena, &v, err);
    if (s == QUERN_OK)
        s = from_view(&v, r, dtype, p, out, err);
    view_free(&v);
    return s;
}

static enum quern_status build(struct model *m, const struct back_request *r, struct plan *p,
                               struct quern_error *err)
{
    static const struct meta format = {
        .key = {"format", 6},
          .value = {"pt",     2},
          .type = META_STRING
    };
    const bool to_file = is_file_name(r->output);
    const bool described = m->format != MODEL_GGUF && m->nmetas > 0;
    const struct meta *metas = described ? m->metas : &format;
    const uint32_t nmetas = described ? m->nmetas : 1;
    struct hf_form hf = {0};
    enum dtype dtype = DTYPE_COUNT;
    p->force = r->force;
    p->nonfinite = NONFINITE_ERROR;
    if (!*r->output)
        return fail(err, QUERN_EUSAGE, "usage", "the output name is empty");
    if (to_file && r->shard_bytes)
        return fail(err, QUERN_EUSAGE, "usage",
                    "a shard size for an output of one file" WANT "expected a directory as output");
    TRY(choose_type(r->type ? r->type : "auto", &dtype, err));
    TRY(plan_add_model(p, m, err));
    TRY(find_form(m, r, dtype, p, &hf, err));
    TRY(add_steps(p, &hf, err));
    if (to_file)
        return layout_safetensors(p, r->output, metas, nmetas, err);
    TRY(add_files(p, &hf, err));
    return layout_directory(p, r->output, metas, nmetas, r->shard_bytes, err);
}

enum quern_status convert_back_plan(struct model *m, const struct back_request *r,
                                    struct plan **out, struct quern_error *err)
{
    struct plan *p = plan_new("convert", err);
    if (!p)
        return QUERN_EMEMORY;
    const enum quern_status s = build(m, r, p, err);
    if (s != QUERN_OK && s != QUERN_EUSAGE)
        in_file(err, m->path, s);
    if (s == QUERN_OK)
        *out = p;
    else
        plan_free(p);
    return s;
}
