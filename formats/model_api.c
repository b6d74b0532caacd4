/* model_api.c - the public face of models. */
#include "model.h"

static const struct model *inner(const struct quern_model *m)
{
    return (const struct model *)m;
}

const char *quern_version(void)
{
    return QUERN_VERSION;
}

enum quern_status quern_open(const char *path, struct quern_model **out, struct quern_error *err)
{
    struct model *m;
    TRY(model_open(path, &m, err));
    *out = (struct quern_model *)m;
    return QUERN_OK;
}

void quern_close(struct quern_model *model)
{
    model_close((struct model *)model);
}

size_t quern_ntensors(const struct quern_model *model)
{
    return inner(model)->ntensors;
}

void quern_get_tensor(const struct quern_model *model, size_t i, struct quern_tensor *out)
{
    const struct model *m = inner(model);
    const struct tensor *t = &m->tensors[i];
    *out = (struct quern_tensor){.name = t->name.p,
                                 .name_bytes = t->name.n,
                                 .type = dtype_traits[t->dtype].name,
                                 .ndims = t->ndims,
                                 .dims = t->dims,
                                 .nbytes = t->nbytes,
                                 .file = m->files[t->file].path,
                                 .offset = t->offset};
}

int64_t quern_find_tensor(const struct quern_model *model, const char *name)
{
    const struct tensor *t = model_find(inner(model), str_from(name));
    return t ? t - inner(model)->tensors : -1;
}

const char *quern_model_format(const struct quern_model *model)
{
    return inner(model)->format == MODEL_GGUF ? "gguf" : "safetensors";
}

const char *quern_model_string(struct quern_model *model, const char *key)
{
    struct model *m = (struct model *)model;
    const struct meta *k = model_meta(m, key);
    struct str value;
    if (!k || !meta_string(k, &value) || memchr(value.p, 0, value.n))
        return NULL;
    return arena_str(&m->arena, value).p;
}
