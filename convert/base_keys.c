/* base_keys.c - the keys most architectures have, and the values that take some arithmetic. */
#include <math.h>
#include <stdio.h>

#include "conversion.h"

static void number(struct key_value *v, double n)
{
    *v = (struct key_value){.kind = VALUE_NUMBER, .number = n};
}

static void text(struct key_value *v, struct str s)
{
    *v = (struct key_value){.kind = VALUE_TEXT, .text = s};
}

/* ---- positions ---------------------------------------------------------------------------------
 */

/* Newer files tell the two kinds of attention apart. */
static const struct json *rope(const struct conversion *c)
{
    const struct json *full = json_get(c->config.rope, "full_attention");
    return json_is_object(full) ? full : c->config.rope;
}

static struct str rope_type(const struct conversion *c)
{
    struct str s = {0};
    if (!json_text(json_get(rope(c), "rope_type"), &s))
        json_text(json_get(rope(c), "type"), &s);
    return s;
}

static bool scales(const struct conversion *c, double *factor)
{
    const struct str type = rope_type(c);
    return (str_is(type, "linear") || str_is(type, "yarn")) &&
           json_f64(json_get(rope(c), "factor"), factor);
}

static KEY_MAKER(make_scaling_type)
{
    const struct str type = rope_type(c);
    double factor;
    (void)err;
    if (scales(c, &factor))
        text(v, type);
    else if (str_is(type, "longrope") || str_is(type, "su"))
        text(v, STR("longrope"));
    return QUERN_OK;
}

static KEY_MAKER(make_scaling_factor)
{
    double factor;
    (void)err;
    if (scales(c, &factor))
        number(v, factor);
    return QUERN_OK;
}

static bool yarn_number(const struct conversion *c, const char *name, struct key_value *v)
{
    double n;
    if (!str_is(rope_type(c), "yarn") || !scales(c, &n) || !json_f64(json_get(rope(c), name), &n))
        return false;
    number(v, n);
    return true;
}

static KEY_MAKER(make_original_context)
{
    double factor, n;
    if (yarn_number(c, "original_max_position_embeddings", v) || !str_is(rope_type(c), "yarn") ||
        !scales(c, &factor))
        return QUERN_OK;
    if (!hparam_f64(c, "original_max_position_embeddings", &n))
        return in_file(err, c->config.path,
                       fail(err, QUERN_EFORMAT, "hparam",
                            "its yarn scaling has no original_max_position_embeddings"));
    number(v, n);
    return QUERN_OK;
}

static KEY_MAKER(make_yarn_ext_factor)
{
    (void)err;
    yarn_number(c, "extrapolation_factor", v);
    return QUERN_OK;
}

static KEY_MAKER(make_yarn_attn_factor)
{
    (void)err;
    if (!yarn_number(c, "attention_factor", v))
        yarn_number(c, "attn_factor", v);
    return QUERN_OK;
}

static KEY_MAKER(make_yarn_beta_fast)
{
    (void)err;
    yarn_number(c, "beta_fast", v);
    return QUERN_OK;
}

static KEY_MAKER(make_yarn_beta_slow)
{
    (void)err;
    yarn_number(c, "beta_slow", v);
    return QUERN_OK;
}

KEY_MAKER(make_rope_freq_base)
{
    double theta;
    (void)err;
    if (json_f64(json_get(rope(c), "rope_theta"), &theta) ||
        hparam_f64(c,
                   "global_rope_theta|rope_global_theta|rope_theta_global|rope_theta|"
                   "rotary_emb_base",
                   &theta))
        number(v, theta);
    return QUERN_OK;
}

static KEY_MAKER(make_rope_freq_base_swa)
{
    double theta;
    const struct json *sliding = json_get(c->config.rope, "sliding_attention");
    (void)err;
    if (json_f64(json_get(sliding, "rope_theta"), &theta) ||
        hparam_f64(c,
                   "local_rope_theta|rope_local_theta|rope_theta_local|swa_rope_theta|"
                   "rope_local_base_freq",
                   &theta))
        number(v, theta);
    return QUERN_OK;
}

/* Always four sections. */
static KEY_MAKER(make_rope_sections)
{
    const struct json *list = json_get(rope(c), "mrope_section");
    double *n = ARENA_NEW(&c->plan->arena, double, 4);
    uint64_t i = 0;
    if (!n)
        return fail_memory(err, 4 * sizeof *n);
    if (!json_is_array(list) || json_count(list) > 4)
        return QUERN_OK;
    for (const struct json *item = json_first(list); item; item = json_next(item))
        if (!json_f64(item, &n[i++]))
            return QUERN_OK;
    *v = (struct key_value){.kind = VALUE_NUMBERS, .numbers = n, .count = 4};
    return QUERN_OK;
}

/* ---- dimensions that rotate ---------------------------------------------------------------------
 */

