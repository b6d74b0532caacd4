/* test_task_methods.c - task vector methods, SCE, RAM and NearSwap against their definitions. */
#include <math.h>

#include "core/philox.h"
#include "tests/merge_fixture.h"

TestSuite(task_methods, .init = begin, .fini = end);

#define NMODELS 3
#define SEED    UINT64_C(0x123456789abcdef0)

/* ---- models ---------------------------------------------------------------------------------- */

struct models {
    uint64_t rows, columns, n; /* rows 0: a vector */
    float *base, *x[NMODELS];
    double weight[NMODELS], density[NMODELS], spread;
};

static void write_one(const char *name, const float *x, const struct models *ms, bool wide)
{
    double *d = wide ? ARENA_NEW(&arena, double, ms->n) : NULL;
    for (size_t i = 0; wide && i < ms->n; i++)
        d[i] = (double)x[i];
    const struct blob b = {
        .name = "w",
        .dtype = wide ? DTYPE_F64 : DTYPE_F32,
        .dims = {ms->rows ? ms->rows : ms->columns, ms->rows ? ms->columns : 0},
        .bytes = wide ? (const void *)d : x
    };
    write_model(name, &b, 1);
}

/* Differences of few distinct sizes, some of them 0, or of many. All are multiples of 2^-20, so
 * that sums of them are exact. */
static void make_models(struct models *ms, uint64_t rows, uint64_t columns, unsigned levels,
                        bool wide)
{
    static const double weights[] = {1, 0.5, -0.25};
    ms->rows = rows;
    ms->columns = columns;
    ms->n = rows ? rows * columns : columns;
    ms->base = ARENA_NEW(&arena, float, ms->n);
    for (size_t i = 0; i < ms->n; i++)
        ms->base[i] = (float)(int)(random_bits() % 513) * 0x1p-7f - 2;
    write_one("base.safetensors", ms->base, ms, wide);
    for (size_t m = 0; m < NMODELS; m++) {
        ms->weight[m] = weights[m];
        ms->x[m] = ARENA_NEW(&arena, float, ms->n);
        for (size_t i = 0; i < ms->n; i++) {
            const int step = (int)(random_bits() % (2 * levels + 1)) - (int)levels;
            ms->x[m][i] = ms->base[i] + (float)step * (levels < 100 ? 0x1p-9f : 0x1p-20f);
        }
        write_one(text("m%zu.safetensors", m), ms->x[m], ms, wide);
    }
}

static double delta(const struct models *ms, size_t m, size_t i)
{
    return (double)(ms->x[m][i] - ms->base[i]);
}

/* ---- what is kept ---------------------------------------------------------------------------- */

static const struct models *sorted_models;
static size_t sorted_model;

/* Largest first, of equals the lower index. */
static int by_size(const void *a, const void *b)
{
    const uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    const double x = fabs(delta(sorted_models, sorted_model, i));
    const double y = fabs(delta(sorted_models, sorted_model, k));
    return x > y ? -1 : x < y ? 1 : (i > k) - (i < k);
}

/* Indexes of elements [first, first + n). */
static uint32_t *sorted(const struct models *ms, size_t m, size_t first, size_t n)
{
    uint32_t *order = ARENA_NEW(&arena, uint32_t, n);
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)(first + i);
    sorted_models = ms;
    sorted_model = m;
    qsort(order, n, sizeof *order, by_size);
    return order;
}

static void keep_middle_of(const struct models *ms, size_t m, double gamma, bool *kept)
{
    const uint32_t *order = sorted(ms, m, 0, ms->n);
    size_t k = (size_t)(ms->density[m] * (double)ms->n), top = (size_t)(gamma * (double)ms->n);
    k = k > 0 ? k : 1;
    top = top + k <= ms->n ? top : ms->n - k;
    for (size_t i = 0; i < ms->n; i++)
        kept[order[i]] = i >= top && i < top + k;
}

static bool drawn(size_t m, size_t i, double chance)
{
    const uint64_t hash = fnv1a_64(str_from("w"));
    const uint32_t key[2] = {(uint32_t)SEED, (uint32_t)(SEED >> 32)};
    const uint32_t counter[4] = {(uint32_t)(i / 4), (uint32_t)m << 24, (uint32_t)hash,
                                 (uint32_t)(hash >> 32)};
    uint32_t words[4];
    philox4x32_10(counter, key, words);
    return (double)words[i % 4] < floor(chance * 4294967296.0);
}

