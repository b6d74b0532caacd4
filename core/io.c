/* io.c - system calls on files, with errors that say what happened. Linux only. */
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive.h"

/* Large single calls gain nothing and Linux cuts them at 2 GiB anyway. */
#define MAX_IO (1u << 30)

static struct file_id id_of(const struct stat *st)
{
    return (struct file_id){.dev = st->st_dev,
                            .ino = st->st_ino,
                            .nbytes = (uint64_t)st->st_size,
                            .mtime_ns =
                                st->st_mtim.tv_sec * INT64_C(1000000000) + st->st_mtim.tv_nsec};
}

enum quern_status input_open(const char *path, int *fd, struct file_id *id, struct quern_error *err)
{
    /* O_NONBLOCK: a FIFO must not hang us before fstat can refuse it. */
    const int f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (f < 0)
        return fail_errno(err, path, "open");
    struct stat st;
    if (fstat(f, &st) != 0) {
        const enum quern_status s = fail_errno(err, path, "stat");
        close(f);
        return s;
    }
    if (!S_ISREG(st.st_mode)) {
        close(f);
        return in_file(err, path,
                       fail(err, QUERN_EFORMAT, "not-a-file", "%s" WANT "expected a regular file",
                            S_ISDIR(st.st_mode)    ? "it is a directory"
                            : S_ISFIFO(st.st_mode) ? "it is a named pipe"
                                                   : "it is a device or socket"));
    }
    *fd = f;
    *id = id_of(&st);
    return QUERN_OK;
}

enum quern_status pread_full(int fd, void *buf, size_t n, uint64_t offset, const char *path,
                             struct quern_error *err)
{
    unsigned char *p = buf;
    while (n > 0) {
        const ssize_t got = pread(fd, p, n < MAX_IO ? n : MAX_IO, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno(err, path, "read");
        if (got == 0) {
            fail(err, QUERN_EIO, "changed",
                 "the file ends where %zu more bytes were expected" WANT
                 "expected it to keep its size while it is read",
                 n);
            return at_offset(err, offset, in_file(err, path, QUERN_EIO));
        }
        p += got;
        n -= (size_t)got;
        offset += (size_t)got;
    }
    return QUERN_OK;
}

enum quern_status pwrite_full(int fd, const void *buf, size_t n, uint64_t offset, const char *path,
                              struct quern_error *err)
{
    const unsigned char *p = buf;
    while (n > 0) {
        const ssize_t put = pwrite(fd, p, n < MAX_IO ? n : MAX_IO, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            if (put == 0)
                errno = ENOSPC;
            return fail_errno(err, path, "write");
        }
        p += put;
        n -= (size_t)put;
        offset += (size_t)put;
    }
    return QUERN_OK;
}

enum quern_status read_small_file(const char *path, uint64_t max, struct arena *arena,
                                  struct str *out, struct quern_error *err)
{
    struct any_file f;
    TRY(any_open(path, &f, err));
    enum quern_status s = QUERN_OK;
    char *text = NULL;
    if (f.nbytes > max)
        s = in_file(err, path,
                    fail(err, QUERN_EFORMAT, "too-large",
                         "it has %" PRIu64 " bytes" WANT "expected at most %" PRIu64, f.nbytes,
                         max));
    else if (!(text = arena_alloc(arena, (size_t)f.nbytes + 1)))
        s = in_file(err, path, fail_memory(err, f.nbytes + 1));
    else
        s = any_read(&f, text, (size_t)f.nbytes, 0, err);
    any_close(&f);
    if (s == QUERN_OK) {
        text[f.nbytes] = '\0';
        *out = (struct str){text, (size_t)f.nbytes};
    }
    return s;
}

/* ---- paths ---------------------------------------------------------------------------------- */

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

const char *path_moved(struct arena *arena, const char *const *pairs, size_t npairs,
                       const char *path)
{
    for (size_t i = 0; i < npairs; i++) {
        const char *equals = strchr(pairs[i], '=');
        const size_t n = equals ? (size_t)(equals - pairs[i]) : 0;
        if (n && strncmp(path, pairs[i], n) == 0 && (path[n] == '\0' || path[n] == '/'))
            return arena_printf(arena, "%s%s", equals + 1, path + n);
    }
    return path;
}

char *path_join(struct arena *arena, const char *dir, const char *name)
{
    if (!dir || !*dir)
        return arena_printf(arena, "%s", name);
    return arena_printf(arena, "%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", name);
}
