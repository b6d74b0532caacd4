/* arch_gpt.c - GPT-2, GPT-NeoX, Falcon, StarCoder2, StableLM, Phi, Nemotron: layer norms, biases.
 */
#include <math.h>

#include "arch_lists.h"
#include "conversion.h"
#include "core/smath.h"
#include "meta_array.h"

/* clang-format off */

/* ---- GPT-2: its matrices lie on their sides ------------------------------------------------------ */

static const struct tensor_rule gpt2_tensors[] = {
    KEEP("wte", "token_embd"),
    KEEP("wpe", "position_embd"),
    KEEP("ln_f", "output_norm"),
    KEEP("lm_head", "output"),
    KEEP("h.{i}.ln_1", "blk.{i}.attn_norm"),
    KEEP("h.{i}.ln_2", "blk.{i}.ffn_norm"),
    MAKE("h.{i}.attn.c_attn", "blk.{i}.attn_qkv", TURN),
    MAKE("h.{i}.attn.c_proj", "blk.{i}.attn_output", TURN),
    MAKE("h.{i}.mlp.c_fc", "blk.{i}.ffn_up", TURN),
    MAKE("h.{i}.mlp.c_proj", "blk.{i}.ffn_down", TURN),
    {.from = NULL}
};

static const struct key_rule gpt2_keys[] = {
    {.key = "block_count", .type = META_U32, .from = "n_layers|num_hidden_layers|n_layer|num_layers", .required = true},
    {.key = "context_length", .type = META_U32, .from = "n_ctx|n_positions", .required = true},
    {.key = "embedding_length", .type = META_U32, .from = "n_embd", .required = true},
    {.key = "feed_forward_length", .type = META_U32, .make = make_ffn_4x},
    {.key = "attention.head_count", .type = META_U32, .from = "n_head", .required = true},
    {.key = "attention.layer_norm_epsilon", .type = META_F32, .from = "layer_norm_epsilon", .required = true},
    {.key = "general.file_type", .type = META_U32, .make = make_file_type},
    {.key = NULL}
};

const struct architecture arch_gpt2 = {
    .name = "gpt2",
    .classes = "GPT2LMHeadModel",
    .tensors = {gpt2_tensors},
    .keys = {gpt2_keys},
    .strip = "transformer.",
};

/* ---- GPT-NeoX ------------------------------------------------------------------------------------ */

static const struct tensor_rule gptneox_tensors[] = {
    KEEP("embed_in", "token_embd"),
    KEEP("embed_out", "output"),
    KEEP("final_layer_norm", "output_norm"),
    KEEP("layers.{i}.input_layernorm", "blk.{i}.attn_norm"),
    KEEP("layers.{i}.post_attention_layernorm", "blk.{i}.ffn_norm"),
    MAKE("layers.{i}.attention.query_key_value", "blk.{i}.attn_qkv", QKV_BY_HEAD),
    KEEP("layers.{i}.attention.dense", "blk.{i}.attn_output"),
    KEEP("layers.{i}.mlp.dense_h_to_4h", "blk.{i}.ffn_up"),
    KEEP("layers.{i}.mlp.dense_4h_to_h", "blk.{i}.ffn_down"),
    {.from = NULL}
};

static const struct key_rule gptneox_keys[] = {
    {.key = "context_length", .type = META_U32, .from = "max_position_embeddings", .required = true},
    {.key = "embedding_length", .type = META_U32, .from = "hidden_size", .required = true},
    {.key = "block_count", .type = META_U32, .from = "num_hidden_layers", .required = true},
    {.key = "feed_forward_length", .type = META_U32, .from = "intermediate_size", .required = true},
    {.key = "rope.dimension_count", .type = META_U32, .make = make_rope_dims_partial},
    {.key = "attention.head_count", .type = META_U32, .from = "num_attention_heads", .required = true},
    {.key = "use_parallel_residual", .type = META_BOOL, .from = "use_parallel_residual", .other = "true"},
    {.key = "attention.layer_norm_epsilon", .type = META_F32, .from = "layer_norm_eps", .required = true},
    {.key = NULL}
};

const struct architecture arch_gptneox = {
    .name = "gptneox",
    .classes = "GPTNeoXForCausalLM",
    .tensors = {gptneox_tensors},
    .keys = {gptneox_keys},
    .strip = "gpt_neox.",
};

/* ---- StarCoder ----------------------------------------------------------------------------------- */

