/* test_combine.c - importance matrices that are added up, converted and judged. */
#include "pipeline/combine.h"

#include <math.h>

#include "core/sha256.h"
#include "imatrix_fixture.h"
#include "leaks.h"
#include "pipeline/imatrix_lint.h"

TestSuite(combine, .init = scratch_begin, .fini = scratch_end);

#define POCKET_GGUF "tests/data/pocket/pocket-base.imatrix.gguf"
#define POCKET_DAT  "tests/data/pocket/pocket-base.imatrix.dat"

struct job {
    const char *inputs[MAX_SOURCES + 2]; /* up to the first NULL */
    const char *output;
    uint32_t chunk_size;
    unsigned threads;
    uint64_t mem;
};

#define JOB(out, chunk, ...)                                            \
    &(struct job)                                                       \
    {                                                                   \
        .inputs = {__VA_ARGS__}, .output = (out), .chunk_size = (chunk) \
    }

/* The notes, one a line, when all went well. */
static enum quern_status run(const struct job *j, char notes[1024], struct quern_error *err)
{
    struct imatrix *inputs[MAX_SOURCES + 2];
    struct plan *p = NULL;
    size_t n = 0;
    for (; j->inputs[n]; n++)
        inputs[n] = open_good(j->inputs[n]);
    const struct combine_request r = {.inputs = inputs,
                                      .ninputs = n,
                                      .output = j->output,
                                      .legacy = str_ends(str_from(j->output), ".dat"),
                                      .chunk_size = j->chunk_size,
                                      .force = true};
    const struct quern_run_options options = {.threads = j->threads, .mem_bytes = j->mem};
    enum quern_status s = combine_plan(&r, &p, err);
    if (s == QUERN_OK)
        s = plan_run(p, &options, NULL, err);
    notes[0] = '\0';
    for (uint32_t i = 0; s == QUERN_OK && i < p->nnotes; i++)
        snprintf(notes + strlen(notes), 1024 - strlen(notes), "%s\n", p->notes[i]);
    plan_free(p);
    while (n > 0)
        imatrix_close(inputs[--n]);
    return s;
}

static void must_run(const struct job *j, const char *expected_notes)
{
    char notes[1024];
    struct quern_error err;
    cr_assert(run(j, notes, &err) == QUERN_OK, "%s", err.text);
    cr_assert_str_eq(notes, expected_notes);
}

static void must_fail(const struct job *j, enum quern_status status, const char *kind,
                      const char *tensor)
{
    char notes[1024];
    struct quern_error err;
    const enum quern_status s = run(j, notes, &err);
    cr_assert(s == status, "%d %s", (int)s, s == QUERN_OK ? "" : err.text);
    cr_assert_str_eq(err.kind, kind, "%s", err.text);
    cr_assert_str_eq(err.tensor, tensor, "%s", err.text);
    cr_assert(access(j->output, F_OK) != 0, "an output is left");
}

static void expect_digest(const char *path, const char *want)
{
    char got[65];
    cr_assert(sha256_file(path, got, NULL) == QUERN_OK);
    cr_assert_str_eq(got, want, "%s", path);
}

static void expect_same(const char *a, const char *b)
{
    char digest[65];
    cr_assert(sha256_file(a, digest, NULL) == QUERN_OK);
    expect_digest(b, digest);
}

static void read_raw(const struct imatrix *im, const struct tensor *t, float *out)
{
    cr_assert(model_pread(im->model, t->file, out, t->nbytes, t->offset, NULL) == QUERN_OK);
}

/* ---- the real files ------------------------------------------------------------------------- */

/* Both were written by llama-imatrix. */
Test(combine, converting_gives_the_bytes_of_llama_imatrix)
{
    must_run(JOB(scratch("a.gguf"), 0, POCKET_GGUF), "");
    expect_same(POCKET_GGUF, scratch("a.gguf"));
    must_run(JOB(scratch("a.dat"), 0, POCKET_GGUF), "");
    expect_same(POCKET_DAT, scratch("a.dat"));
    CHECK_LEAKS();
}

