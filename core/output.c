/* output.c - part files: lock, reserve, sync, rename. */
#include "output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "io.h"

/* ---- paths (malloc'ed) ---------------------------------------------------------------------- */

static char *without_slashes(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    return strndup(path, n);
}

static char *dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return strdup(".");
    return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

/* A name too long for the suffix is told apart by a checksum of the whole (FNV-1a: it must be the
 * same in every run). */
char *output_beside(const char *path, const char *suffix)
{
    char *trimmed = without_slashes(path), *made = NULL;
    if (!trimmed)
        return NULL;
    const char *base = path_base(trimmed);
    const int ndir = (int)(base - trimmed);
    const size_t nbase = strlen(base);
    uint64_t sum = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < nbase; i++)
        sum = (sum ^ (unsigned char)base[i]) * UINT64_C(0x100000001B3);
    const int n =
        nbase + strlen(suffix) + 1 <= 255
            ? asprintf(&made, "%.*s.%s%s", ndir, trimmed, base, suffix)
            : asprintf(&made, "%.*s.%.200s-%016" PRIx64 "%s", ndir, trimmed, base, sum, suffix);
    free(trimmed);
    return n < 0 ? NULL : made;
}

/* Without memory from the heap: between two renames nothing may fail that need not. */
enum quern_status output_sync_dir(const char *path, struct quern_error *err)
{
    char dir[PATH_MAX] = ".";
    const size_t n = (size_t)(path_base(path) - path);
    if (n >= sizeof dir) {
        errno = ENAMETOOLONG;
        return fail_errno(err, path, "sync the directory");
    }
    if (n > 0) {
        memcpy(dir, path, n);
        dir[n] = '\0';
    }
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum quern_status s = QUERN_OK;
    /* Some network file systems cannot sync a directory; the rename has happened all the same. */
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL && errno != EROFS))
        s = fail_errno(err, dir, "sync the directory");
    if (fd >= 0)
        close(fd);
    return s;
}

enum quern_status output_free_space(const char *path, uint64_t *nbytes, struct quern_error *err)
{
    char *trimmed = without_slashes(path);
    char *dir = trimmed ? dir_of(trimmed) : NULL;
    free(trimmed);
    if (!dir)
        return fail_memory(err, strlen(path));
    struct statvfs v;
    enum quern_status s = QUERN_OK;
    if (statvfs(dir, &v) != 0)
        s = fail_errno(err, dir, "write to this directory");
    else
        *nbytes = (uint64_t)v.f_bavail * v.f_frsize;
    free(dir);
    return s;
}

/* ---- what may be replaced ------------------------------------------------------------------- */

struct dir_content {
    bool empty;
    bool only_files; /* no subdirectories or devices */
    bool model;      /* something a model directory has */
};

static bool looks_like_model(const char *name)
{
    const struct str s = str_from(name);
    return str_is(s, "config.json") || str_ends(s, ".safetensors") || str_ends(s, ".gguf");
}

static enum quern_status look_into_dir(const char *path, struct dir_content *c,
                                       struct quern_error *err)
{
    *c = (struct dir_content){.empty = true, .only_files = true};
    DIR *d = opendir(path);
    if (!d)
        return fail_errno(err, path, "read the directory");
    for (const struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        struct stat st;
        c->empty = false;
        c->only_files &= fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                         (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode));
        c->model |= looks_like_model(e->d_name);
    }
    closedir(d);
    return QUERN_OK;
}

static enum quern_status exists(const char *path, struct quern_error *err, const char *found,
                                const char *expected)
{
    return in_file(err, path,
                   fail(err, QUERN_EEXIST, "exists", "the output %s" WANT "%s", found, expected));
}

