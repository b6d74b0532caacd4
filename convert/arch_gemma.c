/* arch_gemma.c - Gemma 1, 2 and 3: norms are stored less one, the head is that of the embedding. */
#include "arch_lists.h"
#include "conversion.h"

/* clang-format off */
static const struct tensor_rule gemma_common[] = {
    MAKE("model.norm", "output_norm", ADD_ONE),
    MAKE("lm_head", "", LEFT_OUT),
    MAKE("model.layers.{i}.input_layernorm", "blk.{i}.attn_norm", ADD_ONE),
    MAKE("model.layers.{i}.self_attn.q_norm", "blk.{i}.attn_q_norm", ADD_ONE),
    MAKE("model.layers.{i}.self_attn.k_norm", "blk.{i}.attn_k_norm", ADD_ONE),
    {.from = NULL}
};

static const struct tensor_rule gemma_norms[] = {
    MAKE("model.layers.{i}.post_attention_layernorm", "blk.{i}.ffn_norm", ADD_ONE),
    {.from = NULL}
};

static const struct tensor_rule gemma2_norms[] = {
    MAKE("model.layers.{i}.post_attention_layernorm", "blk.{i}.post_attention_norm", ADD_ONE),
    MAKE("model.layers.{i}.pre_feedforward_layernorm", "blk.{i}.ffn_norm", ADD_ONE),
    MAKE("model.layers.{i}.post_feedforward_layernorm", "blk.{i}.post_ffw_norm", ADD_ONE),
    {.from = NULL}
};

static const struct tensor_rule gemma3_vocabulary[] = {
    MAKE("model.embed_tokens", "token_embd", CUT_BACK),
    KEEP("lm_head", "output"),
    {.from = NULL}
};

static const struct key_rule gemma_keys[] = {
    {.key = "context_length", .type = META_U32, .from = "max_position_embeddings", .required = true},
    {.key = "embedding_length", .type = META_U32, .from = "hidden_size", .required = true},
    {.key = "block_count", .type = META_U32, .from = "num_hidden_layers", .required = true},
    {.key = "feed_forward_length", .type = META_U32, .from = "intermediate_size", .required = true},
    {.key = "attention.head_count", .type = META_U32, .from = "num_attention_heads", .required = true},
    {.key = "attention.head_count_kv", .type = META_U32, .from = "num_key_value_heads|num_attention_heads"},
    {.key = "attention.layer_norm_rms_epsilon", .type = META_F32, .from = "rms_norm_eps", .required = true},
    {.key = "attention.key_length", .type = META_U32, .from = "head_dim", .required = true},
    {.key = "attention.value_length", .type = META_U32, .from = "head_dim", .required = true},
    {.key = "general.file_type", .type = META_U32, .make = make_file_type},
    {.key = NULL}
};

static const struct key_rule gemma2_keys[] = {
    {.key = "attn_logit_softcapping", .type = META_F32, .from = "attn_logit_softcapping"},
    {.key = "final_logit_softcapping", .type = META_F32, .from = "final_logit_softcapping"},
    {.key = "attention.sliding_window", .type = META_U32, .from = "sliding_window"},
    {.key = NULL}
};
/* clang-format on */

/* A pattern of one layer means that every layer sees everything. */
static KEY_MAKER(make_gemma3_window)
{
    uint64_t pattern, window;
    (void)err;
    if (hf_u64(&c->config, "sliding_window_pattern", &pattern) && pattern == 1)
        return QUERN_OK;
    if (hf_u64(&c->config, "sliding_window", &window))
        *v = (struct key_value){.kind = VALUE_NUMBER, .number = (double)window};
    return QUERN_OK;
}

/* Longer contexts by a plain factor; other ways are not Gemma's. */
static KEY_MAKER(make_linear_factor)
{
    struct str type = {0};
    double factor;
    (void)err;
    if (!json_text(json_get(c->config.rope, "rope_type"), &type))
        json_text(json_get(c->config.rope, "type"), &type);
    if (str_is(type, "linear") && json_f64(json_get(c->config.rope, "factor"), &factor))
        *v = (struct key_value){.kind = VALUE_NUMBER, .number = factor};
    return QUERN_OK;
}

static const struct key_rule gemma3_keys[] = {
    {.key = "final_logit_softcapping",   .type = META_F32, .from = "final_logit_softcapping"},
    {.key = "attention.sliding_window", .type = META_U32, .make = make_gemma3_window},
    {.key = "rope.scaling.factor",  .type = META_F32, .make = make_linear_factor},
    {.key = NULL       }
};

const struct architecture arch_gemma = {
    .name = "gemma",
    .classes = "GemmaForCausalLM",
    .tensors = {gemma_common, gemma_norms, plain_qk, llama_tensors},
    .keys = {gemma_keys   },
};

const struct architecture arch_gemma2 = {
    .name = "gemma2",
    .classes = "Gemma2ForCausalLM",
    .tensors = {gemma_common,   gemma2_norms, plain_qk, llama_tensors},
    .keys = {gemma_keys, gemma2_keys            },
};

const struct architecture arch_gemma3 = {
    .name = "gemma3",
    .classes = "Gemma3ForCausalLM Gemma3ForConditionalGeneration",
    .tensors = {gemma3_vocabulary, gemma_common, gemma2_norms, plain_qk, llama_tensors},
    .keys = {base_keys,         gemma3_keys       },
};

const struct architecture arch_gemma_embedding = {
    .name = "gemma-embedding",
    .classes = "Gemma3TextModel",
    .tensors = {gemma3_vocabulary, gemma_common, gemma2_norms, plain_qk, llama_tensors},
    .keys = {base_keys,    gemma3_keys,                pooling_keys                   },
};