static const struct tensor_rule starcoder_tensors[] = {
    KEEP("wte", "token_embd"),
    KEEP("wpe", "position_embd"),
    KEEP("ln_f", "output_norm"),
    KEEP("lm_head", "output"),
    KEEP("h.{i}.ln_1", "blk.{i}.attn_norm"),
    KEEP("h.{i}.ln_2", "blk.{i}.ffn_norm"),
    KEEP("h.{i}.attn.c_attn", "blk.{i}.attn_qkv"),
    KEEP("h.{i}.attn.c_proj", "blk.{i}.attn_output"),
    KEEP("h.{i}.mlp.c_fc", "blk.{i}.ffn_up"),
    KEEP("h.{i}.mlp.c_proj", "blk.{i}.ffn_down"),
    {.from = NULL}
};

static const struct key_rule starcoder_keys[] = {
    {.key = "context_length", .type = META_U32, .from = "n_positions", .required = true},
    {.key = "embedding_length", .type = META_U32, .from = "n_embd", .required = true},
    {.key = "feed_forward_length", .type = META_U32, .make = make_ffn_4x},
    {.key = "block_count", .type = META_U32, .from = "n_layers|num_hidden_layers|n_layer|num_layers", .required = true},
    {.key = "attention.head_count", .type = META_U32, .from = "n_head", .required = true},
    {.key = "attention.head_count_kv", .type = META_U32, .other = "1"},
    {.key = "attention.layer_norm_epsilon", .type = META_F32, .from = "layer_norm_epsilon", .required = true},
    {.key = "general.file_type", .type = META_U32, .make = make_file_type},
    {.key = NULL}
};

const struct architecture arch_starcoder = {
    .name = "starcoder",
    .classes = "GPTBigCodeForCausalLM",
    .tensors = {starcoder_tensors},
    .keys = {starcoder_keys},
    .strip = "transformer.",
};

/* ---- Falcon -------------------------------------------------------------------------------------- */

static const struct tensor_rule falcon_tensors[] = {
    KEEP("word_embeddings", "token_embd"),
    KEEP("ln_f", "output_norm"),
    KEEP("lm_head", "output"),
    KEEP("h.{i}.input_layernorm", "blk.{i}.attn_norm"),
    KEEP("h.{i}.ln_mlp", "blk.{i}.attn_norm"),
    KEEP("h.{i}.ln_attn", "blk.{i}.attn_norm_2"),
    MAKE("h.{i}.self_attention.query_key_value", "blk.{i}.attn_qkv", QKV_BY_GROUP),
    KEEP("h.{i}.self_attention.dense", "blk.{i}.attn_output"),
    KEEP("h.{i}.mlp.dense_h_to_4h", "blk.{i}.ffn_up"),
    KEEP("h.{i}.mlp.dense_4h_to_h", "blk.{i}.ffn_down"),
    {.from = NULL}
};

static KEY_MAKER(make_falcon_kv_heads)
{
    (void)err;
    *v = (struct key_value){.kind = VALUE_NUMBER, .number = (double)c->nkv_heads};
    return QUERN_OK;
}

static const struct key_rule falcon_keys[] = {
    {.key = "context_length", .type = META_U32, .other = "2048"},
    {.key = "tensor_data_layout", .type = META_STRING, .other = "jploski"},
    {.key = "embedding_length", .type = META_U32, .from = "hidden_size|n_embed", .required = true},
    {.key = "feed_forward_length", .type = META_U32, .make = make_ffn_4x},
    {.key = "block_count", .type = META_U32, .from = "n_layers|num_hidden_layers|n_layer|num_layers", .required = true},
    {.key = "attention.head_count", .type = META_U32, .from = "num_attention_heads|n_head", .required = true},
    {.key = "attention.head_count_kv", .type = META_U32, .make = make_falcon_kv_heads},
    {.key = "attention.layer_norm_epsilon", .type = META_F32, .from = "layer_norm_epsilon", .required = true},
    {.key = "general.file_type", .type = META_U32, .make = make_file_type},
    {.key = NULL}
};

/* A model of the first kind has one head of keys whatever num_kv_heads says: its rows tell. */
static enum quern_status falcon_heads(struct conversion *c, struct quern_error *err)
{
    bool lone = false;
    (void)err;
    if (!hf_bool(&c->config, "multi_query", &lone) || !lone || c->nheads == 0)
        return QUERN_OK;
    for (uint32_t i = 0; i < c->ninputs; i++) {
        const struct tensor *t = c->inputs[i]->tensor;
        if (t->ndims == 2 && str_ends(t->name, "query_key_value.weight") &&
            t->dims[0] == t->dims[1] / c->nheads * (c->nheads + 2))
            c->nkv_heads = 1;
    }
    return QUERN_OK;
}

