/* test_extract.c - adapters taken out of models: exact where they can be, and as near as the best.
 */
#include <math.h>

#include "formats/adapter.h"
#include "merge/extract.h"
#include "merge/svd.h"
#include "pipeline/compare.h"
#include "tests/merge_fixture.h"

TestSuite(extract, .init = begin, .fini = end);

static float *noise(size_t n, float scale)
{
    float *x = arena_alloc(&arena, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = scale * ((float)(random_bits() % 20001) - 10000.0f) / 10000.0f;
    return x;
}

static struct blob blob(const char *name, uint64_t rows, uint64_t cols, const float *x)
{
    return (struct blob){
        .name = name, .dtype = DTYPE_F32, .dims = {rows, cols},
                .bytes = x
    };
}

/* ---- decompositions ----------------------------------------------------------------------------
 */

static double column_dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

Test(extract, orthonormal_columns)
{
    enum { N = 37, M = 9 };
    double q[M * N], old[M * N], r[M * M];
    for (size_t i = 0; i < M * N; i++)
        q[i] = (double)(int32_t)random_bits();
    /* Nearly and wholly dependent columns. */
    for (size_t i = 0; i < N; i++) {
        q[3 * N + i] = q[i] * (1 + 1e-9 * (double)i);
        q[5 * N + i] = q[N + i] - 2 * q[2 * N + i];
        q[7 * N + i] = 0;
    }
    memcpy(old, q, sizeof old);
    orthonormalize(q, N, M, r);
    for (size_t a = 0; a < M; a++)
        for (size_t b = 0; b <= a; b++) {
            const double d = column_dot(q + a * N, q + b * N, N);
            const bool gone = column_dot(q + a * N, q + a * N, N) == 0;
            cr_assert(fabs(d - (a == b && !gone ? 1 : 0)) < 1e-12, "%zu %zu: %g", a, b, d);
            cr_assert(a != 7 || gone);
        }
    for (size_t k = 0; k < M; k++)
        for (size_t i = 0; i < N; i++) {
            double sum = 0;
            for (size_t p = 0; p <= k; p++)
                sum += q[p * N + i] * r[k * M + p];
            cr_assert(fabs(sum - old[k * N + i]) < 1e-3, "%zu %zu: %g", k, i, sum - old[k * N + i]);
        }
}

Test(extract, small_svd_gives_the_matrix_back)
{
    enum { N = 11 };
    double m[N * N], old[N * N], v[N * N], sigma[N];
    for (unsigned round = 0; round < 20; round++) {
        for (size_t i = 0; i < N * N; i++)
            m[i] = (double)(int32_t)random_bits() / 2147483648.0;
        for (size_t i = 0; i < N && round % 2; i++) /* singular */
            m[4 * N + i] = m[2 * N + i] - m[3 * N + i];
        memcpy(old, m, sizeof old);
        small_svd(m, v, sigma, N);
        for (size_t k = 0; k < N; k++) {
            cr_assert(k == 0 || sigma[k] <= sigma[k - 1]);
            cr_assert(fabs(column_dot(v + k * N, v + k * N, N) - 1) < 1e-12);
            for (size_t i = 0; i < N; i++) {
                double sum = 0;
                for (size_t p = 0; p < N; p++)
                    sum += m[p * N + i] * sigma[p] * v[p * N + k];
                cr_assert(fabs(sum - old[k * N + i]) < 1e-12, "%g", sum - old[k * N + i]);
            }
        }
    }
}

/* ---- models ------------------------------------------------------------------------------------
 */

struct outcome {
    struct extracted total;
    uint32_t nproducts, nwhole;
};

/* Extracts from base.safetensors and tuned.safetensors into the directory `name`. */
static enum quern_status extract(const char *name, struct extract_request req, unsigned threads,
                                 uint64_t mem, struct outcome *out, struct quern_error *err)
{
    struct model *base, *tuned;
    struct plan *survey, *plan = NULL;
    struct comparison *comparison;
    struct extract_report *report;
    const struct quern_run_options options = {.threads = threads, .mem_bytes = mem};
    cr_assert(model_open(in_dir("base.safetensors"), &base, err) == QUERN_OK, "%s", err->text);
    cr_assert(model_open(in_dir("tuned.safetensors"), &tuned, err) == QUERN_OK, "%s", err->text);
    cr_assert(plan_compare(base, tuned, NULL, &survey, &comparison, err) == QUERN_OK);
    cr_assert(plan_run(survey, NULL, NULL, err) == QUERN_OK, "%s", err->text);
    req.survey = survey;
    req.comparison = comparison;
    req.output = in_dir(name);
    req.force = true;
    enum quern_status status = extract_plan(&req, &plan, &report, err);
    if (status == QUERN_OK)
        status = plan_run(plan, &options, NULL, err);
    if (status == QUERN_OK)
        *out = (struct outcome){extract_total(plan, report), report->nproducts, report->nwhole};
    if (plan)
        plan_free(plan);
    plan_free(survey);
    model_close(base);
    model_close(tuned);
    return status;
}

static void *bytes_of(const char *name, size_t *n)
{
    FILE *f = fopen(in_dir(name), "r");
    void *bytes = arena_alloc(&arena, 1 << 22);
    cr_assert(f != NULL, "%s", name);
    *n = fread(bytes, 1, 1 << 22, f);
    fclose(f);
    return bytes;
}

/* base + left * right, of rank r, as tuned model. */
static void write_pair(size_t rows, size_t cols, size_t r, float weight)
{
    const float *w = noise(rows * cols, 1), *l = noise(rows * r, 1), *a = noise(r * cols, 1);
    float *t = noise(rows * cols, 1);
    for (size_t i = 0; i < rows * cols; i++) {
        double sum = 0;
        for (size_t k = 0; k < r; k++)
            sum += (double)l[i / cols * r + k] * (double)a[k * cols + i % cols];
        t[i] = w[i] + weight * (float)sum;
    }
    const struct blob base = blob("l.0.w.weight", rows, cols, w);
    const struct blob tuned = blob("l.0.w.weight", rows, cols, t);
    write_model("base.safetensors", &base, 1);
    write_model("tuned.safetensors", &tuned, 1);
}

/* Wide, tall, rows across chunks and pieces, smaller than the rank: put in again it is the model.
 */
Test(extract, products_are_found_again)
{
    static const struct {
        size_t rows, cols, r;
    } shapes[] = {
        {40,   60,     5},
        {60,   40,     5},
        {2000, 37,     3},
        {300,  1001,   4},
        {7,    20011,  2},
        {3,    140000, 2},
        {4,    5,      4},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct outcome out;
        struct quern_error err;
        const size_t n = shapes[i].rows * shapes[i].cols;
        write_pair(shapes[i].rows, shapes[i].cols, shapes[i].r, 1);
        cr_assert(extract("a", (struct extract_request){.rank = 5}, 2, 0, &out, &err) == QUERN_OK,
                  "%s", err.text);
        cr_assert(out.nproducts == 1 && out.nwhole == 0);
        cr_assert(out.total.error < 1e-5 * out.total.norm, "shape %zu: %g of %g", i,
                  out.total.error, out.total.norm);
        const char *const loras[] = {in_dir("a")};
        const struct merge_request req = {
            .flags = {.base = in_dir("base.safetensors"), .loras = loras, .nloras = 1},
            .output = in_dir("again.safetensors"),
            .force = true
        };
        cr_assert(run(&req, &err) == QUERN_OK, "%s", err.text);
        const float *got = load(in_dir("again.safetensors"), "l.0.w.weight", NULL);
        const float *want = load(in_dir("tuned.safetensors"), "l.0.w.weight", NULL);
        for (size_t k = 0; k < n; k++)
            cr_assert(fabsf(got[k] - want[k]) < 2e-5f, "shape %zu: element %zu: %g %g", i, k,
                      (double)got[k], (double)want[k]);
    }
    CHECK_LEAKS();
}

/* A difference whose singular values are known: diagonal, here 1, 1/2, 1/3 ... */
Test(extract, the_best_of_a_rank)
{
    enum { N = 120, RANK = 8 };
    float *w = noise(N * N, 0), *t = noise(N * N, 0);
    double rest = 0, all = 0;
    for (size_t i = 0; i < N; i++) {
        const double s = 1.0 / (double)(i + 1);
        t[((i * 7) % N) * N + (i * 11) % N] = (float)s; /* rows and columns permuted */
        all += s * s;
        rest += i >= RANK ? s * s : 0;
    }
    const struct blob base = blob("w.weight", N, N, w), tuned = blob("w.weight", N, N, t);
    write_model("base.safetensors", &base, 1);
    write_model("tuned.safetensors", &tuned, 1);
    struct outcome out;
    struct quern_error err;
    cr_assert(extract("a", (struct extract_request){.rank = RANK}, 1, 0, &out, &err) == QUERN_OK,
              "%s", err.text);
    cr_assert(fabs(out.total.norm - sqrt(all)) < 1e-6, "%g", out.total.norm);
    cr_assert(out.total.error >= sqrt(rest) * 0.999999, "%g %g", out.total.error, sqrt(rest));
    cr_assert(out.total.error <= sqrt(rest) * 1.01, "%g %g", out.total.error, sqrt(rest));
    /* What is told is what is lost: by the stored factors. */
    const float *a =
        load(in_dir("a/adapter_model.safetensors"), "base_model.model.w.lora_A.weight", NULL);
    const float *b =
        load(in_dir("a/adapter_model.safetensors"), "base_model.model.w.lora_B.weight", NULL);
    double lost = 0;
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < N; j++) {
            double d = (double)t[i * N + j];
            for (size_t k = 0; k < RANK; k++)
                d -= (double)b[i * RANK + k] * (double)a[k * N + j];
            lost += d * d;
        }
    cr_assert(fabs(out.total.error - sqrt(lost)) < 1e-5 * sqrt(lost), "%g %g", out.total.error,
              sqrt(lost));
    CHECK_LEAKS();
}

