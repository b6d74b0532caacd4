/* open_view.c - open a model once, however often recipes name it. */
#include "merge/open_view.h"

#include <inttypes.h>

#include "convert/back.h"
#include "convert/unpack.h"
#include "merge/adapt.h"
#include "pipeline/carry.h"

/* A model that is open already, under the same path: its file's or its directory's. */
static struct model *opened(const struct plan *p, const char *path)
{
    for (uint32_t i = 0; i < p->nmodels; i++) {
        struct model *m = p->models[i];
        if (strcmp(m->path, path) == 0 || (m->dir && strcmp(m->dir, path) == 0))
            return m;
    }
    return NULL;
}

/* An adapter where a model is meant opens well, and would be found to lack everything. */
static enum quern_status refuse_adapter(const struct model *m, struct quern_error *err)
{
    static const struct str sign = STR(".lora_A.");
    for (uint64_t i = 0; i < m->ntensors; i++)
        if (memmem(m->tensors[i].name.p, m->tensors[i].name.n, sign.p, sign.n))
            return in_file(err, m->path,
                           fail(err, QUERN_EUSAGE, "adapter",
                                "it is a LoRA adapter" WANT
                                "expected a model; write it behind its base, BASE+ADAPTER"));
    return QUERN_OK;
}

static enum quern_status open_new(const char *path, struct plan *p, struct model **out,
                                  struct quern_error *err)
{
    struct model *m;
    TRY(model_open(path, &m, err));
    enum quern_status status = refuse_adapter(m, err);
    if (status == QUERN_OK)
        status = plan_add_model(p, m, err);
    if (status != QUERN_OK) {
        model_close(m);
        return status;
    }
    for (uint32_t k = 0; k < m->nnotes; k++)
        TRY(plan_note(p, err, "%s: %s", quoted(str_from(path)).text, m->notes[k]));
    *out = m;
    return QUERN_OK;
}

enum quern_status open_located(const struct location *at, struct plan *p, struct model **out,
                               struct quern_error *err)
{
    *out = opened(p, at->path);
    return *out ? QUERN_OK : open_new(at->path, p, out, err);
}

/* A model without tensors of its own, to stand for the GGUF among safetensors. */
static enum quern_status stand_in(struct model *gguf, struct plan *p, struct model **out,
                                  struct quern_error *err)
{
    TRY(model_new(gguf->path, 0, out, err));
    struct meta *format = model_new_meta(*out);
    const enum quern_status s =
        format ? plan_add_model(p, *out, err) : fail_memory(err, sizeof *format);
    if (s != QUERN_OK) {
        model_close(*out);
        return s;
    }
    (*out)->format = MODEL_SAFETENSORS;
    *format = (struct meta){.key = STR("format"), .value = STR("pt"), .type = META_STRING};
    return QUERN_OK;
}

static enum quern_status view_as_hf(struct model *gguf, struct plan *p, struct arena *scratch,
                                    struct view *v, struct quern_error *err)
{
    struct hf_form form;
    *v = (struct view){.made = true, .gguf = gguf};
    TRY(hf_form_of_gguf(gguf, DTYPE_COUNT, p, &form, err));
    TRY(stand_in(gguf, p, &v->model, err));
    v->config = form.config;
    v->sides = form.files;
    v->nsides = form.nfiles;
    for (uint32_t i = 0; i < form.count; i++)
        TRY(view_set(v, scratch, &form.sources[i], err));
    return QUERN_OK;
}

enum quern_status open_view(const struct location *at, bool as_hf, struct plan *p,
                            struct arena *scratch, struct view *v, struct quern_error *err)
{
    struct model *m;
    TRY(open_located(at, p, &m, err));
    if (as_hf && m->format == MODEL_GGUF) {
        TRY(view_as_hf(m, p, scratch, v, err));
        return adapt_view(v, p, at, err);
    }
    struct unpacked u;
    TRY(unpack_model(m, &p->arena, v, &u, err));
    if (u.by)
        TRY(plan_note(p, err, "%s: %s", quoted(str_from(at->path)).text, unpacked_words(&u).text));
    return adapt_view(v, p, at, err);
}