/* Ascending by size, of equals the lower index first. */
static int by_rank(const void *a, const void *b)
{
    const uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    const double x = fabs(delta(sorted_models, sorted_model, i));
    const double y = fabs(delta(sorted_models, sorted_model, k));
    return x < y ? -1 : x > y ? 1 : (i > k) - (i < k);
}

static void keep_by_rank(const struct models *ms, size_t m, bool *kept)
{
    const size_t n = ms->columns;
    for (size_t row = 0; row < ms->n / n; row++) {
        uint32_t *order = sorted(ms, m, row * n, n);
        qsort(order, n, sizeof *order, by_rank);
        for (size_t r = 0; r < n; r++) {
            const double place = n > 1 ? (double)r / (double)(n - 1) : 0.5;
            const double chance = ms->density[m] - ms->spread + 2 * ms->spread * place;
            kept[order[r]] = drawn(m, order[r], chance);
        }
    }
}

/* ---- the family ------------------------------------------------------------------------------ */

struct member {
    const char *name;
    enum { ALL, LARGEST, MIDDLE, DRAWN, RANKED } how;
    bool consensus, normalize, rescale; /* the last two: defaults */
};

static const struct member members[] = {
    {"task_arithmetic",  ALL,     false, false, false},
    {"ties",             LARGEST, true,  true,  false},
    {"breadcrumbs",      MIDDLE,  false, false, false},
    {"breadcrumbs_ties", MIDDLE,  true,  false, false},
    {"dare_linear",      DRAWN,   false, false, true },
    {"dare_ties",        DRAWN,   true,  false, true },
    {"della",            RANKED,  true,  true,  true },
    {"della_linear",     RANKED,  false, false, true }
};

static void choose(const struct models *ms, const struct member *f, size_t m, bool *kept)
{
    if (f->how == ALL || ms->density[m] >= 1)
        memset(kept, true, ms->n);
    else if (f->how == LARGEST || f->how == MIDDLE)
        keep_middle_of(ms, m, f->how == MIDDLE ? ms->spread : 0, kept);
    else if (f->how == RANKED)
        keep_by_rank(ms, m, kept);
    for (size_t i = 0; f->how == DRAWN && ms->density[m] < 1 && i < ms->n; i++)
        kept[i] = drawn(m, i, ms->density[m]);
}

static double stretch(const struct models *ms, size_t m, const bool *kept)
{
    double all = 0, some = 0;
    for (size_t i = 0; i < ms->n; i++) {
        all += fabs(delta(ms, m, i));
        some += kept[i] ? fabs(delta(ms, m, i)) : 0;
    }
    return all < 1e-7 || some < 1e-7 ? 1 : all / some;
}

/* The result at one element, from what counts of the differences; NAN where rounding decides. */
static double mixed(const struct models *ms, const struct member *f, bool normalize, double lambda,
                    const double part[], double base)
{
    double sum = 0, size = 0, mix = 0, divisor = 0;
    for (size_t m = 0; m < NMODELS; m++) {
        sum += part[m];
        size += fabs(part[m]);
    }
    if (f->consensus && sum != 0 && fabs(sum) < 1e-6 * size)
        return NAN;
    for (size_t m = 0; m < NMODELS; m++)
        if (!f->consensus || (sum >= 0 ? part[m] > 0 : part[m] < 0)) {
            mix += part[m];
            divisor += ms->weight[m];
        }
    if (normalize)
        mix /= divisor == 0 ? 1 : divisor;
    return base + lambda * mix;
}

static const char *family_recipe(const struct models *ms, const struct member *f, const char *more)
{
    const char *recipe = text("merge_method: %s\nbase_model: base\nparameters: {lambda: 0.75%s}\n"
                              "models:\n",
                              f->name, more);
    for (size_t m = 0; m < NMODELS; m++) {
        const char *density = f->how == ALL ? "" : text(", density: %.17g", ms->density[m]);
        const char *spread = f->how == MIDDLE   ? text(", gamma: %.17g", ms->spread)
                             : f->how == RANKED ? text(", epsilon: %.17g", ms->spread)
                                                : "";
        recipe = text("%s  - {model: m%zu, parameters: {weight: %g%s%s}}\n", recipe, m,
                      ms->weight[m], density, spread);
    }
    return recipe;
}

