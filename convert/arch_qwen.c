/* arch_qwen.c - Qwen 2 and 3, dense and with experts, and the text parts of those that see. */
#include "arch_lists.h"
#include "conversion.h"

/* clang-format off */
static const struct tensor_rule shared_expert[] = {
    KEEP("model.layers.{i}.mlp.shared_expert_gate", "blk.{i}.ffn_gate_inp_shexp"),
    KEEP("model.layers.{i}.mlp.shared_expert.gate_proj", "blk.{i}.ffn_gate_shexp"),
    KEEP("model.layers.{i}.mlp.shared_expert.up_proj", "blk.{i}.ffn_up_shexp"),
    KEEP("model.layers.{i}.mlp.shared_expert.down_proj", "blk.{i}.ffn_down_shexp"),
    {.from = NULL}
};

/* Experts that are stacked in the checkpoint already. */
static const struct tensor_rule fused_experts[] = {
    MAKE("model.layers.{i}.mlp.experts.gate_up_proj", "blk.{i}.ffn_gate_exps.weight blk.{i}.ffn_up_exps.weight", HALVES),
    KEEP("model.layers.{i}.mlp.experts.down_proj", "blk.{i}.ffn_down_exps.weight"),
    {.from = NULL}
};
/* clang-format on */

const struct architecture arch_qwen2 = {
    .name = "qwen2",
    .classes = "Qwen2ForCausalLM Qwen2Model Qwen2AudioForConditionalGeneration KORMoForCausalLM "
               "AudioFlamingo3ForConditionalGeneration DotsOCRForCausalLM",
    .tensors = {plain_qk,  llama_tensors},
    .keys = {base_keys, pooling_keys },
};

const struct architecture arch_qwen2moe = {
    .name = "qwen2moe",
    .classes = "Qwen2MoeForCausalLM",
    .tensors = {plain_qk,       experts_by_name, shared_expert, fused_experts, llama_tensors},
    .keys = {base_keys, expert_ffn_keys  },
};

const struct architecture arch_qwen3 = {
    .name = "qwen3",
    .classes = "Qwen3ForCausalLM Qwen3Model",
    .tensors = {plain_qk, qk_norms, llama_tensors},
    .keys = {base_keys,        pooling_keys       },
};

const struct architecture arch_qwen3moe = {
    .name = "qwen3moe",
    .classes = "Qwen3MoeForCausalLM",
    .tensors = {plain_qk,       qk_norms,      experts_by_name, fused_experts, llama_tensors},
    .keys = {base_keys, expert_ffn_keys},
};

const struct architecture arch_qwen2vl = {
    .name = "qwen2vl",
    .classes = "Qwen2VLForConditionalGeneration Qwen2VLModel Qwen2_5_VLForConditionalGeneration",
    .tensors = {plain_qk, llama_tensors},
    .keys = {base_keys       },
};

/* Layers whose states are mixed with what the eye saw. */
static KEY_MAKER(make_deepstack)
{
    const struct json *vision = json_get(c->config.root, "vision_config");
    (void)err;
    *v = (struct key_value){.kind = VALUE_NUMBER,
                            .number =
                                (double)json_count(json_get(vision, "deepstack_visual_indexes"))};
    return QUERN_OK;
}

static const struct key_rule deepstack_key[] = {
    {.key = "n_deepstack_layers", .type = META_U32, .make = make_deepstack},
    {.key = NULL    }
};

const struct architecture arch_qwen3vl = {
    .name = "qwen3vl",
    .classes = "Qwen3VLForConditionalGeneration",
    .tensors = {plain_qk,  qk_norms,     llama_tensors},
    .keys = {base_keys, pooling_keys, deepstack_key},
};
