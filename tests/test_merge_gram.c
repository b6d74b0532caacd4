/* test_merge_gram.c - nuslerp, multislerp, karcher, model_stock, arcee_fusion and passthrough
 * against their definitions, written down again in f64. */
#include <math.h>

#include "tests/merge_fixture.h"

TestSuite(merge_gram, .init = begin, .fini = end);

#define MOST_MODELS 5

/* The models' tensor "w" (the base first, when there is one) as f64, and what it should become. */
static double *in[MOST_MODELS], *want;
static uint64_t nrows, ncols;

static double random_unit(void)
{
    return (double)random_bits() / 0x1p31 - 1;
}

/* m0, m1 ... near each other, with a common base part, as f32 or f64. */
static void make_models(unsigned n, uint64_t rows, uint64_t cols, bool wide)
{
    nrows = rows;
    ncols = cols;
    const size_t count = rows * cols;
    want = ARENA_NEW(&arena, double, count);
    for (unsigned m = 0; m < n; m++) {
        in[m] = ARENA_NEW(&arena, double, count);
        float *narrow = ARENA_NEW(&arena, float, count);
        for (size_t i = 0; i < count; i++) {
            const double near = m ? in[0][i] : 0;
            const double u = random_unit(); /* few differences are large */
            in[m][i] = near + (m ? 0.25 * m * u * u * u : u) / 32;
            narrow[i] = (float)in[m][i];
            if (!wide)
                in[m][i] = (double)narrow[i];
        }
        const struct blob b = {
            .name = "w",
            .dtype = wide ? DTYPE_F64 : DTYPE_F32,
            .dims = {rows, cols},
            .bytes = wide ? (const void *)in[m] : narrow
        };
        write_model(text("m%u.safetensors", m), &b, 1);
    }
}

static struct str merged(const char *recipe, unsigned threads, bool small)
{
    struct merge_request req = {
        .recipe_text = recipe, .output = in_dir("out.safetensors"), .force = true};
    struct quern_error err;
    struct plan *plan;
    struct str bytes;
    char words[64] = "";
    for (unsigned m = 0; m < MOST_MODELS; m++)
        if (strstr(recipe, text("model: m%u", m)))
            strcat(words, text("m%u ", m));
    place(&req, words);
    cr_assert(merge_plan(&req, &plan, &err) == QUERN_OK, "%s\n%s", recipe, err.text);
    const struct quern_run_options options = {.threads = threads,
                                              .mem_bytes = small ? plan_min_mem(plan) : 0};
    cr_assert(plan_run(plan, &options, NULL, &err) == QUERN_OK, "%s\n%s", recipe, err.text);
    plan_free(plan);
    cr_assert(read_small_file(in_dir("out.safetensors"), 1 << 24, &arena, &bytes, &err) ==
              QUERN_OK);
    return bytes;
}

/* The merge is what was wanted, to a part of the largest weight, and the same however it is run. */
static void check(const char *recipe, double tolerance)
{
    const struct str bytes = merged(recipe, 1, false);
    uint64_t n;
    enum dtype d;
    const void *got = load_raw(in_dir("out.safetensors"), "w", &n, &d);
    double most = 0;
    cr_assert(n == nrows * ncols);
    for (uint64_t i = 0; i < n; i++)
        most = fmax(most, fabs(want[i]));
    for (uint64_t i = 0; i < n; i++) {
        const double g =
            d == DTYPE_F64 ? ((const double *)got)[i] : (double)((const float *)got)[i];
        cr_assert(fabs(g - want[i]) <= tolerance * most, "%s[%lu]: %.17g, not %.17g", recipe,
                  (unsigned long)i, g, want[i]);
    }
    cr_assert(str_eq(bytes, merged(recipe, 2, false)), "%s: two threads", recipe);
    cr_assert(str_eq(bytes, merged(recipe, 2, true)), "%s: little memory", recipe);
}

#define GRAM_REFUSED(...)                  \
    do {                                   \
        unlink(in_dir("out.safetensors")); \
        REFUSED(__VA_ARGS__);              \
    } while (0)