static void merge_seeded(const char *recipe, unsigned threads, uint64_t mem)
{
    struct merge_request req = {
        .recipe_text = recipe, .output = in_dir("out.safetensors"), .force = true, .seed = SEED};
    struct quern_error err;
    struct plan *plan;
    place(&req, "base m0 m1 m2");
    cr_assert(merge_plan(&req, &plan, &err) == QUERN_OK, "%s\n%s", recipe, err.text);
    const struct quern_run_options options = {.threads = threads, .mem_bytes = mem};
    cr_assert(plan_run(plan, &options, NULL, &err) == QUERN_OK, "%s", err.text);
    plan_free(plan);
}

static void check_member(const struct models *ms, const struct member *f, bool normalize,
                         bool rescale)
{
    bool *kept[NMODELS];
    double scale[NMODELS];
    const char *more = text(", normalize: %s%s", normalize ? "true" : "false",
                            f->how == ALL ? "" : text(", rescale: %s", rescale ? "true" : "false"));
    const char *recipe = family_recipe(ms, f, more);
    merge_seeded(recipe, 2, 0);
    const float *got = load(in_dir("out.safetensors"), "w", NULL);
    for (size_t m = 0; m < NMODELS; m++) {
        kept[m] = ARENA_NEW(&arena, bool, ms->n);
        choose(ms, f, m, kept[m]);
        scale[m] = rescale && ms->density[m] < 1 ? stretch(ms, m, kept[m]) : 1;
    }
    for (size_t i = 0; i < ms->n; i++) {
        double part[NMODELS], size = fabs((double)ms->base[i]);
        for (size_t m = 0; m < NMODELS; m++) {
            part[m] = kept[m][i] ? delta(ms, m, i) * scale[m] * ms->weight[m] : 0;
            size += 4 * fabs(part[m]);
        }
        const double want = mixed(ms, f, normalize, 0.75, part, (double)ms->base[i]);
        cr_assert(isnan(want) || fabs((double)got[i] - want) <= 1e-6 * size,
                  "%s\n%lu elements, [%zu]: %.9g, not %.9g", recipe, (unsigned long)ms->n, i,
                  (double)got[i], want);
    }
}

static void check_family(struct models *ms, size_t round)
{
    static const double densities[][NMODELS] = {
        {0.5, 0.6,  0.7 },
        {1,   0.35, 0.51},
        {0.2, 1,    2   }
    };
    static const double spreads[] = {0.01, 0.15, 0.05};
    memcpy(ms->density, densities[round % 3], sizeof ms->density);
    ms->spread = spreads[round % 3];
    for (size_t f = 0; f < sizeof members / sizeof *members; f++) {
        check_member(ms, &members[f], round % 2, round / 2 % 2);
        if (members[f].how == MIDDLE) {
            ms->spread = 0.45;
            check_member(ms, &members[f], round / 2 % 2, round % 2);
            ms->spread = spreads[round % 3];
        }
    }
}

Test(task_methods, by_definition)
{
    static const uint64_t shapes[][2] = {
        {0,  1    },
        {0,  99   },
        {3,  1    },
        {70, 129  },
        {1,  70001},
        {3,  23000}
    };
    struct models ms;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t round = s % 2; round < 4; round += s < 4 ? 1 : 2) {
            make_models(&ms, shapes[s][0], shapes[s][1], round % 2 ? 3 : 100000, false);
            check_family(&ms, s + round);
            arena_free(&arena);
        }
    CHECK_LEAKS();
}

Test(task_methods, wide_by_definition)
{
    struct models ms;
    make_models(&ms, 2, 33000, 3, true);
    check_family(&ms, 0);
    make_models(&ms, 300, 7, 100000, true);
    check_family(&ms, 3);
    CHECK_LEAKS();
}

