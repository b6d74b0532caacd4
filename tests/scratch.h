/* scratch.h - a directory of its own for each test, removed at its end, and files in it. */
#ifndef QUERN_TESTS_SCRATCH_H
#define QUERN_TESTS_SCRATCH_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/str.h"

static char scratch_dir[64];

static inline void scratch_begin(void)
{
    snprintf(scratch_dir, sizeof scratch_dir, "/tmp/quern-test-XXXXXX");
    cr_assert(mkdtemp(scratch_dir) != NULL);
}

static inline int scratch_remove(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static inline void scratch_end(void)
{
    nftw(scratch_dir, scratch_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* The path of a name in the directory; one of eight buffers, in turn. */
static inline const char *scratch(const char *name)
{
    static char paths[8][512];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", scratch_dir, name);
    return path;
}

static inline const char *scratch_file(const char *name, struct str bytes)
{
    const char *path = scratch(name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    cr_assert(fd >= 0, "%s", path);
    cr_assert(write(fd, bytes.p, bytes.n) == (ssize_t)bytes.n);
    close(fd);
    return path;
}

static inline const char *scratch_folder(const char *name)
{
    const char *path = scratch(name);
    cr_assert(mkdir(path, 0700) == 0, "%s", path);
    return path;
}

#endif
