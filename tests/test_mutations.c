/* test_mutations.c - sound headers, cut, flipped and bent everywhere: refused, or sound again.
 *
 * Nothing is known here about what a change means. A file that is still taken must only promise
 * bytes that it has; sanitizers watch the rest. */
#include <inttypes.h>
#include <sys/mman.h>

#include "corpus.h"
#include "formats/gguf.h"

TestSuite(mutations, .init = scratch_begin, .fini = scratch_end, .timeout = 120);

static const uint64_t numbers[] = {
    0,
    1,
    7,
    0x80,
    0x100,
    0x8000,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    UINT64_C(1) << 32,
    (UINT64_C(1) << 53) + 1,
    UINT64_C(1) << 62,
    INT64_MAX,
    UINT64_C(1) << 63,
    UINT64_MAX - 7,
    UINT64_MAX,
};
#define NNUMBERS (sizeof numbers / sizeof *numbers)

/* A file in memory, under a name in the scratch directory: rewriting one on a disk ten thousand
 * times takes minutes. */
static int memory_file(const char *path)
{
    const int fd = memfd_create("quern-test", MFD_CLOEXEC);
    cr_assert(fd >= 0);
    char target[40];
    snprintf(target, sizeof target, "/proc/self/fd/%d", fd);
    cr_assert(symlink(target, path) == 0, "%s", path);
    return fd;
}

static void memory_write(int fd, const char *bytes, size_t n)
{
    cr_assert(pwrite(fd, bytes, n, 0) == (ssize_t)n && ftruncate(fd, (off_t)n) == 0);
}

/* A sound file and the one that is made of it. */
struct subject {
    struct str good;
    size_t header_bytes;
    const char *path;
    int fd;
    char *bytes;
    size_t ntaken, nrefused;
};

static void check_taken(const struct model *m)
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

static void try_bytes(struct subject *s, const char *bytes, size_t n)
{
    memory_write(s->fd, bytes, n);
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
    model_close(m);
    s->ntaken++;
}

static void subject_open(struct subject *s, struct arena *a, const struct corpus *c,
                         const char *name)
{
    *s = (struct subject){0};
    struct quern_error err;
    const char *from = path_join(a, c->dir, name);
    cr_assert(read_small_file(from, 1u << 20, a, &s->good, &err) == QUERN_OK, "%s", err.text);
    struct model *m;
    cr_assert(model_open(from, &m, &err) == QUERN_OK, "%s", err.text);
    s->header_bytes = m->files[0].data_start;
    model_close(m);
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
};
#define NSUBJECTS (sizeof subjects / sizeof *subjects)

typedef void mutate_fn(struct subject *s);

static void for_each_subject(mutate_fn *mutate)
{
    struct corpus c;
    corpus_open(&c);
    for (size_t i = 0; i < NSUBJECTS; i++) {
        struct arena a = {0};
        struct subject s;
        subject_open(&s, &a, &c, subjects[i]);
        mutate(&s);
        cr_log_info("%s: %zu taken, %zu refused", subjects[i], s.ntaken, s.nrefused);
        close(s.fd);
        arena_free(&a);
    }
    corpus_close(&c);
}

/* Cut after every byte of the header, and at some places in the data. */
static void cut(struct subject *s)
{
    for (size_t n = 0; n < s->good.n; n += n < s->header_bytes ? 1 : 7)
        try_bytes(s, s->good.p, n);
    cr_assert(s->ntaken == 0, "a cut file was taken");
}

Test(mutations, every_cut_file_is_refused)
{
    for_each_subject(cut);
}

static void flip(struct subject *s)
{
    memcpy(s->bytes, s->good.p, s->good.n);
    for (size_t bit = 0; bit < s->header_bytes * 8; bit++) {
        s->bytes[bit / 8] = (char)(s->bytes[bit / 8] ^ 1 << bit % 8);
        try_bytes(s, s->bytes, s->good.n);
        s->bytes[bit / 8] = s->good.p[bit / 8];
    }
    cr_assert(s->nrefused > 0);
}

