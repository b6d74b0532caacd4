/* arch_state.c - models with a state instead of attention: Mamba, Mamba 2, RWKV 7, LFM2. */
#include <math.h>

#include "arch_lists.h"
#include "conversion.h"

static void number(struct key_value *v, double n)
{
    *v = (struct key_value){.kind = VALUE_NUMBER, .number = n};
}

/* ---- Mamba
 * --------------------------------------------------------------------------------------- */

/* clang-format off */
static const struct tensor_rule mamba_common[] = {
    KEEP("backbone.embeddings", "token_embd"),
    KEEP("backbone.embedding", "token_embd"),
    KEEP("backbone.norm_f", "output_norm"),
    MAKE("lm_head", "output", UNLESS_EMBEDDING),
    KEEP("backbone.layers.{i}.norm", "blk.{i}.attn_norm"),
    KEEP("backbone.layers.{i}.mixer.in_proj", "blk.{i}.ssm_in"),
    MAKE("backbone.layers.{i}.mixer.conv1d", "blk.{i}.ssm_conv1d", SQUEEZE),
    KEEP("backbone.layers.{i}.mixer.out_proj", "blk.{i}.ssm_out"),
    {.from = NULL}
};

static const struct tensor_rule mamba_tensors[] = {
    KEEP("backbone.layers.{i}.mixer.x_proj", "blk.{i}.ssm_x"),
    KEEP("backbone.layers.{i}.mixer.dt_proj", "blk.{i}.ssm_dt"),
    MAKE("backbone.layers.{i}.mixer.A_log", "blk.{i}.ssm_a", NEG_EXP),
    KEEP("backbone.layers.{i}.mixer.D", "blk.{i}.ssm_d"),
    {.from = NULL}
};

static const struct tensor_rule mamba2_tensors[] = {
    KEEP("backbone.layers.{i}.mixer.dt_bias", "blk.{i}.ssm_dt.bias"),
    MAKE("backbone.layers.{i}.mixer.A_log", "blk.{i}.ssm_a", NEG_EXP_COLUMN),
    MAKE("backbone.layers.{i}.mixer.D", "blk.{i}.ssm_d", COLUMN),
    MAKE("backbone.layers.{i}.mixer.norm", "blk.{i}.ssm_norm", BY_GROUPS),
    {.from = NULL}
};
/* clang-format on */

static KEY_MAKER(make_mamba_inner)
{
    uint64_t n;
    (void)err;
    if (hparam_u64(c, "intermediate_size|d_inner", &n))
        number(v, (double)n);
    else if (hparam_u64(c, "hidden_size|d_model", &n))
        number(v, 2.0 * (double)n);
    return QUERN_OK;
}

static KEY_MAKER(make_mamba_dt_rank)
{
    uint64_t n;
    (void)err;
    if (hparam_u64(c, "time_step_rank|dt_rank", &n))
        number(v, (double)n);
    else if (hparam_u64(c, "hidden_size|d_model", &n))
        number(v, (double)((n + 15) / 16));
    return QUERN_OK;
}

static KEY_MAKER(make_falcon_mamba)
{
    (void)err;
    *v = (struct key_value){.kind = VALUE_BOOL,
                            .truth = str_is(c->config.model_type, "falcon_mamba")};
    return QUERN_OK;
}

static KEY_MAKER(make_mamba2_inner)
{
    uint64_t n, expand = 2;
    (void)err;
    if (hparam_u64(c, "mamba_d_ssm|intermediate_size|d_inner", &n)) {
        number(v, (double)n);
    } else if (hparam_u64(c, "hidden_size|d_model", &n)) {
        hparam_u64(c, "mamba_expand|expand", &expand);
        number(v, (double)n * (double)expand);
    }
    return QUERN_OK;
}

static KEY_MAKER(make_mamba2_dt_rank)
{
    uint64_t head = 64;
    TRY(make_mamba2_inner(c, v, err));
    hparam_u64(c, "mamba_d_head|head_dim", &head);
    if (v->kind == VALUE_NUMBER && head)
        v->number = floor(v->number / (double)head);
    return QUERN_OK;
}