const struct architecture arch_falcon = {
    .name = "falcon",
    .classes = "FalconForCausalLM RWForCausalLM",
    .tensors = {falcon_tensors},
    .keys = {falcon_keys},
    .extra = falcon_heads,
    .strip = "transformer.",
    .lone_kv_head = true,
};

/* ---- StarCoder2 ---------------------------------------------------------------------------------- */

static const struct tensor_rule starcoder2_mlp[] = {
    KEEP("model.layers.{i}.mlp.c_fc", "blk.{i}.ffn_up"),
    KEEP("model.layers.{i}.mlp.c_proj", "blk.{i}.ffn_down"),
    {.from = NULL}
};

const struct architecture arch_starcoder2 = {
    .name = "starcoder2",
    .classes = "Starcoder2ForCausalLM",
    .tensors = {plain_qk, starcoder2_mlp, llama_tensors},
    .keys = {base_keys},
};

/* ---- StableLM ------------------------------------------------------------------------------------ */

static const struct tensor_rule stablelm_norms[] = {
    MAKE("model.layers.{i}.self_attn.q_layernorm.norms.{e}.weight", "blk.{i}.attn_q_norm.weight", STACK_Q_HEADS),
    MAKE("model.layers.{i}.self_attn.k_layernorm.norms.{e}.weight", "blk.{i}.attn_k_norm.weight", STACK_K_HEADS),
    {.from = NULL}
};

static const struct key_rule stablelm_keys[] = {
    {.key = "context_length", .type = META_U32, .from = "max_position_embeddings", .required = true},
    {.key = "embedding_length", .type = META_U32, .from = "hidden_size", .required = true},
    {.key = "block_count", .type = META_U32, .from = "num_hidden_layers", .required = true},
    {.key = "feed_forward_length", .type = META_U32, .from = "intermediate_size", .required = true},
    {.key = "rope.dimension_count", .type = META_U32, .make = make_rope_dims_partial},
    {.key = "attention.head_count", .type = META_U32, .from = "num_attention_heads", .required = true},
    {.key = "attention.head_count_kv", .type = META_U32, .from = "num_key_value_heads", .required = true},
    {.key = "use_parallel_residual", .type = META_BOOL, .from = "use_parallel_residual", .other = "true"},
    {.key = "attention.layer_norm_epsilon", .type = META_F32, .from = "layer_norm_eps|norm_eps", .required = true},
    {.key = "general.file_type", .type = META_U32, .make = make_file_type},
    {.key = NULL}
};

const struct architecture arch_stablelm = {
    .name = "stablelm",
    .classes = "StableLmForCausalLM StableLMEpochForCausalLM LlavaStableLMEpochForCausalLM",
    .tensors = {stablelm_norms, plain_qk, llama_tensors},
    .keys = {stablelm_keys},
};

/* ---- Phi ----------------------------------------------------------------------------------------- */

static const struct tensor_rule phi2_tensors[] = {
    KEEP("model.final_layernorm", "output_norm"),
    KEEP("model.layers.{i}.self_attn.dense", "blk.{i}.attn_output"),
    KEEP("model.layers.{i}.mlp.fc1", "blk.{i}.ffn_up"),
    KEEP("model.layers.{i}.mlp.fc2", "blk.{i}.ffn_down"),
    {.from = NULL}
};

static const struct key_rule phi2_keys[] = {
    {.key = "context_length", .type = META_U32, .from = "n_positions|max_position_embeddings", .required = true},
    {.key = "embedding_length", .type = META_U32, .from = "n_embd|hidden_size", .required = true},
    {.key = "feed_forward_length", .type = META_U32, .make = make_ffn_4x},
    {.key = "block_count", .type = META_U32, .from = "n_layers|num_hidden_layers|n_layer|num_layers", .required = true},
    {.key = "attention.head_count", .type = META_U32, .from = "num_attention_heads|n_head", .required = true},
    {.key = "attention.head_count_kv", .type = META_U32, .from = "num_attention_heads|n_head", .required = true},
    {.key = "attention.layer_norm_epsilon", .type = META_F32, .from = "layer_norm_epsilon|layer_norm_eps", .required = true},
    {.key = "rope.dimension_count", .type = META_U32, .make = make_rope_dims_hidden},
    {.key = "general.file_type", .type = META_U32, .make = make_file_type},
    {.key = "tokenizer.ggml.add_bos_token", .type = META_BOOL, .other = "false"},
    {.key = NULL}
};

