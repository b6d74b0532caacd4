/* test_compare.c - error statistics: by hand, the same from every run, and what does not match. */
#include <criterion/criterion.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>

#include "leaks.h"
#include "pipeline/compare.h"
#include "pipeline/retype.h"
#include "quant/codec.h"
#include "scratch.h"

TestSuite(compare, .init = scratch_begin, .fini = scratch_end);

/* ---- models --------------------------------------------------------------------------------- */

struct part {
    const char *name, *dtype, *shape; /* "2,256" */
    const void *p;
    size_t nbytes;
};

static struct model *model_of(const char *name, const struct part *parts, unsigned n)
{
    char header[4096];
    size_t used = (size_t)snprintf(header, sizeof header, "{"), at = 0;
    for (unsigned i = 0; i < n; i++) {
        used += (size_t)snprintf(header + used, sizeof header - used,
                                 "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,"
                                 "%zu]}",
                                 i ? "," : "", parts[i].name, parts[i].dtype, parts[i].shape, at,
                                 at + parts[i].nbytes);
        at += parts[i].nbytes;
    }
    used += (size_t)snprintf(header + used, sizeof header - used, "}");
    const uint64_t length = used;
    const char *path = scratch(name);
    FILE *f = fopen(path, "w");
    cr_assert(f && fwrite(&length, 8, 1, f) == 1 && fwrite(header, used, 1, f) == 1);
    for (unsigned i = 0; i < n; i++)
        cr_assert(fwrite(parts[i].p, 1, parts[i].nbytes, f) == parts[i].nbytes);
    fclose(f);
    struct quern_error e;
    struct model *m;
    cr_assert_eq(model_open(path, &m, &e), QUERN_OK, "%s", e.text);
    return m;
}

static struct model *opened(const char *path)
{
    struct quern_error e;
    struct model *m;
    cr_assert_eq(model_open(path, &m, &e), QUERN_OK, "%s", e.text);
    return m;
}

#define F32_PART(name, shape, array) ((struct part){name, "F32", shape, array, sizeof(array)})

/* A comparison with everything it stands on. */
struct compared {
    struct model *a, *b;
    struct plan *p;
    struct comparison *c;
};

static void run(struct plan *p, unsigned threads, uint64_t mem, bool stats)
{
    struct quern_error e;
    const struct quern_run_options o = {.threads = threads, .mem_bytes = mem, .stats = stats};
    cr_assert_eq(plan_run(p, &o, NULL, &e), QUERN_OK, "%s", e.text);
}

static struct compared compared(struct model *a, struct model *b, const char *imatrix)
{
    struct quern_error e;
    struct compared r = {.a = a, .b = b};
    cr_assert_eq(plan_compare(a, b, imatrix, &r.p, &r.c, &e), QUERN_OK, "%s", e.text);
    run(r.p, 2, 0, false);
    return r;
}

static void done(struct compared *r)
{
    plan_free(r->p);
    model_close(r->a);
    model_close(r->b);
}

/* Plain numbers that look random. */
static float value(uint64_t i)
{
    uint64_t z = i * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 31) * UINT64_C(0xBF58476D1CE4E5B9);
    return (float)((int64_t)(z >> 20) % 2001 - 1000) / 1000.0f;
}

/* ---- by hand -------------------------------------------------------------------------------- */

Test(compare, figures_by_hand)
{
    static const float a[] = {1, 2, -3, 4}, b[] = {1, 2.5f, -3, 3};
    struct compared r = compared(model_of("a", &F32_PART("t", "2,2", a), 1),
                                 model_of("b", &F32_PART("t", "2,2", b), 1), NULL);
    const struct error_sums *s = &r.p->errors[0];
    struct error_figures f;
    error_figures(s, &f);
    cr_assert_eq(s->npairs, 4u);
    cr_assert_eq(f.rmse, sqrt(1.25 / 4));
    cr_assert_eq(f.relative, sqrt(1.25 / 30));
    cr_assert_float_eq(f.sqnr_db, 13.802112, 5e-7); /* 10 log10(24) */
    cr_assert_float_eq(f.cosine, 27 / (sqrt(30) * sqrt(25.25)), 1e-15);
    cr_assert(s->max_error == 1 && s->max_at == 3);
    cr_assert(s->worst_at == 0 && f.worst_rmse == sqrt(1.25 / 4));
    cr_assert(isnan(f.weighted_rmse) && isnan(f.weighted_relative));
    cr_assert(!error_free(s));
    done(&r);
    CHECK_LEAKS();
}

