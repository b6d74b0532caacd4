/* test_merge_golden.c - merges of every method against results that mergekit recorded. */
#include <math.h>

#include "merge/arith.h"
#include "merge/task_vector.h"
#include "tests/merge_fixture.h"

TestSuite(merge_golden, .init = begin, .fini = end);

#define NCASES 141 /* results: 47 recipes, 3 tensors each */
#define NEDGES 34

static const char *const tensors[] = {"w2d", "b1d", "embed"};
static const char *const roles[] = {"base", "ft0", "ft1", "ft2", "ft1x"};

/* Dimensions of a golden tensor by its number of elements. */
static void set_dims(struct blob *b, uint64_t nelems)
{
    static const uint64_t dims[][2] = {
        {64, 96},
        {96, 0 },
        {50, 64},
        {53, 64}
    };
    for (size_t i = 0; i < 4; i++)
        if (dims[i][0] * (dims[i][1] ? dims[i][1] : 1) == nelems)
            memcpy(b->dims, dims[i], sizeof b->dims);
    cr_assert(b->dims[0] > 0);
}

/* base.safetensors, ft0.safetensors ... from the vectors of one type. */
static void golden_models(const char *vectors)
{
    for (size_t r = 0; r < 5; r++) {
        struct blob blobs[3];
        for (size_t k = 0; k < 3; k++) {
            uint64_t n;
            blobs[k] = (struct blob){.name = tensors[k]};
            blobs[k].bytes =
                load_raw(vectors, text("%s.%s", tensors[k], roles[r]), &n, &blobs[k].dtype);
            set_dims(&blobs[k], n);
        }
        write_model(text("%s.safetensors", roles[r]), blobs, 3);
    }
}

/* Can quern merge with the method of this recipe? */
static bool method_is_there(const char *recipe)
{
    struct quern_error err;
    const struct method *m;
    char name[32];
    cr_assert(sscanf(recipe, "merge_method: %31[a-z_]", name) == 1);
    const enum quern_status status = method_find(str_from(name), &m, &err);
    cr_assert(status == QUERN_OK || status == QUERN_EUNSUPPORTED, "%s", err.text);
    return status == QUERN_OK;
}

static const char *golden_recipe(const char *name)
{
    struct quern_error err;
    struct str recipe;
    const char *path = text(DATA "recipes/%s.yml", name);
    cr_assert(read_small_file(path, 10000, &arena, &recipe, &err) == QUERN_OK, "%s", err.text);
    return recipe.p;
}

/* The models that a recipe names. */
static const char *words_of(const char *recipe)
{
    const char *words = "";
    for (size_t i = 0; i < 5; i++)
        if (strstr(recipe, text("model: %s\n", roles[i])))
            words = text("%s%s ", words, roles[i]);
    return words;
}

static void golden_merge(const char *recipe, const char *more)
{
    merge(words_of(recipe), text("%s%s", recipe, more));
}

/* ---- values, once rounded -------------------------------------------------------------------- */

struct golden {
    char name[64], tensor[16];
    double tolerance;
    unsigned off, off_bf16; /* elements that may be off: on the other side of a threshold */
};

/* Calls merge_it for every recipe of cases.tsv, then check for each of its tensors. */
static void each_case(void (*merge_it)(const char *recipe), void (*check)(const struct golden *g))
{
    FILE *f = fopen(DATA "cases.tsv", "r");
    cr_assert(f);
    char line[256], merged[64] = "";
    struct golden g;
    unsigned ndone = 0, nmissing = 0;
    bool there = false;
    while (fgets(line, sizeof line, f)) {
        if (line[0] == '#')
            continue;
        cr_assert(sscanf(line, "%63s %15s %lf %u %u", g.name, g.tensor, &g.tolerance, &g.off,
                         &g.off_bf16) == 5);
        if (strcmp(g.name, merged) != 0) {
            const char *recipe = golden_recipe(strcpy(merged, g.name));
            there = method_is_there(recipe);
            if (there)
                merge_it(recipe);
        }
        if (there)
            check(&g);
        ndone += there;
        nmissing += !there;
    }
    fclose(f);
    cr_log_info("%u results checked, %u of methods that are not there", ndone, nmissing);
    cr_assert(ndone == NCASES && nmissing == 0);
}