const struct architecture arch_phi2 = {
    .name = "phi2",
    .classes = "PhiForCausalLM",
    .tensors = {phi2_tensors, plain_qk, llama_tensors},
    .keys = {phi2_keys},
};

static const struct tensor_rule phi3_tensors[] = {
    KEEP("model.layers.{i}.self_attn.qkv_proj", "blk.{i}.attn_qkv"),
    KEEP("model.layers.{i}.mlp.gate_up_proj", "blk.{i}.ffn_up"),
    {.from = NULL}
};

/* The length of contexts before they were made longer: the way of doing that may name its own. */
static bool original_context(const struct conversion *c, double *n)
{
    return json_f64(json_get(c->config.rope, "original_max_position_embeddings"), n) ||
           hparam_f64(c, "original_max_position_embeddings", n);
}

static KEY_MAKER(make_phi3_context)
{
    double n;
    (void)err;
    if (original_context(c, &n))
        *v = (struct key_value){.kind = VALUE_NUMBER, .number = n};
    return QUERN_OK;
}

static const struct key_rule phi3_keys[] = {
    {.key = "context_length", .type = META_U32, .from = "n_positions|max_position_embeddings", .required = true},
    {.key = "rope.scaling.original_context_length", .type = META_U32, .make = make_phi3_context, .required = true},
    {.key = "embedding_length", .type = META_U32, .from = "n_embd|hidden_size", .required = true},
    {.key = "feed_forward_length", .type = META_U32, .from = "intermediate_size", .required = true},
    {.key = "block_count", .type = META_U32, .from = "n_layers|num_hidden_layers|n_layer|num_layers", .required = true},
    {.key = "attention.head_count", .type = META_U32, .from = "num_attention_heads|n_head", .required = true},
    {.key = "attention.head_count_kv", .type = META_U32, .from = "num_key_value_heads|n_head_kv|num_attention_heads"},
    {.key = "attention.layer_norm_rms_epsilon", .type = META_F32, .from = "rms_norm_eps", .required = true},
    {.key = "rope.dimension_count", .type = META_U32, .make = make_rope_dims_hidden},
    {.key = "rope.freq_base", .type = META_F32, .make = make_rope_freq_base},
    {.key = "general.file_type", .type = META_U32, .make = make_file_type},
    {.key = "attention.sliding_window", .type = META_U32, .from = "sliding_window", .other = "0"},
    {.key = NULL}
};
/* clang-format on */

static enum quern_status put_factors(struct conversion *c, const char *key, const char *name,
                                     uint64_t n, struct quern_error *err)
{
    const struct json *list = json_get(c->config.rope, key);
    float *factors = ARENA_NEW(&c->plan->arena, float, n + 1);
    uint64_t i = 0;
    double v;
    if (!factors)
        return fail_memory(err, n * sizeof *factors);
    for (const struct json *item = json_first(list); item && i < n; item = json_next(item))
        if (json_f64(item, &v))
            factors[i++] = (float)v;
    if (i != n || json_count(list) != n)
        return in_file(err, c->config.path,
                       fail(err, QUERN_EFORMAT, "hparam",
                            "%s has %zu numbers" WANT "expected %llu, half of the dimensions that "
                            "rotate",
                            key, json_count(list), (unsigned long long)n));
    return convert_add_values(c, name, factors, n, err);
}

enum quern_status long_rope_factors(struct conversion *c, uint64_t n, struct quern_error *err)
{
    TRY(put_factors(c, "long_factor", "rope_factors_long.weight", n, err));
    return put_factors(c, "short_factor", "rope_factors_short.weight", n, err);
}

/* How much louder attention is made for contexts longer than the original; 1 when they are not. */
static bool attention_factor(struct str type, double scale, double original, double *out)
{
    if (str_is(type, "su") || str_is(type, "longrope"))
        *out = scale > 1.0 ? sqrt(1.0 + strict_log(scale) / strict_log(original)) : 1.0;
    else if (str_is(type, "yarn"))
        *out = scale > 1.0 ? 0.1 * strict_log(scale) + 1.0 : 1.0;
    else
        return false;
    return true;
}