/* Nothing of a result depends on threads, or on how much memory cuts tiles. */
Test(task_methods, same_bytes_for_any_threads_and_memory)
{
    static const char *const others[] = {"sce\nparameters: {select_topk: 0.4}", "ram",
                                         "ramplus_tl"};
    struct models ms = {
        .density = {0.3, 0.5, 0.7},
          .spread = 0.1
    };
    make_models(&ms, 15, 20011, 3, false);
    for (size_t f = 0; f < sizeof members / sizeof *members + 3; f++) {
        const size_t nmembers = sizeof members / sizeof *members;
        const char *recipe =
            f < nmembers ? family_recipe(&ms, &members[f], "")
                         : text("merge_method: %s\nbase_model: base\nmodels: [{model: m0}, {model: "
                                "m1}, {model: m2}]\n",
                                others[f - nmembers]);
        struct str first = {NULL, 0};
        for (unsigned run_number = 0; run_number < 3; run_number++) {
            struct str bytes;
            struct quern_error err;
            merge_seeded(recipe, 1 + run_number, run_number == 1 ? 24u << 20 : 0);
            cr_assert(read_small_file(in_dir("out.safetensors"), 4 << 20, &arena, &bytes, &err) ==
                      QUERN_OK);
            cr_assert(run_number == 0 || str_eq(bytes, first), "%s", recipe);
            first = bytes;
        }
    }
    CHECK_LEAKS();
}

Test(task_methods, seed_and_name_choose)
{
    struct models ms = {
        .density = {0.5, 0.5, 0.5}
    };
    make_models(&ms, 0, 1000, 100000, false);
    const char *recipe = family_recipe(&ms, &members[4], "");
    merge_seeded(recipe, 1, 0);
    const float *a = load(in_dir("out.safetensors"), "w", NULL);
    merge("base m0 m1 m2", recipe); /* seed 0 */
    const float *b = load(in_dir("out.safetensors"), "w", NULL);
    size_t differing = 0;
    for (size_t i = 0; i < ms.n; i++)
        differing += a[i] != b[i];
    cr_assert(differing > 500, "%zu", differing);
    CHECK_LEAKS();
}

/* ---- the others ------------------------------------------------------------------------------ */

static const float *merged(const char *method, const char *parameters)
{
    merge("base m0 m1 m2", text("merge_method: %s\nbase_model: base\nparameters: {%s}\n"
                                "models: [{model: m0}, {model: m1}, {model: m2}]\n",
                                method, parameters));
    return load(in_dir("out.safetensors"), "w", NULL);
}

static void all_near(const float *got, const double *want, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        cr_assert(fabs((double)got[i] - want[i]) <= 4e-7, "%s [%zu]: %.9g, not %.9g", what, i,
                  (double)got[i], want[i]);
}

static double *ram_by_definition(const struct models *ms, double epsilon, double r, double alpha)
{
    double own[NMODELS] = {0}, shared[NMODELS] = {0};
    double *y = ARENA_NEW(&arena, double, ms->n);
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < ms->n; i++) {
            unsigned count = 0;
            for (size_t m = 0; m < NMODELS; m++)
                count += fabs(delta(ms, m, i)) > epsilon;
            y[i] = (double)ms->base[i];
            for (size_t m = 0; m < NMODELS; m++) {
                if (fabs(delta(ms, m, i)) <= epsilon)
                    continue;
                (count == 1 ? own : shared)[m] += pass == 0;
                const double factor = 1 + r * fmin(alpha, shared[m] / fmax(own[m], 1));
                y[i] += delta(ms, m, i) * (count == 1 ? factor : 1.0 / count);
            }
        }
    return y;
}

Test(task_methods, ram)
{
    for (int wide = 0; wide < 2; wide++) {
        struct models ms;
        make_models(&ms, 0, 70001, 3, wide);
        all_near(merged("ram", ""), ram_by_definition(&ms, 1e-5, 0, 0), ms.n, "ram");
        all_near(merged("ram", "epsilon: 0.003"), ram_by_definition(&ms, 0.003, 0, 0), ms.n,
                 "ram epsilon");
        all_near(merged("ramplus_tl", "r: 0.5, alpha: 0.75, epsilon: 0.003"),
                 ram_by_definition(&ms, 0.003, 0.5, 0.75), ms.n, "ramplus_tl");
    }
    CHECK_LEAKS();
}

struct variance {
    double value;
    size_t at;
};

