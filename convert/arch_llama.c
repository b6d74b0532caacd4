/* arch_llama.c - LLaMA and what is built like it, q and k permuted or not; rows others share. */
#include <math.h>

#include "arch_lists.h"
#include "conversion.h"
#include "core/smath.h"

/* clang-format off */
const struct tensor_rule llama_tensors[] = {
    KEEP("model.embed_tokens", "token_embd"),
    KEEP("model.norm", "output_norm"),
    KEEP("lm_head", "output"),
    KEEP("model.layers.{i}.self_attn.v_proj", "blk.{i}.attn_v"),
    KEEP("model.layers.{i}.self_attn.o_proj", "blk.{i}.attn_output"),
    KEEP("model.layers.{i}.mlp.gate_proj", "blk.{i}.ffn_gate"),
    KEEP("model.layers.{i}.mlp.up_proj", "blk.{i}.ffn_up"),
    KEEP("model.layers.{i}.mlp.down_proj", "blk.{i}.ffn_down"),
    KEEP("model.layers.{i}.input_layernorm", "blk.{i}.attn_norm"),
    KEEP("model.layers.{i}.post_attention_layernorm", "blk.{i}.ffn_norm"),
    {.from = NULL}
};

const struct tensor_rule plain_qk[] = {
    KEEP("model.layers.{i}.self_attn.q_proj", "blk.{i}.attn_q"),
    KEEP("model.layers.{i}.self_attn.k_proj", "blk.{i}.attn_k"),
    {.from = NULL}
};

const struct tensor_rule permuted_qk[] = {
    MAKE("model.layers.{i}.self_attn.q_proj", "blk.{i}.attn_q", PERMUTE_Q),
    MAKE("model.layers.{i}.self_attn.k_proj", "blk.{i}.attn_k", PERMUTE_K),
    {.from = NULL}
};

const struct tensor_rule qk_norms[] = {
    KEEP("model.layers.{i}.self_attn.q_norm", "blk.{i}.attn_q_norm"),
    KEEP("model.layers.{i}.self_attn.k_norm", "blk.{i}.attn_k_norm"),
    {.from = NULL}
};

const struct tensor_rule sandwich_norms[] = {
    KEEP("model.layers.{i}.post_attention_layernorm", "blk.{i}.post_attention_norm"),
    KEEP("model.layers.{i}.post_feedforward_layernorm", "blk.{i}.post_ffw_norm"),
    {.from = NULL}
};

const struct tensor_rule experts_by_name[] = {
    KEEP("model.layers.{i}.mlp.gate", "blk.{i}.ffn_gate_inp"),
    EXPERT("model.layers.{i}.mlp.experts.{e}.down_proj.weight", "blk.{i}.ffn_down_exps.weight", 0),
    EXPERT("model.layers.{i}.mlp.experts.{e}.gate_proj.weight", "blk.{i}.ffn_gate_exps.weight", 1),
    EXPERT("model.layers.{i}.mlp.experts.{e}.up_proj.weight", "blk.{i}.ffn_up_exps.weight", 2),
    {.from = NULL}
};

const struct tensor_rule experts_by_number[] = {
    KEEP("model.layers.{i}.block_sparse_moe.gate", "blk.{i}.ffn_gate_inp"),
    EXPERT("model.layers.{i}.block_sparse_moe.experts.{e}.w1.weight", "blk.{i}.ffn_gate_exps.weight", 0),
    EXPERT("model.layers.{i}.block_sparse_moe.experts.{e}.w2.weight", "blk.{i}.ffn_down_exps.weight", 1),
    EXPERT("model.layers.{i}.block_sparse_moe.experts.{e}.w3.weight", "blk.{i}.ffn_up_exps.weight", 2),
    {.from = NULL}
};
/* clang-format on */

/* ---- Llama 3's way to longer contexts
 * ------------------------------------------------------------ */

static double rope_number(const struct conversion *c, const char *name, double other)
{
    double v;
    return json_f64(json_get(c->config.rope, name), &v) ? v : other;
}

#define PI 3.14159265358979323846

/* Factors by which low frequencies are slowed down, in 32-bit arithmetic as in torch, which divides
 * a number by a tensor as the number times the tensor's reciprocal. */
