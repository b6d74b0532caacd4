/* batch_seen.c - what inputs and outputs look like, to tell later whether they are the same. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "batch.h"
#include "core/archive.h"
#include "core/grow.h"
#include "core/io.h"
#include "core/sha256.h"
#include "formats/pack.h"
#include "pipeline/hashing.h"
#include "pipeline/provenance.h"

#define HEAD_BYTES (1u << 20)

static int64_t time_of(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

/* ---- looking -------------------------------------------------------------------------------- */

static bool read_head(const char *path, struct seen_file *f)
{
    struct stat st;
    struct sha256 sum;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *buffer =
        fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? malloc(HEAD_BYTES) : NULL;
    bool good = buffer != NULL;
    if (good) {
        f->nbytes = (uint64_t)st.st_size;
        f->mtime_ns = time_of(&st);
        const size_t n = f->nbytes < HEAD_BYTES ? (size_t)f->nbytes : HEAD_BYTES;
        good = pread_full(fd, buffer, n, 0, path, NULL) == QUERN_OK;
        sha256_start(&sum);
        sha256_add(&sum, buffer, good ? n : 0);
        sha256_hex(sum, f->head);
    }
    free(buffer);
    if (fd >= 0)
        close(fd);
    return good;
}

/* What counts of a directory: what a command that reads it may read. */
static bool is_listed(const char *name)
{
    const struct str s = str_from(name);
    return name[0] != '.' && !str_ends(s, ".gguf") && !str_ends(s, RECORD_SUFFIX);
}

static bool list_dir(const char *path, struct seen_file *f)
{
    struct arena arena = {0};
    struct sha256 sum;
    const char **names;
    uint32_t n = 0;
    const bool good = path_list(path, &arena, &names, &n, NULL) == QUERN_OK;
    sha256_start(&sum);
    for (uint32_t i = 0; good && i < n; i++) {
        struct stat st;
        const char *file = is_listed(names[i]) ? path_join(&arena, path, names[i]) : NULL;
        if (!file || stat(file, &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        const int64_t state[] = {st.st_size, time_of(&st)};
        sha256_add(&sum, names[i], strlen(names[i]) + 1);
        sha256_add(&sum, state, sizeof state);
    }
    sha256_hex(sum, f->head);
    arena_free(&arena);
    return good;
}

/* A pack is a file here, also while it is open and stands for its directory. */
static bool is_real_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool seen_look(const char *path, struct seen_file *f)
{
    *f = (struct seen_file){.path = path};
    f->is_dir = is_real_dir(path);
    return f->is_dir ? list_dir(path, f) : read_head(path, f);
}

/* ---- lists ---------------------------------------------------------------------------------- */

enum quern_status seen_add(struct seen_files *l, struct arena *arena, const char *path,
                           struct quern_error *err)
{
    void *items = l->items;
    const size_t n = pack_part(path) ? pack_part(path) : strlen(path);
    for (uint32_t i = 0; i < l->count; i++)
        if (str_eq(str_from(l->items[i].path), (struct str){path, n}))
            return QUERN_OK;
    const struct str kept = arena_str(arena, (struct str){path, n});
    if (!kept.p || !grow(&items, l->count, &l->capacity, sizeof *l->items))
        return fail_memory(err, n);
    l->items = items;
    if (seen_look(kept.p, &l->items[l->count]))
        l->count++;
    return QUERN_OK;
}

enum quern_status seen_add_tree(struct seen_files *l, struct arena *arena, const char *path,
                                struct quern_error *err)
{
    const char **names;
    uint32_t n = 0;
    if (!is_real_dir(path))
        return seen_add(l, arena, path, err);
    TRY(path_list(path, arena, &names, &n, err));
    for (uint32_t i = 0; i < n; i++) {
        const char *file = path_join(arena, path, names[i]);
        if (!file)
            return fail_memory(err, strlen(path));
        if (path_is_file(file))
            TRY(seen_add(l, arena, file, err));
    }
    return QUERN_OK;
}

enum quern_status seen_hash(struct seen_files *l, unsigned threads, struct quern_error *err)
{
    const struct quern_run_options options = {.threads = threads, .cancel = &stop_signal};
    struct arena arena = {0};
    const char **paths = ARENA_NEW(&arena, const char *, l->count + 1u);
    char(*hex)[65] = arena_array(&arena, l->count + 1u, sizeof *hex);
    uint32_t n = 0;
    enum quern_status s = paths && hex ? QUERN_OK : fail_memory(err, l->count * sizeof *hex);
    for (uint32_t i = 0; s == QUERN_OK && i < l->count; i++)
        if (!l->items[i].is_dir)
            paths[n++] = l->items[i].path;
    if (s == QUERN_OK && n)
        s = hash_files(paths, n, &options, hex, err);
    n = 0;
    for (uint32_t i = 0; s == QUERN_OK && i < l->count; i++)
        if (!l->items[i].is_dir)
            memcpy(l->items[i].sha256, hex[n++], sizeof hex[0]);
    arena_free(&arena);
    return s;
}

enum seen_change seen_compare(const struct seen_file *was, bool exact)
{
    struct seen_file now;
    char hex[65];
    if (!seen_look(was->path, &now))
        return SEEN_GONE;
    if (now.is_dir != was->is_dir || now.nbytes != was->nbytes || strcmp(now.head, was->head) != 0)
        return SEEN_CHANGED;
    /* The head is all of a small file, and of a directory. */
    if (now.is_dir || now.nbytes <= HEAD_BYTES || (!exact && now.mtime_ns == was->mtime_ns))
        return SEEN_SAME;
    if (!was->sha256[0])
        return now.mtime_ns == was->mtime_ns ? SEEN_SAME : SEEN_CHANGED;
    return sha256_file(was->path, hex, NULL) == QUERN_OK && strcmp(hex, was->sha256) == 0
               ? SEEN_SAME
               : SEEN_CHANGED;
}

uint64_t seen_bytes(const struct seen_files *l)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < l->count; i++)
        sum += l->items[i].nbytes;
    return sum;
}

void seen_free(struct seen_files *l)
{
    free(l->items);
    *l = (struct seen_files){.count = 0};
}
