/* beside.c - find the small files of a model. */
#include "beside.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Nothing larger is read as configuration or tokenizer. */
#define MOST_BYTES (INT64_C(256) << 20)

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
static int may_be_read(const struct dirent *e)
{
    static const char *const others[] = {".safetensors", ".gguf", ".bin",     ".pt",
                                         ".pth",         ".onnx", ".msgpack", ".quern.json"};
    const struct str name = str_from(e->d_name);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (str_ends(name, others[i]))
            return 0;
    return name.p[0] != '.';
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static enum quern_status list_dir(const char *dir, struct path_list *l, struct quern_error *err)
{
    struct dirent **entries;
    const int n = scandir(dir, &entries, may_be_read, by_name);
    if (n < 0)
        return fail_errno(err, dir, "read the directory");
    enum quern_status s = QUERN_OK;
    for (int i = 0; i < n; i++) {
        struct stat st;
        const char *path = path_join(l->arena, dir, entries[i]->d_name);
        if (!path)
            s = fail_memory(err, strlen(dir));
        else if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= MOST_BYTES &&
                 !path_list_add(l, path))
            s = fail_memory(err, strlen(path));
        free(entries[i]);
    }
    free(entries);
    return s;
}

static enum quern_status list_if_there(struct path_list *l, const char *dir, const char *name,
                                       struct quern_error *err)
{
    struct stat st;
    const char *path = path_join(l->arena, dir, name);
    if (!path)
        return fail_memory(err, strlen(name));
    if (stat(path, &st) != 0)
        return QUERN_OK;
    if (S_ISDIR(st.st_mode))
        return list_dir(path, l, err);
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
