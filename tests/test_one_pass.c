/* test_one_pass.c - merging, converting and quantizing at once: the bytes of three runs. */
#include "pipeline/retype.h"
#include "tests/merge_fixture.h"

TestSuite(one_pass, .init = begin, .fini = end);

#define POCKET "build/pocket/pocket-"

static const char *const mappings[] = {"base=" POCKET "base", "code=" POCKET "code",
                                       "prose=" POCKET "prose"};

static void run_all(struct plan *plan, unsigned threads, uint64_t mem)
{
    struct quern_error err;
    const struct quern_run_options options = {.threads = threads, .mem_bytes = mem};
    cr_assert(plan_run(plan, &options, NULL, &err) == QUERN_OK, "%s", err.text);
    plan_free(plan);
}

struct job {
    const char *recipe, *type, *imatrix;
};

static void merged(const struct job *j, const char *output, const char *type, unsigned threads,
                   uint64_t mem)
{
    struct quern_error err;
    struct plan *plan;
    const struct quern_quantize q = {.imatrix = type ? j->imatrix : NULL};
    struct merge_request req = {.recipe_text = j->recipe,
                                .output = output,
                                .type = type,
                                .seed = 7,
                                .convert = {.quantize = &q}};
    const char *named[3]; /* no others may be mapped */
    for (size_t i = 0; i < 3; i++)
        if (strstr(j->recipe, text(": %.*s", (int)strcspn(mappings[i], "="), mappings[i])))
            named[req.places.nmappings++] = mappings[i];
    req.places.mappings = named;
    cr_assert(merge_plan(&req, &plan, &err) == QUERN_OK, "%s\n%s", j->recipe, err.text);
    run_all(plan, threads, mem);
}

static void converted(const char *input, const char *output)
{
    struct quern_error err;
    struct model *m;
    struct plan *plan;
    const struct convert_request r = {.output = output, .type = "auto"};
    cr_assert(model_open(input, &m, &err) == QUERN_OK, "%s", err.text);
    cr_assert(convert_plan(m, &r, &plan, &err) == QUERN_OK, "%s", err.text);
    run_all(plan, 2, 0);
    model_close(m);
}

static void quantized(const char *input, const char *output, const struct job *j)
{
    struct quern_error err;
    struct model *m;
    struct plan *plan;
    const struct quern_quantize q = {.type = j->type, .imatrix = j->imatrix};
    cr_assert(model_open(input, &m, &err) == QUERN_OK, "%s", err.text);
    cr_assert(plan_quantize(m, output, &q, &plan, &err) == QUERN_OK, "%s", err.text);
    run_all(plan, 2, 0);
    model_close(m);
}

static struct str bytes_of(const char *path)
{
    struct str s;
    struct quern_error err;
    cr_assert(read_small_file(path, 1 << 24, &arena, &s, &err) == QUERN_OK, "%s", err.text);
    return s;
}

/* The directory of the chain has the name that the output has without .gguf. */
static void check(const struct job *j)
{
    const char *chain = in_dir("chain"), *once = in_dir("once");
    cr_assert(mkdir(chain, 0777) == 0 && mkdir(once, 0777) == 0);
    merged(j, text("%s/m", chain), NULL, 2, 0);
    converted(text("%s/m", chain), text("%s/16.gguf", chain));
    quantized(text("%s/16.gguf", chain), text("%s/m.gguf", chain), j);
    const struct str expected = bytes_of(text("%s/m.gguf", chain));
    for (unsigned threads = 1; threads <= 3; threads += 2) {
        const char *output = text("%s/m.gguf", once);
        merged(j, output, j->type, threads, threads == 1 ? 12 << 20 : 0);
        const struct str got = bytes_of(output);
        cr_assert(got.n == expected.n && memcmp(got.p, expected.p, got.n) == 0,
                  "%s\n%s, %u threads", j->recipe, j->type, threads);
        cr_assert(remove(output) == 0);
    }
    nftw(chain, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    nftw(once, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

#define TWO "models: [{model: code}, {model: prose}]\n"
#define TWO_50                                                                         \
    "models: [{model: code, parameters: {weight: 0.5, density: 0.5}}, {model: prose, " \
    "parameters: {weight: 0.5, density: 0.5}}]\n"

/* Rows of q and k are permuted; methods look at whole tensors, at rows, carry counts along. */
Test(one_pass, methods)
{
    static const struct job jobs[] = {
        {"merge_method: linear\ndtype: bfloat16\n" TWO_50,                                     "Q4_K_M", NULL},
        {"merge_method: slerp\nbase_model: code\ndtype: bfloat16\nparameters: {t: 0.4}\n" TWO,
         "Q8_0",                                                                                         NULL},
        {"merge_method: ties\nbase_model: base\ndtype: bfloat16\n" TWO_50,                     "Q4_K_M", NULL},
        {"merge_method: ties\nbase_model: base\ndtype: float32\n" TWO_50,                      "F16",    NULL},
        {"merge_method: ties\nbase_model: base\ndtype: float16\nout_dtype: bfloat16\n" TWO_50,
         "BF16",                                                                                         NULL},
        {"merge_method: dare_ties\nbase_model: base\ndtype: bfloat16\n" TWO_50,                "Q6_K",   NULL},
        {"merge_method: della\nbase_model: base\ndtype: bfloat16\n" TWO_50,                    "Q5_0",   NULL},
        {"merge_method: sce\nbase_model: base\ndtype: bfloat16\n" TWO,                         "IQ4_NL", NULL},
        {"merge_method: breadcrumbs\nbase_model: base\ndtype: bfloat16\n" TWO_50,              "Q4_0",
         POCKET "base.imatrix.gguf"                                                                          },
        {"merge_method: model_stock\nbase_model: base\ndtype: bfloat16\n" TWO,                 "IQ2_XS",
         POCKET "base.imatrix.gguf"                                                                          }
    };
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++)
        check(&jobs[i]);
    arena_free(&arena);
    CHECK_LEAKS();
}

Test(one_pass, stages_and_mixtures)
{
    static const struct job jobs[] = {
        {"name: first\nmerge_method: slerp\nbase_model: code\ndtype: bfloat16\nparameters: {t: "
         "0.4}\n" TWO "---\nmerge_method: linear\ndtype: bfloat16\nmodels: [{model: first, "
         "parameters: {weight: 1}}, "
         "{model: base, parameters: {weight: 1}}]\n", "Q4_K_M", NULL},
        {"base_model: base\ngate_mode: random\ndtype: bfloat16\nexperts: [{source_model: code}, "
         "{source_model: prose}]\n",                  "Q4_K_M", NULL}
    };
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++)
        check(&jobs[i]);
    arena_free(&arena);
    CHECK_LEAKS();
}

/* A cut on many equal values: which of them stay is decided by counting from the beginning of a
 * chunk, wherever rows are read from. */
Test(one_pass, ties_among_equal_values_in_permuted_rows)
{
    static const struct job job = {"merge_method: ties\nbase_model: base\ndtype: bfloat16\n"
                                   "models: [{model: base, parameters: {weight: 1, density: 0.3}}, "
                                   "{model: code, parameters: {weight: 1, density: 0.3}}]\n"
                                   "parameters: {normalize: false}\n",
                                   "BF16", NULL};
    check(&job);
    arena_free(&arena);
    CHECK_LEAKS();
}
