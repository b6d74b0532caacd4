/* cmd_merge.c - quern merge: a recipe or its flags, then the plan. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "making.h"
#include "merge/merge.h"
#include "mistake_list.h"

/* Where huggingface_hub keeps its downloads. */
const char *hub_cache_dir(struct arena *arena)
{
    const char *dir = getenv("HF_HUB_CACHE");
    if (dir && *dir)
        return dir;
    const char *home = getenv("HF_HOME");
    if (home && *home)
        return path_join(arena, home, "hub");
    home = getenv("XDG_CACHE_HOME");
    if (home && *home)
        return path_join(arena, home, "huggingface/hub");
    home = getenv("HOME");
    return home && *home ? path_join(arena, home, ".cache/huggingface/hub") : NULL;
}

static int read_words(struct cli *c, struct merge_request *r)
{
    const struct values *a = &c->args;
    size_t i = 0;
    if (!c->method && c->loras.count == 0) {
        if (a->count == 0)
            return usage_error(c, "expected RECIPE OUTPUT, or --method NAME with --model");
        c->recipe = r->recipe_path = a->items[i++];
        /* What is made again has its recipe with it. */
        if (c->making && c->making->record->recipe.p) {
            r->recipe_text = c->making->record->recipe.p;
            r->recipe_path = NULL;
        }
    } else if (c->method && c->models.count == 0) {
        return usage_error(c, "--method without --model; a recipe goes without --method");
    }
    r->output = c->output;
    if (!r->output && i < a->count)
        r->output = a->items[(c->output_at = ++i) - 1];
    if (!r->output)
        return usage_error(c, "the OUTPUT is missing");
    r->type = i < a->count ? a->items[i++] : NULL;
    if (i < a->count)
        return usage_error(c, "too many arguments: '%s'", quoted(str_from(a->items[i])).text);
    return 0;
}

struct merge_request merge_request_of(const struct cli *c)
{
    return (struct merge_request){
        .seed = c->seed,
        .mergekit_exact = c->mergekit_exact,
        .allow_crimes = c->allow_crimes,
        .no_tokenizer = c->no_tokenizer,
        .convert = {.quantize = &c->quantize,
                    .model_name = c->model_name,
                    .metadata = c->metadata,
                    .pre = c->pre,
                    .like = c->like,
                    .map_path = c->map,
                    .text_only = c->text_only}
    };
}

/* With a recipe, --model ID=PATH tells where a model lies; with --method it is a model. */
int take_merge_flags(const struct cli *c, struct merge_request *r)
{
    if (c->method && c->loras.count)
        return usage_error(c, "--lora goes with --base alone; with a method write a recipe");
    if (c->method) {
        r->flags = (struct merge_flags){.method = c->method,
                                        .base = c->base,
                                        .models = c->models.items,
                                        .nmodels = c->models.count,
                                        .params = c->params.items,
                                        .nparams = c->params.count,
                                        .dtype = c->dtype,
                                        .out_dtype = c->out_dtype};
        return 0;
    }
    r->places.mappings = c->models.items;
    r->places.nmappings = c->models.count;
    if (c->loras.count) {
        if (!c->base || c->params.count)
            return usage_error(c, "--lora goes with --base MODEL, and without --param");
        r->flags = (struct merge_flags){.base = c->base,
                                        .loras = c->loras.items,
                                        .nloras = c->loras.count,
                                        .dtype = c->dtype,
                                        .out_dtype = c->out_dtype};
        return 0;
    }
    const char *stray = c->base           ? "--base"
                        : c->params.count ? "--param"
                        : c->dtype        ? "--dtype"
                        : c->out_dtype    ? "--out-dtype"
                                          : NULL;
    if (stray)
        return usage_error(c, "%s needs --method; with a recipe it stands in the recipe", stray);
    return 0;
}

/* Are the mistakes why planning failed? They may also have come before something worse. */
static bool tells_all(const struct mistake_list *l, const struct quern_error *err)
{
    return l->total > 1 &&
           strncmp(err->found, l->items[0].error.found, strlen(l->items[0].error.found)) == 0;
}

static int plan_and_run(struct cli *c, struct merge_request *r)
{
    struct mistake_list mistakes;
    const bool hears = mistake_list_begin(&mistakes);
    const struct mistake_sink sink = {mistake_list_add, &mistakes};
    struct quern_error err;
    struct plan *p;
    int code;
    r->sink = hears ? &sink : NULL;
    if (merge_plan(r, &p, &err) == QUERN_OK) {
        code = run_weights(c, p);
        plan_free(p);
    } else if (tells_all(&mistakes, &err)) {
        code = report_errors(c, mistakes.items, mistakes.count, mistakes.total);
    } else {
        code = report_error(c, &err);
    }
    free(mistakes.items);
    r->sink = NULL;
    return code;
}

/* Options of what only a GGUF has. */
static int check_gguf_options(const struct cli *c, const struct merge_request *r)
{
    const struct quern_quantize *q = &c->quantize;
    const char *of_type = q->imatrix                ? "--imatrix"
                          : c->tensor_types.count   ? "--tensor-type"
                          : q->pure                 ? "--pure"
                          : q->leave_output_tensor  ? "--leave-output-tensor"
                          : q->output_tensor_type   ? "--output-tensor-type"
                          : q->token_embedding_type ? "--token-embedding-type"
                          : q->no_fallback          ? "--no-fallback"
                                                    : NULL;
    const char *of_gguf = c->model_name           ? "--model-name"
                          : c->metadata           ? "--metadata"
                          : c->pre                ? "--pre"
                          : c->like               ? "--like"
                          : c->map                ? "--map"
                          : c->text_only          ? "--text-only"
                          : c->override_kvs.count ? "--override-kv"
                                                  : NULL;
    if (of_type && !r->type)
        return usage_error(c, "%s needs a TYPE after the OUTPUT", of_type);
    if (of_gguf && !str_ends(str_from(r->output), ".gguf"))
        return usage_error(c, "%s needs an OUTPUT that ends in .gguf", of_gguf);
    return 0;
}

int cmd_merge(struct cli *c)
{
    struct arena arena = {0};
    struct merge_request r = merge_request_of(c);
    r.shard_bytes = c->shard_bytes;
    r.force = c->force;
    r.explain = c->dry_run;
    r.no_model_card = c->no_model_card;
    int code = read_words(c, &r);
    if (code == 0)
        code = take_merge_flags(c, &r);
    if (code == 0)
        code = check_gguf_options(c, &r);
    if (code == 0)
        code = take_quantize_options(c, r.type, &arena);
    if (code != 0) {
        arena_free(&arena);
        return code;
    }
    if (c->making) {
        r.places.moved = c->making->moved.items;
        r.places.nmoved = c->making->moved.count;
    }
    r.places.hub_cache = c->hub_cache ? c->hub_cache : hub_cache_dir(&arena);
    code = plan_and_run(c, &r);
    arena_free(&arena);
    return code;
}
