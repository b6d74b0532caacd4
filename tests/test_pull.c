/* test_pull.c - the strict JSON reader: what it takes, what it refuses and where, what it hands
 * out.
 */
#include "core/pull.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* The reader writes into its text, so every text is a malloc'ed copy: a byte too far is seen by the
 * address sanitizer. */
static char *copy(struct str s)
{
    char *p = malloc(s.n ? s.n : 1);
    cr_assert(p);
    if (s.n)
        memcpy(p, s.p, s.n);
    return p;
}

static enum pull_token read_all(struct pull *p, char *text, size_t n)
{
    enum pull_token token;
    pull_start(p, text, n);
    while ((token = pull_next(p)) > PULL_END)
        ;
    return token;
}

static void expect_error(struct str text, const char *kind, size_t at)
{
    struct pull p;
    char *mine = copy(text);
    cr_assert(read_all(&p, mine, text.n) == PULL_ERROR, "%s was taken", quoted(text).text);
    cr_assert_str_eq(p.kind, kind, "%s", quoted(text).text);
    cr_assert(p.bad_at == at, "%s: error at %zu, not %zu", quoted(text).text, p.bad_at, at);
    cr_assert(pull_next(&p) == PULL_ERROR, "an error must stay");
    free(mine);
}

Test(pull, takes_what_the_standard_says)
{
    static const char *const texts[] = {
        "0",
        "-0",
        "-0.0e-0",
        "1.5E+300",
        "123456789012345678901234567890",
        "null",
        "true",
        "false",
        "\"\"",
        "[]",
        "{}",
        " \t\r\n[ ] \n",
        "[1,2,[3,{}],\"x\"]",
        "{\"a\":{\"b\":[{}]},\"c\":null}",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\u0000\\u00e9\\uD83D\\uDE00\"",
        "\"\x7f\xc2\x80\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\"",
        "{\"a\":1,\"a\":2}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct pull p;
        char *mine = copy(str_from(texts[i]));
        cr_assert(read_all(&p, mine, strlen(texts[i])) == PULL_END, "%s: %s", texts[i], p.what);
        cr_assert(pull_next(&p) == PULL_END);
        free(mine);
    }
}

Test(pull, refuses_everything_else_and_says_where)
{
    static const struct {
        const char *text;
        size_t at;
    } cases[] = {
        {"",                   0},
        {"  ",                 2},
        {"[",                  1},
        {"{",                  1},
        {"]",                  0},
        {"}",                  0},
        {"[}",                 1},
        {"{]",                 1},
        {"[1",                 2},
        {"[1,",                3},
        {"[1,]",               3},
        {"[,1]",               1},
        {"[1 2]",              3},
        {"[1]]",               3},
        {"{\"a\"}",            4},
        {"{\"a\":}",           5},
        {"{\"a\":1,}",         7},
        {"{\"a\" 1}",          5},
        {"{1:2}",              1},
        {"{a:1}",              1},
        {"{'a':1}",            1},
        {"1 2",                2},
        {"{}{}",               2},
        {"{}x",                2},
        {"nul",                0},
        {"nulll",              4},
        {"True",               0},
        {"NaN",                0},
        {"Infinity",           0},
        {"-Infinity",          1},
        {"01",                 0},
        {"-01",                1},
        {"+1",                 0},
        {".5",                 0},
        {"1.",                 1},
        {"1.e5",               1},
        {"1e",                 2},
        {"1e+",                3},
        {"-",                  1},
        {"0x10",               1},
        {"1_000",              1},
        {"\"",                 1},
        {"\"a",                2},
        {"\"\\\"",             3},
        {"\"\\",               2},
        {"\"\\x41\"",          2},
        {"\"\\u12\"",          3},
        {"\"\\u12G4\"",        3},
        {"\"a\tb\"",           2},
        {"\"a\nb\"",           2},
        {"\"\\ud800\"",        1},
        {"\"\\ud800x\"",       1},
        {"\"\\ud800\\n\"",     1},
        {"\"\\ud800\\ud800\"", 1},
        {"\"\\udc00\"",        1},
        {"/*c*/1",             0},
        {"1//c",               1},
        {"\xef\xbb\xbf{}",     0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_error(str_from(cases[i].text), "json", cases[i].at);
    expect_error(STR("\0{}"), "json", 0);
    expect_error(STR("{}\0"), "json", 2);
    expect_error(STR("\"a\0b\""), "json", 2);
}

Test(pull, refuses_what_is_not_utf8)
{
    expect_error(STR("\"a\xff\""), "utf8", 2);
    expect_error(STR("\"\xc0\x80\""), "utf8", 1);
    expect_error(STR("\"\xe0\x80\x80\""), "utf8", 1);
    expect_error(STR("\"\xed\xa0\x80\""), "utf8", 1);
    expect_error(STR("\"\xf4\x90\x80\x80\""), "utf8", 1);
    expect_error(STR("\"abc\xe6\xa8\""), "utf8", 4);
    expect_error(STR("[1,\x80]"), "utf8", 3);
}

Test(pull, hands_out_tokens_and_unescaped_strings)
{
    static const struct {
        enum pull_token token;
        struct str str;
    } want[] = {
        {PULL_OBJECT,     {0}                         },
        {PULL_KEY,        STR("k\xc3\xa9y")           },
        {PULL_ARRAY,      {0}                         },
        {PULL_NUMBER,     STR("-1.5e3")               },
        {PULL_STRING,     STR("\xf0\x9f\x98\x80\"\n/")},
        {PULL_STRING,     STR("a\0b")                 },
        {PULL_TRUE,       {0}                         },
        {PULL_FALSE,      {0}                         },
        {PULL_NULL,       {0}                         },
        {PULL_ARRAY_END,  {0}                         },
        {PULL_KEY,        STR("")                     },
        {PULL_OBJECT,     {0}                         },
        {PULL_OBJECT_END, {0}                         },
        {PULL_OBJECT_END, {0}                         },
        {PULL_END,        {0}                         },
    };
    const struct str text =
        STR("{\"k\\u00E9y\" : [-1.5e3, \"\\uD83D\\uDE00\\\"\\n\\/\", \"a\\u0000b\","
            " true,false,null], \"\":{}}");
    char *mine = copy(text);
    struct pull p;
    pull_start(&p, mine, text.n);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const enum pull_token token = pull_next(&p);
        cr_assert(token == want[i].token, "token %zu is %d, not %d", i, token, want[i].token);
        if (!want[i].str.p)
            continue;
        cr_assert(str_eq(p.str, want[i].str), "token %zu is '%s'", i, quoted(p.str).text);
        if (token != PULL_NUMBER)
            cr_assert(p.str.p[p.str.n] == '\0', "token %zu is not NUL-terminated", i);
    }
    free(mine);
}

Test(pull, token_at_is_where_the_token_began)
{
    char text[] = "  {\"a\" : [ 12 , \"x\\n\" ] }";
    const size_t want[] = {2, 3, 9, 11, 16, 22, 24};
    struct pull p;
    pull_start(&p, text, strlen(text));
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        cr_assert(pull_next(&p) > PULL_END);
        cr_assert(p.token_at == want[i], "token %zu at %zu", i, p.token_at);
    }
}

