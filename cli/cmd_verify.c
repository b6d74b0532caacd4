/* cmd_verify.c - quern verify: is a file exactly what its source gives? */
#include "cli.h"
#include "merge/verify_plan.h"
#include "pipeline/nonfinite.h"
#include "pipeline/verify.h"

/* SOURCE QUANTIZED, or QUANTIZED alone when a merge without a recipe is told by options. */
static int read_words(const struct cli *c, const char **source, const char **made)
{
    const struct values *a = &c->args;
    const size_t expected = c->method || c->loras.count ? 1 : 2;
    if (a->count != expected)
        return usage_error(c, "expected %s, got %zu argument%s",
                           expected == 2 ? "SOURCE and QUANTIZED"
                                         : "QUANTIZED alone with --method or --lora",
                           a->count, a->count == 1 ? "" : "s");
    *source = expected == 2 ? a->items[0] : NULL;
    *made = a->items[expected - 1];
    return 0;
}

static bool merges(const struct cli *c, const char *source)
{
    return c->method || c->loras.count || verify_is_recipe(source);
}

/* What is said of a merge when there is none. */
static int check_merge_flags(const struct cli *c)
{
    const char *stray = c->models.count     ? "--model"
                        : c->params.count   ? "--param"
                        : c->dtype          ? "--dtype"
                        : c->out_dtype      ? "--out-dtype"
                        : c->mergekit_exact ? "--mergekit-exact"
                        : c->allow_crimes   ? "--allow-crimes"
                        : c->no_tokenizer   ? "--no-tokenizer"
                                            : NULL;
    return stray ? usage_error(c, "%s is for merges: a recipe as SOURCE, or --method", stray) : 0;
}

static int run_verification(struct cli *c, struct plan *p)
{
    struct quern_error err;
    if (plan_set_nonfinite(p, c->nonfinite, &err) != QUERN_OK)
        return report_error(c, &err);
    if (c->verbose)
        print_notes(c, p);
    const int code = run_quietly(c, p);
    return code == 0 ? report_verification(c, p) : code;
}

static int verify(struct cli *c, const char *source, const char *made,
                  const struct merge_request *r)
{
    struct quern_error err;
    struct plan *p;
    if (verify_plan(source, made, r, &p, &err) != QUERN_OK)
        return report_error(c, &err);
    const int code = run_verification(c, p);
    plan_free(p);
    return code;
}

int cmd_verify(struct cli *c)
{
    struct arena arena = {0};
    const char *source = NULL, *made = NULL;
    struct merge_request r = merge_request_of(c);
    r.convert.via = c->via;
    int code = read_words(c, &source, &made);
    if (code == 0)
        code = merges(c, source) ? take_merge_flags(c, &r) : check_merge_flags(c);
    if (code == 0)
        code = take_quantize_options(c, NULL, &arena);
    if (code == 0) {
        r.places.hub_cache = c->hub_cache ? c->hub_cache : hub_cache_dir(&arena);
        r.convert.hub_cache = r.places.hub_cache;
        r.convert.base = merges(c, source) ? NULL : c->base;
        code = verify(c, source, made, &r);
    }
    arena_free(&arena);
    return code;
}
