/* convert_api.c - the public face of converting. */
#include "convert/convert.h"

enum quern_status quern_plan_convert(struct quern_model *model, const char *output,
                                     const struct quern_convert *options, struct quern_plan **out,
                                     struct quern_error *err)
{
    const struct quern_quantize q = {.imatrix = options->imatrix,
                                     .keep_names = options->keep_names,
                                     .arch = options->arch,
                                     .allow_requantize = options->allow_requantize,
                                     .override_kvs = options->override_kvs,
                                     .noverride_kvs = options->noverride_kvs};
    const struct convert_request request = {.output = output,
                                            .type = options->type ? options->type : "auto",
                                            .quantize = &q,
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
                                            .force = options->force};
    struct plan *p;
    TRY(convert_plan((struct model *)model, &request, &p, err));
    *out = (struct quern_plan *)p;
    return QUERN_OK;
}
