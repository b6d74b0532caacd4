/* test_json.c - small JSON texts: what is read from them, and texts that are written. */
#include "core/json.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/pull.h"

static struct json *parse(const char *text)
{
    struct json *root = NULL;
    struct quern_error err;
    cr_assert(json_parse(str_from(text), &root, &err) == QUERN_OK, "%s: %s", text, err.text);
    return root;
}

static void expect_error(struct str text, const char *kind)
{
    struct json *root = NULL;
    struct quern_error err;
    cr_assert(json_parse(text, &root, &err) == QUERN_EFORMAT, "%s", quoted(text).text);
    cr_assert_str_eq(err.kind, kind, "%s", quoted(text).text);
    cr_assert(root == NULL);
}

Test(json, reads_a_configuration)
{
    struct json *root =
        parse("{\"arch\": [\"A\", \"B\"], \"n\": 4096, \"eps\": 1e-05, \"tie\": true,"
              " \"none\": null, \"big\": 9007199254740993, \"neg\": -1,"
              " \"half\": 0.5, \"sub\": {\"\\u00e9\": \"x\\ny\"}}");
    struct str s;
    uint64_t n;
    double d;
    bool b;
    cr_assert(json_is_object(root) && json_count(root) == 9);
    cr_assert(json_u64(json_get(root, "n"), &n) && n == 4096);
    cr_assert(json_f64(json_get(root, "eps"), &d) && d == 1e-05);
    cr_assert(json_bool(json_get(root, "tie"), &b) && b);
    cr_assert(json_is_null(json_get(root, "none")));
    cr_assert(json_text(json_get(json_get(root, "sub"), "\xc3\xa9"), &s) && str_is(s, "x\ny"));

    const struct json *arch = json_get(root, "arch");
    cr_assert(json_is_array(arch) && json_count(arch) == 2);
    cr_assert(json_text(json_next(json_first(arch)), &s) && str_is(s, "B"));
    cr_assert(json_next(json_next(json_first(arch))) == NULL);
    cr_assert(str_is(json_key_of(json_first(root)), "arch"));

    /* Not whole, not positive, or not exact in a double. */
    cr_assert(!json_u64(json_get(root, "half"), &n) && !json_u64(json_get(root, "neg"), &n));
    cr_assert(!json_bool(json_get(root, "n"), &b) && !json_bool(json_get(root, "none"), &b));
    cr_assert(!json_u64(json_get(root, "tie"), &n) && !json_text(json_get(root, "n"), &s));
    cr_assert(json_get(root, "N") == NULL, "keys are compared by case");
    json_free(root);
}

static bool same_numbers(const char *a, const char *b)
{
    struct json *x = parse(a), *y = parse(b);
    const bool same = json_same_number(json_next(json_first(json_get(x, "k"))),
                                       json_next(json_first(json_get(y, "k"))));
    json_free(x);
    json_free(y);
    return same;
}

/* Doubles have no odd numbers beyond 2^53. */
Test(json, big_integers_are_compared_by_their_digits)
{
    cr_assert(!same_numbers("{\"a\": [{}, 1], \"k\": [0, 9007199254740993]}",
                            "{\"a\": [{}, 1], \"k\": [0, 9007199254740992]}"));
    cr_assert(!same_numbers("{\"k\": [NaN, -9223372036854775807]}",
                            "{\"k\": [null, -9223372036854775808]}"));
    cr_assert(same_numbers("{\"k\": [[[2]], 18446744073709551615], \"b\": 2}",
                           "{\"k\": [3, 18446744073709551615]}"));
    cr_assert(same_numbers("{\"k\": [{\"k\": 18446744073709551615}, 7]}", "{\"k\": [3, 7.0]}"));
    cr_assert(!same_numbers("{\"k\": [0, 10000000000000000]}", "{\"k\": [0, 1e16]}"));
    cr_assert(!same_numbers("{\"k\": [0, 1]}", "{\"k\": [0, 2]}"));
    cr_assert(!same_numbers("{\"k\": [0, 1]}", "{\"k\": [0, \"1\"]}"));
}