Test(combine, converting_back_keeps_the_values)
{
    must_run(JOB(scratch("b.gguf"), 256, POCKET_DAT), "");
    must_run(JOB(scratch("b.dat"), 0, scratch("b.gguf")), "");
    struct imatrix *a = open_good(POCKET_DAT), *b = open_good(scratch("b.gguf")),
                   *c = open_good(scratch("b.dat"));
    cr_assert(b->chunk_size == 256 && b->chunk_count == a->chunk_count);
    cr_assert(c->chunk_count == a->chunk_count && c->ndatasets == 1 &&
              str_eq(c->datasets[0], a->datasets[0]));
    for (uint32_t i = 0; i < a->nentries; i++) {
        float x[512], y[512], z[512];
        const size_t n = (size_t)a->entries[i].ncols;
        cr_assert(imatrix_read(a, &a->entries[i], 0, n, x, NULL) == QUERN_OK);
        cr_assert(imatrix_read(b, &b->entries[i], 0, n, y, NULL) == QUERN_OK);
        cr_assert(imatrix_read(c, &c->entries[i], 0, n, z, NULL) == QUERN_OK);
        for (size_t k = 0; k < n; k++)
            cr_assert(fabsf(x[k] - y[k]) <= 0x1p-23f * x[k] &&
                      fabsf(x[k] - z[k]) <= 0x1p-22f * x[k]);
    }
    imatrix_close(a);
    imatrix_close(b);
    imatrix_close(c);
    CHECK_LEAKS();
}

/* ---- sums ----------------------------------------------------------------------------------- */

/* Two with experts and an older one that lacks some weights, with values that do not add exactly.
 */
static const char *small_input(unsigned which)
{
    static const char *const names[] = {"a.gguf", "b.gguf", "c.dat"};
    float exps[12], dense[5];
    for (unsigned i = 0; i < 12; i++)
        exps[i] = (float)(i * 37 % 11 + which) / 7.0f;
    for (unsigned i = 0; i < 5; i++)
        dense[i] = (float)(i + 1) * (which == 1 ? 1e7f : 0.3f);
    const float counts[4] = {which == 0 ? 0 : 5, 0, 7.4f, 1000},
                one[] = {512.0f * (float)(which + 1)};
    const struct part parts[] = {
        {"blk.0.ffn_down_exps.weight.in_sum2", 4, 3, exps,   DTYPE_F32},
        {"blk.0.ffn_down_exps.weight.counts",  4, 1, counts, DTYPE_F32},
        {"blk.0.attn_q.weight.in_sum2",        0, 5, dense,  DTYPE_F32},
        {"blk.0.attn_q.weight.counts",         0, 1, one,    DTYPE_F32},
    };
    if (which < 2)
        return write_gguf(names[which], &(struct keys){0}, parts, which == 0 ? 4 : 2);
    struct bytes b = {.n = 0};
    put_i32(&b, 2);
    put_row(&b, STR("output.weight"), 3, dense, 5);
    put_row(&b, STR("blk.0.attn_q.weight"), 9, dense, 5);
    put_i32(&b, 9);
    put_i32(&b, 3);
    put(&b, "old", 3);
    return write_bytes(names[2], &b);
}

#define LOST_COUNTS "a .dat has one count a weight: how often each expert was used is lost\n"
#define ONE_UNSEEN \
    "1 weight has some experts that were never used; their columns will count alike\n"

Test(combine, three_give_the_bytes_of_llama_imatrix)
{
    const char *a = small_input(0), *b = small_input(1), *c = small_input(2);
    must_run(JOB(scratch("abc.gguf"), 512, a, b, c), ONE_UNSEEN);
    must_run(JOB(scratch("cba.gguf"), 512, c, b, a), ONE_UNSEEN);
    must_run(JOB(scratch("abc.dat"), 512, a, b, c),
             ONE_UNSEEN "a .dat names one data set: 'old' is kept, 4 more are not\n" LOST_COUNTS);
    /* Of llama-imatrix -c 512 --in-file a.gguf,b.gguf,c.dat and so on. */
    expect_digest(scratch("abc.gguf"),
                  "4c1f3fac91ab6b353fe1cd6bd65ee51e30382f13fbffe409116edeca1c8f896a");
    expect_digest(scratch("cba.gguf"),
                  "36a024a503b857f34a834eff980edbbf78dd92644e38ab95da866d346d7b73fe");
    expect_digest(scratch("abc.dat"),
                  "b118af5d03f59419a1da917f5ca7eed45d2d5b4757501890f0404ec81f876cce");
    CHECK_LEAKS();
}

