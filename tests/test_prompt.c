/* test_prompt.c - tokens of prompts against those of the tokenizers library, and what is refused.
 */
#include "formats/prompt.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/leaks.h"

#define POCKET "build/pocket/pocket-base/tokenizer.json"

static struct arena arena;
static char path[] = "/tmp/quern-prompt-XXXXXX";

struct known {
    const char *text;
    uint32_t ids[24];
    uint32_t count;
};

static void check(const char *tokenizer, const struct known *known, size_t n)
{
    struct prompt_encoder *e;
    struct quern_error err;
    cr_assert(prompt_open(tokenizer, &e, &err) == QUERN_OK, "%s", err.text);
    for (size_t i = 0; i < n; i++) {
        struct token_list l = {0};
        cr_assert(prompt_encode(e, str_from(known[i].text), &arena, &l, &err) == QUERN_OK, "%s",
                  err.text);
        cr_assert(l.count == known[i].count, "'%s': %u tokens", known[i].text, l.count);
        for (uint32_t k = 0; k < l.count; k++)
            cr_assert(l.ids[k] == known[i].ids[k], "'%s': token %u is %u", known[i].text, k,
                      l.ids[k]);
    }
    prompt_close(e);
    arena_free(&arena);
    CHECK_LEAKS();
}
#define CHECK(tokenizer, ...)                                     \
    do {                                                          \
        static const struct known known_[] = {__VA_ARGS__};       \
        check(tokenizer, known_, sizeof known_ / sizeof *known_); \
    } while (0)

Test(prompt, byte_level)
{
    CHECK(POCKET,
          {
              "Once upon a time", {46, 77, 316, 307, 79, 263, 260, 258, 72, 279},
               10
    },
          {"int main(void)\n{\n\treturn 0;\n}",
           {347, 453, 259, 7, 85, 468, 8, 198, 90, 198, 197, 262, 385, 357, 26, 198, 92},
           17},
          {"it's  two   blanks 123",
           {295, 6, 82, 220, 258, 86, 78, 256, 278, 75, 291, 74, 82, 363, 17, 18},
           16},
          {"<|endoftext|>caf\u00e9 \u65e5", {511, 66, 64, 69, 127, 102, 220, 162, 245, 98}, 10},
          {"   ", {270}, 1}, {"a\u0663\u00ad", {64, 149, 96, 126, 255}, 5}, {"", {0}, 0});
}

/* A small tokenizer with these normalizer and pre_tokenizer. */
static const char *write_tokenizer(const char *normalizer, const char *pretokenizer)
{
    static bool made;
    if (!made)
        close(mkstemp(path));
    made = true;
    FILE *f = fopen(path, "w");
    cr_assert(f);
    fprintf(f,
            "{\"added_tokens\": [{\"id\": 9, \"content\": \"<s>\", \"special\": true}, "
            "{\"id\": 10, \"content\": \"<mask>\", \"lstrip\": true}], "
            "\"normalizer\": %s, \"pre_tokenizer\": %s, \"model\": {\"type\": \"BPE\", "
            "\"unk_token\": \"<unk>\", \"fuse_unk\": true, \"byte_fallback\": true, \"vocab\": "
            "{\"<unk>\": 0, \"\u2581\": 1, \"a\": 2, \"b\": 3, \"ab\": 4, \"\u2581ab\": 5, "
            "\"<0xC3>\": 6, \"<0xA9>\": 7, \"ba\": 8}, "
            "\"merges\": [\"a b\", \"\u2581 ab\", \"b a\"]}}",
            normalizer, pretokenizer);
    fclose(f);
    return path;
}

#define LLAMA                                                                    \
    "{\"type\": \"Sequence\", \"normalizers\": ["                                \
    "{\"type\": \"Prepend\", \"prepend\": \"\u2581\"}, {\"type\": \"Replace\", " \
    "\"pattern\": {\"String\": \" \"}, \"content\": \"\u2581\"}]}"
#define METASPACE(scheme, split)                                                           \
    "{\"type\": \"Metaspace\", \"replacement\": \"\u2581\", \"prepend_scheme\": \"" scheme \
    "\", \"split\": " split "}"

Test(prompt, signs_for_blanks)
{
    CHECK(write_tokenizer(LLAMA, "null"),
          {
              "<s>ab ba \u00e9 zz aba", {9, 5, 1, 8, 1, 6, 7, 1, 0, 5, 2},
               11
    },
          {"aab<s>b", {1, 2, 4, 9, 1, 3}, 6});
    CHECK(write_tokenizer("null", METASPACE("first", "true")),
          {
              "ab ab", {5, 5},
               2
    },
          {"<s>ab ab", {9, 4, 5}, 3});
    CHECK(write_tokenizer("null", METASPACE("always", "false")), {
                                                                     "<s>ab ab", {9, 5, 5},
                                                                      3
    });
    CHECK(write_tokenizer("null", METASPACE("never", "true")), {"ab", {4}, 1});
    unlink(path);
}

static void refused(const char *normalizer, const char *pretokenizer, const char *text,
                    enum quern_status status, const char *why)
{
    struct prompt_encoder *e;
    struct quern_error err;
    struct token_list l = {0};
    enum quern_status s = prompt_open(write_tokenizer(normalizer, pretokenizer), &e, &err);
    if (s == QUERN_OK)
        s = prompt_encode(e, str_from(text), &arena, &l, &err);
    cr_assert(s == status && strstr(err.text, why), "%s %s: %d %s", normalizer, pretokenizer, s,
              s ? err.text : "");
    prompt_close(e);
    arena_free(&arena);
}

Test(prompt, unknown_steps_are_refused)
{
    refused("{\"type\": \"Lowercase\"}", "null", "a", QUERN_EUNSUPPORTED, "Lowercase");
    refused("null", "{\"type\": \"Punctuation\"}", "a", QUERN_EUNSUPPORTED, "Punctuation");
    refused("null",
            "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, \"behavior\": "
            "\"MergedWithNext\"}",
            "a", QUERN_EUNSUPPORTED, "MergedWithNext");
    refused("null",
            "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"(\"}, \"behavior\": \"Isolated\"}",
            "a", QUERN_EUNSUPPORTED, "pattern");
    refused("{\"type\": \"NFC\"}", "null", "e\u0301", QUERN_EUNSUPPORTED, "normal form");
    refused("{\"type\": \"NFKC\"}", "null", "\u00b2", QUERN_EUNSUPPORTED, "normal form");
    refused("null", "null", "a <mask>", QUERN_EUNSUPPORTED, "<mask>");
    refused("null", "null", "\xff", QUERN_EUSAGE, "UTF-8");
    unlink(path);
    CHECK_LEAKS();
}

Test(prompt, composed_letters_pass)
{
    CHECK(write_tokenizer("{\"type\": \"NFC\"}", "null"), {
                                                              "\u00e9ab", {6, 7, 4},
                                                               3
    });
    unlink(path);
}
