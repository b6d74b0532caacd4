/* merge_api.c - the public face of merging. */
#include "merge/merge.h"
#include "pipeline/nonfinite.h"

enum quern_status quern_plan_merge(const char *output, const struct quern_merge *options,
                                   struct quern_plan **out, struct quern_error *err)
{
    const struct mistake_sink sink = {options->on_mistake, options->user};
    const struct quern_quantize q = {.allow_requantize = options->allow_requantize,
                                     .imatrix = options->imatrix};
    const struct merge_request request = {
        .recipe_path = options->recipe_path,
        .recipe_text = options->recipe_text,
        .places = {.mappings = options->model_paths,
                   .nmappings = options->nmodel_paths,
                   .hub_cache = options->hub_cache},
        .output = output,
        .type = options->type,
        .shard_bytes = options->shard_bytes,
        .force = options->force,
        .seed = options->seed,
        .mergekit_exact = options->mergekit_exact,
        .convert = {.quantize = &q,                                .pre = options->pre                  },
        .allow_crimes = options->allow_crimes,
        .no_tokenizer = options->no_tokenizer,
        .sink = options->on_mistake ? &sink : NULL,
        .no_model_card = options->no_model_card
    };
    struct plan *p;
    TRY(merge_plan(&request, &p, err));
    return plan_hand_out(p, options->nonfinite, out, err);
}