void llama3_curve(const struct llama3_rope *r, float base, uint64_t dim, float *out)
{
    const float low_wave = r->context / r->low, high_wave = r->context / r->high;
    for (uint64_t i = 0; i < dim / 2; i++) {
        const float exponent = (float)(2 * i) / (float)dim;
        const float power = (float)strict_exp((double)exponent * strict_log((double)base));
        const float frequency = 1.0f / power;
        const float wave = 1.0f / frequency * (float)(2 * PI);
        if (wave < high_wave) {
            out[i] = 1.0f;
        } else if (wave > low_wave) {
            out[i] = r->factor;
        } else {
            const float smooth = (1.0f / wave * r->context - r->low) / (r->high - r->low);
            out[i] = 1.0f / ((1.0f - smooth) / r->factor + smooth);
        }
    }
}

static void llama3_factors(const struct conversion *c, float base, uint64_t dim, float *out)
{
    const struct llama3_rope r = {
        .factor = (float)rope_number(c, "factor", 8.0),
        .low = (float)rope_number(c, "low_freq_factor", 1.0),
        .high = (float)rope_number(c, "high_freq_factor", 4.0),
        .context = (float)rope_number(c, "original_max_position_embeddings", 8192.0)};
    llama3_curve(&r, base, dim, out);
}

enum quern_status llama3_rope_factors(struct conversion *c, struct quern_error *err)
{
    struct str type = {0};
    struct key_value dims = {0}, base = {0};
    if (!json_text(json_get(c->config.rope, "rope_type"), &type))
        json_text(json_get(c->config.rope, "type"), &type);
    if (!str_eq_nocase(type, STR("llama3")))
        return QUERN_OK;
    TRY(make_rope_dims(c, &dims, err));
    TRY(make_rope_freq_base(c, &base, err));
    if (dims.kind != VALUE_NUMBER || dims.number < 2 || dims.number > 65536)
        return in_file(err, c->config.path,
                       fail(err, QUERN_EFORMAT, "hparam",
                            "heads have %g dimensions" WANT "expected 2 to 65536", dims.number));
    const uint64_t dim = (uint64_t)dims.number;
    float *factors = ARENA_NEW(&c->plan->arena, float, dim);
    if (!factors)
        return fail_memory(err, dim * sizeof *factors);
    llama3_factors(c, base.kind == VALUE_NUMBER ? (float)base.number : 10000.0f, dim, factors);
    return convert_add_values(c, "rope_freqs.weight", factors, dim / 2, err);
}

/* ---- architectures
 * ------------------------------------------------------------------------------- */

const struct architecture arch_llama = {
    .name = "llama",
    .classes = "LlamaForCausalLM LLaMAForCausalLM MistralForCausalLM MixtralForCausalLM "
               "VLlama3ForCausalLM IQuestCoderForCausalLM LlamaModel LlavaForConditionalGeneration "
               "VoxtralForConditionalGeneration",
    .tensors = {permuted_qk, experts_by_number, llama_tensors},
    .keys = {base_keys,   vocab_size_key,    rope_dims_key},
    .extra = llama3_rope_factors,
};

const struct architecture arch_internlm3 = {
    .name = "llama",
    .classes = "InternLM3ForCausalLM",
    .tensors = {permuted_qk,     llama_tensors},
    .keys = { base_keys, vocab_size_key, rope_dims_key},
};

const struct architecture arch_llama_embed = {
    .name = "llama-embed",
    .classes = "LlamaBidirectionalModel",
    .tensors = {permuted_qk,     llama_tensors},
    .keys = { base_keys, vocab_size_key, rope_dims_key},
    .extra = llama3_rope_factors,
};

const struct architecture arch_arcee = {
    .name = "arcee",
    .classes = "ArceeForCausalLM",
    .tensors = {permuted_qk,    llama_tensors},
    .keys = { base_keys, vocab_size_key,  rope_dims_key, pooling_keys},
    .extra = llama3_rope_factors,
};

const struct architecture arch_smollm3 = {
    .name = "smollm3",
    .classes = "SmolLM3ForCausalLM",
    .tensors = {permuted_qk,     llama_tensors},
    .keys = { base_keys, vocab_size_key, rope_dims_key},
    .extra = llama3_rope_factors,
};