Test(compare, equal_models_have_no_error)
{
    static const float a[] = {1, -0.0f, 3, 1e-40f}, b[] = {1, 0.0f, 3, 1e-40f};
    struct compared r = compared(model_of("a", &F32_PART("t", "4", a), 1),
                                 model_of("b", &F32_PART("t", "1,4", b), 1), NULL);
    struct error_figures f;
    error_figures(&r.p->errors[0], &f);
    cr_assert(r.p->nsteps == 1 && r.c->nunmatched == 0); /* an outer 1 is no other shape */
    cr_assert(error_free(&r.p->errors[0]));
    cr_assert(f.rmse == 0 && f.relative == 0 && isnan(f.sqnr_db) && f.cosine == 1);
    done(&r);
    CHECK_LEAKS();
}

Test(compare, zeros_have_no_direction)
{
    static const float zero[4] = {0}, one[] = {0, 1, 0, 0};
    struct error_figures f;
    struct compared r = compared(model_of("a", &F32_PART("t", "4", zero), 1),
                                 model_of("b", &F32_PART("t", "4", one), 1), NULL);
    error_figures(&r.p->errors[0], &f);
    cr_assert(isinf(f.relative) && f.rmse == 0.5 && f.cosine == 0 && f.sqnr_db == -INFINITY);
    done(&r);
    CHECK_LEAKS();
}

/* The largest error and the worst block: the first of several wins, a short block counts whole. */
Test(compare, ties_go_to_the_lowest_place)
{
    enum { N = 2 * 65536 + 5 * 256 + 10 };
    static float a[N], b[N];
    static const struct {
        size_t at[3];
        float error[3];
        uint64_t max_at, worst_at;
    } cases[] = {
        {{700, 65536 + 3, N - 300},   {0.5f, 0.5f, 0.25f}, 700,     2          },
        {{70000, 131072, 131072},     {1, -1, -1},         70000,   70000 / 256},
        {{8191, 8192, 8193},          {0.5f, 0.5f, 0.5f},  8191,    32         },
        {{N - 1, 255, 256},           {0.5f, 1, 1},        255,     N / 256    },
        {{N - 1, N - 2, 5},           {0.5f, 0.5f, 1},     5,       N / 256    },
        {{256 * 7, 256 * 9, 256 * 8}, {0.5f, 0.5f, 0.5f},  256 * 7, 7          },
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        memset(a, 0, sizeof a);
        memset(b, 0, sizeof b);
        for (size_t k = 0; k < 3; k++)
            b[cases[c].at[k]] = cases[c].error[k];
        char shape[16];
        snprintf(shape, sizeof shape, "%d", N);
        struct compared r = compared(model_of("a", &F32_PART("t", shape, a), 1),
                                     model_of("b", &F32_PART("t", shape, b), 1), NULL);
        cr_assert_eq(r.p->errors[0].max_at, cases[c].max_at, "%zu", c);
        cr_assert_eq(r.p->errors[0].worst_at, cases[c].worst_at, "%zu: %" PRIu64, c,
                     r.p->errors[0].worst_at);
        done(&r);
    }
    CHECK_LEAKS();
}

/* F64 is compared as it is: differences that F32 could not hold are seen. */
Test(compare, doubles_stay_doubles)
{
    static const double a[] = {1, 2, 1e300, -4}, b[] = {1 + 0x1p-52, 2, 1e300, -4};
    static const float c[] = {1, 2, 3, -4};
    const struct part pa = {"t", "F64", "4", a, sizeof a}, pb = {"t", "F64", "4", b, sizeof b};
    struct compared r = compared(model_of("a", &pa, 1), model_of("b", &pb, 1), NULL);
    cr_assert(r.p->errors[0].max_error == 0x1p-52 && r.p->errors[0].max_at == 0);
    cr_assert(r.p->errors[0].nbad[0] == 0 && r.p->errors[0].npairs == 4);
    done(&r);
    r = compared(model_of("a", &pa, 1), model_of("b", &F32_PART("t", "4", c), 1), NULL);
    cr_assert_eq(r.p->errors[0].max_error, 1e300 - 3);
    done(&r);
    CHECK_LEAKS();
}