static enum quern_status check_existing(const char *path, mode_t mode, bool as_dir, bool replace,
                                        struct quern_error *err)
{
    if (S_ISLNK(mode))
        return exists(path, err, "is a symbolic link", "give the name it points to");
    if (!as_dir && !S_ISREG(mode))
        return exists(path, err, S_ISDIR(mode) ? "is a directory" : "is no regular file",
                      "expected a regular file or nothing");
    if (as_dir && !S_ISDIR(mode))
        return exists(path, err, "is a file",
                      "expected a directory or nothing (outputs without suffix are directories)");
    struct dir_content c = {0};
    if (as_dir)
        TRY(look_into_dir(path, &c, err));
    if (as_dir && c.empty)
        return QUERN_OK;
    if (!replace)
        return exists(path, err, "exists already", "use -f to replace it");
    if (as_dir && !(c.only_files && c.model))
        return exists(path, err, "directory holds more than a model's files",
                      "remove it yourself or choose another name");
    return QUERN_OK;
}

enum quern_status output_check(const char *path, bool as_dir, bool replace, struct quern_error *err)
{
    if (!*path)
        return fail(err, QUERN_EUSAGE, "usage", "the output name is empty");
    if (!as_dir && path[strlen(path) - 1] == '/')
        return in_file(err, path,
                       fail(err, QUERN_EUSAGE, "usage", "the output is a file but ends in '/'"));
    struct stat st;
    if (lstat(path, &st) == 0)
        return check_existing(path, st.st_mode, as_dir, replace, err);
    if (errno != ENOENT)
        return fail_errno(err, path, "look at the output");
    uint64_t space;
    return output_free_space(path, &space, err);
}

/* ---- files ---------------------------------------------------------------------------------- */

static enum quern_status locked(const char *path, struct quern_error *err)
{
    return in_file(err, path,
                   fail(err, QUERN_EEXIST, "locked",
                        "another run is writing this output" WANT
                        "wait for it or choose another name"));
}

/* The file may be renamed or removed between open and flock by a run that just ended: then the name
 * no longer leads to what we locked, and we try again. */
