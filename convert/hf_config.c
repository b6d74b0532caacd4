/* hf_config.c - read config.json and fill in what configuration classes would. */
#include "hf_config.h"

#include <stdio.h>
#include <stdlib.h>

/* What the configuration classes of transformers 4.57 fill in for a key that is not there, as far
 * as it reaches a GGUF. */
static const struct class_defaults {
    const char *model_type;
    const char *json;
} class_defaults[] = {
    {"llama",       "{\"vocab_size\":32000,\"hidden_size\":4096,\"intermediate_size\":11008,"
              "\"num_hidden_layers\":32,\"num_attention_heads\":32,\"num_key_value_heads\":null,"
              "\"max_position_embeddings\":2048,\"rms_norm_eps\":1e-06,\"rope_theta\":10000.0,"
              "\"head_dim\":null}"                                                             },
    {"mistral",     "{\"vocab_size\":32000,\"hidden_size\":4096,\"intermediate_size\":14336,"
                "\"num_hidden_layers\":32,\"num_attention_heads\":32,\"num_key_value_heads\":8,"
                "\"max_position_embeddings\":131072,\"rms_norm_eps\":1e-06,\"rope_theta\":10000.0,"
                "\"head_dim\":null,\"sliding_window\":4096}"                                 },
    {"mixtral",
     "{\"num_key_value_heads\":8,\"max_position_embeddings\":131072,\"rms_norm_eps\":1e-05,"
     "\"rope_theta\":1000000.0,\"num_experts_per_tok\":2,\"num_local_experts\":8,"
     "\"sliding_window\":null}"                                                                             },
    {"qwen2",
     "{\"num_key_value_heads\":32,\"max_position_embeddings\":32768,\"rms_norm_eps\":1e-06,"
     "\"rope_theta\":10000.0}"                                                                              },
    {"qwen2_moe",
     "{\"num_key_value_heads\":16,\"max_position_embeddings\":32768,\"rms_norm_eps\":1e-06,"
     "\"rope_theta\":10000.0,\"moe_intermediate_size\":1408,"
     "\"shared_expert_intermediate_size\":5632,\"num_experts_per_tok\":4,\"num_experts\":60}"               },
    {"qwen3",       "{\"num_key_value_heads\":32,\"head_dim\":128,\"max_position_embeddings\":32768,"
              "\"rms_norm_eps\":1e-06,\"rope_theta\":10000.0}"                                 },
    {"qwen3_moe",
     "{\"num_key_value_heads\":4,\"max_position_embeddings\":32768,\"rms_norm_eps\":1e-06,"
     "\"rope_theta\":10000.0,\"moe_intermediate_size\":768,\"num_experts_per_tok\":8,"
     "\"num_experts\":128}"                                                                                 },
    {"gemma",       "{\"num_attention_heads\":16,\"num_key_value_heads\":16,\"head_dim\":256,"
              "\"max_position_embeddings\":8192,\"rms_norm_eps\":1e-06,\"rope_theta\":10000.0}"},
    {"gemma2",      "{\"num_attention_heads\":8,\"num_key_value_heads\":4,\"head_dim\":256,"
               "\"max_position_embeddings\":8192,\"rms_norm_eps\":1e-06,\"rope_theta\":10000.0,"
               "\"sliding_window\":4096,\"final_logit_softcapping\":30.0,"
               "\"attn_logit_softcapping\":50.0}"                                             },
    {"gemma3_text",
     "{\"num_attention_heads\":8,\"num_key_value_heads\":4,\"head_dim\":256,"
     "\"max_position_embeddings\":131072,\"rms_norm_eps\":1e-06,\"rope_theta\":1000000.0,"
     "\"rope_local_base_freq\":10000.0,\"sliding_window\":4096,"
     "\"final_logit_softcapping\":null,\"attn_logit_softcapping\":null}"                                    },
    {"deepseek_v2", "{\"head_dim\":null,\"num_key_value_heads\":null}"                                      },
    {"deepseek_v3", "{\"head_dim\":null,\"num_key_value_heads\":null}"                                      },
    {"phi3",
     "{\"num_key_value_heads\":null,\"max_position_embeddings\":4096,"
     "\"original_max_position_embeddings\":4096,\"rms_norm_eps\":1e-05,\"rope_theta\":10000.0,"
     "\"sliding_window\":null}"                                                                             },
    {"phi",
     "{\"num_key_value_heads\":null,\"max_position_embeddings\":2048,\"layer_norm_eps\":1e-05,"
     "\"rope_theta\":10000.0,\"partial_rotary_factor\":0.5}"                                                },
    {"starcoder2",
     "{\"num_key_value_heads\":2,\"max_position_embeddings\":4096,\"norm_epsilon\":1e-05,"
     "\"rope_theta\":10000.0}"                                                                              },
    {"stablelm",
     "{\"num_key_value_heads\":32,\"max_position_embeddings\":4096,\"layer_norm_eps\":1e-05,"
     "\"rope_theta\":10000,\"partial_rotary_factor\":0.25,\"use_parallel_residual\":false}"                 },
    {"cohere",
     "{\"num_key_value_heads\":null,\"max_position_embeddings\":8192,\"layer_norm_eps\":1e-05,"
     "\"rope_theta\":10000.0,\"logit_scale\":0.0625}"                                                       },
    {"olmo2",
     "{\"num_key_value_heads\":null,\"max_position_embeddings\":2048,\"rms_norm_eps\":1e-05,"
     "\"rope_theta\":10000.0}"                                                                              },
    {"smollm3",
     "{\"num_key_value_heads\":4,\"max_position_embeddings\":32768,\"rms_norm_eps\":1e-06,"
     "\"rope_theta\":2000000.0}"                                                                            },
    {"granite",
     "{\"num_key_value_heads\":null,\"max_position_embeddings\":2048,\"rms_norm_eps\":1e-06,"
     "\"rope_theta\":10000.0}"                                                                              },
};

