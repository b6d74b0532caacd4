/* test_moe.c - mixtures of experts: names, bytes, routers, noise, config.json, refusals. */
#include <math.h>

#include "core/json.h"
#include "tests/merge_fixture.h"

TestSuite(moe, .init = begin, .fini = end);

enum { HIDDEN = 64, FFN = 96, VOCAB = 16, LAYERS = 2 };

static uint16_t *bf16_noise(uint64_t n)
{
    uint16_t *x = arena_alloc(&arena, n * sizeof *x);
    for (uint64_t i = 0; i < n; i++)
        x[i] = (uint16_t)(0x3c00 | (random_bits() & 0x81ff)); /* +-2^-7 and some */
    return x;
}

static void add(struct blob *blobs, size_t *n, const char *name, uint64_t rows, uint64_t cols)
{
    blobs[(*n)++] = (struct blob){
        .name = name,
        .dtype = DTYPE_BF16,
        .dims = {rows, cols},
        .bytes = bf16_noise(rows * (cols ? cols : 1))
    };
}

/* A directory with a small llama; extra is one more tensor of its first layer, or NULL. */
static void write_dense(const char *name, const char *config, const char *extra)
{
    static const struct {
        const char *name;
        uint64_t rows, cols;
    } parts[] = {
        {"input_layernorm",          HIDDEN, 0     },
        {"mlp.down_proj",            HIDDEN, FFN   },
        {"mlp.gate_proj",            FFN,    HIDDEN},
        {"mlp.up_proj",              FFN,    HIDDEN},
        {"post_attention_layernorm", HIDDEN, 0     },
        {"self_attn.k_proj",         32,     HIDDEN},
        {"self_attn.o_proj",         HIDDEN, HIDDEN},
        {"self_attn.q_proj",         HIDDEN, HIDDEN},
        {"self_attn.v_proj",         32,     HIDDEN}
    };
    struct blob blobs[64];
    size_t n = 0;
    cr_assert(mkdir(in_dir(name), 0777) == 0);
    add(blobs, &n, "model.embed_tokens.weight", VOCAB, HIDDEN);
    add(blobs, &n, "model.norm.weight", HIDDEN, 0);
    for (unsigned i = 0; i < LAYERS; i++)
        for (unsigned k = 0; k < sizeof parts / sizeof *parts; k++)
            add(blobs, &n, text("model.layers.%u.%s.weight", i, parts[k].name), parts[k].rows,
                parts[k].cols);
    if (extra)
        add(blobs, &n, extra, FFN, 0);
    write_model(text("%s/model.safetensors", name), blobs, n);
    write_text(text("%s/config.json", name), config);
}

#define CONFIG(type)                                                                     \
    "{\n \"architectures\": [\"X\"],\n \"model_type\": \"" type                          \
    "\",\n \"intermediate_size\": 96,\n \"num_attention_heads\": 2,\n \"torch_dtype\": " \
    "\"bfloat16\",\n \"note\": \"kept\"\n}\n"

static void write_trio(const char *config)
{
    write_dense("base", config, NULL);
    write_dense("one", config, NULL);
    write_dense("two", config, NULL);
}

static const char *recipe(const char *head, const char *of_one)
{
    return text("base_model: %s/base\n%s\nexperts:\n- source_model: %s/one\n  "
                "positive_prompts: [a]\n%s\n- source_model: %s/two\n  positive_prompts: [b]\n",
                dir, head, dir, of_one, dir);
}

static enum quern_status build(const char *recipe_text, const char *out, uint64_t draw_seed,
                               struct quern_error *err)
{
    const struct merge_request req = {
        .recipe_text = recipe_text, .output = in_dir(out), .seed = draw_seed, .force = true};
    return run(&req, err);
}

static void must_build(const char *recipe_text, const char *out)
{
    struct quern_error err;
    cr_assert(build(recipe_text, out, 0, &err) == QUERN_OK, "%s\n%s", recipe_text, err.text);
}

static void same_bytes(const char *out, const char *name, const char *from, const char *source)
{
    uint64_t n, m;
    enum dtype d, e;
    const void *a = load_raw(in_dir(out), name, &n, &d),
               *b = load_raw(in_dir(from), source, &m, &e);
    cr_assert(n == m && d == e && memcmp(a, b, n * 2) == 0, "%s", name);
}