/* ---- NaN and Inf ---------------------------------------------------------------------------- */

Test(compare, bad_values_are_counted_and_left_out)
{
    enum { N = 70000 };
    static float a[N], b[N];
    static double wide[N];
    char shape[16];
    snprintf(shape, sizeof shape, "%d", N);
    for (size_t i = 0; i < N; i++) {
        a[i] = (float)(int)(value(i) * 16) / 16; /* few bits: all sums are exact */
        wide[i] = b[i] = a[i] + (i % 100 ? 0 : 0.5f);
    }
    struct compared clean = compared(model_of("a", &F32_PART("t", shape, a), 1),
                                     model_of("b", &F32_PART("t", shape, b), 1), NULL);
    a[100] = NAN; /* these two pairs had an error of 0.5, the third none */
    a[69901] = INFINITY;
    b[66000] = -INFINITY;
    wide[66000] = -(double)INFINITY;
    for (unsigned round = 0; round < 2; round++) {
        const struct part pb = {"t", "F64", shape, wide, sizeof wide};
        struct compared r =
            compared(model_of("c", &F32_PART("t", shape, a), 1),
                     model_of("d", round ? &pb : &F32_PART("t", shape, b), 1), NULL);
        const struct error_sums *s = &r.p->errors[0];
        cr_assert(s->nbad[0] == 2 && s->nbad[1] == 1);
        cr_assert(s->first_bad[0] == 100 && s->first_bad[1] == 66000);
        cr_assert_eq(s->npairs, N - 3u);
        cr_assert_eq(s->sum[SUM_ERROR_SQ], clean.p->errors[0].sum[SUM_ERROR_SQ] - 2 * 0.25);
        cr_assert(isfinite(s->sum[SUM_AA] + s->sum[SUM_AB] + s->sum[SUM_BB]));
        cr_assert(s->max_error == 0.5 && s->max_at == 0);
        cr_assert(!error_free(s));
        done(&r);
    }
    done(&clean);
    /* The same NaN on both sides is no reason to call models equal. */
    a[69901] = 0;
    struct compared r = compared(model_of("e", &F32_PART("t", shape, a), 1),
                                 model_of("f", &F32_PART("t", shape, a), 1), NULL);
    cr_assert(!error_free(&r.p->errors[0]));
    done(&r);
    CHECK_LEAKS();
}

/* ---- the same from every run ---------------------------------------------------------------- */

enum { BIG_ROWS = 900, BIG = BIG_ROWS * 256 };

static void make_big(const char *name, float noise)
{
    static float x[BIG], small[512];
    const struct part parts[] = {
        F32_PART("big.weight", "900,256", x),
        F32_PART("small.weight", "512", small),
        {"empty.weight", "F32", "0,256", x, 0}
    };
    for (size_t i = 0; i < BIG; i++)
        x[i] = value(i) + noise * value(i + 7 * BIG);
    for (size_t i = 0; i < 512; i++)
        small[i] = value(i + BIG) * (1 + noise);
    model_close(model_of(name, parts, 3));
}

Test(compare, sums_do_not_depend_on_threads_memory_or_kernels)
{
    make_big("a", 0);
    make_big("b", 0.01f);
    struct error_sums first[3];
    for (size_t k = 0; codec_table(k); k++)
        for (unsigned threads = 1; threads <= 5; threads += 2)
            for (unsigned small = 0; small < 2; small++) {
                struct quern_error e;
                struct compared r = {.a = opened(scratch("a")), .b = opened(scratch("b"))};
                codec_set(codec_table(k)->name);
                cr_assert_eq(plan_compare(r.a, r.b, NULL, &r.p, &r.c, &e), QUERN_OK);
                run(r.p, threads, small ? plan_min_mem(r.p) : 0, false);
                if (k == 0 && threads == 1 && !small)
                    memcpy(first, r.p->errors, sizeof first);
                cr_assert(memcmp(first, r.p->errors, sizeof first) == 0, "%s %u %u",
                          codec_table(k)->name, threads, small);
                done(&r);
            }
    codec_set(NULL);
    CHECK_LEAKS();
}

