/* faultio.c - LD_PRELOAD: the n-th call of one function fails, is short, or kills the process.
 *
 * FAULT="pwrite 7 EIO": the seventh pwrite. Instead of EIO: ENOSPC, EINTR, ENOMEM, short (half of
 * what was asked), byte (one), kill; with a + at the end all later ones, too. FAULT_COUNT=FILE:
 * write there how often each function was called. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum call {
    PREAD,
    PWRITE,
    FSYNC,
    RENAME,
    FTRUNCATE,
    FALLOCATE,
    OPEN,
    MKDIR,
    LINK,
    COPY,
    MALLOC,
    NCALLS
};
static const char *const names[NCALLS] = {"pread",     "pwrite",    "fsync", "rename",
                                          "ftruncate", "fallocate", "open",  "mkdir",
                                          "link",      "copy",      "malloc"};

static _Atomic unsigned counts[NCALLS];
static unsigned wrong_call = NCALLS, wrong_at;
static int code; /* errno; 0: short; -1: kill */
static int later, armed, single;

__attribute__((constructor)) static void begin(void)
{
    char call[16] = "", kind[16] = "";
    const char *fault = getenv("FAULT");
    if (fault && sscanf(fault, "%15s %u %15s", call, &wrong_at, kind) == 3) {
        for (unsigned i = 0; i < NCALLS; i++)
            if (strcmp(call, names[i]) == 0)
                wrong_call = i;
        later = kind[strlen(kind) - 1] == '+';
        single = strncmp(kind, "byte", 4) == 0;
        code = strncmp(kind, "EIO", 3) == 0      ? EIO
               : strncmp(kind, "ENOSPC", 6) == 0 ? ENOSPC
               : strncmp(kind, "EINTR", 5) == 0  ? EINTR
               : strncmp(kind, "ENOMEM", 6) == 0 ? ENOMEM
               : strncmp(kind, "kill", 4) == 0   ? -1
                                                 : 0;
    }
    armed = 1;
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("FAULT_COUNT");
    FILE *f = path ? fopen(path, "w") : NULL;
    armed = 0;
    for (unsigned i = 0; f && i < NCALLS; i++)
        fprintf(f, "%s %u\n", names[i], counts[i]);
    if (f)
        fclose(f);
}

/* Is it the turn of this call to go wrong? */
static int fails(enum call c)
{
    if (!armed)
        return 0;
    const unsigned n = ++counts[c];
    if (c != wrong_call || n < wrong_at || (n > wrong_at && !later))
        return 0;
    if (code == -1)
        kill(getpid(), SIGKILL);
    errno = code;
    return 1;
}

#define REAL(type, name) ((type)(uintptr_t)dlsym(RTLD_NEXT, name))

static size_t less(size_t n)
{
    return n > 1 && !single ? n / 2 : n > 0;
}

ssize_t pread(int fd, void *p, size_t n, off_t at)
{
    static ssize_t (*real)(int, void *, size_t, off_t);
    if (!real)
        real = REAL(ssize_t(*)(int, void *, size_t, off_t), "pread");
    if (fails(PREAD)) {
        if (code)
            return -1;
        n = less(n);
    }
    return real(fd, p, n, at);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real)
        real = REAL(ssize_t(*)(int, const void *, size_t, off_t), "pwrite");
    if (fails(PWRITE)) {
        if (code)
            return -1;
        n = less(n);
    }
    return real(fd, p, n, at);
}

ssize_t copy_file_range(int in, off_t *from, int out, off_t *to, size_t n, unsigned flags)
{
    static ssize_t (*real)(int, off_t *, int, off_t *, size_t, unsigned);
    if (!real)
        real = REAL(ssize_t(*)(int, off_t *, int, off_t *, size_t, unsigned), "copy_file_range");
    if (fails(COPY)) {
        if (code)
            return -1;
        n = less(n);
    }
    return real(in, from, out, to, n, flags);
}

int fsync(int fd)
{
    return fails(FSYNC) && code ? -1 : REAL(int (*)(int), "fsync")(fd);
}

int fdatasync(int fd)
{
    return fails(FSYNC) && code ? -1 : REAL(int (*)(int), "fdatasync")(fd);
}

int rename(const char *from, const char *to)
{
    return fails(RENAME) && code ? -1
                                 : REAL(int (*)(const char *, const char *), "rename")(from, to);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
    if (fails(RENAME) && code)
        return -1;
    return REAL(int (*)(int, const char *, int, const char *, unsigned), "renameat2")(a, from, b,
                                                                                      to, flags);
}

int ftruncate(int fd, off_t n)
{
    return fails(FTRUNCATE) && code ? -1 : REAL(int (*)(int, off_t), "ftruncate")(fd, n);
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
    if (fails(FALLOCATE) && code)
        return -1;
    return REAL(int (*)(int, int, off_t, off_t), "fallocate")(fd, mode, at, n);
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    const int mode = va_arg(args, int);
    va_end(args);
    return fails(OPEN) && code ? -1
                               : REAL(int (*)(const char *, int, ...), "open")(path, flags, mode);
}

int mkdir(const char *path, mode_t mode)
{
    return fails(MKDIR) && code ? -1 : REAL(int (*)(const char *, mode_t), "mkdir")(path, mode);
}

int link(const char *from, const char *to)
{
    return fails(LINK) && code ? -1 : REAL(int (*)(const char *, const char *), "link")(from, to);
}

int linkat(int a, const char *from, int b, const char *to, int flags)
{
    if (fails(LINK) && code)
        return -1;
    return REAL(int (*)(int, const char *, int, const char *, int), "linkat")(a, from, b, to,
                                                                              flags);
}

/* Fortified callers have a name of their own. */
ssize_t __pread_chk(int fd, void *p, size_t n, off_t at, size_t room)
{
    return n > room ? -1 : pread(fd, p, n, at);
}

int __open_2(const char *path, int flags)
{
    return open(path, flags, 0);
}

/* A sanitizer asks a new thread where its stack is, and gives up when memory for that is short. */
static _Thread_local __attribute__((tls_model("initial-exec"))) unsigned spared;

int pthread_getattr_np(pthread_t thread, pthread_attr_t *to)
{
    static int (*real)(pthread_t, pthread_attr_t *);
    if (!real)
        real = REAL(int (*)(pthread_t, pthread_attr_t *), "pthread_getattr_np");
    spared++;
    const int failed = real(thread, to);
    spared--;
    return failed;
}

static int no_memory(void)
{
    return !spared && fails(MALLOC) && code;
}

/* The next allocator, which a sanitizer may have brought. */
void *malloc(size_t n)
{
    static void *(*real)(size_t);
    if (!real)
        real = REAL(void *(*)(size_t), "malloc");
    return no_memory() ? NULL : real(n);
}

void *calloc(size_t n, size_t each)
{
    static void *(*real)(size_t, size_t);
    if (!real)
        real = REAL(void *(*)(size_t, size_t), "calloc");
    return no_memory() ? NULL : real(n, each);
}

void *realloc(void *p, size_t n)
{
    static void *(*real)(void *, size_t);
    if (!real)
        real = REAL(void *(*)(void *, size_t), "realloc");
    return no_memory() ? NULL : real(p, n);
}