static uint32_t ntensors(const char *out)
{
    struct model *m;
    struct quern_error err;
    cr_assert(model_open(in_dir(out), &m, &err) == QUERN_OK, "%s", err.text);
    const uint32_t n = m->ntensors;
    model_close(m);
    return n;
}

/* Values of config.json: "key=value" with the value as JSON writes it, blanks left out. */
static void config_says(const char *out, const char *const *lines, size_t n)
{
    const char *config = read_text(text("%s/config.json", out));
    char *dense = text("%s", config);
    size_t k = 0;
    for (const char *p = config; *p; p++)
        if (!strchr(" \n", *p))
            dense[k++] = *p;
    dense[k] = 0;
    for (size_t i = 0; i < n; i++)
        cr_assert(strstr(dense, lines[i]), "%s is not in\n%s", lines[i], dense);
}
#define CONFIG_SAYS(out, ...)                                     \
    do {                                                          \
        static const char *const lines_[] = {__VA_ARGS__};        \
        config_says(out, lines_, sizeof lines_ / sizeof *lines_); \
    } while (0)

/* ---- architectures ----------------------------------------------------------------------------
 */

Test(moe, mixtral)
{
    write_trio(CONFIG("llama"));
    must_build(recipe("gate_mode: random", ""), "out");
    same_bytes("out", "model.embed_tokens.weight", "base", "model.embed_tokens.weight");
    same_bytes("out", "model.layers.1.self_attn.k_proj.weight", "base",
               "model.layers.1.self_attn.k_proj.weight");
    same_bytes("out", "model.layers.1.block_sparse_moe.experts.0.w1.weight", "one",
               "model.layers.1.mlp.gate_proj.weight");
    same_bytes("out", "model.layers.0.block_sparse_moe.experts.1.w2.weight", "two",
               "model.layers.0.mlp.down_proj.weight");
    same_bytes("out", "model.layers.0.block_sparse_moe.experts.1.w3.weight", "two",
               "model.layers.0.mlp.up_proj.weight");
    cr_assert(ntensors("out") == 2 + LAYERS * (6 + 6 + 1));
    CONFIG_SAYS("out", "\"architectures\":[\"MixtralForCausalLM\"]", "\"model_type\":\"mixtral\"",
                "\"num_local_experts\":2", "\"num_experts_per_tok\":2", "\"sliding_window\":null",
                "\"rope_theta\":10000.0", "\"num_key_value_heads\":2", "\"note\":\"kept\"");
    cr_assert(strstr(read_text("out/mergekit_moe_config.yml"), "gate_mode: random"));
    CHECK_LEAKS();
}

#define SHARED(prompts) \
    "gate_mode: random\nshared_experts: [{source_model: %s/base, residual_scale: 0.5" prompts "}]"

Test(moe, deepseek_and_its_shared_expert)
{
    write_trio(CONFIG("llama"));
    must_build(recipe(text(SHARED("") "\narchitecture: deepseek", dir), ""), "out");
    same_bytes("out", "model.layers.1.mlp.experts.1.gate_proj.weight", "two",
               "model.layers.1.mlp.gate_proj.weight");
    same_bytes("out", "model.layers.1.mlp.shared_experts.up_proj.weight", "base",
               "model.layers.1.mlp.up_proj.weight");
    uint64_t n;
    const float *x = load(in_dir("out"), "model.layers.1.mlp.shared_experts.down_proj.weight", &n);
    const float *b = load(in_dir("base"), "model.layers.1.mlp.down_proj.weight", NULL);
    for (uint64_t i = 0; i < n; i++)
        cr_assert(x[i] == b[i] * 0.5f);
    cr_assert(ntensors("out") == 2 + LAYERS * (6 + 6 + 3 + 1));
    CONFIG_SAYS("out", "\"DeepseekForCausalLM\"", "\"n_routed_experts\":2",
                "\"n_shared_experts\":1", "\"moe_intermediate_size\":96",
                "\"first_k_dense_replace\":0");
    CHECK_LEAKS();
}