/* The sums of a tensor by its name: a file may hold tensors in another order than steps made them.
 */
static const struct error_sums *sums_of(const struct plan *p, struct str name)
{
    for (uint32_t i = 0; i < p->nsteps; i++)
        if (str_eq(p->steps[i].name, name))
            return &p->errors[i];
    cr_assert(false, "%s", name.p);
    return NULL;
}

static struct plan *quantize_plan(struct model *m, const char *out, enum dtype d,
                                  const char *imatrix)
{
    struct quern_error e;
    struct plan *p;
    char choice[64];
    const char *const choices[] = {choice};
    const bool gguf = str_ends(str_from(out), ".gguf");
    snprintf(choice, sizeof choice, "big=%s", dtype_traits[d].name);
    const struct quern_quantize q = {.type = gguf ? "Q8_0" : dtype_traits[d].name,
                                     .tensor_types = choices,
                                     .ntensor_types = gguf,
                                     .imatrix = imatrix,
                                     .force = true,
                                     .keep_names = gguf,
                                     .arch = gguf ? "test" : NULL};
    cr_assert_eq(plan_quantize(m, out, &q, &p, &e), QUERN_OK, "%s", e.text);
    return p;
}

/* A .dat with one entry: the values as they are. */
static const char *matrix_of(const char *name, const float *values, int32_t n)
{
    char bytes[4096];
    const int32_t head[] = {1, (int32_t)strlen(name)}, row[] = {1, n};
    size_t used = sizeof head;
    memcpy(bytes, head, sizeof head);
    memcpy(bytes + used, name, strlen(name));
    used += strlen(name);
    memcpy(bytes + used, row, sizeof row);
    used += sizeof row;
    memcpy(bytes + used, values, (size_t)n * sizeof *values);
    used += (size_t)n * sizeof *values;
    return scratch_file("m.dat", (struct str){bytes, used});
}

static void same_errors(enum dtype d, const char *imatrix, unsigned threads)
{
    const bool gguf = dtype_is_quantized(d);
    const char *out = scratch(gguf ? "out.gguf" : "out.safetensors");
    struct model *m = opened(scratch("a"));
    struct plan *p = quantize_plan(m, out, d, imatrix);
    cr_assert_eq(p->steps[0].dtype, d, "%s", dtype_traits[d].name);
    cr_assert(!p->refusal || !imatrix);
    if (!p->refusal) { /* it has the importance that it needs */
        run(p, threads, 0, true);
        struct compared r = compared(opened(scratch("a")), opened(out), imatrix);
        cr_assert(r.p->nsteps == p->nsteps && r.c->nunmatched == 0);
        for (uint32_t i = 0; i < p->nsteps; i++) {
            cr_assert(memcmp(sums_of(r.p, p->steps[i].name), &p->errors[i], sizeof *p->errors) == 0,
                      "%s %u", dtype_traits[d].name, i);
            cr_assert_eq(error_free(&p->errors[i]),
                         p->steps[i].dtype == DTYPE_F32 || p->steps[i].nelems == 0, "%s",
                         dtype_traits[d].name);
        }
        cr_assert_eq(p->errors[0].sum[SUM_WEIGHT] > 0, imatrix != NULL);
        done(&r);
    }
    plan_free(p);
    model_close(m);
}

/* Every type that can be written: quantizing with stats and comparing afterwards give the same
 * bits, whatever the threads, with importance and without. */
Test(compare, comparing_equals_stats_of_quantizing)
{
    unsigned ntypes = 0;
    float w[256];
    make_big("a", 0);
    for (unsigned i = 0; i < 256; i++)
        w[i] = (float)(i % 5) + 0.25f;
    char matrix[128]; /* scratch() reuses its buffers */
    snprintf(matrix, sizeof matrix, "%s", matrix_of("big.weight", w, 256));
    for (enum dtype d = 0; d < DTYPE_COUNT; d++) {
        if (!codec_can_encode(d) || d == DTYPE_F64)
            continue;
        same_errors(d, NULL, 1 + ntypes % 3);
        if (dtype_is_quantized(d))
            same_errors(d, matrix, 1 + ntypes % 3);
        ntypes++;
    }
    cr_assert_geq(ntypes, 25u);
    CHECK_LEAKS();
}