static void run_plain(const char *recipe)
{
    golden_merge(recipe, "");
}

static void check_f32(const struct golden *g)
{
    uint64_t n;
    unsigned off = 0;
    const float *got = load(in_dir("out.safetensors"), g->tensor, &n);
    const float *want =
        load(DATA "expected_f32.safetensors", text("f32/%s/%s", g->name, g->tensor), NULL);
    for (uint64_t i = 0; i < n; i++) {
        off += !(fabs((double)got[i] - (double)want[i]) <= g->tolerance);
        cr_assert(off <= g->off, "%s/%s[%lu]: %.9g, not %.9g", g->name, g->tensor, (unsigned long)i,
                  (double)got[i], (double)want[i]);
    }
}

Test(merge_golden, f32)
{
    golden_models(DATA "inputs_f32.safetensors");
    each_case(run_plain, check_f32);
    CHECK_LEAKS();
}

static unsigned long nsame, nboundary, nskipped;

/* The exclusions of this case, or NULL. */
static const uint8_t *exclusions(const char *file, const struct golden *g)
{
    struct model *m;
    struct quern_error err;
    const char *name = text("exclude/%s/%s", g->name, g->tensor);
    cr_assert(model_open(file, &m, &err) == QUERN_OK, "%s", err.text);
    const bool has = model_find(m, str_from(name)) != NULL;
    model_close(m);
    uint64_t n;
    enum dtype d;
    return has ? load_raw(file, name, &n, &d) : NULL;
}

/* Leaves the values before rounding in unrounded.safetensors. */
static void run_twice(const char *recipe)
{
    golden_merge(recipe, "out_dtype: float32\n");
    cr_assert(rename(in_dir("out.safetensors"), in_dir("unrounded.safetensors")) == 0);
    golden_merge(recipe, "");
}

/* Equal, or one unit apart where the unrounded value lies on the boundary between the two. */
static void check_bf16(const struct golden *g)
{
    uint64_t n;
    unsigned off = 0;
    const char *file = DATA "expected_bf16.safetensors";
    const float *got = load(in_dir("out.safetensors"), g->tensor, &n);
    const float *unrounded = load(in_dir("unrounded.safetensors"), g->tensor, NULL);
    const float *want = load(file, text("bf16/%s/%s", g->name, g->tensor), NULL);
    const uint8_t *skip = exclusions(file, g);
    for (uint64_t i = 0; i < n; i++) {
        if (skip && skip[i]) {
            nskipped++;
            continue;
        }
        nsame += got[i] == want[i];
        if (got[i] == want[i])
            continue;
        const double middle = ((double)got[i] + (double)want[i]) / 2;
        const bool boundary = fabs((double)unrounded[i] - middle) <= g->tolerance;
        nboundary += boundary;
        off += !boundary;
        cr_assert(off <= g->off_bf16, "%s/%s[%lu]: %.9g, not %.9g (%.9g)", g->name, g->tensor,
                  (unsigned long)i, (double)got[i], (double)want[i], (double)unrounded[i]);
    }
}

Test(merge_golden, bf16_rounded_once)
{
    golden_models(DATA "inputs_bf16.safetensors");
    each_case(run_twice, check_bf16);
    cr_log_info("bf16: %lu equal, %lu one unit off at a boundary, %lu skipped", nsame, nboundary,
                nskipped);
    cr_assert(nboundary * 1000 < nsame);
    CHECK_LEAKS();
}

/* Every instruction set gives the same bytes. */
Test(merge_golden, kernels_agree)
{
    static const char *const cases[] = {"linear_norm", "slerp_far_t0.35", "ties_mixed",
                                        "ties_nonorm_rescale"};
    golden_models(DATA "inputs_bf16.safetensors");
    for (size_t c = 0; c < 4; c++) {
        struct str first = {NULL, 0};
        for (size_t i = 0; codec_table(i); i++) {
            struct str bytes;
            struct quern_error err;
            cr_assert(codec_set(codec_table(i)->name));
            golden_merge(golden_recipe(cases[c]), "out_dtype: float32\n");
            cr_assert(read_small_file(in_dir("out.safetensors"), 1 << 20, &arena, &bytes, &err) ==
                      QUERN_OK);
            cr_assert(i == 0 || str_eq(bytes, first), "%s: %s", cases[c], codec_table(i)->name);
            first = bytes;
        }
    }
    codec_set(NULL);
    CHECK_LEAKS();
}