enum quern_status output_lock(const char *lock_path, const char *path, int *fd,
                              struct quern_error *err)
{
    for (int tries = 0; tries < 100; tries++) {
        const int f = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (f < 0)
            return fail_errno(err, lock_path, "create");
        struct stat mine, named;
        /* Some network file systems have no locks: better unguarded than not at all. */
        if (flock(f, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
            close(f);
            return locked(path, err);
        }
        if (fstat(f, &mine) == 0 && lstat(lock_path, &named) == 0 && mine.st_ino == named.st_ino &&
            mine.st_dev == named.st_dev) {
            *fd = f;
            return QUERN_OK;
        }
        close(f);
    }
    return locked(path, err);
}

static enum quern_status open_part(struct output *o, struct quern_error *err)
{
    if (o->inside &&
        (o->fd = open(o->part_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666)) < 0)
        return fail_errno(err, o->part_path, "create");
    if (!o->inside)
        TRY(output_lock(o->part_path, o->final_path, &o->fd, err));
    o->open = true;
    return QUERN_OK;
}

static enum quern_status reserve(struct output *o, uint64_t nbytes, bool keep,
                                 struct quern_error *err)
{
    uint64_t space = UINT64_MAX;
    struct stat st;
    if (!keep && ftruncate(o->fd, 0) != 0)
        return fail_errno(err, o->part_path, "truncate");
    TRY(output_free_space(o->final_path, &space, err));
    if (fstat(o->fd, &st) != 0)
        return fail_errno(err, o->part_path, "stat");
    o->ino = st.st_ino;
    const uint64_t there = (uint64_t)st.st_blocks * 512;
    if (nbytes > there && nbytes - there > space)
        return in_file(err, o->final_path,
                       fail(err, QUERN_EIO, "disk-full",
                            "the output needs %" PRIu64 " bytes and the disk has %" PRIu64 " free",
                            nbytes - there, space));
    if (nbytes > INT64_MAX)
        return in_file(
            err, o->final_path,
            fail(err, QUERN_EIO, "disk-full", "no file can have %" PRIu64 " bytes", nbytes));
    if (nbytes == 0 || fallocate(o->fd, 0, 0, (off_t)nbytes) == 0)
        return QUERN_OK;
    if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
        return fail_errno(err, o->part_path, "reserve disk space");
    if (ftruncate(o->fd, (off_t)nbytes) != 0)
        return fail_errno(err, o->part_path, "extend");
    return QUERN_OK;
}

static void output_free(struct output *o)
{
    free(o->final_path);
    free(o->part_path);
    *o = (struct output){0};
}

static enum quern_status output_name(struct output *o, const char *path, unsigned flags,
                                     struct quern_error *err)
{
    const bool inside = flags & OUTPUT_INSIDE;
    *o = (struct output){.final_path = strdup(path),
                         .part_path = inside ? strdup(path) : output_beside(path, PART_SUFFIX),
                         .inside = inside};
    if (o->final_path && o->part_path)
        return QUERN_OK;
    output_free(o);
    return fail_memory(err, strlen(path));
}

/* A part file that has another name besides belongs to somebody else, who still needs it. */
static void let_go(const char *part_path)
{
    struct stat st;
    if (lstat(part_path, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink > 1)
        unlink(part_path);
}

enum quern_status output_begin(struct output *o, const char *path, uint64_t nbytes, unsigned flags,
                               struct quern_error *err)
{
    TRY(output_name(o, path, flags, err));
    if (!(flags & OUTPUT_KEEP))
        let_go(o->part_path);
    enum quern_status s = open_part(o, err);
    if (s == QUERN_OK)
        s = reserve(o, nbytes, flags & OUTPUT_KEEP, err);
    if (s != QUERN_OK && flags & OUTPUT_KEEP)
        output_leave(o);
    else if (s != QUERN_OK)
        output_abort(o);
    return s;
}

/* What is reserved twice is reserved once; no bytes of others are touched. */
static enum quern_status share(struct output *o, uint64_t nbytes, struct quern_error *err)
{
    struct stat st;
    TRY(open_part(o, err));
    TRY(reserve(o, nbytes, true, err));
    if (fstat(o->fd, &st) != 0)
        return fail_errno(err, o->part_path, "stat");
    if ((uint64_t)st.st_size == nbytes)
        return QUERN_OK;
    return in_file(err, o->part_path,
                   fail(err, QUERN_EIO, "changed",
                        "it has %lld bytes" WANT "expected %" PRIu64 " and nobody else's file",
                        (long long)st.st_size, nbytes));
}

enum quern_status output_share(struct output *o, const char *path, uint64_t nbytes,
                               struct quern_error *err)
{
    TRY(output_name(o, path, OUTPUT_INSIDE, err));
    o->shared = true;
    const enum quern_status s = share(o, nbytes, err);
    if (s != QUERN_OK)
        output_leave(o);
    return s;
}

uint64_t output_mark(const char *path)
{
    struct statx st = {0}; /* MemorySanitizer does not know this call */
    if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &st) != 0)
        return 0;
    if (!(st.stx_mask & STATX_BTIME))
        return st.stx_ino;
    const uint64_t made = (uint64_t)st.stx_btime.tv_sec * 1000000000 + st.stx_btime.tv_nsec;
    return st.stx_ino + made * UINT64_C(0x9e3779b97f4a7c15);
}

/* ---- a file that is there already ----------------------------------------------------------- */

#define COPY_PIECE ((size_t)1 << 20)

/* For file systems without hard links, and across two of them. */
static enum quern_status copy_made(struct output *o, const char *made, struct quern_error *err)
{
    struct file_id id;
    int from;
    TRY(input_open(made, &from, &id, err));
    enum quern_status s = reserve(o, id.nbytes, false, err);
    uint8_t *piece = malloc(COPY_PIECE);
    if (s == QUERN_OK && !piece)
        s = fail_memory(err, COPY_PIECE);
    for (uint64_t at = 0; s == QUERN_OK && at < id.nbytes; at += COPY_PIECE) {
        const uint64_t left = id.nbytes - at;
        const size_t n = left < COPY_PIECE ? (size_t)left : COPY_PIECE;
        s = pread_full(from, piece, n, at, made, err);
        if (s == QUERN_OK)
            s = pwrite_full(o->fd, piece, n, at, o->part_path, err);
    }
    free(piece);
    close(from);
    return s;
}