/* Bytes that are moved as they are count in the totals, with their NaNs. */
Test(compare, stats_of_copies)
{
    static float a[3000];
    static const int64_t numbers[] = {1, INT64_MAX};
    for (size_t i = 0; i < 3000; i++)
        a[i] = value(i);
    a[1234] = NAN;
    const struct part parts[] = {
        F32_PART("t", "3000", a), {"i", "I64", "2", numbers, sizeof numbers}
    };
    struct quern_error e;
    struct model *m = model_of("a", parts, 2);
    struct plan *p;
    const struct quern_quantize q = {.type = "COPY"};
    cr_assert_eq(plan_quantize(m, scratch("b.safetensors"), &q, &p, &e), QUERN_OK, "%s", e.text);
    p->nonfinite = NONFINITE_KEEP;
    run(p, 1, 0, true);
    struct compared r = compared(opened(scratch("a")), opened(scratch("b.safetensors")), NULL);
    for (uint32_t i = 0; i < 2; i++) {
        const bool floats = p->steps[i].dtype == DTYPE_F32;
        const struct error_sums *s = &p->errors[i];
        cr_assert_eq(s->npairs, floats ? 2999u : 0u);
        cr_assert(s->nbad[0] == floats && s->first_bad[1] == (floats ? 1234 : 0));
        cr_assert(!floats || memcmp(s, sums_of(r.p, STR("t")), sizeof *s) == 0);
    }
    done(&r);
    plan_free(p);
    model_close(m);
    CHECK_LEAKS();
}

/* ---- what does not match -------------------------------------------------------------------- */

Test(compare, mismatches_are_listed)
{
    static const float x[6] = {0};
    static const uint8_t raw[12] = {0};
    static const struct part a[] = {
        {"only_a", "F32", "2",   x,   8 },
        {"shape",  "F32", "2,3", x,   24},
        {"type",   "F4",  "2,4", raw, 4 },
        {"same",   "F16", "3",   x,   6 },
        {"number", "F32", "2",   x,   8 },
    };
    static const struct part b[] = {
        {"number", "I32",  "2",   raw, 8 },
        {"same",   "BF16", "3",   x,   6 },
        {"type",   "U8",   "2,4", raw, 8 },
        {"shape",  "F32",  "3,2", x,   24},
        {"only_b", "F32",  "1",   x,   4 },
    };
    struct compared r = compared(model_of("a", a, 5), model_of("b", b, 5), NULL);
    const struct unmatched *u = r.c->unmatched;
    cr_assert_eq(r.p->nsteps, 1u);
    cr_assert_eq(r.c->nunmatched, 5u);
    cr_assert(str_is(u[0].a->name, "only_a") && !u[0].b);
    cr_assert(str_is(u[1].b->name, "number") && u[1].a && !u[1].other_shape);
    cr_assert(str_is(u[2].b->name, "type") && u[2].a && !u[2].other_shape);
    cr_assert(str_is(u[3].b->name, "shape") && u[3].a && u[3].other_shape);
    cr_assert(str_is(u[4].b->name, "only_b") && !u[4].a);
    done(&r);
    CHECK_LEAKS();
}

Test(compare, other_types_are_compared_as_bytes)
{
    static const int64_t big[] = {INT64_MAX, 5}, near[] = {INT64_MAX - 1, 5};
    static const uint8_t f4[] = {0x12, 0x34}, f4_other[] = {0x12, 0x35};
    const struct part a[] = {
        {"i",  "I64", "2", big, 16},
        {"f4", "F4",  "4", f4,  2 },
        {"j",  "I64", "2", big, 16}
    };
    const struct part b[] = {
        {"i",  "I64", "2", near,     16},
        {"f4", "F4",  "4", f4_other, 2 },
        {"j",  "I64", "2", big,      16}
    };
    struct compared r = compared(model_of("a", a, 3), model_of("b", b, 3), NULL);
    cr_assert_eq(r.p->nsteps, 3u);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert(step_compares_bytes(&r.p->steps[i]));
        cr_assert_eq(error_free(&r.p->errors[i]), i == 2);
    }
    done(&r);
    CHECK_LEAKS();
}

