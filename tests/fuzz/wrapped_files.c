/* wrapped_files.c - the files of an input, without a call of the system: the fuzzers' linker puts
 * these functions in front of those of the C library, and files are found in a table here. What is
 * not in it goes to the system. */
#include "fuzz.h"

#ifdef FUZZ_WRAPS_FILES
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILES 32
#define FIRST_FD  (1 << 30)
#define ROOM      (64u << 20) /* of a file: addresses, and pages where it has been written */

struct table_file {
    char path[FUZZ_PATH];
    size_t npath;
    char *bytes;
    size_t n;
    bool named;
};

static struct table_file files[MAX_FILES];
static unsigned nfiles;

static struct table_file *find_file(const char *path)
{
    const size_t n = strlen(path);
    for (unsigned i = 0; i < nfiles; i++)
        if (files[i].npath == n && memcmp(files[i].path, path, n) == 0)
            return &files[i];
    return NULL;
}

static struct table_file *file_of_fd(int fd)
{
    return fd >= FIRST_FD && (unsigned)(fd - FIRST_FD) < nfiles ? &files[fd - FIRST_FD] : NULL;
}

static bool is_inside(const struct table_file *f, const char *dir, size_t ndir)
{
    return f->npath > ndir && f->path[ndir] == '/' && memcmp(f->path, dir, ndir) == 0;
}

/* A directory stays when its files go. */
static bool is_dir(const char *path)
{
    const size_t n = strlen(path);
    for (unsigned i = 0; i < nfiles; i++)
        if (is_inside(&files[i], path, n))
            return true;
    return false;
}

static const char *path_of(const char *name, char *path)
{
    snprintf(path, FUZZ_PATH, "%s/%s", fuzz_dir(), name);
    return path;
}

void fuzz_file_gone(const char *name)
{
    char path[FUZZ_PATH];
    struct table_file *f = find_file(path_of(name, path));
    if (f)
        f->named = false;
}

/* No memory of malloc's, which is counted as the target's. */
static struct table_file *new_file(const char *path)
{
    FUZZ_CHECK(nfiles < MAX_FILES);
    struct table_file *f = &files[nfiles++];
    f->npath = strlen(path);
    memcpy(f->path, path, f->npath + 1);
    void *room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    FUZZ_CHECK(room != MAP_FAILED);
    f->bytes = room;
    return f;
}

const char *fuzz_file(const char *name, const void *bytes, size_t n)
{
    char path[FUZZ_PATH];
    struct table_file *f = find_file(path_of(name, path));
    if (!f)
        f = new_file(path);
    FUZZ_CHECK(n <= ROOM);
    if (n)
        memcpy(f->bytes, bytes, n);
    f->n = n;
    f->named = true;
    return f->path;
}

void fuzz_files_end(void)
{
    while (nfiles > 0)
        munmap(files[--nfiles].bytes, ROOM);
}

/* ---- in front of the C library ---------------------------------------------------------------
 */

int __real_open(const char *path, int flags, ...);
int __real_close(int fd);
int __real_stat(const char *path, struct stat *st);
int __real_lstat(const char *path, struct stat *st);
int __real_fstat(int fd, struct stat *st);
int __real_access(const char *path, int mode);
ssize_t __real_pread(int fd, void *buf, size_t n, off_t offset);
DIR *__real_opendir(const char *path);
struct dirent *__real_readdir(DIR *d);
int __real_closedir(DIR *d);

int __wrap_open(const char *path, int flags, ...);
int __wrap_close(int fd);
int __wrap_stat(const char *path, struct stat *st);
int __wrap_lstat(const char *path, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);
int __wrap_access(const char *path, int mode);
ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t offset);
DIR *__wrap_opendir(const char *path);
struct dirent *__wrap_readdir(DIR *d);
int __wrap_closedir(DIR *d);

static int not_there(void)
{
    errno = ENOENT;
    return -1;
}

int __wrap_open(const char *path, int flags, ...)
{
    const struct table_file *f = find_file(path);
    if (f)
        return f->named ? FIRST_FD + (int)(f - files) : not_there();
    va_list args;
    va_start(args, flags);
    const int mode = va_arg(args, int);
    va_end(args);
    return __real_open(path, flags, mode);
}

int __wrap_close(int fd)
{
    return file_of_fd(fd) ? 0 : __real_close(fd);
}

static int stat_file(const struct table_file *f, struct stat *st)
{
    *st = (struct stat){.st_dev = FIRST_FD,
                        .st_ino = (ino_t)(f - files + 1),
                        .st_mode = S_IFREG | 0600,
                        .st_nlink = 1,
                        .st_size = (off_t)f->n,
                        .st_mtim = {.tv_sec = 1}};
    return 0;
}

int __wrap_fstat(int fd, struct stat *st)
{
    const struct table_file *f = file_of_fd(fd);
    return f ? stat_file(f, st) : __real_fstat(fd, st);
}

static int stat_path(const char *path, struct stat *st, int (*real)(const char *, struct stat *))
{
    const struct table_file *f = find_file(path);
    if (f)
        return f->named ? stat_file(f, st) : not_there();
    if (!is_dir(path))
        return real(path, st);
    *st = (struct stat){
        .st_dev = FIRST_FD, .st_ino = MAX_FILES + 1, .st_mode = S_IFDIR | 0700, .st_nlink = 2};
    return 0;
}

int __wrap_stat(const char *path, struct stat *st)
{
    return stat_path(path, st, __real_stat);
}

int __wrap_lstat(const char *path, struct stat *st)
{
    return stat_path(path, st, __real_lstat);
}

int __wrap_access(const char *path, int mode)
{
    const struct table_file *f = find_file(path);
    if (f)
        return f->named ? 0 : not_there();
    return is_dir(path) ? 0 : __real_access(path, mode);
}

ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t offset)
{
    const struct table_file *f = file_of_fd(fd);
    if (!f)
        return __real_pread(fd, buf, n, offset);
    if (offset < 0 || (uint64_t)offset >= f->n)
        return 0;
    const size_t rest = f->n - (size_t)offset;
    memcpy(buf, f->bytes + offset, n < rest ? n : rest);
    return (ssize_t)(n < rest ? n : rest);
}

/* One directory is read at a time. */
static struct {
    char path[FUZZ_PATH];
    size_t npath;
    unsigned at;
    struct dirent entry;
} listing;
#define LISTING ((DIR *)(void *)&listing)

DIR *__wrap_opendir(const char *path)
{
    if (!is_dir(path))
        return __real_opendir(path);
    listing.npath = strlen(path);
    memcpy(listing.path, path, listing.npath + 1);
    listing.at = 0;
    return LISTING;
}

struct dirent *__wrap_readdir(DIR *d)
{
    if (d != LISTING)
        return __real_readdir(d);
    while (listing.at < nfiles) {
        const struct table_file *f = &files[listing.at++];
        const char *name = f->path + listing.npath + 1;
        if (f->named && is_inside(f, listing.path, listing.npath) && !strchr(name, '/')) {
            snprintf(listing.entry.d_name, sizeof listing.entry.d_name, "%s", name);
            return &listing.entry;
        }
    }
    return NULL;
}

int __wrap_closedir(DIR *d)
{
    return d == LISTING ? 0 : __real_closedir(d);
}
#endif