Test(combine, values_add_up_in_order)
{
    const char *a = small_input(0), *c = small_input(2);
    must_run(JOB(scratch("ac.gguf"), 0, a, c), ONE_UNSEEN);
    must_run(JOB(scratch("ca.gguf"), 0, c, a), ONE_UNSEEN);
    struct imatrix *x = open_good(scratch("ac.gguf")), *y = open_good(scratch("ca.gguf"));
    cr_assert(x->nentries == 3 && y->nentries == 3 && x->chunk_size == 512 && y->chunk_size == 512);
    cr_assert(x->ndatasets == 3 && str_is(x->datasets[0], "a.txt") &&
              str_is(x->datasets[2], "old"));
    cr_assert(y->ndatasets == 3 && str_is(y->datasets[0], "old") && str_is(y->datasets[2], "b"));
    /* 512 + 9 * 512 tokens; the most there are decide the number of chunks. */
    cr_assert(x->chunk_count == 10 && y->chunk_count == 10);
    const struct imatrix_entry *e = imatrix_find(x, STR("blk.0.attn_q.weight"));
    float sums[5], count;
    read_raw(x, e->sums, sums);
    read_raw(x, e->counts, &count);
    cr_assert(count == 512 + 9 * 512);
    for (unsigned i = 0; i < 5; i++) {
        const float v = (float)(i + 1) * 0.3f;
        cr_assert(sums[i] == v + v * 512);
    }
    /* Of two, the order does not matter. */
    for (uint32_t i = 0; i < x->nentries; i++) {
        float p[12], q[12];
        read_raw(x, x->entries[i].sums, p);
        read_raw(y, y->entries[i].sums, q);
        cr_assert(memcmp(p, q, x->entries[i].sums->nbytes) == 0);
    }
    imatrix_close(x);
    imatrix_close(y);
    CHECK_LEAKS();
}

/* Twice the same is twice as much, and the same importance. */
Test(combine, with_itself)
{
    must_run(JOB(scratch("two.gguf"), 0, POCKET_GGUF, POCKET_GGUF), "");
    struct imatrix *a = open_good(POCKET_GGUF), *b = open_good(scratch("two.gguf"));
    cr_assert(b->chunk_count == 2 * a->chunk_count && b->ndatasets == 2 * a->ndatasets);
    for (uint32_t i = 0; i < a->nentries; i++) {
        float x[512], y[512];
        const size_t n = (size_t)a->entries[i].ncols;
        read_raw(a, a->entries[i].sums, x);
        read_raw(b, b->entries[i].sums, y);
        for (size_t k = 0; k < n; k++)
            cr_assert(y[k] == 2 * x[k]);
        cr_assert(imatrix_read(a, &a->entries[i], 0, n, x, NULL) == QUERN_OK);
        cr_assert(imatrix_read(b, &b->entries[i], 0, n, y, NULL) == QUERN_OK);
        cr_assert(memcmp(x, y, n * sizeof *x) == 0);
    }
    imatrix_close(a);
    imatrix_close(b);
    CHECK_LEAKS();
}

Test(combine, one_count_may_stand_for_all)
{
    const float sums[] = {1, 2, 3, 4, 5, 6}, counts[] = {2, 0}, one[] = {10};
    const struct part wide[] = {
        {"w.in_sum2", 2, 3, sums,   DTYPE_F32},
        {"w.counts",  2, 1, counts, DTYPE_F32}
    };
    const struct part flat[] = {
        {"w.in_sum2", 0, 6, sums, DTYPE_F32},
        {"w.counts",  0, 1, one,  DTYPE_F32}
    };
    const char *w = write_gguf("w.gguf", &(struct keys){0}, wide, 2);
    const char *f = write_gguf("f.gguf", &(struct keys){0}, flat, 2);
    must_run(JOB(scratch("wf.gguf"), 0, w, f), "");
    must_run(JOB(scratch("fw.gguf"), 0, f, w), "");
    expect_same(scratch("wf.gguf"), scratch("fw.gguf"));
    struct imatrix *im = open_good(scratch("wf.gguf"));
    float got[2];
    cr_assert(im->entries[0].nmats == 2 && im->entries[0].ncols == 3);
    read_raw(im, im->entries[0].counts, got);
    cr_assert(got[0] == 12 && got[1] == 10);
    imatrix_close(im);
    CHECK_LEAKS();
}

/* ---- size ----------------------------------------------------------------------------------- */