Test(extract, same_bytes_for_any_threads_and_memory)
{
    write_pair(700, 513, 20, 0.5f);
    struct quern_error err;
    struct outcome out;
    void *first = NULL;
    size_t nfirst = 0;
    for (unsigned threads = 1; threads <= 3; threads++) {
        size_t n;
        const uint64_t mem = threads == 2 ? 5u << 20 : 0;
        cr_assert(extract("a", (struct extract_request){.rank = 6}, threads, mem, &out, &err) ==
                      QUERN_OK,
                  "%s", err.text);
        void *bytes = bytes_of("a/adapter_model.safetensors", &n);
        if (!first) {
            first = bytes;
            nfirst = n;
        }
        cr_assert(n == nfirst && memcmp(first, bytes, n) == 0, "%u threads", threads);
    }
    CHECK_LEAKS();
}

/* Norms, biases, embeddings and heads are kept whole; equal tensors are not. */
Test(extract, what_is_kept_whole)
{
    enum { N = 24 };
    const float *same = noise(N * N, 1);
    struct blob base[] = {
        blob("model.embed_tokens.weight", N, N, noise(N * N, 1)),
        blob("model.l.k.bias", N, 0, noise(N, 1)),
        blob("model.l.k.weight", N, N, same),
        blob("model.l.q.bias", N, 0, noise(N, 1)),
        blob("model.l.q.weight", N, N, noise(N * N, 1)),
        blob("model.norm.weight", N, 0, noise(N, 1)),
    };
    struct blob tuned[6];
    for (size_t i = 0; i < 6; i++) {
        tuned[i] = base[i];
        if (base[i].bytes != same)
            tuned[i].bytes = noise(base[i].dims[1] ? N * N : N, 1);
    }
    write_model("base.safetensors", base, 6);
    write_model("tuned.safetensors", tuned, 6);
    struct outcome out;
    struct quern_error err;
    cr_assert(extract("a", (struct extract_request){.rank = 2}, 2, 0, &out, &err) == QUERN_OK, "%s",
              err.text);
    cr_assert(out.nproducts == 1 && out.nwhole == 4);
    const char *config = read_text("a/adapter_config.json");
    cr_assert(strstr(config, "\"target_modules\": [\"model.l.q\"]"), "%s", config);
    cr_assert(strstr(config, "\"modules_to_save\": [\"model.embed_tokens\",\"model.norm\"]"), "%s",
              config);
    cr_assert(strstr(config, "\"bias\": \"all\""), "%s", config);
    struct adapter a;
    cr_assert(adapter_open(in_dir("a"), &arena, &a, &err) == QUERN_OK, "%s", err.text);
    cr_assert(model_find(a.model, STR("base_model.model.model.l.q.base_layer.bias")));
    cr_assert(model_find(a.model, STR("base_model.model.model.l.k.bias")));
    cr_assert(!model_find(a.model, STR("base_model.model.model.l.k.lora_A.weight")));
    model_close(a.model);
    cr_assert(extract("b", (struct extract_request){.rank = 2, .no_save_modules = true}, 2, 0, &out,
                      &err) == QUERN_OK,
              "%s", err.text);
    cr_assert(out.nproducts == 1 && out.nwhole == 0);
    CHECK_LEAKS();
}