/* clang-format off */
static const struct key_rule mamba_keys[] = {
    {.key = "context_length", .type = META_U32, .other = "1048576"}, /* there is no limit */
    {.key = "embedding_length", .type = META_U32, .from = "hidden_size|d_model", .required = true},
    {.key = "feed_forward_length", .type = META_U32, .other = "0"},
    {.key = "attention.head_count", .type = META_U32, .other = "0"},
    {.key = "block_count", .type = META_U32, .from = "n_layers|num_hidden_layers|n_layer|num_layers", .required = true},
    {.key = "ssm.conv_kernel", .type = META_U32, .from = "conv_kernel|d_conv", .other = "4"},
    {.key = "ssm.inner_size", .type = META_U32, .make = make_mamba_inner},
    {.key = "ssm.state_size", .type = META_U32, .from = "state_size|d_state", .other = "16"},
    {.key = "ssm.time_step_rank", .type = META_U32, .make = make_mamba_dt_rank},
    {.key = "attention.layer_norm_rms_epsilon", .type = META_F32, .from = "layer_norm_epsilon|rms_norm_eps", .other = "1e-05"},
    {.key = "ssm.dt_b_c_rms", .type = META_BOOL, .make = make_falcon_mamba},
    {.key = "general.file_type", .type = META_U32, .make = make_file_type},
    {.key = NULL}
};

static const struct key_rule mamba2_keys[] = {
    {.key = "context_length", .type = META_U32, .other = "1048576"},
    {.key = "embedding_length", .type = META_U32, .from = "hidden_size|d_model|dim", .required = true},
    {.key = "feed_forward_length", .type = META_U32, .other = "0"},
    {.key = "attention.head_count", .type = META_U32, .other = "0"},
    {.key = "block_count", .type = META_U32, .from = "n_layers|num_hidden_layers|n_layer|num_layers", .required = true},
    {.key = "ssm.conv_kernel", .type = META_U32, .from = "conv_kernel|d_conv", .other = "4"},
    {.key = "ssm.inner_size", .type = META_U32, .make = make_mamba2_inner},
    {.key = "ssm.state_size", .type = META_U32, .from = "state_size|d_state", .other = "128"},
    {.key = "ssm.time_step_rank", .type = META_U32, .make = make_mamba2_dt_rank},
    {.key = "ssm.group_count", .type = META_U32, .from = "n_groups", .other = "1"},
    {.key = "attention.layer_norm_rms_epsilon", .type = META_F32, .from = "layer_norm_epsilon|rms_norm_eps", .other = "1e-05"},
    {.key = "general.file_type", .type = META_U32, .make = make_file_type},
    {.key = NULL}
};
/* clang-format on */

const struct architecture arch_mamba = {
    .name = "mamba",
    .classes = "MambaForCausalLM MambaLMHeadModel FalconMambaForCausalLM",
    .tensors = {mamba_tensors, mamba_common},
    .keys = {mamba_keys            },
};

const struct architecture arch_mamba2 = {
    .name = "mamba2",
    .classes = "Mamba2ForCausalLM",
    .tensors = {mamba2_tensors, mamba_common},
    .keys = {mamba2_keys             },
    .strip = "model.",
};

/* ---- RWKV 7
 * -------------------------------------------------------------------------------------- */