/* ---- relatives
 * ----------------------------------------------------------------------------------- */

/* clang-format off */
static const struct key_rule granite_keys[] = {
    {.key = "vocab_size", .type = META_U32, .from = "vocab_size"},
    {.key = "rope.dimension_count", .type = META_U32, .make = make_rope_dims},
    {.key = "attention.scale", .type = META_F32, .from = "attention_multiplier", .unless_zero = true},
    {.key = "embedding_scale", .type = META_F32, .from = "embedding_multiplier", .unless_zero = true},
    {.key = "residual_scale", .type = META_F32, .from = "residual_multiplier", .unless_zero = true},
    {.key = "logit_scale", .type = META_F32, .from = "logits_scaling", .unless_zero = true},
    {.key = NULL}
};

static const struct key_rule granitemoe_keys[] = {
    {.key = "expert_shared_feed_forward_length", .type = META_U32, .from = "shared_intermediate_size", .unless_zero = true},
    {.key = NULL}
};

static const struct tensor_rule granite_experts[] = {
    KEEP("model.layers.{i}.block_sparse_moe.router.layer", "blk.{i}.ffn_gate_inp"),
    MAKE("model.layers.{i}.block_sparse_moe.input_linear", "blk.{i}.ffn_gate_exps blk.{i}.ffn_up_exps", HALVES),
    KEEP("model.layers.{i}.block_sparse_moe.output_linear", "blk.{i}.ffn_down_exps"),
    MAKE("model.layers.{i}.shared_mlp.input_linear", "blk.{i}.ffn_gate_shexp blk.{i}.ffn_up_shexp", HALVES),
    KEEP("model.layers.{i}.shared_mlp.output_linear", "blk.{i}.ffn_down_shexp"),
    {.from = NULL}
};

static const struct key_rule olmo_keys[] = {
    {.key = "attention.layer_norm_epsilon", .type = META_F32, .other = "1e-05"},
    {.key = "attention.clamp_kqv", .type = META_F32, .from = "clip_qkv"},
    {.key = NULL}
};

static const struct key_rule olmoe_keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .type = META_F32, .other = "1e-05"},
    {.key = NULL}
};


static const struct tensor_rule internlm2_tensors[] = {
    KEEP("model.tok_embeddings", "token_embd"),
    KEEP("model.norm", "output_norm"),
    KEEP("output", "output"),
    MAKE("model.layers.{i}.attention.wqkv", "blk.{i}.attn_q blk.{i}.attn_k blk.{i}.attn_v", QKV_SPLIT),
    KEEP("model.layers.{i}.attention.wo", "blk.{i}.attn_output"),
    KEEP("model.layers.{i}.attention_norm", "blk.{i}.attn_norm"),
    KEEP("model.layers.{i}.ffn_norm", "blk.{i}.ffn_norm"),
    KEEP("model.layers.{i}.feed_forward.w1", "blk.{i}.ffn_gate"),
    KEEP("model.layers.{i}.feed_forward.w2", "blk.{i}.ffn_down"),
    KEEP("model.layers.{i}.feed_forward.w3", "blk.{i}.ffn_up"),
    {.from = NULL}
};

static const struct tensor_rule exaone_tensors[] = {
    KEEP("transformer.wte", "token_embd"),
    KEEP("transformer.ln_f", "output_norm"),
    KEEP("lm_head", "output"),
    KEEP("transformer.h.{i}.ln_1", "blk.{i}.attn_norm"),
    KEEP("transformer.h.{i}.ln_2", "blk.{i}.ffn_norm"),
    KEEP("transformer.h.{i}.attn.attention.q_proj", "blk.{i}.attn_q"),
    KEEP("transformer.h.{i}.attn.attention.k_proj", "blk.{i}.attn_k"),
    KEEP("transformer.h.{i}.attn.attention.v_proj", "blk.{i}.attn_v"),
    KEEP("transformer.h.{i}.attn.attention.out_proj", "blk.{i}.attn_output"),
    KEEP("transformer.h.{i}.mlp.c_fc_0", "blk.{i}.ffn_gate"),
    KEEP("transformer.h.{i}.mlp.c_fc_1", "blk.{i}.ffn_up"),
    KEEP("transformer.h.{i}.mlp.c_proj", "blk.{i}.ffn_down"),
    {.from = NULL}
};

