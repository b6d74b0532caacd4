/* json.c - small JSON texts in and out; the only file that includes cJSON.
 *
 * cJSON alone takes duplicate keys, invalid UTF-8, raw control bytes and numbers that are none, and
 * cuts strings at U+0000. So it only ever sees text that pull.c has read to its end. */
#include "json.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "pull.h"

#define MAX_NUMBER 63u /* characters that cJSON reads of a number */

/* ---- checking ------------------------------------------------------------------------------- */

struct checker {
    struct pull json;
    struct key_set keys[PULL_MAX_DEPTH]; /* of the objects that are open, by depth */
    const char *text;                    /* untouched; pull.c works on a copy */
    size_t copied;                       /* of it, into out */
    char *out;
    size_t nout;
    bool long_number; /* longer than cJSON reads */
    bool big_integer; /* one that may be no double */
};

/* Written without point and exponent, and beyond what doubles count one by one. */
static bool is_big_integer(struct str s)
{
    for (size_t i = s.p[0] == '-'; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 15;
}

static void copy_until(struct checker *c, size_t at)
{
    memcpy(c->out + c->nout, c->text + c->copied, at - c->copied);
    c->nout += at - c->copied;
    c->copied = at;
}

/* Python's names for what JSON cannot say become something that cJSON reads: 1e999 is infinite, and
 * null stands for NaN. */
static void copy_number(struct checker *c)
{
    const struct str s = c->json.str;
    const bool nan = str_is(s, "NaN");
    c->long_number |= s.n > MAX_NUMBER;
    c->big_integer |= is_big_integer(s);
    if (!nan && !str_ends(s, "Infinity"))
        return;
    const char *words = nan ? "null" : s.p[0] == '-' ? "-1e999" : "1e999";
    copy_until(c, c->json.token_at);
    memcpy(c->out + c->nout, words, strlen(words));
    c->nout += strlen(words);
    c->copied += s.n;
}

static enum quern_status check_key(struct checker *c, struct quern_error *err)
{
    bool fresh;
    struct key_set *keys = &c->keys[c->json.depth - 1];
    if (!key_set_add(keys, c->json.str, &fresh))
        return fail_memory(err, keys->count * sizeof *keys->keys);
    if (fresh)
        return QUERN_OK;
    return at_offset(err, c->json.token_at,
                     fail(err, QUERN_EFORMAT, "duplicate",
                          "key '%s' is there twice" WANT "expected different keys",
                          quoted(c->json.str).text));
}

static enum quern_status check_text(struct checker *c, struct quern_error *err)
{
    enum pull_token token;
    while ((token = pull_next(&c->json)) > PULL_END) {
        if (token == PULL_OBJECT)
            key_set_clear(&c->keys[c->json.depth - 1]);
        if (token == PULL_NUMBER)
            copy_number(c);
        if ((token == PULL_KEY || token == PULL_STRING) &&
            memchr(c->json.str.p, '\0', c->json.str.n))
            return at_offset(
                err, c->json.token_at,
                fail(err, QUERN_EFORMAT, "json", "a string holds U+0000" WANT "expected text"));
        if (token == PULL_KEY)
            TRY(check_key(c, err));
    }
    if (token == PULL_ERROR)
        return pull_fail(&c->json, 0, err);
    copy_until(c, c->json.nbytes);
    return QUERN_OK;
}

/* ---- big integers --------------------------------------------------------------------------- */

/* Reads the text once more, beside the tree made of it, and leaves the digits with their nodes: the
 * field for strings is free there, and freed with the rest. */
static bool keep_digits(struct pull *p, cJSON *n)
{
    cJSON *next[PULL_MAX_DEPTH + 1] = {n};
    enum pull_token token;
    while ((token = pull_next(p)) > PULL_END) {
        const bool opens = token == PULL_OBJECT || token == PULL_ARRAY;
        if (token == PULL_KEY || token == PULL_OBJECT_END || token == PULL_ARRAY_END)
            continue;
        cJSON **at = &next[p->depth - opens];
        n = *at;
        *at = n->next;
        if (opens)
            next[p->depth] = n->child;
        if (token != PULL_NUMBER || !is_big_integer(p->str))
            continue;
        n->valuestring = cJSON_malloc(p->str.n + 1);
        if (!n->valuestring)
            return false;
        memcpy(n->valuestring, p->str.p, p->str.n);
        n->valuestring[p->str.n] = '\0';
    }
    return true;
}

/* ---- reading -------------------------------------------------------------------------------- */

static enum quern_status parse_checked(struct checker *c, cJSON **root, struct quern_error *err)
{
    TRY(check_text(c, err));
    if (c->long_number)
        return fail(err, QUERN_EFORMAT, "json",
                    "the JSON text has a number that is too long" WANT
                    "expected numbers of at most %u characters",
                    MAX_NUMBER);
    *root = cJSON_ParseWithLength(c->out, c->nout);
    if (*root && c->big_integer) {
        pull_start(&c->json, c->out, c->nout);
        if (!keep_digits(&c->json, *root)) {
            cJSON_Delete(*root);
            *root = NULL;
        }
    }
    return *root ? QUERN_OK : fail_memory(err, c->nout);
}

enum quern_status json_parse(struct str text, struct json **root, struct quern_error *err)
{
    if (text.n > JSON_MAX_BYTES)
        return fail(err, QUERN_EFORMAT, "too-large",
                    "the JSON text has %zu bytes" WANT "expected at most %u", text.n,
                    JSON_MAX_BYTES);
    struct checker *c = calloc(1, sizeof *c);
    char *scratch = malloc(text.n + 1);
    char *out = malloc(text.n + text.n / 3 + 1); /* NaN grows to null */
    enum quern_status s = QUERN_OK;
    if (!c || !scratch || !out) {
        s = fail_memory(err, text.n * 3);
    } else {
        if (text.n)
            memcpy(scratch, text.p, text.n);
        c->text = text.p;
        c->out = out;
        pull_start(&c->json, scratch, text.n);
        c->json.nonfinite = true;
        cJSON *parsed = NULL;
        s = parse_checked(c, &parsed, err);
        if (s == QUERN_OK)
            *root = (struct json *)parsed;
    }
    for (size_t i = 0; c && i < PULL_MAX_DEPTH; i++)
        key_set_free(&c->keys[i]);
    free(c);
    free(scratch);
    free(out);
    return s;
}

/* struct json is never defined: outside this file it is only a name for cJSON's nodes. */
static const cJSON *node(const struct json *v)
{
    return (const cJSON *)v;
}

static const struct json *value(const cJSON *n)
{
    return (const struct json *)n;
}

void json_free(struct json *root)
{
    cJSON_Delete((cJSON *)root);
}

bool json_is_object(const struct json *v)
{
    return cJSON_IsObject(node(v));
}

bool json_is_array(const struct json *v)
{
    return cJSON_IsArray(node(v));
}

bool json_is_null(const struct json *v)
{
    return cJSON_IsNull(node(v));
}

const struct json *json_get(const struct json *object, const char *key)
{
    return json_is_object(object) ? value(cJSON_GetObjectItemCaseSensitive(node(object), key))
                                  : NULL;
}

const struct json *json_first(const struct json *v)
{
    return json_is_object(v) || json_is_array(v) ? value(node(v)->child) : NULL;
}

const struct json *json_next(const struct json *v)
{
    return v ? value(node(v)->next) : NULL;
}

size_t json_count(const struct json *v)
{
    size_t n = 0;
    for (const struct json *i = json_first(v); i; i = json_next(i))
        n++;
    return n;
}

struct str json_key_of(const struct json *member)
{
    return member && node(member)->string ? str_from(node(member)->string) : STR("");
}

bool json_text(const struct json *v, struct str *out)
{
    if (!cJSON_IsString(node(v)))
        return false;
    *out = str_from(node(v)->valuestring);
    return true;
}

bool json_f64(const struct json *v, double *out)
{
    if (!cJSON_IsNumber(node(v)))
        return false;
    *out = node(v)->valuedouble;
    return true;
}

bool json_u64(const struct json *v, uint64_t *out)
{
    double d;
    /* Beyond 2^53 neighbours share a double, so the number in the text is not known any more. */
    if (!json_f64(v, &d) || !(d >= 0 && d <= 9007199254740992.0) || d != floor(d))
        return false;
    *out = (uint64_t)d;
    return true;
}

bool json_same_number(const struct json *a, const struct json *b)
{
    double x, y;
    if (!json_f64(a, &x) || !json_f64(b, &y) || x != y)
        return false;
    const char *const s = node(a)->valuestring, *const t = node(b)->valuestring;
    return s && t ? strcmp(s, t) == 0 : !s && !t;
}

bool json_bool(const struct json *v, bool *out)
{
    if (!cJSON_IsBool(node(v)))
        return false;
    *out = cJSON_IsTrue(node(v));
    return true;
}

/* ---- writing -------------------------------------------------------------------------------- */

void json_raw(struct json_writer *w, struct str bytes)
{
    if (w->failed)
        return;
    if (bytes.n >= w->capacity - w->n) {
        /* One byte more than asked for: the NUL of json_written(). */
        size_t capacity = w->capacity ? w->capacity : 256;
        while (capacity - w->n <= bytes.n && capacity <= SIZE_MAX / 4)
            capacity *= 2;
        char *p = capacity - w->n > bytes.n ? realloc(w->p, capacity) : NULL;
        if (!p) {
            w->failed = true;
            return;
        }
        w->p = p;
        w->capacity = capacity;
    }
    if (bytes.n)
        memcpy(w->p + w->n, bytes.p, bytes.n);
    w->n += bytes.n;
}

void json_line(struct json_writer *w, const char *indent)
{
    json_raw(w, w->comma ? STR(",\n") : STR("\n"));
    json_raw(w, str_from(indent));
    w->comma = false;
}

__attribute__((format(printf, 2, 3))) static void raw_format(struct json_writer *w,
                                                             const char *format, ...)
{
    char text[64];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_raw(w, (struct str){text, (size_t)n});
}

static void before_item(struct json_writer *w)
{
    if (w->comma)
        json_raw(w, STR(","));
    w->comma = true;
}

void json_open(struct json_writer *w, char bracket)
{
    before_item(w);
    json_raw(w, (struct str){&bracket, 1});
    w->comma = false;
}

void json_close(struct json_writer *w, char bracket)
{
    json_raw(w, (struct str){&bracket, 1});
    w->comma = true;
}

/* The code point at p, valid UTF-8, and its length. */
static uint32_t code_point(const char *text, size_t *n)
{
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x80) {
        *n = 1;
        return p[0];
    }
    *n = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    uint32_t c = p[0] & (0x7Fu >> *n);
    for (size_t i = 1; i < *n; i++)
        c = c << 6 | (p[i] & 0x3Fu);
    return c;
}