static void refused(const struct part *a, unsigned na, const struct part *b, unsigned nb,
                    const char *imatrix, const char *kind)
{
    struct quern_error e;
    struct compared r = {.a = model_of("a", a, na), .b = model_of("b", b, nb)};
    cr_assert_eq(plan_compare(r.a, r.b, imatrix, &r.p, &r.c, &e), QUERN_EUSAGE);
    cr_assert_str_eq(e.kind, kind, "%s", e.text);
    done(&r);
}

Test(compare, nothing_in_common_is_an_error)
{
    static const float x[2] = {0};
    const struct part a = F32_PART("model.norm.weight", "2", x);
    const struct part b = F32_PART("output_norm.weight", "2", x);
    refused(&a, 1, &b, 1, NULL, "nothing-common");
    refused(&a, 1, &b, 0, NULL, "nothing-common");
    struct compared r = compared(model_of("a", &a, 0), model_of("b", &b, 0), NULL);
    cr_assert(r.p->nsteps == 0 && r.c->nunmatched == 0);
    done(&r);
    CHECK_LEAKS();
}

/* ---- importance ----------------------------------------------------------------------------- */

Test(compare, importance_weighs_by_column_and_matrix)
{
    /* Two matrices of two rows of three columns. */
    static const float a[12] = {1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2};
    static const float b[12] = {0, 1, 1, 1, 1, 0, 2, 0, 2, 2, 2, 2};
    static const float w[6] = {3, 0, 1, 0.5f, 2, 0};
    const struct part pa = F32_PART("t", "2,2,3", a), pb = F32_PART("t", "2,2,3", b);
    struct compared r =
        compared(model_of("a", &pa, 1), model_of("b", &pb, 1), matrix_of("t", w, 6));
    const double *sum = r.p->errors[0].sum;
    struct error_figures f;
    cr_assert_eq(sum[SUM_WEIGHT], 2 * 6.5);
    cr_assert_eq(sum[SUM_WEIGHTED_ERROR_SQ], 3 * 1 + 1 * 1 + 2 * 4);
    cr_assert_eq(sum[SUM_WEIGHTED_AA], 2 * 4 + 2 * 2.5 * 4);
    error_figures(&r.p->errors[0], &f);
    cr_assert_eq(f.weighted_rmse, sqrt(12.0 / 13));
    cr_assert_eq(f.weighted_relative, sqrt(12.0 / 28));
    done(&r);
    refused(&pa, 1, &pb, 1, matrix_of("u", w, 6), "no-match");
    refused(&pa, 1, &pb, 1, matrix_of("t", w, 5), "shape");
    CHECK_LEAKS();
}

/* Rows that are longer, shorter and no divisor of a piece; against a plain sum. */
Test(compare, importance_of_any_row_length)
{
    enum { N = 70000 };
    static float a[N], b[N], w[900];
    static const unsigned widths[] = {7, 250, 700, 875};
    for (size_t i = 0; i < N; i++) {
        a[i] = value(i);
        b[i] = a[i] + 0.25f;
    }
    for (size_t i = 0; i < 900; i++)
        w[i] = (float)(i % 13);
    for (size_t k = 0; k < 4; k++) {
        char shape[32];
        double want = 0;
        for (size_t i = 0; i < N; i++)
            want += (double)w[i % widths[k]];
        snprintf(shape, sizeof shape, "%u,%u", N / widths[k], widths[k]);
        const struct part pa = F32_PART("t", shape, a), pb = F32_PART("t", shape, b);
        struct compared r = compared(model_of("a", &pa, 1), model_of("b", &pb, 1),
                                     matrix_of("t", w, (int32_t)widths[k]));
        cr_assert_eq(r.p->errors[0].sum[SUM_WEIGHT], want, "%zu", k);
        cr_assert_eq(r.p->errors[0].sum[SUM_WEIGHTED_ERROR_SQ] > 0, true);
        done(&r);
    }
    CHECK_LEAKS();
}