/* clang-format off */
static const struct tensor_rule rwkv7_tensors[] = {
    KEEP("model.embeddings", "token_embd"),
    KEEP("model.norm", "output_norm"),
    KEEP("lm_head", "output"),
    KEEP("model.layers.0.pre_norm", "token_embd_norm"),
    KEEP("model.layers.{i}.attn_norm", "blk.{i}.attn_norm"),
    KEEP("model.layers.{i}.ffn_norm", "blk.{i}.attn_norm_2"),
    {"model.layers.{i}.attn.x_r", "blk.{i}.time_mix_lerp_fused.weight", STACK_NAMED, 0},
    {"model.layers.{i}.attn.x_w", "blk.{i}.time_mix_lerp_fused.weight", STACK_NAMED, 1},
    {"model.layers.{i}.attn.x_k", "blk.{i}.time_mix_lerp_fused.weight", STACK_NAMED, 2},
    {"model.layers.{i}.attn.x_v", "blk.{i}.time_mix_lerp_fused.weight", STACK_NAMED, 3},
    {"model.layers.{i}.attn.x_a", "blk.{i}.time_mix_lerp_fused.weight", STACK_NAMED, 4},
    {"model.layers.{i}.attn.x_g", "blk.{i}.time_mix_lerp_fused.weight", STACK_NAMED, 5},
    MAKE("model.layers.{i}.attn.k_k", "blk.{i}.time_mix_k_k.weight", SQUEEZE),
    MAKE("model.layers.{i}.attn.k_a", "blk.{i}.time_mix_k_a.weight", SQUEEZE),
    MAKE("model.layers.{i}.attn.r_k", "blk.{i}.time_mix_r_k.weight", FLAT),
    KEEP("model.layers.{i}.attn.r_proj", "blk.{i}.time_mix_receptance"),
    KEEP("model.layers.{i}.attn.k_proj", "blk.{i}.time_mix_key"),
    KEEP("model.layers.{i}.attn.v_proj", "blk.{i}.time_mix_value"),
    KEEP("model.layers.{i}.attn.o_proj", "blk.{i}.time_mix_output"),
    KEEP("model.layers.{i}.attn.g_norm", "blk.{i}.time_mix_ln"),
    KEEP("model.layers.{i}.attn.w_lora.lora.0.weight", "blk.{i}.time_mix_w1.weight"),
    KEEP("model.layers.{i}.attn.w_lora.lora.2.weight", "blk.{i}.time_mix_w2.weight"),
    KEEP("model.layers.{i}.attn.w_lora.lora.2.bias", "blk.{i}.time_mix_w0.weight"),
    KEEP("model.layers.{i}.attn.g_lora.lora.0.weight", "blk.{i}.time_mix_g1.weight"),
    KEEP("model.layers.{i}.attn.g_lora.lora.2.weight", "blk.{i}.time_mix_g2.weight"),
    /* The first layer has no v of its own; llama.cpp wants tensors there, which it does not use. */
    MAKE("model.layers.0.attn.v_lora.lora.0.weight", "", LEFT_OUT),
    MAKE("model.layers.0.attn.v_lora.lora.2.weight", "", LEFT_OUT),
    MAKE("model.layers.0.attn.v_lora.lora.2.bias", "", LEFT_OUT),
    MAKE("model.layers.0.attn.a_lora.lora.0.weight", "blk.0.time_mix_v1.weight blk.0.time_mix_a1.weight", TWICE),
    MAKE("model.layers.0.attn.a_lora.lora.2.weight", "blk.0.time_mix_v2.weight blk.0.time_mix_a2.weight", TWICE),
    MAKE("model.layers.0.attn.a_lora.lora.2.bias", "blk.0.time_mix_v0.weight blk.0.time_mix_a0.weight", TWICE),
    KEEP("model.layers.{i}.attn.a_lora.lora.0.weight", "blk.{i}.time_mix_a1.weight"),
    KEEP("model.layers.{i}.attn.a_lora.lora.2.weight", "blk.{i}.time_mix_a2.weight"),
    KEEP("model.layers.{i}.attn.a_lora.lora.2.bias", "blk.{i}.time_mix_a0.weight"),
    KEEP("model.layers.{i}.attn.v_lora.lora.0.weight", "blk.{i}.time_mix_v1.weight"),
    KEEP("model.layers.{i}.attn.v_lora.lora.2.weight", "blk.{i}.time_mix_v2.weight"),
    KEEP("model.layers.{i}.attn.v_lora.lora.2.bias", "blk.{i}.time_mix_v0.weight"),
    MAKE("model.layers.{i}.ffn.x_k", "blk.{i}.channel_mix_lerp_k.weight", SQUEEZE),
    KEEP("model.layers.{i}.ffn.key", "blk.{i}.channel_mix_key"),
    KEEP("model.layers.{i}.ffn.value", "blk.{i}.channel_mix_value"),
    {.from = NULL}
};
/* clang-format on */

/* The rank a model of this size has when config.json does not say. */
static double usual_rank(const struct conversion *c, double factor)
{
    double hidden = 0;
    hparam_f64(c, "hidden_size", &hidden);
    const double n = nearbyint(sqrt(hidden) * factor / 32.0);
    return (n < 1 ? 1 : n) * 32.0;
}

static enum quern_status rank_of(const struct conversion *c, const char *names, double factor,
                                 struct key_value *v)
{
    uint64_t n;
    number(v, hparam_u64(c, names, &n) ? (double)n : usual_rank(c, factor));
    return QUERN_OK;
}

static KEY_MAKER(make_decay_rank)
{
    (void)err;
    return rank_of(c, "lora_rank_decay|decay_low_rank_dim", 1.8, v);
}

