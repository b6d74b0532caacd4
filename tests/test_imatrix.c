/* test_imatrix.c - importance matrices: both formats, their values, and files that lie. */
#include "formats/imatrix.h"

#include <math.h>
#include <sys/mman.h>

#include "imatrix_fixture.h"
#include "leaks.h"

TestSuite(imatrix, .init = scratch_begin, .fini = scratch_end);

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
    put_row(&b, STR("blk.0.ffn_up.weight"), 1, row, 4);
    put_row(&b, STR("a"), 7, row, 2);
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
    expect_values(im, STR("a"), (float[]){1.0f / 7, 2.5f / 7}, 2);
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

/* ---- files that lie ------------------------------------------------------------------------- */

static void expect_error(const char *path, enum quern_status status, const char *kind,
                         const char *tensor)
{
    struct imatrix *im = NULL;
    struct quern_error err;
    const enum quern_status s = imatrix_open(path, &im, &err);
    if (s == QUERN_OK)
        imatrix_close(im);
    cr_assert(s == status, "%s: status %d: %s", kind, (int)s, s == QUERN_OK ? "" : err.text);
    cr_assert_str_eq(err.kind, kind, "%s", err.text);
    cr_assert_str_eq(err.tensor, tensor, "%s", err.text);
    cr_assert(strstr(err.text, path) && err.found[0] && err.expected[0], "%s", err.text);
}

static const float values4[] = {1, 2, 3, 4};

Test(imatrix, dat_malformed)
{
    static const struct {
        int32_t nentries, name_bytes, nvalues, nchunks, dataset_bytes;
        const char *kind, *tensor;
    } cases[] = {
        {0,         1,         4,         1,  1,         "count",     ""            },
        {-1,        1,         4,         1,  1,         "count",     ""            },
        {INT32_MIN, 1,         4,         1,  1,         "count",     ""            },
        {INT32_MAX, 1,         4,         1,  1,         "count",     ""            },
        {1000000,   1,         4,         1,  1,         "truncated", ""            },
        {2,         1,         4,         1,  1,         "truncated", "\\x01"       },
        {3,         1,         4,         1,  1,         "truncated", ""            },
        {1,         0,         4,         1,  1,         "count",     "entry 1 of 1"},
        {1,         -1,        4,         1,  1,         "count",     "entry 1 of 1"},
        {1,         INT32_MIN, 4,         1,  1,         "count",     "entry 1 of 1"},
        {1,         INT32_MAX, 4,         1,  1,         "count",     "entry 1 of 1"},
        {1,         1000,      4,         1,  1,         "truncated", "entry 1 of 1"},
        {1,         1,         0,         1,  1,         "count",     "a"           },
        {1,         1,         -4,        1,  1,         "count",     "a"           },
        {1,         1,         INT32_MAX, 1,  1,         "truncated", "a"           },
        {1,         1,         8,         1,  1,         "truncated", "a"           },
        {1,         1,         4,         -1, 1,         "count",     ""            },
        {1,         1,         4,         1,  -1,        "count",     ""            },
        {1,         1,         4,         1,  2,         "truncated", ""            },
        {1,         1,         4,         1,  INT32_MAX, "count",     ""            },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes b = {.n = 0};
        put_i32(&b, cases[i].nentries);
        put_i32(&b, cases[i].name_bytes);
        put(&b, "a", 1);
        put_i32(&b, 1);
        put_i32(&b, cases[i].nvalues);
        put(&b, values4, sizeof values4);
        put_i32(&b, cases[i].nchunks);
        put_i32(&b, cases[i].dataset_bytes);
        put(&b, "d", 1);
        expect_error(write_bytes("m.dat", &b), QUERN_EFORMAT, cases[i].kind, cases[i].tensor);
    }
    CHECK_LEAKS();
}