static enum quern_status phi3_factors(struct conversion *c, struct quern_error *err)
{
    struct str type = {0};
    struct key_value dims = {0};
    double longest, original, factor;
    if (!json_get(c->config.rope, "long_factor"))
        return QUERN_OK;
    if (!json_text(json_get(c->config.rope, "rope_type"), &type))
        json_text(json_get(c->config.rope, "type"), &type);
    TRY(make_rope_dims_hidden(c, &dims, err));
    if (!hparam_f64(c, "max_position_embeddings|n_positions", &longest) ||
        !original_context(c, &original) || original < 2 || dims.kind != VALUE_NUMBER ||
        dims.number < 2 || dims.number > 65536 ||
        !attention_factor(type, longest / original, original, &factor))
        return in_file(err, c->config.path,
                       fail(err, QUERN_EUNSUPPORTED, "hparam",
                            "its rope_scaling has type '%s'" WANT
                            "expected su, longrope or yarn, with both lengths of contexts",
                            quoted(type).text));
    const char *key = arena_printf(&c->plan->arena, "%s.rope.scaling.attn_factor", c->arch->name);
    if (!key || !meta_list_put_f32(&c->keys, key, (float)factor))
        return fail_memory(err, 64);
    return long_rope_factors(c, (uint64_t)dims.number / 2, err);
}

const struct architecture arch_phi3 = {
    .name = "phi3",
    .classes = "Phi3ForCausalLM",
    .tensors = {phi3_tensors, llama_tensors},
    .keys = {phi3_keys           },
    .extra = phi3_factors,
};

static const struct key_rule phimoe_keys[] = {
    {.key = "expert_used_count",
     .type = META_U32,
     .from = "num_experts_per_tok|num_experts_per_token",
     .required = true},
    {.key = "expert_count",
     .type = META_U32,
     .from = "num_local_experts|num_experts",
     .required = true},
    {.key = NULL                                                  }
};

const struct architecture arch_phimoe = {
    .name = "phimoe",
    .classes = "PhiMoEForCausalLM",
    .tensors = {experts_by_number, plain_qk, llama_tensors},
    .keys = {phi3_keys,                 phimoe_keys                },
    .extra = phi3_factors,
};

/* ---- Nemotron
 * ------------------------------------------------------------------------------------ */

/* clang-format off */
static const struct tensor_rule nemotron_norms[] = {
    MAKE("model.norm", "output_norm", ADD_ONE),
    MAKE("model.layers.{i}.input_layernorm", "blk.{i}.attn_norm", ADD_ONE),
    MAKE("model.layers.{i}.post_attention_layernorm", "blk.{i}.ffn_norm", ADD_ONE),
    {.from = NULL}
};

static KEY_MAKER(make_nemotron_scaling)
{
    double factor;
    (void)err;
    const bool linear = hparam_f64(c, "factor", &factor) ||
                        json_f64(json_get(c->config.rope, "factor"), &factor);
    *v = (struct key_value){.kind = VALUE_TEXT, .text = linear ? STR("linear") : STR("none")};
    return QUERN_OK;
}

static KEY_MAKER(make_nemotron_factor)
{
    double factor;
    (void)err;
    if (hparam_f64(c, "factor", &factor) || json_f64(json_get(c->config.rope, "factor"), &factor))
        *v = (struct key_value){.kind = VALUE_NUMBER, .number = factor};
    return QUERN_OK;
}

static const struct key_rule nemotron_keys[] = {
    {.key = "vocab_size", .type = META_U32, .from = "vocab_size"},
    {.key = "attention.layer_norm_epsilon", .type = META_F32, .from = "layer_norm_eps|layer_norm_epsilon|norm_epsilon|norm_eps", .required = true},
    {.key = "rope.dimension_count", .type = META_U32, .make = make_rope_dims_hidden},
    {.key = "rope.scaling.type", .type = META_STRING, .make = make_nemotron_scaling},
    {.key = "rope.scaling.factor", .type = META_F32, .make = make_nemotron_factor},
    {.key = NULL}
};
/* clang-format on */

const struct architecture arch_nemotron = {
    .name = "nemotron",
    .classes = "NemotronForCausalLM",
    .tensors = {nemotron_norms, plain_qk, llama_tensors},
    .keys = {base_keys,              nemotron_keys             },
};
