/* unpack_modelopt.c - weights in FP8 and NVFP4 as NVIDIA's Model Optimizer exports them. */
#include "fp4.h"
#include "unpacking.h"

/* FP8: X.weight and X.weight_scale. NVFP4: X.weight has two codes in a byte, X.weight_scale a scale
 * for every 16 of them, X.weight_scale_2 one above those, which is multiplied. A model may have
 * both, layer by layer; the tensors tell which. */

static bool claims_modelopt(const struct unpacking *u)
{
    return str_starts(u->method, "modelopt");
}

static enum quern_status check_algorithm(const struct unpacking *u, struct quern_error *err)
{
    static const char *const known[] = {"FP8", "FP8_PER_CHANNEL_PER_TOKEN", "NVFP4", "W4A16_NVFP4",
                                        "MIXED_PRECISION"};
    const struct json *v = json_get(u->config, "quant_algo");
    struct str algorithm;
    bool ok = !v || json_is_null(v);
    if (json_text(v, &algorithm))
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            ok |= str_is(algorithm, known[i]);
    return ok ? QUERN_OK
              : unpack_unknown("quant_algo", v, "expected FP8, NVFP4 or both (MIXED_PRECISION)",
                               err);
}

/* One number, or one for each matrix of a stack. */
static enum quern_status read_numbers(struct unpacking *u, struct str stem, const char *ending,
                                      const struct source *weight, const float **out, uint64_t *n,
                                      struct quern_error *err)
{
    const struct source *s;
    TRY(unpack_part(u, stem, ending, false, &s, err));
    *n = 0;
    if (!s)
        return QUERN_OK;
    *n = s->tensor->nelems;
    return unpack_values(u, s, weight->tensor->ndims > 2 ? weight->tensor->dims[0] : 1, out, err);
}

static enum quern_status unpack_nvfp4(struct unpacking *u, struct str stem,
                                      const struct source *weight, const struct source *scale,
                                      struct quern_error *err)
{
    static const float one = 1.0f;
    struct nvfp4_globals g = {.factors = &one, .count = 1};
    const float *factors, *inputs;
    uint64_t nfactors, ninputs;
    struct source s;
    TRY(read_numbers(u, stem, ".weight_scale_2", weight, &factors, &nfactors, err));
    TRY(read_numbers(u, stem, ".input_scale", weight, &inputs, &ninputs, err));
    if (nfactors) {
        g.factors = factors;
        g.count = nfactors;
    }
    if (ninputs == g.count)
        g.inputs = inputs;
    TRY(nvfp4_source(u->arena, weight, scale, &g, u->dtype, &s, err));
    return unpack_put(u, weight, weight->tensor->name, &s, err);
}

static enum quern_status unpack_modelopt(struct unpacking *u, struct quern_error *err)
{
    static const uint64_t block[2] = {1, 1};
    const struct source *scale, *weight;
    struct str stem;
    TRY(unpack_known_keys(u->config,
                          "quant_method quant_algo producer ignore exclude_modules config_groups "
                          "kv_cache_scheme kv_cache_quant_algo group_size quantized_layers",
                          err));
    TRY(check_algorithm(u, err));
    for (uint32_t i = 0; (scale = unpack_next(u, ".weight_scale", &i, &stem));) {
        TRY(unpack_part(u, stem, ".weight", true, &weight, err));
        TRY(unpack_part(u, stem, ".weight_scale", true, &scale, err));
        if (weight->tensor->dtype == DTYPE_U8)
            TRY(unpack_nvfp4(u, stem, weight, scale, err));
        else
            TRY(unpack_put_scaled(u, weight, scale, block, err));
    }
    unpack_ignore(u, ".input_scale .output_scale .k_scale .v_scale .q_scale");
    return QUERN_OK;
}

const struct packing packing_modelopt = {.name = "Model Optimizer",
                                         .parts = ".weight_scale .weight_scale_2 .pre_quant_scale",
                                         .claims = claims_modelopt,
                                         .unpack = unpack_modelopt};