Test(pull, sixty_four_levels_and_no_more)
{
    char text[2 * (PULL_MAX_DEPTH + 1)];
    for (unsigned depth = PULL_MAX_DEPTH; depth <= PULL_MAX_DEPTH + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        struct pull p;
        const enum pull_token end = read_all(&p, text, 2 * depth);
        cr_assert(end == (depth == PULL_MAX_DEPTH ? PULL_END : PULL_ERROR));
    }
    /* Without recursion a million brackets cost nothing. */
    char *deep = malloc(1000000);
    memset(deep, '[', 1000000);
    expect_error((struct str){deep, 1000000}, "json-depth", PULL_MAX_DEPTH);
    free(deep);
}

Test(pull, every_prefix_of_a_text_is_refused)
{
    const struct str whole =
        STR("{\"a\\u00e9\":[1,-2.5e+3,\"\\ud83d\\ude00\",true,null,{\"b\":false}]}");
    for (size_t n = 0; n < whole.n; n++) {
        char *mine = copy((struct str){whole.p, n});
        struct pull p;
        cr_assert(read_all(&p, mine, n) == PULL_ERROR, "the first %zu bytes were taken", n);
        cr_assert(p.bad_at <= n);
        free(mine);
    }
}

Test(pull, integers_keep_all_their_bits)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } cases[] = {
        {"0",                       true,  0                         },
        {"9007199254740993",        true,  UINT64_C(9007199254740993)},
        {"18446744073709551615",    true,  UINT64_MAX                },
        {"18446744073709551616",    false, 0                         },
        {"99999999999999999999999", false, 0                         },
        {"-0",                      false, 0                         },
        {"-1",                      false, 0                         },
        {"1.0",                     false, 0                         },
        {"1e0",                     false, 0                         },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        snprintf(text, sizeof text, "%s", cases[i].text);
        struct pull p;
        pull_start(&p, text, strlen(text));
        uint64_t v = 0;
        cr_assert(pull_next(&p) == PULL_NUMBER);
        cr_assert(pull_u64(&p, &v) == cases[i].ok, "%s", cases[i].text);
        cr_assert(!cases[i].ok || v == cases[i].value, "%s gave %" PRIu64, cases[i].text, v);
    }
}