Test(json, what_is_not_there_has_no_value)
{
    struct json *root = parse("{\"a\": 1}");
    struct str s;
    double d;
    const struct json *none = json_get(json_get(root, "b"), "c");
    cr_assert(none == NULL && json_first(none) == NULL && json_count(none) == 0);
    cr_assert(!json_text(none, &s) && !json_f64(none, &d) && !json_is_null(none));
    cr_assert(json_get(json_get(root, "a"), "b") == NULL, "a number has no members");
    cr_assert(json_key_of(NULL).n == 0 && json_next(NULL) == NULL);
    json_free(root);
    json_free(NULL);
}

Test(json, takes_what_python_writes_for_nan_and_infinity)
{
    struct json *root =
        parse("{\"a\": [NaN, Infinity, -Infinity], \"b\":NaN, \"NaN\": \"Infinity\"}");
    const struct json *a = json_first(json_get(root, "a"));
    double d;
    struct str s;
    cr_assert(json_is_null(a));
    cr_assert(json_f64(json_next(a), &d) && isinf(d) && d > 0);
    cr_assert(json_f64(json_next(json_next(a)), &d) && isinf(d) && d < 0);
    cr_assert(json_is_null(json_get(root, "b")));
    cr_assert(json_text(json_get(root, "NaN"), &s) && str_is(s, "Infinity"));
    json_free(root);
}

Test(json, refuses_what_cjson_would_take)
{
    expect_error(STR(""), "json");
    expect_error(STR("{\"a\": 01}"), "json");
    expect_error(STR("{\"a\": 1.}"), "json");
    expect_error(STR("{\"a\": \"\t\"}"), "json");
    expect_error(STR("{} x"), "json");
    expect_error(STR("{}\0"), "json");
    expect_error(STR("\xef\xbb\xbf{}"), "json");
    expect_error(STR("{\"a\": \"\\ud800\"}"), "json");
    expect_error(STR("{\"a\\u0000b\": 1}"), "json");
    expect_error(STR("{\"a\": \"\\u0000\"}"), "json");
    expect_error(STR("{\"a\": \"\xff\"}"), "utf8");
    expect_error(STR("{\"a\": 1, \"b\": 2, \"a\": 3}"), "duplicate");
    expect_error(STR("{\"a\": 1, \"\\u0061\": 3}"), "duplicate");
    expect_error(STR("[{\"a\": {\"x\": 1, \"x\": 2}}]"), "duplicate");
    struct json *root = parse("[{\"a\": {\"a\": 1}}, {\"a\": 2}]");
    json_free(root);
}

Test(json, has_limits)
{
    char *text = malloc(JSON_MAX_BYTES + 1);
    memset(text, ' ', JSON_MAX_BYTES + 1);
    text[0] = '1';
    expect_error((struct str){text, JSON_MAX_BYTES + 1}, "too-large");
    struct json *root;
    cr_assert(json_parse((struct str){text, JSON_MAX_BYTES}, &root, NULL) == QUERN_OK);
    json_free(root);
    memset(text, '[', JSON_MAX_BYTES);
    expect_error((struct str){text, JSON_MAX_BYTES}, "json-depth");
    free(text);
}

/* ---- writing -------------------------------------------------------------------------------- */

static void expect_written(struct json_writer *w, const char *want)
{
    const struct str got = json_written(w);
    cr_assert(str_is(got, want), "wrote %s, not %s", got.p, want);
    cr_assert(got.p[got.n] == '\0');
    json_writer_free(w);
}

Test(json, writes_objects_and_arrays)
{
    struct json_writer w = {0};
    json_open(&w, '{');
    json_key(&w, "u");
    json_put_u64(&w, UINT64_MAX);
    json_key(&w, "i");
    json_put_i64(&w, INT64_MIN);
    json_key(&w, "list");
    json_open(&w, '[');
    json_put_bool(&w, true);
    json_put_null(&w);
    json_open(&w, '{');
    json_close(&w, '}');
    json_open(&w, '[');
    json_close(&w, ']');
    json_put_text(&w, NULL);
    json_put_text(&w, "x");
    json_close(&w, ']');
    json_key_str(&w, STR("k\"\0"));
    json_put_bool(&w, false);
    json_close(&w, '}');
    expect_written(&w, "{\"u\":18446744073709551615,\"i\":-9223372036854775808,"
                       "\"list\":[true,null,{},[],null,\"x\"],\"k\\\"\\u0000\":false}");
    struct json_writer empty = {0};
    expect_written(&empty, "");
}

