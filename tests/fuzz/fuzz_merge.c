/* fuzz_merge.c - any text as a recipe that is planned, with small models, as a directory or as
 * GGUF. */
#include <fcntl.h>
#include <unistd.h>

#include "check_plan.h"
#include "merge/merge.h"
#include "recipe_words.h"
#include "stand_in.h"

static void put_model(const char *name, uint32_t seed)
{
    struct arena a = {0};
    const struct str weights = stand_in_weights(&a, seed);
    fuzz_put(arena_printf(&a, "%s/model.safetensors", name), weights.p, weights.n);
    fuzz_put(arena_printf(&a, "%s/config.json", name), stand_in_config, strlen(stand_in_config));
    fuzz_put(arena_printf(&a, "%s/tokenizer.json", name), stand_in_tokenizer,
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
    if (memchr(text, '\0', n))
        return;
    FUZZ_CHECK(chdir(dir) == 0); /* models are found by name */
    if (n % 2)
        plan_it(text, "out", 1000);
    else
        plan_it(text, "out.gguf", 0);
    FUZZ_CHECK(fchdir(here) == 0);
}

/* Each of several documents is planned. */
const struct fuzz_target fuzz_merge = {
    .name = "merge",
    .max_len = 768,
    .run = run,
    .bytes_per_byte = 32768,
    .bytes_besides = 4u << 20,
    .words = recipe_words,
};
