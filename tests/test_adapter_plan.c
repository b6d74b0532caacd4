/* test_adapter_plan.c - PEFT adapters to GGUF: whole files against recorded digests, and merged
 * into their base against the base they were merged into before. */
#include <math.h>

#include "convert/adapter_plan.h"
#include "formats/gguf.h"
#include "merge/merge.h"
#include "tests/checkpoint.h"

/* ---- adapters ----------------------------------------------------------------------------------
 */

static char base_dir[512], adapter_dir[512];

static void put_json(const char *dir, const char *name, const struct json *v)
{
    struct json_writer w = {0};
    write_value(&w, v);
    put_file(dir, name, json_written(&w));
    json_writer_free(&w);
}

/* The base's config.json, which is all of it that is needed. */
static void write_base(const struct json *model)
{
    snprintf(base_dir, sizeof base_dir, "%s", scratch_folder("base"));
    put_json(base_dir, "config.json", json_get(model, "config"));
}

static void write_products(struct blob *blobs, uint32_t n, const char *config)
{
    char path[1000];
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", adapter_dir);
    write_blobs(path, blobs, n);
    for (uint32_t i = 0; i < n; i++)
        free(blobs[i].data);
    if (config)
        put_file(adapter_dir, "adapter_config.json", str_from(config));
}

static void write_adapter(const struct json *a)
{
    const struct json *rows = json_get(a, "tensors");
    const uint32_t n = (uint32_t)json_count(rows);
    struct blob *blobs = calloc(n + 1, sizeof *blobs);
    uint64_t(*dims)[8] = calloc(n + 1, sizeof *dims);
    uint32_t i = 0;
    cr_assert(blobs && dims);
    snprintf(adapter_dir, sizeof adapter_dir, "%s", scratch_folder(text_of(a, "dir")));
    for (const struct json *t = json_first(rows); t; t = json_next(t), i++)
        blobs[i] = make_blob(t, text_of(a, "seed"), dims[i]);
    write_products(blobs, n, NULL);
    put_json(adapter_dir, "adapter_config.json", json_get(a, "config"));
    for (const struct json *f = json_first(json_get(a, "files")); f; f = json_next(f)) {
        struct str text;
        cr_assert(json_text(f, &text));
        put_file(adapter_dir, json_key_of(f).p, text);
    }
    free(blobs);
    free(dims);
}

static enum quern_status convert_adapter(const char *output, const char *type,
                                         struct quern_error *err)
{
    const struct convert_request r = {
        .output = output, .type = type, .base = base_dir, .force = true};
    struct plan *p;
    enum quern_status s = adapter_plan(adapter_dir, &r, &p, err);
    if (s != QUERN_OK)
        return s;
    s = plan_run(p, NULL, NULL, err);
    plan_free(p);
    return s;
}

/* ---- as convert_lora_to_gguf.py writes them
 * ------------------------------------------------------
 */

Test(adapter_plan, writes_what_the_script_writes)
{
    struct json *root = read_models("adapters.json"), *bases = read_models("golden.json");
    for (const struct json *a = json_first(json_get(root, "adapters")); a; a = json_next(a)) {
        scratch_begin();
        write_base(model_named(bases, text_of(a, "base")));
        write_adapter(a);
        for (const struct json *d = json_first(json_get(a, "sha256")); d; d = json_next(d)) {
            struct str digest;
            char hex[65];
            struct quern_error err;
            const char *output = scratch("out.gguf");
            cr_assert(json_text(d, &digest));
            cr_assert(convert_adapter(output, json_key_of(d).p, &err) == QUERN_OK, "%s: %s",
                      text_of(a, "name"), err.text);
            cr_assert(sha256_file(output, hex, &err) == QUERN_OK, "%s", err.text);
            cr_expect(str_is(digest, hex), "%s %s: other bytes: %s", text_of(a, "name"),
                      json_key_of(d).p, hex);
        }
        scratch_end();
    }
    json_free(root);
    json_free(bases);
    CHECK_LEAKS();
}

/* ---- there and back ----------------------------------------------------------------------------
 */

