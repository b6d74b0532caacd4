/* folder.c - find and read small files of a directory that may be there only in parts. */
#include "folder.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/io.h"
#include "formats/pack.h"

static const struct side_file *find_side(const struct folder *f, const char *name)
{
    for (uint32_t i = 0; i < f->nsides; i++)
        if (strcmp(f->sides[i].name, name) == 0)
            return &f->sides[i];
    return NULL;
}

enum quern_status folder_find(const struct folder *f, const char *name, struct arena *arena,
                              bool *found, struct folder_file *out, struct quern_error *err)
{
    *out = (struct folder_file){.path = path_join(arena, f->path, name)};
    if (!out->path)
        return fail_memory(err, strlen(name));
    const struct side_file *side = find_side(f, name);
    *found = side != NULL;
    if (side) {
        out->copy_from = side->copy_from;
        out->text = side->text;
    }
    if (side || f->made)
        return QUERN_OK;
    out->copy_from = out->path;
    *found = path_is_file(out->path);
    return QUERN_OK;
}

enum quern_status folder_read(const struct folder_file *file, uint64_t max_bytes,
                              struct arena *arena, struct str *out, struct quern_error *err)
{
    if (file->copy_from)
        return read_small_file(file->copy_from, max_bytes, arena, out, err);
    if (file->text.n > max_bytes)
        return in_file(err, file->path,
                       fail(err, QUERN_EFORMAT, "too-large",
                            "it has %zu bytes" WANT "expected at most %" PRIu64, file->text.n,
                            max_bytes));
    *out = arena_str(arena, file->text);
    return out->p ? QUERN_OK : fail_memory(err, file->text.n);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct listing {
    struct arena *arena;
    const char *dir, *ending;
    const char **names;
    size_t most, *count;
};

static enum quern_status list(struct listing *l, const char *name, struct quern_error *err)
{
    if (!str_ends(str_from(name), l->ending))
        return QUERN_OK;
    if (*l->count == l->most)
        return in_file(err, l->dir,
                       fail(err, QUERN_EUNSUPPORTED, "files", "it has more than %zu files *%s",
                            l->most, l->ending));
    const char *copy = arena_printf(l->arena, "%s", name);
    if (!copy)
        return fail_memory(err, strlen(name));
    l->names[(*l->count)++] = copy;
    return QUERN_OK;
}

static enum quern_status list_sides(const struct folder *f, const char *sub, struct listing *l,
                                    struct quern_error *err)
{
    const size_t n = strlen(sub);
    for (uint32_t i = 0; i < f->nsides; i++) {
        const char *name = f->sides[i].name;
        if (strncmp(name, sub, n) == 0 && name[n] == '/')
            TRY(list(l, name + n + 1, err));
    }
    return QUERN_OK;
}

static enum quern_status list_dir(struct listing *l, struct quern_error *err)
{
    const char **all;
    uint32_t n;
    if (!path_is_dir(l->dir))
        return QUERN_OK;
    TRY(path_list(l->dir, l->arena, &all, &n, err));
    for (uint32_t i = 0; i < n; i++)
        TRY(list(l, all[i], err));
    return QUERN_OK;
}

enum quern_status folder_list(const struct folder *f, const char *sub, const char *ending,
                              struct arena *arena, const char **names, size_t most, size_t *count,
                              struct quern_error *err)
{
    struct listing l = {arena, path_join(arena, f->path, sub), ending, names, most, count};
    enum quern_status s = QUERN_OK;
    *count = 0;
    if (!l.dir)
        return fail_memory(err, strlen(sub));
    if (f->made) {
        s = list_sides(f, sub, &l, err);
    } else {
        s = list_dir(&l, err);
    }
    qsort(names, *count, sizeof *names, by_name);
    return s;
}

enum quern_status folder_name(const struct folder *f, struct arena *arena, struct str *out,
                              struct quern_error *err)
{
    const char *rest = "";
    const struct archive *a = f->made ? NULL : archive_at(f->path, &rest);
    const bool there = !f->made && !*rest; /* on the disk, by this name */
    char *real = there ? realpath(f->path, NULL) : NULL;
    if (there && !real)
        return fail_errno(err, f->path, "find the directory");
    const char *path = real ? real : f->path, *slash = strrchr(path, '/');
    struct str name = str_from(slash ? slash + 1 : path);
    if (a && !*rest && str_ends(name, PACK_SUFFIX))
        name.n -= sizeof PACK_SUFFIX - 1;
    *out = arena_str(arena, name);
    free(real);
    return out->p ? QUERN_OK : fail_memory(err, 256);
}
