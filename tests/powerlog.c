/* powerlog.c - LD_PRELOAD: log what a run does to files, in order, or show inodes under other
 * numbers.
 *
 * POWER_LOG=FILE: a record of each change (and each sync) of files and directories, for
 * power_loss.py to replay as much of as a disk would have kept. Calls are made one at a time, so
 * the order in the log is the order in which they happened. POWER_INODES="new old new old ...":
 * what stat(2) says of files that were put back after such a loss, under the numbers they had
 * before. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum kind {
    CREATE = 'c',
    MKDIR = 'd',
    WRITE = 'w',
    SIZE = 't',
    GROW = 'g',
    RENAME = 'r',
    EXCHANGE = 'x',
    UNLINK = 'u',
    SYNC = 's'
};

/* Followed by the two names and the data. */
struct record {
    uint64_t kind, ino, dir, dir2, at, nbytes, nname, nname2;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static uint64_t inodes[512];
static unsigned ninodes;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("POWER_LOG"), *numbers = getenv("POWER_INODES");
    if (path)
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                              0600);
    for (char *end; numbers && *numbers && ninodes < 512; numbers = end)
        inodes[ninodes++] = strtoull(numbers, &end, 10);
}

static void put(const void *p, size_t n)
{
    for (const char *at = p; n;) {
        const ssize_t done = write(log_fd, at, n);
        if (done <= 0)
            abort();
        at += done;
        n -= (size_t)done;
    }
}

static uint64_t ino_of(int fd)
{
    struct stat st;
    return syscall(SYS_fstat, fd, &st) == 0 ? st.st_ino : 0;
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Of the directory that path is in. */
static uint64_t dir_of(int at, const char *path)
{
    char dir[4096] = ".";
    struct stat st;
    const size_t n = (size_t)(base_of(path) - path);
    if (n >= sizeof dir)
        abort();
    if (n) {
        memcpy(dir, path, n);
        dir[n] = '\0';
    }
    return syscall(SYS_newfstatat, at, dir, &st, 0) == 0 ? st.st_ino : 0;
}

static uint64_t ino_at(int at, const char *path)
{
    struct stat st;
    return syscall(SYS_newfstatat, at, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_ino : 0;
}

static void note(struct record r, const char *name, const char *name2, const void *data)
{
    const int before = errno;
    r.nname = strlen(name);
    r.nname2 = strlen(name2);
    put(&r, sizeof r);
    put(name, r.nname);
    put(name2, r.nname2);
    if (data)
        put(data, r.nbytes);
    errno = before;
}

/* Nothing is changed and nothing logged while another call does. */
#define ALONE(call)                  \
    do {                             \
        pthread_mutex_lock(&lock);   \
        call;                        \
        pthread_mutex_unlock(&lock); \
    } while (0)

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    const int mode = va_arg(args, int);
    va_end(args);
    if (log_fd < 0 || !(flags & O_CREAT))
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    int fd;
    pthread_mutex_lock(&lock);
    const uint64_t there = ino_at(AT_FDCWD, path);
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd >= 0 && !there)
        note((struct record){.kind = CREATE, .ino = ino_of(fd), .dir = dir_of(AT_FDCWD, path)},
             base_of(path), "", NULL);
    pthread_mutex_unlock(&lock);
    return fd;
}

int mkdir(const char *path, mode_t mode)
{
    int result;
    ALONE(result = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
          if (log_fd >= 0 && result == 0) note((struct record){.kind = MKDIR,
                                                               .ino = ino_at(AT_FDCWD, path),
                                                               .dir = dir_of(AT_FDCWD, path)},
                                               base_of(path), "", NULL));
    return result;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    ssize_t done;
    ALONE(done = syscall(SYS_pwrite64, fd, p, n, at); if (log_fd >= 0 && done > 0) note(
              (struct record){
                  .kind = WRITE, .ino = ino_of(fd), .at = (uint64_t)at, .nbytes = (uint64_t)done},
              "", "", p));
    return done;
}

/* Not here: its caller then reads and writes, which is logged. */
ssize_t copy_file_range(int in, off_t *from, int out, off_t *to, size_t n, unsigned flags)
{
    (void)in, (void)from, (void)out, (void)to, (void)n, (void)flags;
    errno = ENOSYS;
    return -1;
}

int ftruncate(int fd, off_t n)
{
    int result;
    ALONE(result = (int)syscall(SYS_ftruncate, fd, n); if (log_fd >= 0 && result == 0) note(
              (struct record){.kind = SIZE, .ino = ino_of(fd), .at = (uint64_t)n}, "", "", NULL));
    return result;
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
    int result;
    ALONE(result = (int)syscall(SYS_fallocate, fd, mode, at, n); if (log_fd >= 0 && result == 0)
              note((struct record){.kind = GROW, .ino = ino_of(fd), .at = (uint64_t)(at + n)}, "",
                   "", NULL));
    return result;
}

static int sync_file(int fd, long call)
{
    int result;
    ALONE(result = (int)syscall(call, fd); if (log_fd >= 0 && result == 0)
              note((struct record){.kind = SYNC, .ino = ino_of(fd)}, "", "", NULL));
    return result;
}

int fsync(int fd)
{
    return sync_file(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return sync_file(fd, SYS_fdatasync);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
    int result;
    pthread_mutex_lock(&lock);
    const struct record r = {
        .kind = flags & 2 ? EXCHANGE : RENAME, .dir = dir_of(a, from), .dir2 = dir_of(b, to)};
    result = (int)syscall(SYS_renameat2, a, from, b, to, flags);
    if (log_fd >= 0 && result == 0)
        note(r, base_of(from), base_of(to), NULL);
    pthread_mutex_unlock(&lock);
    return result;
}

int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int at, const char *path, int flags)
{
    int result;
    pthread_mutex_lock(&lock);
    const struct record r = {.kind = UNLINK, .ino = ino_at(at, path), .dir = dir_of(at, path)};
    result = (int)syscall(SYS_unlinkat, at, path, flags);
    if (log_fd >= 0 && result == 0)
        note(r, base_of(path), "", NULL);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

/* ---- what stat(2) says ---------------------------------------------------------------------- */

static int shown(int result, struct stat *st)
{
    for (unsigned i = 0; result == 0 && i + 1 < ninodes; i += 2)
        if (st->st_ino == inodes[i]) {
            st->st_ino = inodes[i + 1];
            break;
        }
    return result;
}

int fstatat(int at, const char *path, struct stat *st, int flags)
{
    return shown((int)syscall(SYS_newfstatat, at, path, st, flags), st);
}

int stat(const char *path, struct stat *st)
{
    return fstatat(AT_FDCWD, path, st, 0);
}

int lstat(const char *path, struct stat *st)
{
    return fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

int fstat(int fd, struct stat *st)
{
    return shown((int)syscall(SYS_fstat, fd, st), st);
}
