/* arch_cohere_glm.c - Command R, Command R7B, GLM-4 and GLM-4.5. */
#include "arch_lists.h"
#include "conversion.h"

/* clang-format off */
static const struct key_rule command_r_keys[] = {
    {.key = "context_length", .type = META_U32, .from = "model_max_length|max_position_embeddings"},
    {.key = "logit_scale", .type = META_F32, .from = "logit_scale", .required = true},
    {.key = "rope.scaling.type", .type = META_STRING, .other = "none"},
    {.key = NULL}
};

static const struct key_rule cohere2_keys[] = {
    {.key = "logit_scale", .type = META_F32, .from = "logit_scale", .required = true},
    {.key = "attention.sliding_window", .type = META_U32, .from = "sliding_window", .required = true},
    {.key = "vocab_size", .type = META_U32, .from = "vocab_size"},
    {.key = "rope.dimension_count", .type = META_U32, .make = make_rope_dims_partial},
    {.key = "rope.scaling.type", .type = META_STRING, .other = "none"},
    {.key = NULL}
};

/* Biases came with some checkpoints, though the model has none. */
static const struct tensor_rule cohere2_biases[] = {
    MAKE("model.layers.{i}.self_attn.q_proj.bias", "", UNLESS_ZERO),
    MAKE("model.layers.{i}.self_attn.k_proj.bias", "", UNLESS_ZERO),
    MAKE("model.layers.{i}.self_attn.v_proj.bias", "", UNLESS_ZERO),
    MAKE("model.layers.{i}.self_attn.o_proj.bias", "", UNLESS_ZERO),
    MAKE("model.layers.{i}.mlp.gate_proj.bias", "", UNLESS_ZERO),
    MAKE("model.layers.{i}.mlp.up_proj.bias", "", UNLESS_ZERO),
    MAKE("model.layers.{i}.mlp.down_proj.bias", "", UNLESS_ZERO),
    MAKE("model.layers.{i}.input_layernorm.bias", "", UNLESS_ZERO),
    MAKE("model.norm.bias", "", UNLESS_ZERO),
    {.from = NULL}
};

static const struct tensor_rule glm4_tensors[] = {
    KEEP("model.layers.{i}.mlp.gate_up_proj", "blk.{i}.ffn_up"),
    KEEP("model.layers.{i}.post_self_attn_layernorm", "blk.{i}.post_attention_norm"),
    KEEP("model.layers.{i}.post_mlp_layernorm", "blk.{i}.post_ffw_norm"),
    {.from = NULL}
};

static const struct key_rule glm_rope_keys[] = {
    {.key = "rope.dimension_count", .type = META_U32, .make = make_rope_dims_half},
    {.key = NULL}
};

static const struct tensor_rule glm4moe_tensors[] = {
    KEEP("model.layers.{i}.post_attention_layernorm", "blk.{i}.post_attention_norm"),
    KEEP("model.layers.{i}.mlp.gate.e_score_correction", "blk.{i}.exp_probs_b"),
    KEEP("model.layers.{i}.eh_proj", "blk.{i}.nextn.eh_proj"),
    KEEP("model.layers.{i}.embed_tokens", "blk.{i}.nextn.embed_tokens"),
    KEEP("model.layers.{i}.enorm", "blk.{i}.nextn.enorm"),
    KEEP("model.layers.{i}.hnorm", "blk.{i}.nextn.hnorm"),
    KEEP("model.layers.{i}.shared_head.head", "blk.{i}.nextn.shared_head_head"),
    KEEP("model.layers.{i}.shared_head.norm", "blk.{i}.nextn.shared_head_norm"),
    {.from = NULL}
};

/* Layers that guess the next tokens count as layers. */
static KEY_MAKER(make_all_layers)
{
    uint64_t more = 0;
    (void)err;
    hparam_u64(c, "num_nextn_predict_layers", &more);
    *v = (struct key_value){.kind = VALUE_NUMBER, .number = (double)(c->nlayers + more)};
    return QUERN_OK;
}

static const struct key_rule glm4moe_keys[] = {
    {.key = "block_count", .type = META_U32, .make = make_all_layers},
    {.key = "rope.dimension_count", .type = META_U32, .make = make_rope_dims_half},
    {.key = "expert_feed_forward_length", .type = META_U32, .from = "moe_intermediate_size"},
    {.key = "expert_shared_count", .type = META_U32, .from = "n_shared_experts"},
    {.key = "leading_dense_block_count", .type = META_U32, .from = "first_k_dense_replace"},
    {.key = "expert_gating_func", .type = META_U32, .other = "2"},
    {.key = "expert_weights_scale", .type = META_F32, .from = "routed_scaling_factor"},
    {.key = "expert_weights_norm", .type = META_BOOL, .from = "norm_topk_prob"},
    {.key = "nextn_predict_layers", .type = META_U32, .from = "num_nextn_predict_layers|mtp_num_hidden_layers"},
    {.key = NULL}
};
/* clang-format on */

const struct architecture arch_command_r = {
    .name = "command-r",
    .classes = "CohereForCausalLM",
    .tensors = {plain_qk, qk_norms, llama_tensors},
    .keys = {base_keys,        command_r_keys       },
};

const struct architecture arch_cohere2 = {
    .name = "cohere2",
    .classes = "Cohere2ForCausalLM",
    .tensors = {cohere2_biases, plain_qk, llama_tensors},
    .keys = {base_keys,              cohere2_keys             },
};

const struct architecture arch_glm4 = {
    .name = "glm4",
    .classes = "Glm4ForCausalLM",
    .tensors = {glm4_tensors, plain_qk, llama_tensors},
    .keys = {base_keys,            glm_rope_keys           },
};

const struct architecture arch_glm4moe = {
    .name = "glm4moe",
    .classes = "Glm4MoeForCausalLM",
    .tensors = {glm4moe_tensors, shared_experts, plain_qk, qk_norms, experts_by_name,
                llama_tensors},
    .keys = {base_keys,       glm4moe_keys     },
};