/* ---- vectors --------------------------------------------------------------------------------- */

/* The elements start, start + stride ... of a tensor. */
struct stretch {
    size_t start, stride, count;
};

enum layout { WHOLE, ROWS, COLUMNS };

static size_t nslices(enum layout l)
{
    return l == WHOLE ? 1 : l == ROWS ? nrows : ncols;
}

static struct stretch slice_at(enum layout l, size_t i)
{
    if (l == ROWS)
        return (struct stretch){i * ncols, 1, ncols};
    if (l == COLUMNS)
        return (struct stretch){i, ncols, nrows};
    return (struct stretch){0, 1, nrows * ncols};
}

/* Element i of model m, less the base (model 0) if there is one. */
static double value(const struct stretch *s, unsigned m, bool base, size_t i)
{
    const size_t at = s->start + i * s->stride;
    return base ? in[m][at] - in[0][at] : in[m][at];
}

static double dot(const struct stretch *s, unsigned a, unsigned b, bool base)
{
    long double sum = 0;
    for (size_t i = 0; i < s->count; i++)
        sum += (long double)value(s, a, base, i) * (long double)value(s, b, base, i);
    return (double)sum;
}

static void put(const struct stretch *s, const double *weights, unsigned first, unsigned n,
                bool base)
{
    for (size_t i = 0; i < s->count; i++) {
        double sum = base ? in[0][s->start + i * s->stride] : 0;
        for (unsigned m = 0; m < n; m++)
            sum += weights[m] * value(s, first + m, base, i);
        want[s->start + i * s->stride] = sum;
    }
}

/* ---- nuslerp --------------------------------------------------------------------------------- */

static void nuslerp_by_definition(enum layout l, double t, bool base)
{
    const unsigned a = base ? 1 : 0, b = a + 1;
    for (size_t i = 0; i < nslices(l); i++) {
        const struct stretch s = slice_at(l, i);
        const double c = dot(&s, a, b, base) / sqrt(dot(&s, a, a, base) * dot(&s, b, b, base));
        const double th = acos(c), w[] = {sin((1 - t) * th) / sin(th), sin(t * th) / sin(th)};
        put(&s, w, a, 2, base);
    }
}

static void check_nuslerp(double tolerance)
{
    static const char *const layouts[] = {"", "nuslerp_flatten: false",
                                          "nuslerp_flatten: false, nuslerp_row_wise: true"};
    for (enum layout l = WHOLE; l <= COLUMNS; l++)
        for (unsigned base = 0; base < 2; base++) {
            nuslerp_by_definition(l, 0.75, base);
            check(text("merge_method: nuslerp\n%smodels: [{model: m%u, parameters: {weight: 0.5}}, "
                       "{model: m%u, parameters: {weight: 1.5}}]\nparameters: {%s}\n",
                       base ? "base_model: m0\n" : "", base, base + 1, layouts[l]),
                  tolerance);
        }
}

/* Rows that pieces cut, rows longer than pieces, and rows that fit. */
Test(merge_gram, nuslerp)
{
    make_models(3, 300, 300, false);
    check_nuslerp(4e-7);
    make_models(3, 9, 9001, false);
    check_nuslerp(4e-7);
    make_models(3, 30, 1024, true);
    check_nuslerp(1e-13);
    CHECK_LEAKS();
}

/* Columns of very different sizes keep their angles. */
Test(merge_gram, nuslerp_of_small_columns)
{
    make_models(2, 600, 128, false);
    for (unsigned m = 0; m < 2; m++) {
        float *x = ARENA_NEW(&arena, float, nrows *ncols);
        for (size_t i = 0; i < nrows * ncols; i++) {
            x[i] = (float)ldexp(in[m][i], 20 - (int)(i % ncols) / 4);
            in[m][i] = (double)x[i];
        }
        const struct blob b = {
            .name = "w", .dtype = DTYPE_F32, .dims = {nrows, ncols},
                    .bytes = x
        };
        write_model(text("m%u.safetensors", m), &b, 1);
    }
    nuslerp_by_definition(COLUMNS, 0.5, false);
    merge("m0 m1", "merge_method: nuslerp\nmodels: [{model: m0}, {model: m1}]\nparameters: "
                   "{weight: 1, nuslerp_flatten: false, nuslerp_row_wise: true}\n");
    const float *got = load(in_dir("out.safetensors"), "w", NULL);
    for (size_t i = 0; i < nrows * ncols; i++)
        cr_assert(fabs((double)got[i] - want[i]) <= ldexp(4e-8, 20 - (int)(i % ncols) / 4), "[%zu]",
                  i);
    CHECK_LEAKS();
}

