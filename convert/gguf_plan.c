/* gguf_plan.c - plan a GGUF whose tensors keep their names: split, join, give weights another type.
 */
#include "gguf_plan.h"

#include <inttypes.h>

#include "conversion.h"
#include "core/checked.h"
#include "output_name.h"
#include "pipeline/retype.h"
#include "quant/mix.h"

static enum quern_status check_options(const struct model *m, const struct convert_request *r,
                                       bool retypes, struct quern_error *err)
{
    const bool gguf = m->format == MODEL_GGUF;
    const char *arch = r->quantize ? r->quantize->arch : NULL;
    const bool splits = r->split_max_bytes || r->split_max_tensors;
    const char *bad = r->pre                  ? "--pre"
                      : r->like               ? "--like"
                      : r->map || r->map_path ? "--map"
                      : r->vocab_only         ? "--vocab-only"
                      : r->text_only          ? "--text-only"
                                              : NULL;
    if (gguf && r->quantize && (r->quantize->keep_names || arch))
        bad = r->quantize->keep_names ? "--keep-names" : "--arch";
    if (bad)
        return fail(err, QUERN_EUSAGE, "usage", "%s has no meaning %s" WANT "expected %s", bad,
                    gguf ? "for a GGUF input" : "with --keep-names",
                    gguf ? "a Hugging Face directory" : "it without --keep-names");
    if (!gguf && (!arch || !*arch))
        return fail(err, QUERN_EUSAGE, "usage",
                    "--keep-names makes a plain GGUF container" WANT
                    "expected --arch NAME with it, for general.architecture");
    if (!r->output || !*r->output)
        return fail(err, QUERN_EUSAGE, "usage",
                    "the OUTPUT is missing" WANT
                    "expected one: only Hugging Face directories and adapters have a default");
    if (r->no_tensor_first_split && !splits)
        return fail(err, QUERN_EUSAGE, "usage",
                    "--no-tensor-first-split is about several files" WANT
                    "expected --split-max-size or --split-max-tensors with it");
    if (!retypes && r->quantize && r->quantize->imatrix)
        return fail(err, QUERN_EUSAGE, "usage",
                    "--imatrix has no meaning without a type" WANT
                    "expected -t with a type that quern quantize makes");
    return QUERN_OK;
}

/* Floats of quantized weights are what they stand for; blocks of blocks lose once more. */
static bool only_dequantizes(const char *type)
{
    const struct file_type *t = file_type_find(str_from(type));
    return t && !t->copies && !dtype_is_quantized(t->base);
}

static enum quern_status retype(struct plan *p, struct model *m, const struct convert_request *r,
                                const char *type, struct meta_list *metas, struct quern_error *err)
{
    struct quern_quantize q = {0};
    if (r->quantize)
        q = *r->quantize;
    q.type = type;
    q.allow_requantize |= only_dequantizes(type);
    TRY(gguf_check_model(m, err));
    return plan_retype_gguf(p, m, &q, metas, err);
}

/* What was several files, or said so, says that it is one: like gguf-split, which leaves the other
 * two keys of the first file. */
static bool join_keys(const struct model *m, struct meta_list *metas)
{
    return m->files[0].split_count == 0 || meta_list_set_u16(metas, "split.count", 0);
}

/* A file is closed when the next tensor with its padding would be one too many, or too much.
 * gguf-split counts padding to 32 whatever the alignment is. */
static uint32_t assign_files(const struct plan *p, const struct convert_request *r,
                             uint32_t *file_of)
{
    uint64_t count = 0, nbytes = 0;
    uint32_t file = r->no_tensor_first_split;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        uint64_t n = p->steps[i].nbytes, with;
        if (!checked_align(n, GGUF_DEFAULT_ALIGNMENT, &n) || !checked_add(nbytes, n, &with))
            with = UINT64_MAX;
        if (count > 0 && ((r->split_max_tensors && count >= r->split_max_tensors) ||
                          (r->split_max_bytes && with > r->split_max_bytes))) {
            file++;
            count = 0;
            with = n;
        }
        file_of[i] = file;
        count++;
        nbytes = with;
    }
    return file + 1;
}