/* Puts another name of the file in the place of the part file, which is locked. */
static bool link_made(const struct output *o, const char *made)
{
    char *beside;
    if (asprintf(&beside, "%s.link", o->part_path) < 0)
        return false;
    unlink(beside);
    const bool ok = link(made, beside) == 0 && rename(beside, o->part_path) == 0;
    if (!ok)
        unlink(beside);
    free(beside);
    return ok;
}

static enum quern_status adopt(struct output *o, const char *made, struct quern_error *err)
{
    struct stat mine, theirs;
    TRY(open_part(o, err));
    if (stat(made, &theirs) != 0)
        return fail_errno(err, made, "open");
    o->ino = theirs.st_ino;
    if (fstat(o->fd, &mine) == 0 && mine.st_ino == theirs.st_ino && mine.st_dev == theirs.st_dev)
        return QUERN_OK;
    if (!link_made(o, made))
        return copy_made(o, made, err);
    const int old = o->fd;
    const enum quern_status s = output_reopen(o, err);
    close(old);
    return s;
}

enum quern_status output_adopt(struct output *o, const char *path, const char *made, unsigned flags,
                               struct quern_error *err)
{
    TRY(output_name(o, path, flags, err));
    const enum quern_status s = adopt(o, made, err);
    if (s != QUERN_OK)
        output_abort(o);
    return s;
}

enum quern_status output_close(struct output *o, struct quern_error *err)
{
    const int fd = o->fd;
    const bool synced = fdatasync(fd) == 0;
    const enum quern_status s = synced ? QUERN_OK : fail_errno(err, o->part_path, "sync to disk");
    o->fd = -1;
    close(fd);
    return s;
}

enum quern_status output_reopen(struct output *o, struct quern_error *err)
{
    struct stat st;
    o->fd = open(o->part_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (o->fd < 0)
        return fail_errno(err, o->part_path, "open");
    if (fstat(o->fd, &st) == 0 && st.st_ino == o->ino &&
        (o->inside || flock(o->fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK))
        return QUERN_OK;
    close(o->fd);
    o->fd = -1;
    return in_file(err, o->part_path,
                   fail(err, QUERN_EIO, "changed", "somebody else has taken this file"));
}

/* Rename without replacing, also where the file system has no RENAME_NOREPLACE. */
static int rename_to_new(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    struct stat st;
    if (lstat(to, &st) == 0) {
        errno = EEXIST;
        return -1;
    }
    return rename(from, to);
}

enum quern_status output_commit(struct output *o, bool replace, struct quern_error *err)
{
    if (o->fd < 0)
        TRY(output_reopen(o, err));
    if (fsync(o->fd) != 0)
        return fail_errno(err, o->part_path, "sync to disk");
    if (o->inside) {
        output_leave(o);
        return QUERN_OK;
    }
    if ((replace ? rename(o->part_path, o->final_path)
                 : rename_to_new(o->part_path, o->final_path)) != 0) {
        if (errno == EEXIST)
            return exists(o->final_path, err, "appeared while it was being made",
                          "use -f to replace it");
        return fail_errno(err, o->final_path, "rename the finished file");
    }
    /* Closed after the rename: the lock covers it. Data is synced, so nothing is left to fail. */
    close(o->fd);
    const enum quern_status s = output_sync_dir(o->final_path, err);
    output_free(o);
    return s;
}

void output_abort(struct output *o)
{
    if (o->open && !o->shared)
        unlink(o->part_path);
    output_leave(o);
}

void output_leave(struct output *o)
{
    if (o->open && o->fd >= 0)
        close(o->fd);
    output_free(o);
}

/* ---- directories ---------------------------------------------------------------------------- */

/* Removes what is in a directory of ours; it never has many levels. */
static enum quern_status empty_dir(const char *path, struct quern_error *err)
{
    DIR *d = opendir(path);
    if (!d)
        return fail_errno(err, path, "read the directory");
    enum quern_status s = QUERN_OK;
    for (const struct dirent *e; s == QUERN_OK && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(d), e->d_name, 0) == 0)
            continue;
        char *sub = NULL;
        if (errno == EISDIR && asprintf(&sub, "%s/%s", path, e->d_name) >= 0)
            s = empty_dir(sub, err);
        if (s == QUERN_OK && unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) != 0)
            s = fail_errno(err, path, "clear the directory");
        free(sub);
    }
    closedir(d);
    return s;
}