/* ---- multislerp ------------------------------------------------------------------------------ */

/* With all its tangents. */
static void multislerp_by_definition(const double *w, unsigned n, bool base)
{
    const struct stretch s = slice_at(WHOLE, 0);
    double *mu = ARENA_NEW(&arena, double, s.count), *tan = ARENA_NEW(&arena, double, s.count);
    double size[MOST_MODELS], length = 0, square = 0, mean = 0;
    for (unsigned m = 0; m < n; m++) {
        size[m] = sqrt(dot(&s, m + base, m + base, base));
        mean += w[m] * size[m];
        for (size_t i = 0; i < s.count; i++)
            mu[i] += w[m] * value(&s, m + base, base, i) / (size[m] + 1e-8);
    }
    for (size_t i = 0; i < s.count; i++)
        length += mu[i] * mu[i];
    for (size_t i = 0; i < s.count; i++)
        mu[i] /= sqrt(length);
    for (unsigned m = 0; m < n; m++) {
        double along = 0;
        for (size_t i = 0; i < s.count; i++)
            along += value(&s, m + base, base, i) / (size[m] + 1e-8) * mu[i];
        for (size_t i = 0; i < s.count; i++)
            tan[i] += w[m] * (value(&s, m + base, base, i) / (size[m] + 1e-8) - along * mu[i]);
    }
    for (size_t i = 0; i < s.count; i++)
        square += tan[i] * tan[i];
    const double q = sqrt(square) + 1e-8;
    for (size_t i = 0; i < s.count; i++)
        want[i] = (base ? in[0][i] : 0) + mean * (mu[i] * cos(q) + tan[i] * sin(q) / q);
}

Test(merge_gram, multislerp)
{
    const double w[] = {0.5, 0.125, 0.375, -0.25};
    static const char models[] = "models: [{model: m1, parameters: {weight: 0.5}}, {model: m2, "
                                 "parameters: {weight: 0.125}}, {model: m3, parameters: {weight: "
                                 "0.375}}, {model: m4, parameters: {weight: -0.25}}]\n";
    make_models(5, 70, 1999, false);
    multislerp_by_definition(w, 4, true);
    check(text("merge_method: multislerp\nbase_model: m0\nparameters: {normalize_weights: "
               "false}\n%s",
               models),
          2e-7);
    /* A base among the models is the base, nothing else. */
    check(text("merge_method: multislerp\nbase_model: m0\nparameters: {normalize_weights: "
               "false}\n%.*s, {model: m0, parameters: {weight: 9}}]\n",
               (int)strlen(models) - 2, models),
          2e-7);
    const double sums_to_1[] = {0.25, 0.25, 0.5};
    multislerp_by_definition(sums_to_1, 3, false);
    check("merge_method: multislerp\nmodels: [{model: m0, parameters: {weight: 2}}, {model: m1, "
          "parameters: {weight: 2}}, {model: m2, parameters: {weight: 4}}]\n",
          2e-7);
    CHECK_LEAKS();
}

