/* test_merge.c - the values of merges: edge cases, definitions, types, parameters. */
#include <math.h>

#include "tests/merge_fixture.h"

TestSuite(merge, .init = begin, .fini = end);

/* ---- edge cases ------------------------------------------------------------------------------ */

static void close_to(const float *want, double tolerance)
{
    const float *got = load(in_dir("out.safetensors"), "w", NULL);
    for (size_t i = 0; i < N2D; i++)
        cr_assert(fabs((double)got[i] - (double)want[i]) <= tolerance, "[%zu]: %.9g, not %.9g", i,
                  (double)got[i], (double)want[i]);
}

/* base_model says which end t = 0 is, wherever it stands in the list. */
Test(merge, slerp_order)
{
    one_tensor("a.safetensors", load(DATA "inputs_f32.safetensors", "w2d.base", NULL));
    one_tensor("b.safetensors", load(DATA "inputs_f32.safetensors", "w2d.ft1x", NULL));
    merge("a b", slerp_recipe(0.3));
    const float *want = load(in_dir("out.safetensors"), "w", NULL);
    merge("a b", "merge_method: slerp\nbase_model: a\nmodels: [{model: b}, {model: a}]\n"
                 "parameters: {t: 0.3}\n");
    close_to(want, 0);
    merge("a b", "merge_method: slerp\nbase_model: b\nmodels: [{model: b}, {model: a}]\n"
                 "parameters: {t: 0}\n");
    close_to(load(in_dir("b.safetensors"), "w", NULL), 0);
    CHECK_LEAKS();
}

Test(merge, ties_edges)
{
    float *zero = ARENA_NEW(&arena, float, N2D);
    float *few = load(DATA "edge.safetensors", "ties_magnitude_ties/in.ft0", NULL);
    one_tensor("base.safetensors", zero);
    one_tensor("ft0.safetensors", few);
    /* The 1843 largest of few distinct magnitudes: all above the cut, of the equals the first. */
    merge("base ft0",
          "merge_method: ties\nbase_model: base\nparameters: {weight: 1, density: 0.3}\n"
          "models: [{model: ft0}]\n");
    const float *got = load(in_dir("out.safetensors"), "w", NULL);
    const float *torch = load(DATA "edge.safetensors", "ties_magnitude_ties/out", NULL);
    size_t kept = 0, theirs = 0;
    bool dropped = false;
    for (size_t i = 0; i < N2D; i++) {
        kept += got[i] != 0;
        theirs += torch[i] != 0;
        if (fabsf(few[i]) != 0.015625f) {
            cr_assert(got[i] == torch[i]);
            continue;
        }
        cr_assert(got[i] == few[i] || got[i] == 0);
        cr_assert(!(dropped && got[i] != 0), "an equal after the first dropped one");
        dropped |= got[i] == 0;
    }
    cr_assert(kept == 1843 && theirs == 1843);
    /* So low a density keeps one element. */
    merge("base ft0",
          "merge_method: ties\nbase_model: base\nparameters: {weight: 1, density: 1e-9}\n"
          "models: [{model: ft0}]\n");
    got = load(in_dir("out.safetensors"), "w", NULL);
    kept = 0;
    for (size_t i = 0; i < N2D; i++)
        kept += got[i] != 0;
    cr_assert(kept == 1);
    CHECK_LEAKS();
}

Test(merge, linear_edges)
{
    one_tensor("a.safetensors", load(DATA "inputs_f32.safetensors", "w2d.ft0", NULL));
    one_tensor("b.safetensors", load(DATA "inputs_f32.safetensors", "w2d.ft1", NULL));
    REFUSED("a b",
            "merge_method: linear\nmodels: [{model: a, parameters: {weight: 0.5}}, {model: b, "
            "parameters: {weight: -0.5}}]\n",
            QUERN_EUSAGE, "sum to 0", "normalize");
    /* Only for some tensors: the message names one. */
    REFUSED("a b",
            "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}, {model: b, "
            "parameters: {weight: [{filter: w, value: -1}, {value: 1}]}}]\n",
            QUERN_EUSAGE, "tensor 'w'", "sum to 0");
    merge("a", "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\n");
    close_to(load(in_dir("a.safetensors"), "w", NULL), 0);
    CHECK_LEAKS();
}

/* ---- TIES against the definition ------------------------------------------------------------- */

struct ties_model {
    float *x;
    double weight, density;
};

static const float *sort_x, *sort_base;

