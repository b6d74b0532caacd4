/* fuzz_tokenizer.c - any text as a tokenizer.json, and what is then asked of it. */
#include "convert/check_ids.h"
#include "convert/post_processor.h"
#include "convert/token_decoder.h"
#include "formats/prompt.h"
#include "formats/tokenizer.h"
#include "fuzz.h"

static const struct str prompt = {"Hello, <s> w\xC3\xB6rld 123\n", 22};

static void check_tokens(const struct tokenizer *t)
{
    for (uint32_t i = 0; i < t->ntokens; i++) {
        const struct token *k = &t->tokens[i];
        FUZZ_CHECK(k->id < t->end_id && (i == 0 || t->tokens[i - 1].id < k->id));
        FUZZ_CHECK(token_by_text(t, k->text) == k && token_by_id(t, k->id) == k);
        FUZZ_CHECK(k->text.p[k->text.n] == '\0' && utf8_valid(k->text, NULL));
    }
    FUZZ_CHECK(t->end_id <= TOKENIZER_MAX_IDS);
}

static void check_parts(const struct tokenizer *t)
{
    struct quern_error err;
    struct pretokenizer p;
    struct around around;
    struct token_decoder d;
    struct arena a = {0};
    bool known;
    if (!fuzz_failed(pretokenizer_read(t->pre_tokenizer, &p, &known, &err), &err) && known) {
        struct pieces pieces = {.arena = &a};
        fuzz_failed(pretokenizer_split(&p, prompt, &pieces, &err), &err);
    }
    pretokenizer_close(&p);
    fuzz_failed(post_processor_around(t, &around, &known, &err), &err);
    if (!fuzz_failed(token_decoder_read(&d, t, &err), &err))
        for (uint32_t i = 0; i < t->ntokens && i < 8; i++) {
            struct str text = t->tokens[i].text;
            fuzz_failed(token_decode(&d, &a, &text, &err), &err);
        }
    token_decoder_close(&d);
    arena_free(&a);
}

static void check_prompt(const char *path)
{
    struct prompt_encoder *e;
    struct quern_error err;
    struct arena a = {0};
    struct token_list ids = {0};
    if (!fuzz_failed(prompt_open(path, &e, &err), &err))
        fuzz_failed(prompt_encode(e, prompt, &a, &ids, &err), &err);
    prompt_close(e);
    arena_free(&a);
}

static void run(char *text, size_t n)
{
    struct tokenizer t;
    struct quern_error err;
    const char *path = fuzz_file("tokenizer.json", text, n);
    if (!fuzz_failed(tokenizer_parse((struct str){text, n}, "tokenizer.json", true, &t, &err),
                     &err)) {
        check_tokens(&t);
        check_parts(&t);
        check_prompt(path);
    }
    tokenizer_close(&t);
}

static const char *const words[] = {
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}",
    "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"a\",-1.5]]}",
    "\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"special\":true}]",
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}",
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\p{N}{1,3}\"},\"behavior\":\"Isolated\","
    "\"invert\":false}",
    "{\"type\":\"Sequence\",\"pretokenizers\":[]}",
    "\"normalizer\":{\"type\":\"NFC\"}",
    "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" "
    "\"},\"content\":\"\xE2\x96\x81\"}",
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteFallback\"},{\"type\":"
    "\"Fuse\"}]}",
    "{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\",\"prepend_scheme\":\"first\","
    "\"split\":true}",
    "{\"type\":\"Digits\",\"individual_digits\":true}",
    "{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}",
    "{\"type\":\"BertPreTokenizer\"}",
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<"
    "s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]}",
    "\"ignore_merges\":true",
    "\"byte_fallback\":true",
    "\"fuse_unk\":true",
    "\"continuing_subword_prefix\":\"##\"",
    "\"<0x0A>\"",
    "WordPiece",
    "WordLevel",
    "(?i:",
    "[^\\\\s]",
    "\\\\p{L}",
    "(a+)+$",
    "[a-z&&[^b]]",
    NULL};

const struct fuzz_target fuzz_tokenizer = {
    .name = "tokenizer",
    .max_len = 2048,
    .run = run,
    .mutate = mutate_json,
    .bytes_per_byte = 256,
    .bytes_besides = 1u << 19,
    .words = words,
    .memory_may_fail = true,
};