static int by_variance(const void *a, const void *b)
{
    const struct variance *x = a, *y = b;
    return x->value > y->value ? -1 : x->value < y->value ? 1 : (x->at > y->at) - (x->at < y->at);
}

static bool *varying(const struct models *ms, double share)
{
    struct variance *v = ARENA_NEW(&arena, struct variance, ms->n);
    bool *kept = ARENA_NEW(&arena, bool, ms->n);
    size_t differing = 0;
    for (size_t i = 0; i < ms->n; i++) {
        double mean = 0, sum = 0;
        for (size_t m = 0; m < NMODELS; m++)
            mean += delta(ms, m, i) / NMODELS;
        for (size_t m = 0; m < NMODELS; m++)
            sum += (delta(ms, m, i) - mean) * (delta(ms, m, i) - mean);
        v[i] = (struct variance){(double)(float)(sum / NMODELS), i};
        /* Divisions by 3 leave something of nothing. */
        if (v[i].value < 1e-20)
            v[i].value = 0;
        differing += v[i].value > 0;
    }
    qsort(v, ms->n, sizeof *v, by_variance);
    const size_t k = (size_t)(share * (double)differing);
    for (size_t i = 0; i < (share >= 1 ? ms->n : k > 0 ? k : 1); i++)
        kept[v[i].at] = true;
    return kept;
}

static double *sce_by_definition(const struct models *ms, double share)
{
    double q[NMODELS] = {0}, total = 0;
    double *y = ARENA_NEW(&arena, double, ms->n);
    const bool *kept = varying(ms, share);
    for (size_t m = 0; m < NMODELS; m++) {
        for (size_t i = 0; i < ms->n; i++)
            q[m] += kept[i] ? delta(ms, m, i) * delta(ms, m, i) / (double)ms->n : 0;
        total += q[m];
    }
    for (size_t i = 0; i < ms->n; i++) {
        double sum = 0, mix = 0, divisor = 0;
        for (size_t m = 0; m < NMODELS; m++)
            sum += delta(ms, m, i);
        for (size_t m = 0; m < NMODELS; m++)
            if (kept[i] && (sum >= 0 ? delta(ms, m, i) > 0 : delta(ms, m, i) < 0)) {
                const double weight = total < 1e-6 ? 1.0 / NMODELS : q[m] / total;
                mix += weight * delta(ms, m, i);
                divisor += weight;
            }
        y[i] = (double)ms->base[i] + mix / fmax(divisor, 1e-6);
    }
    return y;
}

Test(task_methods, sce)
{
    for (int wide = 0; wide < 2; wide++) {
        struct models ms;
        make_models(&ms, 0, 140000, 100000, wide);
        all_near(merged("sce", ""), sce_by_definition(&ms, 1), ms.n, "sce");
        all_near(merged("sce", "select_topk: 0.3"), sce_by_definition(&ms, 0.3), ms.n, "sce 0.3");
        all_near(merged("sce", "select_topk: 1e-9"), sce_by_definition(&ms, 1e-9), ms.n, "sce 1");
    }
    unlink(in_dir("out.safetensors"));
    REFUSED("base m0",
            "merge_method: sce\nbase_model: base\nmodels: [{model: m0}]\n"
            "parameters: {select_topk: 0}\n",
            QUERN_EUSAGE, "select_topk = 0");
    CHECK_LEAKS();
}

/* Two models whose differences are d and 0, -d or 2d: variances are the same in many places. */
Test(task_methods, sce_lowest_index_wins)
{
    const size_t n = 200000;
    float *base = ARENA_NEW(&arena, float, n), *x = ARENA_NEW(&arena, float, n);
    struct models ms = {.columns = n, .n = n};
    for (size_t i = 0; i < n; i++)
        x[i] = i % 2 ? 0.5f : -0.5f;
    write_one("base.safetensors", base, &ms, false);
    write_one("m0.safetensors", x, &ms, false);
    write_one("m1.safetensors", base, &ms, false);
    merge("base m0 m1", "merge_method: sce\nbase_model: base\nparameters: {select_topk: 0.37}\n"
                        "models: [{model: m0}, {model: m1}]\n");
    const float *got = load(in_dir("out.safetensors"), "w", NULL);
    for (size_t i = 0; i < n; i++)
        cr_assert(got[i] == (i < (size_t)(0.37 * (double)n) ? x[i] : 0), "[%zu]", i);
    CHECK_LEAKS();
}