static bool has_any(const char *name, const char *const *parts)
{
    for (; *parts; parts++)
        if (strstr(name, *parts))
            return true;
    return false;
}

/* Matrices that a GGUF adapter can change. */
static bool is_adapted(const char *name, uint32_t ndims)
{
    static const char *const never[] = {"norm",       "embed",     "wte",  "wpe",       "kv_b_proj",
                                        "router",     "tok_embed", "lora", "mlp.gate.", "moe.gate",
                                        "gate_logit", "pooler",    "conv", "word_emb",  "lm_head",
                                        "output.wei", "embed_out", NULL};
    return ndims == 2 && strstr(name, ".weight") && !has_any(name, never);
}

/* How the token embedding is adapted: not, as a matrix like others, or by rows for tokens. */
enum embedding { NO_EMBEDDING, LINEAR_EMBEDDING, TOKEN_EMBEDDING };
static enum embedding embedding;

/* Two factors for every such matrix of the model. conv1d: it is stored the other way round. */
static void adapt_all(const struct json *model, const char *config, uint64_t rank, bool conv1d)
{
    const struct json *rows = json_get(model, "tensors");
    const uint32_t most = 2 * (uint32_t)json_count(rows);
    struct blob *blobs = calloc(most + 1, sizeof *blobs);
    uint64_t(*dims)[8] = calloc(most + 1, sizeof *dims);
    char(*names)[200] = calloc(most + 1, sizeof *names);
    uint32_t n = 0;
    cr_assert(blobs && dims && names);
    snprintf(adapter_dir, sizeof adapter_dir, "%s", scratch_folder("adapter"));
    for (const struct json *row = json_first(rows); row; row = json_next(row)) {
        uint64_t shape[8];
        struct blob whole = make_blob(row, "shape", shape);
        free(whole.data);
        const bool tokens = embedding != NO_EMBEDDING && strstr(whole.t.name.p, "embed_tokens");
        const bool by_tokens = tokens && embedding == TOKEN_EMBEDDING;
        if (!is_adapted(whole.t.name.p, whole.t.ndims) && !tokens)
            continue;
        for (unsigned k = 0; k < 2; k++, n++) {
            const bool other = conv1d || by_tokens;
            dims[n][0] = k ? rank : shape[other];
            dims[n][1] = k ? shape[!other] : rank;
            snprintf(names[n], sizeof names[n],
                     by_tokens ? "base_model.model.%.*s.lora_embedding_%c"
                               : "base_model.model.%.*s.lora_%c.weight",
                     (int)whole.t.name.n - 7, whole.t.name.p, k ? 'A' : 'B');
            blobs[n].t = (struct st_tensor){.name = str_from(names[n]),
                                            .dims = dims[n],
                                            .ndims = 2,
                                            .dtype = DTYPE_F32,
                                            .nbytes = dims[n][0] * dims[n][1] * 4};
            blobs[n].data =
                make_weights("factors", names[n], DTYPE_F32, "normal", dims[n][0] * dims[n][1]);
        }
    }
    cr_assert(n > 0);
    write_products(blobs, n, config);
    free(blobs);
    free(dims);
    free(names);
}

static void merge_into(const char *base, const char *adapter, const char *output)
{
    const char *const loras[] = {adapter};
    struct plan *p;
    struct quern_error err;
    const struct merge_request r = {
        .flags = {.base = base, .loras = loras, .nloras = 1, .dtype = "float32"},
        .output = output,
        .force = true
    };
    cr_assert(merge_plan(&r, &p, &err) == QUERN_OK, "%s: %s", base, err.text);
    cr_assert(plan_run(p, NULL, NULL, &err) == QUERN_OK, "%s: %s", base, err.text);
    plan_free(p);
}

static float *values_of(struct model *m, const struct tensor *t)
{
    float *x = malloc(t->nbytes + 1);
    cr_assert(x && t->dtype == DTYPE_F32);
    cr_assert(model_pread(m, t->file, x, t->nbytes, t->offset, NULL) == QUERN_OK);
    return x;
}

