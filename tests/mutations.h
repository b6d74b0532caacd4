/* mutations.h - sound files to be changed, and what must hold of everything made from them. */
#ifndef QUERN_TESTS_MUTATIONS_H
#define QUERN_TESTS_MUTATIONS_H

#include <sys/mman.h>

#include "corpus.h"
#include "formats/gguf.h"
#include "formats/imatrix.h"

/* A file in memory, under a name in the scratch directory: rewriting one on a disk ten thousand
 * times takes minutes. */
static inline int memory_file(const char *path)
{
    const int fd = memfd_create("quern-test", MFD_CLOEXEC);
    cr_assert(fd >= 0);
    char target[40];
    snprintf(target, sizeof target, "/proc/self/fd/%d", fd);
    cr_assert(symlink(target, path) == 0, "%s", path);
    return fd;
}

static inline void memory_write(int fd, const char *bytes, size_t n)
{
    cr_assert(pwrite(fd, bytes, n, 0) == (ssize_t)n && ftruncate(fd, (off_t)n) == 0);
}

/* A sound file and the one that is made of it. */
struct subject {
    struct str good;
    bool imatrix, pack;
    size_t header_bytes, data_end; /* padding after the last tensor may be missing */
    const char *path;
    int fd;
    char *bytes;
    size_t ntaken, nrefused;
    void (*use)(struct model *m); /* what else is done with a model that is taken; or NULL */
};

static inline void check_taken(const struct model *m)
{
    for (uint32_t i = 0; i < m->ntensors; i++) {
        const struct tensor *t = &m->tensors[i];
        const uint64_t size = m->files[t->file].id.nbytes;
        uint64_t nbytes;
        cr_assert(t->offset <= size && t->nbytes <= size - t->offset);
        cr_assert(t->ndims <= MAX_DIMS && t->name.n > 0 && t->name.p[t->name.n] == '\0');
        cr_assert(dtype_bytes((enum dtype)t->dtype, t->nelems, &nbytes) && nbytes == t->nbytes);
        cr_assert(model_find(m, t->name) == t);
    }
    for (uint32_t i = 0; i < m->nmetas; i++)
        cr_assert(model_meta(m, m->metas[i].key.p) != NULL ||
                  memchr(m->metas[i].key.p, 0, m->metas[i].key.n));
}

static inline void try_imatrix(struct subject *s)
{
    struct imatrix *im;
    struct quern_error err;
    float values[256];
    const enum quern_status status = imatrix_open(s->path, &im, &err);
    if (status != QUERN_OK) {
        cr_assert(err.kind[0] && err.status == status && status != QUERN_EINTERNAL);
        s->nrefused++;
        return;
    }
    for (size_t i = 0; i < im->nentries; i++) {
        const struct imatrix_entry *e = &im->entries[i];
        const uint64_t size = im->model->files[0].id.nbytes;
        cr_assert(e->sums->offset <= size && e->sums->nbytes <= size - e->sums->offset);
        cr_assert(e->sums->nelems == e->ncols * e->nmats && e->name.p[e->name.n] == '\0');
        cr_assert(e->sums->nelems <= 256);
        if (imatrix_read(im, e, 0, (size_t)e->sums->nelems, values, &err) == QUERN_OK)
            for (size_t k = 0; k < e->sums->nelems; k++)
                cr_assert(values[k] >= 0.0f);
    }
    imatrix_close(im);
    s->ntaken++;
}

/* A chunk of a pack is decoded when it is read: there, or an error that is no bug. */
static inline void read_tensors(struct model *m)
{
    struct quern_error err;
    char bytes[256];
    for (uint32_t i = 0; i < m->ntensors; i++) {
        const struct tensor *t = &m->tensors[i];
        const size_t n = t->nbytes < sizeof bytes ? (size_t)t->nbytes : sizeof bytes;
        const enum quern_status status = model_pread(m, t->file, bytes, n, t->offset, &err);
        cr_assert(status == QUERN_OK || (status == QUERN_EFORMAT && err.file[0]));
    }
}