Test(task_methods, nearswap)
{
    for (int wide = 0; wide < 2; wide++) {
        struct models ms;
        make_models(&ms, 0, 20000, 3, wide);
        double *want = ARENA_NEW(&arena, double, ms.n);
        for (size_t i = 0; i < ms.n; i++) {
            const double share = fmin(1, 0.003 / fmax(fabs(delta(&ms, 0, i)), 1e-6));
            want[i] = share * (double)ms.x[0][i] + (1 - share) * (double)ms.base[i];
        }
        merge("base m0", "merge_method: nearswap\nbase_model: base\nmodels: [{model: m0}]\n"
                         "parameters: {t: 0.003}\n");
        all_near(load(in_dir("out.safetensors"), "w", NULL), want, ms.n, "nearswap");
    }
    CHECK_LEAKS();
}

/* ---- rules ----------------------------------------------------------------------------------- */

Test(task_methods, ranges)
{
    static const struct {
        const char *method, *parameters, *words;
    } cases[] = {
        {"dare_ties",   "weight: 1, density: 0",                 "density = 0"   },
        {"della",       "weight: 1, density: 0.9",               "epsilon = 0.15"},
        {"della",       "weight: 1, density: 0.5, epsilon: 0.5", "below 1"       },
        {"della",       "weight: 1, density: 0.1",               "above 0"       },
        {"breadcrumbs", "weight: 1, density: 0.5, gamma: -0.1",  "gamma = -0.1"  },
        {"ram",         "epsilon: -1",                           "epsilon = -1"  },
        {"ramplus_tl",  "alpha: -1",                             "alpha = -1"    },
        {"nearswap",    "t: -1",                                 "t = -1"        },
        {"dare_linear", "density: 0.5",                          "no 'weight'"   },
    };
    struct models ms;
    make_models(&ms, 0, 4, 3, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        REFUSED(
            "base m0",
            text("merge_method: %s\nbase_model: base\nmodels: [{model: m0}]\nparameters: {%s}\n",
                 cases[i].method, cases[i].parameters),
            QUERN_EUSAGE, cases[i].words);
    /* Above 1 epsilon does not count. */
    merge("base m0", "merge_method: della\nbase_model: base\nmodels: [{model: m0}]\n"
                     "parameters: {weight: 1, density: 1}\n");
    CHECK_LEAKS();
}

/* What is not drawn may still not be NaN. */
Test(task_methods, nan_is_found_wherever_it_is)
{
    struct models ms;
    make_models(&ms, 0, 100, 3, false);
    for (size_t i = 0; i < 100; i += 9) {
        ms.x[0][i] = NAN;
        write_one("m0.safetensors", ms.x[0], &ms, false);
        ms.x[0][i] = 0;
        unlink(in_dir("out.safetensors"));
        REFUSED("base m0",
                "merge_method: dare_linear\nbase_model: base\nmodels: [{model: m0}]\n"
                "parameters: {weight: 1, density: 0.01, rescale: false}\n",
                QUERN_EFORMAT, text("the first is NaN in [%zu]", i), "m0.safetensors");
    }
    CHECK_LEAKS();
}

/* Cuts are guessed from the first elements of some chunks: here these are unlike all others. */
Test(task_methods, misleading_beginnings_of_chunks)
{
    struct models ms = {
        .density = {0.3, 0.5, 1}
    };
    for (unsigned levels = 3; levels <= 100000; levels += 99997)
        for (int kind = 0; kind < 3; kind++) {
            make_models(&ms, 0, 17 * 65536 + 5, levels, false);
            for (size_t m = 0; m < NMODELS; m++) {
                for (size_t i = 0; i < ms.n; i++)
                    if (i % 65536 < 8192)
                        ms.x[m][i] = ms.base[i] + (kind == 0   ? 0
                                                   : kind == 1 ? (float)(i % 5) * 0x1p-3f
                                                               : (float)(i % 8192) * 0x1p-15f);
                write_one(text("m%zu.safetensors", m), ms.x[m], &ms, false);
            }
            check_member(&ms, &members[1], true, false);
            check_member(&ms, &members[3], false, true);
            arena_free(&arena);
        }
    CHECK_LEAKS();
}