/* Sums in another order, and one rounding more or less. */
static void check_close(const char *what, const char *left, const char *right)
{
    struct model *a, *b;
    struct quern_error err;
    cr_assert(model_open(left, &a, &err) == QUERN_OK, "%s", err.text);
    cr_assert(model_open(right, &b, &err) == QUERN_OK, "%s", err.text);
    cr_assert(a->ntensors == b->ntensors);
    for (uint32_t i = 0; i < a->ntensors; i++) {
        const struct tensor *t = &a->tensors[i], *u = model_find(b, t->name);
        cr_assert(u && u->nelems == t->nelems, "%s: %s", what, t->name.p);
        float *x = values_of(a, t), *y = values_of(b, u);
        double worst = 0, most = 0;
        for (uint64_t k = 0; k < t->nelems; k++) {
            worst = fmax(worst, fabs((double)x[k] - (double)y[k]));
            most = fmax(most, fabs((double)x[k]));
        }
        cr_expect(worst <= 1e-6 * most, "%s: %s is off by %g of %g", what, t->name.p, worst, most);
        free(x);
        free(y);
    }
    model_close(a);
    model_close(b);
}

static void check_there_and_back(const struct json *model, const char *config, bool conv1d)
{
    char hf[512], merged[512], gguf[512], adapter[512], left[512], right[512];
    struct quern_error err;
    scratch_begin();
    snprintf(hf, sizeof hf, "%s", write_checkpoint(model));
    snprintf(base_dir, sizeof base_dir, "%s", hf);
    adapt_all(model, config, 3, conv1d);
    snprintf(merged, sizeof merged, "%s", scratch("merged"));
    snprintf(gguf, sizeof gguf, "%s", scratch("base.gguf"));
    snprintf(adapter, sizeof adapter, "%s", scratch("adapter.gguf"));
    snprintf(left, sizeof left, "%s", scratch("left.gguf"));
    snprintf(right, sizeof right, "%s", scratch("right.gguf"));
    merge_into(hf, adapter_dir, merged);
    cr_assert(convert_to(merged, left, "f32", &err) == QUERN_OK, "%s", err.text);
    cr_assert(convert_to(hf, gguf, "f32", &err) == QUERN_OK, "%s", err.text);
    cr_assert(convert_adapter(adapter, "f32", &err) == QUERN_OK, "%s: %s", text_of(model, "name"),
              err.text);
    merge_into(gguf, adapter, right);
    check_close(text_of(model, "name"), left, right);
    scratch_end();
}

#define PLAIN "{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 6}"

/* Every way in which rows are laid out anew, turned around, split and stacked. */
Test(adapter_plan, merged_later_is_merged_before)
{
    static const struct {
        const char *file, *model;
    } models[] = {
        {"golden.json",        "llama-spm"      },
        {"golden.json",        "mixtral"        },
        {"golden.json",        "qwen3moe"       },
        {"golden.json",        "gemma2"         },
        {"golden.json",        "phi3"           },
        {"golden.json",        "deepseek2"      },
        {"architectures.json", "arch-gptneox"   },
        {"architectures.json", "arch-falcon"    },
        {"architectures.json", "arch-internlm2" },
        {"architectures.json", "arch-granitemoe"},
        {"architectures.json", "arch-qwen2moe"  },
    };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct json *root = read_models(models[i].file);
        check_there_and_back(model_named(root, models[i].model), PLAIN, false);
        json_free(root);
    }
    struct json *root = read_models("golden.json");
    check_there_and_back(model_named(root, "gpt2"),
                         "{\"peft_type\": \"LORA\", \"r\": 3, \"fan_in_fan_out\": true}", true);
    json_free(root);
    CHECK_LEAKS();
}

