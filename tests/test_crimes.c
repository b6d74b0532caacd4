/* test_crimes.c - what --allow-crimes permits: embeddings of other sizes, other architectures. */
#include "tests/merge_fixture.h"

TestSuite(crimes, .init = begin, .fini = end);

/* A directory with embeddings of this size, whose element is first + 100 row + column. */
static void write_size(const char *name, const char *arch, uint64_t rows, uint64_t cols,
                       float first)
{
    static const float norm[2] = {1, 2};
    float *x = arena_alloc(&arena, rows * cols * sizeof *x);
    for (uint64_t i = 0; i < rows * cols; i++)
        x[i] = first + 100.0f * (float)(i / cols) + (float)(i % cols);
    const struct blob b[] = {
        {.name = "model.embed_tokens.weight", .dtype = DTYPE_F32, .dims = {rows, cols}, .bytes = x   },
        {.name = "model.norm.weight",         .dtype = DTYPE_F32, .dims = {2, 0},       .bytes = norm}
    };
    write_hf(name, text("{\"model_type\": \"%s\", \"vocab_size\": %u}", arch, (unsigned)rows), b,
             2);
}

static enum quern_status commit(const char *recipe, bool crimes, struct plan **plan,
                                struct quern_error *err)
{
    const char *const mappings[] = {text("a=%s", in_dir("a")), text("b=%s", in_dir("b"))};
    const struct merge_request req = {
        .recipe_text = recipe,
        .places = {.mappings = mappings, .nmappings = 2},
        .output = in_dir("out"),
        .force = true,
        .allow_crimes = crimes
    };
    TRY(merge_plan(&req, plan, err));
    const struct quern_run_options options = {.threads = 2};
    return plan_run(*plan, &options, NULL, err);
}

static void committed(const char *recipe, const char *note)
{
    struct plan *p;
    struct quern_error err;
    bool found = false;
    cr_assert(commit(recipe, true, &p, &err) == QUERN_OK, "%s\n%s", recipe, err.text);
    for (uint32_t i = 0; i < p->nnotes; i++)
        found |= strstr(p->notes[i], note) != NULL;
    cr_assert(found, "%s", note);
    plan_free(p);
}

static void prevented(const char *recipe, bool crimes, const char *words)
{
    struct plan *p;
    struct quern_error err;
    cr_assert(commit(recipe, crimes, &p, &err) == QUERN_EUSAGE, "%s", recipe);
    cr_assert(strstr(err.text, words), "%s", err.text);
}

#define LINEAR "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n"
#define TIES(base, model)                                                                        \
    "merge_method: ties\nparameters: {weight: 1}\nbase_model: " base "\nmodels: [{model: " model \
    "}]\n"

Test(crimes, embeddings_are_cut_to_the_common_part)
{
    write_size("a", "llama", 3, 5, 0);
    write_size("b", "llama", 4, 4, 1000);
    prevented(LINEAR, false, "tokenizer_source");
    prevented(LINEAR, false, "--allow-crimes");
    committed(LINEAR, "cut to their first 3 rows and 4 columns");
    uint64_t n;
    const float *x = load(in_dir("out/model.safetensors"), "model.embed_tokens.weight", &n);
    cr_assert(n == 12);
    for (uint64_t i = 0; i < n; i++)
        cr_assert(x[i] == 500.0f + 100.0f * (float)(i / 4) + (float)(i % 4), "%g", (double)x[i]);
    /* a keeps its rows, and so its vocabulary. */
    cr_assert(strstr(read_text("out/config.json"), "\"vocab_size\": 3"));
    committed("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: b}, {model: a}]\n",
              "cut to their first 3 rows");
    cr_assert(strstr(read_text("out/config.json"), "\"vocab_size\": 3"));
    CHECK_LEAKS();
}

Test(crimes, task_vectors_are_cut_to_the_base)
{
    write_size("a", "llama", 3, 4, 0);
    write_size("b", "llama", 5, 6, 1000);
    committed(TIES("a", "b"), "cut to their first 3 rows and 4 columns");
    uint64_t n;
    const float *x = load(in_dir("out/model.safetensors"), "model.embed_tokens.weight", &n);
    cr_assert(n == 12 && x[0] == 1000 && x[11] == 1203);
    prevented(TIES("b", "a"), true, "3 x 4 is less than the base's 5 x 6");
    CHECK_LEAKS();
}

Test(crimes, other_architectures_are_paired_by_name)
{
    write_size("a", "llama", 3, 4, 0);
    write_size("b", "mistral", 3, 4, 1000);
    prevented(LINEAR, false, "--allow-crimes");
    committed(LINEAR, "paired by name");
    CHECK_LEAKS();
}

/* Whatever the size of the pieces in which a cut matrix is read. */
Test(crimes, large_matrices)
{
    write_size("a", "llama", 300, 411, 0);
    write_size("b", "llama", 310, 400, 1000);
    committed(LINEAR, "first 300 rows and 400 columns");
    uint64_t n;
    const float *x = load(in_dir("out/model.safetensors"), "model.embed_tokens.weight", &n);
    cr_assert(n == 120000);
    for (uint64_t i = 0; i < n; i++)
        cr_assert(x[i] == 500.0f + 100.0f * (float)(i / 400) + (float)(i % 400));
    CHECK_LEAKS();
}
