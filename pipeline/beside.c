/* beside.c - find the small files of a model. */
#include "beside.h"

#include "core/archive.h"
#include "formats/byte_files.h"

/* Nothing larger is read as configuration or tokenizer. */
#define MOST_BYTES (UINT64_C(256) << 20)

bool path_list_add(struct path_list *l, const char *path)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (strcmp(l->items[i], path) == 0)
            return true;
    if (l->count == l->capacity) {
        const uint32_t capacity = l->capacity ? l->capacity * 2 : 16;
        const char **items = ARENA_NEW(l->arena, const char *, capacity);
        if (!items)
            return false;
        if (l->count)
            memcpy(items, l->items, l->count * sizeof *items);
        l->items = items;
        l->capacity = capacity;
    }
    const char *copy = arena_printf(l->arena, "%s", path);
    if (copy)
        l->items[l->count++] = copy;
    return copy != NULL;
}

/* Weights are inputs of their own, or none; records tell of outputs. */
static bool may_be_read(const char *entry)
{
    static const char *const others[] = {".safetensors", ".gguf", ".bin",     ".pt",
                                         ".pth",         ".onnx", ".msgpack", ".quern.json"};
    const struct str name = str_from(entry);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (str_ends(name, others[i]))
            return false;
    return name.p[0] != '.';
}

static enum quern_status list_dir(const char *dir, struct path_list *l, struct quern_error *err)
{
    const char **names;
    uint32_t n;
    TRY(path_list(dir, l->arena, &names, &n, err));
    for (uint32_t i = 0; i < n; i++) {
        uint64_t nbytes;
        const char *path = may_be_read(names[i]) ? path_join(l->arena, dir, names[i]) : "";
        if (!path)
            return fail_memory(err, strlen(dir));
        if (*path && byte_file_size(path, &nbytes) && nbytes <= MOST_BYTES &&
            !path_list_add(l, path))
            return fail_memory(err, strlen(path));
    }
    return QUERN_OK;
}

static enum quern_status list_if_there(struct path_list *l, const char *dir, const char *name,
                                       struct quern_error *err)
{
    const char *path = path_join(l->arena, dir, name);
    if (!path)
        return fail_memory(err, strlen(name));
    if (path_is_dir(path))
        return list_dir(path, l, err);
    if (!path_is_file(path))
        return QUERN_OK;
    return path_list_add(l, path) ? QUERN_OK : fail_memory(err, strlen(path));
}

enum quern_status list_beside(const struct model *m, struct path_list *l, struct quern_error *err)
{
    if (m->dir) {
        TRY(list_dir(m->dir, l, err));
        return list_if_there(l, m->dir, "additional_chat_templates", err);
    }
    if (m->format != MODEL_SAFETENSORS || m->nfiles == 0)
        return QUERN_OK;
    const char *path = m->files[0].path, *base = path_base(path);
    const char *dir = arena_printf(l->arena, "%.*s", (int)(base - path), path);
    return dir ? list_if_there(l, dir, "adapter_config.json", err) : fail_memory(err, strlen(path));
}