static enum quern_status parse(struct str text, struct json **out, struct quern_error *err)
{
    TRY(json_parse(text, out, err));
    if (json_is_object(*out))
        return QUERN_OK;
    json_free(*out);
    *out = NULL;
    return fail(err, QUERN_EFORMAT, "json", "it is no JSON object");
}

enum quern_status hf_json_file(const struct hf_config *c, const char *name, struct json **out,
                               struct quern_error *err)
{
    struct arena scratch = {0};
    struct folder_file file;
    struct str text = {0};
    bool found = false;
    *out = NULL;
    enum quern_status s = folder_find(c->folder, name, &scratch, &found, &file, err);
    if (s == QUERN_OK && found)
        s = folder_read(&file, JSON_MAX_BYTES, &scratch, &text, err);
    if (s == QUERN_OK && found)
        s = in_file(err, file.path, json_parse(text, out, err));
    arena_free(&scratch);
    return s;
}

/* The text model's configuration goes by several names in models of several parts. */
static const struct json *text_part(const struct json *root)
{
    static const char *const names[] = {"text_config", "llm_config", "lm_config", "language_config",
                                        "lfm"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct json *part = json_get(root, names[i]);
        if (json_is_object(part))
            return part;
    }
    const struct json *part = json_get(json_get(root, "thinker_config"), "text_config");
    return json_is_object(part) ? part : root;
}

static enum quern_status fill_defaults(struct hf_config *c, struct quern_error *err)
{
    for (size_t i = 0; i < sizeof class_defaults / sizeof *class_defaults; i++)
        if (str_is(c->model_type, class_defaults[i].model_type))
            return parse(str_from(class_defaults[i].json), &c->defaults, err);
    return QUERN_OK;
}

/* The classes that know these keys replace a null by what follows from the others. */
static enum quern_status compute(struct hf_config *c, struct quern_error *err)
{
    uint64_t nheads = 0, hidden = 0;
    char text[128];
    size_t n = 0;
    if (!c->defaults || !hf_u64(c, "num_attention_heads", &nheads) || nheads == 0)
        return QUERN_OK;
    const struct json *kv = hf_get(c, "num_key_value_heads"), *dim = hf_get(c, "head_dim");
    n += (size_t)snprintf(text + n, sizeof text - n, "{");
    if (kv && json_is_null(kv))
        n += (size_t)snprintf(text + n, sizeof text - n, "\"num_key_value_heads\":%llu",
                              (unsigned long long)nheads);
    if (dim && json_is_null(dim) && hf_u64(c, "hidden_size", &hidden))
        n += (size_t)snprintf(text + n, sizeof text - n, "%s\"head_dim\":%llu", n > 1 ? "," : "",
                              (unsigned long long)(hidden / nheads));
    n += (size_t)snprintf(text + n, sizeof text - n, "}");
    return parse((struct str){text, n}, &c->computed, err);
}

static void take_architecture(struct hf_config *c)
{
    const struct json *first = json_first(json_get(c->text, "architectures"));
    if (!json_text(first, &c->architecture)) {
        first = json_first(json_get(c->root, "architectures"));
        json_text(first, &c->architecture);
    }
    if (!json_text(json_get(c->text, "model_type"), &c->model_type))
        json_text(json_get(c->root, "model_type"), &c->model_type);
}

static enum quern_status read_config(struct hf_config *c, struct quern_error *err)
{
    struct folder_file file;
    struct str text;
    bool found;
    TRY(folder_find(c->folder, "config.json", &c->arena, &found, &file, err));
    c->path = file.path;
    if (!found)
        return fail(err, QUERN_EUNSUPPORTED, "no-config",
                    "there is no config.json beside the weights" WANT
                    "expected a Hugging Face directory with one");
    TRY(folder_read(&file, JSON_MAX_BYTES, &c->arena, &text, err));
    TRY(parse(text, &c->file, err));
    c->root = c->file;
    c->text = text_part(c->root);
    take_architecture(c);
    TRY(fill_defaults(c, err));
    TRY(compute(c, err));
    c->rope = hf_get(c, "rope_parameters");
    if (!json_is_object(c->rope))
        c->rope = hf_get(c, "rope_scaling");
    if (!json_is_object(c->rope))
        c->rope = NULL;
    return QUERN_OK;
}

enum quern_status hf_config_open(const struct folder *f, struct hf_config *c,
                                 struct quern_error *err)
{
    *c = (struct hf_config){.folder = f};
    const enum quern_status s = read_config(c, err);
    return c->path ? in_file(err, c->path, s) : s;
}

void hf_config_close(struct hf_config *c)
{
    json_free(c->file);
    json_free(c->defaults);
    json_free(c->computed);
    arena_free(&c->arena);
    *c = (struct hf_config){0};
}

const struct json *hf_get(const struct hf_config *c, const char *key)
{
    const struct json *v = json_get(c->computed, key);
    if (!v)
        v = json_get(c->text, key);
    if (!v)
        v = json_get(c->root, key);
    return v ? v : json_get(c->defaults, key);
}

bool hf_u64(const struct hf_config *c, const char *key, uint64_t *out)
{
    return json_u64(hf_get(c, key), out);
}

bool hf_f64(const struct hf_config *c, const char *key, double *out)
{
    return json_f64(hf_get(c, key), out);
}

bool hf_bool(const struct hf_config *c, const char *key, bool *out)
{
    return json_bool(hf_get(c, key), out);
}

bool hf_text(const struct hf_config *c, const char *key, struct str *out)
{
    return json_text(hf_get(c, key), out);
}
