/* test_task_bf16.c - task vectors straight from BF16 give the bytes that they give through numbers.
 */
#include "tests/merge_fixture.h"

TestSuite(task_bf16, .init = begin, .fini = end);

#define NMODELS 3

static const char *const names[] = {"base", "m0", "m1", "m2"};

/* The same values in files of either type. */
static void store(const uint16_t *const values[], size_t n, enum dtype d)
{
    for (size_t m = 0; m <= NMODELS; m++) {
        float *x = ARENA_NEW(&arena, float, n);
        kernels_reference.decode[DTYPE_BF16](values[m], x, n);
        const struct blob b = {
            .name = "w",
            .dtype = d,
            .dims = {n, 0},
            .bytes = d == DTYPE_BF16 ? (const void *)values[m] : x
        };
        write_model(text("%s.safetensors", names[m]), &b, 1);
    }
}

/* Models near a base, with exact differences: of few sizes, or of many, of which not all end in
 * zeros. */
static void make_values(const uint16_t *values[], size_t n, bool few)
{
    float *base = ARENA_NEW(&arena, float, n), *x = ARENA_NEW(&arena, float, n);
    for (size_t i = 0; i < n; i++)
        base[i] = (float)(int)(random_bits() % 513) * 0x1p-9f - 0.5f;
    for (size_t m = 0; m <= NMODELS; m++) {
        uint16_t *half = ARENA_NEW(&arena, uint16_t, n);
        for (size_t i = 0; i < n; i++) {
            const uint32_t bits = random_bits();
            const float step = few ? (float)(bits % 7) - 3 : (float)(bits % 0x100001) - 0x80000;
            x[i] = m == 0 ? base[i] : base[i] + step * (few ? 0x1p-9f : 0x1p-21f);
        }
        kernels_reference.encode[DTYPE_BF16](x, half, n);
        values[m] = half;
    }
}

static const uint16_t *merged(const char *recipe, size_t n)
{
    uint64_t found;
    enum dtype d;
    unlink(in_dir("out.safetensors"));
    merge("base m0 m1 m2", recipe);
    const uint16_t *y = load_raw(in_dir("out.safetensors"), "w", &found, &d);
    cr_assert(found == n && d == DTYPE_BF16);
    return y;
}

static void check(const uint16_t *const values[], size_t n, const char *method, const char *all,
                  const char *const densities[])
{
    const char *recipe = text("merge_method: %s\nbase_model: base\nout_dtype: bfloat16\n"
                              "parameters: {%s}\nmodels:\n",
                              method, all);
    static const double weights[] = {1, 0.5, -0.25};
    for (size_t m = 0; m < NMODELS; m++)
        recipe = text("%s  - {model: %s, parameters: {weight: %g%s}}\n", recipe, names[m + 1],
                      weights[m], densities[m]);
    store(values, n, DTYPE_F32);
    const uint16_t *want = merged(recipe, n);
    store(values, n, DTYPE_BF16);
    const uint16_t *got = merged(recipe, n);
    for (size_t i = 0; i < n; i++)
        cr_assert(got[i] == want[i], "%s[%zu] of %zu: %04x, not %04x", recipe, i, n, got[i],
                  want[i]);
}

static const char *const some[] = {", density: 0.5", ", density: 0.35", ", density: 0.7"};
static const char *const few_kept[] = {", density: 1", ", density: 0.001", ", density: 0.51"};
static const char *const whole[] = {"", "", ""};

static void check_all(const uint16_t *const values[], size_t n, bool few)
{
    check(values, n, "task_arithmetic", "lambda: 0.75", whole);
    check(values, n, "ties", "lambda: 0.75, rescale: false", some);
    check(values, n, "ties", "normalize: false", few ? few_kept : some);
    check(values, n, "ties", "rescale: true", few_kept);
    check(values, n, "breadcrumbs_ties", "gamma: 0.05", some);
    check(values, n, "breadcrumbs", "gamma: 0.3", few_kept);
    check(values, n, "dare_ties", "lambda: 0.75", some);
    check(values, n, "dare_ties", "rescale: false, normalize: true", few_kept);
    check(values, n, "dare_linear", "rescale: true", few_kept);
    check(values, n, "della", "epsilon: 0.1", some);
}

Test(task_bf16, same_bytes_as_through_numbers)
{
    static const size_t lengths[] = {1, 100, 4096, 3 * CHUNK + 2 * STRIP + 70};
    windows_allow();
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
        for (int few = 0; few < 2; few++) {
            const uint16_t *values[NMODELS + 1];
            make_values(values, lengths[l], few);
            check_all(values, lengths[l], few);
            arena_free(&arena);
        }
    CHECK_LEAKS();
}

/* In the vote of a model that does not take part there, too. */
Test(task_bf16, nan_is_found_wherever_it_is)
{
    enum { N = 2 * STRIP };
    static const char *const recipes[] = {
        "merge_method: ties\nbase_model: base\nmodels: [{model: m0}, {model: m1}]\n"
        "parameters: {weight: 1, density: 0.01}\n",
        "merge_method: dare_ties\nbase_model: base\nmodels: [{model: m0}, {model: m1}]\n"
        "parameters: {weight: 1, density: 0.01, rescale: false}\n",
        "merge_method: dare_ties\nbase_model: base\nmodels: [{model: m0}, {model: m1}]\n"
        "parameters: {weight: 1, density: 0.01, rescale: true}\n",
        "merge_method: task_arithmetic\nbase_model: base\nmodels: [{model: m0}, {model: m1}]\n"
        "parameters: {weight: 0}\n",
    };
    const uint16_t *values[NMODELS + 1];
    make_values(values, N, true);
    for (size_t i = 0; i < N; i += 97)
        for (size_t r = 0; r < sizeof recipes / sizeof *recipes; r++) {
            uint16_t *bad = (uint16_t *)(uintptr_t)values[i / 97 % 3], kept = bad[i];
            bad[i] = i % 2 ? 0x7fc0 : 0xff80;
            store(values, N, DTYPE_BF16);
            unlink(in_dir("out.safetensors"));
            REFUSED("base m0 m1", recipes[r], QUERN_EFORMAT, text("[%zu]", i),
                    text("%s.safetensors", names[i / 97 % 3]));
            bad[i] = kept;
        }
    CHECK_LEAKS();
}