static KEY_MAKER(make_iclr_rank)
{
    (void)err;
    return rank_of(c, "lora_rank_iclr|a_low_rank_dim", 1.8, v);
}

static KEY_MAKER(make_value_rank)
{
    (void)err;
    return rank_of(c, "lora_rank_value_residual_mix|v_low_rank_dim", 1.3, v);
}

static KEY_MAKER(make_rwkv_ffn)
{
    uint64_t n;
    if (!hparam_u64(c, "intermediate_size", &n))
        return make_ffn_4x(c, v, err);
    number(v, (double)n);
    return QUERN_OK;
}

/* clang-format off */
static const struct key_rule rwkv7_keys[] = {
    {.key = "context_length", .type = META_U32, .other = "1048576"},
    {.key = "embedding_length", .type = META_U32, .from = "hidden_size", .required = true},
    {.key = "block_count", .type = META_U32, .from = "n_layers|num_hidden_layers|n_layer|num_layers", .required = true},
    {.key = "attention.layer_norm_epsilon", .type = META_F32, .from = "layer_norm_epsilon|norm_eps", .required = true},
    {.key = "wkv.head_size", .type = META_U32, .from = "head_size|head_dim", .required = true},
    {.key = "attention.decay_lora_rank", .type = META_U32, .make = make_decay_rank},
    {.key = "attention.iclr_lora_rank", .type = META_U32, .make = make_iclr_rank},
    {.key = "attention.value_residual_mix_lora_rank", .type = META_U32, .make = make_value_rank},
    {.key = "attention.gate_lora_rank", .type = META_U32, .from = "lora_rank_gate|gate_low_rank_dim", .required = true},
    {.key = "feed_forward_length", .type = META_U32, .make = make_rwkv_ffn},
    {.key = "general.file_type", .type = META_U32, .make = make_file_type},
    {.key = "attention.head_count", .type = META_U32, .other = "0"},
    {.key = NULL}
};
/* clang-format on */

const struct architecture arch_rwkv7 = {
    .name = "rwkv7",
    .classes = "RWKV7ForCausalLM Rwkv7ForCausalLM",
    .tensors = {rwkv7_tensors},
    .keys = {rwkv7_keys},
    .named_members = 6,
};

/* ---- LFM2
 * ---------------------------------------------------------------------------------------- */

/* clang-format off */
static const struct tensor_rule lfm2_tensors[] = {
    KEEP("model.embed_tokens", "token_embd"),
    KEEP("model.embedding_norm", "token_embd_norm"),
    KEEP("lm_head", "output"),
    MAKE("model.layers.{i}.conv.conv", "blk.{i}.shortconv.conv", SQUEEZE),
    KEEP("model.layers.{i}.conv.in_proj", "blk.{i}.shortconv.in_proj"),
    KEEP("model.layers.{i}.conv.out_proj", "blk.{i}.shortconv.out_proj"),
    KEEP("model.layers.{i}.self_attn.v_proj", "blk.{i}.attn_v"),
    KEEP("model.layers.{i}.self_attn.out_proj", "blk.{i}.attn_output"),
    KEEP("model.layers.{i}.self_attn.q_layernorm", "blk.{i}.attn_q_norm"),
    KEEP("model.layers.{i}.self_attn.k_layernorm", "blk.{i}.attn_k_norm"),
    KEEP("model.layers.{i}.operator_norm", "blk.{i}.attn_norm"),
    KEEP("model.layers.{i}.ffn_norm", "blk.{i}.ffn_norm"),
    KEEP("model.layers.{i}.feed_forward.w1", "blk.{i}.ffn_gate"),
    KEEP("model.layers.{i}.feed_forward.w2", "blk.{i}.ffn_down"),
    KEEP("model.layers.{i}.feed_forward.w3", "blk.{i}.ffn_up"),
    {.from = NULL}
};
/* clang-format on */

/* The width that is left after two thirds, a factor and rounding up, when the file says so. */
static KEY_MAKER(make_lfm2_ffn)
{
    uint64_t n, multiple = 1;
    double factor;
    bool adjust = false;
    (void)err;
    if (!hparam_u64(c, "block_ff_dim|intermediate_size", &n))
        return QUERN_OK;
    hf_bool(&c->config, "block_auto_adjust_ff_dim", &adjust);
    if (adjust) {
        n = 2 * n / 3;
        if (hf_f64(&c->config, "block_ffn_dim_multiplier", &factor) && factor > 0 &&
            factor * (double)n < 0x1p32)
            n = (uint64_t)(factor * (double)n);
        if (hf_u64(&c->config, "block_multiple_of", &multiple) && multiple > 0)
            n = (n + multiple - 1) / multiple * multiple;
    }
    number(v, (double)n);
    return QUERN_OK;
}