static double rotary_factor(const struct conversion *c, double other)
{
    double f;
    if (json_f64(json_get(rope(c), "partial_rotary_factor"), &f) ||
        hparam_f64(c, "partial_rotary_factor|rotary_pct|rope_pct|rope_percent", &f))
        return f;
    return other;
}

static bool hidden_and_heads(const struct conversion *c, uint64_t *hidden)
{
    return c->nheads > 0 && hparam_u64(c, "hidden_size|n_embd|dim", hidden);
}

KEY_MAKER(make_rope_dims)
{
    uint64_t n, hidden;
    (void)err;
    if (hparam_u64(c, "head_dim", &n))
        number(v, (double)n);
    else if (hidden_and_heads(c, &hidden))
        number(v, (double)(hidden / c->nheads));
    return QUERN_OK;
}

KEY_MAKER(make_rope_dims_partial)
{
    uint64_t hidden;
    (void)err;
    if (hidden_and_heads(c, &hidden))
        number(v, floor(rotary_factor(c, 1.0) * (double)(hidden / c->nheads)));
    return QUERN_OK;
}

KEY_MAKER(make_rope_dims_hidden)
{
    uint64_t hidden;
    (void)err;
    if (hidden_and_heads(c, &hidden))
        number(v, floor(floor(rotary_factor(c, 1.0) * (double)hidden) / (double)c->nheads));
    return QUERN_OK;
}

KEY_MAKER(make_rope_dims_half)
{
    TRY(make_rope_dims(c, v, err));
    if (v->kind == VALUE_NUMBER)
        v->number = floor(v->number * rotary_factor(c, 0.5));
    return QUERN_OK;
}

/* ---- others
 * -------------------------------------------------------------------------------------- */

KEY_MAKER(make_ffn_4x)
{
    uint64_t n;
    (void)err;
    if (hparam_u64(c, "hidden_size|n_embd", &n))
        number(v, 4.0 * (double)n);
    return QUERN_OK;
}

KEY_MAKER(make_file_type)
{
    (void)err;
    number(v, convert_file_type(c));
    return QUERN_OK;
}

static KEY_MAKER(make_gating)
{
    struct str s;
    (void)err;
    if (!json_text(hparam(c, "score_function|scoring_func|score_func|moe_router_activation|"
                             "moe_router_activation_func|expert_selection_fn"),
                   &s))
        return QUERN_OK;
    if (str_is(s, "softmax"))
        number(v, 1);
    else if (str_is(s, "sigmoid"))
        number(v, 2);
    else if (str_is(s, "sqrtsoftplus"))
        number(v, 4);
    else
        return in_file(err, c->config.path,
                       fail(err, QUERN_EUNSUPPORTED, "hparam",
                            "experts are chosen by '%s'" WANT "expected softmax or sigmoid",
                            quoted(s).text));
    return QUERN_OK;
}

/* Only said when it is false. */
static KEY_MAKER(make_causal)
{
    bool causal;
    (void)err;
    if (hf_bool(&c->config, "is_causal", &causal) && !causal)
        *v = (struct key_value){.kind = VALUE_BOOL, .truth = false};
    return QUERN_OK;
}

KEY_MAKER(make_window_pattern)
{
    const struct json *types = hf_get(&c->config, "layer_types");
    double *windows = ARENA_NEW(&c->plan->arena, double, c->nlayers + 1);
    const struct json *type = json_first(types);
    if (!windows)
        return fail_memory(err, c->nlayers * sizeof *windows);
    for (uint64_t i = 0; i < c->nlayers; i++) {
        struct str s = {0};
        if (!json_is_array(types))
            windows[i] = (i + 1) % 4 != 0;
        else if (json_text(type, &s))
            windows[i] = str_is(s, "sliding_attention");
        else
            return in_file(err, c->config.path,
                           fail(err, QUERN_EFORMAT, "hparam",
                                "layer_types does not name the kind of every layer"));
        type = json_next(type);
    }
    *v = (struct key_value){.kind = VALUE_BOOLS, .numbers = windows, .count = c->nlayers};
    return QUERN_OK;
}

/* A module's directory is foreign text: it must stay below the model's. */
static bool is_below(struct str path)
{
    return path.n > 0 && path.p[0] != '/' && !str_has(path, "..");
}

static struct str pooling_module(const struct json *modules)
{
    struct str type, path = {0};
    for (const struct json *m = json_first(modules); m; m = json_next(m))
        if (json_text(json_get(m, "type"), &type) && str_ends(type, "Pooling") &&
            json_text(json_get(m, "path"), &path) && is_below(path))
            return path;
    return (struct str){0};
}

static double pooling_of(const struct json *config)
{
    static const char *const modes[] = {"pooling_mode_mean_tokens", "pooling_mode_cls_token",
                                        "pooling_mode_lasttoken"};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        bool on;
        if (json_bool(json_get(config, modes[i]), &on) && on)
            return (double)i + 1;
    }
    return 0;
}