static int by_size(const void *a, const void *b)
{
    const uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    const float x = fabsf(sort_x[i] - sort_base[i]), y = fabsf(sort_x[k] - sort_base[k]);
    return x > y ? -1 : x < y ? 1 : (i > k) - (i < k);
}

/* Which differences are kept: sort them all, lower index first among equals. */
static bool *kept_by_sorting(const struct ties_model *m, const float *base, size_t n)
{
    uint32_t *order = ARENA_NEW(&arena, uint32_t, n);
    bool *kept = ARENA_NEW(&arena, bool, n);
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    sort_x = m->x;
    sort_base = base;
    qsort(order, n, sizeof *order, by_size);
    size_t k = m->density >= 1 ? n : (size_t)(m->density * (double)n);
    if (k == 0)
        k = 1;
    for (size_t i = 0; i < k; i++)
        kept[order[i]] = true;
    return kept;
}

static float *ties_by_definition(const struct ties_model *m, size_t nmodels, const float *base,
                                 size_t n, bool normalize, double lambda)
{
    bool *kept[8];
    float *y = ARENA_NEW(&arena, float, n);
    for (size_t k = 0; k < nmodels; k++)
        kept[k] = kept_by_sorting(&m[k], base, n);
    for (size_t i = 0; i < n; i++) {
        float v[8], sum = 0, mix = 0, weights = 0;
        for (size_t k = 0; k < nmodels; k++) {
            v[k] = kept[k][i] ? (m[k].x[i] - base[i]) * (float)m[k].weight : 0;
            sum += v[k];
        }
        for (size_t k = 0; k < nmodels; k++)
            if (sum >= 0 ? v[k] > 0 : v[k] < 0) {
                mix += v[k];
                weights += (float)m[k].weight;
            }
        if (normalize)
            mix /= weights == 0 ? 1 : weights;
        y[i] = base[i] + mix * (float)lambda;
    }
    return y;
}

/* Differences of few distinct sizes (levels) or of many. */
static float *random_tune(const float *base, size_t n, unsigned levels)
{
    float *x = ARENA_NEW(&arena, float, n);
    for (size_t i = 0; i < n; i++)
        x[i] = base[i] + (float)((int)(random_bits() % (2 * levels + 1)) - (int)levels) * 0x1p-9f;
    return x;
}

/* The same values as F64: the wide path must keep the same elements. */
static void write_vector(const char *name, const float *x, size_t n, bool wide)
{
    double *d = wide ? ARENA_NEW(&arena, double, n) : NULL;
    for (size_t i = 0; wide && i < n; i++)
        d[i] = (double)x[i];
    const struct blob b = {
        .name = "w",
        .dtype = wide ? DTYPE_F64 : DTYPE_F32,
        .dims = {n, 0},
        .bytes = wide ? (const void *)d : x
    };
    write_model(name, &b, 1);
}

static void ties_against_definition(size_t n, unsigned levels, const double *densities,
                                    size_t nmodels, bool normalize, bool wide)
{
    struct ties_model m[8];
    float *base = ARENA_NEW(&arena, float, n);
    char recipe[1000], words[60] = "base";
    for (size_t i = 0; i < n; i++)
        base[i] = (float)(int)(random_bits() % 513) * 0x1p-7f - 2;
    size_t used = (size_t)sprintf(recipe,
                                  "merge_method: ties\nbase_model: base\nparameters: {normalize: "
                                  "%s, lambda: 0.75}\nmodels:\n",
                                  normalize ? "true" : "false");
    write_vector("base.safetensors", base, n, wide);
    for (size_t k = 0; k < nmodels; k++) {
        m[k] = (struct ties_model){.x = random_tune(base, n, levels),
                                   .weight = k == 2 ? -0.5 : 1 + 0.25 * (double)k,
                                   .density = densities[k]};
        write_vector(text("m%zu.safetensors", k), m[k].x, n, wide);
        used += (size_t)sprintf(recipe + used,
                                "  - {model: m%zu, parameters: {weight: %g, density: %g}}\n", k,
                                m[k].weight, m[k].density);
        strcat(words, text(" m%zu", k));
    }
    merge(words, text("%s%s", recipe, wide ? "out_dtype: float64\n" : ""));
    const float *want = ties_by_definition(m, nmodels, base, n, normalize, 0.75);
    const float *got = load(in_dir("out.safetensors"), "w", NULL);
    for (size_t i = 0; i < n; i++)
        cr_assert(wide ? fabsf(got[i] - want[i]) <= 1e-6f : got[i] == want[i],
                  "n %zu, levels %u, element %zu: %.9g, not %.9g", n, levels, i, (double)got[i],
                  (double)want[i]);
}