Test(pull, arrays_of_integers)
{
    static const struct {
        const char *text;
        enum pull_ints want;
        size_t count;
        uint64_t last;
    } cases[] = {
        {"[]",                               PULL_INTS_OK,        0, 0         },
        {" [ ] ",                            PULL_INTS_OK,        0, 0         },
        {"[ 1 , 2\n,18446744073709551615 ]", PULL_INTS_OK,        3, UINT64_MAX},
        {"[1,2,3,4]",                        PULL_INTS_OK,        4, 4         },
        {"[1,2,3,4,5]",                      PULL_INTS_TOO_MANY,  0, 0         },
        {"7",                                PULL_INTS_NOT_ARRAY, 0, 0         },
        {"{\"0\":1}",                        PULL_INTS_NOT_ARRAY, 0, 0         },
        {"null",                             PULL_INTS_NOT_ARRAY, 0, 0         },
        {"[1,]",                             PULL_INTS_BAD_ITEM,  0, 0         },
        {"[,1]",                             PULL_INTS_BAD_ITEM,  0, 0         },
        {"[1 2]",                            PULL_INTS_BAD_ITEM,  0, 0         },
        {"[02]",                             PULL_INTS_BAD_ITEM,  0, 0         },
        {"[-0]",                             PULL_INTS_BAD_ITEM,  0, 0         },
        {"[+1]",                             PULL_INTS_BAD_ITEM,  0, 0         },
        {"[0x1]",                            PULL_INTS_BAD_ITEM,  0, 0         },
        {"[1.0]",                            PULL_INTS_BAD_ITEM,  0, 0         },
        {"[1e0]",                            PULL_INTS_BAD_ITEM,  0, 0         },
        {"[true]",                           PULL_INTS_BAD_ITEM,  0, 0         },
        {"[[1]]",                            PULL_INTS_BAD_ITEM,  0, 0         },
        {"[NaN]",                            PULL_INTS_BAD_ITEM,  0, 0         },
        {"[18446744073709551616]",           PULL_INTS_BAD_ITEM,  0, 0         },
        {"[",                                PULL_INTS_ERROR,     0, 0         },
        {"[1",                               PULL_INTS_ERROR,     0, 0         },
        {"[1,",                              PULL_INTS_ERROR,     0, 0         },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *mine = copy(str_from(cases[i].text));
        struct pull p;
        pull_start(&p, mine, strlen(cases[i].text));
        uint64_t got[4];
        size_t count;
        const enum pull_ints result = pull_u64_array(&p, got, 4, &count);
        cr_assert(result == cases[i].want, "%s gave %d", cases[i].text, result);
        if (result == PULL_INTS_OK) {
            cr_assert(count == cases[i].count && (count == 0 || got[count - 1] == cases[i].last));
            cr_assert(pull_next(&p) == PULL_END, "%s", cases[i].text);
        } else if (result == PULL_INTS_NOT_ARRAY) {
            cr_assert(pull_next(&p) > PULL_END, "%s: nothing must be consumed", cases[i].text);
        }
        free(mine);
    }
}

Test(pull, skipping_passes_over_whole_values)
{
    char text[] = "[{\"a\":[1,{\"b\":2}]},[[]],\"x\",5]";
    struct pull p;
    pull_start(&p, text, strlen(text));
    cr_assert(pull_next(&p) == PULL_ARRAY);
    for (int i = 0; i < 4; i++)
        cr_assert(pull_skip(&p, pull_next(&p)), "value %d", i);
    cr_assert(pull_next(&p) == PULL_ARRAY_END);
    cr_assert(pull_next(&p) == PULL_END);

    char broken[] = "[[1,[2,}]]]";
    pull_start(&p, broken, strlen(broken));
    cr_assert(pull_next(&p) == PULL_ARRAY);
    cr_assert(!pull_skip(&p, pull_next(&p)));
}

Test(pull, nan_and_infinity_only_on_request)
{
    char text[] = "[NaN,Infinity,-Infinity]";
    struct pull p;
    pull_start(&p, text, strlen(text));
    p.nonfinite = true;
    cr_assert(pull_next(&p) == PULL_ARRAY);
    cr_assert(pull_next(&p) == PULL_NUMBER && str_is(p.str, "NaN"));
    cr_assert(pull_next(&p) == PULL_NUMBER && str_is(p.str, "Infinity"));
    cr_assert(pull_next(&p) == PULL_NUMBER && str_is(p.str, "-Infinity"));
    cr_assert(pull_next(&p) == PULL_ARRAY_END);
    expect_error(STR("[-NaN]"), "json", 2);
}

Test(pull, an_error_becomes_a_status)
{
    char text[] = "[1,]";
    struct pull p;
    read_all(&p, text, strlen(text));
    struct quern_error err;
    cr_assert(pull_fail(&p, 100, &err) == QUERN_EFORMAT);
    cr_assert_str_eq(err.kind, "json");
    cr_assert(err.offset == 103);
    cr_assert(pull_fail(&p, 100, NULL) == QUERN_EFORMAT);
}

/* Few keys are compared one by one, many are hashed: both must agree. */
Test(pull, key_sets_find_every_duplicate)
{
    enum { COUNT = 3000 };
    static char names[COUNT][12];
    struct key_set set = {0};
    for (int round = 0; round < 2; round++) {
        bool fresh;
        for (int i = 0; i < COUNT; i++) {
            snprintf(names[i], sizeof names[i], "key%d", i);
            cr_assert(key_set_add(&set, str_from(names[i]), &fresh));
            cr_assert(fresh, "%s", names[i]);
            cr_assert(key_set_add(&set, str_from(names[i / 2]), &fresh));
            cr_assert(!fresh, "%s", names[i / 2]);
        }
        cr_assert(set.count == COUNT);
        key_set_clear(&set);
    }
    key_set_free(&set);
}
