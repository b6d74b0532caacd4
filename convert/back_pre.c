/* back_pre.c - the pre-tokenizers that tokenizer.ggml.pre names, as tokenizer.json has them. */
#include "back_vocab.h"

#define SPLIT(regex)                                                                       \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"},\"behavior\":\"Isolated\"," \
    "\"invert\":false}"
#define BYTE_LEVEL(use_regex)                                                         \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_" \
    "regex\":" use_regex "}"
#define SEQUENCE(steps) "{\"type\":\"Sequence\",\"pretokenizers\":[" steps "]}"

/* In JSON strings a backslash of the pattern is two, in C four. */
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES       "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define LLAMA3(digits)                                                      \
    CONTRACTIONS "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}" digits \
                 "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|" SPACES
#define UPPER "[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]"
#define LOWER "[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]"
#define CASED(contractions, digits)                                                       \
    "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?" UPPER "*" LOWER "+" contractions                     \
    "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?" UPPER "+" LOWER "*" contractions "|\\\\p{N}" digits \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*|" SPACES

static const char nfc[] = "{\"type\":\"NFC\"}";
static const char gpt2[] = BYTE_LEVEL("true");
static const char digits[] =
    SEQUENCE("{\"type\":\"Digits\",\"individual_digits\":true}," BYTE_LEVEL("true"));
static const char llama3[] = SEQUENCE(SPLIT(LLAMA3("{1,3}")) "," BYTE_LEVEL("false"));
static const char qwen2[] = SEQUENCE(SPLIT(LLAMA3("")) "," BYTE_LEVEL("false"));
static const char qwen35[] = SEQUENCE(
    SPLIT(CONTRACTIONS
          "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{L}\\\\p{M}]+|\\\\p{N}"
          "| ?[^\\\\s\\\\p{L}\\\\p{M}\\\\p{N}]+[\\\\r\\\\n]*|" SPACES) "," BYTE_LEVEL("false"));
static const char tekken[] = SEQUENCE(SPLIT(CASED("", "")) "," BYTE_LEVEL("false"));
static const char gpt4o[] =
    SEQUENCE(SPLIT(CASED(CONTRACTIONS "?", "{1,3}")) "," BYTE_LEVEL("false"));
static const char deepseek3[] = SEQUENCE(SPLIT("\\\\p{N}{1,3}") "," SPLIT(
    "[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F"
    "\xE3\x82\xA0-\xE3\x83\xBF]+") "," SPLIT("[!\\\"#$%&'()*+,\\\\-./"
                                             ":;<=>?@\\\\[\\\\\\\\\\\\]^_`{|}~][A-"
                                             "Za-z]+"
                                             "|[^\\r\\n\\\\p{L}\\\\p{P}\\\\p{S}]?["
                                             "\\\\p{L}\\\\p{M}]+| "
                                             "?[\\\\p{P}\\\\p{S}]+[\\r\\n]*"
                                             "|\\\\s*[\\r\\n]+|\\\\s+(?!\\\\S)|"
                                             "\\\\s+") "," BYTE_LEVEL("false"));
static const char falcon[] =
    SEQUENCE("{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}," BYTE_LEVEL(
        "true") ","
                "{\"type\":\"Digits\",\"individual_digits\":false}," SPLIT("[0-9][0-9][0-9]"));

const struct back_pre back_pres[] = {
    {"gpt-2 mpt phi-2 roberta-bpe jais",                   "null", gpt2, false, false},
    {"olmo",                                                nfc, gpt2, false, false},
    {"starcoder refact command-r smollm codeshell exaone",                                               "null", digits, false, false},
    {"llama-bpe llama3 llama-v3 falcon3 pixtral lfm2",                                               "null", llama3, true, true},
    {"dbrx smaug-bpe glm4 chatglm-bpe",                                                "null", llama3, false, false},
    {"qwen2 stablelm2 deepseek-r1-qwen hunyuan megrez",                                               nfc, qwen2, false, false},
    {"qwen35", nfc, qwen35, false, false},
    {"tekken",                                              "null", tekken, true, true},
    {"gpt-4o llama4",                                               "null", gpt4o, false, false},
    {"deepseek-v3 hunyuan-dense",     "null", deepseek3, false, false},
    {"falcon",                                              "null", falcon, false, false},
    {.names = NULL                                               },
};

const struct back_pre *back_pre_find(struct str name)
{
    for (const struct back_pre *p = back_pres; p->names; p++)
        for (const char *at = p->names; *at;) {
            const size_t n = strcspn(at, " ");
            if (str_eq(name, (struct str){at, n}))
                return p;
            at += n + (at[n] == ' ');
        }
    return NULL;
}