/* One alpha / rank for all: what differs is in the factors. */
Test(adapter_plan, factors_of_modules)
{
    static const char *const configs[] = {
        "{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 5, \"use_rslora\": true}",
        "{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 6, \"alpha_pattern\": {\"q_proj\": 1, "
        "\"layers.1.mlp.down_proj\": 0}}",
        "{\"peft_type\": \"LORA\", \"r\": 5, \"lora_alpha\": 4, \"rank_pattern\": {\".*_proj\": "
        "3}}",
    };
    struct json *root = read_models("golden.json");
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++)
        check_there_and_back(model_named(root, "llama-spm"), configs[i], false);
    json_free(root);
    CHECK_LEAKS();
}

Test(adapter_plan, embeddings)
{
    struct json *root = read_models("golden.json");
    for (embedding = LINEAR_EMBEDDING; embedding <= TOKEN_EMBEDDING; embedding++) {
        check_there_and_back(model_named(root, "llama-spm"), PLAIN, false);
        check_there_and_back(model_named(root, "gemma2"), PLAIN, false);
    }
    json_free(root);
    CHECK_LEAKS();
}

/* ---- what cannot be ----------------------------------------------------------------------------
 */

struct wrong {
    const char *config;
    const char *names[3]; /* of the tensors, 8 x 8 ... */
    uint64_t rank;        /* ... or where they are lora_A and lora_B, of this rank */
    enum quern_status status;
    const char *says;
};

static void write_wrong(const struct wrong *w)
{
    struct blob blobs[4];
    uint64_t dims[4][8];
    uint32_t n = 0;
    snprintf(adapter_dir, sizeof adapter_dir, "%s", scratch_folder("adapter"));
    for (; n < 3 && w->names[n]; n++) {
        const char *name = w->names[n];
        const bool a = strstr(name, "lora_A"), b = strstr(name, "lora_B");
        const uint32_t ndims = strstr(name, "bias") || strstr(name, "magnitude") ? 1 : 2;
        dims[n][0] = a ? w->rank : 64;
        dims[n][1] = b ? w->rank : 64;
        const uint64_t nelems = dims[n][0] * (ndims == 2 ? dims[n][1] : 1);
        blobs[n].t = (struct st_tensor){.name = str_from(name),
                                        .dims = dims[n],
                                        .ndims = ndims,
                                        .dtype = DTYPE_F32,
                                        .nbytes = nelems * 4};
        blobs[n].data = make_weights("wrong", name, DTYPE_F32, "normal", nelems);
    }
    write_products(blobs, n, w->config);
}

#define Q_A "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
#define Q_B "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"

Test(adapter_plan, mistakes)
{
    static const struct wrong wrongs[] = {
        {"{\"peft_type\": \"LORA\", \"r\": 2, \"use_dora\": true}",
         {Q_A, Q_B, "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector"},
         2, QUERN_EUNSUPPORTED,
         "it is DoRA"                               },
        {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_bias\": true}",
         {Q_A, Q_B, "base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias"},
         2, QUERN_EUNSUPPORTED,
         "no place for one"                         },
        {"{\"peft_type\": \"LORA\", \"r\": 2}",
         {Q_A, Q_B, "base_model.model.lm_head.modules_to_save.weight"},
         2, QUERN_EUNSUPPORTED,
         "1 tensor whole: lm_head.weight"           },
        {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 0}",
         {Q_A, Q_B},
         2, QUERN_EUNSUPPORTED,
         "lora_alpha is 0"                          },
        {"{\"peft_type\": \"LORA\", \"r\": 2}",
         {"base_model.model.model.layers.0.self_attn.z_proj.lora_A.weight",
          "base_model.model.model.layers.0.self_attn.z_proj.lora_B.weight"},
         2, QUERN_EUNSUPPORTED,
         "1 tensor is not known in LlamaForCausalLM"},
    };
    struct json *bases = read_models("golden.json");
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        struct quern_error err;
        scratch_begin();
        write_base(model_named(bases, "llama-spm"));
        write_wrong(&wrongs[i]);
        const enum quern_status s = convert_adapter(scratch("out.gguf"), NULL, &err);
        cr_expect(s == wrongs[i].status && strstr(err.text, wrongs[i].says), "%zu: %d %s", i, s,
                  err.text);
        scratch_end();
    }
    json_free(bases);
    CHECK_LEAKS();
}