/* Qwen's attention has biases, llama's has none. */
Test(moe, qwen_from_llama)
{
    write_trio(CONFIG("llama"));
    must_build(recipe(text(SHARED(", positive_prompts: [c]"), dir), ""), "out");
    uint64_t n;
    const float *x = load(in_dir("out"), "model.layers.0.self_attn.k_proj.bias", &n);
    cr_assert(n == 32);
    for (uint64_t i = 0; i < n; i++)
        cr_assert(x[i] == 0);
    load(in_dir("out"), "model.layers.0.mlp.shared_expert_gate.weight", &n);
    cr_assert(n == HIDDEN);
    same_bytes("out", "model.layers.1.mlp.shared_expert.up_proj.weight", "base",
               "model.layers.1.mlp.up_proj.weight");
    cr_assert(ntensors("out") == 2 + LAYERS * (6 + 3 + 6 + 3 + 2));
    CONFIG_SAYS("out", "\"qwen2_moe\"", "\"num_experts\":2",
                "\"shared_expert_intermediate_size\":96", "\"norm_topk_prob\":true");
    CHECK_LEAKS();
}

Test(moe, qwen3)
{
    write_trio(CONFIG("qwen3"));
    must_build(recipe("gate_mode: random\nexperts_per_token: 1", ""), "out");
    same_bytes("out", "model.layers.1.mlp.experts.0.down_proj.weight", "one",
               "model.layers.1.mlp.down_proj.weight");
    CONFIG_SAYS("out", "\"Qwen3MoeForCausalLM\"", "\"num_experts_per_tok\":1", "\"head_dim\":128");
    CHECK_LEAKS();
}

/* ---- values ------------------------------------------------------------------------------------
 */

#define GATE0 "model.layers.0.block_sparse_moe.gate.weight"

Test(moe, random_routers)
{
    struct quern_error err;
    uint64_t n;
    write_trio(CONFIG("llama"));
    must_build(recipe("gate_mode: random\ndtype: float32", ""), "a");
    must_build(recipe("gate_mode: random\ndtype: float32", ""), "b");
    const float *a = load(in_dir("a"), GATE0, &n), *b = load(in_dir("b"), GATE0, NULL);
    cr_assert(n == 2 * HIDDEN && memcmp(a, b, n * sizeof *a) == 0);
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < n; i++) {
        sum += (double)a[i];
        squares += (double)a[i] * (double)a[i];
    }
    cr_assert(fabs(sum / (double)n) < 0.45 && fabs(squares / (double)n - 1) < 0.63);
    const float *other = load(in_dir("a"), "model.layers.1.block_sparse_moe.gate.weight", NULL);
    cr_assert(memcmp(a, other, n * sizeof *a) != 0);
    cr_assert(build(recipe("gate_mode: random\ndtype: float32", ""), "b", 1, &err) == QUERN_OK);
    cr_assert(memcmp(a, load(in_dir("b"), GATE0, NULL), n * sizeof *a) != 0);
    CHECK_LEAKS();
}

Test(moe, uniform_routers)
{
    uint64_t n;
    write_trio(CONFIG("mistral"));
    must_build(recipe("gate_mode: uniform_random\ndtype: float32", ""), "out");
    const float *x = load(in_dir("out"), GATE0, &n);
    float most = 0;
    for (uint64_t i = 0; i < n; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    cr_assert(most <= 0.125f && most > 0.11f, "%g", (double)most);
    CHECK_LEAKS();
}

/* Rows of the router that mergekit-moe 0.1.4 makes of the same recipe. */
Test(moe, routers_from_prompts)
{
    static const uint16_t first[6] = {0xbdb3, 0x3e1c, 0x3d71, 0x3d6a, 0xbdc7, 0xbcf0},
                          second[6] = {0x3d46, 0xbd26, 0x3c09, 0xbc30, 0x3e06, 0x3d38};
    must_build("base_model: tests/data/pocket/pocket-base.qpk\ngate_mode: cheap_embed\nexperts:\n"
               "- source_model: tests/data/pocket/pocket-prose.qpk\n"
               "  positive_prompts: [\"Once upon a time\", \"the history of\"]\n"
               "- source_model: tests/data/pocket/pocket-code.qpk\n"
               "  positive_prompts: [\"int main(void)\", \"static struct\"]\n"
               "  negative_prompts: [\"poem \u00e9\", \"  two   spaces\\n\\nhere 123\"]\n",
               "out");
    uint64_t n;
    enum dtype d;
    const uint16_t *x =
        load_raw(in_dir("out"), "model.layers.1.block_sparse_moe.gate.weight", &n, &d);
    cr_assert(n == 512 && d == DTYPE_BF16);
    cr_assert(memcmp(x, first, sizeof first) == 0 && memcmp(x + 256, second, sizeof second) == 0);
    same_bytes("out", GATE0, "out", "model.layers.1.block_sparse_moe.gate.weight");
    CHECK_LEAKS();
}

Test(moe, noise)
{
    uint64_t n;
    write_trio(CONFIG("llama"));
    must_build(recipe("gate_mode: random\ndtype: float32", "  noise_scale: 0.5"), "out");
    const float *x = load(in_dir("out"), "model.layers.0.block_sparse_moe.experts.0.w1.weight", &n);
    const float *b = load(in_dir("one"), "model.layers.0.mlp.gate_proj.weight", NULL);
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < n; i++) {
        const double z = ((double)x[i] - (double)b[i]) / 0.5;
        sum += z;
        squares += z * z;
    }
    /* Five standard errors of 6144 numbers. */
    cr_assert(fabs(sum / (double)n) < 0.064 && fabs(squares / (double)n - 1) < 0.091, "%g %g",
              sum / (double)n, squares / (double)n);
    const float *y =
        load(in_dir("out"), "model.layers.0.block_sparse_moe.experts.1.w1.weight", NULL);
    cr_assert(memcmp(y, load(in_dir("two"), "model.layers.0.mlp.gate_proj.weight", NULL),
                     n * sizeof *y) == 0);
    CHECK_LEAKS();
}

