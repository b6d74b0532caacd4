/* test_hf_config.c - config.json as loaders see it: what is left out, and parts for text. */
#include <criterion/criterion.h>

#include "convert/hf_config.h"
#include "tests/leaks.h"

/* Opens a config.json of this text. */
static void open_text(const char *text, struct hf_config *c)
{
    struct side_file side = {.name = "config.json", .text = str_from(text)};
    const struct folder folder = {.path = "m", .made = true, .sides = &side, .nsides = 1};
    struct quern_error err;
    cr_assert(hf_config_open(&folder, c, &err) == QUERN_OK, "%s", err.text);
}

Test(hf_config, what_is_left_out)
{
    static const struct {
        const char *text, *key;
        double want; /* below 0: nothing, or null */
    } cases[] = {
        {"{\"model_type\":\"llama\"}",                                                          "num_hidden_layers",   32},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":2}",                                  "num_hidden_layers",   2 },
        {"{\"model_type\":\"llama\",\"num_attention_heads\":4}",                                "num_key_value_heads", 4 },
        {"{\"model_type\":\"llama\",\"num_attention_heads\":4,\"hidden_size\":96}",             "head_dim",            24},
        {"{\"model_type\":\"mistral\",\"num_attention_heads\":4}",                              "num_key_value_heads", 8 },
        {"{\"model_type\":\"mistral\",\"num_attention_heads\":4,\"num_key_value_heads\":null}",
         "num_key_value_heads",                                                                                        4 },
        {"{\"model_type\":\"qwen2_moe\",\"num_key_value_heads\":null}",                         "num_key_value_heads", -1},
        {"{\"model_type\":\"cohere2\",\"num_attention_heads\":4,\"hidden_size\":64}",           "head_dim",
         16                                                                                                              },
        {"{\"model_type\":\"cohere2\",\"head_dim\":null}",                                      "head_dim",            -1},
        {"{\"model_type\":\"unheard-of\",\"num_attention_heads\":4}",                           "num_key_value_heads", -1},
        {"{\"num_attention_heads\":0,\"model_type\":\"llama\"}",                                "head_dim",            -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hf_config c;
        double n = -1;
        open_text(cases[i].text, &c);
        hf_f64(&c, cases[i].key, &n);
        cr_expect(n == cases[i].want, "%s: %s is %g", cases[i].text, cases[i].key, n);
        hf_config_close(&c);
    }
    CHECK_LEAKS();
}

Test(hf_config, a_default_may_be_an_object)
{
    struct hf_config c;
    struct str type;
    open_text("{\"model_type\":\"gpt_oss\"}", &c);
    cr_expect(json_text(json_get(c.rope, "rope_type"), &type) && str_is(type, "yarn"));
    hf_config_close(&c);
    open_text("{\"model_type\":\"gpt_oss\",\"rope_scaling\":null}", &c);
    cr_expect_null(c.rope);
    hf_config_close(&c);
    CHECK_LEAKS();
}

/* What the text part leaves out is its class's, not the root's; without such a class the root's. */
Test(hf_config, parts_for_text)
{
    static const struct {
        const char *text;
        double layers;
    } cases[] = {
        {"{\"model_type\":\"gemma3\",\"num_hidden_layers\":1,\"text_config\":{}}",    26},
        {"{\"model_type\":\"gemma3\",\"text_config\":{\"num_hidden_layers\":3}}",     3 },
        {"{\"model_type\":\"llava\",\"text_config\":{\"model_type\":\"qwen2_moe\"}}", 24},
        {"{\"model_type\":\"own\",\"num_hidden_layers\":1,\"text_config\":{\"model_type\":"
         "\"llama\"}}",                                                      1 },
        {"{\"num_hidden_layers\":1,\"llm_config\":{\"num_hidden_layers\":5}}",        5 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hf_config c;
        double n = -1;
        open_text(cases[i].text, &c);
        hf_f64(&c, "num_hidden_layers", &n);
        cr_expect(n == cases[i].layers, "%s: %g layers", cases[i].text, n);
        hf_config_close(&c);
    }
    CHECK_LEAKS();
}