Test(merge_gram, multislerp_edges)
{
    make_models(3, 10, 100, false);
    memcpy(want, in[0], 1000 * sizeof *want);
    check("merge_method: multislerp\nmodels: [{model: m0}]\nparameters: {weight: 3}\n", 0);
    check("merge_method: multislerp\nbase_model: m1\nmodels: [{model: m0}]\nparameters: {weight: "
          "3}\n",
          0);
    GRAM_REFUSED(
        "m0 m1 m2",
        "merge_method: multislerp\nmodels: [{model: m0, parameters: {weight: 1}}, {model: m1, "
        "parameters: {weight: -1}}, {model: m2, parameters: {weight: 0}}]\n",
        QUERN_EUSAGE, "sum to 0", "normalize_weights");
    GRAM_REFUSED("m0",
                 "merge_method: multislerp\nbase_model: m0\nmodels: [{model: m0}]\n"
                 "parameters: {weight: 1}\n",
                 QUERN_EUSAGE, "no model but the base");
    /* All models equal to the base give the base, opposite ones an error. */
    float *x = ARENA_NEW(&arena, float, N2D);
    for (size_t i = 0; i < N2D; i++)
        x[i] = (float)random_unit();
    for (unsigned m = 0; m < 4; m++)
        one_tensor(text("m%u.safetensors", m), x);
    merge("m0 m1 m2 m3", "merge_method: multislerp\nbase_model: m0\nparameters: {weight: 1}\n"
                         "models: [{model: m1}, {model: m2}, {model: m3}]\n");
    cr_assert(memcmp(load(in_dir("out.safetensors"), "w", NULL), x, N2D * sizeof *x) == 0);
    GRAM_REFUSED(
        "m0 m1 m2",
        "merge_method: multislerp\nparameters: {normalize_weights: false}\nmodels: [{model: "
        "m0, parameters: {weight: 1}}, {model: m1, parameters: {weight: -3}}, {model: m2, "
        "parameters: {weight: 2}}]\n",
        QUERN_EUSAGE, "tensor 'w'", "directions", "other weights");
    CHECK_LEAKS();
}

/* ---- karcher --------------------------------------------------------------------------------- */

/* On whole vectors, unlike the method. */
static void karcher_by_definition(unsigned n, unsigned max_iter, double tol)
{
    const size_t count = nrows * ncols;
    const struct stretch s = slice_at(WHOLE, 0);
    double *unit[MOST_MODELS], *u = ARENA_NEW(&arena, double, count);
    double *t = ARENA_NEW(&arena, double, count), mean = 0, size = 0;
    for (unsigned m = 0; m < n; m++) {
        const double length = sqrt(dot(&s, m, m, false));
        unit[m] = ARENA_NEW(&arena, double, count);
        mean += length / n;
        for (size_t i = 0; i < count; i++) {
            unit[m][i] = in[m][i] / length;
            u[i] += unit[m][i] / n;
        }
    }
    for (size_t i = 0; i < count; i++)
        size += u[i] * u[i];
    for (size_t i = 0; i < count; i++)
        u[i] /= sqrt(size);
    while (max_iter-- > 0) {
        double way = 0;
        memset(t, 0, count * sizeof *t);
        for (unsigned m = 0; m < n; m++) {
            double c = 0;
            for (size_t i = 0; i < count; i++)
                c += u[i] * unit[m][i];
            for (size_t i = 0; i < count; i++)
                t[i] += acos(c) / sin(acos(c)) / n * (unit[m][i] - c * u[i]);
        }
        for (size_t i = 0; i < count; i++)
            way += t[i] * t[i];
        way = sqrt(way);
        if (way < tol)
            break;
        for (size_t i = 0; i < count; i++)
            u[i] = cos(way) * u[i] + sin(way) * t[i] / way;
    }
    for (size_t i = 0; i < count; i++)
        want[i] = u[i] * mean;
}

Test(merge_gram, karcher)
{
    static const char models[] = "models: [{model: m0}, {model: m1}, {model: m2}, {model: m3}]\n";
    make_models(4, 50, 2800, false);
    for (unsigned n = 0; n < 3; n++) {
        karcher_by_definition(4, n, 1e-12);
        check(text("merge_method: karcher\nparameters: {max_iter: %u, tol: 1e-12}\n%s", n, models),
              3e-7);
    }
    karcher_by_definition(4, 10, 1e-5);
    check(text("merge_method: karcher\n%s", models), 3e-7);
    check("merge_method: karcher\nbase_model: m3\nmodels: [{model: m0}, {model: m1}, {model: "
          "m2}]\n",
          3e-7);
    make_models(2, 5, 20000, true);
    karcher_by_definition(2, 10, 1e-5);
    check("merge_method: karcher\nmodels: [{model: m0}, {model: m1}]\n", 1e-13);
    CHECK_LEAKS();
}