static enum quern_status several_files(struct plan *p, const struct convert_request *r,
                                       const char *output, const struct meta_list *metas,
                                       uint64_t alignment, struct quern_error *err)
{
    const struct str out = str_from(output);
    const size_t n = str_ends(out, ".gguf") ? out.n - 5 : out.n;
    uint32_t *file_of = ARENA_NEW(&p->arena, uint32_t, p->nsteps + 1);
    const char *prefix = arena_printf(&p->arena, "%.*s", (int)n, output);
    if (!file_of || !prefix)
        return fail_memory(err, p->nsteps * sizeof *file_of);
    TRY(plan_size_steps(p, err));
    const uint32_t nfiles = assign_files(p, r, file_of);
    return layout_gguf_split(p, prefix, metas, alignment, file_of, nfiles, SPLIT_AS_GGUF_SPLIT,
                             err);
}

static enum quern_status begin_keys(struct plan *p, const struct model *m,
                                    const struct convert_request *r, struct meta_list *metas,
                                    struct quern_error *err)
{
    bool ok;
    if (m->format == MODEL_GGUF) {
        ok = meta_list_copy(metas, &p->arena, m->metas, m->nmetas);
    } else {
        *metas = (struct meta_list){.arena = &p->arena};
        ok = meta_list_set_string(metas, "general.architecture", str_from(r->quantize->arch));
    }
    return ok ? QUERN_OK : fail_memory(err, m->nmetas * sizeof(struct meta));
}

/* The types of its matrices are settled when it is made of a PEFT adapter. */
static enum quern_status check_adapter(const struct model *m, const char *type,
                                       struct quern_error *err)
{
    const struct meta *kind = model_meta(m, "general.type");
    struct str word;
    if (!type || m->format != MODEL_GGUF || !kind || !meta_string(kind, &word) ||
        !str_is(word, "adapter"))
        return QUERN_OK;
    return fail(err, QUERN_EUNSUPPORTED, "adapter",
                "it is an adapter, whose matrices keep their types" WANT
                "expected no type, or the adapter of PEFT that it was made of");
}

static enum quern_status edit_metadata(struct plan *p, const struct convert_request *r,
                                       struct meta_list *metas, struct quern_error *err)
{
    struct conversion c = {.request = r, .plan = p, .keys = *metas};
    TRY(convert_edit_metadata(&c, err));
    *metas = c.keys;
    return QUERN_OK;
}

enum quern_status gguf_plan(struct plan *p, struct model *m, const struct convert_request *r,
                            struct quern_error *err)
{
    const bool is_auto = !r->type || str_eq_nocase(str_from(r->type), STR("auto"));
    /* What was no GGUF gets the keys that say how it is stored. */
    const char *type = !is_auto ? r->type : m->format == MODEL_GGUF ? NULL : "COPY";
    const char *output = r->output;
    struct meta_list metas;
    uint64_t alignment;
    p->force = r->force;
    p->nonfinite = type ? NONFINITE_ERROR : NONFINITE_MOVED;
    TRY(check_options(m, r, !is_auto, err));
    TRY(check_adapter(m, type, err));
    TRY(plan_copy_model(p, m, err));
    TRY(begin_keys(p, m, r, &metas, err));
    TRY(edit_metadata(p, r, &metas, err));
    if (type)
        TRY(retype(p, m, r, type, &metas, err));
    else if (r->quantize)
        TRY(gguf_override_keys(p, r->quantize, &metas, err));
    if (!is_auto)
        TRY(output_fill_name(&p->arena, output, file_type_find(str_from(type))->name, &output,
                             err));
    TRY(gguf_alignment_of(&metas, &alignment, err));
    if (r->split_max_bytes || r->split_max_tensors)
        return several_files(p, r, output, &metas, alignment, err);
    if (!type && !join_keys(m, &metas))
        return fail_memory(err, sizeof(struct meta));
    return layout_gguf(p, output, &metas, alignment, err);
}
