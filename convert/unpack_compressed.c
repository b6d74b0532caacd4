/* unpack_compressed.c - weights in small floats as compressed-tensors (vLLM, llm-compressor) packs
 * them: FP8, NVFP4, MXFP4. */
#include "fp4.h"
#include "unpacking.h"

/* FP8: X.weight and X.weight_scale, for the tensor, its rows, groups of a row, or blocks. NVFP4:
 * X.weight_packed, X.weight_scale for every 16 codes, X.weight_global_scale, by which those are
 * divided. MXFP4: X.weight_packed and X.weight_scale for every 32. */

static struct str text_of(const struct json *object, const char *key)
{
    struct str text = STR("");
    json_text(json_get(object, key), &text);
    return text;
}

static bool is_float_format(struct str format)
{
    static const char *const formats[] = {"float-quantized", "naive-quantized",
                                          "nvfp4-pack-quantized", "mxfp4-pack-quantized"};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (str_is(format, formats[i]))
            return true;
    return false;
}

/* All groups of modules are packed as floats. */
static bool claims_floats(const struct unpacking *u)
{
    const struct str format = text_of(u->config, "format");
    const struct json *groups = json_get(u->config, "config_groups");
    if (u->method.n && !str_is(u->method, "compressed-tensors"))
        return false;
    for (const struct json *g = json_first(groups); g; g = json_next(g)) {
        const struct str own = text_of(g, "format");
        if (!is_float_format(own.n ? own : format) ||
            !str_is(text_of(json_get(g, "weights"), "type"), "float"))
            return false;
    }
    return json_first(groups) != NULL;
}

/* How many values along rows and columns share a scale, by the words of one group of modules. */
static enum quern_status read_block(const struct json *weights, uint64_t block[2],
                                    struct quern_error *err)
{
    const struct json *strategy = json_get(weights, "strategy");
    const struct json *structure = json_get(weights, "block_structure");
    const struct json *first = json_first(structure);
    const struct str s = text_of(weights, "strategy");
    block[0] = block[1] = 1;
    if (str_is(s, "block")) {
        if (json_is_array(structure) && json_count(structure) == 2 && json_u64(first, &block[0]) &&
            json_u64(json_next(first), &block[1]) && block[0] > 0 && block[1] > 0)
            return QUERN_OK;
        return unpack_unknown("block_structure", structure, "expected two numbers", err);
    }
    if (str_is(s, "group") || str_is(s, "tensor_group")) {
        if (json_u64(json_get(weights, "group_size"), &block[1]) && block[1] > 0)
            return QUERN_OK;
        return unpack_unknown("group_size", json_get(weights, "group_size"), "expected a number",
                              err);
    }
    if (str_is(s, "tensor") || str_is(s, "channel") || !strategy || json_is_null(strategy))
        return QUERN_OK;
    return unpack_unknown("strategy", strategy,
                          "expected tensor, channel, group, tensor_group or block", err);
}

static enum quern_status check_group(const struct json *group, uint64_t block[2],
                                     struct quern_error *err)
{
    const struct json *weights = json_get(group, "weights");
    bool symmetric;
    TRY(unpack_known_keys(group, "weights input_activations output_activations targets format",
                          err));
    TRY(unpack_known_keys(weights,
                          "num_bits type strategy symmetric group_size block_structure dynamic "
                          "observer observer_kwargs actorder scale_dtype zp_dtype",
                          err));
    if (json_bool(json_get(weights, "symmetric"), &symmetric) && !symmetric)
        return unpack_unknown("symmetric", json_get(weights, "symmetric"),
                              "expected true, for floats have no zero point", err);
    return read_block(weights, block, err);
}

/* Weights whose values were permuted, pruned or rotated as well are not read. */
static enum quern_status check_config(const struct unpacking *u, uint64_t block[2],
                                      struct quern_error *err)
{
    const struct json *sparsity = json_get(u->config, "sparsity_config");
    const struct json *transform = json_get(u->config, "transform_config");
    const struct str sparse = text_of(sparsity, "format");
    bool known = false;
    TRY(unpack_known_keys(u->config,
                          "quant_method format config_groups global_compression_ratio ignore "
                          "kv_cache_scheme quantization_status sparsity_config transform_config "
                          "version",
                          err));
    if (sparse.n && !str_is(sparse, "dense"))
        return unpack_unknown("sparsity_config.format", json_get(sparsity, "format"),
                              "expected dense", err);
    if (json_first(transform))
        return unpack_unknown("transform_config", transform, "expected none", err);
    const struct json *groups = json_get(u->config, "config_groups");
    for (const struct json *g = json_first(groups); g; g = json_next(g)) {
        uint64_t own[2] = {1, 1};
        TRY(check_group(g, own, err));
        if (own[0] == 1 && own[1] == 1)
            continue;
        if (known && (own[0] != block[0] || own[1] != block[1]) &&
            !str_starts(text_of(g, "format"), "nvfp4") && !str_starts(text_of(g, "format"), "mx"))
            return unpack_unknown("config_groups", groups, "expected blocks of one size", err);
        block[0] = own[0];
        block[1] = own[1];
        known = true;
    }
    return QUERN_OK;
}

