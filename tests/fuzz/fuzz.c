/* fuzz.c - run a target under its limits; files in memory; inputs taken apart. */
#include "fuzz.h"

#include <ftw.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_FILES    32
#define MAX_CPU_TIME 1.0 /* seconds of an input */

struct memory_file {
    char path[96];
    int fd;
    bool named; /* its path leads to it */
};

static struct memory_file files[MAX_FILES];
static unsigned nfiles;
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
    char *slash = strrchr(f->path, '/');
    *slash = '\0';
    mkdir(f->path, 0700); /* there is one level below the directory; it may be there already */
    *slash = '/';
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
    char path[sizeof files[0].path];
    snprintf(path, sizeof path, "%s/%s", fuzz_dir(), name);
    struct memory_file *f = find_file(path);
    if (!f)
        f = new_file(path);
    if (!f->named)
        give_name(f);
    return f;
}

const char *fuzz_file_path(const char *name)
{
    static char path[sizeof files[0].path];
    snprintf(path, sizeof path, "%s/%s", fuzz_dir(), name);
    return path;
}

void fuzz_file_gone(const char *name)
{
    char path[sizeof files[0].path];
    snprintf(path, sizeof path, "%s/%s", fuzz_dir(), name);
    struct memory_file *f = find_file(path);
    if (f && f->named)
        f->named = unlink(path) != 0;
}

const char *fuzz_file(const char *name, const void *bytes, size_t n)
{
    struct memory_file *f = file_named(name);
    FUZZ_CHECK(pwrite(f->fd, bytes, n, 0) == (ssize_t)n && ftruncate(f->fd, (off_t)n) == 0);
    return f->path;
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
    while (nfiles > 0)
        close(files[--nfiles].fd);
    if (dir[0])
        nftw(dir, remove_it, 16, FTW_DEPTH | FTW_PHYS);
    dir[0] = '\0';
}

static double cpu_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void fuzz_one(const struct fuzz_target *t, const uint8_t *data, size_t n)
{
    if (n > t->max_len)
        return;
    char *text = malloc(n + 1);
    FUZZ_CHECK(text != NULL);
    if (n)
        memcpy(text, data, n);
    text[n] = '\0';
    const double start = cpu_time();
    fuzz_memory_taken();
    t->run(text, n);
    const size_t taken = fuzz_memory_taken();
    const double seconds = cpu_time() - start;
    free(text);
    if (taken > t->bytes_besides + n * t->bytes_per_byte || seconds > MAX_CPU_TIME) {
        fprintf(stderr, "%s: %zu bytes of input took %zu bytes of memory and %.3f s\n", t->name, n,
                taken, seconds);
        abort();
    }
}

static bool printable(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7F)
            return false;
    return true;
}

void (*fuzz_on_error)(const struct quern_error *err);

bool fuzz_failed(enum quern_status status, const struct quern_error *err)
{
    if (status == QUERN_OK)
        return false;
    FUZZ_CHECK(status == err->status && status != QUERN_EINTERNAL && status != QUERN_EMEMORY);
    FUZZ_CHECK(err->kind[0] && err->found[0] && printable(err->text));
    FUZZ_CHECK(utf8_valid(str_from(err->text), NULL));
    if (fuzz_on_error)
        fuzz_on_error(err);
    return true;
}

/* ---- taking an input apart
 * ------------------------------------------------------------------------ */

struct str take_bytes(struct fuzz_bytes *b, size_t n)
{
    const struct str s = {b->p, n < b->n ? n : b->n};
    b->p += s.n;
    b->n -= s.n;
    return s;
}

uint8_t take_byte(struct fuzz_bytes *b)
{
    const struct str s = take_bytes(b, 1);
    return s.n ? (uint8_t)s.p[0] : 0;
}

uint32_t take_u32(struct fuzz_bytes *b)
{
    uint32_t v = 0;
    const struct str s = take_bytes(b, sizeof v);
    if (s.n)
        memcpy(&v, s.p, s.n);
    return v;
}

struct str take_part(struct fuzz_bytes *b, char separator)
{
    const char *end = b->n ? memchr(b->p, separator, b->n) : NULL;
    const struct str s = take_bytes(b, end ? (size_t)(end - b->p) : b->n);
    take_bytes(b, end != NULL);
    return s;
}

bool take_file(struct fuzz_bytes *b, struct fuzz_part *out)
{
    if (b->n < 3)
        return false;
    out->which = take_byte(b);
    const size_t low = take_byte(b), high = take_byte(b);
    out->text = take_bytes(b, high << 8 | low);
    return true;
}
