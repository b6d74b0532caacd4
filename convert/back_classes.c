/* back_classes.c - the classes a GGUF can be written as, and what their config.json calls things.
 */
#include <math.h>
#include <stdio.h>

#include "arch_lists.h"
#include "back_class.h"

/* ---- numbers that were computed ----------------------------------------------------------------
 */

/* a: head_dim, b: number of heads. */
static bool rotates(double x, const struct back_aim *aim)
{
    return floor(x * aim->a) == aim->want &&
           floor(floor(x * aim->a * aim->b) / aim->b) == aim->want;
}

static bool quotient(double x, const struct back_aim *aim)
{
    return (float)(x / aim->a) == (float)aim->want;
}

static bool reciprocal(double x, const struct back_aim *aim)
{
    return x != 0 && (float)(aim->a / x) == (float)aim->want;
}

/* ---- dimensions -------------------------------------------------------------------------------
 */

uint64_t back_head_dim(const struct back *b)
{
    uint64_t n = 0;
    if (!back_u64(b, "attention.key_length", &n) && b->nheads)
        n = b->hidden / b->nheads;
    return n;
}

/* How much of a head rotates, as a factor. */
static void put_rotary(struct back *b, struct json_writer *w, const char *key)
{
    uint64_t n;
    const uint64_t dim = back_head_dim(b);
    if (!back_u64(b, "rope.dimension_count", &n) || dim == 0)
        return;
    const struct back_aim aim = {(double)dim, (double)b->nheads, (double)n};
    back_put_f64(w, key, n == dim ? 1.0 : back_shortest((double)n / (double)dim, rotates, &aim));
}

/* Some LLaMAs say the size of a head only by what rotates. */
static void put_head_dim(struct back *b, struct json_writer *w)
{
    uint64_t n;
    if (!back_meta(b, "attention.key_length") && back_u64(b, "rope.dimension_count", &n) &&
        b->nheads && n != b->hidden / b->nheads)
        back_put_u64(w, "head_dim", n);
}

/* ---- keys -------------------------------------------------------------------------------------
 */

/* clang-format off */
const struct back_key back_common_keys[] = {
    {"block_count", "num_hidden_layers"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"attention.layer_norm_epsilon", "layer_norm_eps"},
    {"attention.key_length", "head_dim"},
    {"attention.value_length", NULL},
    {"rope.freq_base", "rope_theta"},
    {"rope.dimension_count", NULL},
    {"rope.scaling.type", NULL},
    {"rope.scaling.factor", NULL},
    {"rope.scaling.original_context_length", NULL},
    {"rope.scaling.yarn_ext_factor", NULL},
    {"rope.scaling.yarn_attn_factor", NULL},
    {"rope.scaling.yarn_beta_fast", NULL},
    {"rope.scaling.yarn_beta_slow", NULL},
    {"rope.scaling.yarn_log_multiplier", NULL},
    {"vocab_size", NULL},
    {"expert_used_count", "num_experts_per_tok"},
    {NULL, NULL}
};

