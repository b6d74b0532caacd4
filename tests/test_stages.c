/* test_stages.c - recipes of several documents: the bytes of stages that run one after the other.
 */
#include "tests/merge_fixture.h"

TestSuite(stages, .init = begin, .fini = end);

#define ROWS 40
#define COLS 2000 /* more than a chunk in all */

static void write_random(const char *name, enum dtype dtype, float scale)
{
    const size_t n = (size_t)ROWS * COLS;
    double *x = arena_alloc(&arena, n * sizeof *x);
    uint8_t *raw = arena_alloc(&arena, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = ((double)random_bits() / 4294967296.0 - 0.5) * (double)scale;
    codec_encode_f64(dtype, x, raw, n);
    const int32_t ids[2] = {7, 8};
    const struct blob b[] = {
        {.name = "ids",                       .dtype = DTYPE_I32, .dims = {2, 0},       .bytes = ids},
        {.name = "model.layers.0.w",          .dtype = dtype,     .dims = {ROWS, COLS}, .bytes = raw},
        {.name = "model.layers.1.w",          .dtype = dtype,     .dims = {COLS, 4},    .bytes = raw},
        {.name = "model.embed_tokens.weight", .dtype = dtype,     .dims = {4, COLS},    .bytes = raw}
    };
    write_hf(name, "{\"model_type\": \"llama\", \"num_hidden_layers\": 2}", b, 4);
}

/* Those of the words that a recipe names: no others may be mapped. */
static const char *named(const char *recipe, const char *words)
{
    char *used = text("%s", ""), *copy = text("%s", words), *save = NULL;
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        if (strstr(recipe, text(": %s,", w)) || strstr(recipe, text(": %s}", w)) ||
            strstr(recipe, text(": %s\n", w)))
            used = text("%s %s", used, w);
    return used;
}

/* The words are models, or results of earlier calls. */
static enum quern_status make(const char *recipe, const char *words, const char *output,
                              unsigned threads, struct quern_error *err)
{
    static const char *mappings[8];
    struct merge_request req = {.recipe_text = recipe, .output = in_dir(output), .force = true};
    char *copy = text("%s", words), *save = NULL;
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        mappings[req.places.nmappings++] = text("%s=%s/%s", w, dir, w);
    req.places.mappings = mappings;
    struct plan *plan;
    TRY(merge_plan(&req, &plan, err));
    const struct quern_run_options options = {.threads = threads};
    const enum quern_status status = plan_run(plan, &options, NULL, err);
    plan_free(plan);
    return status;
}

static void made(const char *recipe, const char *words, const char *output, unsigned threads)
{
    struct quern_error err;
    cr_assert(make(recipe, words, output, threads, &err) == QUERN_OK, "%s\n%s", recipe, err.text);
}

static void same_files(const char *a, const char *b, const char *recipe)
{
    static const char *const names[] = {"model.safetensors", "config.json"};
    for (size_t i = 0; i < 2; i++) {
        struct str x, y;
        struct quern_error err;
        cr_assert(!read_small_file(in_dir(text("%s/%s", a, names[i])), 1 << 24, &arena, &x, &err));
        cr_assert(!read_small_file(in_dir(text("%s/%s", b, names[i])), 1 << 24, &arena, &y, &err));
        cr_assert(str_eq(x, y), "%s of %s and %s\n%s", names[i], a, b, recipe);
    }
}

/* stages[0] is called one, stages[1] two ..., the last has no name. */
static void same_bytes(const char *const *stages, size_t n)
{
    static const char *const names[] = {"one", "two", "three"};
    char *all = text("%s", "");
    for (size_t i = 0; i < n; i++)
        all = i + 1 < n ? text("%s---\nname: %s\n%s", all, names[i], stages[i])
                        : text("%s---\n%s", all, stages[i]);
    made(all, named(all, "a b c"), "fused", 3);
    const char *words = "a b c";
    for (size_t i = 0; i < n; i++) {
        struct quern_error err;
        const char *output = i + 1 < n ? names[i] : "apart";
        cr_assert(make(stages[i], named(stages[i], words), output, 1, &err) == QUERN_OK, "%s\n%s",
                  stages[i], err.text);
        words = text("%s %s", words, output);
    }
    same_files("fused", "apart", all);
}
#define SAME_BYTES(...)                                        \
    do {                                                       \
        const char *const stages_[] = {__VA_ARGS__};           \
        same_bytes(stages_, sizeof stages_ / sizeof *stages_); \
    } while (0)

#define LINEAR(x, y)                                                \
    "merge_method: linear\nbase_model: " x "\nmodels:\n"            \
    "  - {model: " x ", parameters: {weight: 0.3}}\n  - {model: " y \
    ", parameters: {weight: [0.2, 1]}}\n"
#define SLERP(x, y)                                                                            \
    "merge_method: slerp\nbase_model: " x "\nparameters: {t: [0.3, 0.9]}\nmodels: [{model: " y \
    "}]\n"
#define TIES(base, x, y)                                                                  \
    "merge_method: ties\nbase_model: " base "\nparameters: {weight: 0.6, density: 0.4}\n" \
    "models: [{model: " x "}, {model: " y "}]\n"
#define BF16 "dtype: bfloat16\n"
#define F16  "out_dtype: float16\n"

Test(stages, bytes_of_stages_one_after_the_other)
{
    write_random("a", DTYPE_F32, 1);
    write_random("b", DTYPE_F32, 0.7f);
    write_random("c", DTYPE_BF16, 1.3f);
    SAME_BYTES(LINEAR("a", "b") BF16, LINEAR("one", "c"));
    SAME_BYTES(SLERP("a", "b") BF16, SLERP("one", "c") BF16);
    SAME_BYTES(TIES("a", "b", "c") F16, TIES("c", "one", "b"));
    SAME_BYTES(SLERP("a", "b"), TIES("one", "b", "c"), LINEAR("two", "one") BF16);
    SAME_BYTES(TIES("a", "b", "c") BF16, SLERP("one", "c"), TIES("a", "two", "one"));
    CHECK_LEAKS();
}

Test(stages, of_several_widths)
{
    write_random("a", DTYPE_F64, 1);
    write_random("b", DTYPE_F32, 0.7f);
    write_random("c", DTYPE_BF16, 1.3f);
    SAME_BYTES(LINEAR("a", "b") "out_dtype: float64\n", SLERP("one", "c") BF16);
    SAME_BYTES(SLERP("a", "b") BF16, TIES("one", "b", "c") "dtype: float64\n");
    SAME_BYTES(TIES("b", "c", "b") BF16, LINEAR("one", "a"));
    SAME_BYTES(TIES("b", "c", "b") BF16, SLERP("c", "one"), LINEAR("two", "a") "dtype: float64\n");
    CHECK_LEAKS();
}

Test(stages, layers_of_an_earlier_stage)
{
    write_random("a", DTYPE_F32, 1);
    write_random("b", DTYPE_F32, 0.7f);
    write_random("c", DTYPE_BF16, 1.3f);
    SAME_BYTES(
        SLERP("a", "b") BF16,
        "merge_method: linear\nparameters: {weight: 1}\nslices:\n"
        "  - sources: [{model: one, layer_range: [0, 1]}]\n"
        "  - sources: [{model: one, layer_range: [0, 1]}]\n"
        "  - sources: [{model: a, layer_range: [1, 2]}, {model: one, layer_range: [1, 2]}]\n");
    cr_assert(strstr(read_text("fused/config.json"), "\"num_hidden_layers\": 3"));
    SAME_BYTES("merge_method: linear\nparameters: {weight: 1}\nslices:\n"
               "  - sources: [{model: a, layer_range: [1, 2]}]\n"
               "  - sources: [{model: b, layer_range: [1, 2]}]\n"
               "  - sources: [{model: a, layer_range: [1, 2]}]\n",
               LINEAR("one", "one"), SLERP("one", "two") BF16);
    cr_assert(strstr(read_text("fused/config.json"), "\"num_hidden_layers\": 3"));
    CHECK_LEAKS();
}

#define NUSLERP_ROWS(x, y)                                                                 \
    "merge_method: nuslerp\nparameters: {nuslerp_flatten: false}\nmodels:\n  - {model: " x \
    ", parameters: {weight: 0.7}}\n  - {model: " y ", parameters: {weight: 0.4}}\n"
#define NUSLERP_COLUMNS(x, y)                                                        \
    "merge_method: nuslerp\nparameters: {nuslerp_flatten: false, nuslerp_row_wise: " \
    "true}\nmodels:\n"                                                               \
    "  - {model: " x ", parameters: {weight: 0.7}}\n  - {model: " y                  \
    ", parameters: {weight: 0.4}}\n"
#define DELLA(base, x, y)                                                                 \
    "merge_method: della\nbase_model: " base "\nparameters: {weight: 0.6, density: 0.4, " \
    "epsilon: 0.2}\nmodels: [{model: " x "}, {model: " y "}]\n"

/* Rows of what takes statistics of a whole tensor: two stages deep, and of one that looks at rows
 * itself. */
Test(stages, rows_of_what_is_measured)
{
    write_random("a", DTYPE_F32, 1);
    write_random("b", DTYPE_F32, 0.7f);
    write_random("c", DTYPE_BF16, 1.3f);
    SAME_BYTES(SLERP("a", "b") BF16, NUSLERP_ROWS("one", "c"));
    SAME_BYTES(SLERP("a", "b") BF16, NUSLERP_COLUMNS("c", "one") BF16);
    SAME_BYTES(TIES("a", "b", "c") F16, NUSLERP_ROWS("one", "b"), SLERP("two", "one") BF16);
    SAME_BYTES(SLERP("a", "b"), TIES("one", "b", "c") BF16, NUSLERP_ROWS("two", "one"));
    SAME_BYTES(TIES("c", "a", "b"), DELLA("a", "one", "c"), NUSLERP_ROWS("two", "one") BF16);
    SAME_BYTES(NUSLERP_ROWS("a", "b"), DELLA("one", "c", "b") F16, DELLA("a", "two", "one"));
    CHECK_LEAKS();
}

Test(stages, order_and_result)
{
    write_random("a", DTYPE_F32, 1);
    write_random("b", DTYPE_F32, 0.7f);
    write_random("c", DTYPE_F32, 1.3f);
    made("name: one\n" SLERP("a", "b") "---\n" LINEAR("one", "c"), "a b c", "x", 2);
    made(LINEAR("one", "c") "---\nname: one\n" SLERP("a", "b"), "a b c", "y", 2);
    same_files("x", "y", "");
    /* All have names: the last is the result. */
    made("name: one\n" SLERP("a", "b") "---\nname: two\n" LINEAR("one", "c"), "a b c", "z", 2);
    same_files("x", "z", "");
    /* A stage that lies somewhere is read from there. */
    made(LINEAR("a", "b"), "a b", "one", 1);
    made(LINEAR("one", "c"), "one c", "x", 1);
    made("name: one\n" SLERP("a", "b") "---\n" LINEAR("one", "c"), "a b c one", "y", 1);
    same_files("x", "y", "");
    CHECK_LEAKS();
}

Test(stages, share_models)
{
    const char *const mappings[] = {text("a=%s/a", dir), text("b=%s/b", dir)};
    const struct merge_request req = {
        .recipe_text = "name: one\n" LINEAR("a", "b") "---\nname: two\n" LINEAR(
            "one", "b") "---\n" LINEAR("two", "a"),
        .output = in_dir("out"),
        .places = {.mappings = mappings, .nmappings = 2}
    };
    struct quern_error err;
    struct plan *plan;
    write_random("a", DTYPE_F32, 1);
    write_random("b", DTYPE_F32, 0.7f);
    cr_assert(merge_plan(&req, &plan, &err) == QUERN_OK, "%s", err.text);
    cr_assert(plan->nmodels == 2);
    for (uint32_t i = 0; i < plan->nsteps; i++)
        cr_assert(plan->steps[i].nsources <= 2);
    plan_free(plan);
    CHECK_LEAKS();
}

Test(stages, mistakes)
{
    write_random("a", DTYPE_F32, 1);
    write_random("b", DTYPE_F32, 0.7f);
    static const struct {
        const char *recipe, *words;
        enum quern_status status;
    } bad[] = {
        {LINEAR("a",             "b") "---\n" LINEAR("a",                       "b"), "2 of 2 documents have no name", QUERN_EUSAGE      },
        {"name: x\n" LINEAR("a", "b") "---\nname: x\n" LINEAR("a",              "b"),
         "two stages are called 'x'",                                                                                  QUERN_EUSAGE      },
        {"name: x\n" LINEAR("a", "y") "---\nname: y\n" LINEAR("x",              "b"),
         "a stage that needs itself",                                                                                  QUERN_EUSAGE      },
        {"name: x\n" LINEAR("x", "b") "---\n" LINEAR("x",                       "a"), "a stage that needs itself",
         QUERN_EUSAGE                                                                                                                    },
        {"name: x\n" LINEAR("a", "b") "---\n" LINEAR("{model: x, lora: a}",     "b"),
         "an adapter of 'x', which is a stage",                                                                        QUERN_EUNSUPPORTED},
        {"name: x\n" LINEAR("a", "b") "---\n" LINEAR("x+a",                     "b"),
         "an adapter of 'x+a', which is a stage",                                                                      QUERN_EUNSUPPORTED},
        {"name: x\n" LINEAR("a", "b") "---\n" LINEAR("{path: x, revision: v1}", "b"),
         "a revision of 'x', which is a stage",                                                                        QUERN_EUSAGE      },
        {"name: x\n" LINEAR("a", "b") "foo: 1\n---\n" LINEAR("x",               "a"), "unknown key 'foo'",
         QUERN_EUSAGE                                                                                                                    },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct quern_error err;
        const enum quern_status got = make(bad[i].recipe, "a b", "out", 1, &err);
        cr_assert(got == bad[i].status, "%s\n%d", bad[i].recipe, got);
        cr_assert(strstr(err.text, bad[i].words), "%s", err.text);
    }
    CHECK_LEAKS();
}
