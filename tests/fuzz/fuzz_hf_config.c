/* fuzz_hf_config.c - any text as a config.json, and what a loader would see in it. */
#include "convert/hf_config.h"
#include "fuzz.h"

static const char *const keys[] = {
    "num_hidden_layers",  "hidden_size",   "rope_theta",  "head_dim",     "vocab_size",
    "eos_token_id",       "architectures", "layer_types", "rope_scaling", "",
    "tie_word_embeddings"};

static void run(char *text, size_t n)
{
    const struct side_file sides[] = {
        {.name = "config.json", .text = {text, n}}
    };
    const struct folder f = {.path = "model", .made = true, .sides = sides, .nsides = 1};
    struct hf_config c;
    struct quern_error err;
    if (!fuzz_failed(hf_config_open(&f, &c, &err), &err)) {
        FUZZ_CHECK(json_is_object(c.root) && json_is_object(c.text));
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
            uint64_t u;
            double x;
            bool b;
            struct str s;
            const struct json *v = hf_get(&c, keys[i]);
            const bool is_u64 = hf_u64(&c, keys[i], &u), is_f64 = hf_f64(&c, keys[i], &x);
            const int kinds = is_f64 + hf_bool(&c, keys[i], &b) + hf_text(&c, keys[i], &s);
            FUZZ_CHECK(kinds <= (v != NULL) && (!is_u64 || is_f64));
        }
    }
    hf_config_close(&c);
}

static const char *const words[] = {"\"model_type\":\"llama\"",
                                    "\"model_type\":\"qwen2\"",
                                    "\"model_type\":\"gemma3\"",
                                    "\"model_type\":\"deepseek_v3\"",
                                    "\"model_type\":\"t5\"",
                                    "\"model_type\":\"gpt_oss\"",
                                    "\"architectures\":[\"LlamaForCausalLM\"]",
                                    "\"text_config\":{\"model_type\":\"gemma3_text\"}",
                                    "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4}",
                                    "\"rope_parameters\":{\"rope_theta\":1e6}",
                                    "\"num_hidden_layers\":2",
                                    "\"head_dim\":4",
                                    "\"layer_types\":[\"full_attention\"]",
                                    "\"sliding_window_pattern\":6",
                                    "\"llm_config\":{}",
                                    "\"thinker_config\":{}",
                                    NULL};

const struct fuzz_target fuzz_hf_config = {
    .name = "hf_config",
    .max_len = 1024,
    .run = run,
    .mutate = mutate_json,
    .bytes_per_byte = 64,
    .bytes_besides = 65536,
    .words = words,
    .memory_may_fail = true,
};