static void all_near(const float *expected, double factor, double tolerance)
{
    const float *got = load(in_dir("out.safetensors"), "w", NULL);
    for (size_t i = 0; i < N2D; i++)
        cr_assert(fabs((double)got[i] - factor * (double)expected[i]) <= tolerance,
                  "[%zu]: %.9g, not %.9g", i, (double)got[i], factor * (double)expected[i]);
}

Test(merge_gram, karcher_edges)
{
    static const char two[] = "merge_method: karcher\nmodels: [{model: m0}, {model: m1}]\n";
    float *x = ARENA_NEW(&arena, float, N2D), *y = ARENA_NEW(&arena, float, N2D);
    for (size_t i = 0; i < N2D; i++) {
        x[i] = (float)random_unit();
        y[i] = -3 * x[i];
    }
    one_tensor("m0.safetensors", x);
    merge("m0", "merge_method: karcher\nmodels: [{model: m0}]\n");
    cr_assert(memcmp(load(in_dir("out.safetensors"), "w", NULL), x, N2D * sizeof *x) == 0);
    /* Opposite: where the first points, as long as both in the mean. */
    one_tensor("m1.safetensors", y);
    merge("m0 m1", two);
    all_near(x, 2, 4e-7);
    /* Zeros have no direction, but count for the length. */
    memset(y, 0, N2D * sizeof *y);
    one_tensor("m1.safetensors", y);
    merge("m0 m1", two);
    all_near(x, 0.5, 1e-7);
    one_tensor("m0.safetensors", y);
    merge("m0 m1", two);
    all_near(x, 0, 0);
    GRAM_REFUSED("m0 m1", text("%sparameters: {max_iter: -1}\n", two), QUERN_EUSAGE, "max_iter");
    GRAM_REFUSED("m0 m1", text("%sparameters: {max_iter: 2.5}\n", two), QUERN_EUSAGE,
                 "a whole number");
    GRAM_REFUSED("m0 m1", text("%sparameters: {tol: -1}\n", two), QUERN_EUSAGE, "tol");
    CHECK_LEAKS();
}

/* ---- model_stock ----------------------------------------------------------------------------- */

static void stock_by_definition(enum layout l, unsigned n)
{
    for (size_t i = 0; i < nslices(l); i++) {
        const struct stretch s = slice_at(l, i);
        double sum = 0, w[MOST_MODELS];
        for (unsigned a = 1; a <= n; a++)
            for (unsigned b = a + 1; b <= n; b++)
                sum += dot(&s, a, b, true) /
                       fmax(sqrt(dot(&s, a, a, true) * dot(&s, b, b, true)), 1e-6);
        const double c = sum / (n * (n - 1) / 2);
        for (unsigned m = 0; m < n; m++)
            w[m] = c / (1 + (n - 1) * c);
        put(&s, w, 1, n, true);
    }
}

Test(merge_gram, model_stock)
{
    static const char models[] =
        "merge_method: model_stock\nbase_model: m0\nmodels: [{model: m1}, {model: m2}, {model: "
        "m3}, {model: m4}]\n";
    make_models(5, 400, 301, false);
    stock_by_definition(WHOLE, 4);
    check(models, 2e-7);
    stock_by_definition(ROWS, 4);
    check(text("%sparameters: {filter_wise: true}\n", models), 1e-6);
    make_models(5, 7, 10000, true);
    stock_by_definition(ROWS, 4);
    check(text("%sparameters: {filter_wise: true}\n", models), 1e-12);
    CHECK_LEAKS();
}