/* Older files number the layers with attention; without them, all layers have it. */
static bool has_attention(const struct conversion *c, uint64_t layer)
{
    const struct json *list = hf_get(&c->config, "full_attn_idxs");
    for (const struct json *i = json_first(list); i; i = json_next(i)) {
        uint64_t n;
        if (json_u64(i, &n) && n == layer)
            return true;
    }
    return !json_is_array(list);
}

/* Layers that are convolutions have no heads. */
static KEY_MAKER(make_lfm2_kv_heads)
{
    const struct json *types = hf_get(&c->config, "layer_types"), *type = json_first(types);
    double *n = ARENA_NEW(&c->plan->arena, double, c->nlayers + 1);
    if (!n)
        return fail_memory(err, c->nlayers * sizeof *n);
    for (uint64_t i = 0; i < c->nlayers; i++, type = json_next(type)) {
        struct str s = {0};
        if (!types && c->config.defaults)
            s = has_attention(c, i) ? STR("full_attention") : STR("conv");
        else if (!json_text(type, &s))
            return in_file(err, c->config.path,
                           fail(err, QUERN_EFORMAT, "hparam",
                                "layer_types does not name the kind of every layer"));
        n[i] = str_is(s, "conv") ? 0.0 : (double)c->nkv_heads;
    }
    *v = (struct key_value){.kind = VALUE_NUMBERS, .numbers = n, .count = c->nlayers};
    return QUERN_OK;
}

/* clang-format off */
static const struct tensor_rule lfm2_experts[] = {
    KEEP("model.layers.{i}.feed_forward.gate", "blk.{i}.ffn_gate_inp"),
    KEEP("model.layers.{i}.feed_forward.expert_bias", "blk.{i}.exp_probs_b.bias"),
    EXPERT("model.layers.{i}.feed_forward.experts.{e}.w1.weight", "blk.{i}.ffn_gate_exps.weight", 0),
    EXPERT("model.layers.{i}.feed_forward.experts.{e}.w2.weight", "blk.{i}.ffn_down_exps.weight", 1),
    EXPERT("model.layers.{i}.feed_forward.experts.{e}.w3.weight", "blk.{i}.ffn_up_exps.weight", 2),
    {.from = NULL}
};

static const struct key_rule lfm2moe_keys[] = {
    {.key = "attention.head_count_kv", .type = META_ARRAY, .make = make_lfm2_kv_heads},
    {.key = "expert_feed_forward_length", .type = META_U32, .from = "moe_intermediate_size", .required = true},
    {.key = "leading_dense_block_count", .type = META_U32, .from = "num_dense_layers", .required = true},
    {.key = "expert_gating_func", .type = META_U32, .other = "2"},
    {.key = "vocab_size", .type = META_U32, .from = "vocab_size", .required = true},
    {.key = "shortconv.l_cache", .type = META_U32, .from = "conv_L_cache", .required = true},
    {.key = NULL}
};
/* clang-format on */

static const struct key_rule lfm2_keys[] = {
    {.key = "attention.head_count_kv", .type = META_ARRAY, .make = make_lfm2_kv_heads},
    {.key = "vocab_size",      .type = META_U32, .from = "vocab_size"},
    {.key = "shortconv.l_cache",              .type = META_U32, .from = "conv_L_cache"},
    {.key = "attention.layer_norm_rms_epsilon",            .type = META_F32, .from = "norm_eps"},
    {.key = "feed_forward_length",       .type = META_U32, .make = make_lfm2_ffn},
    {.key = NULL         }
};

const struct architecture arch_lfm2 = {
    .name = "lfm2",
    .classes = "Lfm2ForCausalLM LFM2ForCausalLM",
    .tensors = {lfm2_tensors, plain_qk },
    .keys = {base_keys,    lfm2_keys},
};

const struct architecture arch_lfm2moe = {
    .name = "lfm2moe",
    .classes = "Lfm2MoeForCausalLM",
    .tensors = {lfm2_experts, lfm2_tensors, plain_qk},
    .keys = {base_keys,            lfm2moe_keys               },
};