/* Heads that are the embeddings cannot be changed alone. */
Test(adapter_plan, tied_heads)
{
    static const struct wrong head = {
        "{\"peft_type\": \"LORA\", \"r\": 2}",
        {"base_model.model.lm_head.lora_A.weight", "base_model.model.lm_head.lora_B.weight"},
        2,
        QUERN_EUNSUPPORTED,
        "the output head"
    };
    struct json *bases = read_models("golden.json");
    struct quern_error err;
    scratch_begin();
    write_base(model_named(bases, "gemma2"));
    write_wrong(&head);
    cr_assert(convert_adapter(scratch("out.gguf"), NULL, &err) == head.status);
    cr_assert(strstr(err.text, head.says) != NULL, "%s", err.text);
    scratch_end();
    json_free(bases);
    CHECK_LEAKS();
}

/* It is told in a key from which tokens on it works. */
Test(adapter_plan, activated)
{
    static const struct wrong w = {
        "{\"peft_type\": \"LORA\", \"r\": 2, \"alora_invocation_tokens\": [7, 300]}",
        {Q_A, Q_B},
        2,
        QUERN_OK,
        ""
    };
    static const uint8_t tokens[8] = {7, 0, 0, 0, 44, 1, 0, 0};
    struct json *bases = read_models("golden.json");
    struct model *m;
    struct quern_error err;
    scratch_begin();
    write_base(model_named(bases, "llama-spm"));
    write_wrong(&w);
    cr_assert(convert_adapter(scratch("out.gguf"), NULL, &err) == QUERN_OK, "%s", err.text);
    cr_assert(model_open(scratch("out.gguf"), &m, &err) == QUERN_OK, "%s", err.text);
    const struct meta *k = model_meta(m, "adapter.alora.invocation_tokens");
    cr_assert(k && k->type == META_ARRAY && k->item_type == META_U32 && k->count == 2);
    cr_assert(memcmp(k->value.p, tokens, sizeof tokens) == 0);
    model_close(m);
    scratch_end();
    json_free(bases);
    CHECK_LEAKS();
}

/* ---- sources -----------------------------------------------------------------------------------
 */

Test(adapter_plan, defaults)
{
    struct json *root = read_models("adapters.json"), *bases = read_models("golden.json");
    const struct json *a = json_first(json_get(root, "adapters"));
    struct model *m;
    struct plan *p;
    struct quern_error err;
    struct convert_request r = {.force = true};
    scratch_begin();
    write_base(model_named(bases, text_of(a, "base")));
    write_adapter(a);
    /* The base is in nobody's cache. */
    r.hub_cache = scratch("hub");
    cr_assert(adapter_plan(adapter_dir, &r, &p, &err) == QUERN_EIO);
    cr_assert(strstr(err.text, "hf download acme/Mill-Llama-2M-Chat-v1.1 config.json") != NULL,
              "%s", err.text);
    /* It is now. */
    scratch_folder("hub");
    scratch_folder("hub/models--acme--Mill-Llama-2M-Chat-v1.1");
    scratch_folder("hub/models--acme--Mill-Llama-2M-Chat-v1.1/snapshots");
    cr_assert(
        rename(base_dir, scratch("hub/models--acme--Mill-Llama-2M-Chat-v1.1/snapshots/main")) == 0);
    cr_assert(adapter_plan(adapter_dir, &r, &p, &err) == QUERN_OK, "%s", err.text);
    cr_assert(plan_run(p, NULL, NULL, &err) == QUERN_OK, "%s", err.text);
    const char *name = scratch("Mill-Llama-2M-lora-v2/Mill-Llama-2M-v2-F32-LoRA.gguf");
    cr_assert_str_eq(p->files[0].path, name);
    plan_free(p);
    cr_assert(model_open(name, &m, &err) == QUERN_OK, "%s", err.text);
    cr_assert(m->ntensors == json_count(json_get(a, "tensors")));
    model_close(m);
    scratch_end();
    json_free(root);
    json_free(bases);
    CHECK_LEAKS();
}