Test(merge_gram, model_stock_edges)
{
    static const char two[] =
        "merge_method: model_stock\nbase_model: m0\nmodels: [{model: m1}, {model: m2}]\n";
    float *x[3];
    for (unsigned m = 0; m < 3; m++)
        x[m] = ARENA_NEW(&arena, float, N2D);
    for (size_t i = 0; i < N2D; i++) {
        x[0][i] = 1;
        x[1][i] = 1 + (float)(i % 7) / 8;
        x[2][i] = 1 - (float)(i % 7) / 8;
    }
    for (unsigned m = 0; m < 3; m++)
        one_tensor(text("m%u.safetensors", m), x[m]);
    GRAM_REFUSED("m0 m1 m2", two, QUERN_EUSAGE, "tensor 'w'", "away from each other", "cosine");
    GRAM_REFUSED("m0 m1 m2", text("%sparameters: {filter_wise: true}\n", two), QUERN_EFORMAT,
                 "tensor 'w'", "element 0", "NaN");
    GRAM_REFUSED("m0 m1", "merge_method: model_stock\nbase_model: m0\nmodels: [{model: m1}]\n",
                 QUERN_EUSAGE, "at least 3", "base_model included");
    one_tensor("m1.safetensors", x[0]);
    one_tensor("m2.safetensors", x[0]);
    merge("m0 m1 m2", two);
    all_near(x[0], 1, 0);
    CHECK_LEAKS();
}

/* ---- arcee_fusion ---------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double softmax_at(const double *x, size_t n, size_t i)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += exp(x[k]);
    return exp(x[i]) / sum + 1e-8;
}

static void row_divergence(const double *x, const double *b, size_t n, float *importance)
{
    double k = 0, px = softmax_at(x, n, 0) - 1e-8, qb = softmax_at(b, n, 0) - 1e-8;
    for (size_t i = 0; i < n; i++) {
        const double p = px * exp(x[i] - x[0]) + 1e-8, q = qb * exp(b[i] - b[0]) + 1e-8;
        k += p * log(p / q);
    }
    for (size_t i = 0; i < n; i++)
        importance[i] = fabsf((float)x[i] - (float)b[i]) * (float)k;
}

/* The threshold by sorting; elements that lie at it may fall either way, as the divergence has
 * rounding errors. */
static void check_fusion(const char *recipe)
{
    const size_t n = nrows * ncols;
    float *importance = ARENA_NEW(&arena, float, n), *sorted = ARENA_NEW(&arena, float, n);
    for (size_t r = 0; r < nrows; r++)
        row_divergence(in[1] + r * ncols, in[0] + r * ncols, ncols, importance + r * ncols);
    memcpy(sorted, importance, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_value);
    const double threshold = (double)sorted[(n - 1) / 2] +
                             1.5 * ((double)sorted[3 * (n - 1) / 4] - (double)sorted[(n - 1) / 4]);
    const struct str bytes = merged(recipe, 1, false);
    const float *got = load(in_dir("out.safetensors"), "w", NULL);
    size_t ntaken = 0, nnear = 0;
    for (size_t i = 0; i < n; i++) {
        const bool taken = (double)importance[i] >= threshold;
        const bool near = fabs((double)importance[i] - threshold) <= 1e-6 * threshold;
        const double fused = taken ? in[1][i] : in[0][i];
        ntaken += taken;
        nnear += near;
        cr_assert(near || fabs((double)got[i] - fused) <= 1e-8, "[%zu]: %.9g, not %.9g", i,
                  (double)got[i], fused);
    }
    cr_assert(ntaken > n / 50 && ntaken < n / 4 && nnear < n / 1000, "%zu taken, %zu near", ntaken,
              nnear);
    cr_assert(str_eq(bytes, merged(recipe, 2, true)), "two threads, little memory");
}

Test(merge_gram, arcee_fusion)
{
    static const char recipe[] =
        "merge_method: arcee_fusion\nbase_model: m0\nmodels: [{model: m1}]\n";
    make_models(2, 300, 450, false);
    check_fusion(recipe);
    make_models(2, 6, 20000, false);
    check_fusion(recipe);
    /* So many rows that their divergences are not kept. */
    make_models(2, (1 << 18) + 1, 2, false);
    check_fusion(recipe);
    CHECK_LEAKS();
}

