/* convert_api.c - the public face of converting. */
#include "convert/adapter_plan.h"
#include "convert/convert.h"
#include "core/io.h"
#include "formats/pack.h"
#include "pipeline/nonfinite.h"

#define MAX_MAP (1u << 20)

/* The rules are parameters of the sources, which nothing else in the plan shows. */
static enum quern_status tell_map(const struct quern_convert *options, struct plan *p,
                                  struct quern_error *err)
{
    struct str rules;
    if (!options->map)
        return QUERN_OK;
    TRY(read_named_file(options->map, MAX_MAP, &p->arena, &rules, err));
    plan_asked(p, rules.p, rules.n);
    return QUERN_OK;
}

static struct convert_request request_of(const char *output, const struct quern_convert *options,
                                         struct quern_quantize *q)
{
    *q = (struct quern_quantize){.imatrix = options->imatrix,
                                 .keep_names = options->keep_names,
                                 .arch = options->arch,
                                 .allow_requantize = options->allow_requantize,
                                 .override_kvs = options->override_kvs,
                                 .noverride_kvs = options->noverride_kvs};
    return (struct convert_request){.output = output,
                                    .type = options->type,
                                    .quantize = q,
                                    .like_quantize = options->like_quantize,
                                    .model_name = options->model_name,
                                    .metadata = options->metadata,
                                    .pre = options->pre,
                                    .like = options->like,
                                    .map_path = options->map,
                                    .vocab_only = options->vocab_only,
                                    .text_only = options->text_only,
                                    .split_max_bytes = options->split_max_bytes,
                                    .split_max_tensors = options->split_max_tensors,
                                    .no_tensor_first_split = options->no_tensor_first_split,
                                    .base = options->base,
                                    .hub_cache = options->hub_cache,
                                    .force = options->force};
}

enum quern_status quern_plan_convert(struct quern_model *model, const char *output,
                                     const struct quern_convert *options, struct quern_plan **out,
                                     struct quern_error *err)
{
    struct quern_quantize q;
    const struct convert_request request = request_of(output, options, &q);
    struct plan *p;
    TRY(convert_plan((struct model *)model, &request, &p, err));
    const enum quern_status s = tell_map(options, p, err);
    if (s != QUERN_OK) {
        plan_free(p);
        return s;
    }
    return plan_hand_out(p, options->nonfinite, out, err);
}

enum quern_status quern_plan_convert_adapter(const char *adapter, const char *output,
                                             const struct quern_convert *options,
                                             struct quern_plan **out, struct quern_error *err)
{
    struct quern_quantize q;
    const struct convert_request request = request_of(output, options, &q);
    struct plan *p;
    TRY(adapter_plan(adapter, &request, &p, err));
    return plan_hand_out(p, options->nonfinite, out, err);
}