Test(mutations, every_flipped_bit_is_refused_or_harmless)
{
    for_each_subject(flip);
}

/* Every four and every eight bytes of the header are every number in turn: this covers all integer
 * fields of a binary header, and the length of a safetensors file. */
static void bend(struct subject *s)
{
    const size_t end = s->path[strlen(s->path) - 1] == 's' ? 8 : s->header_bytes;
    memcpy(s->bytes, s->good.p, s->good.n);
    for (size_t at = 0; at < end; at++)
        for (size_t width = 4; width <= 8; width += 4)
            for (size_t k = 0; k < NNUMBERS && at + width <= end; k++) {
                memcpy(s->bytes + at, &numbers[k], width);
                try_bytes(s, s->bytes, s->good.n);
                memcpy(s->bytes + at, s->good.p + at, width);
            }
}

Test(mutations, every_number_in_every_binary_field)
{
    for_each_subject(bend);
}

/* Every run of digits in the JSON of a safetensors header becomes every number in turn. */
static void renumber(struct subject *s)
{
    const char *json = s->good.p + 8;
    const size_t n = s->header_bytes - 8;
    if (s->path[strlen(s->path) - 1] != 's')
        return;
    for (size_t at = 0; at < n; at++) {
        size_t digits = 0;
        while (at + digits < n && json[at + digits] >= '0' && json[at + digits] <= '9')
            digits++;
        for (size_t k = 0; k < NNUMBERS && digits; k++) {
            char text[24];
            const size_t len = (size_t)snprintf(text, sizeof text, "%" PRIu64, numbers[k]);
            const uint64_t header = n - digits + len;
            for (size_t i = 0; i < 8; i++)
                s->bytes[i] = (char)(header >> (8 * i));
            memcpy(s->bytes + 8, json, at);
            memcpy(s->bytes + 8 + at, text, len);
            memcpy(s->bytes + 8 + at + len, json + at + digits, s->good.n - 8 - at - digits);
            try_bytes(s, s->bytes, s->good.n - digits + len);
        }
        at += digits;
    }
    cr_assert(s->nrefused > 0);
}

Test(mutations, every_number_in_every_json_field)
{
    for_each_subject(renumber);
}

/* An index is text: cut and flipped everywhere it must be refused, or still fit its shards. */
Test(mutations, every_cut_and_flip_of_an_index)
{
    struct corpus c;
    corpus_open(&c);
    struct arena a = {0};
    const char *path = path_join(&a, c.dir, "index/two_shards/model.safetensors.index.json");
    struct str good;
    cr_assert(read_small_file(path, 1u << 20, &a, &good, NULL) == QUERN_OK);
    scratch_folder("i");
    for (int i = 1; i <= 2; i++) {
        const char *name = arena_printf(&a, "m-%d.safetensors", i);
        struct str shard;
        cr_assert(
            read_small_file(path_join(&a, c.dir, arena_printf(&a, "index/two_shards/%s", name)),
                            1u << 20, &a, &shard, NULL) == QUERN_OK);
        scratch_file(arena_printf(&a, "i/%s", name), shard);
    }
    const int fd = memory_file(scratch("i/model.safetensors.index.json"));
    char *bytes = arena_alloc(&a, good.n);
    memcpy(bytes, good.p, good.n);
    for (size_t bit = 0; bit < good.n * 9; bit++) {
        /* The first good.n rounds cut, the others flip. */
        const bool cutting = bit < good.n;
        const size_t at = cutting ? 0 : (bit - good.n) / 8;
        bytes[at] = (char)(bytes[at] ^ (cutting ? 0 : 1 << (bit - good.n) % 8));
        memory_write(fd, bytes, cutting ? bit : good.n);
        bytes[at] = good.p[at];
        struct model *m;
        if (model_open(scratch("i"), &m, NULL) == QUERN_OK) {
            cr_assert(!cutting, "the first %zu bytes were taken", bit);
            check_taken(m);
            cr_assert(m->ntensors == 2);
            model_close(m);
        }
    }
    close(fd);
    arena_free(&a);
    corpus_close(&c);
}
