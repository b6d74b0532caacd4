/* test_imatrix.c - importance matrices: both formats, their values, and files that lie. */
#include "formats/imatrix.h"

#include <math.h>

#include "formats/gguf.h"
#include "leaks.h"
#include "scratch.h"

TestSuite(imatrix, .init = scratch_begin, .fini = scratch_end);

/* ---- building files ------------------------------------------------------------------------- */

struct bytes {
    char p[1 << 16];
    size_t n;
};

static void put(struct bytes *b, const void *p, size_t n)
{
    cr_assert(b->n + n <= sizeof b->p);
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

static void put_i32(struct bytes *b, int32_t v)
{
    put(b, &v, sizeof v);
}

static void put_row(struct bytes *b, struct str name, int32_t ncalls, const float *v, int32_t n)
{
    put_i32(b, (int32_t)name.n);
    put(b, name.p, name.n);
    put_i32(b, ncalls);
    put_i32(b, n);
    put(b, v, (size_t)n * sizeof *v);
}

static const char *write_bytes(const char *name, const struct bytes *b)
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

static const char *write_gguf(const char *name, const struct keys *k, const struct part *parts,
                              uint32_t n)
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

static struct imatrix *open_good(const char *path)
{
    struct imatrix *im;
    struct quern_error err;
    cr_assert(imatrix_open(path, &im, &err) == QUERN_OK, "%s", err.text);
    return im;
}

static void expect_values(const struct imatrix *im, struct str name, const float *want, size_t n)
{
    const struct imatrix_entry *e = imatrix_find(im, name);
    struct quern_error err;
    float got[64];
    cr_assert(e && e->ncols * e->nmats == n && n <= 64);
    /* Every range gives the same values. */
    for (size_t first = 0; first < n; first++)
        for (size_t end = first; end <= n; end++) {
            cr_assert(imatrix_read(im, e, first, end - first, got, &err) == QUERN_OK, "%s",
                      err.text);
            for (size_t i = first; i < end; i++)
                cr_assert(got[i - first] == want[i], "value %zu: %g, expected %g", i,
                          (double)got[i - first], (double)want[i]);
        }
}

/* ---- good files ----------------------------------------------------------------------------- */

Test(imatrix, dat_values_are_divided_by_calls)
{
    struct bytes b = {.n = 0};
    const float row[] = {1.0f, 2.5f, 0.0f, 7.0f};
    put_i32(&b, 3);
    put_row(&b, STR("z"), 3, row, 4);
    put_row(&b, STR("blk.0.ffn_up.weight"), 0, row, 4);
    put_row(&b, STR("a"), -5, row, 2);
    put_i32(&b, 12);
    put_i32(&b, 5);
    put(&b, "c.txt", 5);
    struct imatrix *im = open_good(write_bytes("m.dat", &b));
    cr_assert(im->legacy && im->nentries == 3 && im->chunk_count == 12 && im->chunk_size == 0);
    cr_assert(im->ndatasets == 1 && str_is(im->datasets[0], "c.txt"));
    cr_assert(str_is(im->entries[0].name, "a") && str_is(im->entries[2].name, "z"));
    cr_assert(im->entries[0].name.p[1] == '\0' && im->entries[0].counts == NULL);
    expect_values(im, STR("z"), (float[]){1.0f / 3, 2.5f / 3, 0.0f, 7.0f / 3}, 4);
    expect_values(im, STR("blk.0.ffn_up.weight"), row, 4);
    expect_values(im, STR("a"), row, 2);
    cr_assert(imatrix_find(im, STR("b")) == NULL);
    cr_assert(model_unchanged(im->model, NULL) == QUERN_OK && imatrix_bytes(im) > 0);
    imatrix_close(im);
    CHECK_LEAKS();
}

Test(imatrix, dat_tail_may_be_missing)
{
    const float row[] = {1.0f};
    for (int tail = 0; tail < 4; tail++) {
        struct bytes b = {.n = 0};
        put_i32(&b, 1);
        put_row(&b, STR("a"), 1, row, 1);
        if (tail > 0)
            put_i32(&b, 9);
        if (tail > 1)
            put_i32(&b, tail == 2 ? 0 : 3);
        if (tail > 2)
            put(&b, "x\0yzz", 5);
        struct imatrix *im = open_good(write_bytes("m.dat", &b));
        cr_assert(im->chunk_count == (tail > 0 ? 9 : 0) && im->ndatasets == (tail > 2));
        cr_assert(tail < 3 || (str_is(im->datasets[0], "x") && im->model->nnotes == 1));
        imatrix_close(im);
    }
    CHECK_LEAKS();
}

Test(imatrix, gguf_values_are_divided_by_rounded_counts)
{
    const float sums[] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, counts[] = {3, 0, 2.5f};
    const float other[] = {10, 20}, one[] = {0.4f};
    const struct part parts[] = {
        {"b.weight.in_sum2", 3, 3, sums,   DTYPE_F32},
        {"b.weight.counts",  3, 1, counts, DTYPE_F32},
        {"a.weight.counts",  0, 1, one,    DTYPE_F32},
        {"a.weight.in_sum2", 0, 2, other,  DTYPE_F32},
        {"something else",   0, 2, other,  DTYPE_F32},
    };
    struct imatrix *im = open_good(write_gguf("m.gguf", &(struct keys){0}, parts, 5));
    cr_assert(!im->legacy && im->nentries == 2 && im->chunk_count == 7 && im->chunk_size == 512);
    cr_assert(im->ndatasets == 2 && str_is(im->datasets[0], "a.txt") &&
              str_is(im->datasets[1], "b"));
    const struct imatrix_entry *e = imatrix_find(im, STR("b.weight"));
    cr_assert(e && e->nmats == 3 && e->ncols == 3 && e->name.p[e->name.n] == '\0');
    /* lround(2.5) is 3; a count that rounds to 0 is no count. */
    expect_values(im, STR("b.weight"),
                  (float[]){1.0f / 3, 2.0f / 3, 1, 1, 1, 1, 7.0f / 3, 8.0f / 3, 3}, 9);
    expect_values(im, STR("a.weight"), (float[]){1, 1}, 2);
    cr_assert(imatrix_find(im, STR("something else")) == NULL);
    imatrix_close(im);
    CHECK_LEAKS();
}

/* More matrices than imatrix_read() takes counts at once. */
Test(imatrix, many_matrices)
{
    enum { N = 300, COLS = 3 };
    static float sums[N * COLS], counts[N], got[N * COLS];
    for (int i = 0; i < N; i++)
        counts[i] = (float)(i % 7);
    for (int i = 0; i < N * COLS; i++)
        sums[i] = (float)i;
    const struct part parts[] = {
        {"w.in_sum2", N, COLS, sums,   DTYPE_F32},
        {"w.counts",  N, 1,    counts, DTYPE_F32}
    };
    struct imatrix *im = open_good(write_gguf("m.gguf", &(struct keys){0}, parts, 2));
    for (size_t first = 0; first < 10; first++) {
        const size_t n = N * COLS - 2 * first;
        cr_assert(imatrix_read(im, im->entries, first, n, got, NULL) == QUERN_OK);
        for (size_t i = 0; i < n; i++) {
            const size_t at = first + i, c = at / COLS % 7;
            cr_assert(got[i] == (c ? (float)at / (float)c : 1.0f));
        }
    }
    imatrix_close(im);
    CHECK_LEAKS();
}

/* The two files of the pocket model say the same, as far as the older format can. */
Test(imatrix, pocket_files_agree)
{
    struct imatrix *g = open_good("tests/data/pocket/pocket-base.imatrix.gguf");
    struct imatrix *d = open_good("tests/data/pocket/pocket-base.imatrix.dat");
    cr_assert(g->nentries == d->nentries && g->nentries > 0);
    cr_assert(g->chunk_count == d->chunk_count && g->chunk_count > 0);
    for (uint32_t i = 0; i < g->nentries; i++) {
        const struct imatrix_entry *e = &g->entries[i], *f = &d->entries[i];
        float a[512], b[512];
        cr_assert(str_eq(e->name, f->name) && e->ncols == f->ncols && e->ncols <= 512);
        cr_assert(imatrix_read(g, e, 0, e->ncols, a, NULL) == QUERN_OK);
        cr_assert(imatrix_read(d, f, 0, e->ncols, b, NULL) == QUERN_OK);
        for (uint64_t j = 0; j < e->ncols; j++)
            cr_assert(fabsf(a[j] - b[j]) <= 1e-6f * a[j]);
    }
    imatrix_close(g);
    imatrix_close(d);
    CHECK_LEAKS();
}