static inline void try_model(struct subject *s)
{
    struct model *m;
    struct quern_error err;
    const enum quern_status status = model_open(s->path, &m, &err);
    if (status != QUERN_OK) {
        cr_assert(err.kind[0] && err.status == status && status != QUERN_EINTERNAL);
        s->nrefused++;
        return;
    }
    check_taken(m);
    gguf_check_model(m, &err);
    if (s->pack)
        read_tensors(m);
    if (s->use)
        s->use(m);
    model_close(m);
    s->ntaken++;
}

static inline void try_bytes(struct subject *s, const char *bytes, size_t n)
{
    memory_write(s->fd, bytes, n);
    if (s->imatrix)
        try_imatrix(s);
    else
        try_model(s);
}

static inline void subject_open(struct subject *s, struct arena *a, const struct corpus *c,
                                const char *name)
{
    *s = (struct subject){0};
    struct quern_error err;
    const char *from = path_join(a, c->dir, name);
    cr_assert(read_small_file(from, 1u << 20, a, &s->good, &err) == QUERN_OK, "%s", err.text);
    s->imatrix = strncmp(name, "imatrix/", 8) == 0;
    s->pack = strncmp(name, "pack/", 5) == 0;
    /* What lies between the values of a .dat lies everywhere in it. */
    s->header_bytes = s->data_end = s->good.n;
    struct model *m;
    if (!s->pack && !str_ends(str_from(name), ".dat")) {
        cr_assert(model_open(from, &m, &err) == QUERN_OK, "%s", err.text);
        const struct tensor *last = &m->tensors[m->ntensors - 1];
        s->header_bytes = (size_t)m->files[0].data_start;
        s->data_end = (size_t)(last->offset + last->nbytes);
        model_close(m);
    }
    s->path = arena_printf(a, "%s", scratch(path_base(name)));
    s->fd = memory_file(s->path);
    s->bytes = arena_alloc(a, s->good.n + 64);
}

static const char *const subjects[] = {
    "safetensors/ok_every_type.safetensors",
    "safetensors/ok_metadata.safetensors",
    "safetensors/ok_unknown_field.safetensors",
    "gguf/ok_three.gguf",
    "gguf/ok_all_scalars.gguf",
    "gguf/ok_all_arrays.gguf",
    "imatrix/gguf_plain.gguf",
    "imatrix/dat_plain.dat",
    "pack/ok_plain.qpk",
};
#define NSUBJECTS (sizeof subjects / sizeof *subjects)

typedef void mutate_fn(struct subject *s);

static inline void for_each_subject(mutate_fn *mutate, void (*use)(struct model *m))
{
    struct corpus c;
    corpus_open(&c);
    for (size_t i = 0; i < NSUBJECTS; i++) {
        struct arena a = {0};
        struct subject s;
        if (strncmp(subjects[i], "pack/", 5) == 0 &&
            packs_are_left_out(path_join(&a, c.dir, subjects[i]))) {
            arena_free(&a);
            continue;
        }
        subject_open(&s, &a, &c, subjects[i]);
        s.use = use;
        mutate(&s);
        cr_log_info("%s: %zu taken, %zu refused", subjects[i], s.ntaken, s.nrefused);
        close(s.fd);
        arena_free(&a);
    }
    corpus_close(&c);
}

/* Every bit of the header is another one, in turn. */
static inline void flip(struct subject *s)
{
    memcpy(s->bytes, s->good.p, s->good.n);
    for (size_t bit = 0; bit < s->header_bytes * 8; bit++) {
        s->bytes[bit / 8] = (char)(s->bytes[bit / 8] ^ 1 << bit % 8);
        try_bytes(s, s->bytes, s->good.n);
        s->bytes[bit / 8] = s->good.p[bit / 8];
    }
    cr_assert(s->nrefused > 0);
}

#endif
