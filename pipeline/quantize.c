/* quantize.c - the plan of `quern quantize`: one source per tensor, another stored type. */
#include "carry.h"
#include "config_edit.h"
#include "prune.h"
#include "retype.h"

/* ---- GGUF -------------------------------------------------------------------------------------
 */

static enum quern_status keep_split(struct plan *p, const struct model *m, const char *prefix,
                                    const struct meta_list *metas, uint64_t alignment,
                                    struct quern_error *err)
{
    uint32_t *shard_of = ARENA_NEW(&p->arena, uint32_t, p->nsteps + 1);
    const struct str out = str_from(prefix);
    /* llama-quantize drops a .gguf from the prefix. */
    const size_t nprefix = str_ends(out, ".gguf") ? out.n - 5 : out.n;
    const char *trimmed = arena_printf(&p->arena, "%.*s", (int)nprefix, prefix);
    if (!shard_of || !trimmed)
        return fail_memory(err, p->nsteps * sizeof *shard_of);
    for (uint32_t i = 0; i < p->nsteps; i++)
        shard_of[i] = p->steps[i].sources[0].tensor->file;
    /* Files at the end that pruning has emptied are not written. */
    const uint32_t nshards = p->ndropped && p->nsteps ? shard_of[p->nsteps - 1] + 1
                             : p->ndropped            ? 1
                                                      : m->nfiles;
    return layout_gguf_split(p, trimmed, metas, alignment, shard_of, nshards, SPLIT_AS_QUANTIZE,
                             err);
}

static enum quern_status to_gguf(struct plan *p, struct model *m, const char *output,
                                 const struct quern_quantize *q, struct meta_list *metas,
                                 struct quern_error *err)
{
    uint64_t alignment;
    TRY(plan_retype_gguf(p, m, q, metas, err));
    TRY(gguf_alignment_of(metas, &alignment, err));
    TRY(q->keep_split ? keep_split(p, m, output, metas, alignment, err)
                      : layout_gguf(p, output, metas, alignment, err));
    return q->nprune_layers && q->reference_bugs ? plan_misplace_pruned(p, m, err) : QUERN_OK;
}

static enum quern_status from_gguf(struct plan *p, struct model *m, const char *output,
                                   const struct quern_quantize *q, struct quern_error *err)
{
    struct meta_list metas;
    if (str_ends(str_from(output), ".safetensors") || output[strlen(output) - 1] == '/')
        return fail(err, QUERN_EUNSUPPORTED, "format",
                    "quantize makes GGUF from GGUF" WANT
                    "expected an OUTPUT that ends in .gguf; quern convert turns GGUF back into "
                    "safetensors");
    if (q->keep_names || q->arch)
        return fail(err, QUERN_EUSAGE, "usage",
                    "--keep-names and --arch are for safetensors inputs; this one is GGUF");
    if (q->shard_bytes)
        return fail(err, QUERN_EUNSUPPORTED, "usage",
                    "--shard-size is for safetensors outputs" WANT
                    "splitting GGUF by size is not supported yet; --keep-split mirrors the input");
    TRY(gguf_check_model(m, err));
    if (!meta_list_copy(&metas, &p->arena, m->metas, m->nmetas))
        return fail_memory(err, m->nmetas * sizeof(struct meta));
    return to_gguf(p, m, output, q, &metas, err);
}

static enum quern_status container(struct plan *p, struct model *m, const char *output,
                                   const struct quern_quantize *q, struct quern_error *err)
{
    struct meta_list metas = {.arena = &p->arena};
    if (!q->keep_names)
        return fail(err, QUERN_EUNSUPPORTED, "conversion",
                    "a GGUF of safetensors needs llama.cpp's names and layout" WANT
                    "converting gives them; --keep-names --arch NAME writes the tensors as they "
                    "are into a plain GGUF container");
    if (!q->arch || !*q->arch)
        return fail(err, QUERN_EUSAGE, "usage",
                    "--keep-names makes a plain GGUF container" WANT
                    "expected --arch NAME with it, for general.architecture");
    if (q->keep_split || q->shard_bytes)
        return fail(err, QUERN_EUNSUPPORTED, "usage",
                    "a GGUF made from safetensors is one file" WANT
                    "--keep-split and --shard-size do not apply");
    if (!meta_list_set_string(&metas, "general.architecture", str_from(q->arch)))
        return fail_memory(err, strlen(q->arch));
    return to_gguf(p, m, output, q, &metas, err);
}

/* ---- safetensors ------------------------------------------------------------------------------
 */

static enum quern_status st_target(const char *type, enum dtype *out, struct quern_error *err)
{
    const struct str name = str_from(type ? type : "");
    *out = DTYPE_COUNT;
    if (str_eq_nocase(name, STR("COPY")))
        return QUERN_OK;
    if (str_eq_nocase(name, STR("F8")))
        *out = DTYPE_F8_E4M3;
    else if (!dtype_from_name(name, out) || !dtype_is_float(*out) || *out == DTYPE_F64)
        return fail(
            err, QUERN_EUSAGE, "usage",
            "'%s' is no type for safetensors weights" WANT
            "expected F32 F16 BF16 F8_E4M3 F8_E5M2 or COPY (block types need a .gguf output)",
            quoted(name).text);
    return QUERN_OK;
}