Test(merge, ties_by_definition)
{
    static const double densities[][4] = {
        {0.5,  0.5, 0.5,  0.5  },
        {1,    0.3, 0.01, 0.999},
        {0.2,  1,   1,    2    },
        {1e-6, 0.7, 0.5,  0.25 }
    };
    const size_t sizes[] = {1, 2, 100, 8192, 8193, 65536, 65537, 200001};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t d = 0; d < 4; d++) {
            const unsigned levels = d % 2 ? 3 : 100000;
            ties_against_definition(sizes[s], levels, densities[d], 1 + (s + d) % 4, d < 3, false);
            arena_free(&arena);
        }
    ties_against_definition(200001, 3, densities[1], 4, true, true);
    ties_against_definition(70000, 100000, densities[3], 3, false, true);
    CHECK_LEAKS();
}

/* All differences equal: exactly the first k are kept, wherever chunks and tiles end. */
Test(merge, ties_lowest_index_wins)
{
    const size_t n = 300000;
    float *base = ARENA_NEW(&arena, float, n), *x = ARENA_NEW(&arena, float, n);
    for (size_t i = 0; i < n; i++)
        x[i] = i % 2 ? 0.5f : -0.5f;
    for (int wide = 0; wide < 2; wide++) {
        write_vector("base.safetensors", base, n, wide);
        write_vector("ft0.safetensors", x, n, wide);
        const double densities[] = {0.1, 0.21845334, 0.5, 0.9999999};
        for (size_t d = 0; d < 4; d++) {
            merge("base ft0", text("merge_method: ties\nbase_model: base\nmodels: [{model: ft0}]\n"
                                   "parameters: {weight: 1, density: %.17g}\n",
                                   densities[d]));
            const size_t k = (size_t)(densities[d] * (double)n);
            const float *got = load(in_dir("out.safetensors"), "w", NULL);
            for (size_t i = 0; i < n; i++)
                cr_assert(got[i] == (i < k ? x[i] : 0), "density %g: element %zu of %zu",
                          densities[d], i, k);
        }
    }
    CHECK_LEAKS();
}

/* ---- widths, types --------------------------------------------------------------------------- */

Test(merge, f64_stays_f64)
{
    const double a[3] = {1.0 / 3, 1e300, -2}, b[3] = {0.1, 1e300, 7};
    struct blob blob = {
        .name = "w", .dtype = DTYPE_F64, .dims = {3, 0},
                .bytes = a
    };
    write_model("a.safetensors", &blob, 1);
    blob.bytes = b;
    write_model("b.safetensors", &blob, 1);
    merge("a b", "merge_method: linear\nmodels:\n  - {model: a, parameters: {weight: 0.25}}\n"
                 "  - {model: b, parameters: {weight: 0.5}}\n");
    uint64_t n;
    enum dtype d;
    const double *y = load_raw(in_dir("out.safetensors"), "w", &n, &d);
    cr_assert(d == DTYPE_F64);
    for (int i = 0; i < 3; i++)
        cr_assert(y[i] == (0.25 * a[i] + 0.5 * b[i]) / 0.75);
    unlink(in_dir("out.safetensors"));
    /* The norm of 1e300 overflows. */
    REFUSED("a b", slerp_recipe(0.5), QUERN_EFORMAT, "norm overflows");
    const double c[3] = {3, 0, 4}, e[3] = {0, 5, 0};
    blob.bytes = c;
    write_model("a.safetensors", &blob, 1);
    blob.bytes = e;
    write_model("b.safetensors", &blob, 1);
    merge("a b", slerp_recipe(0.5));
    y = load_raw(in_dir("out.safetensors"), "w", &n, &d);
    for (int i = 0; i < 3; i++)
        cr_assert_float_eq(y[i], (c[i] + e[i]) * M_SQRT1_2, 1e-15);
    CHECK_LEAKS();
}

