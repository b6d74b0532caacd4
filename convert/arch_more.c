/* arch_more.c - models that differ from LLaMA in little: ERNIE 4.5, dots.llm1, MiniMax, Orion ...
 */
#include "arch_lists.h"
#include "conversion.h"

const struct architecture arch_ernie4_5 = {
    .name = "ernie4_5",
    .classes = "Ernie4_5ForCausalLM Ernie4_5_ForCausalLM",
    .tensors = {plain_qk, llama_tensors},
    .keys = {base_keys       },
};

/* clang-format off */
static const struct tensor_rule ernie_moe_tensors[] = {
    KEEP("model.layers.{i}.mlp.gate", "blk.{i}.ffn_gate_inp"),
    KEEP("model.layers.{i}.mlp.moe_statics.e_score_correction", "blk.{i}.exp_probs_b"),
    EXPERT("model.layers.{i}.mlp.experts.{e}.gate_proj.weight", "blk.{i}.ffn_gate_exps.weight", 0),
    EXPERT("model.layers.{i}.mlp.experts.{e}.up_proj.weight", "blk.{i}.ffn_up_exps.weight", 1),
    EXPERT("model.layers.{i}.mlp.experts.{e}.down_proj.weight", "blk.{i}.ffn_down_exps.weight", 2),
    {.from = NULL}
};

static const struct key_rule dots1_keys[] = {
    {.key = "leading_dense_block_count", .type = META_U32, .from = "first_k_dense_replace", .required = true},
    {.key = "expert_shared_count", .type = META_U32, .from = "n_shared_experts", .required = true},
    {.key = "expert_weights_scale", .type = META_F32, .from = "routed_scaling_factor", .required = true},
    {.key = "expert_weights_norm", .type = META_BOOL, .from = "norm_topk_prob", .required = true},
    {.key = NULL}
};

static const struct tensor_rule dots1_router[] = {
    KEEP("model.layers.{i}.mlp.gate.e_score_correction", "blk.{i}.exp_probs_b"),
    {.from = NULL}
};

static const struct tensor_rule minimax_router[] = {
    KEEP("model.layers.{i}.block_sparse_moe.e_score_correction", "blk.{i}.exp_probs_b"),
    {.from = NULL}
};

static const struct key_rule minimax_keys[] = {
    {.key = "expert_feed_forward_length", .type = META_U32, .from = "intermediate_size", .required = true},
    {.key = "rope.dimension_count", .type = META_U32, .from = "rotary_dim", .required = true},
    {.key = NULL}
};

static const struct key_rule maincoder_keys[] = {
    {.key = "rope.dimension_count", .type = META_U32, .from = "head_dim"},
    {.key = NULL}
};

/* Its norms are not those that its configuration speaks of. */
static const struct key_rule orion_keys[] = {
    {.key = "general.file_type", .type = META_U32, .make = make_file_type},
    {.key = "tensor_data_layout", .type = META_STRING, .other = "Meta AI original pth"},
    {.key = "context_length", .type = META_U32, .from = "max_sequence_length|max_position_embeddings|model_max_length", .required = true},
    {.key = "embedding_length", .type = META_U32, .from = "hidden_size", .required = true},
    {.key = "block_count", .type = META_U32, .from = "n_layers|num_hidden_layers|n_layer|num_layers", .required = true},
    {.key = "feed_forward_length", .type = META_U32, .from = "intermediate_size", .required = true},
    {.key = "attention.head_count", .type = META_U32, .from = "num_attention_heads", .required = true},
    {.key = "attention.head_count_kv", .type = META_U32, .from = "num_key_value_heads|num_attention_heads"},
    {.key = "attention.layer_norm_epsilon", .type = META_F32, .from = "rms_norm_eps", .required = true},
    {.key = NULL}
};
/* clang-format on */

/* Each of the shared experts has its part of the width. */
static KEY_MAKER(make_ernie_shared_ffn)
{
    uint64_t n = 0, width, kv;
    (void)err;
    if (hf_u64(&c->config, "moe_num_shared_experts", &n) && n > 0 &&
        hf_u64(&c->config, "intermediate_size", &width) &&
        hf_u64(&c->config, "num_key_value_heads", &kv) && kv > 0)
        *v = (struct key_value){.kind = VALUE_NUMBER, .number = (double)(width / kv)};
    return QUERN_OK;
}

static const struct key_rule ernie_moe_keys[] = {
    {.key = "expert_count",              .type = META_U32, .from = "moe_num_experts", .required = true},
    {.key = "expert_used_count",         .type = META_U32, .from = "moe_k", .required = true},
    {.key = "interleave_moe_layer_step",
     .type = META_U32,
     .from = "moe_layer_interval",
     .required = true},
    {.key = "leading_dense_block_count",
     .type = META_U32,
     .from = "moe_layer_start_index",
     .required = true},
    {.key = "expert_feed_forward_length",                  .type = META_U32, .from = "moe_intermediate_size"},
    {.key = "expert_shared_count", .type = META_U32, .from = "moe_num_shared_experts"},
    {.key = "expert_shared_feed_forward_length",       .type = META_U32, .make = make_ernie_shared_ffn},
    {.key = NULL                                 }
};

const struct architecture arch_ernie4_5_moe = {
    .name = "ernie4_5-moe",
    .classes = "Ernie4_5_MoeForCausalLM",
    .tensors = {ernie_moe_tensors, shared_experts, plain_qk, llama_tensors},
    .keys = {base_keys,    ernie_moe_keys                 },
};

const struct architecture arch_dots1 = {
    .name = "dots1",
    .classes = "Dots1ForCausalLM",
    .tensors = {dots1_router, shared_experts, experts_by_name, plain_qk, qk_norms, llama_tensors},
    .keys = {base_keys,    expert_ffn_keys,     dots1_keys                   },
};

const struct architecture arch_minimax_m2 = {
    .name = "minimax-m2",
    .classes = "MiniMaxM2ForCausalLM",
    .tensors = {minimax_router, experts_by_number, plain_qk, qk_norms, llama_tensors},
    .keys = {base_keys,      minimax_keys         },
};

const struct architecture arch_maincoder = {
    .name = "maincoder",
    .classes = "MaincoderForCausalLM",
    .tensors = {plain_qk, qk_norms, llama_tensors},
    .keys = {base_keys,        maincoder_keys       },
};

const struct architecture arch_orion = {
    .name = "orion",
    .classes = "OrionForCausalLM",
    .tensors = {plain_qk, llama_tensors},
    .keys = {orion_keys       },
};