/* ---- rounded after every operation ----------------------------------------------------------- */

static bool can_be_exact(const char *recipe)
{
    struct quern_error err;
    const struct method *m;
    char name[32];
    cr_assert(sscanf(recipe, "merge_method: %31[a-z_]", name) == 1);
    return method_find(str_from(name), &m, &err) == QUERN_OK && m->exact;
}

static void run_exact(const char *recipe)
{
    struct merge_request req = {.recipe_text = recipe,
                                .output = in_dir("out.safetensors"),
                                .force = true,
                                .mergekit_exact = true};
    struct quern_error err;
    place(&req, words_of(recipe));
    unlink(req.output);
    const enum quern_status status = run(&req, &err);
    cr_assert(status == (can_be_exact(recipe) ? QUERN_OK : QUERN_EUNSUPPORTED), "%s", err.text);
}

static unsigned long nexact;

static void check_exactly(const struct golden *g, const char *file, const char *kind,
                          const char *exclude)
{
    if (!can_be_exact(golden_recipe(g->name)))
        return;
    uint64_t n;
    const float *got = load(in_dir("out.safetensors"), g->tensor, &n);
    const float *want = load(file, text("%s/%s/%s", kind, g->name, g->tensor), NULL);
    const uint8_t *skip = exclude ? exclusions(exclude, g) : NULL;
    for (uint64_t i = 0; i < n; i++) {
        nexact += got[i] == want[i];
        cr_assert(got[i] == want[i] || (skip && skip[i]), "%s/%s[%lu]: %.9g, not %.9g", g->name,
                  g->tensor, (unsigned long)i, (double)got[i], (double)want[i]);
    }
}

static void check_exact_bf16(const struct golden *g)
{
    const char *file = DATA "exact_bf16.safetensors";
    check_exactly(g, file, "exact", file);
}

Test(merge_golden, bf16_exactly_as_mergekit)
{
    golden_models(DATA "inputs_bf16.safetensors");
    each_case(run_exact, check_exact_bf16);
    cr_assert(nexact > 100000, "%lu", nexact);
    CHECK_LEAKS();
}

/* But for rescaling, whose sums depend on how torch adds in f32. */
static void check_exact_f32(const struct golden *g)
{
    if (!strstr(golden_recipe(g->name), "rescale: true"))
        check_exactly(g, DATA "expected_f32.safetensors", "f32", NULL);
}

Test(merge_golden, f32_exactly_as_mergekit)
{
    golden_models(DATA "inputs_f32.safetensors");
    each_case(run_exact, check_exact_f32);
    cr_assert(nexact > 100000, "%lu", nexact);
    CHECK_LEAKS();
}

/* ---- recorded random choices ----------------------------------------------------------------- */

#define NRANDOM 28

static const uint8_t *masks; /* bit m of element i: the difference of model m counts there */

static void recorded(const struct task_vector *t, unsigned model, uint64_t first, size_t n,
                     uint32_t *bits)
{
    (void)t;
    for (size_t i = 0; i < n; i++)
        bits[i] = masks[first + i] >> model & 1 ? 0 : UINT32_MAX;
}

/* As mergekit, which rounds after each of these operations too. */
static void make_exact(struct task_vector *t)
{
    float total = 0;
    t->exact = DTYPE_BF16;
    t->lambda = (double)round_value(t->exact, (float)t->lambda);
    for (unsigned m = 0; m < t->nmodels; m++) {
        t->weight[m] = (double)round_value(t->exact, (float)t->weight[m]);
        total += (float)t->weight[m];
    }
    t->total = (double)round_value(t->exact, total);
}