Test(merge, output_types)
{
    const float x[4] = {1, 2, 3.14159f, -1e-3f};
    uint16_t half[4];
    codec_kernels()->encode[DTYPE_F16](x, half, 4);
    const struct blob a = {
        .name = "w", .dtype = DTYPE_F32, .dims = {2, 2},
                .bytes = x
    };
    const struct blob b = {
        .name = "w", .dtype = DTYPE_F16, .dims = {2, 2},
                .bytes = half
    };
    write_model("a.safetensors", &a, 1);
    write_model("b.safetensors", &b, 1);
    static const struct {
        const char *more;
        enum dtype want;
    } cases[] = {
        {"",                                      DTYPE_F32 },
        {"base_model: b\n",                       DTYPE_F16 },
        {"dtype: bfloat16\n",                     DTYPE_BF16},
        {"dtype: bfloat16\nout_dtype: float16\n", DTYPE_F16 },
        {"dtype: float64\n",                      DTYPE_F64 }
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t n;
        enum dtype d;
        merge("a b", text("merge_method: linear\nmodels: [{model: a}, {model: b}]\n"
                          "parameters: {weight: 1}\n%s",
                          cases[i].more));
        load_raw(in_dir("out.safetensors"), "w", &n, &d);
        cr_assert(d == cases[i].want, "%s", cases[i].more);
    }
    CHECK_LEAKS();
}

Test(merge, integers_are_equal_or_the_base_s)
{
    const float x[2] = {1, 2};
    const int64_t one[2] = {1, 2}, other[2] = {1, 3};
    struct blob blobs[] = {
        {.name = "w",   .dtype = DTYPE_F32, .dims = {2, 0}, .bytes = x  },
        {.name = "ids", .dtype = DTYPE_I64, .dims = {2, 0}, .bytes = one}
    };
    const char *linear = "merge_method: linear\nparameters: {weight: 1}\n"
                         "models: [{model: a}, {model: b}]\n";
    write_model("a.safetensors", blobs, 2);
    write_model("b.safetensors", blobs, 2);
    uint64_t n;
    enum dtype d;
    merge("a b", linear);
    const int64_t *ids = load_raw(in_dir("out.safetensors"), "ids", &n, &d);
    cr_assert(d == DTYPE_I64 && n == 2 && ids[0] == 1 && ids[1] == 2);
    unlink(in_dir("out.safetensors"));
    blobs[1].bytes = other;
    write_model("b.safetensors", blobs, 2);
    REFUSED("a b", linear, QUERN_EUSAGE, "tensor 'ids'", "a.safetensors", "b.safetensors",
            "differ");
    merge("a b", text("%sbase_model: b\n", linear));
    ids = load_raw(in_dir("out.safetensors"), "ids", &n, &d);
    cr_assert(ids[1] == 3);
    unlink(in_dir("out.safetensors"));
    blobs[1].dtype = DTYPE_F64;
    write_model("b.safetensors", blobs, 2);
    REFUSED("a b", linear, QUERN_EUSAGE, "tensor 'ids'", "F64", "I64");
    CHECK_LEAKS();
}

/* ---- parameters ------------------------------------------------------------------------------ */

Test(merge, gradients_and_filters_reach_the_tensors)
{
    static const char *const names[] = {"embed.weight",   "layers.0.mlp.w", "layers.1.mlp.w",
                                        "layers.2.mlp.w", "layers.4.mlp.w", "layers.2.attn.w",
                                        "norm.weight"};
    static const float want[] = {0, 0, 0.25f, 0.5f, 1, 7, 0};
    const float x[1] = {1};
    struct blob blobs[7];
    for (size_t i = 0; i < 7; i++)
        blobs[i] = (struct blob){
            .name = names[i], .dtype = DTYPE_F32, .dims = {1, 0},
                    .bytes = x
        };
    write_model("a.safetensors", blobs, 7);
    merge("a", "merge_method: linear\nparameters: {normalize: false}\nmodels:\n  - model: a\n"
               "    parameters:\n      weight:\n        - {filter: attn, value: 7}\n"
               "        - {value: [0, 0.5, 1]}\n");
    for (size_t i = 0; i < 7; i++)
        cr_assert(load(in_dir("out.safetensors"), names[i], NULL)[0] == want[i], "%s", names[i]);
    unlink(in_dir("out.safetensors"));
    REFUSED("a",
            "merge_method: linear\nmodels: [{model: a}]\nparameters:\n  weight:\n"
            "    - {filter: self_attn, value: 7}\n    - {value: 1}\n",
            QUERN_EUSAGE, "line 5", "filter 'self_attn' is part of no tensor name", "layers.");
    REFUSED("a",
            "merge_method: linear\nmodels: [{model: a}]\nparameters:\n  weight:\n"
            "    - {filter: attn, value: 7}\n",
            QUERN_EUSAGE, "no value of 'weight' for model 'a'", "(and 5 more mistakes)");
    CHECK_LEAKS();
}