/* How sentence-transformers makes one vector of those of all tokens: mean 1, first 2, last 3. */
static KEY_MAKER(make_pooling)
{
    struct json *modules = NULL, *config = NULL;
    TRY(hf_json_file(&c->config, "modules.json", &modules, err));
    const struct str dir = pooling_module(modules);
    enum quern_status s = QUERN_OK;
    if (dir.n) {
        const char *path = arena_printf(&c->plan->arena, "%.*s/config.json", STR_ARG(dir));
        s = path ? hf_json_file(&c->config, path, &config, err) : fail_memory(err, dir.n);
    }
    if (s == QUERN_OK && pooling_of(config) > 0)
        number(v, pooling_of(config));
    json_free(config);
    json_free(modules);
    return s;
}

/* ---- lists
 * ---------------------------------------------------------------------------------------- */

/* clang-format off */
const struct key_rule base_keys[] = {
    {.key = "block_count", .type = META_U32, .from = "n_layers|num_hidden_layers|n_layer|num_layers",
     .required = true},
    {.key = "context_length", .type = META_U32,
     .from = "max_position_embeddings|n_ctx|n_positions|max_length|max_sequence_length|"
             "model_max_length"},
    {.key = "embedding_length", .type = META_U32, .from = "hidden_size|n_embd|dim"},
    {.key = "feed_forward_length", .type = META_U32,
     .from = "prefix_dense_intermediate_size|dense_intermediate_size|intermediate_size|n_inner|"
             "hidden_dim"},
    {.key = "attention.head_count", .type = META_U32, .from = "num_attention_heads|n_head|n_heads"},
    {.key = "attention.head_count_kv", .type = META_U32, .from = "num_key_value_heads|n_kv_heads"},
    {.key = "attention.causal", .type = META_BOOL, .make = make_causal},
    {.key = "rope.scaling.type", .type = META_STRING, .make = make_scaling_type},
    {.key = "rope.scaling.factor", .type = META_F32, .make = make_scaling_factor},
    {.key = "rope.scaling.original_context_length", .type = META_U32, .make = make_original_context},
    {.key = "rope.scaling.yarn_ext_factor", .type = META_F32, .make = make_yarn_ext_factor},
    {.key = "rope.scaling.yarn_attn_factor", .type = META_F32, .make = make_yarn_attn_factor},
    {.key = "rope.scaling.yarn_beta_fast", .type = META_F32, .make = make_yarn_beta_fast},
    {.key = "rope.scaling.yarn_beta_slow", .type = META_F32, .make = make_yarn_beta_slow},
    {.key = "rope.dimension_sections", .type = META_ARRAY, .make = make_rope_sections},
    {.key = "rope.freq_base", .type = META_F32, .make = make_rope_freq_base},
    {.key = "rope.freq_base_swa", .type = META_F32, .make = make_rope_freq_base_swa},
    {.key = "attention.layer_norm_rms_epsilon", .type = META_F32, .from = "rms_norm_eps|norm_eps"},
    {.key = "attention.layer_norm_epsilon", .type = META_F32,
     .from = "layer_norm_eps|layer_norm_epsilon|norm_epsilon"},
    {.key = "expert_count", .type = META_U32,
     .from = "num_local_experts|num_experts|n_routed_experts"},
    {.key = "expert_used_count", .type = META_U32,
     .from = "num_experts_per_tok|num_experts_per_token|top_k_experts"},
    {.key = "expert_group_count", .type = META_U32, .from = "n_group"},
    {.key = "expert_group_used_count", .type = META_U32, .from = "topk_group"},
    {.key = "expert_gating_func", .type = META_U32, .make = make_gating},
    {.key = "attention.key_length", .type = META_U32, .from = "head_dim"},
    {.key = "attention.value_length", .type = META_U32, .from = "head_dim"},
    {.key = "general.file_type", .type = META_U32, .make = make_file_type},
    {.key = NULL}
};

const struct key_rule vocab_size_key[] = {
    {.key = "vocab_size", .type = META_U32, .from = "vocab_size"},
    {.key = NULL}
};

const struct key_rule rope_dims_key[] = {
    {.key = "rope.dimension_count", .type = META_U32, .make = make_rope_dims},
    {.key = NULL}
};

const struct key_rule file_type_key[] = {
    {.key = "general.file_type", .type = META_U32, .make = make_file_type},
    {.key = NULL}
};

const struct key_rule pooling_keys[] = {
    {.key = "pooling_type", .type = META_U32, .make = make_pooling},
    {.key = NULL}
};

const struct key_rule expert_ffn_keys[] = {
    {.key = "expert_feed_forward_length", .type = META_U32, .from = "moe_intermediate_size"},
    {.key = "expert_shared_feed_forward_length", .type = META_U32,
     .from = "shared_expert_intermediate_size"},
    {.key = NULL}
};