/* The result of a recipe with the recorded draws. */
static float *merge_recorded(const char *recipe, bool exact)
{
    struct merge_request req = {
        .recipe_text = recipe, .output = in_dir("out.safetensors"), .force = true};
    struct quern_error err;
    struct plan *plan;
    place(&req, words_of(recipe));
    cr_assert(merge_plan(&req, &plan, &err) == QUERN_OK, "%s", err.text);
    cr_assert(plan->nsteps == 1);
    struct task_vector *t = (struct task_vector *)plan->steps[0].params;
    t->draw = recorded;
    if (exact)
        make_exact(t);
    const struct quern_run_options options = {.threads = 2};
    cr_assert(plan_run(plan, &options, NULL, &err) == QUERN_OK, "%s", err.text);
    plan_free(plan);
    return load(in_dir("out.safetensors"), "w", NULL);
}

/* All roles with one tensor of the golden vectors, called w. */
static void one_golden_tensor(const char *tensor, const char *type)
{
    for (size_t r = 0; r < 4; r++) {
        uint64_t n;
        struct blob b = {.name = "w"};
        b.bytes = load_raw(text(DATA "inputs_%s.safetensors", type),
                           text("%s.%s", tensor, roles[r]), &n, &b.dtype);
        set_dims(&b, n);
        write_model(text("%s.safetensors", roles[r]), &b, 1);
    }
}

static void check_drawn(const char *id, const char *recipe, bool exact)
{
    uint64_t n;
    enum dtype d;
    const char *file = DATA "random.safetensors";
    masks = load_raw(file, text("%s/masks", id), &n, &d);
    const float *want = load(file, text("%s/out", id), NULL);
    const float *got = merge_recorded(recipe, exact);
    for (uint64_t i = 0; i < n; i++)
        cr_assert(exact ? got[i] == want[i] : fabsf(got[i] - want[i]) <= 2.5e-7f,
                  "%s[%lu]: %.9g, not %.9g", id, (unsigned long)i, (double)got[i], (double)want[i]);
}

/* The value of a key that all models of the recipe share, or 0. */
static double value_in(const char *recipe, const char *key)
{
    const char *found = strstr(recipe, text(" %s: ", key));
    return found ? strtod(found + strlen(key) + 3, NULL) : 0;
}

/* quern's own draws keep about as many elements as they should: of differences that are never 0,
 * with the densities of the recipe and three seeds. */
static void check_counts(const char *tensor, const char *recipe, const double expected[3],
                         const double sigma[3])
{
    uint64_t n;
    struct blob b = {.name = "w", .dtype = DTYPE_F32};
    float *x = load(DATA "inputs_f32.safetensors", text("%s.base", tensor), &n);
    for (uint64_t i = 0; i < n; i++)
        x[i] = fabsf(x[i]) + 0.001f;
    set_dims(&b, n);
    b.bytes = ARENA_NEW(&arena, float, n);
    write_model("base.safetensors", &b, 1);
    b.bytes = x;
    write_model("ft0.safetensors", &b, 1);
    char method[32];
    cr_assert(sscanf(recipe, "merge_method: %31[a-z_]", method) == 1);
    const double epsilon = value_in(recipe, "epsilon");
    const char *one = text("merge_method: %s\nbase_model: base\nmodels: [{model: ft0}]\n"
                           "parameters: {weight: 1, density: %g%s}\n",
                           method, value_in(recipe, "density"),
                           epsilon > 0 ? text(", epsilon: %g", epsilon) : "");
    for (uint64_t k = 0; k < 3; k++) {
        struct merge_request req = {
            .recipe_text = one, .output = in_dir("out.safetensors"), .force = true, .seed = k};
        struct quern_error err;
        place(&req, "base ft0");
        cr_assert(run(&req, &err) == QUERN_OK, "%s", err.text);
        const float *y = load(in_dir("out.safetensors"), "w", NULL);
        double kept = 0;
        for (uint64_t i = 0; i < n; i++)
            kept += y[i] != 0;
        cr_assert(fabs(kept - expected[k]) <= 5 * sigma[k], "%s: %g kept, not %g +- %g", one, kept,
                  expected[k], sigma[k]);
    }
}

