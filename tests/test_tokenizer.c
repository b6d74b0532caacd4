/* test_tokenizer.c - what is read from a tokenizer.json, and what is refused and where. */
#include "formats/tokenizer.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/leaks.h"

static const char bpe[] =
    "{\"version\": \"1.0\", \"added_tokens\": [\n"
    " {\"id\": 5, \"content\": \"<s>\", \"single_word\": false, \"lstrip\": true, \"rstrip\": true,"
    " \"normalized\": false, \"special\": true},\n"
    " {\"id\": 0, \"content\": \"a\", \"special\": false, \"normalized\": true, \"x\": [1, {}]}],\n"
    " \"normalizer\": {\"type\": \"NFC\"}, \"model\": {\"type\": \"BPE\", \"dropout\": null,\n"
    " \"byte_fallback\": true, \"ignore_merges\": true, \"unk_token\": \"<unk>\",\n"
    " \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 3, \"\\u0120\\\"\": 2},\n"
    " \"merges\": [\"a b\", [\"\\u0120\", \"a b\"]]}}\n";

/* The reader writes into its text: a malloc'ed copy, so that the sanitizer sees every step too far.
 */
static enum quern_status parse(struct str s, bool merges, struct tokenizer *t,
                               struct quern_error *err)
{
    char *copy = malloc(s.n ? s.n : 1);
    cr_assert(copy);
    memcpy(copy, s.p, s.n);
    const enum quern_status status =
        tokenizer_parse((struct str){copy, s.n}, "t/tokenizer.json", merges, t, err);
    free(copy);
    return status;
}

static void accepted(const char *s, bool merges, struct tokenizer *t)
{
    struct quern_error err;
    cr_assert(parse(str_from(s), merges, t, &err) == QUERN_OK, "%s\n%s", s, err.text);
}

static uint8_t flags_of(const struct tokenizer *t, const char *text)
{
    const struct token *token = token_by_text(t, str_from(text));
    cr_assert(token, "%s", text);
    return token->flags;
}

Test(tokenizer, a_byte_pair_model)
{
    struct tokenizer t;
    accepted(bpe, true, &t);
    cr_assert(t.kind == TOKENIZER_BPE && t.ntokens == 5 && t.end_id == 6);
    cr_assert(t.byte_fallback && t.ignore_merges && str_is(t.unk_token, "<unk>"));
    cr_assert(str_is(token_by_id(&t, 2)->text, "\xC4\xA0\""));
    cr_assert(token_by_text(&t, STR("ab"))->id == 3);
    cr_assert(!token_by_id(&t, 4) && !token_by_id(&t, 6) && !token_by_text(&t, STR("c")));
    cr_assert(flags_of(&t, "<s>") == (TOKEN_ADDED | TOKEN_SPECIAL | TOKEN_LSTRIP | TOKEN_RSTRIP));
    cr_assert(flags_of(&t, "a") == (TOKEN_ADDED | TOKEN_IN_MODEL | TOKEN_NORMALIZED));
    cr_assert(flags_of(&t, "b") == TOKEN_IN_MODEL);
    cr_assert(t.nmerges == 2 && str_is(t.merges[0].left, "a") && str_is(t.merges[0].right, "b"));
    cr_assert(str_is(t.merges[1].left, "\xC4\xA0") && str_is(t.merges[1].right, "a b"));
    const char *vocab = strstr(bpe, "{\"a\": 0"), *merges = strstr(bpe, "[\"a b\"");
    cr_assert(t.vocab.from == (uint64_t)(vocab - bpe) && bpe[t.vocab.to - 1] == '}');
    cr_assert(t.merge_list.from == (uint64_t)(merges - bpe) && bpe[t.merge_list.to - 1] == ']');
    cr_assert(bpe[t.added.from] == '[' && bpe[t.added.to - 1] == ']');
    cr_assert(tokenizer_bytes(&t) > 5 * sizeof(struct token));
    tokenizer_close(&t);
    accepted(bpe, false, &t);
    cr_assert(!t.merges && t.nmerges == 2);
    tokenizer_close(&t);
    CHECK_LEAKS();
}