Test(imatrix, dat_names)
{
    static const struct {
        const char *name;
        const char *kind;
    } cases[] = {
        {"a\0b",      "name"     },
        {"\xff\xfe.", "name"     },
        {"abc",       "duplicate"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes b = {.n = 0};
        put_i32(&b, 2);
        put_row(&b, STR("abc"), 1, values4, 2);
        put_row(&b, (struct str){cases[i].name, 3}, 1, values4, 2);
        expect_error(write_bytes("m.dat", &b), QUERN_EFORMAT, cases[i].kind,
                     i < 2 ? "entry 2 of 2" : "abc");
    }
    expect_error(scratch_file("empty", STR("")), QUERN_EFORMAT, "truncated", "");
    expect_error(scratch_file("zeros", (struct str){(char[64]){0}, 64}), QUERN_EFORMAT, "count",
                 "");
    CHECK_LEAKS();
}

/* Whatever the first bytes look like: a count of entries may be anything. */
Test(imatrix, dat_that_begins_like_another_format)
{
    const int32_t n = 0x0280; /* the first bytes of a pickle */
    static struct bytes b;
    put_i32(&b, n);
    for (int32_t i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%03d", (int)i);
        put_row(&b, str_from(name), 1, values4, 1);
    }
    struct imatrix *im = open_good(write_bytes("m.dat", &b));
    cr_assert(im->nentries == (uint32_t)n && str_is(im->entries[639].name, "t639"));
    imatrix_close(im);
    b.n -= 4;
    expect_error(write_bytes("m.dat", &b), QUERN_EFORMAT, "is-pickle", "");
    CHECK_LEAKS();
}

Test(imatrix, gguf_malformed)
{
    static const float c[] = {2, 2, 2, 2};
    static const struct {
        struct part parts[2];
        uint32_t n;
        const char *kind, *tensor;
    } cases[] = {
        {{{"a.in_sum2", 0, 4, values4, DTYPE_F32}},                                    1, "missing-pair", "a.in_sum2"},
        {{{"a.counts", 0, 1, c, DTYPE_F32}},                                           1, "missing-pair", "a.counts" },
        {{{"a.in_sum2", 0, 4, values4, DTYPE_F32}, {"b.counts", 0, 1, c, DTYPE_F32}},
         2,                                                                               "missing-pair",
         "a.in_sum2"                                                                                                 },
        {{{"a.in_sum2", 0, 4, values4, DTYPE_F16}, {"a.counts", 0, 1, c, DTYPE_F32}},
         2,                                                                               "tensor-type",
         "a.in_sum2"                                                                                                 },
        {{{"a.in_sum2", 0, 4, values4, DTYPE_F32}, {"a.counts", 0, 1, c, DTYPE_I32}},
         2,                                                                               "tensor-type",
         "a.counts"                                                                                                  },
        {{{"a.in_sum2", 0, 4, values4, DTYPE_F32}, {"a.counts", 0, 3, c, DTYPE_F32}},
         2,                                                                               "dims",
         "a.in_sum2"                                                                                                 },
        {{{"a.in_sum2", 0, 0, values4, DTYPE_F32}, {"a.counts", 0, 1, c, DTYPE_F32}},
         2,                                                                               "dims",
         "a.in_sum2"                                                                                                 },
        {{{"a.in_sum2", 0, 4, values4, DTYPE_F32}, {"a.counts", 0, 0, c, DTYPE_F32}},
         2,                                                                               "dims",
         "a.counts"                                                                                                  },
        {{{".in_sum2", 0, 4, values4, DTYPE_F32}, {".counts", 0, 1, c, DTYPE_F32}},
         2,                                                                               "name",
         ".in_sum2"                                                                                                  },
        {{{"other", 0, 4, values4, DTYPE_F32}},                                        1, "empty",        ""         },
        {{{"a.in_sum2", 0, 4, values4, DTYPE_F32}, {"a.in_sum2", 0, 4, c, DTYPE_F32}},
         2,                                                                               "duplicate",
         "a.in_sum2"                                                                                                 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_error(write_gguf("m.gguf", &(struct keys){0}, cases[i].parts, cases[i].n),
                     QUERN_EFORMAT, cases[i].kind, cases[i].tensor);
    expect_error(write_gguf("m.gguf", &(struct keys){0}, NULL, 0), QUERN_EFORMAT, "empty", "");
    CHECK_LEAKS();
}

Test(imatrix, gguf_keys)
{
    const struct part parts[] = {
        {"a.in_sum2", 0, 4, values4, DTYPE_F32},
        {"a.counts",  0, 1, values4, DTYPE_F32}
    };
    const struct part other[] = {
        {"a.weight", 0, 4, values4, DTYPE_F32}
    };
    static const struct {
        struct keys keys;
        enum quern_status status;
        const char *kind;
    } cases[] = {
        {{.no_datasets = true},     QUERN_EFORMAT,      "missing-key"},
        {{.no_chunk_count = true},  QUERN_EFORMAT,      "missing-key"},
        {{.no_chunk_size = true},   QUERN_EFORMAT,      "missing-key"},
        {{.chunk_count_i32 = true}, QUERN_EFORMAT,      "kv-type"    },
        {{.datasets_text = true},   QUERN_EFORMAT,      "kv-type"    },
        {{.splits = 2},             QUERN_EUNSUPPORTED, "split"      },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_error(write_gguf("m.gguf", &cases[i].keys, parts, 2), cases[i].status, cases[i].kind,
                     "");
    /* llama-quantize does not look at general.type either. */
    imatrix_close(open_good(write_gguf("m.gguf", &(struct keys){.type = "model"}, parts, 2)));
    imatrix_close(open_good(write_gguf("m.gguf", &(struct keys){.splits = 1}, parts, 2)));
    expect_error(write_gguf("m.gguf", &(struct keys){.type = "model"}, other, 1),
                 QUERN_EUNSUPPORTED, "is-model", "");
    expect_error("build/pocket/pocket-base/model.safetensors", QUERN_EUNSUPPORTED, "is-model", "");
    expect_error("tests/data/pocket", QUERN_EFORMAT, "not-a-file", "");
    CHECK_LEAKS();
}

Test(imatrix, values_that_are_none)
{
    static const struct {
        float sum, count;
        const char *tensor; /* NULL: fine */
    } cases[] = {
        {NAN,       2,        "w.in_sum2"},
        {INFINITY,  2,        "w.in_sum2"},
        {-1,        2,        "w.in_sum2"},
        {-INFINITY, 2,        "w.in_sum2"},
        {1,         NAN,      "w.counts" },
        {1,         -1,       "w.counts" },
        {1,         INFINITY, "w.counts" },
        {1,         0x1p53f,  "w.counts" },
        {3e38f,     1,        NULL       },
        {NAN,       0,        NULL       }, /* not used: nothing was counted */
        {-0.0f,     1,        NULL       },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const float sums[] = {1, 1, 1, cases[i].sum}, counts[] = {1, cases[i].count};
        const struct part parts[] = {
            {"w.in_sum2", 2, 2, sums,   DTYPE_F32},
            {"w.counts",  2, 1, counts, DTYPE_F32}
        };
        struct imatrix *im = open_good(write_gguf("m.gguf", &(struct keys){0}, parts, 2));
        struct quern_error err;
        float out[4];
        cr_assert(imatrix_read(im, im->entries, 0, 2, out, &err) == QUERN_OK);
        const enum quern_status s = imatrix_read(im, im->entries, 2, 2, out, &err);
        cr_assert(s == (cases[i].tensor ? QUERN_EFORMAT : QUERN_OK), "case %zu", i);
        if (cases[i].tensor) {
            cr_assert_str_eq(err.kind, "nonfinite");
            cr_assert_str_eq(err.tensor, cases[i].tensor);
            cr_assert(strstr(err.found, cases[i].tensor[2] == 'c' ? "value 1" : "value 3") &&
                          strstr(err.file, "m.gguf"),
                      "%s", err.text);
        }
        imatrix_close(im);
    }
    CHECK_LEAKS();
}

/* A file in memory, by a path that opens it: these are many. */
static void open_any(int fd, const char *bytes, size_t n)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    cr_assert(ftruncate(fd, (off_t)n) == 0 && pwrite(fd, bytes, n, 0) == (ssize_t)n);
    struct imatrix *im;
    struct quern_error err;
    if (imatrix_open(path, &im, &err) != QUERN_OK) {
        cr_assert(err.status == QUERN_EFORMAT || err.status == QUERN_EUNSUPPORTED, "%s", err.text);
        return;
    }
    float out[64];
    for (uint32_t i = 0; i < im->nentries; i++) {
        const struct imatrix_entry *e = &im->entries[i];
        const uint64_t all = e->ncols * e->nmats;
        imatrix_read(im, e, 0, all < 64 ? (size_t)all : 64, out, NULL);
        imatrix_read(im, e, all - 1, 1, out, NULL);
    }
    imatrix_close(im);
}

/* Cut anywhere or changed anywhere, a file is read or refused. */
Test(imatrix, mutations)
{
    static const char *const paths[] = {"tests/data/pocket/pocket-base.imatrix.gguf",
                                        "tests/data/pocket/pocket-base.imatrix.dat"};
    const int mem = memfd_create("mutation", MFD_CLOEXEC);
    for (size_t f = 0; f < 2; f++) {
        static char bytes[20000], changed[20000];
        const int fd = open(paths[f], O_RDONLY | O_CLOEXEC);
        const ssize_t n = read(fd, bytes, sizeof bytes);
        close(fd);
        cr_assert(n > 16000 && n < (ssize_t)sizeof bytes);
        /* Where the headers are, and some of the values. */
        for (ssize_t i = 0; i < n; i += i < 3000 ? 1 : 37) {
            static const char values[] = {0, 1, '\x7f', '\x80', '\xff'};
            open_any(mem, bytes, (size_t)i);
            for (size_t v = 0; v < sizeof values; v++) {
                memcpy(changed, bytes, (size_t)n);
                changed[i] = values[v];
                open_any(mem, changed, (size_t)n);
            }
        }
    }
    close(mem);
    CHECK_LEAKS();
}
