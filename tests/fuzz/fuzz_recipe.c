/* fuzz_recipe.c - any text as a recipe: understood, or all its mistakes told. */
#include "fuzz.h"
#include "merge/recipe.h"
#include "recipe_words.h"

static void tell(const struct quern_error *e, void *user)
{
    ++*(uint32_t *)user;
    FUZZ_CHECK(e->kind[0] && e->text[0]);
}

static void run(char *text, size_t n)
{
    struct recipe r;
    struct quern_error err;
    uint32_t nmistakes = 0;
    const struct mistake_sink sink = {tell, &nmistakes};
    const bool failed =
        fuzz_failed(recipe_parse(&r, (struct str){text, n}, "r.yml", &sink, &err), &err);
    FUZZ_CHECK(failed || nmistakes == 0);
    recipe_free(&r);
}

const struct fuzz_target fuzz_recipe = {
    .name = "recipe",
    .max_len = 768,
    .run = run,
    .bytes_per_byte = 256,
    .bytes_besides = 131072,
    .words = recipe_words,
    .memory_may_fail = true,
};
