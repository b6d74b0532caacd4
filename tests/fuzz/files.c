/* files.c - the files of an input: in memory, with names on the disk that lead there.
 *
 * The fuzzers' builds have the same functions without any calls of the system: wrapped_files.c. */
#include "fuzz.h"

#ifndef FUZZ_WRAPS_FILES
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_FILES 32

struct memory_file {
    char path[FUZZ_PATH];
    int fd;
    bool named; /* its path leads to it */
};

static struct memory_file files[MAX_FILES];
static unsigned nfiles;

static struct memory_file *find_file(const char *path)
{
    for (unsigned i = 0; i < nfiles; i++)
        if (strcmp(files[i].path, path) == 0)
            return &files[i];
    return NULL;
}

static struct memory_file *new_file(const char *path)
{
    FUZZ_CHECK(nfiles < MAX_FILES);
    struct memory_file *f = &files[nfiles++];
    snprintf(f->path, sizeof f->path, "%s", path);
    f->fd = memfd_create("quern-fuzz", MFD_CLOEXEC);
    FUZZ_CHECK(f->fd >= 0);
    return f;
}

static void give_name(struct memory_file *f)
{
    char target[40];
    snprintf(target, sizeof target, "/proc/self/fd/%d", f->fd);
    FUZZ_CHECK(symlink(target, f->path) == 0);
    f->named = true;
}

static struct memory_file *file_named(const char *name)
{
    char path[FUZZ_PATH];
    fuzz_path(name, path);
    struct memory_file *f = find_file(path);
    if (!f)
        f = new_file(path);
    if (!f->named)
        give_name(f);
    return f;
}

void fuzz_file_gone(const char *name)
{
    char path[FUZZ_PATH];
    struct memory_file *f = find_file(fuzz_path(name, path));
    if (f && f->named)
        f->named = unlink(path) != 0;
}

const char *fuzz_file(const char *name, const void *bytes, size_t n)
{
    struct memory_file *f = file_named(name);
    FUZZ_CHECK(pwrite(f->fd, bytes, n, 0) == (ssize_t)n && ftruncate(f->fd, (off_t)n) == 0);
    return f->path;
}

void fuzz_files_end(void)
{
    while (nfiles > 0)
        close(files[--nfiles].fd);
}
#endif
