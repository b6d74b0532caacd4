/* archive.c - which archives are open, and look-ups that know of them. */
#include "archive.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct archive *mounted;

static struct archive *find_path(const char *path, size_t n)
{
    for (struct archive *a = mounted; a; a = a->next)
        if (strlen(a->path) == n && memcmp(a->path, path, n) == 0)
            return a;
    return NULL;
}

struct archive *archive_use(const char *path)
{
    pthread_mutex_lock(&lock);
    struct archive *a = find_path(path, strlen(path));
    if (a)
        a->nusers++;
    pthread_mutex_unlock(&lock);
    return a;
}

struct archive *archive_mount(struct archive *a)
{
    pthread_mutex_lock(&lock);
    struct archive *there = find_path(a->path, strlen(a->path));
    if (there) {
        there->nusers++;
    } else {
        a->nusers = 1;
        a->next = mounted;
        mounted = a;
    }
    pthread_mutex_unlock(&lock);
    if (there)
        a->kind->close(a);
    return there ? there : a;
}

void archive_leave(struct archive *a)
{
    if (!a)
        return;
    pthread_mutex_lock(&lock);
    const bool last = --a->nusers == 0;
    for (struct archive **at = &mounted; last && *at; at = &(*at)->next)
        if (*at == a) {
            *at = a->next;
            break;
        }
    pthread_mutex_unlock(&lock);
    if (last)
        a->kind->close(a);
}

/* An archive may lie anywhere, so its name may end at every slash, or be all of the path. */
struct archive *archive_at(const char *path, const char **rest)
{
    struct archive *a = NULL;
    pthread_mutex_lock(&lock);
    for (const char *at = path; mounted && !a && *at;) {
        at += strcspn(at + 1, "/") + 1;
        a = find_path(path, (size_t)(at - path));
        *rest = at + (*at == '/');
    }
    pthread_mutex_unlock(&lock);
    return a;
}

bool archive_find(const struct archive *a, const char *name, uint32_t *entry, uint64_t *nbytes)
{
    const char *own;
    for (uint32_t i = 0; (own = a->kind->name(a, i, nbytes)); i++)
        if (strcmp(own, name) == 0) {
            *entry = i;
            return true;
        }
    return false;
}

/* ---- on the disk or in an archive ----------------------------------------------------------- */

/* What follows dir and a slash in an entry's name; all of it for the archive itself. */
static const char *below(const char *name, const char *dir)
{
    const size_t n = strlen(dir);
    if (n == 0)
        return name;
    return strncmp(name, dir, n) == 0 && name[n] == '/' ? name + n + 1 : NULL;
}

static bool is_dir_in(const struct archive *a, const char *dir)
{
    const char *name;
    uint64_t nbytes;
    for (uint32_t i = 0; (name = a->kind->name(a, i, &nbytes)); i++)
        if (below(name, dir))
            return true;
    return false;
}

enum quern_status any_open(const char *path, struct any_file *f, struct quern_error *err)
{
    const char *rest;
    struct file_id id;
    *f = (struct any_file){.path = path, .fd = -1, .archive = archive_at(path, &rest)};
    if (f->archive && *rest) {
        if (archive_find(f->archive, rest, &f->entry, &f->nbytes))
            return QUERN_OK;
        errno = ENOENT;
        return fail_errno(err, path, "open");
    }
    TRY(input_open(path, &f->fd, &id, err));
    f->nbytes = id.nbytes;
    return QUERN_OK;
}

enum quern_status any_read(const struct any_file *f, void *buf, size_t n, uint64_t offset,
                           struct quern_error *err)
{
    return f->fd < 0 ? f->archive->kind->read(f->archive, f->entry, buf, n, offset, err)
                     : pread_full(f->fd, buf, n, offset, f->path, err);
}

void any_close(struct any_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

bool path_is_file(const char *path)
{
    const char *rest;
    uint32_t entry;
    uint64_t nbytes;
    struct stat st;
    const struct archive *a = archive_at(path, &rest);
    if (a && *rest)
        return archive_find(a, rest, &entry, &nbytes);
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool path_exists(const char *path)
{
    const char *rest;
    if (!archive_at(path, &rest))
        return access(path, F_OK) == 0;
    errno = ENOENT;
    return path_is_file(path) || path_is_dir(path);
}

bool path_is_dir(const char *path)
{
    const char *rest;
    struct stat st;
    const struct archive *a = archive_at(path, &rest);
    if (a)
        return is_dir_in(a, rest);
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

struct listing {
    struct arena *arena;
    const char **names;
    uint32_t count, capacity;
};

static bool add_name(struct listing *l, const char *name, size_t n)
{
    if (l->count == l->capacity) {
        const uint32_t bigger = l->capacity ? 2 * l->capacity : 64;
        const char **names = realloc(l->names, bigger * sizeof *names);
        if (!names)
            return false;
        l->names = names;
        l->capacity = bigger;
    }
    l->names[l->count] = arena_str(l->arena, (struct str){name, n}).p;
    return l->names[l->count++] != NULL;
}

static bool list_archive(struct listing *l, const struct archive *a, const char *dir)
{
    const char *name;
    uint64_t nbytes;
    bool ok = true;
    for (uint32_t i = 0; ok && (name = a->kind->name(a, i, &nbytes)); i++) {
        const char *rest = below(name, dir);
        if (rest)
            ok = add_name(l, rest, strcspn(rest, "/"));
    }
    return ok;
}

static bool list_dir(struct listing *l, DIR *d)
{
    const struct dirent *e;
    bool ok = true;
    while (ok && (e = readdir(d)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            ok = add_name(l, e->d_name, strlen(e->d_name));
    return ok;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted, each once: a directory in an archive shows up with every file of it. */
static bool take_listing(struct listing *l, const char ***names, uint32_t *count)
{
    if (l->count)
        qsort(l->names, l->count, sizeof *l->names, by_name);
    *names = ARENA_NEW(l->arena, const char *, l->count + 1);
    *count = 0;
    for (uint32_t i = 0; *names && i < l->count; i++)
        if (*count == 0 || strcmp((*names)[*count - 1], l->names[i]) != 0)
            (*names)[(*count)++] = l->names[i];
    return *names != NULL;
}

enum quern_status path_list(const char *dir, struct arena *arena, const char ***names,
                            uint32_t *count, struct quern_error *err)
{
    struct listing l = {.arena = arena};
    const char *rest;
    const struct archive *a = archive_at(dir, &rest);
    DIR *d = a ? NULL : opendir(dir);
    if (!a && !d)
        return fail_errno(err, dir, "list the directory");
    bool ok = a ? list_archive(&l, a, rest) : list_dir(&l, d);
    if (d)
        closedir(d);
    ok = ok && take_listing(&l, names, count);
    free(l.names);
    return ok ? QUERN_OK : fail_memory(err, l.capacity * sizeof *l.names);
}