Test(merge_golden, random)
{
    FILE *f = fopen(DATA "random.tsv", "r");
    cr_assert(f);
    char line[256], name[64], tensor[16], type[8];
    unsigned n = 0;
    while (fgets(line, sizeof line, f)) {
        double expected[3], sigma[3];
        if (line[0] == '#')
            continue;
        cr_assert(sscanf(line, "%63s %15s %7s %lf %lf %lf %lf %lf %lf", name, tensor, type,
                         &expected[0], &sigma[0], &expected[1], &sigma[1], &expected[2],
                         &sigma[2]) == 9);
        const char *id = text("%s/%s/%s", name, tensor, type), *recipe = golden_recipe(name);
        one_golden_tensor(tensor, type);
        check_drawn(id, recipe, strcmp(type, "bf16") == 0);
        check_counts(tensor, recipe, expected, sigma);
        n++;
    }
    fclose(f);
    cr_assert(n == NRANDOM);
    CHECK_LEAKS();
}

/* ---- edge cases ------------------------------------------------------------------------------ */

#define EMBED "model.embed_tokens.weight"

struct edge {
    const char *id;
    const char *recipe; /* but for the models, which are the inputs, and equal weights */
    /* "role=values role=values": values are 0, a name in inputs_f32, one in edge, or -name. */
    const char *inputs;
    const char *want; /* values, or the words of an error, separated by | */
    double tolerance;
    enum quern_status status;
    bool embed; /* the tensor is one of embeddings */
};

#define SLERP "merge_method: slerp\nbase_model: base\nparameters: {t: "
#define FLAT  "merge_method: nuslerp\nparameters: {weight: 1}\n"
#define TIES  "merge_method: ties\nbase_model: base\nparameters: {weight: 1, density: "
#define BREAD "merge_method: breadcrumbs\nbase_model: base\nparameters: {weight: 1, density: "
#define STOCK "merge_method: model_stock\nbase_model: base\n"

