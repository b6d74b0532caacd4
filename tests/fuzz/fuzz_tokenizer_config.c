/* fuzz_tokenizer_config.c - any text as a tokenizer_config.json, and the special ids it gives. */
#include "convert/post_processor.h"
#include "convert/special_ids.h"
#include "fuzz.h"

static char tokenizer_text[] =
    "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"<s>\":0,\"</s>\":1,\"<unk>\":2,\"a\":3,\"b\":4},"
    "\"merges\":[]},\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true},"
    "{\"id\":1,\"content\":\"</s>\",\"special\":true}],\"post_processor\":{\"type\":"
    "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]}}";
static const char config[] =
    "{\"model_type\":\"llama\",\"bos_token_id\":0,\"eos_token_id\":[1,2],\"vocab_size\":5}";

static void find_ids(struct tokenizer_config *tc, const struct folder *f, const struct tokenizer *t)
{
    struct quern_error err;
    struct hf_config c;
    struct special_ids ids;
    struct special_names names;
    FUZZ_CHECK(hf_config_open(f, &c, &err) == QUERN_OK);
    if (!fuzz_failed(special_ids_find(&ids, &c, tc, t, 5, &err), &err)) {
        struct arena a = {0};
        struct meta_list metas = {.arena = &a};
        for (uint32_t i = 0; i < ids.nids; i++)
            FUZZ_CHECK(ids.ids[i].id < 5 && ids.ids[i].which < SPECIAL_COUNT);
        FUZZ_CHECK(special_ids_put(&ids, &metas));
        arena_free(&a);
    }
    special_ids_close(&ids);
    fuzz_failed(special_names_read(&names, tc, t, &err), &err);
    arena_free(&names.arena);
    hf_config_close(&c);
}

static void run(char *text, size_t n)
{
    const struct side_file sides[] = {
        {.name = "config.json", .text = {config, sizeof config - 1}}
    };
    const struct folder f = {.path = "model", .made = true, .sides = sides, .nsides = 1};
    struct tokenizer_config tc;
    struct quern_error err;
    const struct str s = {text, n};
    if (!fuzz_failed(tokenizer_config_parse(s, "tokenizer_config.json", &tc, &err), &err)) {
        struct tokenizer t;
        char copy[sizeof tokenizer_text];
        memcpy(copy, tokenizer_text, sizeof copy);
        FUZZ_CHECK(tokenizer_parse((struct str){copy, sizeof copy - 1}, "tokenizer.json", false, &t,
                                   &err) == QUERN_OK);
        find_ids(&tc, &f, &t);
        find_ids(&tc, &f, NULL);
        tokenizer_close(&t);
    }
    tokenizer_config_close(&tc);
}

static const char *const words[] = {
    "\"bos_token\":\"<s>\"",
    "\"eos_token\":{\"content\":\"</s>\"}",
    "\"unk_token\":null",
    "\"add_bos_token\":true",
    "\"add_eos_token\":false",
    "\"add_prefix_space\":true",
    "\"added_tokens_decoder\":{\"3\":{\"content\":\"a\",\"special\":true}}",
    "\"additional_special_tokens\":[\"a\",{\"content\":\"b\"}]",
    "\"chat_template\":\"{{x}}\"",
    "\"chat_template\":[{\"name\":\"default\",\"template\":\"{{x}}\"}]",
    "\"tokenizer_class\":\"LlamaTokenizer\"",
    "\"pad_token\":\"<pad>\"",
    "\"sep_token\"",
    "\"cls_token\"",
    "\"mask_token\"",
    "\"extra_special_tokens\":{\"x\":\"<x>\"}",
    "\"clean_up_tokenization_spaces\":false",
    "\"do_lower_case\":true",
    NULL};

const struct fuzz_target fuzz_tokenizer_config = {
    .name = "tokenizer_config",
    .max_len = 1024,
    .run = run,
    .mutate = mutate_json,
    .bytes_per_byte = 64,
    .bytes_besides = 98304,
    .words = words,
    .memory_may_fail = true,
};
