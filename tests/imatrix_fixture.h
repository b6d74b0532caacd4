/* imatrix_fixture.h - small importance matrices in both formats, sound or not. */
#ifndef QUERN_TESTS_IMATRIX_FIXTURE_H
#define QUERN_TESTS_IMATRIX_FIXTURE_H

#include "formats/gguf.h"
#include "formats/imatrix.h"
#include "scratch.h"

struct bytes {
    char p[1 << 16];
    size_t n;
};

static inline void put(struct bytes *b, const void *p, size_t n)
{
    cr_assert(b->n + n <= sizeof b->p);
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

static inline void put_i32(struct bytes *b, int32_t v)
{
    put(b, &v, sizeof v);
}

static inline void put_row(struct bytes *b, struct str name, int32_t ncalls, const float *v,
                           int32_t n)
{
    put_i32(b, (int32_t)name.n);
    put(b, name.p, name.n);
    put_i32(b, ncalls);
    put_i32(b, n);
    put(b, v, (size_t)n * sizeof *v);
}

static inline const char *write_bytes(const char *name, const struct bytes *b)
{
    return scratch_file(name, (struct str){b->p, b->n});
}

/* A GGUF tensor of at most two dimensions; rows 0: one dimension. */
struct part {
    const char *name;
    uint64_t rows, cols;
    const float *values;
    enum dtype dtype;
};

struct keys {
    bool no_datasets, no_chunk_count, no_chunk_size, chunk_count_i32, datasets_text;
    const char *type;
    uint16_t splits;
};

static inline const char *write_gguf(const char *name, const struct keys *k,
                                     const struct part *parts, uint32_t n)
{
    struct arena a = {0};
    struct meta_list l = {.arena = &a};
    cr_assert(meta_list_set_string(&l, "general.type", str_from(k->type ? k->type : "imatrix")));
    if (k->datasets_text)
        meta_list_set_string(&l, "imatrix.datasets", STR("a.txt"));
    else if (!k->no_datasets)
        meta_list_set(&l, (struct meta){.key = STR("imatrix.datasets"),
                                        .value = STR("\5\0\0\0\0\0\0\0a.txt\1\0\0\0\0\0\0\0b"),
                                        .count = 2,
                                        .type = META_ARRAY,
                                        .item_type = META_STRING});
    if (k->chunk_count_i32)
        meta_list_set_i32(&l, "imatrix.chunk_count", 7);
    else if (!k->no_chunk_count)
        meta_list_set_u32(&l, "imatrix.chunk_count", 7);
    if (!k->no_chunk_size)
        meta_list_set_u32(&l, "imatrix.chunk_size", 512);
    if (k->splits) {
        meta_list_set_u16(&l, "split.no", 0);
        meta_list_set_u16(&l, "split.count", k->splits);
    }
    struct gguf_tensor t[8];
    uint64_t dims[8][2];
    for (uint32_t i = 0; i < n; i++) {
        dims[i][0] = parts[i].rows;
        dims[i][1] = parts[i].cols;
        const uint64_t nelems = (parts[i].rows ? parts[i].rows : 1) * parts[i].cols;
        t[i] = (struct gguf_tensor){str_from(parts[i].name),
                                    parts[i].rows ? dims[i] : dims[i] + 1,
                                    parts[i].rows ? 2 : 1,
                                    parts[i].dtype,
                                    nelems * dtype_traits[parts[i].dtype].block_bytes,
                                    0};
    }
    struct str header;
    uint64_t file_bytes;
    cr_assert(gguf_layout(&a, l.items, l.count, t, n, 32, &header, &file_bytes, NULL) == QUERN_OK);
    const char *path = scratch_file(name, header);
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    cr_assert(fd >= 0 && ftruncate(fd, (off_t)file_bytes) == 0);
    for (uint32_t i = 0; i < n; i++)
        if (parts[i].dtype == DTYPE_F32)
            cr_assert(pwrite(fd, parts[i].values, t[i].nbytes, (off_t)t[i].offset) ==
                      (ssize_t)t[i].nbytes);
    close(fd);
    arena_free(&a);
    return path;
}

static inline struct imatrix *open_good(const char *path)
{
    struct imatrix *im;
    struct quern_error err;
    cr_assert(imatrix_open(path, &im, &err) == QUERN_OK, "%s", err.text);
    return im;
}

#endif