static const struct edge edges[NEDGES] = {
    {"slerp_identical",          SLERP "0.4}\n",                                                       "base=w2d.base ft0=w2d.base",                                "slerp_identical/out",        1.2e-7,
     QUERN_OK,                                                                                                                                                                                                          false},
    {"slerp_zero_b",             SLERP "0.4}\n",                                                       "base=w2d.base ft0=0",                                       "slerp_zero_b/out",           1e-7,   QUERN_OK,
     false                                                                                                                                                                                                                   },
    {"slerp_both_zero",          SLERP "0.5}\n",                                                       "base=0 ft0=0",                                              "0",                          0,      QUERN_OK,     false},
    {"slerp_anti",               SLERP "0.25}\n",                                                      "base=w2d.base ft0=-w2d.base",                               "slerp_anti/out",             1e-7,   QUERN_OK,
     false                                                                                                                                                                                                                   },
    {"slerp_t_out_of_range",     SLERP "1.5}\n",                                                       "base=w2d.base ft0=w2d.ft1x",
     "slerp_t_out_of_range/out",                                                                                                                                                                  5e-7,   QUERN_OK,     false},
    {"nuslerp_rows_zero",
     "merge_method: nuslerp\nparameters: {weight: 1, nuslerp_flatten: false}\n",                       "ft0=nuslerp_rows_zero/in.ft0 ft1=nuslerp_rows_zero/in.ft1", "nuslerp_rows_zero/out",      5e-7,
     QUERN_OK,                                                                                                                                                                                                          false},
    {"nuslerp_identical",        FLAT,                                                                 "ft0=w2d.base ft1=w2d.base",                                 "w2d.base",                   2.5e-7, QUERN_OK,     false},
 /* mergekit divides noise by noise; the mean of a and -a is 0. */
    {"nuslerp_anti",             FLAT,                                                                 "ft0=w2d.base ft1=-w2d.base",                                "0",                          1e-7,   QUERN_OK,     false},
    {"nuslerp_w_zero_sum",       "merge_method: nuslerp\nparameters: {weight: 0}\n",
     "ft0=w2d.ft0 ft1=w2d.ft1",                                                                                                                                     "nuslerp_w_zero_sum/out",     5e-7,   QUERN_OK,     false},
    {"multislerp_anti_equal",    "merge_method: multislerp\nparameters: {weight: 1}\n",
     "ft0=w2d.base ft1=-w2d.base",                                                                                                                                  "0",                          1e-7,   QUERN_OK,     false},
    {"multislerp_anti3",         "merge_method: multislerp\nparameters: {weight: 1}\n",
     "ft0=w2d.base ft1=-w2d.base ft2=0",                                                                                                                            "'w'",                        0,      QUERN_EUSAGE, false},
    {"karcher_zero_member",      "merge_method: karcher\n",                                            "ft0=w2d.base ft1=w2d.ft1 ft2=0",
     "karcher_zero_member/out",                                                                                                                                                                   5e-7,   QUERN_OK,     false},
    {"karcher_all_zero",         "merge_method: karcher\n",                                            "ft0=0 ft1=0",                                               "0",                          0,      QUERN_OK,     false},
 /* Every direction is as good: what counts is that it ends, with the right norm. */
    {"karcher_anti",             "merge_method: karcher\n",                                            "ft0=w2d.base ft1=-w2d.base",                                "norm of w2d.base",
     1e-6,                                                                                                                                                                                                QUERN_OK,     false},
    {"stock_same",               STOCK,                                                                "base=w2d.base ft0=w2d.base ft1=w2d.base",                   "w2d.base",                   1.2e-7, QUERN_OK,
     false                                                                                                                                                                                                                   },
 /* Differences d and -d: mergekit makes Inf and NaN of the division by 0. */
    {"stock_anti",               STOCK,                                                                "base=w2d.base ft0=stock_anti/in.ft0 ft1=stock_anti/in.ft1", "'w'",                        0,
     QUERN_EUSAGE,                                                                                                                                                                                                      false},
    {"linear_zero_weights_norm", "merge_method: linear\nparameters: {weight: 0}\n",
     "ft0=w2d.ft0 ft1=w2d.ft1",                                                                                                                                     "sum to 0|normalize",         0,      QUERN_EUSAGE, false},
    {"ties_magnitude_ties",      TIES "0.3}\n",                                                        "base=0 ft0=ties_magnitude_ties/in.ft0",
     "but for |0.015625| ties_magnitude_ties/out",                                                                                                                                                0,      QUERN_OK,     false},
    {"bread_magnitude_ties",     BREAD "0.5, gamma: 0.05}\n",                                          "base=0 ft0=ties_magnitude_ties/in.ft0",
     "but for |0.03125| bread_magnitude_ties/out",                                                                                                                                                0,      QUERN_OK,     false},
 /* mergekit loses the whole difference. Here nothing is too large: a tenth is dropped. */
    {"bread_small_tensor_bug",   BREAD "0.9}\n",                                                       "base=b1d.base ft0=b1d.ft0",
     "all but the 10 smallest of b1d.base b1d.ft0",                                                                                                                                               6e-8,   QUERN_OK,     false},
 /* Below one element: mergekit stops, quern keeps one. */
    {"ties_density0",            TIES "0.005}\n",                                                      "base=b1d.base ft0=b1d.ft0",
     "all but the 95 smallest of b1d.base b1d.ft0",                                                                                                                                               6e-8,   QUERN_OK,     false},
    {"ties_sign_tie",            TIES "1}\n",
     "base=0 ft0=ties_magnitude_ties/in.ft0 ft1=-ties_magnitude_ties/in.ft0",                                                                                       "ties_sign_tie/out",
     0,                                                                                                                                                                                                   QUERN_OK,     false},
    {"linear_embed_mismatch",    "merge_method: linear\nparameters: {weight: 1}\n",
     "ft0=embed.base ft1=linear_embed_mismatch/in.ft1",                                                                                                             EMBED "|53",                  0,      QUERN_EUSAGE, true },
    {"ties_embed_bigger_ft",     TIES "1}\n",                                                          "base=embed.base ft0=linear_embed_mismatch/in.ft1",
     EMBED "|53",                                                                                                                                                                                 0,      QUERN_EUSAGE, true },
    {"ties_embed_smaller_ft",    TIES "1}\n",                                                          "base=linear_embed_mismatch/in.ft1 ft0=embed.base",
     EMBED "|53",                                                                                                                                                                                 0,      QUERN_EUSAGE, true },
    {"ties_nonembed_mismatch",   TIES "1}\n",                                                          "base=embed.base ft0=linear_embed_mismatch/in.ft1",
     "'w'|53",                                                                                                                                                                                    0,      QUERN_EUSAGE, false},
    {"karcher_embed_mismatch",   "merge_method: karcher\n",
     "ft0=embed.base ft1=linear_embed_mismatch/in.ft1",                                                                                                             EMBED "|53",                  0,      QUERN_EUSAGE, true },
    {"slerp_embed_mismatch",     SLERP "0.5}\n",                                                       "base=embed.base ft0=linear_embed_mismatch/in.ft1",
     EMBED "|53",                                                                                                                                                                                 0,      QUERN_EUSAGE, true },
    {"sce_zero_deltas",          "merge_method: sce\nbase_model: base\n",
     "base=w2d.base ft0=w2d.base ft1=w2d.base",                                                                                                                     "w2d.base",                   0,      QUERN_OK,     false},
    {"nearswap_equal",           "merge_method: nearswap\nbase_model: base\nparameters: {t: 0.001}\n",
     "base=w2d.base ft0=w2d.base",                                                                                                                                  "w2d.base",                   0,      QUERN_OK,     false},
    {"della_eps_error",
     "merge_method: della\nbase_model: base\n"
     "parameters: {weight: 1, density: 0.9, epsilon: 0.15}\n",                                         "base=w2d.base ft0=w2d.ft0",                                 "density|epsilon",            0,      QUERN_EUSAGE, false},
 /* mergekit gives back the base; a merge of nothing is a mistake. */
    {"ta_single_no_ft",          "merge_method: task_arithmetic\nbase_model: base\n",                  "base=w2d.base",
     "task_arithmetic",                                                                                                                                                                           0,      QUERN_EUSAGE, false},
    {"stock_too_few",            STOCK,                                                                "base=w2d.base ft0=w2d.ft0",                                 "model_stock",                0,      QUERN_EUSAGE, false},
    {"linear_int_mixed_dtype",   "merge_method: linear\nparameters: {weight: 1}\ndtype: float32\n",
     "ft0=linear_int_mixed_dtype/in.ft0 ft1=w2d.ft1",                                                                                                               "linear_int_mixed_dtype/out", 1.2e-7,
     QUERN_OK,                                                                                                                                                                                                          false},
};