/* Neither threads nor memory nor where tiles end show in the bytes. */
Test(combine, same_bytes_whatever_the_tiles)
{
    enum { N = 300007, MATS = 70001 };
    static float sums[N], counts[MATS], twos[2 * MATS];
    for (unsigned i = 0; i < N; i++)
        sums[i] = (float)(i % 1013) * 0.37f;
    for (unsigned i = 0; i < MATS; i++)
        counts[i] = (float)(i % 5);
    for (unsigned i = 0; i < 2 * MATS; i++)
        twos[i] = (float)i;
    const struct part parts[] = {
        {"long.in_sum2", 0,    N, sums,     DTYPE_F32},
        {"long.counts",  0,    1, sums + 3, DTYPE_F32},
        {"many.in_sum2", MATS, 2, twos,     DTYPE_F32},
        {"many.counts",  MATS, 1, counts,   DTYPE_F32},
    };
    char a[128]; /* scratch() has eight paths, and there will be more */
    snprintf(a, sizeof a, "%s", write_gguf("big.gguf", &(struct keys){0}, parts, 4));
    for (int legacy = 0; legacy < 2; legacy++) {
        char first[64], path[64];
        snprintf(first, sizeof first, "one.%s", legacy ? "dat" : "gguf");
        snprintf(path, sizeof path, "more.%s", legacy ? "dat" : "gguf");
        const char *notes =
            legacy ? ONE_UNSEEN
                "a .dat names one data set: 'b' is kept, 3 more are not\n" LOST_COUNTS
                   : ONE_UNSEEN;
        must_run(
            &(struct job){
                .inputs = {a, a},
                .output = scratch(first),
                .chunk_size = 3,
                .threads = 1,
                .mem = 0
        },
            notes);
        for (unsigned threads = 1; threads <= 3; threads++) {
            must_run(
                &(struct job){
                    .inputs = {a, a},
                    .output = scratch(path),
                    .chunk_size = 3,
                    .threads = threads,
                    .mem = threads * 2000000
            },
                notes);
            expect_same(scratch(first), scratch(path));
        }
    }
    struct imatrix *im = open_good(scratch("one.dat"));
    const struct imatrix_entry *e = imatrix_find(im, STR("many"));
    static float got[2 * MATS];
    cr_assert(e && e->ncalls == 3 && imatrix_read(im, e, 0, 2 * MATS, got, NULL) == QUERN_OK);
    for (unsigned i = 0; i < 2 * MATS; i++) {
        const float count = 2 * counts[i / 2];
        cr_assert(got[i] == (count > 0 ? 2 * twos[i] / count * 3 / 3 : 1.0f), "%u", i);
    }
    imatrix_close(im);
    CHECK_LEAKS();
}

/* ---- .dat ----------------------------------------------------------------------------------- */

Test(combine, dat_leaves_out_what_has_no_data)
{
    const float sums[] = {1, 2, 3, 4}, counts[] = {4, 0}, none[] = {0};
    const struct part parts[] = {
        {"half.in_sum2", 2, 2, sums,   DTYPE_F32},
        {"half.counts",  2, 1, counts, DTYPE_F32},
        {"none.in_sum2", 0, 4, sums,   DTYPE_F32},
        {"none.counts",  0, 1, none,   DTYPE_F32},
    };
    const char *a = write_gguf("a.gguf", &(struct keys){0}, parts, 4);
    must_run(JOB(scratch("a.dat"), 3, a),
             ONE_UNSEEN "1 weight has no data and is left out, as a .dat has no way to say so\n"
                        "a .dat names one data set: 'b' is kept, 1 more are not\n" LOST_COUNTS);
    struct imatrix *im = open_good(scratch("a.dat"));
    float row[4];
    cr_assert(im->nentries == 1 && str_is(im->entries[0].name, "half") && im->chunk_count == 1);
    /* Four calls are two chunks of three. */
    cr_assert(im->entries[0].ncalls == 2);
    read_raw(im, im->entries[0].sums, row);
    cr_assert(row[0] == 0.5f && row[1] == 1 && row[2] == 2 && row[3] == 2);
    imatrix_close(im);
    const char *b = write_gguf("b.gguf", &(struct keys){0}, parts + 2, 2);
    must_fail(JOB(scratch("b.dat"), 0, b), QUERN_EUSAGE, "empty", "");
    CHECK_LEAKS();
}

/* ---- refused -------------------------------------------------------------------------------- */