enum quern_status output_make_dir(const char *path, struct quern_error *err)
{
    return mkdir(path, 0777) == 0 || errno == EEXIST
               ? QUERN_OK
               : fail_errno(err, path, "create the directory");
}

enum quern_status output_dir_begin(struct output_dir *d, const char *path, bool keep,
                                   struct quern_error *err)
{
    *d = (struct output_dir){.final_path = without_slashes(path), .fd = -1};
    d->part_path = d->final_path ? output_beside(d->final_path, PART_SUFFIX) : NULL;
    enum quern_status s = QUERN_OK;
    if (!d->part_path)
        s = fail_memory(err, strlen(path));
    else if (mkdir(d->part_path, 0777) != 0 && errno != EEXIST)
        s = fail_errno(err, d->part_path, "create the directory");
    else if ((d->fd = open(d->part_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)) < 0)
        s = fail_errno(err, d->part_path, "open the directory");
    else if (flock(d->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        s = locked(d->final_path, err);
    else {
        d->open = true;
        s = keep ? QUERN_OK : empty_dir(d->part_path, err);
    }
    if (s != QUERN_OK && keep)
        output_dir_leave(d);
    else if (s != QUERN_OK)
        output_dir_abort(d);
    return s;
}

static enum quern_status swap_in(struct output_dir *d, bool replace, struct quern_error *err)
{
    if (rename_to_new(d->part_path, d->final_path) == 0)
        return QUERN_OK;
    if (errno != EEXIST)
        return fail_errno(err, d->final_path, "rename the finished directory");
    /* An empty directory is replaced by plain rename(2); anything else only when asked. */
    if (rename(d->part_path, d->final_path) == 0)
        return QUERN_OK;
    if (!replace)
        return exists(d->final_path, err, "appeared while it was being made",
                      "use -f to replace it");
    TRY(output_check(d->final_path, true, true, err));
    if (renameat2(AT_FDCWD, d->part_path, AT_FDCWD, d->final_path, RENAME_EXCHANGE) != 0)
        return fail_errno(err, d->final_path, "exchange the finished directory with the old one");
    /* The old files now lie under the part name. They must not go before that is on the disk: after
     * a power failure the old name would show what is left of them. */
    TRY(output_sync_dir(d->final_path, err));
    TRY(empty_dir(d->part_path, err));
    if (rmdir(d->part_path) != 0)
        return fail_errno(err, d->part_path, "remove the replaced directory");
    return QUERN_OK;
}

enum quern_status output_dir_commit(struct output_dir *d, bool replace, struct quern_error *err)
{
    if (fsync(d->fd) != 0 && errno != EINVAL)
        return fail_errno(err, d->part_path, "sync the directory");
    TRY(swap_in(d, replace, err));
    d->open = false;
    const enum quern_status s = output_sync_dir(d->final_path, err);
    output_dir_leave(d);
    return s;
}

void output_dir_abort(struct output_dir *d)
{
    if (d->open) {
        empty_dir(d->part_path, NULL);
        rmdir(d->part_path);
    }
    output_dir_leave(d);
}

void output_dir_leave(struct output_dir *d)
{
    if (d->fd >= 0 && d->part_path)
        close(d->fd);
    free(d->final_path);
    free(d->part_path);
    *d = (struct output_dir){.fd = -1};
}
