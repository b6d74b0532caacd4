/* test_pipeline.c - any plan: same bytes for any threads and memory, lowest error first, no
 * leftovers. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>

#include "leaks.h"
#include "pipeline/retype.h"
#include "pipeline/scan.h"
#include "quant/codec.h"
#include "scratch.h"

TestSuite(pipeline, .init = scratch_begin, .fini = scratch_end);

/* ---- a model: tensors t0, t1 ... of F32 rows of 256
 * ---------------------------------------------- */

static float value(uint64_t tensor, uint64_t i)
{
    uint64_t z = (tensor << 40) + i * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 31) * UINT64_C(0xBF58476D1CE4E5B9);
    return (float)((int64_t)(z >> 20) % 2001 - 1000) / 1000.0f;
}

struct fixture {
    char path[128]; /* scratch() reuses its buffers */
    int fd;
    uint64_t data_start;
    uint64_t nelems[8];
    unsigned ntensors;
};

static void make_model(struct fixture *f, const char *name, const uint64_t *rows, unsigned n)
{
    char header[2048];
    size_t used = (size_t)snprintf(header, sizeof header, "{");
    uint64_t at = 0;
    *f = (struct fixture){.ntensors = n};
    snprintf(f->path, sizeof f->path, "%s", scratch(name));
    for (unsigned t = 0; t < n; t++) {
        f->nelems[t] = rows[t] * 256;
        used += (size_t)snprintf(header + used, sizeof header - used,
                                 "%s\"t%u.weight\":{\"dtype\":\"F32\",\"shape\":[%" PRIu64
                                 ",256],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
                                 t ? "," : "", t, rows[t], at, at + f->nelems[t] * 4);
        at += f->nelems[t] * 4;
    }
    used += (size_t)snprintf(header + used, sizeof header - used, "}");
    const uint64_t n8 = used;
    f->fd = open(f->path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    cr_assert(write(f->fd, &n8, 8) == 8 && write(f->fd, header, used) == (ssize_t)used);
    f->data_start = 8 + used;
    for (unsigned t = 0; t < n; t++) {
        float *x = malloc(f->nelems[t] * 4 + 1);
        for (uint64_t i = 0; i < f->nelems[t]; i++)
            x[i] = value(t, i);
        cr_assert(write(f->fd, x, f->nelems[t] * 4) == (ssize_t)(f->nelems[t] * 4));
        free(x);
    }
}

/* Overwrites one element before the model is opened. */
static void poke(const struct fixture *f, unsigned tensor, uint64_t i, float v)
{
    uint64_t at = f->data_start + i * 4;
    for (unsigned t = 0; t < tensor; t++)
        at += f->nelems[t] * 4;
    cr_assert(pwrite(f->fd, &v, 4, (off_t)at) == 4);
}

static struct model *opened(const char *path)
{
    struct quern_error e;
    struct model *m;
    cr_assert_eq(model_open(path, &m, &e), QUERN_OK, "%s", e.text);
    return m;
}

static enum quern_status quantized(const char *in, const char *out, const char *type,
                                   unsigned threads, uint64_t mem, struct quern_error *e)
{
    struct model *m = opened(in);
    struct plan *p = NULL;
    const bool gguf = str_ends(str_from(out), ".gguf");
    const struct quern_quantize q = {
        .type = type, .force = true, .keep_names = gguf, .arch = gguf ? "test" : NULL};
    enum quern_status s = plan_quantize(m, out, &q, &p, e);
    if (s == QUERN_OK)
        s = plan_run(p, &(struct quern_run_options){.threads = threads, .mem_bytes = mem}, NULL, e);
    plan_free(p);
    model_close(m);
    return s;
}

static bool same_files(const char *a, const char *b)
{
    FILE *x = fopen(a, "r"), *y = fopen(b, "r");
    bool same = x && y;
    for (int c = 0; same && c != EOF;) {
        c = getc(x);
        same = c == getc(y);
    }
    if (x)
        fclose(x);
    if (y)
        fclose(y);
    return same;
}

/* ---- bytes
 * --------------------------------------------------------------------------------------- */

Test(pipeline, bytes_do_not_depend_on_threads_memory_or_kernels)
{
    static const uint64_t rows[] = {700, 1, 0, 300, 2000};
    static const char *const types[] = {"Q4_0", "Q8_0", "F16"};
    struct fixture f;
    struct quern_error e;
    make_model(&f, "in.safetensors", rows, 5);
    for (size_t t = 0; t < 3; t++) {
        codec_set("reference");
        cr_assert_eq(quantized(f.path, scratch("first.gguf"), types[t], 1, 0, &e), QUERN_OK, "%s",
                     e.text);
        for (size_t k = 0; codec_table(k); k++)
            for (unsigned threads = 1; threads <= 7; threads += 3)
                for (unsigned small = 0; small < 2; small++) {
                    codec_set(codec_table(k)->name);
                    cr_assert_eq(quantized(f.path, scratch("next.gguf"), types[t], threads,
                                           small ? 8u << 20 : 0, &e),
                                 QUERN_OK, "%s", e.text);
                    cr_assert(same_files(scratch("first.gguf"), scratch("next.gguf")),
                              "%s %s %u %u", types[t], codec_table(k)->name, threads, small);
                }
    }
    codec_set(NULL);
    close(f.fd);
    CHECK_LEAKS();
}

Test(pipeline, copy_moves_bytes_untouched)
{
    static const uint64_t rows[] = {300, 5};
    struct fixture f;
    struct quern_error e;
    make_model(&f, "in.safetensors", rows, 2);
    poke(&f, 0, 7, -0.0f);
    cr_assert_eq(quantized(f.path, scratch("out.safetensors"), "COPY", 2, 0, &e), QUERN_OK, "%s",
                 e.text);
    struct model *a = opened(f.path), *b = opened(scratch("out.safetensors"));
    cr_assert_eq(a->ntensors, b->ntensors);
    for (uint32_t i = 0; i < a->ntensors; i++) {
        const struct tensor *x = &a->tensors[i], *y = model_find(b, x->name);
        char *p = malloc(2 * x->nbytes);
        cr_assert_eq(model_pread(a, 0, p, x->nbytes, x->offset, &e), QUERN_OK);
        cr_assert_eq(model_pread(b, 0, p + x->nbytes, x->nbytes, y->offset, &e), QUERN_OK);
        cr_assert(memcmp(p, p + x->nbytes, x->nbytes) == 0);
        free(p);
    }
    model_close(a);
    model_close(b);
    close(f.fd);
    CHECK_LEAKS();
}

/* ---- errors
 * -------------------------------------------------------------------------------------- */

Test(pipeline, lowest_bad_value_is_reported_whatever_the_timing)
{
    static const uint64_t rows[] = {900, 900, 900};
    struct fixture f;
    make_model(&f, "in.safetensors", rows, 3);
    poke(&f, 2, 3, INFINITY);
    poke(&f, 1, 200000, NAN);
    poke(&f, 1, 90001, -INFINITY);
    for (unsigned round = 0; round < 10; round++) {
        struct quern_error e;
        cr_assert_eq(quantized(f.path, scratch("out.gguf"), "Q8_0", 1 + round % 5, 0, &e),
                     QUERN_EFORMAT);
        cr_assert_str_eq(e.kind, "nonfinite");
        cr_assert_str_eq(e.tensor, "t1.weight");
        cr_assert_str_eq(e.found,
                         "2 of 230400 values are NaN or Inf, the first is -Inf in [351, 145]");
        cr_assert(access(scratch("out.gguf"), F_OK) != 0);
        cr_assert(access(scratch(".out.gguf.quern-part"), F_OK) != 0);
    }
    close(f.fd);
    CHECK_LEAKS();
}

Test(pipeline, values_too_large_for_the_type_are_errors)
{
    static const uint64_t rows[] = {4};
    static const struct {
        const char *type;
        float fits, too_large;
    } cases[] = {
        {"F16",  65504.0f,          65520.0f},
        {"Q8_0", 65504.0f * 127.0f, 1e9f    },
        {"Q4_0", 5e5f,              6e5f    }
    };
    for (size_t i = 0; i < 3; i++) {
        struct fixture f;
        struct quern_error e;
        make_model(&f, "in.safetensors", rows, 1);
        poke(&f, 0, 500, cases[i].fits);
        cr_assert_eq(quantized(f.path, scratch("out.gguf"), cases[i].type, 1, 0, &e), QUERN_OK,
                     "%s", e.text);
        poke(&f, 0, 500, cases[i].too_large);
        cr_assert_eq(quantized(f.path, scratch("out.gguf"), cases[i].type, 1, 0, &e),
                     QUERN_EFORMAT);
        cr_assert_str_eq(e.kind, "value-range");
        cr_assert_not_null(strstr(e.found, i == 0 ? "[1, 244]" : "element 500 "), "%s", e.found);
        close(f.fd);
    }
}

Test(pipeline, memory_limit_too_small_names_the_least)
{
    static const uint64_t rows[] = {4000};
    struct fixture f;
    struct quern_error e;
    make_model(&f, "in.safetensors", rows, 1);
    cr_assert_eq(quantized(f.path, scratch("out.gguf"), "Q8_0", 2, 4096, &e), QUERN_EMEMORY);
    cr_assert_str_eq(e.kind, "mem-limit");
    const char *least = strstr(e.expected, "at least ");
    cr_assert_not_null(least);
    const uint64_t need = strtoull(least + 9, NULL, 10);
    cr_assert_eq(quantized(f.path, scratch("out.gguf"), "Q8_0", 8, need, &e), QUERN_OK, "%s",
                 e.text);
    cr_assert_eq(quantized(f.path, scratch("out.gguf"), "Q8_0", 8, need - 1, &e), QUERN_EMEMORY);
    close(f.fd);
}

Test(pipeline, input_that_shrinks_is_an_error_not_a_crash)
{
    static const uint64_t rows[] = {2000};
    struct fixture f;
    struct quern_error e;
    make_model(&f, "in.safetensors", rows, 1);
    struct model *m = opened(f.path);
    struct plan *p;
    const struct quern_quantize q = {.type = "F16"};
    cr_assert_eq(plan_quantize(m, scratch("out.safetensors"), &q, &p, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(ftruncate(f.fd, 4096), 0);
    cr_assert_eq(plan_run(p, NULL, NULL, &e), QUERN_EIO);
    cr_assert_str_eq(e.kind, "changed");
    cr_assert(access(scratch("out.safetensors"), F_OK) != 0);
    plan_free(p);
    model_close(m);
    close(f.fd);
    CHECK_LEAKS();
}

Test(pipeline, cancel_leaves_nothing)
{
    static const uint64_t rows[] = {3000, 3000};
    struct fixture f;
    struct quern_error e;
    make_model(&f, "in.safetensors", rows, 2);
    struct model *m = opened(f.path);
    struct plan *p;
    volatile int stop = 1;
    const struct quern_quantize q = {.type = "F16"};
    cr_assert_eq(plan_quantize(m, scratch("out"), &q, &p, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(plan_run(p, &(struct quern_run_options){.cancel = &stop, .threads = 3}, NULL, &e),
                 QUERN_ECANCELLED);
    cr_assert(access(scratch("out"), F_OK) != 0);
    cr_assert(access(scratch(".out.quern-part"), F_OK) != 0);
    stop = 0;
    cr_assert_eq(plan_run(p, &(struct quern_run_options){.cancel = &stop}, NULL, &e), QUERN_OK,
                 "%s", e.text);
    cr_assert(access(scratch("out/model.safetensors"), F_OK) == 0);
    plan_free(p);
    model_close(m);
    close(f.fd);
    CHECK_LEAKS();
}

/* ---- measuring passes: an op that sees whether the engine keeps its word
 * ------------------------- */

struct seen {
    double sum;
    uint64_t count, order_errors;
};

static size_t seen_bytes(const struct step *s)
{
    (void)s;
    return sizeof(struct seen);
}

static struct measure_need seen_need(const struct step *s, unsigned pass)
{
    (void)s;
    return (struct measure_need){.ncounts = 2, .record_bytes = pass == 0 ? 2 * sizeof(double) : 0};
}

static void seen_measure(const struct piece *p, unsigned pass, const void *const x[],
                         uint64_t *counts, void *record)
{
    const float *v = x[0];
    uint64_t *next = p->carry; /* offset in the chunk that must come now */
    counts[0] += p->n;
    counts[1] += p->chunk != p->first / CHUNK || *next != p->first % CHUNK;
    *next += p->n;
    for (size_t i = 0; pass == 0 && i < p->n; i++) {
        ((double *)record)[0] += (double)v[i];
        ((double *)record)[1] += 1.0;
    }
}

static enum quern_status seen_combine(const struct step *s, unsigned pass, void *state,
                                      const uint64_t *counts, void *records, uint64_t nrecords,
                                      struct quern_error *err)
{
    struct seen *seen = state;
    (void)err;
    seen->order_errors += counts[1] + (counts[0] != s->nelems);
    if (pass == 0) {
        seen->sum = fold_records(records, nrecords, 2, 0);
        seen->order_errors += fold_records(records, nrecords, 2, 1) != (double)s->nelems;
    }
    seen->count++;
    return QUERN_OK;
}

static void seen_apply(const struct piece *p, const void *const x[], void *y)
{
    const struct seen *seen = p->state;
    uint64_t *next = p->carry;
    const bool wrong = seen->order_errors || seen->count != 2 || *next != p->first % CHUNK;
    *next += p->n;
    for (size_t i = 0; i < p->n; i++)
        ((float *)y)[i] = wrong ? -1.0f : ((const float *)x[0])[i] + (float)seen->sum;
}

static const struct op op_seen = {.name = "seen",
                                  .state_bytes = seen_bytes,
                                  .carry_bytes = sizeof(uint64_t),
                                  .need = seen_need,
                                  .measure = seen_measure,
                                  .combine = seen_combine,
                                  .apply = seen_apply};

Test(pipeline, measuring_passes_see_every_element_once_and_in_order)
{
    static const uint64_t rows[] = {900, 1, 300, 257, 0};
    struct fixture f;
    struct quern_error e;
    make_model(&f, "in.safetensors", rows, 5);
    for (unsigned round = 0; round < 6; round++) {
        struct model *m = opened(f.path);
        struct plan *p;
        const struct quern_quantize q = {.type = "COPY", .force = true};
        const char *out = scratch(round ? "next.safetensors" : "first.safetensors");
        cr_assert_eq(plan_quantize(m, out, &q, &p, &e), QUERN_OK, "%s", e.text);
        for (uint32_t i = 0; i < p->nsteps; i++) {
            p->steps[i].op = &op_seen;
            p->steps[i].npasses = 2;
        }
        const struct quern_run_options options = {.threads = 1 + round,
                                                  .mem_bytes = (4u + round) << 20};
        cr_assert_eq(plan_run(p, &options, NULL, &e), QUERN_OK, "%s", e.text);
        plan_free(p);
        model_close(m);
        cr_assert(round == 0 || same_files(scratch("first.safetensors"), out), "round %u", round);
    }
    struct model *m = opened(scratch("first.safetensors"));
    const struct tensor *t = model_find(m, STR("t0.weight"));
    float first;
    double sum = 0.0;
    for (uint64_t i = 0; i < f.nelems[0]; i++)
        sum += (double)value(0, i);
    cr_assert_eq(model_pread(m, 0, &first, 4, t->offset, &e), QUERN_OK);
    cr_assert_float_eq(first, value(0, 0) + (float)sum, 1e-3f);
    model_close(m);
    close(f.fd);
    CHECK_LEAKS();
}

Test(pipeline, fold_is_a_fixed_tree)
{
    /* ((a+b)+(c+d))+e, by powers of two: 1 + 1e-16 loses the small one, 1e-16 + 1e-16 does not. */
    const double r[5] = {1.0, 1e-16, 1e-16, 1e-16, 1e-16};
    cr_assert_eq(fold_records(r, 5, 1, 0), ((1.0 + 1e-16) + (1e-16 + 1e-16)) + 1e-16);
    cr_assert_eq(fold_records(r, 0, 1, 0), 0.0);
    cr_assert_eq(fold_records(r, 2, 2, 1), 1e-16 + 1e-16);
}

Test(pipeline, scan_counts_bad_values)
{
    static const uint64_t rows[] = {600, 300};
    struct fixture f;
    struct quern_error e;
    make_model(&f, "in.safetensors", rows, 2);
    poke(&f, 0, 150000, NAN);
    poke(&f, 0, 70000, INFINITY);
    poke(&f, 0, 70001, NAN);
    struct model *m = opened(f.path);
    struct plan *p;
    struct scan_result *r;
    uint32_t n;
    cr_assert_eq(plan_scan(m, &p, &r, &n, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(plan_run(p, &(struct quern_run_options){.threads = 4}, NULL, &e), QUERN_OK, "%s",
                 e.text);
    cr_assert_eq(n, 2u);
    cr_assert_eq(r[0].nbad, 3u);
    cr_assert_eq(r[0].first, 70000u);
    cr_assert_eq(r[1].nbad, 0u);
    plan_free(p);
    model_close(m);
    close(f.fd);
    CHECK_LEAKS();
}

/* ---- shards
 * -------------------------------------------------------------------------------------- */

Test(pipeline, shards_close_before_the_limit_and_join_again)
{
    static const uint64_t rows[] = {10, 10, 10, 50, 10};
    struct fixture f;
    struct quern_error e;
    make_model(&f, "in.safetensors", rows, 5);
    struct model *m = opened(f.path);
    struct plan *p;
    const struct quern_quantize q = {.type = "COPY", .shard_bytes = 2 * 10 * 1024};
    cr_assert_eq(plan_quantize(m, scratch("out"), &q, &p, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(p->nfiles, 4u, "two, one, the one over the limit alone, one");
    cr_assert_eq(plan_run(p, NULL, NULL, &e), QUERN_OK, "%s", e.text);
    plan_free(p);
    model_close(m);
    m = opened(scratch("out"));
    cr_assert_eq(m->nfiles, 4u);
    cr_assert_eq(m->ntensors, 5u);
    cr_assert_eq(plan_quantize(m, scratch("one.safetensors"),
                               &(struct quern_quantize){.type = "COPY"}, &p, &e),
                 QUERN_OK, "%s", e.text);
    cr_assert_eq(plan_run(p, NULL, NULL, &e), QUERN_OK, "%s", e.text);
    plan_free(p);
    model_close(m);
    cr_assert_eq(quantized(f.path, scratch("direct.safetensors"), "COPY", 1, 0, &e), QUERN_OK);
    cr_assert(same_files(scratch("one.safetensors"), scratch("direct.safetensors")));
    close(f.fd);
    CHECK_LEAKS();
}