Test(tokenizer, other_models)
{
    struct tokenizer t;
    accepted("{\"model\": {\"type\": \"Unigram\", \"unk_id\": 1, \"vocab\": [[\"x\", -1.5], "
             "[\"<unk>\", 0], [\"\", -3e1]]}, \"added_tokens\": null}",
             true, &t);
    cr_assert(t.kind == TOKENIZER_UNIGRAM && t.end_id == 3 && t.has_unk_id && t.unk_id == 1);
    cr_assert(t.tokens[0].score == -1.5 && t.tokens[2].score == -30 && t.tokens[2].text.n == 0);
    tokenizer_close(&t);
    accepted("{\"model\": {\"vocab\": {\"[UNK]\": 0}, \"type\": \"WordPiece\"}}", true, &t);
    cr_assert(t.kind == TOKENIZER_WORDPIECE && t.ntokens == 1);
    tokenizer_close(&t);
    accepted("{\"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}}", true, &t); /* no type */
    cr_assert(t.kind == TOKENIZER_BPE);
    tokenizer_close(&t);
    accepted("{\"model\": {\"type\": \"WordLevel\", \"vocab\": {}}, \"added_tokens\": "
             "[{\"id\": 7, \"content\": \"z\"}]}",
             true, &t);
    cr_assert(t.kind == TOKENIZER_WORDLEVEL && t.end_id == 8);
    cr_assert(flags_of(&t, "z") == (TOKEN_ADDED | TOKEN_NORMALIZED));
    tokenizer_close(&t);
    CHECK_LEAKS();
}

static void refused(const char *s, const char *at, enum quern_status status, const char *found)
{
    struct tokenizer t;
    struct quern_error err;
    const enum quern_status got = parse(str_from(s), true, &t, &err);
    tokenizer_close(&t);
    cr_assert(got == status, "%s\nstatus %d %s", s, got, got ? err.text : "");
    cr_assert(strstr(err.text, found) && strstr(err.text, "t/tokenizer.json"), "'%s' not in\n%s",
              found, err.text);
    if (!at)
        return;
    const char *place = strstr(s, at);
    cr_assert(place && err.offset == (uint64_t)(place - s), "%s\noffset %lld, not %td", s,
              (long long)err.offset, place - s);
}

#define MODEL(vocab) "{\"model\": {\"type\": \"BPE\", \"vocab\": " vocab "}}"
#define ADDED(list)  "{\"added_tokens\": " list ", \"model\": {\"vocab\": {\"a\": 0, \"b\": 1}}}"

Test(tokenizer, refuses_what_has_two_meanings)
{
    refused(MODEL("{\"a\": 0, \"b\": 0}"), "\"b\"", QUERN_EFORMAT, "the same id 0");
    refused(MODEL("{\"a\": 0, \"a\": 1}"), "\"a\": 1", QUERN_EFORMAT, "ids 0 and 1");
    refused(MODEL("{\"a\": 0, \"\\u0061\": 0}"), "\"\\u0061", QUERN_EFORMAT, "the same id 0");
    refused("{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"x\", 0], [\"x\", 0]]}}", NULL,
            QUERN_EFORMAT, "ids 0 and 1");
    refused(ADDED("[{\"id\": 1, \"content\": \"c\"}]"), NULL, QUERN_EFORMAT, "have the same id 1");
    refused(ADDED("[{\"id\": 2, \"content\": \"b\"}]"), NULL, QUERN_EFORMAT, "ids 1 and 2");
    refused(ADDED("[{\"id\": 2, \"content\": \"c\"}, {\"id\": 2, \"content\": \"c\"}]"), NULL,
            QUERN_EFORMAT, "the same id 2");
    refused("{\"model\": {\"vocab\": {\"a\": 0}, \"vocab\": {}}}", "{}", QUERN_EFORMAT, "second");
    refused("{\"model\": {\"vocab\": {\"a\": 0}}, \"model\": {}}", "{}}", QUERN_EFORMAT, "twice");
    CHECK_LEAKS();
}