static void put_escape(struct json_writer *w, uint32_t c)
{
    static const char special[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *known = c && c < 0x80 ? strchr(special, (int)c) : NULL;
    if (known)
        raw_format(w, "\\%c", letters[known - special]);
    else if (c < 0x10000)
        raw_format(w, "\\u%04" PRIx32, c);
    else
        raw_format(w, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xD7C0 + (c >> 10), 0xDC00 + (c & 0x3FF));
}

/* Valid UTF-8, run by run. */
static void put_valid(struct json_writer *w, struct str s)
{
    size_t run = 0;
    for (size_t i = 0; i < s.n;) {
        size_t n;
        const uint32_t c = code_point(s.p + i, &n);
        if (c < 0x20 || c == '"' || c == '\\' || (w->ascii && c >= 0x7F)) {
            json_raw(w, (struct str){s.p + run, i - run});
            put_escape(w, c);
            run = i + n;
        }
        i += n;
    }
    json_raw(w, (struct str){s.p + run, s.n - run});
}

static void put_quoted(struct json_writer *w, struct str s)
{
    json_raw(w, STR("\""));
    size_t bad;
    while (s.n && !utf8_valid(s, &bad)) {
        put_valid(w, (struct str){s.p, bad});
        put_valid(w, STR("\xEF\xBF\xBD"));
        s = (struct str){s.p + bad + 1, s.n - bad - 1};
    }
    put_valid(w, s);
    json_raw(w, STR("\""));
}

void json_key_str(struct json_writer *w, struct str key)
{
    before_item(w);
    put_quoted(w, key);
    json_raw(w, STR(":"));
    w->comma = false;
}

void json_key(struct json_writer *w, const char *key)
{
    json_key_str(w, str_from(key));
}

void json_put_str(struct json_writer *w, struct str s)
{
    before_item(w);
    put_quoted(w, s);
}

void json_put_text(struct json_writer *w, const char *text)
{
    if (text)
        json_put_str(w, str_from(text));
    else
        json_put_null(w);
}

void json_put_u64(struct json_writer *w, uint64_t v)
{
    before_item(w);
    raw_format(w, "%" PRIu64, v);
}

void json_put_i64(struct json_writer *w, int64_t v)
{
    before_item(w);
    raw_format(w, "%" PRId64, v);
}

void json_put_f64(struct json_writer *w, double v)
{
    if (!isfinite(v)) {
        json_put_null(w);
        return;
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    /* The host program may have set a locale with another decimal point. */
    for (char *c = text; *c; c++)
        if ((*c < '0' || *c > '9') && *c != '-' && *c != '+' && *c != 'e')
            *c = '.';
    before_item(w);
    json_raw(w, str_from(text));
}

void json_put_bool(struct json_writer *w, bool v)
{
    before_item(w);
    json_raw(w, v ? STR("true") : STR("false"));
}

void json_put_null(struct json_writer *w)
{
    before_item(w);
    json_raw(w, STR("null"));
}

struct str json_written(struct json_writer *w)
{
    json_raw(w, STR("")); /* room for the NUL also when nothing was written */
    if (w->failed)
        return (struct str){NULL, 0};
    w->p[w->n] = '\0';
    return (struct str){w->p, w->n};
}

void json_writer_free(struct json_writer *w)
{
    free(w->p);
    *w = (struct json_writer){0};
}