static const struct back_key num_experts[] = {
    {"expert_count", "num_experts"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_shared_feed_forward_length", "shared_expert_intermediate_size"},
    {NULL, NULL}
};

static const struct back_key local_experts[] = {
    {"expert_count", "num_local_experts"},
    {NULL, NULL}
};

/* clang-format on */

/* ---- LLaMA ------------------------------------------------------------------------------------
 */

static bool has_experts(const struct back *b)
{
    return b->nexperts > 0;
}

/* Mistral's models are stored as LLaMAs. They say so in their names only. */
static bool is_mistral(const struct back *b)
{
    static const char *const keys[] = {"general.basename", "general.name"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const struct meta *k = model_meta(b->model, keys[i]);
        struct str name;
        if (!k || !meta_string(k, &name))
            continue;
        for (size_t at = 0; at + 7 <= name.n; at++)
            if (str_eq_nocase((struct str){name.p + at, 7}, STR("mistral")))
                return !back_has(b, "blk.0.attn_q.bias");
    }
    return false;
}

static enum quern_status more_llama(struct back *b, struct json_writer *w, struct quern_error *err)
{
    put_head_dim(b, w);
    back_put_bool(w, "attention_bias", back_has(b, "blk.0.attn_q.bias"));
    back_put_bool(w, "mlp_bias", back_has(b, "blk.0.ffn_up.bias"));
    return back_put_rope(b, w, err);
}

static enum quern_status more_mistral(struct back *b, struct json_writer *w,
                                      struct quern_error *err)
{
    put_head_dim(b, w);
    return back_put_rope(b, w, err);
}

static const char silu[] = "\"hidden_act\": \"silu\"";
static const char silu_window[] = "\"hidden_act\": \"silu\",\n  \"sliding_window\": null";

static enum quern_status more_biased(struct back *b, struct json_writer *w, struct quern_error *err)
{
    back_put_bool(w, "attention_bias", back_has(b, "blk.0.attn_q.bias"));
    return back_put_rope(b, w, err);
}

/* clang-format off */
static const struct back_key granite_keys[] = {
    {"attention.scale", "attention_multiplier"},
    {"embedding_scale", "embedding_multiplier"},
    {"residual_scale", "residual_multiplier"},
    {"logit_scale", "logits_scaling"},
    {"expert_count", "num_local_experts"},
    {"expert_shared_feed_forward_length", "shared_intermediate_size"},
    {NULL, NULL}
};

static const struct back_key olmo_keys[] = {
    {"attention.clamp_kqv", "clip_qkv"},
    {"attention.layer_norm_epsilon", NULL},
    {NULL, NULL}
};

static const struct back_key window_keys[] = {
    {"attention.sliding_window", "sliding_window"},
    {"attention.sliding_window_pattern", NULL},
    {NULL, NULL}
};

static const struct back_key minicpm_keys[] = {
    {"embedding_scale", "scale_emb"},
    {"residual_scale", NULL},
    {"logit_scale", NULL},
    {NULL, NULL}
};
/* clang-format on */

static bool has_shared_expert(const struct back *b)
{
    return back_has(b, "blk.0.ffn_up_shexp.weight");
}

static bool has_window(const struct back *b)
{
    return back_meta(b, "attention.sliding_window") != NULL;
}

/* Which layers look through the window. */
static enum quern_status put_layer_types(struct back *b, struct json_writer *w,
                                         struct quern_error *err)
{
    const struct meta *k = back_meta(b, "attention.sliding_window_pattern");
    if (!k)
        return QUERN_OK;
    if (k->type != META_ARRAY || k->item_type != META_BOOL || k->count != b->nlayers)
        return fail(err, QUERN_EFORMAT, "hparam",
                    "its attention.sliding_window_pattern does not name every layer");
    back_member(w, "layer_types");
    json_open(w, '[');
    for (uint64_t i = 0; i < k->count; i++)
        json_put_text(w, k->value.p[i] ? "sliding_attention" : "full_attention");
    json_close(w, ']');
    return QUERN_OK;
}

static enum quern_status more_windows(struct back *b, struct json_writer *w,
                                      struct quern_error *err)
{
    TRY(put_layer_types(b, w, err));
    return back_put_rope(b, w, err);
}

static enum quern_status more_minicpm(struct back *b, struct json_writer *w,
                                      struct quern_error *err)
{
    double v;
    if (back_f32(b, "residual_scale", &v)) {
        const struct back_aim aim = {sqrt((double)b->nlayers), 0, v};
        back_put_f64(w, "scale_depth", back_shortest(v * aim.a, quotient, &aim));
    }
    if (back_f32(b, "logit_scale", &v) && v != 0) {
        const struct back_aim aim = {(double)b->hidden, 0, v};
        back_put_f64(w, "dim_model_base", back_shortest(aim.a / v, reciprocal, &aim));
    }
    return back_put_rope(b, w, err);
}

/* ---- Gemma ------------------------------------------------------------------------------------
 */

/* clang-format off */
static const struct back_key gemma_keys[] = {
    {"attention.sliding_window", "sliding_window"},
    {"attn_logit_softcapping", "attn_logit_softcapping"},
    {"final_logit_softcapping", "final_logit_softcapping"},
    {"rope.freq_base_swa", "rope_local_base_freq"},
    {NULL, NULL}
};
/* clang-format on */

/* llama.cpp knows the one size of each that scales by the width of the model instead. */
static enum quern_status more_gemma(struct back *b, struct json_writer *w, struct quern_error *err)
{
    const uint64_t odd = str_is(b->name, "gemma2") ? 46 : 62;
    if (!str_is(b->name, "gemma") && b->nheads)
        back_put_u64(w, "query_pre_attn_scalar",
                     b->nlayers == odd ? b->hidden / b->nheads : back_head_dim(b));
    return back_put_rope(b, w, err);
}

static const char gemma_act[] = "\"hidden_act\": \"gelu_pytorch_tanh\",\n"
                                "  \"hidden_activation\": \"gelu_pytorch_tanh\"";

/* ---- others -----------------------------------------------------------------------------------
 */

/* clang-format off */
static const struct back_key phi3_keys[] = {
    {"rope.scaling.original_context_length", "original_max_position_embeddings"},
    {"rope.scaling.attn_factor", NULL},
    {"attention.sliding_window", NULL},
    {NULL, NULL}
};

static const struct back_key gpt2_keys[] = {
    {"block_count", "n_layer"},
    {"context_length", "n_positions"},
    {"embedding_length", "n_embd"},
    {"feed_forward_length", "n_inner"},
    {"attention.head_count", "n_head"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon"},
    {NULL, NULL}
};

static const struct back_key neox_keys[] = {
    {"use_parallel_residual", "use_parallel_residual"},
    {"rope.freq_base", "rotary_emb_base"},
    {NULL, NULL}
};

static const struct back_key falcon_keys[] = {
    {"context_length", NULL},
    {"tensor_data_layout", NULL},
    {"feed_forward_length", "ffn_hidden_size"},
    {"attention.head_count_kv", "num_kv_heads"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon"},
    {NULL, NULL}
};

static const struct back_key starcoder2_keys[] = {
    {"attention.layer_norm_epsilon", "norm_epsilon"},
    {NULL, NULL}
};

static const struct back_key stablelm_keys[] = {
    {"use_parallel_residual", NULL},
    {NULL, NULL}
};

static const struct back_key nemotron_keys[] = {
    {"attention.layer_norm_epsilon", "norm_eps"},
    {NULL, NULL}
};

static const struct back_key cohere_keys[] = {
    {"logit_scale", "logit_scale"},
    {"attention.sliding_window", "sliding_window"},
    {NULL, NULL}
};

static const struct back_key exaone_keys[] = {
    {"block_count", "num_layers"},
    {"attention.layer_norm_rms_epsilon", "layer_norm_epsilon"},
    {"attention.layer_norm_epsilon", NULL},
    {NULL, NULL}
};

static const struct back_key bert_keys[] = {
    {"attention.causal", NULL},
    {"pooling_type", NULL},
    {NULL, NULL}
};

static const struct back_key qwen_keys[] = {
    {"pooling_type", NULL},
    {NULL, NULL}
};
/* clang-format on */

static enum quern_status more_phi2(struct back *b, struct json_writer *w, struct quern_error *err)
{
    put_rotary(b, w, "partial_rotary_factor");
    return back_put_rope(b, w, err);
}

static enum quern_status more_phi3(struct back *b, struct json_writer *w, struct quern_error *err)
{
    uint64_t window = 0;
    put_rotary(b, w, "partial_rotary_factor");
    back_u64(b, "attention.sliding_window", &window);
    back_member(w, "sliding_window");
    if (window)
        json_put_u64(w, window);
    else
        json_put_null(w);
    return back_put_rope(b, w, err);
}

static enum quern_status more_neox(struct back *b, struct json_writer *w, struct quern_error *err)
{
    put_rotary(b, w, "rotary_pct");
    return back_put_rope(b, w, err);
}

/* Two generations: the newer has several heads of keys, and a norm for each branch or one for both.
 */
static enum quern_status more_falcon(struct back *b, struct json_writer *w, struct quern_error *err)
{
    const bool two_norms = back_has(b, "blk.0.attn_norm_2.weight");
    const bool newer = two_norms || (b->nkv_heads > 1 && b->nkv_heads < b->nheads);
    back_put_bool(w, "new_decoder_architecture", newer);
    back_put_bool(w, "multi_query", b->nkv_heads == 1);
    back_put_bool(w, "bias", back_has(b, "blk.0.attn_qkv.bias"));
    if (newer)
        back_put_u64(w, "num_ln_in_parallel_attn", two_norms ? 2 : 1);
    return back_put_rope(b, w, err);
}

static enum quern_status more_starcoder2(struct back *b, struct json_writer *w,
                                         struct quern_error *err)
{
    back_put_bool(w, "use_bias", back_has(b, "blk.0.attn_q.bias"));
    return back_put_rope(b, w, err);
}

static enum quern_status more_stablelm(struct back *b, struct json_writer *w,
                                       struct quern_error *err)
{
    put_rotary(b, w, "partial_rotary_factor");
    back_put_bool(w, "use_qkv_bias", back_has(b, "blk.0.attn_q.bias"));
    back_put_bool(w, "qk_layernorm", back_has(b, "blk.0.attn_q_norm.weight"));
    back_put_bool(w, "use_parallel_residual", !back_has(b, "blk.0.ffn_norm.weight"));
    return back_put_rope(b, w, err);
}

static enum quern_status more_nemotron(struct back *b, struct json_writer *w,
                                       struct quern_error *err)
{
    put_rotary(b, w, "partial_rotary_factor");
    return back_put_rope(b, w, err);
}

static enum quern_status more_cohere(struct back *b, struct json_writer *w, struct quern_error *err)
{
    back_put_bool(w, "use_qk_norm", back_has(b, "blk.0.attn_q_norm.weight"));
    return back_put_rope(b, w, err);
}

enum quern_status back_more_glm4(struct back *b, struct json_writer *w, struct quern_error *err)
{
    put_rotary(b, w, "partial_rotary_factor");
    back_put_bool(w, "attention_bias", back_has(b, "blk.0.attn_q.bias"));
    return back_put_rope(b, w, err);
}

static enum quern_status more_bert(struct back *b, struct json_writer *w, struct quern_error *err)
{
    const struct tensor *t = model_find(b->model, STR("token_types.weight"));
    (void)err;
    if (t && t->ndims == 2)
        back_put_u64(w, "type_vocab_size", t->dims[0]);
    return QUERN_OK;
}

/* RoBERTa's positions lost their first rows. */
static bool has_wordpiece(const struct back *b)
{
    const struct meta *k = model_meta(b->model, "tokenizer.ggml.model");
    struct str model;
    return k && meta_string(k, &model) && str_is(model, "bert");
}

/* ---- the list ---------------------------------------------------------------------------------
 */

/* clang-format off */
const struct back_class back_classes[] = {
    {.arch = "llama", .hf_class = "MixtralForCausalLM", .model_type = "mixtral", .is = has_experts,
     .keys = {local_experts, back_common_keys}, .fixed = silu_window, .more = more_mistral},
    {.arch = "llama", .hf_class = "MistralForCausalLM", .model_type = "mistral", .is = is_mistral,
     .keys = {back_common_keys}, .fixed = silu_window, .more = more_mistral},
    {.arch = "llama", .hf_class = "LlamaForCausalLM", .model_type = "llama",
     .keys = {back_common_keys}, .fixed = silu, .more = more_llama},
    {.arch = "smollm3", .hf_class = "SmolLM3ForCausalLM", .model_type = "smollm3",
     .keys = {back_common_keys}, .fixed = silu, .more = more_biased},
    {.arch = "qwen2", .hf_class = "Qwen2ForCausalLM", .model_type = "qwen2",
     .keys = {qwen_keys, back_common_keys}, .fixed = "\"hidden_act\": \"silu\",\n  \"use_sliding_window\": false", .more = back_put_rope},
    {.arch = "qwen2moe", .hf_class = "Qwen2MoeForCausalLM", .model_type = "qwen2_moe",
     .keys = {num_experts, back_common_keys}, .fixed = "\"hidden_act\": \"silu\",\n  \"norm_topk_prob\": false", .more = back_put_rope},
    {.arch = "qwen3", .hf_class = "Qwen3ForCausalLM", .model_type = "qwen3",
     .keys = {qwen_keys, back_common_keys}, .fixed = silu, .more = more_biased},
    {.arch = "qwen3moe", .hf_class = "Qwen3MoeForCausalLM", .model_type = "qwen3_moe",
     .keys = {num_experts, back_common_keys}, .fixed = "\"hidden_act\": \"silu\",\n  \"norm_topk_prob\": true", .more = more_biased},
    {.arch = "gemma", .hf_class = "GemmaForCausalLM", .model_type = "gemma",
     .keys = {gemma_keys, back_common_keys}, .fixed = gemma_act, .more = more_gemma},
    {.arch = "gemma2", .hf_class = "Gemma2ForCausalLM", .model_type = "gemma2",
     .keys = {gemma_keys, back_common_keys}, .fixed = gemma_act, .more = more_gemma},
    {.arch = "gemma3", .hf_class = "Gemma3ForCausalLM", .model_type = "gemma3_text",
     .keys = {gemma_keys, back_common_keys}, .fixed = gemma_act, .more = more_gemma},
    {.arch = "phi2", .hf_class = "PhiForCausalLM", .model_type = "phi",
     .keys = {back_common_keys}, .fixed = "\"hidden_act\": \"gelu_new\"", .more = more_phi2},
    {.arch = "phi3", .hf_class = "Phi3ForCausalLM", .model_type = "phi3",
     .keys = {phi3_keys, back_common_keys}, .fixed = silu, .more = more_phi3},
    {.arch = "gpt2", .hf_class = "GPT2LMHeadModel", .model_type = "gpt2",
     .keys = {gpt2_keys}, .fixed = "\"activation_function\": \"gelu_new\"", .prefix = "transformer."},
    {.arch = "gptneox", .hf_class = "GPTNeoXForCausalLM", .model_type = "gpt_neox",
     .keys = {neox_keys, back_common_keys}, .fixed = "\"hidden_act\": \"gelu\"", .prefix = "gpt_neox.", .more = more_neox},
    {.arch = "falcon", .hf_class = "FalconForCausalLM", .model_type = "falcon",
     .keys = {falcon_keys, back_common_keys}, .fixed = "\"alibi\": false,\n  \"parallel_attn\": true", .prefix = "transformer.", .more = more_falcon},
    {.arch = "starcoder2", .hf_class = "Starcoder2ForCausalLM", .model_type = "starcoder2",
     .keys = {starcoder2_keys, back_common_keys}, .fixed = "\"hidden_act\": \"gelu_pytorch_tanh\",\n  \"sliding_window\": null", .more = more_starcoder2},
    {.arch = "stablelm", .hf_class = "StableLmForCausalLM", .model_type = "stablelm",
     .keys = {stablelm_keys, back_common_keys}, .fixed = silu, .more = more_stablelm},
    {.arch = "olmo", .hf_class = "OlmoForCausalLM", .model_type = "olmo",
     .keys = {olmo_keys, back_common_keys}, .fixed = silu, .more = back_put_rope},
    {.arch = "olmo2", .hf_class = "Olmo3ForCausalLM", .model_type = "olmo3", .is = has_window,
     .keys = {window_keys, back_common_keys}, .fixed = silu, .more = more_windows},
    {.arch = "olmo2", .hf_class = "Olmo2ForCausalLM", .model_type = "olmo2",
     .keys = {back_common_keys}, .fixed = silu, .more = back_put_rope},
    {.arch = "olmoe", .hf_class = "OlmoeForCausalLM", .model_type = "olmoe",
     .keys = {num_experts, back_common_keys}, .fixed = "\"hidden_act\": \"silu\",\n  \"norm_topk_prob\": false", .more = back_put_rope},
    {.arch = "granite", .hf_class = "GraniteForCausalLM", .model_type = "granite",
     .keys = {granite_keys, back_common_keys}, .fixed = silu, .more = more_biased},
    {.arch = "granitemoe", .hf_class = "GraniteMoeSharedForCausalLM", .model_type = "granitemoeshared", .is = has_shared_expert,
     .keys = {granite_keys, back_common_keys}, .fixed = silu, .more = more_biased},
    {.arch = "granitemoe", .hf_class = "GraniteMoeForCausalLM", .model_type = "granitemoe",
     .keys = {granite_keys, back_common_keys}, .fixed = silu, .more = more_biased},
    {.arch = "glm4", .hf_class = "Glm4ForCausalLM", .model_type = "glm4",
     .keys = {back_common_keys}, .fixed = silu, .more = back_more_glm4},
    {.arch = "command-r", .hf_class = "CohereForCausalLM", .model_type = "cohere",
     .keys = {cohere_keys, back_common_keys}, .fixed = silu, .more = more_cohere},
    {.arch = "cohere2", .hf_class = "Cohere2ForCausalLM", .model_type = "cohere2",
     .keys = {cohere_keys, back_common_keys}, .fixed = silu, .more = back_put_rope},
    {.arch = "nemotron", .hf_class = "NemotronForCausalLM", .model_type = "nemotron",
     .keys = {nemotron_keys, back_common_keys}, .fixed = "\"hidden_act\": \"relu2\"", .more = more_nemotron},
    {.arch = "seed_oss", .hf_class = "SeedOssForCausalLM", .model_type = "seed_oss",
     .keys = {back_common_keys}, .fixed = silu, .more = more_biased},
    {.arch = "exaone4", .hf_class = "Exaone4ForCausalLM", .model_type = "exaone4",
     .keys = {window_keys, back_common_keys}, .fixed = silu, .more = more_windows},
    {.arch = "exaone", .hf_class = "ExaoneForCausalLM", .model_type = "exaone", .foreign = true,
     .keys = {exaone_keys, back_common_keys}, .fixed = "\"activation_function\": \"silu\"", .more = back_put_rope},
    {.arch = "internlm2", .hf_class = "InternLM2ForCausalLM", .model_type = "internlm2", .foreign = true,
     .keys = {back_common_keys}, .fixed = "\"hidden_act\": \"silu\",\n  \"bias\": false", .more = back_put_rope},
    {.arch = "minicpm", .hf_class = "MiniCPMForCausalLM", .model_type = "minicpm", .foreign = true,
     .keys = {minicpm_keys, back_common_keys}, .fixed = silu, .more = more_minicpm},
    {.arch = "bert", .hf_class = "BertModel", .model_type = "bert", .is = has_wordpiece,
     .keys = {bert_keys, back_common_keys}, .fixed = "\"hidden_act\": \"gelu\"", .more = more_bert},
    {.arch = NULL}
};
/* clang-format on */