/* F8 is too coarse for norms and biases: one-dimensional tensors keep their type there. */
static bool takes_dtype(const struct step *s, enum dtype to)
{
    const bool f8 = to == DTYPE_F8_E4M3 || to == DTYPE_F8_E5M2;
    return to != DTYPE_COUNT && s->dtype != to && dtype_is_float(s->dtype) &&
           (!f8 || s->ndims >= 2);
}

static enum quern_status refuse_gguf_options(const struct quern_quantize *q,
                                             struct quern_error *err)
{
    const char *bad = q->output_tensor_type     ? "--output-tensor-type"
                      : q->token_embedding_type ? "--token-embedding-type"
                      : q->ntensor_types        ? "--tensor-type"
                      : q->imatrix              ? "--imatrix"
                      : q->ninclude_weights     ? "--include-weights"
                      : q->nexclude_weights     ? "--exclude-weights"
                      : q->nprune_layers        ? "--prune-layers"
                      : q->reference_bugs       ? "--reference-bugs"
                      : q->noverride_kvs        ? "--override-kv"
                      : q->keep_split           ? "--keep-split"
                      : q->keep_names           ? "--keep-names"
                      : q->arch                 ? "--arch"
                      : q->leave_output_tensor  ? "--leave-output-tensor"
                                                : NULL;
    if (!bad)
        return QUERN_OK;
    return fail(err, QUERN_EUSAGE, "usage", "%s has no meaning for a safetensors output", bad);
}

/* Codes of few bits are no weights without their scales: their type cannot change alone. */
static enum quern_status refuse_packed(struct plan *p, const struct model *m, enum dtype to,
                                       struct quern_error *err)
{
    struct str config, value;
    bool found = false;
    if (!m->dir || to == DTYPE_COUNT)
        return QUERN_OK;
    TRY(read_config(m->dir, &p->arena, &config, err));
    if (config.p)
        TRY(in_file(err, m->path,
                    config_find(&p->arena, config, "quantization_config", &found, &value, err)));
    if (!found || value.p[0] != '{')
        return QUERN_OK;
    return fail(err, QUERN_EUNSUPPORTED, "packed",
                "another program packed its weights (quantization_config)" WANT
                "quern convert HFDIR OUTDIR -t bf16 writes plain ones; COPY leaves them as they "
                "are");
}

/* The files beside the weights, with the new type in config.json. */
static enum quern_status carry_over(struct plan *p, const char *dir, enum dtype to,
                                    struct quern_error *err)
{
    struct str config;
    TRY(read_config(dir, &p->arena, &config, err));
    if (!config.p)
        return plan_carry_over(p, dir, NULL, err);
    const char *path = path_join(&p->arena, dir, "config.json");
    if (!path)
        return fail_memory(err, strlen(dir));
    TRY(in_file(err, path, config_with_dtype(&p->arena, config, to, &config, err)));
    return plan_carry_over(p, dir, &config, err);
}

static enum quern_status to_safetensors(struct plan *p, const struct model *m, const char *output,
                                        const struct quern_quantize *q, struct quern_error *err)
{
    enum dtype to;
    TRY(refuse_gguf_options(q, err));
    TRY(st_target(q->type, &to, err));
    TRY(refuse_packed(p, m, to, err));
    for (uint32_t i = 0; i < p->nsteps; i++)
        if (takes_dtype(&p->steps[i], to))
            p->steps[i].dtype = (uint8_t)to;
    if (str_ends(str_from(output), ".safetensors")) {
        if (q->shard_bytes)
            return fail(err, QUERN_EUSAGE, "usage",
                        "--shard-size needs a directory as output, not one .safetensors file");
        return layout_safetensors(p, output, m->metas, m->nmetas, err);
    }
    if (m->dir)
        TRY(carry_over(p, m->dir, to, err));
    return layout_directory(p, output, m->metas, m->nmetas, q->shard_bytes, err);
}

/* ---- both -------------------------------------------------------------------------------------
 */

static enum quern_status build(struct plan *p, struct model *m, const char *output,
                               const struct quern_quantize *q, struct quern_error *err)
{
    p->force = q->force;
    p->nonfinite = NONFINITE_ERROR;
    if (!*output)
        return fail(err, QUERN_EUSAGE, "usage", "the output name is empty");
    TRY(plan_copy_model(p, m, err));
    if (m->format == MODEL_GGUF)
        return from_gguf(p, m, output, q, err);
    if (str_ends(str_from(output), ".gguf") || q->keep_names)
        return container(p, m, output, q, err);
    return to_safetensors(p, m, output, q, err);
}

enum quern_status plan_quantize(struct model *model, const char *output,
                                const struct quern_quantize *q, struct plan **out,
                                struct quern_error *err)
{
    struct plan *p = plan_new("quantize", err);
    if (!p)
        return QUERN_EMEMORY;
    const enum quern_status s = plan_in_file(p, model->path, build(p, model, output, q, err), err);
    if (s == QUERN_OK)
        *out = p;
    else
        plan_free(p);
    return s;
}