/* down_proj of layer 0 gets 2 * B A of rank one: 2 * 0.5 * 0.25 everywhere. */
Test(moe, experts_with_adapters)
{
    float a[FFN], b[HIDDEN];
    for (unsigned i = 0; i < FFN; i++)
        a[i] = 0.25f;
    for (unsigned i = 0; i < HIDDEN; i++)
        b[i] = 0.5f;
    const struct blob blobs[] = {
        {.name = "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight",
         .dtype = DTYPE_F32,
         .dims = {1, FFN},
         .bytes = a},
        {.name = "base_model.model.model.layers.0.mlp.down_proj.lora_B.weight",
         .dtype = DTYPE_F32,
         .dims = {HIDDEN, 1},
         .bytes = b}
    };
    write_trio(CONFIG("llama"));
    cr_assert(mkdir(in_dir("lora"), 0777) == 0);
    write_model("lora/adapter_model.safetensors", blobs, 2);
    write_text("lora/adapter_config.json", "{\"peft_type\": \"LORA\", \"r\": 1, \"lora_alpha\": 2, "
                                           "\"target_modules\": [\"down_proj\"]}");
    must_build(text("base_model: %s/base\ngate_mode: random\ndtype: float32\nexperts:\n"
                    "- source_model: %s/one+%s/lora\n- source_model: %s/two\n",
                    dir, dir, dir, dir),
               "out");
    uint64_t n;
    const float *x = load(in_dir("out"), "model.layers.0.block_sparse_moe.experts.0.w2.weight", &n);
    const float *w = load(in_dir("one"), "model.layers.0.mlp.down_proj.weight", NULL);
    for (uint64_t i = 0; i < n; i++)
        cr_assert(fabsf(x[i] - (w[i] + 0.25f)) < 1e-6f);
    CHECK_LEAKS();
}

/* ---- refusals ----------------------------------------------------------------------------------
 */

static void must_refuse(const char *recipe_text, enum quern_status status, const char *why)
{
    struct quern_error err;
    const enum quern_status got = build(recipe_text, "out", 0, &err);
    cr_assert(got == status && strstr(err.text, why), "%s\n%d %s", recipe_text, got,
              got ? err.text : "");
    cr_assert(access(in_dir("out"), F_OK) != 0);
}