/* Very negative rows, whose exponentials are all 0 before the largest is taken out. */
Test(merge_gram, arcee_fusion_edges)
{
    static const char recipe[] =
        "merge_method: arcee_fusion\nbase_model: m0\nmodels: [{model: m1}]\n";
    float *x = ARENA_NEW(&arena, float, N2D), *y = ARENA_NEW(&arena, float, N2D);
    for (size_t i = 0; i < N2D; i++)
        x[i] = -5000 - (float)random_unit();
    memcpy(y, x, N2D * sizeof *y);
    one_tensor("m0.safetensors", x);
    one_tensor("m1.safetensors", y);
    merge("m0 m1", recipe);
    all_near(x, 1, 0);
    y[77] = -4990;
    one_tensor("m1.safetensors", y);
    merge("m0 m1", recipe);
    all_near(y, 1, 0);
    GRAM_REFUSED("m0 m1", "merge_method: arcee_fusion\nmodels: [{model: m0}, {model: m1}]\n",
                 QUERN_EUSAGE, "base_model");
    CHECK_LEAKS();
}

/* ---- passthrough ----------------------------------------------------------------------------- */

Test(merge_gram, passthrough)
{
    uint16_t *x = ARENA_NEW(&arena, uint16_t, N2D), *y = ARENA_NEW(&arena, uint16_t, N2D);
    for (size_t i = 0; i < N2D; i++) {
        x[i] = (uint16_t)random_bits() & 0xBFFF;
        y[i] = 0x3F80;
    }
    x[5] = 0x8001; /* below what is normal */
    const struct blob blobs[] = {
        {.name = "a.o_proj", .dtype = DTYPE_BF16, .dims = {N2D}, .bytes = y},
        {.name = "b",        .dtype = DTYPE_BF16, .dims = {N2D}, .bytes = x}
    };
    uint64_t n;
    enum dtype d;
    write_model("m0.safetensors", blobs, 2);
    merge("m0", "merge_method: passthrough\nmodels: [{model: m0, parameters: {scale: [{filter: "
                "o_proj, value: 0.3}, {value: 1}]}}]\n");
    const uint16_t *got = load_raw(in_dir("out.safetensors"), "b", &n, &d);
    cr_assert(d == DTYPE_BF16 && memcmp(got, x, N2D * sizeof *x) == 0);
    got = load_raw(in_dir("out.safetensors"), "a.o_proj", &n, &d);
    for (size_t i = 0; i < N2D; i++)
        cr_assert(got[i] == 0x3E9A); /* 0.3 */
    merge("m0", "merge_method: passthrough\nmodels: [{model: m0}]\nparameters: {scale: [{filter: "
                "o_proj, value: 0}]}\n");
    got = load_raw(in_dir("out.safetensors"), "a.o_proj", &n, &d);
    cr_assert(got[0] == 0 && got[N2D - 1] == 0);
    GRAM_REFUSED("m0", "merge_method: passthrough\nbase_model: m1\nmodels: [{model: m0}]\n",
                 QUERN_EUSAGE, "no base_model");
    GRAM_REFUSED("m0 m1", "merge_method: passthrough\nmodels: [{model: m0}, {model: m1}]\n",
                 QUERN_EUSAGE, "2 models");
    CHECK_LEAKS();
}

/* ---- recipes --------------------------------------------------------------------------------- */

Test(merge_gram, bases_and_weights)
{
    make_models(2, 10, 10, false);
    GRAM_REFUSED("m0 m1",
                 "merge_method: nuslerp\nbase_model: m0\nmodels: [{model: m0}, {model: m1}]\n"
                 "parameters: {weight: 1}\n",
                 QUERN_EUSAGE, "1 model besides the base", "a third");
    GRAM_REFUSED(
        "m0 m1",
        "merge_method: nuslerp\nmodels: [{model: m0, parameters: {weight: 1000}}, {model: m1, "
        "parameters: {weight: -999.999}}]\n",
        QUERN_EUSAGE, "nearly cancel");
    /* Opposite weights count alike. */
    nuslerp_by_definition(WHOLE, 0.5, false);
    check("merge_method: nuslerp\nmodels: [{model: m0, parameters: {weight: 1}}, {model: m1, "
          "parameters: {weight: -1}}]\n",
          2e-7);
    CHECK_LEAKS();
}
