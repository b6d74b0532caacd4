/* fuzz_recipe.c - any text as a recipe; what is understood is planned, with small models. */
#include <fcntl.h>
#include <unistd.h>

#include "check_plan.h"
#include "merge/merge.h"
#include "stand_in.h"

static void put_model(const char *name, uint32_t seed)
{
    struct arena a = {0};
    const struct str weights = stand_in_weights(&a, seed);
    fuzz_file(arena_printf(&a, "%s/model.safetensors", name), weights.p, weights.n);
    fuzz_file(arena_printf(&a, "%s/config.json", name), stand_in_config, strlen(stand_in_config));
    fuzz_file(arena_printf(&a, "%s/tokenizer.json", name), stand_in_tokenizer,
              strlen(stand_in_tokenizer));
    arena_free(&a);
}

static void plan_it(const char *text, const char *output, uint64_t shard_bytes)
{
    const struct merge_request r = {.recipe_text = text,
                                    .output = output,
                                    .shard_bytes = shard_bytes,
                                    .force = true,
                                    .explain = true};
    struct quern_error err;
    struct plan *p;
    if (fuzz_failed(merge_plan(&r, &p, &err), &err))
        return;
    check_plan(p);
    plan_free(p);
}

static void tell(const struct quern_error *e, void *user)
{
    ++*(uint32_t *)user;
    FUZZ_CHECK(e->kind[0] && e->text[0]);
}

static void run(char *text, size_t n)
{
    static int here = -1;
    static const char *dir;
    if (here < 0) {
        here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        dir = fuzz_dir();
        put_model("a", 1);
        put_model("b", 2);
        put_model("c", 3);
    }
    struct recipe r;
    struct quern_error err;
    uint32_t nmistakes = 0;
    const struct mistake_sink sink = {tell, &nmistakes};
    const enum quern_status s = recipe_parse(&r, (struct str){text, n}, "r.yml", &sink, &err);
    /* Documents behind the first are for merge_plan(). */
    const bool several = strstr(text, "---") != NULL;
    const bool sound = !fuzz_failed(s, &err);
    recipe_free(&r);
    if ((!sound && !several) || memchr(text, '\0', n))
        return;
    FUZZ_CHECK(chdir(dir) == 0); /* models are found by name */
    plan_it(text, "out", 1000);
    plan_it(text, "out.gguf", 0);
    FUZZ_CHECK(fchdir(here) == 0);
}

static const char *const words[] = {
    "merge_method: linear\n",
    "merge_method: ties\n",
    "merge_method: slerp\n",
    "base_model: a\n",
    "merge_method: dare_ties\n",
    "merge_method: passthrough\n",
    "merge_method: model_stock\n",
    "merge_method: karcher\n",
    "merge_method: sce\n",
    "merge_method: nuslerp\n",
    "merge_method: della\n",
    "merge_method: breadcrumbs\n",
    "merge_method: task_arithmetic\n",
    "merge_method: arcee_fusion\n",
    "merge_method: multislerp\n",
    "merge_method: ram\n",
    "merge_method: nearswap\n",
    "models:\n  - model: a\n",
    "  - model: b\n",
    "    parameters: {weight: 0.5}\n",
    "slices:\n  - sources:\n    - {model: a, layer_range: [0, 1]}\n",
    "parameters:\n  t: 0.5\n",
    "  normalize: true\n",
    "density: [1, 0.5]\n",
    "- {filter: mlp, value: 0.5}",
    "dtype: float16\n",
    "out_dtype: bfloat16\n",
    "tokenizer_source: union\n",
    "tokenizer: {source: base}\n",
    "tokens: {<s>: {source: a, force: true}}\n",
    "chat_template: auto\n",
    "name: x\n",
    "---\n",
    "modules: {m: {slices: []}}\n",
    "model: {model: a, lora: b}\n",
    "model: a+b\n",
    "{path: a}",
    "experts:\n  - source_model: a\n    positive_prompts: [hi]\n",
    "gate_mode: random\n",
    "pad_to_multiple_of: 8\n",
    "lambda: 0.5\n",
    "rescale: false\n",
    "embed_slerp: true\n",
    "architecture: mixtral\n",
    "gate_mode: hidden\n",
    "c",
    NULL};

const struct fuzz_target fuzz_recipe = {
    .name = "recipe",
    .max_len = 768,
    .run = run,
    .bytes_per_byte = 1024,
    .bytes_besides = 4u << 20,
    .words = words,
};
