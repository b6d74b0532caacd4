/* moe_arch.c - the architectures of mixtures: what their tensors are called, what config.json says.
 */
#include <inttypes.h>
#include <stdio.h>

#include "core/json.h"
#include "merge/moe.h"
#include "pipeline/config_edit.h"

#define DEEPSEEK "deepseek-ai/deepseek-moe-16b-base--"

/* OF_FFN: the width of the dense model's MLP. */
#define OF_FFN NULL

/* The first that fits is taken. */
static const struct moe_arch archs[] = {
    {.name = "Mixtral",
     .class_name = "MixtralForCausalLM",
     .model_type = "mixtral",
     .expert = "block_sparse_moe.experts.",
     .gate = "block_sparse_moe.gate.weight",
     .parts = {"w1", "w3", "w2"},
     .count_key = "num_local_experts",
     .sources = {"llama", "mistral"},
     .settings = {{"sliding_window", "null"}}      },
    {.name = "DeepSeek MoE",
     .class_name = "DeepseekForCausalLM",
     .model_type = "deepseek",
     .expert = "mlp.experts.",
     .shared = "mlp.shared_experts.",
     .gate = "mlp.gate.weight",
     .parts = {"gate_proj", "up_proj", "down_proj"},
     .count_key = "n_routed_experts",
     .max_shared = 1,
     .sources = {"llama", "mistral"},
     .settings = {{"first_k_dense_replace", "0"},
                  {"moe_layer_freq", "1"},
                  {"scoring_func", "\"softmax\""},
                  {"norm_topk_prob", "true"},
                  {"moe_intermediate_size", OF_FFN},
                  {"auto_map",
                   "{\"AutoConfig\": \"" DEEPSEEK "configuration_deepseek.DeepseekConfig\", "
                   "\"AutoModel\": \"" DEEPSEEK "modeling_deepseek.DeepseekModel\", "
                   "\"AutoModelForCausalLM\": \"" DEEPSEEK
                   "modeling_deepseek.DeepseekForCausalLM\"}"}}},
    {.name = "Qwen MoE",
     .class_name = "Qwen2MoeForCausalLM",
     .model_type = "qwen2_moe",
     .expert = "mlp.experts.",
     .shared = "mlp.shared_expert.",
     .gate = "mlp.gate.weight",
     .shared_gate = "mlp.shared_expert_gate.weight",
     .parts = {"gate_proj", "up_proj", "down_proj"},
     .count_key = "num_experts",
     .min_shared = 1,
     .max_shared = 1,
     .attention_bias = true,
     .sources = {"llama", "mistral", "qwen2"},
     .settings = {{"decoder_sparse_step", "1"},
                  {"norm_topk_prob", "true"},
                  {"sliding_window", "null"},
                  {"use_sliding_window", "false"},
                  {"shared_expert_intermediate_size", OF_FFN},
                  {"moe_intermediate_size", OF_FFN}}},
    {.name = "Qwen3 MoE",
     .class_name = "Qwen3MoeForCausalLM",
     .model_type = "qwen3_moe",
     .expert = "mlp.experts.",
     .gate = "mlp.gate.weight",
     .parts = {"gate_proj", "up_proj", "down_proj"},
     .count_key = "num_experts",
     .sources = {"qwen3"},
     .settings = {{"decoder_sparse_step", "1"},
                  {"norm_topk_prob", "true"},
                  {"moe_intermediate_size", OF_FFN}}           },
};
#define NARCHS (sizeof archs / sizeof *archs)

/* ---- choosing -------------------------------------------------------------------------------- */

static bool starts_nocase(struct str s, struct str prefix)
{
    return s.n >= prefix.n && str_eq_nocase((struct str){s.p, prefix.n}, prefix);
}

/* Why a mixture of this kind cannot be made, or NULL. */
static const char *obstacle(const struct moe_arch *a, const struct moe_recipe *m, struct str type)
{
    bool fits = false;
    for (size_t i = 0; i < sizeof a->sources / sizeof *a->sources && a->sources[i]; i++)
        fits |= str_is(type, a->sources[i]);
    const bool prompts = m->nshared && m->shared[0].positive.count;
    if (!fits)
        return "is not built from models of this type";
    if (m->nshared > a->max_shared)
        return "has no shared expert";
    if (m->nshared < a->min_shared)
        return "needs a shared expert";
    if (a->shared_gate && m->gate == GATE_EMBEDDING && !prompts)
        return "needs positive_prompts for the shared expert";
    if (!a->shared_gate && prompts)
        return "has no router for the shared expert, which must have no prompts";
    return NULL;
}