static float *edge_values(const char *name, uint64_t *nelems)
{
    const bool negative = name[0] == '-';
    name += negative;
    if (strcmp(name, "0") == 0) {
        *nelems = N2D;
        return ARENA_NEW(&arena, float, N2D);
    }
    const char *file = strchr(name, '/') ? DATA "edge.safetensors" : DATA "inputs_f32.safetensors";
    float *x = load(file, name, nelems);
    for (uint64_t i = 0; negative && i < *nelems; i++)
        x[i] = -x[i];
    return x;
}

/* Writes the models; *words and *recipe are what merges them. */
static void edge_models(const struct edge *e, const char **words, const char **recipe)
{
    char *inputs = text("%s", e->inputs), *save = NULL;
    *words = "";
    *recipe = text("%smodels:\n", e->recipe);
    for (char *in = strtok_r(inputs, " ", &save); in; in = strtok_r(NULL, " ", &save)) {
        char *values = strchr(in, '=');
        *values++ = '\0';
        uint64_t n;
        struct blob b = {.name = e->embed ? EMBED : "w", .dtype = DTYPE_F32};
        b.bytes = edge_values(values, &n);
        if (strcmp(values, "linear_int_mixed_dtype/in.ft0") == 0)
            b.bytes = load_raw(DATA "edge.safetensors", values, &n, &b.dtype);
        set_dims(&b, n);
        write_model(text("%s.safetensors", in), &b, 1);
        *words = text("%s%s ", *words, in);
        if (strcmp(in, "base") != 0 || strchr(e->inputs, ' ') == NULL)
            *recipe = text("%s  - model: %s\n", *recipe, in);
    }
}