Test(moe, recipes_with_mistakes)
{
    const char *one = text("experts: [{source_model: %s/one}]\n", dir);
    must_refuse(recipe("gate_mode: hidden", ""), QUERN_EUNSUPPORTED, "needs to run the model");
    must_refuse(recipe("", ""), QUERN_EUNSUPPORTED, "no gate_mode");
    must_refuse(recipe("gate_mode: rnd", ""), QUERN_EUSAGE, "gate_mode 'rnd'");
    must_refuse(text("gate_mode: random\n%s", one), QUERN_EUSAGE, "no base_model");
    must_refuse(text("base_model: x\ngate_mode: random\n%s", one), QUERN_EUSAGE,
                "experts_per_token is 2 and there is 1 expert");
    must_refuse(text("base_model: x\ngate_mode: cheap_embed\nexperts_per_token: 1\n%s", one),
                QUERN_EUSAGE, "no positive_prompts");
    must_refuse("base_model: x\ngate_mode: random\nexperts: []\n", QUERN_EUSAGE, "empty");
    must_refuse(recipe("gate_mode: random\nexperts_per_token: 1.5", ""), QUERN_EUSAGE,
                "whole number");
    must_refuse(recipe("gate_mode: random\nexpert_per_token: 1", ""), QUERN_EUSAGE,
                "did you mean 'experts_per_token'");
    must_refuse(recipe("gate_mode: random", "  noise: 1"), QUERN_EUSAGE, "unknown key 'noise'");
    must_refuse(recipe("gate_mode: random", "  noise_scale: big"), QUERN_EUSAGE, "noise_scale");
    must_refuse("base_model: x\ngate_mode: cheap_embed\nexperts: [{source_model: a, "
                "positive_prompts: [p]}, {source_model: b, positive_prompts: [p]}]\n",
                QUERN_EUSAGE, "same prompts");
    CHECK_LEAKS();
}

Test(moe, prompts_without_tokens)
{
    write_trio(CONFIG("llama"));
    write_text("base/tokenizer.json", "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, "
                                      "\"c\": 1}, \"merges\": []}}");
    must_refuse(recipe("gate_mode: cheap_embed", ""), QUERN_EUSAGE, "no part of the prompt 'b'");
    CHECK_LEAKS();
}

Test(moe, models_that_do_not_fit)
{
    write_trio(CONFIG("llama"));
    const char *plain = recipe("gate_mode: random", "");
    must_refuse(recipe("gate_mode: random\narchitecture: gpt", ""), QUERN_EUSAGE, "'gpt'");
    must_refuse(recipe("gate_mode: random\narchitecture: qwen3", ""), QUERN_EUNSUPPORTED,
                "Qwen3 MoE is not built from models of this type");
    must_refuse(recipe(text(SHARED("") "\narchitecture: mixtral", dir), ""), QUERN_EUNSUPPORTED,
                "Mixtral has no shared expert");
    struct quern_error err;
    const struct merge_request to_gguf = {.recipe_text = plain, .output = in_dir("out.gguf")};
    cr_assert(run(&to_gguf, &err) == QUERN_EUNSUPPORTED && strstr(err.text, "no tokenizer"));
    write_dense("more", CONFIG("llama"), "model.layers.7.mlp.gate_proj.weight");
    must_refuse(text("base_model: %s/base\ngate_mode: random\nexperts: [{source_model: %s/one}, "
                     "{source_model: %s/more}]\n",
                     dir, dir, dir),
                QUERN_EUSAGE, "model.layers.7.mlp.gate_proj.weight': the base");
    write_text("two/config.json", CONFIG("mistral"));
    must_refuse(plain, QUERN_EUSAGE, "its model_type is 'mistral'");
    write_text("two/config.json", "{}");
    must_refuse(plain, QUERN_EFORMAT, "no model_type");
    write_text("two/config.json",
               "{\"model_type\": \"llama\", \"quantization_config\": {\"quant_method\": \"hqq\"}}");
    must_refuse(plain, QUERN_EUNSUPPORTED, "quantized already (quant_method 'hqq')");
    write_text("two/config.json", CONFIG("llama"));
    cr_assert(truncate(in_dir("two/model.safetensors"), 0) == 0);
    must_refuse(plain, QUERN_EFORMAT, "model.safetensors");
    CHECK_LEAKS();
}

Test(moe, tensors_without_a_place)
{
    write_dense("base", CONFIG("llama"), "model.layers.0.mlp.gate_proj.bias");
    write_dense("one", CONFIG("llama"), NULL);
    write_dense("two", CONFIG("llama"), NULL);
    must_refuse(recipe("gate_mode: random", ""), QUERN_EUNSUPPORTED, "Mixtral has no place");
    const struct blob other = {
        .name = "model.layers.0.mlp.gate_proj.weight",
        .dtype = DTYPE_BF16,
        .dims = {FFN, 32},
        .bytes = bf16_noise(FFN * 32)
    };
    cr_assert(rename(in_dir("base/model.safetensors"), in_dir("with-bias")) == 0);
    cr_assert(rename(in_dir("two/model.safetensors"), in_dir("base/model.safetensors")) == 0);
    write_model("two/model.safetensors", &other, 1);
    must_refuse(recipe("gate_mode: random", ""), QUERN_EUSAGE, "missing");
    CHECK_LEAKS();
}