/* llama.cpp asks for the epsilon of RMS norms here; the converter's key alone does not load. */
static const struct key_rule exaone_keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .type = META_F32, .from = "layer_norm_epsilon|layer_norm_eps|norm_epsilon"},
    {.key = "rope.dimension_count", .type = META_U32, .make = make_rope_dims_partial},
    {.key = NULL}
};

static const struct tensor_rule seed_norms[] = {
    KEEP("model.layers.{i}.post_attention_layernorm", "blk.{i}.post_attention_norm"),
    {.from = NULL}
};
/* clang-format on */

static double hyper(const struct conversion *c, const char *name)
{
    double v;
    return hf_f64(&c->config, name, &v) ? v : 0.0;
}

static KEY_MAKER(make_minicpm_residual)
{
    (void)err;
    if (c->nlayers && hyper(c, "scale_depth") != 0.0)
        *v = (struct key_value){.kind = VALUE_NUMBER,
                                .number = hyper(c, "scale_depth") / sqrt((double)c->nlayers)};
    return QUERN_OK;
}

static KEY_MAKER(make_minicpm_logits)
{
    (void)err;
    if (hyper(c, "dim_model_base") > 0.0)
        *v = (struct key_value){.kind = VALUE_NUMBER,
                                .number = hyper(c, "hidden_size") / hyper(c, "dim_model_base")};
    return QUERN_OK;
}

static enum quern_status minicpm_factors(struct conversion *c, struct quern_error *err)
{
    uint64_t hidden = 0;
    if (!json_get(c->config.rope, "long_factor"))
        return QUERN_OK;
    hf_u64(&c->config, "hidden_size", &hidden);
    return long_rope_factors(c, c->nheads ? hidden / c->nheads / 2 : 0, err);
}

static const struct key_rule minicpm_keys[] = {
    {.key = "embedding_scale", .type = META_F32, .from = "scale_emb", .required = true},
    {.key = "residual_scale",     .type = META_F32, .make = make_minicpm_residual},
    {.key = "logit_scale",                        .type = META_F32, .make = make_minicpm_logits},
    {.key = NULL   }
};

/* Only models that have a window say which layers look through it. */
static KEY_MAKER(make_own_window_pattern)
{
    uint64_t window;
    return hf_u64(&c->config, "sliding_window", &window) ? make_window_pattern(c, v, err)
                                                         : QUERN_OK;
}

static const struct key_rule olmo2_keys[] = {
    {.key = "attention.sliding_window",         .type = META_U32, .from = "sliding_window"},
    {.key = "attention.sliding_window_pattern",
     .type = META_ARRAY,
     .make = make_own_window_pattern},
    {.key = NULL}
};

/* Exaone 4 may give the kinds of layers, or the pattern as text (L: local, G: global) or as the
 * distance of global layers. */
static KEY_MAKER(make_exaone4_pattern)
{
    struct str pattern;
    uint64_t every = 0, window;
    if (!hf_u64(&c->config, "sliding_window", &window))
        return QUERN_OK;
    if (json_is_array(hf_get(&c->config, "layer_types")))
        return make_window_pattern(c, v, err);
    const bool text = hf_text(&c->config, "sliding_window_pattern", &pattern) && pattern.n > 0;
    if (!text && (!hf_u64(&c->config, "sliding_window_pattern", &every) || every == 0))
        return QUERN_OK;
    double *windows = ARENA_NEW(&c->plan->arena, double, c->nlayers + 1);
    if (!windows)
        return fail_memory(err, c->nlayers * sizeof *windows);
    for (uint64_t i = 0; i < c->nlayers; i++)
        windows[i] = text ? pattern.p[i % pattern.n] == 'L' : (i + 1) % every != 0;
    *v = (struct key_value){.kind = VALUE_BOOLS, .numbers = windows, .count = c->nlayers};
    return QUERN_OK;
}

static const struct key_rule exaone4_keys[] = {
    {.key = "vocab_size",               .type = META_U32, .from = "vocab_size"},
    {.key = "attention.sliding_window",             .type = META_U32, .from = "sliding_window"},
    {.key = "attention.sliding_window_pattern", .type = META_ARRAY, .make = make_exaone4_pattern},
    {.key = NULL        }
};

