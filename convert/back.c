/* back.c - a GGUF as a Hugging Face model: its class, its numbers, its tensors, its files. */
#include "back.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "back_class.h"

enum quern_status no_way_back(struct quern_error *err, const char *format, ...)
{
    char what[256];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return fail(err, QUERN_EUNSUPPORTED, "no-way-back",
                "%s" WANT "--keep-names writes tensors under the names they have", what);
}

/* ---- types ------------------------------------------------------------------------------------
 */

/* What most weights are stored as; blocks become BF16, the type most models are trained in. */
static enum dtype main_dtype(const struct model *m)
{
    uint64_t nelems[DTYPE_COUNT] = {0};
    enum dtype most = DTYPE_F32;
    for (uint32_t i = 0; i < m->ntensors; i++) {
        const struct tensor *t = &m->tensors[i];
        nelems[t->dtype] += t->ndims >= 2 ? t->nelems : 0;
        if (nelems[t->dtype] > nelems[most])
            most = t->dtype;
    }
    return dtype_is_quantized(most) ? DTYPE_BF16 : most;
}

void back_start(struct back *b, struct model *m, enum dtype dtype, struct plan *p)
{
    *b = (struct back){.model = m,
                       .plan = p,
                       .dtype = dtype == DTYPE_COUNT ? main_dtype(m) : dtype,
                       .asked = dtype != DTYPE_COUNT};
}

enum quern_status back_dtype(const struct back *b, const struct source *s, enum dtype *out,
                             struct quern_error *err)
{
    const enum dtype d = s->tensor->dtype;
    bool fits = true;
    *out = d;
    if (!dtype_is_float(d) && !dtype_is_quantized(d))
        return QUERN_OK;
    if (b->asked || dtype_is_quantized(d)) {
        *out = b->dtype;
        return QUERN_OK;
    }
    if (d != DTYPE_F32 || (b->dtype != DTYPE_F16 && b->dtype != DTYPE_BF16))
        return QUERN_OK;
    TRY(fits_type(s, b->dtype, &fits, err));
    if (fits)
        *out = b->dtype;
    return QUERN_OK;
}

enum quern_status back_add_file(struct back *b, struct hf_form *out, const char *name,
                                struct str text, struct quern_error *err)
{
    struct side_file *bigger = ARENA_NEW(&b->plan->arena, struct side_file, out->nfiles + 1);
    if (!bigger)
        return fail_memory(err, out->nfiles * sizeof *bigger);
    if (out->nfiles)
        memcpy(bigger, out->files, out->nfiles * sizeof *bigger);
    bigger[out->nfiles++] = (struct side_file){.name = name, .text = text};
    out->files = bigger;
    return QUERN_OK;
}

/* ---- the class --------------------------------------------------------------------------------
 */

static const struct back_class *const class_lists[] = {back_classes, back_state_classes};
#define NLISTS (sizeof class_lists / sizeof *class_lists)

static enum quern_status unknown_architecture(struct back *b, struct quern_error *err)
{
    const char *known = "";
    for (size_t i = 0; i < NLISTS; i++)
        for (const struct back_class *k = class_lists[i]; k->arch && known; k++)
            if (k == class_lists[i] || strcmp(k->arch, k[-1].arch) != 0)
                known = arena_printf(&b->plan->arena, "%s%s%s", known, *known ? " " : "", k->arch);
    if (!known)
        return fail_memory(err, 4096);
    return fail(err, QUERN_EUNSUPPORTED, "architecture",
                "its architecture is '%s'" WANT "expected one of %s; --keep-names writes tensors "
                "under the names they have",
                quoted(b->name).text, known);
}

static const struct back_class *class_of(const struct back *b)
{
    for (size_t i = 0; i < NLISTS; i++)
        for (const struct back_class *k = class_lists[i]; k->arch; k++)
            if (str_is(b->name, k->arch) && (!k->is || k->is(b)))
                return k;
    return NULL;
}

static enum quern_status find_class(struct back *b, struct quern_error *err)
{
    const struct meta *k = model_meta(b->model, "general.architecture");
    struct str type = STR("model");
    if (!k || !meta_string(k, &b->name))
        b->name = STR("");
    if ((k = model_meta(b->model, "general.type")) && meta_string(k, &type) &&
        !str_is(type, "model"))
        return no_way_back(err, "its general.type is '%s'", quoted(type).text);
    b->nlayers = b->nheads = b->hidden = 0;
    back_u64(b, "block_count", &b->nlayers);
    back_u64(b, "attention.head_count", &b->nheads);
    back_u64(b, "embedding_length", &b->hidden);
    back_u64(b, "expert_count", &b->nexperts);
    b->nkv_heads = b->nheads;
    back_u64(b, "attention.head_count_kv", &b->nkv_heads);
    b->cls = class_of(b);
    if (!b->cls)
        return unknown_architecture(b, err);
    b->arch = architecture_of_class(str_from(b->cls->hf_class));
    if (!b->arch)
        return fail(err, QUERN_EINTERNAL, "internal", "no rules for %s", b->cls->hf_class);
    if (b->cls->foreign)
        TRY(plan_note(b->plan, err,
                      "%s is no class of the transformers package: the model's own code must be "
                      "put beside its config.json",
                      b->cls->hf_class));
    return QUERN_OK;
}

static enum quern_status all_of_it(struct back *b, struct hf_form *out, struct quern_error *err)
{
    TRY(find_class(b, err));
    TRY(back_config(b, &out->config, err));
    TRY(back_add_file(b, out, "config.json", out->config, err));
    TRY(back_tensors(b, out, err));
    return back_tokenizer(b, out, err);
}

enum quern_status hf_form_of_gguf(struct model *m, enum dtype dtype, struct plan *p,
                                  struct hf_form *out, struct quern_error *err)
{
    struct back b;
    back_start(&b, m, dtype, p);
    *out = (struct hf_form){0};
    b.used = calloc(m->ntensors + 1, sizeof *b.used);
    const enum quern_status s =
        b.used ? all_of_it(&b, out, err) : fail_memory(err, m->ntensors * sizeof *b.used);
    free(b.used);
    return in_file(err, m->path, s);
}