enum quern_status moe_arch_choose(const struct moe_recipe *m, struct str model_type,
                                  const struct moe_arch **out, struct quern_error *err)
{
    char why[600] = "";
    size_t n = 0;
    for (size_t i = 0; i < NARCHS; i++) {
        const struct moe_arch *a = &archs[i];
        if (!starts_nocase(str_from(a->name), m->architecture))
            continue;
        const char *reason = obstacle(a, m, model_type);
        if (!reason) {
            *out = a;
            return QUERN_OK;
        }
        n += (size_t)snprintf(why + n, sizeof why - n, "%s%s %s", n ? "; " : "", a->name, reason);
    }
    if (n == 0)
        return fail(err, QUERN_EUSAGE, "architecture",
                    "architecture '%s'" WANT "expected Mixtral, DeepSeek, Qwen or Qwen3",
                    quoted(m->architecture).text);
    return fail(err, QUERN_EUNSUPPORTED, "architecture",
                "no mixture can be built from these models, whose type is '%s'" WANT "%s",
                quoted(model_type).text, why);
}

/* ---- config.json ----------------------------------------------------------------------------- */

/* A config being changed. */
struct editor {
    struct arena *arena;
    const struct json *root; /* as it was */
    struct str text;
    struct quern_error *err;
    enum quern_status status; /* the first failure */
};

static void set(struct editor *e, const char *key, const char *value)
{
    const struct config_edit edit = {
        .path = key, .value = str_from(value ? value : ""), .add = true};
    if (e->status == QUERN_OK)
        e->status = value ? config_apply(e->arena, e->text, &edit, 1, &e->text, e->err)
                          : fail_memory(e->err, e->text.n);
}

static void set_default(struct editor *e, const char *key, const char *value)
{
    if (!json_get(e->root, key) || json_is_null(json_get(e->root, key)))
        set(e, key, value);
}

static void set_u64(struct editor *e, const char *key, uint64_t n)
{
    set(e, key, arena_printf(e->arena, "%" PRIu64, n));
}

/* What the dense model's class takes for granted and the mixture's takes otherwise. */
static void set_defaults(struct editor *e, struct str model_type)
{
    uint64_t heads;
    if (str_is(model_type, "qwen3"))
        set_default(e, "head_dim", "128");
    if (!str_is(model_type, "llama"))
        return;
    if (!json_get(e->root, "rope_parameters"))
        set_default(e, "rope_theta", "10000.0");
    set_default(e, "rms_norm_eps", "1e-06");
    set_default(e, "max_position_embeddings", "2048");
    if (json_u64(json_get(e->root, "num_attention_heads"), &heads))
        set_default(e, "num_key_value_heads", arena_printf(e->arena, "%" PRIu64, heads));
}

static void edit(struct editor *e, const struct moe_arch *a, const struct moe_recipe *m)
{
    uint64_t ffn;
    struct str type = {NULL, 0};
    json_text(json_get(e->root, "model_type"), &type);
    if (!json_u64(json_get(e->root, "intermediate_size"), &ffn)) {
        e->status = fail(e->err, QUERN_EFORMAT, "config", "it has no intermediate_size");
        return;
    }
    set_defaults(e, type);
    set(e, "architectures", arena_printf(e->arena, "[\n    \"%s\"\n  ]", a->class_name));
    set(e, "model_type", arena_printf(e->arena, "\"%s\"", a->model_type));
    set_u64(e, a->count_key, m->nexperts);
    set_u64(e, "num_experts_per_tok", m->per_token);
    if (a->shared && !a->shared_gate)
        set(e, "n_shared_experts", m->nshared ? "1" : "null");
    for (size_t i = 0; i < sizeof a->settings / sizeof *a->settings && a->settings[i].key; i++) {
        if (a->settings[i].value == OF_FFN)
            set_u64(e, a->settings[i].key, ffn);
        else
            set(e, a->settings[i].key, a->settings[i].value);
    }
}

enum quern_status moe_config(const struct moe_arch *a, const struct moe_recipe *m,
                             struct str config, struct arena *arena, struct str *out,
                             struct quern_error *err)
{
    struct json *root;
    TRY(json_parse(config, &root, err));
    struct editor e = {.arena = arena, .root = root, .text = config, .err = err};
    edit(&e, a, m);
    json_free(root);
    *out = e.text;
    return e.status;
}