const struct architecture arch_granite = {
    .name = "granite",
    .classes = "GraniteForCausalLM",
    .tensors = {permuted_qk, llama_tensors},
    .keys = {base_keys,   granite_keys },
    .ignores_head_dim = true,
};

const struct architecture arch_granitemoe = {
    .name = "granitemoe",
    .classes = "GraniteMoeForCausalLM GraniteMoeSharedForCausalLM",
    .tensors = {permuted_qk, granite_experts, llama_tensors  },
    .keys = {base_keys,   granite_keys,    granitemoe_keys},
    .ignores_head_dim = true,
};

const struct architecture arch_minicpm = {
    .name = "minicpm",
    .classes = "MiniCPMForCausalLM",
    .tensors = {permuted_qk, llama_tensors},
    .keys = {base_keys,   minicpm_keys },
    .extra = minicpm_factors,
};

const struct architecture arch_internlm2 = {
    .name = "internlm2",
    .classes = "InternLM2ForCausalLM",
    .tensors = {internlm2_tensors},
    .keys = {base_keys},
};

const struct architecture arch_olmo = {
    .name = "olmo",
    .classes = "OlmoForCausalLM OLMoForCausalLM",
    .tensors = {permuted_qk, llama_tensors},
    .keys = {base_keys,   olmo_keys    },
};

const struct architecture arch_olmo2 = {
    .name = "olmo2",
    .classes = "Olmo2ForCausalLM Olmo3ForCausalLM",
    .tensors = {plain_qk,       qk_norms, sandwich_norms, llama_tensors},
    .keys = {base_keys, olmo2_keys        },
};

const struct architecture arch_olmoe = {
    .name = "olmoe",
    .classes = "OlmoeForCausalLM",
    .tensors = {plain_qk,       qk_norms, experts_by_name, llama_tensors},
    .keys = {base_keys, olmoe_keys        },
};

const struct architecture arch_exaone = {
    .name = "exaone",
    .classes = "ExaoneForCausalLM",
    .tensors = {exaone_tensors},
    .keys = { base_keys,   exaone_keys},
    .extra = llama3_rope_factors,
};

const struct architecture arch_exaone4 = {
    .name = "exaone4",
    .classes = "Exaone4ForCausalLM",
    .tensors = {plain_qk,       qk_norms, sandwich_norms, llama_tensors},
    .keys = {base_keys, exaone4_keys        },
    .extra = llama3_rope_factors,
};

const struct architecture arch_seed_oss = {
    .name = "seed_oss",
    .classes = "SeedOssForCausalLM",
    .tensors = {plain_qk,       seed_norms, llama_tensors},
    .keys = {base_keys},
};

/* The other models of this architecture are Mistrals, whose contexts are not stretched. */
static bool is_ministral(const struct conversion *c)
{
    return str_is(c->config.model_type, "ministral3");
}

static KEY_MAKER(make_mistral3_log_multiplier)
{
    double n;
    (void)err;
    if (is_ministral(c) && json_f64(json_get(c->config.rope, "mscale_all_dim"), &n))
        *v = (struct key_value){.kind = VALUE_NUMBER, .number = n};
    return QUERN_OK;
}

static KEY_MAKER(make_mistral3_temperature)
{
    double n;
    (void)err;
    if (is_ministral(c) && json_f64(json_get(c->config.rope, "llama_4_scaling_beta"), &n))
        *v = (struct key_value){.kind = VALUE_NUMBER, .number = n};
    return QUERN_OK;
}

static const struct key_rule mistral3_keys[] = {
    {.key = "rope.scaling.yarn_log_multiplier",
     .type = META_F32,
     .make = make_mistral3_log_multiplier},
    {.key = "attention.temperature_scale",      .type = META_F32, .make = make_mistral3_temperature},
    {.key = NULL     }
};

const struct architecture arch_mistral3 = {
    .name = "mistral3",
    .classes = "Ministral3ForCausalLM Mistral3ForConditionalGeneration",
    .tensors = {permuted_qk,    llama_tensors},
    .keys = { base_keys, vocab_size_key, rope_dims_key, mistral3_keys},
    .extra = llama3_rope_factors,
};
