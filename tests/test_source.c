/* test_source.c - sources that are stored, and sources that are made while they are read. */
#include "pipeline/plan.h"

#include "tests/merge_fixture.h"

TestSuite(source, .init = begin, .fini = end);

#define ELEMS (3 * CHUNK + 320)

static struct model *open_one(const struct blob *b)
{
    struct model *m;
    struct quern_error err;
    write_gguf("m.gguf", "llama", b, 1);
    cr_assert(model_open(in_dir("m.gguf"), &m, &err) == QUERN_OK, "%s", err.text);
    return m;
}

/* Reads that begin and end within blocks give what decoding all of it gives. */
static void check_reads(enum dtype d, const void *stored)
{
    static const uint64_t firsts[] = {0, 1, 31, 32, 33, 8191, 8192, 65535, 100000, ELEMS - 1};
    static const size_t counts[] = {1, 2, 31, 32, 33, 640, PIECE - 1, PIECE};
    const struct blob b = {.name = "w", .dtype = d, .dims = {ELEMS}, .bytes = stored};
    struct model *m = open_one(&b);
    const struct source s = {.model = m, .tensor = &m->tensors[0]};
    float *whole = ARENA_NEW(&arena, float, ELEMS);
    codec_kernels()->decode[d](stored, whole, ELEMS);
    for (unsigned wide = 0; wide < 2; wide++) {
        void *scratch = arena_alloc(&arena, source_scratch_bytes(&s, wide));
        for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++)
            for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
                const size_t left = ELEMS - firsts[i], n = counts[k] < left ? counts[k] : left;
                double x[PIECE];
                uint64_t moved = 0;
                struct quern_error err;
                cr_assert(source_read(&s, scratch, wide, firsts[i], n, x, &moved, &err) ==
                          QUERN_OK);
                cr_assert(moved >= dtype_stored(d, 32 * (n / 32)) &&
                          moved <= dtype_stored(d, 32 * (n / 32 + 2)));
                for (size_t j = 0; j < n; j++)
                    cr_assert((wide ? x[j] : (double)((float *)x)[j]) ==
                                  (double)whole[firsts[i] + j],
                              "%s, %zu elements at %lu: [%zu]", dtype_traits[d].name, n,
                              (unsigned long)firsts[i], j);
            }
    }
    model_close(m);
}

Test(source, stored_tensors)
{
    float *x = ARENA_NEW(&arena, float, ELEMS);
    void *blocks = arena_alloc(&arena, dtype_stored(DTYPE_Q8_0, ELEMS));
    for (size_t i = 0; i < ELEMS; i++)
        x[i] = (float)((int32_t)random_bits() >> 8) / 65536;
    codec_encode(DTYPE_Q8_0, x, NULL, 0, blocks, ELEMS);
    check_reads(DTYPE_F32, x);
    check_reads(DTYPE_Q8_0, blocks);
    CHECK_LEAKS();
}

/* ---- a kind ---------------------------------------------------------------------------------- */

/* Twice the values of another source, which params points to. Its scratch begins with where the
 * next read must not begin before: they go upwards. */
static size_t doubling_scratch(const struct source *s, bool wide)
{
    return sizeof(uint64_t) + source_scratch_bytes(s->params, wide);
}

static enum quern_status doubling_read(const struct source *s, void *scratch, bool wide,
                                       uint64_t first, size_t n, void *x, uint64_t *moved,
                                       struct quern_error *err)
{
    uint64_t *next = scratch;
    cr_assert(n <= PIECE && first >= *next);
    *next = first + n;
    TRY(source_read(s->params, next + 1, wide, first, n, x, moved, err));
    for (size_t i = 0; i < n; i++)
        if (wide)
            ((double *)x)[i] *= 2;
        else
            ((float *)x)[i] *= 2;
    return QUERN_OK;
}

static const struct source_kind doubling = {
    .name = "double", .scratch_bytes = doubling_scratch, .read = doubling_read};

static void run_step(struct model *m, const struct source *s, bool wide, unsigned threads)
{
    struct quern_error err;
    struct plan *p = plan_new("test", &err);
    cr_assert(p != NULL);
    static const uint64_t dims[] = {ELEMS};
    p->steps = ARENA_NEW(&p->arena, struct step, 1);
    p->steps[0] = (struct step){.name = STR("w"),
                                .dims = dims,
                                .ndims = 1,
                                .dtype = DTYPE_F32,
                                .round_dtype = DTYPE_COUNT,
                                .wide = wide,
                                .nsources = 1,
                                .sources = s,
                                .op = &op_copy};
    p->nsteps = 1;
    p->force = true;
    cr_assert(plan_add_model(p, m, &err) == QUERN_OK);
    cr_assert(layout_safetensors(p, in_dir("out.safetensors"), NULL, 0, &err) == QUERN_OK, "%s",
              err.text);
    const struct quern_run_options options = {.threads = threads,
                                              .mem_bytes = threads == 1 ? plan_min_mem(p) : 0};
    cr_assert(plan_run(p, &options, NULL, &err) == QUERN_OK, "%s", err.text);
    plan_free(p);
}

Test(source, made_values_in_a_step)
{
    float *x = ARENA_NEW(&arena, float, ELEMS);
    for (size_t i = 0; i < ELEMS; i++)
        x[i] = (float)((int32_t)random_bits() >> 8) / 65536;
    const struct blob b = {.name = "w", .dtype = DTYPE_F32, .dims = {ELEMS}, .bytes = x};
    struct model *m = open_one(&b);
    const struct source stored = {.model = m, .tensor = &m->tensors[0]};
    const struct source twice = {
        .model = m, .tensor = &m->tensors[0], .kind = &doubling, .params = &stored};
    const struct source four_times = {
        .model = m, .tensor = &m->tensors[0], .kind = &doubling, .params = &twice};
    for (unsigned wide = 0; wide < 2; wide++)
        for (unsigned threads = 1; threads < 3; threads++) {
            run_step(m, &four_times, wide, threads);
            const float *got = load(in_dir("out.safetensors"), "w", NULL);
            for (size_t i = 0; i < ELEMS; i++)
                cr_assert(got[i] == 4 * x[i], "[%zu]", i);
        }
    model_close(m);
    CHECK_LEAKS();
}
