/* token_list.c - build a list of tokens and write it into keys. */
#include "convert/token_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "convert/meta_array.h"

#define BLANK "\xE2\x96\x81" /* U+2581, for a space */

enum quern_status token_list_init(struct token_list *l, struct arena *arena, uint64_t n,
                                  uint64_t known, struct quern_error *err)
{
    if (n == 0 || n > MAX_LISTED_TOKENS)
        return fail(err, QUERN_EUNSUPPORTED, "vocab",
                    "the vocabulary would have %" PRIu64 " tokens" WANT "expected 1 to %u", n,
                    MAX_LISTED_TOKENS);
    if (n > known + MAX_PADDING)
        return fail(err, QUERN_EUNSUPPORTED, "vocab",
                    "the vocabulary would have %" PRIu64 " tokens, the tokenizer has %" PRIu64 WANT
                    "expected at most %u without a text",
                    n, known, MAX_PADDING);
    *l = (struct token_list){.arena = arena, .n = (uint32_t)n};
    l->items = ARENA_NEW(arena, struct listed_token, n);
    /* "[PAD4194303]" and its NUL fit. */
    char *names = l->items ? arena_alloc(arena, n * 16) : NULL;
    if (!names)
        return fail_memory(err, n * (16 + sizeof *l->items));
    for (uint32_t i = 0; i < l->n; i++, names += 16) {
        const int len = snprintf(names, 16, "[PAD%" PRIu32 "]", i);
        l->items[i] = (struct listed_token){
            {names, (size_t)len},
            SCORE_PADDING, TYPE_UNUSED
        };
    }
    return QUERN_OK;
}

static bool put_words(struct meta_list *metas, const char *key, enum meta_type type,
                      const uint32_t *words, uint32_t n)
{
    uint8_t *bytes = malloc((size_t)n * 4);
    if (!bytes)
        return false;
    for (uint32_t i = 0; i < n; i++)
        for (unsigned b = 0; b < 4; b++)
            bytes[4 * (size_t)i + b] = (uint8_t)(words[i] >> (8 * b));
    const bool ok =
        meta_list_put_array(metas, key, type, (struct str){(const char *)bytes, (size_t)n * 4}, n);
    free(bytes);
    return ok;
}

static bool put_texts(const struct token_list *l, struct meta_list *metas)
{
    struct str *texts = malloc(l->n * sizeof *texts);
    if (!texts)
        return false;
    for (uint32_t i = 0; i < l->n; i++)
        texts[i] = l->items[i].text;
    const bool ok = meta_list_set_strings(metas, "tokenizer.ggml.tokens", texts, l->n);
    free(texts);
    return ok;
}

bool token_list_put(const struct token_list *l, bool scores, struct meta_list *metas)
{
    uint32_t *words = malloc(l->n * sizeof *words);
    bool ok = words && put_texts(l, metas);
    for (uint32_t i = 0; ok && i < l->n; i++)
        memcpy(&words[i], &l->items[i].score, sizeof *words);
    if (ok && scores)
        ok = put_words(metas, "tokenizer.ggml.scores", META_F32, words, l->n);
    for (uint32_t i = 0; ok && i < l->n; i++)
        words[i] = l->items[i].type;
    if (ok)
        ok = put_words(metas, "tokenizer.ggml.token_type", META_I32, words, l->n);
    free(words);
    return ok;
}

bool token_looks_special(struct str t)
{
    static const char *const names[] = {"<pad>", "<mask>", "<2mass>", "[@BOS@]"};
    static const struct {
        const char *start, *end;
    } shapes[] = {
        {"<|",            "|>"           },
        {"<\xEF\xBD\x9C", "\xEF\xBD\x9C>"}, /* U+FF5C */
        {"<unused",       ">"            },
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_is(t, names[i]))
            return true;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (str_starts(t, shapes[i].start) && str_ends(t, shapes[i].end))
            return true;
    return false;
}

bool token_is_byte(struct str t)
{
    static const char digits[] = "0123456789ABCDEFabcdef";
    return t.n == 6 && memcmp(t.p, "<0x", 3) == 0 && t.p[5] == '>' &&
           memchr(digits, t.p[3], sizeof digits - 1) && memchr(digits, t.p[4], sizeof digits - 1);
}

struct str token_with_spaces(struct arena *arena, struct str text)
{
    const size_t n = sizeof BLANK - 1;
    if (!memmem(text.p, text.n, BLANK, n))
        return text;
    char *p = arena_alloc(arena, text.n + 1);
    size_t used = 0;
    for (size_t i = 0; p && i < text.n;) {
        const bool blank = text.n - i >= n && memcmp(text.p + i, BLANK, n) == 0;
        p[used++] = blank ? ' ' : text.p[i];
        i += blank ? n : 1;
    }
    return (struct str){p, used};
}

/* ---- letters for bytes ---------------------------------------------------------------------- */

/* Bytes that are printable in Latin-1 stand for themselves; the others follow from U+0100. */
static bool stands_for_itself(unsigned c)
{
    return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xFF && c != 0xAD);
}

static unsigned letter_of(unsigned byte)
{
    if (stands_for_itself(byte))
        return byte;
    if (byte <= 0x20)
        return 0x100 + byte;
    return byte == 0xAD ? 0x143 : 0x121 + (byte - 0x7F);
}

size_t byte_letter(uint8_t byte, char out[2])
{
    const unsigned c = letter_of(byte);
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xC0 | c >> 6);
    out[1] = (char)(0x80 | (c & 63));
    return 2;
}

bool letter_byte(struct str text, uint8_t *byte, size_t *n)
{
    const uint8_t *p = (const uint8_t *)text.p;
    if (text.n == 0)
        return false;
    unsigned c = p[0];
    *n = 1;
    if (c >= 0x80) {
        if (text.n < 2 || c < 0xC2 || c > 0xC5 || (p[1] & 0xC0) != 0x80)
            return false;
        c = (c & 31) << 6 | (p[1] & 63);
        *n = 2;
    }
    if (c >= 0x100)
        c = c <= 0x120 ? c - 0x100 : c <= 0x142 ? c - 0x121 + 0x7F : c == 0x143 ? 0xAD : 0x100;
    else if (!stands_for_itself(c))
        return false;
    *byte = (uint8_t)c;
    return c <= 0xFF;
}
