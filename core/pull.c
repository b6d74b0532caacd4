/* pull.c - the strict JSON reader: a state machine over one complete text. */
#include "pull.h"

#include <stdlib.h>

enum state {
    STATE_VALUE,        /* a value must come */
    STATE_VALUE_OR_END, /* after '[' */
    STATE_KEY,          /* after ',' in an object */
    STATE_KEY_OR_END,   /* after '{' */
    STATE_COMMA_OR_END, /* after a value inside something */
    STATE_DONE,         /* after the document */
    STATE_FAILED
};

static enum pull_token bad(struct pull *p, size_t at, const char *kind, const char *what)
{
    p->state = STATE_FAILED;
    p->bad_at = at;
    p->kind = kind;
    p->what = what;
    return PULL_ERROR;
}

/* Whole words of ASCII at the start of a text: most headers are nothing else. */
static size_t ascii_prefix(const char *text, size_t nbytes)
{
    size_t i = 0;
    uint64_t word;
    for (; nbytes - i >= sizeof word; i += sizeof word) {
        memcpy(&word, text + i, sizeof word);
        if (word & UINT64_C(0x8080808080808080))
            break;
    }
    return i;
}

void pull_start(struct pull *p, char *text, size_t nbytes)
{
    *p = (struct pull){.text = text, .nbytes = nbytes, .state = STATE_VALUE};
    const size_t ascii = ascii_prefix(text, nbytes);
    size_t at_bad;
    if (!utf8_valid((struct str){text + ascii, nbytes - ascii}, &at_bad))
        bad(p, ascii + at_bad, "utf8", "the text is not UTF-8");
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void skip_blanks(struct pull *p)
{
    size_t at = p->at;
    while (at < p->nbytes && is_blank(p->text[at]))
        at++;
    p->at = at;
}

/* ---- strings -------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Four hex digits at text[at], or -1. */
static int32_t hex4(const struct pull *p, size_t at)
{
    if (p->nbytes - at < 4)
        return -1;
    int32_t v = 0;
    for (size_t i = 0; i < 4; i++) {
        const int digit = hex_digit(p->text[at + i]);
        if (digit < 0)
            return -1;
        v = v * 16 + digit;
    }
    return v;
}

static size_t put_utf8(char *out, int32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

/* \uXXXX, or a pair of them, whose first digit is at text[p->at]. Its UTF-8 is never longer than
 * the escape, so it can go where the escape was. */
static bool unescape_unicode(struct pull *p, char *out, size_t *nout)
{
    int32_t c = hex4(p, p->at);
    if (c < 0)
        return bad(p, p->at, "json", "\\u is not followed by four hex digits");
    p->at += 4;
    if (c >= 0xDC00 && c <= 0xDFFF)
        return bad(p, p->at - 6, "json", "the second half of a surrogate pair stands alone");
    if (c >= 0xD800 && c <= 0xDBFF) {
        const bool escape =
            p->nbytes - p->at >= 6 && p->text[p->at] == '\\' && p->text[p->at + 1] == 'u';
        const int32_t low = escape ? hex4(p, p->at + 2) : -1;
        if (low < 0xDC00 || low > 0xDFFF)
            return bad(p, p->at - 6, "json", "the first half of a surrogate pair stands alone");
        p->at += 6;
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    }
    *nout += put_utf8(out, c);
    return true;
}

static bool unescape(struct pull *p, char *out, size_t *nout)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (p->at == p->nbytes)
        return bad(p, p->at, "json", "the text ends inside a string");
    const char c = p->text[p->at++];
    if (c == 'u')
        return unescape_unicode(p, out, nout);
    const char *known = c ? strchr(from, c) : NULL;
    if (!known)
        return bad(p, p->at - 1, "json", "unknown escape in a string");
    *out = to[known - from];
    ++*nout;
    return true;
}

/* Bytes from text[p->at] on that stand for themselves. */
static size_t plain_run(const struct pull *p)
{
    const char *text = p->text + p->at;
    const size_t n = p->nbytes - p->at;
    size_t i = 0;
    while (i < n && (unsigned char)text[i] >= 0x20 && text[i] != '"' && text[i] != '\\')
        i++;
    return i;
}

/* text[p->at] is the opening quote. The result lies in the text and is never longer than what it
 * was made from; its NUL goes onto the closing quote or before it. */
static bool read_string(struct pull *p)
{
    char *const start = p->text + ++p->at;
    size_t n = 0;
    for (;;) {
        const size_t run = plain_run(p);
        if (run && start + n != p->text + p->at)
            memmove(start + n, p->text + p->at, run);
        n += run;
        p->at += run;
        if (p->at == p->nbytes)
            return bad(p, p->at, "json", "the text ends inside a string");
        const char c = p->text[p->at];
        if (c == '"')
            break;
        if (c != '\\')
            return bad(p, p->at, "json", "raw control byte in a string");
        p->at++;
        if (!unescape(p, start + n, &n))
            return false;
    }
    start[n] = '\0';
    p->at++;
    p->str = (struct str){start, n};
    return true;
}

/* ---- numbers and words ---------------------------------------------------------------------- */

static bool is_digit(const struct pull *p, size_t at)
{
    return at < p->nbytes && p->text[at] >= '0' && p->text[at] <= '9';
}

static size_t skip_digits(const struct pull *p, size_t at)
{
    while (is_digit(p, at))
        at++;
    return at;
}

static bool is_word(const struct pull *p, size_t at, const char *word)
{
    const size_t n = strlen(word);
    return p->nbytes - at >= n && memcmp(p->text + at, word, n) == 0;
}

/* One byte of the text, or NUL at its end. */
static char peek(const struct pull *p, size_t at)
{
    return at < p->nbytes ? p->text[at] : '\0';
}

static enum pull_token number_ends(struct pull *p, size_t end)
{
    p->str = (struct str){p->text + p->at, end - p->at};
    p->at = end;
    return PULL_NUMBER;
}

static enum pull_token read_number(struct pull *p)
{
    size_t at = p->at;
    if (peek(p, at) == '-')
        at++;
    if (p->nonfinite && is_word(p, at, "Infinity"))
        return number_ends(p, at + 8);
    if (!is_digit(p, at))
        return bad(p, at, "json", "a digit is missing in a number");
    if (p->text[at] == '0' && is_digit(p, at + 1))
        return bad(p, at, "json", "a number has a leading zero");
    at = skip_digits(p, at);
    if (peek(p, at) == '.') {
        if (!is_digit(p, at + 1))
            return bad(p, at, "json", "no digit after the point of a number");
        at = skip_digits(p, at + 1);
    }
    if (peek(p, at) == 'e' || peek(p, at) == 'E') {
        at++;
        if (peek(p, at) == '+' || peek(p, at) == '-')
            at++;
        if (!is_digit(p, at))
            return bad(p, at, "json", "no digit in the exponent of a number");
        at = skip_digits(p, at);
    }
    return number_ends(p, at);
}

static enum pull_token read_word(struct pull *p)
{
    static const struct {
        const char *word;
        enum pull_token token;
    } words[] = {
        {"true",  PULL_TRUE },
        {"false", PULL_FALSE},
        {"null",  PULL_NULL }
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (is_word(p, p->at, words[i].word)) {
            p->at += strlen(words[i].word);
            return words[i].token;
        }
    }
    if (p->nonfinite && is_word(p, p->at, "NaN"))
        return number_ends(p, p->at + 3);
    if (p->nonfinite && is_word(p, p->at, "Infinity"))
        return number_ends(p, p->at + 8);
    return bad(p, p->at, "json", "this is no JSON value");
}

/* ---- structure ------------------------------------------------------------------------------ */

static void value_ends(struct pull *p)
{
    p->state = p->depth == 0 ? STATE_DONE : STATE_COMMA_OR_END;
}

static enum pull_token open_container(struct pull *p, char c)
{
    if (p->depth == PULL_MAX_DEPTH)
        return bad(p, p->at, "json-depth", "objects and arrays nest too deeply");
    p->open[p->depth++] = c;
    p->at++;
    p->state = c == '{' ? STATE_KEY_OR_END : STATE_VALUE_OR_END;
    return c == '{' ? PULL_OBJECT : PULL_ARRAY;
}

static enum pull_token close_container(struct pull *p)
{
    const bool object = p->open[--p->depth] == '{';
    p->at++;
    value_ends(p);
    return object ? PULL_OBJECT_END : PULL_ARRAY_END;
}

static enum pull_token read_value(struct pull *p)
{
    const char c = p->text[p->at];
    if (c == '{' || c == '[')
        return open_container(p, c);
    enum pull_token token;
    if (c == '"')
        token = read_string(p) ? PULL_STRING : PULL_ERROR;
    else if (c == '-' || (c >= '0' && c <= '9'))
        token = read_number(p);
    else
        token = read_word(p);
    if (token != PULL_ERROR)
        value_ends(p);
    return token;
}

static enum pull_token read_key(struct pull *p)
{
    if (p->text[p->at] != '"')
        return bad(p, p->at, "json", "an object key is missing");
    if (!read_string(p))
        return PULL_ERROR;
    skip_blanks(p);
    if (peek(p, p->at) != ':')
        return bad(p, p->at, "json", "no ':' after an object key");
    p->at++;
    p->state = STATE_VALUE;
    return PULL_KEY;
}

enum pull_token pull_next(struct pull *p)
{
    if (p->state == STATE_FAILED)
        return PULL_ERROR;
    skip_blanks(p);
    p->token_at = p->at;
    if (p->state == STATE_DONE)
        return p->at == p->nbytes ? PULL_END
                                  : bad(p, p->at, "json", "something follows the JSON text");
    if (p->at == p->nbytes)
        return bad(p, p->at, "json", "the JSON text ends too early");

    const char c = p->text[p->at];
    const char closing = p->depth && p->open[p->depth - 1] == '{' ? '}' : ']';
    if (c == closing && p->depth && p->state != STATE_VALUE && p->state != STATE_KEY)
        return close_container(p);
    if (p->state == STATE_COMMA_OR_END) {
        if (c != ',')
            return bad(p, p->at, "json", "neither ',' nor an end after a value");
        p->at++;
        p->state = closing == '}' ? STATE_KEY : STATE_VALUE;
        return pull_next(p); /* once: the new state is another one */
    }
    if (p->state == STATE_KEY || p->state == STATE_KEY_OR_END)
        return read_key(p);
    return read_value(p);
}

bool pull_skip(struct pull *p, enum pull_token token)
{
    if (token != PULL_OBJECT && token != PULL_ARRAY)
        return token != PULL_ERROR;
    const unsigned outside = p->depth - 1;
    while (p->depth > outside)
        if (pull_next(p) == PULL_ERROR)
            return false;
    return true;
}

bool pull_u64(const struct pull *p, uint64_t *out)
{
    return str_to_u64(p->str, out);
}

/* Digits at text[p->at] as a number; 0 bytes consumed when they are none of ours. */
static bool read_u64(struct pull *p, uint64_t *out)
{
    size_t end = p->at;
    while (end - p->at < 21 && is_digit(p, end))
        end++;
    if (!str_to_u64((struct str){p->text + p->at, end - p->at}, out))
        return false;
    p->at = end;
    return true;
}

static enum pull_ints ints_stop(struct pull *p, enum pull_ints why, const char *what)
{
    bad(p, p->at, "json", what);
    return why;
}

enum pull_ints pull_u64_array(struct pull *p, uint64_t *out, size_t max, size_t *count)
{
    *count = 0;
    if (p->state == STATE_FAILED)
        return PULL_INTS_ERROR;
    skip_blanks(p);
    p->token_at = p->at;
    if (peek(p, p->at) != '[')
        return PULL_INTS_NOT_ARRAY;
    p->at++;
    skip_blanks(p);
    if (peek(p, p->at) == ']') {
        p->at++;
        value_ends(p);
        return PULL_INTS_OK;
    }
    for (;;) {
        uint64_t v;
        if (p->at == p->nbytes)
            return ints_stop(p, PULL_INTS_ERROR, "the JSON text ends too early");
        if (!read_u64(p, &v))
            return ints_stop(p, PULL_INTS_BAD_ITEM, "not an integer from 0 to 2^64-1");
        if (*count == max)
            return ints_stop(p, PULL_INTS_TOO_MANY, "too many numbers in an array");
        out[(*count)++] = v;
        skip_blanks(p);
        const char c = peek(p, p->at);
        if (c == ']') {
            p->at++;
            value_ends(p);
            return PULL_INTS_OK;
        }
        if (p->at == p->nbytes)
            return ints_stop(p, PULL_INTS_ERROR, "the JSON text ends too early");
        if (c != ',')
            return ints_stop(p, PULL_INTS_BAD_ITEM, "not an integer from 0 to 2^64-1");
        p->at++;
        skip_blanks(p);
    }
}

enum quern_status pull_fail(const struct pull *p, uint64_t base, struct quern_error *err)
{
    const char *expected = strcmp(p->kind, "json-depth") == 0 ? "expected at most 64 levels"
                           : strcmp(p->kind, "utf8") == 0     ? "expected strict UTF-8"
                                                              : "expected strict JSON";
    return at_offset(err, base + p->bad_at,
                     fail(err, QUERN_EFORMAT, p->kind, "%s" WANT "%s", p->what, expected));
}

/* ---- duplicate keys ------------------------------------------------------------------------- */

/* Up to here a walk over the keys is quicker than hashing them. */
#define FEW_KEYS 8u

static struct str key_of(const void *owner, uint32_t i)
{
    return ((const struct key_set *)owner)->keys[i];
}

static bool key_set_grow(struct key_set *set)
{
    const uint32_t capacity = set->capacity ? set->capacity * 2 : FEW_KEYS;
    struct str *keys =
        capacity > set->capacity ? realloc(set->keys, capacity * sizeof *keys) : NULL;
    if (!keys)
        return false;
    set->keys = keys;
    set->capacity = capacity;
    return true;
}

bool key_set_add(struct key_set *set, struct str key, bool *fresh)
{
    *fresh = true;
    if (set->count == set->capacity && !key_set_grow(set))
        return false;
    set->keys[set->count] = key;
    if (set->count < FEW_KEYS) {
        for (uint32_t i = 0; i < set->count && *fresh; i++)
            *fresh = !str_eq(set->keys[i], key);
        set->count += *fresh;
        return true;
    }
    bool first_time = true;
    for (uint32_t i = set->table.count; i < FEW_KEYS; i++)
        if (!name_table_add(&set->table, set->keys[i], i, key_of, set, &first_time, NULL))
            return false;
    if (!name_table_add(&set->table, key, set->count, key_of, set, fresh, NULL))
        return false;
    set->count += *fresh;
    return true;
}

void key_set_clear(struct key_set *set)
{
    set->count = 0;
    name_table_free(&set->table);
}

void key_set_free(struct key_set *set)
{
    free(set->keys);
    name_table_free(&set->table);
    *set = (struct key_set){0};
}