static double norm(const float *x, uint64_t n)
{
    double sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* Of the elements of this size as many as in want, the first ones or the last ones. */
static void check_equals(const float *got, const float *want, const float *x, uint64_t n,
                         float size)
{
    size_t kept = 0, theirs = 0, changes = 0;
    bool before = false;
    for (uint64_t i = 0; i < n; i++) {
        kept += got[i] != 0;
        theirs += want[i] != 0;
        if (fabsf(x[i]) != size) {
            cr_assert(got[i] == want[i]);
            continue;
        }
        cr_assert(got[i] == x[i] || got[i] == 0);
        changes += changes == 0 || before != (got[i] != 0);
        before = got[i] != 0;
    }
    cr_assert(kept == theirs && changes == 2, "%zu kept, not %zu; %zu changes", kept, theirs,
              changes);
}

/* base where one of the k smallest differences is (none of the size of the next), else x. */
static float *without_smallest(const float *base, const float *x, uint64_t n, size_t k)
{
    float *want = ARENA_NEW(&arena, float, n);
    for (uint64_t i = 0; i < n; i++) {
        size_t smaller = 0;
        for (uint64_t j = 0; j < n; j++)
            smaller += fabsf(x[j] - base[j]) < fabsf(x[i] - base[i]) ||
                       (fabsf(x[j] - base[j]) == fabsf(x[i] - base[i]) && j < i);
        want[i] = smaller < k ? base[i] : x[i];
    }
    return want;
}

static void check_edge(const struct edge *e)
{
    uint64_t n, nwant;
    char name[64], other[64];
    float size;
    unsigned count;
    const float *got = load(in_dir("out.safetensors"), e->embed ? EMBED : "w", &n), *want;
    if (sscanf(e->want, "norm of %63s", name) == 1) {
        want = edge_values(name, &nwant);
        cr_assert(fabs(norm(got, n) / norm(want, n) - 1) <= e->tolerance, "%s: norm %.9g", e->id,
                  norm(got, n));
        return;
    }
    if (sscanf(e->want, "but for |%f| %63s", &size, name) == 2) {
        want = edge_values(name, &nwant);
        check_equals(got, want, edge_values("ties_magnitude_ties/in.ft0", &nwant), n, size);
        return;
    }
    if (sscanf(e->want, "all but the %u smallest of %63s %63s", &count, other, name) == 3)
        want = without_smallest(edge_values(other, &nwant), edge_values(name, &nwant), n, count);
    else
        want = edge_values(e->want, &nwant);
    cr_assert(n == nwant);
    for (uint64_t i = 0; i < n; i++)
        cr_assert(fabs((double)got[i] - (double)want[i]) <= e->tolerance, "%s[%lu]: %.9g, not %.9g",
                  e->id, (unsigned long)i, (double)got[i], (double)want[i]);
}

static void refused_edge(const struct edge *e, const char *words, const char *recipe)
{
    const char *found[4];
    size_t n = 0;
    char *all = text("%s", e->want), *save = NULL;
    for (char *w = strtok_r(all, "|", &save); w; w = strtok_r(NULL, "|", &save))
        found[n++] = w;
    unlink(in_dir("out.safetensors"));
    refused(words, recipe, e->status, found, n);
}

Test(merge_golden, edge_cases)
{
    unsigned ndone = 0, nmissing = 0;
    for (size_t i = 0; i < NEDGES; i++) {
        const struct edge *e = &edges[i];
        const bool there = method_is_there(e->recipe);
        ndone += there;
        nmissing += !there;
        if (!there)
            continue;
        const char *words, *recipe;
        edge_models(e, &words, &recipe);
        if (e->status == QUERN_OK) {
            merge(words, recipe);
            check_edge(e);
        } else {
            refused_edge(e, words, recipe);
        }
    }
    cr_log_info("%u edge cases checked, %u of methods that are not there", ndone, nmissing);
    cr_assert(ndone == NEDGES && nmissing == 0);
    CHECK_LEAKS();
}