Test(extract, refusals)
{
    struct outcome out;
    struct quern_error err;
    static const char *const bad[] = {"("}, *const all[] = {"."};
    write_pair(8, 9, 1, 1);
    cr_assert(extract("a", (struct extract_request){.includes = bad, .nincludes = 1}, 1, 0, &out,
                      &err) == QUERN_EUSAGE);
    cr_assert(extract("a", (struct extract_request){.excludes = all, .nexcludes = 1}, 1, 0, &out,
                      &err) == QUERN_EUSAGE &&
              strstr(err.text, "left out"));
    cr_assert(extract("a", (struct extract_request){.dtype = "q8_0"}, 1, 0, &out, &err) ==
              QUERN_EUSAGE);
    cr_assert(extract("a", (struct extract_request){.rank = 100000}, 1, 0, &out, &err) ==
              QUERN_EUSAGE);
    /* Memory that does not suffice is told before the start. */
    cr_assert(extract("a", (struct extract_request){.rank = 4}, 1, 1 << 18, &out, &err) ==
                      QUERN_EMEMORY &&
                  strstr(err.text, "at least"),
              "%s", err.text);
    const float *x = noise(64, 1);
    const struct blob other = blob("l.0.w.weight", 8, 8, x);
    write_model("tuned.safetensors", &other, 1);
    cr_assert(extract("a", (struct extract_request){.rank = 4}, 1, 0, &out, &err) == QUERN_EUSAGE &&
              strstr(err.text, "l.0.w.weight"));
    CHECK_LEAKS();
}