/* The reciprocal of a global scale, as GGUF has it. */
static enum quern_status read_global(struct unpacking *u, const struct source *s,
                                     const float **divisor, const float **factor,
                                     struct quern_error *err)
{
    float *inverse = ARENA_NEW(u->arena, float, 1);
    if (!inverse)
        return fail_memory(err, sizeof *inverse);
    TRY(unpack_values(u, s, 1, divisor, err));
    if (**divisor == 0.0f)
        return in_source(
            err, s,
            fail(err, QUERN_EFORMAT, "scale", "it is 0" WANT "expected a number to divide by"));
    *inverse = 1.0f / **divisor;
    *factor = inverse;
    return QUERN_OK;
}

static enum quern_status unpack_nvfp4(struct unpacking *u, struct str stem,
                                      const struct source *packed, const struct source *scale,
                                      struct quern_error *err)
{
    struct nvfp4_globals g = {.count = 1, .inverse = true};
    const struct source *global, *input;
    const float *ignored;
    struct source s;
    struct str name;
    TRY(unpack_part(u, stem, ".weight_global_scale", true, &global, err));
    TRY(unpack_part(u, stem, ".input_global_scale", false, &input, err));
    TRY(read_global(u, global, &g.divisors, &g.factors, err));
    if (input)
        TRY(read_global(u, input, &ignored, &g.inputs, err));
    TRY(nvfp4_source(u->arena, packed, scale, &g, u->dtype, &s, err));
    TRY(unpack_name(u, stem, ".weight", &name, err));
    return unpack_put(u, packed, name, &s, err);
}

static enum quern_status unpack_mx(struct unpacking *u, struct str stem,
                                   const struct source *packed, const struct source *scale,
                                   struct quern_error *err)
{
    struct source s;
    struct str name;
    TRY(mxfp4_source(u->arena, packed, scale, u->dtype, &s, err));
    TRY(unpack_name(u, stem, ".weight", &name, err));
    return unpack_put(u, packed, name, &s, err);
}

static enum quern_status unpack_one(struct unpacking *u, struct str stem, const uint64_t block[2],
                                    struct quern_error *err)
{
    const struct source *packed, *scale, *weight, *zero;
    TRY(unpack_part(u, stem, ".weight_scale", true, &scale, err));
    TRY(unpack_part(u, stem, ".weight_packed", false, &packed, err));
    if (packed && scale->tensor->dtype == DTYPE_F8_E4M3)
        return unpack_nvfp4(u, stem, packed, scale, err);
    if (packed)
        return unpack_mx(u, stem, packed, scale, err);
    TRY(unpack_part(u, stem, ".weight", true, &weight, err));
    TRY(unpack_part(u, stem, ".weight_zero_point", false, &zero, err));
    if (zero)
        TRY(unpack_expect_zero(zero, err));
    return unpack_put_scaled(u, weight, scale, block, err);
}

static enum quern_status unpack_floats(struct unpacking *u, struct quern_error *err)
{
    uint64_t block[2] = {1, 1};
    struct str stem;
    TRY(check_config(u, block, err));
    for (uint32_t i = 0; unpack_next(u, ".weight_scale", &i, &stem);)
        TRY(unpack_one(u, stem, block, err));
    unpack_ignore(u, ".input_scale .input_zero_point .input_global_scale .output_scale "
                     ".output_zero_point .k_scale .v_scale .q_scale .k_zero_point .v_zero_point");
    return QUERN_OK;
}

const struct packing packing_compressed_floats = {
    .name = "compressed-tensors",
    .parts = ".weight_scale .weight_packed .weight_global_scale .weight_zero_point .weight_g_idx "
             ".weight_shape",
    .claims = claims_floats,
    .unpack = unpack_floats};