Test(combine, shapes_must_agree)
{
    const float v[] = {1, 2, 3, 4, 5, 6};
    const struct part two[] = {
        {"w.in_sum2", 2, 3, v, DTYPE_F32},
        {"w.counts",  2, 1, v, DTYPE_F32}
    };
    const struct part three[] = {
        {"w.in_sum2", 3, 2, v, DTYPE_F32},
        {"w.counts",  3, 1, v, DTYPE_F32}
    };
    const struct part less[] = {
        {"w.in_sum2", 0, 5, v, DTYPE_F32},
        {"w.counts",  0, 1, v, DTYPE_F32}
    };
    const char *a = write_gguf("2.gguf", &(struct keys){0}, two, 2);
    const char *b = write_gguf("3.gguf", &(struct keys){0}, three, 2);
    const char *c = write_gguf("5.gguf", &(struct keys){0}, less, 2);
    const char *out = scratch("out.gguf");
    must_fail(JOB(out, 0, a, b), QUERN_EUSAGE, "shape", "w");
    must_fail(JOB(out, 0, a, c), QUERN_EUSAGE, "shape", "w");
    must_fail(JOB(out, 0, c, a), QUERN_EUSAGE, "shape", "w");
    struct job many = {.output = out};
    for (size_t i = 0; i < MAX_SOURCES + 1; i++)
        many.inputs[i] = a;
    must_fail(&many, QUERN_EUSAGE, "usage", "");
    many.inputs[MAX_SOURCES] = NULL;
    must_run(&many, "");
    must_fail(JOB(scratch("x.gguf"), 1u << 25, a), QUERN_EUSAGE, "count", "");
    CHECK_LEAKS();
}

