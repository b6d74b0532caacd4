/* unpack_fp8.c - weights in 8-bit floats with a scale for the tensor, its rows or its blocks. */
#include "unpacking.h"

/* DeepSeek, Qwen3 and others: X.weight and X.weight_scale_inv (which is multiplied all the same), a
 * scale for every block of weight_block_size. Others write X.weight_scale; Mistral X.qscale_weight.
 * Scales of activations are for kernels that compute in 8 bits. */

static bool claims_fp8(const struct unpacking *u)
{
    return str_is(u->method, "fp8");
}

static bool claims_fbgemm(const struct unpacking *u)
{
    return str_is(u->method, "fbgemm_fp8");
}

static enum quern_status read_block_size(const struct unpacking *u, uint64_t block[2],
                                         struct quern_error *err)
{
    const struct json *v = json_get(u->config, "weight_block_size");
    const struct json *first = json_first(v);
    block[0] = block[1] = 1;
    if (!v || json_is_null(v))
        return QUERN_OK;
    if (json_is_array(v) && json_count(v) == 2 && json_u64(first, &block[0]) &&
        json_u64(json_next(first), &block[1]) && block[0] > 0 && block[1] > 0)
        return QUERN_OK;
    return unpack_unknown("weight_block_size", v, "expected two numbers", err);
}

/* Every scale named so has its weight beside it: the same name with this ending instead. */
static enum quern_status scaled_weights(struct unpacking *u, const char *ending, const char *weight,
                                        const uint64_t block[2], struct quern_error *err)
{
    const struct source *scale, *w;
    struct str stem;
    for (uint32_t i = 0; (scale = unpack_next(u, ending, &i, &stem));) {
        TRY(unpack_part(u, stem, weight, true, &w, err));
        TRY(unpack_part(u, stem, ending, true, &scale, err));
        TRY(unpack_put_scaled(u, w, scale, block, err));
    }
    return QUERN_OK;
}

static enum quern_status unpack_fp8(struct unpacking *u, struct quern_error *err)
{
    uint64_t block[2];
    TRY(unpack_known_keys(u->config,
                          "quant_method fmt activation_scheme weight_block_size scale_fmt "
                          "modules_to_not_convert ignored_layers kv_cache_scheme dequantize",
                          err));
    TRY(read_block_size(u, block, err));
    TRY(scaled_weights(u, "_scale_inv", "", block, err));
    TRY(scaled_weights(u, ".weight_scale", ".weight", block, err));
    TRY(scaled_weights(u, ".qscale_weight", ".weight", block, err));
    unpack_ignore(u, ".activation_scale _activation_scale .qscale_act .input_scale .output_scale "
                     ".kv_scale .k_scale .v_scale .q_scale .prob_output_scale");
    return QUERN_OK;
}

static enum quern_status unpack_fbgemm(struct unpacking *u, struct quern_error *err)
{
    static const uint64_t block[2] = {1, 1};
    TRY(unpack_known_keys(u->config, "quant_method activation_scale_ub modules_to_not_convert",
                          err));
    TRY(scaled_weights(u, ".weight_scale", ".weight", block, err));
    unpack_ignore(u, ".input_scale_ub");
    return QUERN_OK;
}

const struct packing packing_fp8 = {.name = "FP8",
                                    .parts = "_scale_inv .weight_scale .qscale_weight",
                                    .claims = claims_fp8,
                                    .unpack = unpack_fp8};
const struct packing packing_fbgemm = {.name = "FBGEMM FP8",
                                       .parts = ".weight_scale .input_scale_ub",
                                       .claims = claims_fbgemm,
                                       .unpack = unpack_fbgemm};
