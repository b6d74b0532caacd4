/* fuzz_json.c - the strict JSON reader against cJSON: what it takes, cJSON takes with the same
 * tree; and what json.c has read, written and read again. */
#include <cjson/cJSON.h>
#include <string.h>

#include "core/json.h"
#include "core/pull.h"
#include "fuzz.h"

#define MAX_NUMBER 63 /* characters that cJSON reads of one */

static bool has_long_number(const char *text, size_t n)
{
    size_t run = 0;
    for (size_t i = 0; i < n; i++) {
        run = text[i] && strchr("+-.0123456789Ee", text[i]) ? run + 1 : 0;
        if (run > MAX_NUMBER)
            return true;
    }
    return false;
}

/* cJSON ends texts at U+0000. */
static bool same_text(const char *theirs, struct str ours)
{
    return theirs && strnlen(ours.p, ours.n) == strlen(theirs) &&
           memcmp(theirs, ours.p, strlen(theirs)) == 0;
}

static void compare(struct pull *p, enum pull_token token, const cJSON *v);

/* Of a text that is strict JSON cJSON makes the same tree, but for numbers that are too long. */
static void compare_inner(struct pull *p, enum pull_token token, const cJSON *v)
{
    const enum pull_token end = token == PULL_OBJECT ? PULL_OBJECT_END : PULL_ARRAY_END;
    FUZZ_CHECK(token == PULL_OBJECT ? cJSON_IsObject(v) : cJSON_IsArray(v));
    const cJSON *child = v->child;
    while ((token = pull_next(p)) != end) {
        FUZZ_CHECK(child != NULL);
        if (end == PULL_OBJECT_END) {
            FUZZ_CHECK(token == PULL_KEY && same_text(child->string, p->str));
            token = pull_next(p);
        }
        compare(p, token, child);
        child = child->next;
    }
    FUZZ_CHECK(child == NULL);
}

static void compare(struct pull *p, enum pull_token token, const cJSON *v)
{
    uint64_t u;
    switch (token) {
    case PULL_OBJECT:
    case PULL_ARRAY:
        compare_inner(p, token, v);
        break;
    case PULL_STRING:
        FUZZ_CHECK(cJSON_IsString(v) && same_text(v->valuestring, p->str));
        FUZZ_CHECK(p->str.p[p->str.n] == '\0' && utf8_valid(p->str, NULL));
        break;
    case PULL_NUMBER: {
        char text[MAX_NUMBER + 1];
        snprintf(text, sizeof text, "%.*s", STR_ARG(p->str));
        FUZZ_CHECK(cJSON_IsNumber(v) && v->valuedouble == strtod(text, NULL));
        if (pull_u64(p, &u))
            FUZZ_CHECK((double)u == v->valuedouble);
        break;
    }
    case PULL_TRUE:
        FUZZ_CHECK(cJSON_IsTrue(v));
        break;
    case PULL_FALSE:
        FUZZ_CHECK(cJSON_IsFalse(v));
        break;
    default:
        FUZZ_CHECK(token == PULL_NULL && cJSON_IsNull(v));
    }
}

/* Whether it is JSON. */
static bool read_all(char *text, size_t n)
{
    struct pull p;
    struct quern_error err;
    enum pull_token token;
    pull_start(&p, text, n);
    while ((token = pull_next(&p)) > PULL_END)
        FUZZ_CHECK(p.at <= n && p.token_at <= p.at);
    if (token == PULL_ERROR)
        FUZZ_CHECK(p.bad_at <= n && fuzz_failed(pull_fail(&p, 0, &err), &err));
    return token == PULL_END;
}

/* Skipping a value and reading a list of integers end where reading one by one does. */
static void read_otherwise(char *text, size_t n)
{
    struct pull p;
    uint64_t items[8];
    size_t count;
    pull_start(&p, text, n);
    const enum pull_ints ints = pull_u64_array(&p, items, 8, &count);
    if (ints == PULL_INTS_NOT_ARRAY) {
        FUZZ_CHECK(pull_skip(&p, pull_next(&p)) && pull_next(&p) == PULL_END);
    } else if (ints == PULL_INTS_OK) {
        FUZZ_CHECK(pull_next(&p) == PULL_END);
    }
}

static void write_value(struct json_writer *w, const struct json *v)
{
    struct str text;
    double x;
    bool b;
    if (json_is_object(v) || json_is_array(v)) {
        json_open(w, json_is_object(v) ? '{' : '[');
        for (const struct json *i = json_first(v); i; i = json_next(i)) {
            if (json_is_object(v))
                json_key_str(w, json_key_of(i));
            write_value(w, i);
        }
        json_close(w, json_is_object(v) ? '}' : ']');
    } else if (json_text(v, &text)) {
        json_put_str(w, text);
    } else if (json_f64(v, &x)) {
        json_put_f64(w, x);
    } else if (json_bool(v, &b)) {
        json_put_bool(w, b);
    } else {
        json_put_null(w);
    }
}

/* Written and read again it is written the same. */
static void write_again(const struct json *root, bool ascii)
{
    struct json_writer once = {.ascii = ascii}, twice = {.ascii = ascii};
    struct json *again;
    struct quern_error err;
    write_value(&once, root);
    const struct str text = json_written(&once);
    FUZZ_CHECK(text.p && json_parse(text, &again, &err) == QUERN_OK);
    write_value(&twice, again);
    FUZZ_CHECK(str_eq(text, json_written(&twice)));
    json_free(again);
    json_writer_free(&once);
    json_writer_free(&twice);
}

static void run(char *text, size_t n)
{
    struct arena a = {0};
    const struct str original = arena_str(&a, (struct str){text, n});
    struct json *root;
    struct quern_error err;
    if (!fuzz_failed(json_parse(original, &root, &err), &err)) {
        write_again(root, false);
        write_again(root, true);
        json_free(root);
    }
    if (read_all(text, n)) {
        cJSON *tree = cJSON_ParseWithLength(original.p, n);
        struct pull p;
        memcpy(text, original.p, n);
        pull_start(&p, text, n);
        if (!has_long_number(original.p, n))
            compare(&p, pull_next(&p), tree);
        cJSON_Delete(tree);
        memcpy(text, original.p, n);
        read_otherwise(text, n);
    }
    arena_free(&a);
}

static const char *const words[] = {"null",      "true",           "false",   "NaN",   "Infinity",
                                    "-Infinity", "\\ud83d\\ude00", "\\u0000", "1e400", "-0",
                                    "\"a\":1,",  "[[[[[[[[",       "{\"a\":", NULL};

const struct fuzz_target fuzz_json = {
    .name = "json",
    .max_len = 1024,
    .run = run,
    .mutate = mutate_json,
    .bytes_per_byte = 64,
    .bytes_besides = 49152,
    .words = words,
};
