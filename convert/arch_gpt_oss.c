/* arch_gpt_oss.c - gpt-oss: experts whose outputs are columns, gate and up alternating. */
#include "arch_lists.h"

/* clang-format off */
static const struct tensor_rule gpt_oss_tensors[] = {
    KEEP("model.layers.{i}.self_attn.sinks", "blk.{i}.attn_sinks.weight"),
    KEEP("model.layers.{i}.post_attention_layernorm", "blk.{i}.post_attention_norm"),
    KEEP("model.layers.{i}.mlp.router", "blk.{i}.ffn_gate_inp"),
    MAKE("model.layers.{i}.mlp.experts.gate_up_proj_bias", "blk.{i}.ffn_gate_exps.bias blk.{i}.ffn_up_exps.bias", EVEN_ODD),
    KEEP("model.layers.{i}.mlp.experts.down_proj_bias", "blk.{i}.ffn_down_exps.bias"),
    MAKE("model.layers.{i}.mlp.experts.gate_up_proj", "blk.{i}.ffn_gate_exps.weight blk.{i}.ffn_up_exps.weight", TURN_EVEN_ODD),
    MAKE("model.layers.{i}.mlp.experts.down_proj", "blk.{i}.ffn_down_exps.weight", TURN),
    {.from = NULL}
};

static const struct key_rule gpt_oss_keys[] = {
    {.key = "attention.sliding_window", .type = META_U32, .from = "sliding_window"},
    {.key = "expert_feed_forward_length", .type = META_U32, .from = "intermediate_size"},
    {.key = NULL}
};
/* clang-format on */

const struct architecture arch_gpt_oss = {
    .name = "gpt-oss",
    .classes = "GptOssForCausalLM",
    .tensors = {gpt_oss_tensors, plain_qk, llama_tensors},
    .keys = {base_keys,               gpt_oss_keys              },
};
