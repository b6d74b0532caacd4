/* disk.c - a directory of its own for a target, and files on the disk there. */
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

static char dir[64];

const char *fuzz_dir(void)
{
    if (!dir[0]) {
        snprintf(dir, sizeof dir, "/dev/shm/quern-fuzz-XXXXXX");
        if (!mkdtemp(dir)) {
            snprintf(dir, sizeof dir, "/tmp/quern-fuzz-XXXXXX");
            FUZZ_CHECK(mkdtemp(dir) != NULL);
        }
    }
    return dir;
}

const char *fuzz_path(const char *name, char *path)
{
    snprintf(path, FUZZ_PATH, "%s/%s", fuzz_dir(), name);
    for (char *slash = path + strlen(fuzz_dir()) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0700); /* it may be there already */
        *slash = '/';
    }
    return path;
}

void fuzz_put(const char *name, const void *bytes, size_t n)
{
    char path[FUZZ_PATH];
    const int fd = open(fuzz_path(name, path), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    FUZZ_CHECK(fd >= 0 && pwrite(fd, bytes, n, 0) == (ssize_t)n && ftruncate(fd, (off_t)n) == 0);
    close(fd);
}

static int remove_it(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

void fuzz_end(void)
{
    fuzz_files_end();
    if (dir[0])
        nftw(dir, remove_it, 16, FTW_DEPTH | FTW_PHYS);
    dir[0] = '\0';
}