Test(json, escapes_any_bytes)
{
    static const struct {
        struct str bytes;
        const char *plain, *ascii;
    } cases[] = {
        {STR("\"\\/\b\f\n\r\t"),                      "\"\\\"\\\\/\\b\\f\\n\\r\\t\"",               "\"\\\"\\\\/\\b\\f\\n\\r\\t\""},
        {STR("\0\x01\x1f\x7f"),                       "\"\\u0000\\u0001\\u001f\x7f\"",
         "\"\\u0000\\u0001\\u001f\\u007f\""                                                                                       },
        {STR("\xc3\xa9\xe6\xa8\xa1\xf0\x9f\x98\x80"), "\"\xc3\xa9\xe6\xa8\xa1\xf0\x9f\x98\x80\"",
         "\"\\u00e9\\u6a21\\ud83d\\ude00\""                                                                                       },
        {STR("a\xff\xc0\x80z"),                       "\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\"",
         "\"a\\ufffd\\ufffd\\ufffdz\""                                                                                            },
        {STR("\xed\xa0\x80"),                         "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"",
         "\"\\ufffd\\ufffd\\ufffd\""                                                                                              },
        {STR(""),                                     "\"\"",                                       "\"\""                        },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct json_writer plain = {0}, ascii = {.ascii = true};
        json_put_str(&plain, cases[i].bytes);
        expect_written(&plain, cases[i].plain);
        json_put_str(&ascii, cases[i].bytes);
        expect_written(&ascii, cases[i].ascii);
    }
}

Test(json, writes_numbers_that_read_back_exactly)
{
    static const struct {
        double v;
        const char *want;
    } cases[] = {
        {0,         "0"                    },
        {-0.0,      "-0"                   },
        {0.1,       "0.1"                  },
        {1.0 / 3,   "0.3333333333333333"   },
        {1e300,     "1e+300"               },
        {5e-324,    "4.94065645841247e-324"},
        {4.5,       "4.5"                  },
        {1e15,      "1e+15"                },
        {123456789, "123456789"            },
        {NAN,       "null"                 },
        {INFINITY,  "null"                 },
        {-INFINITY, "null"                 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct json_writer w = {0};
        json_put_f64(&w, cases[i].v);
        expect_written(&w, cases[i].want);
    }
}

static uint64_t seed = UINT64_C(0x243F6A8885A308D3);

static uint32_t draw(uint32_t below)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((seed >> 33) % below);
}

/* Random bytes, written and read again: the same when they were UTF-8, readable always. */
Test(json, whatever_is_written_can_be_read)
{
    for (int round = 0; round < 20000; round++) {
        char bytes[24];
        const size_t n = draw(sizeof bytes);
        for (size_t i = 0; i < n; i++)
            bytes[i] = draw(2) ? (char)draw(256) : "\"\\\n a\xc3\xa9\xed"[draw(8)];
        const struct str s = {bytes, n};
        struct json_writer w = {.ascii = round % 2};
        json_put_str(&w, s);
        const struct str text = json_written(&w);
        struct pull p;
        pull_start(&p, w.p, text.n);
        cr_assert(pull_next(&p) == PULL_STRING && utf8_valid(p.str, NULL), "round %d", round);
        cr_assert(!utf8_valid(s, NULL) || str_eq(p.str, s), "round %d: %s", round, quoted(s).text);
        cr_assert(pull_next(&p) == PULL_END);
        json_writer_free(&w);
    }
}

/* cJSON reads 63 characters of a number, and would leave the rest of one that stands alone. */
Test(json, numbers_have_an_end)
{
    static const char *const texts[] = {
        "1234567890123456789012345678901234567890123456789012345678901234567890",
        "[1234567890123456789012345678901234567890123456789012345678901234567890]"};
    for (size_t i = 0; i < 2; i++) {
        struct json *root;
        struct quern_error err;
        cr_assert(json_parse(str_from(texts[i]), &root, &err) == QUERN_EFORMAT);
        cr_assert_str_eq(err.kind, "json");
    }
}