Test(combine, bad_values)
{
    static const struct {
        float sum, count;
        const char *tensor;
    } cases[] = {
        {NAN,   1,   "w.in_sum2"},
        {-1,    1,   "w.in_sum2"},
        {3e38f, 1,   "w.in_sum2"}, /* twice that is Inf */
        {1,     -1,  "w.counts" },
        {1,     NAN, "w.counts" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct part parts[] = {
            {"w.in_sum2", 0, 1, &cases[i].sum,   DTYPE_F32},
            {"w.counts",  0, 1, &cases[i].count, DTYPE_F32}
        };
        const char *a = write_gguf("a.gguf", &(struct keys){0}, parts, 2);
        must_fail(JOB(scratch("out.gguf"), 0, a, a), QUERN_EFORMAT, "nonfinite", cases[i].tensor);
    }
    /* A .dat has the mean of each expert times the calls of the busiest. */
    const float sums[] = {1, 3e38f}, counts[] = {1024, 1};
    const struct part parts[] = {
        {"w.in_sum2", 2, 1, sums,   DTYPE_F32},
        {"w.counts",  2, 1, counts, DTYPE_F32}
    };
    const char *b = write_gguf("b.gguf", &(struct keys){0}, parts, 2);
    must_fail(JOB(scratch("out.dat"), 0, b), QUERN_EFORMAT, "nonfinite", "w");
    CHECK_LEAKS();
}

Test(combine, mem_counts_the_entries)
{
    struct imatrix *a = open_good(POCKET_GGUF), *b = open_good(POCKET_DAT), *both[] = {a, b};
    const struct combine_request r = {.inputs = both, .ninputs = 2, .output = scratch("o.gguf")};
    struct plan *p;
    cr_assert(combine_plan(&r, &p, NULL) == QUERN_OK);
    const uint64_t least = plan_min_mem(p);
    p->held_bytes = 0;
    cr_assert_eq(least - plan_min_mem(p), a->arena.nbytes + b->arena.nbytes);
    plan_free(p);
    cr_assert(imatrix_lint_plan(a, &p, NULL) == QUERN_OK);
    cr_assert_eq(p->held_bytes, a->arena.nbytes);
    plan_free(p);
    imatrix_close(a);
    imatrix_close(b);
    CHECK_LEAKS();
}

/* ---- lint ----------------------------------------------------------------------------------- */

static void expect_findings(const char *path, const char *model_path,
                            const struct lint_finding *want, uint32_t n, uint32_t nweights)
{
    struct imatrix *im = open_good(path);
    struct model *m = NULL;
    struct plan *p;
    struct lint_report r;
    if (model_path)
        cr_assert(model_open(model_path, &m, NULL) == QUERN_OK);
    cr_assert(imatrix_lint_plan(im, &p, NULL) == QUERN_OK);
    cr_assert(plan_run(p, NULL, NULL, NULL) == QUERN_OK);
    cr_assert(imatrix_lint_report(p, im, m, &r, NULL) == QUERN_OK);
    cr_assert(r.nfindings == n, "%u findings", r.nfindings);
    for (uint32_t i = 0; i < n; i++) {
        const struct lint_finding *f = &r.findings[i];
        cr_assert(f->kind == want[i].kind && str_eq(f->name, want[i].name) &&
                      f->count == want[i].count && f->of == want[i].of && f->first == want[i].first,
                  "finding %u: kind %d, %s", i, (int)f->kind, f->name.p);
    }
    cr_assert(r.nweights == nweights, "%u weights", r.nweights);
    plan_free(p);
    model_close(m);
    imatrix_close(im);
}

Test(combine, lint_of_values)
{
    expect_findings(POCKET_GGUF, NULL, NULL, 0, 0);
    expect_findings(POCKET_DAT, NULL, NULL, 0, 0);
    const float bad[] = {1, NAN, 2, -3}, half[] = {0, 1}, none[] = {0.4f}, wrong[] = {-1, 2};
    const float zero[] = {0, 0, 0, -0.0f};
    const struct part parts[] = {
        {"d.in_sum2", 2, 2, bad,   DTYPE_F32},
        {"d.counts",  2, 1, half,  DTYPE_F32},
        {"c.in_sum2", 0, 4, zero,  DTYPE_F32},
        {"c.counts",  0, 1, none,  DTYPE_F32},
        {"b.in_sum2", 2, 2, zero,  DTYPE_F32},
        {"b.counts",  2, 1, wrong, DTYPE_F32},
        {"a.stray",   0, 4, zero,  DTYPE_F32},
    };
    const struct lint_finding want[] = {
        {LINT_COUNT,    STR("b"),       1, 2, 0},
        {LINT_ALL_ZERO, STR("b"),       0, 0, 0},
        {LINT_NO_DATA,  STR("c"),       1, 1, 0},
        {LINT_VALUE,    STR("d"),       2, 4, 1},
        {LINT_UNSEEN,   STR("d"),       1, 2, 0},
        {LINT_STRAY,    STR("a.stray"), 0, 0, 0},
    };
    expect_findings(write_gguf("a.gguf", &(struct keys){0}, parts, 7), NULL, want, 6, 0);
    CHECK_LEAKS();
}

Test(combine, lint_against_a_model)
{
    static const float v[64];
    const float ones[] = {1, 1, 1, 1, 1, 1};
    const struct part model[] = {
        {"token_embd.weight",         2, 4, v, DTYPE_F32},
        {"blk.0.attn_norm.weight",    0, 4, v, DTYPE_F32},
        {"blk.0.attn_q.weight",       2, 4, v, DTYPE_F32},
        {"blk.0.attn_k.weight",       2, 4, v, DTYPE_F32},
        {"blk.0.ffn_gate_inp.weight", 2, 4, v, DTYPE_F32},
        {"blk.0.ffn_up.weight",       2, 4, v, DTYPE_F32},
    };
    const struct part parts[] = {
        {"blk.0.attn_q.weight.in_sum2", 0, 4, ones, DTYPE_F32},
        {"blk.0.attn_q.weight.counts",  0, 1, ones, DTYPE_F32},
        {"blk.0.attn_k.weight.in_sum2", 0, 6, ones, DTYPE_F32},
        {"blk.0.attn_k.weight.counts",  0, 1, ones, DTYPE_F32},
        {"blk.9.attn_q.weight.in_sum2", 0, 4, ones, DTYPE_F32},
        {"blk.9.attn_q.weight.counts",  0, 1, ones, DTYPE_F32},
    };
    const struct lint_finding want[] = {
        {LINT_SIZE,      STR("blk.0.attn_k.weight"), 6, 4, 0},
        {LINT_NO_WEIGHT, STR("blk.9.attn_q.weight"), 0, 0, 0},
        {LINT_NO_ENTRY,  STR("blk.0.ffn_up.weight"), 0, 0, 0},
    };
    const char *m = write_gguf("model.gguf", &(struct keys){.type = "model"}, model, 6);
    expect_findings(write_gguf("a.gguf", &(struct keys){0}, parts, 6), m, want, 3, 3);
    CHECK_LEAKS();
}
