/* byte_files.c - files whose bytes are read as they are. */
#include "formats/byte_files.h"

#include <sys/stat.h>

#include "core/archive.h"
#include "formats/pack.h"

static enum quern_status add_file(struct model *m, const char *path, struct quern_error *err)
{
    const uint32_t file = m->nfiles;
    const struct str copy = arena_str(&m->arena, str_from(path));
    uint64_t *dims = ARENA_NEW(&m->arena, uint64_t, 1);
    if (!copy.p || !dims)
        return fail_memory(err, copy.n);
    TRY(model_add_file(m, copy.p, path_base(copy.p), err));
    struct tensor *t = model_new_tensor(m);
    if (!t)
        return fail_memory(err, sizeof *t);
    dims[0] = m->files[file].id.nbytes;
    *t = (struct tensor){.name = copy,
                         .dims = dims,
                         .ndims = 1,
                         .nbytes = dims[0],
                         .nelems = dims[0],
                         .file = file,
                         .dtype = DTYPE_U8};
    m->files[file].ntensors = 1;
    return model_pread(m, file, NULL, 0, 0, err); /* which closes it when too many are open */
}

static const struct archive *home_of(const char *path)
{
    const char *rest;
    const struct archive *a = archive_at(path, &rest);
    return a && *rest ? a : NULL;
}

/* Others than the pack itself. */
static bool lies_in_pack(const char *path)
{
    const size_t n = pack_part(path);
    return n > 0 && path[n] == '/';
}

bool byte_file_size(const char *path, uint64_t *nbytes)
{
    const char *rest;
    uint32_t entry;
    struct stat st;
    const struct archive *a = archive_at(path, &rest);
    if (a && *rest)
        return archive_find(a, rest, &entry, nbytes);
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    *nbytes = (uint64_t)st.st_size;
    return true;
}

bool byte_file_has_size(const char *path, uint64_t nbytes)
{
    uint64_t n;
    return byte_file_size(path, &n) && n == nbytes;
}

static enum quern_status open_all(const char *const *paths, uint32_t n, struct model **out,
                                  struct quern_error *err)
{
    struct model *m;
    TRY(model_new(n ? paths[0] : "", n, &m, err));
    for (uint32_t i = 0; i < n; i++) {
        const enum quern_status s = add_file(m, paths[i], err);
        if (s != QUERN_OK) {
            model_close(m);
            return s;
        }
    }
    *out = m;
    return QUERN_OK;
}

enum quern_status byte_files_open(const char *const *paths, uint32_t n, uint32_t *taken,
                                  struct model **out, struct quern_error *err)
{
    struct archive *held = NULL;
    *taken = n > 0;
    if (n > 0 && lies_in_pack(paths[0]))
        TRY(pack_enter(paths[0], &held, err));
    while (*taken < n && home_of(paths[*taken]) == home_of(paths[0]) &&
           (held || !lies_in_pack(paths[*taken])))
        ++*taken;
    const enum quern_status s = open_all(paths, *taken, out, err);
    archive_leave(held); /* the model holds it */
    return s;
}