Test(tokenizer, refuses_what_is_no_tokenizer)
{
    refused("", "", QUERN_EFORMAT, "ends too early");
    refused("[]", "[", QUERN_EFORMAT, "does not begin with '{'");
    refused("{}", NULL, QUERN_EFORMAT, "no 'model'");
    refused("{\"model\": null}", "null", QUERN_EFORMAT, "no object");
    refused("{\"model\": {}}", NULL, QUERN_EFORMAT, "no vocabulary");
    refused(MODEL("{}"), NULL, QUERN_EFORMAT, "empty");
    refused(MODEL("7"), "7", QUERN_EFORMAT, "neither object nor list");
    refused(MODEL("[[\"a\", 0]]"), NULL, QUERN_EFORMAT, "not of the form");
    refused(MODEL("{\"a\": -1}"), "-1", QUERN_EFORMAT, "no whole number");
    refused(MODEL("{\"a\": 1.0}"), "1.0", QUERN_EFORMAT, "no whole number");
    refused(MODEL("{\"a\": \"1\"}"), "\"1\"", QUERN_EFORMAT, "no whole number");
    refused(MODEL("{\"a\": 16777216}"), "16777216", QUERN_EFORMAT, "expected less than 16777216");
    refused(MODEL("{\"a\": 99999999999999999999}"), NULL, QUERN_EFORMAT, "no whole number");
    refused(MODEL("{\"a\": 0}, \"merges\": {}"), NULL, QUERN_EFORMAT, "no list");
    refused(MODEL("{\"a\": 0}, \"merges\": [\"ab\"]"), "\"ab\"", QUERN_EFORMAT, "two tokens");
    refused(MODEL("{\"a\": 0}, \"merges\": [\"a b c\"]"), NULL, QUERN_EFORMAT, "two tokens");
    refused(MODEL("{\"a\": 0}, \"merges\": [[\"a\"]]"), NULL, QUERN_EFORMAT, "two tokens");
    refused("{\"model\": {\"vocab\": [[\"a\"]]}}", NULL, QUERN_EFORMAT, "a piece and a score");
    refused("{\"model\": {\"vocab\": [[\"a\", \"0\"]]}}", NULL, QUERN_EFORMAT, "and a score");
    refused("{\"model\": {\"vocab\": [7]}}", "7", QUERN_EFORMAT, "a piece and a score");
    refused(ADDED("{}"), "{}", QUERN_EFORMAT, "no list");
    refused(ADDED("[7]"), "7", QUERN_EFORMAT, "no object");
    refused(ADDED("[{\"id\": 2}]"), NULL, QUERN_EFORMAT, "no content");
    refused(ADDED("[{\"content\": \"c\"}]"), NULL, QUERN_EFORMAT, "no id");
    refused(ADDED("[{\"id\": 2, \"content\": 3}]"), "3}", QUERN_EFORMAT, "no string");
    refused(ADDED("[{\"id\": 2, \"content\": \"c\", \"special\": 1}]"), "1}", QUERN_EFORMAT,
            "no truth value");
    refused("{\"model\": {\"type\": \"Char\", \"vocab\": {\"a\": 0}}}", NULL, QUERN_EUNSUPPORTED,
            "'Char'");
    CHECK_LEAKS();
}

/* Every prefix is refused as cut off, with nothing leaked or read beyond the end. */
Test(tokenizer, truncated_texts)
{
    const size_t whole = strlen(bpe) - 1;
    for (size_t n = 0; n < whole; n++) {
        struct tokenizer t;
        struct quern_error err;
        const enum quern_status status = parse((struct str){bpe, n}, true, &t, &err);
        tokenizer_close(&t);
        cr_assert(status == QUERN_EFORMAT && err.offset <= n, "%zu bytes: %d", n, status);
    }
    CHECK_LEAKS();
}

/* Whatever a changed text says, it is taken or refused as malformed, and nothing is leaked or read
 * beyond the end. */
Test(tokenizer, mutated_texts)
{
    static const char bytes[] = "\"\\[]{},:0919-.e tfnu\x80\xC4\x01";
    static char copy[sizeof bpe];
    uint32_t seed = 7;
    for (int round = 0; round < 5000; round++) {
        memcpy(copy, bpe, sizeof bpe);
        for (int k = 0; k <= round % 3; k++) {
            seed = seed * 1664525 + 1013904223;
            copy[(seed >> 8) % (sizeof bpe - 1)] = bytes[(seed >> 3) % (sizeof bytes - 1)];
        }
        struct tokenizer t;
        struct quern_error err;
        const enum quern_status status =
            parse((struct str){copy, sizeof bpe - 1}, round % 2, &t, &err);
        tokenizer_close(&t);
        cr_assert(status == QUERN_OK || status == QUERN_EFORMAT || status == QUERN_EUNSUPPORTED,
                  "round %d: %d", round, status);
    }
    CHECK_LEAKS();
}

Test(tokenizer, of_a_real_model)
{
    struct tokenizer t;
    struct quern_error err;
    cr_assert(tokenizer_read("build/pocket/pocket-base/tokenizer.json", true, &t, &err) == QUERN_OK,
              "%s", err.text);
    cr_assert(t.kind == TOKENIZER_BPE && t.end_id == t.ntokens && t.nmerges > 0);
    for (uint32_t i = 0; i < t.ntokens; i++)
        cr_assert(token_by_text(&t, t.tokens[i].text) == token_by_id(&t, i));
    tokenizer_close(&t);
    cr_assert(tokenizer_read("tests/data/no-such-file", true, &t, &err) == QUERN_EIO);
    tokenizer_close(&t);
    CHECK_LEAKS();
}
