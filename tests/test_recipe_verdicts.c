/* test_recipe_verdicts.c - every recipe of make_corpus.py gets the verdict its list says. */
#include "corpus.h"
#include "merge/merge.h"

TestSuite(recipe_verdicts, .init = scratch_begin, .fini = scratch_end, .timeout = 60);

Test(recipe_verdicts, every_recipe_is_refused_for_its_mistake)
{
    struct corpus c;
    corpus_open(&c);
    size_t judged = 0;
    for (size_t i = 0; i < c.count; i++) {
        const struct corpus_row *r = &c.rows[i];
        if (strcmp(r->kind, "config") != 0)
            continue;
        const struct merge_request req = {.recipe_path = r->path, .output = scratch("merged")};
        struct quern_error err;
        struct plan *p;
        const enum quern_status s = merge_plan(&req, &p, &err);
        const bool too_large = strcmp(r->err, "too-large") == 0;
        cr_assert(s == (too_large ? QUERN_EFORMAT : QUERN_EUSAGE), "%s", r->name);
        cr_expect_str_eq(err.kind, r->err, "%s: %s", r->name, err.text);
        judged++;
    }
    cr_assert(judged > 15);
    corpus_close(&c);
}
