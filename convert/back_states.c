/* back_states.c - classes with latent attention, draft layers or states: DeepSeek, GLM-4.5, Mamba,
 * LFM2. */
#include "back_class.h"

/* ---- latent attention, draft layers -----------------------------------------------------------
 */

/* clang-format off */
static const struct back_key routed_experts[] = {
    {"expert_count", "n_routed_experts"},
    {"expert_shared_count", "n_shared_experts"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_weights_scale", "routed_scaling_factor"},
    {"expert_weights_norm", "norm_topk_prob"},
    {"expert_group_count", "n_group"},
    {"expert_group_used_count", "topk_group"},
    {"expert_gating_func", NULL},
    {"leading_dense_block_count", "first_k_dense_replace"},
    {NULL, NULL}
};

static const struct back_key deepseek_keys[] = {
    {"attention.head_count_kv", NULL},
    {"attention.key_length", NULL},
    {"attention.kv_lora_rank", "kv_lora_rank"},
    {"attention.q_lora_rank", NULL},
    {"attention.key_length_mla", NULL},
    {"attention.value_length_mla", "v_head_dim"},
    {"rope.dimension_count", "qk_rope_head_dim"},
    {NULL, NULL}
};

static const struct back_key glm4moe_keys[] = {
    {"block_count", NULL},
    {"nextn_predict_layers", "num_nextn_predict_layers"},
    {NULL, NULL}
};
/* clang-format on */

static bool has_correction(const struct back *b)
{
    uint64_t gating = 1;
    back_u64(b, "expert_gating_func", &gating);
    return gating == 2;
}

static enum quern_status more_deepseek(struct back *b, struct json_writer *w,
                                       struct quern_error *err)
{
    uint64_t rank, whole = 0, rope = 0, ngroups = 0;
    back_member(w, "q_lora_rank");
    if (back_u64(b, "attention.q_lora_rank", &rank))
        json_put_u64(w, rank);
    else
        json_put_null(w);
    back_u64(b, "attention.key_length_mla", &whole);
    back_u64(b, "rope.dimension_count", &rope);
    if (whole < rope)
        return fail(err, QUERN_EFORMAT, "hparam",
                    "its attention.key_length_mla is less than rope.dimension_count" WANT
                    "expected that and what does not rotate");
    back_put_u64(w, "qk_nope_head_dim", whole - rope);
    back_put_u64(w, "num_key_value_heads", b->nheads);
    back_u64(b, "expert_group_count", &ngroups);
    back_member(w, "topk_method");
    json_put_text(w, has_correction(b) ? "noaux_tc"
                     : ngroups > 1     ? "group_limited_greedy"
                                       : "greedy");
    back_member(w, "scoring_func");
    json_put_text(w, has_correction(b) ? "sigmoid" : "softmax");
    if (!back_meta(b, "expert_weights_norm"))
        back_put_bool(w, "norm_topk_prob", false);
    return back_put_rope(b, w, err);
}

static enum quern_status more_glm4moe(struct back *b, struct json_writer *w,
                                      struct quern_error *err)
{
    uint64_t drafts = 0;
    back_u64(b, "nextn_predict_layers", &drafts);
    back_put_u64(w, "num_hidden_layers", b->nlayers > drafts ? b->nlayers - drafts : 0);
    back_put_bool(w, "use_qk_norm", back_has(b, "blk.0.attn_q_norm.weight"));
    return back_more_glm4(b, w, err);
}

/* ---- states -----------------------------------------------------------------------------------
 */

/* clang-format off */
static const struct back_key mamba_keys[] = {
    {"block_count", "num_hidden_layers"},
    {"embedding_length", "hidden_size"},
    {"context_length", NULL},
    {"feed_forward_length", NULL},
    {"attention.head_count", NULL},
    {"attention.layer_norm_rms_epsilon", "layer_norm_epsilon"},
    {"ssm.conv_kernel", "conv_kernel"},
    {"ssm.inner_size", NULL},
    {"ssm.state_size", "state_size"},
    {"ssm.time_step_rank", NULL},
    {"ssm.group_count", "n_groups"},
    {"ssm.dt_b_c_rms", NULL},
    {NULL, NULL}
};

static const struct back_key lfm2_keys[] = {
    {"attention.head_count_kv", NULL},
    {"attention.layer_norm_rms_epsilon", "norm_eps"},
    {"shortconv.l_cache", "conv_L_cache"},
    {NULL, NULL}
};
/* clang-format on */

/* The width inside of a layer must be a multiple of that between layers. */
static enum quern_status put_expand(struct back *b, struct json_writer *w, uint64_t *inner,
                                    struct quern_error *err)
{
    if (!back_u64(b, "ssm.inner_size", inner) || b->hidden == 0 || *inner % b->hidden != 0)
        return no_way_back(err, "its ssm.inner_size is no multiple of embedding_length");
    back_put_u64(w, "expand", *inner / b->hidden);
    return QUERN_OK;
}

static enum quern_status more_mamba(struct back *b, struct json_writer *w, struct quern_error *err)
{
    uint64_t inner, rank;
    TRY(put_expand(b, w, &inner, err));
    back_put_u64(w, "intermediate_size", inner);
    if (back_u64(b, "ssm.time_step_rank", &rank))
        back_put_u64(w, "time_step_rank", rank);
    return QUERN_OK;
}

static enum quern_status more_mamba2(struct back *b, struct json_writer *w, struct quern_error *err)
{
    uint64_t inner, nheads = 0;
    TRY(put_expand(b, w, &inner, err));
    back_u64(b, "ssm.time_step_rank", &nheads);
    if (nheads == 0 || inner % nheads != 0)
        return no_way_back(err, "its ssm.time_step_rank does not divide ssm.inner_size");
    back_put_u64(w, "num_heads", nheads);
    back_put_u64(w, "head_dim", inner / nheads);
    return QUERN_OK;
}

static bool is_falcon_mamba(const struct back *b)
{
    const struct meta *k = back_meta(b, "ssm.dt_b_c_rms");
    return k && k->type == META_BOOL && k->value.p[0];
}

/* Layers without heads of keys are convolutions. */
static enum quern_status more_lfm2(struct back *b, struct json_writer *w, struct quern_error *err)
{
    const struct meta *k = back_meta(b, "attention.head_count_kv");
    uint8_t most = 0;
    if (!k || k->type != META_ARRAY || k->item_type != META_I32 || k->count != b->nlayers)
        return fail(err, QUERN_EFORMAT, "hparam",
                    "its attention.head_count_kv is no list with an entry for every layer");
    back_member(w, "layer_types");
    json_open(w, '[');
    for (uint64_t i = 0; i < k->count; i++) {
        const uint8_t n = (uint8_t)k->value.p[4 * i];
        most = n > most ? n : most;
        json_put_text(w, n ? "full_attention" : "conv");
    }
    json_close(w, ']');
    back_put_u64(w, "num_key_value_heads", most);
    back_put_bool(w, "block_auto_adjust_ff_dim", false);
    return back_put_rope(b, w, err);
}

/* ---- an encoder and a decoder ------------------------------------------------------------------
 */

/* clang-format off */
static const struct back_key t5_keys[] = {
    {"context_length", "n_positions"},
    {"embedding_length", "d_model"},
    {"feed_forward_length", "d_ff"},
    {"block_count", "num_layers"},
    {"decoder_block_count", "num_decoder_layers"},
    {"attention.head_count", "num_heads"},
    {"attention.key_length", "d_kv"},
    {"attention.value_length", NULL},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon"},
    {"attention.layer_norm_rms_epsilon", NULL},
    {"attention.relative_buckets_count", "relative_attention_num_buckets"},
    {"decoder_start_token_id", "decoder_start_token_id"},
    {NULL, NULL}
};
/* clang-format on */

static enum quern_status more_t5(struct back *b, struct json_writer *w, struct quern_error *err)
{
    (void)err;
    back_member(w, "feed_forward_proj");
    json_put_text(w, back_has(b, "enc.blk.0.ffn_gate.weight") ? "gated-gelu" : "relu");
    return QUERN_OK;
}

/* ---- the list ----------------------------------------------------------------------------------
 */

/* clang-format off */
const struct back_class back_state_classes[] = {
    {.arch = "deepseek2", .hf_class = "DeepseekV3ForCausalLM", .model_type = "deepseek_v3", .is = has_correction,
     .keys = {deepseek_keys, routed_experts, back_common_keys}, .fixed = "\"hidden_act\": \"silu\"", .more = more_deepseek},
    {.arch = "deepseek2", .hf_class = "DeepseekV2ForCausalLM", .model_type = "deepseek_v2",
     .keys = {deepseek_keys, routed_experts, back_common_keys}, .fixed = "\"hidden_act\": \"silu\"", .more = more_deepseek},
    {.arch = "glm4moe", .hf_class = "Glm4MoeForCausalLM", .model_type = "glm4_moe",
     .keys = {glm4moe_keys, routed_experts, back_common_keys}, .fixed = "\"hidden_act\": \"silu\"", .more = more_glm4moe},
    {.arch = "mamba", .hf_class = "FalconMambaForCausalLM", .model_type = "falcon_mamba", .is = is_falcon_mamba,
     .keys = {mamba_keys}, .more = more_mamba},
    {.arch = "mamba", .hf_class = "MambaForCausalLM", .model_type = "mamba",
     .keys = {mamba_keys}, .more = more_mamba},
    {.arch = "mamba2", .hf_class = "Mamba2ForCausalLM", .model_type = "mamba2",
     .keys = {mamba_keys}, .more = more_mamba2},
    {.arch = "lfm2", .hf_class = "Lfm2ForCausalLM", .model_type = "lfm2",
     .keys = {lfm2_keys, back_common_keys}, .more = more_lfm2},
    {.arch = "t5", .hf_class = "T5ForConditionalGeneration", .model_type = "t5",
     .keys = {t5_keys}, .fixed = "\"is_encoder_decoder\": true", .more = more_t5},
    {.arch = NULL}
};
/* clang-format on */
