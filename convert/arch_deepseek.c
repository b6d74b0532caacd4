/* arch_deepseek.c - DeepSeek V2, V3, R1 and what has their latent attention. */
#include "arch_lists.h"
#include "conversion.h"

/* clang-format off */
static const struct tensor_rule deepseek2_tensors[] = {
    KEEP("model.layers.{i}.self_attn.q_proj", "blk.{i}.attn_q"),
    KEEP("model.layers.{i}.self_attn.q_a_proj", "blk.{i}.attn_q_a"),
    KEEP("model.layers.{i}.self_attn.q_a_layernorm", "blk.{i}.attn_q_a_norm"),
    KEEP("model.layers.{i}.self_attn.q_b_proj", "blk.{i}.attn_q_b"),
    KEEP("model.layers.{i}.self_attn.kv_a_proj_with_mqa", "blk.{i}.attn_kv_a_mqa"),
    KEEP("model.layers.{i}.self_attn.kv_a_layernorm", "blk.{i}.attn_kv_a_norm"),
    MAKE("model.layers.{i}.self_attn.kv_b_proj", "blk.{i}.attn_k_b blk.{i}.attn_v_b", SPLIT_KV_B),
    KEEP("model.layers.{i}.mlp.gate.e_score_correction", "blk.{i}.exp_probs_b"),
    {.from = NULL}
};

const struct tensor_rule shared_experts[] = {
    KEEP("model.layers.{i}.mlp.shared_experts.gate_proj", "blk.{i}.ffn_gate_shexp"),
    KEEP("model.layers.{i}.mlp.shared_experts.up_proj", "blk.{i}.ffn_up_shexp"),
    KEEP("model.layers.{i}.mlp.shared_experts.down_proj", "blk.{i}.ffn_down_shexp"),
    {.from = NULL}
};

/* What a draft layer has besides; it goes with the layer. */
static const struct tensor_rule draft_layers[] = {
    MAKE("model.layers.{i}.eh_proj", "", LEFT_OUT),
    MAKE("model.layers.{i}.embed_tokens", "", LEFT_OUT),
    MAKE("model.layers.{i}.enorm", "", LEFT_OUT),
    MAKE("model.layers.{i}.hnorm", "", LEFT_OUT),
    MAKE("model.layers.{i}.shared_head.head", "", LEFT_OUT),
    MAKE("model.layers.{i}.shared_head.norm", "", LEFT_OUT),
    {.from = NULL}
};
/* clang-format on */

static void number(struct key_value *v, double n)
{
    *v = (struct key_value){.kind = VALUE_NUMBER, .number = n};
}

static uint64_t hyper(const struct conversion *c, const char *name, uint64_t other)
{
    uint64_t n;
    return hf_u64(&c->config, name, &n) ? n : other;
}

static KEY_MAKER(make_dense_layers)
{
    const uint64_t other = c->nexperts ? 0 : c->nlayers;
    (void)err;
    number(v, (double)hyper(c, "first_k_dense_replace", other));
    return QUERN_OK;
}

static KEY_MAKER(make_key_length)
{
    (void)err;
    number(v, (double)(hyper(c, "kv_lora_rank", 512) + hyper(c, "qk_rope_head_dim", 0)));
    return QUERN_OK;
}

static KEY_MAKER(make_key_length_mla)
{
    (void)err;
    number(v, (double)(hyper(c, "qk_nope_head_dim", 0) + hyper(c, "qk_rope_head_dim", 0)));
    return QUERN_OK;
}

static KEY_MAKER(make_yarn_log_multiplier)
{
    double mscale;
    (void)err;
    if (json_f64(json_get(c->config.rope, "mscale_all_dim"), &mscale))
        number(v, 0.1 * mscale);
    return QUERN_OK;
}

/* clang-format off */
static const struct key_rule deepseek2_keys[] = {
    {.key = "attention.head_count_kv", .type = META_U32, .other = "1"}, /* all share the latent */
    {.key = "attention.layer_norm_rms_epsilon", .type = META_F32, .from = "rms_norm_eps", .other = "1e-06"},
    {.key = "leading_dense_block_count", .type = META_U32, .make = make_dense_layers},
    {.key = "vocab_size", .type = META_U32, .from = "vocab_size"},
    {.key = "attention.q_lora_rank", .type = META_U32, .from = "q_lora_rank"},
    {.key = "attention.kv_lora_rank", .type = META_U32, .from = "kv_lora_rank", .other = "512"},
    {.key = "attention.key_length", .type = META_U32, .make = make_key_length},
    {.key = "attention.value_length", .type = META_U32, .from = "kv_lora_rank", .other = "512"},
    {.key = "attention.key_length_mla", .type = META_U32, .make = make_key_length_mla},
    {.key = "attention.value_length_mla", .type = META_U32, .from = "v_head_dim", .required = true},
    {.key = "expert_feed_forward_length", .type = META_U32, .from = "moe_intermediate_size|intermediate_size"},
    {.key = "expert_count", .type = META_U32, .from = "n_routed_experts"},
    {.key = "expert_shared_count", .type = META_U32, .from = "n_shared_experts", .other = "0"},
    {.key = "expert_weights_scale", .type = META_F32, .from = "routed_scaling_factor"},
    {.key = "expert_weights_norm", .type = META_BOOL, .from = "norm_topk_prob", .unless_zero = true},
    {.key = "rope.dimension_count", .type = META_U32, .from = "qk_rope_head_dim", .required = true},
    {.key = "rope.scaling.yarn_log_multiplier", .type = META_F32, .make = make_yarn_log_multiplier},
    {.key = NULL}
};

/* The first one had ordinary attention. */
static const struct key_rule deepseek_keys[] = {
    {.key = "rope.dimension_count", .type = META_U32, .make = make_rope_dims},
    {.key = "rope.scaling.type", .type = META_STRING, .other = "none"},
    {.key = "leading_dense_block_count", .type = META_U32, .from = "first_k_dense_replace", .required = true},
    {.key = "vocab_size", .type = META_U32, .from = "vocab_size", .required = true},
    {.key = "expert_feed_forward_length", .type = META_U32, .from = "moe_intermediate_size", .required = true},
    {.key = "expert_weights_scale", .type = META_F32, .other = "1.0"},
    {.key = "expert_count", .type = META_U32, .from = "n_routed_experts", .required = true},
    {.key = "expert_shared_count", .type = META_U32, .from = "n_shared_experts", .required = true},
    {.key = NULL}
};
/* clang-format on */

const struct architecture arch_deepseek = {
    .name = "deepseek",
    .classes = "DeepseekForCausalLM",
    .tensors = {permuted_qk,    shared_experts, experts_by_name, llama_tensors},
    .keys = {base_keys, deepseek_keys              },
};

const struct architecture arch_deepseek2 = {
    .name = "deepseek2",
    .classes = "DeepseekV2ForCausalLM DeepseekV3ForCausalLM",
    .tensors = {deepseek2_tensors, shared_experts, draft_layers, experts_by_name, llama_tensors},
    .keys = {base_keys,  deepseek2_keys  },
    .drop_layers_beyond = true,
};
