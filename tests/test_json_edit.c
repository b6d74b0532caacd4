/* test_json_edit.c - one member changes, every other byte stays. */
#include "core/json_edit.h"

#include <criterion/criterion.h>

#include "tests/leaks.h"

static struct arena arena;

static void becomes(const char *text, const char *key, const char *value, const char *want)
{
    struct str out;
    struct quern_error err;
    cr_assert(json_set(&arena, str_from(text), key, value, &out, &err) == QUERN_OK, "%s", err.text);
    cr_assert(str_is(out, want), "%s\n%.*s", text, STR_ARG(out));
}

Test(json_edit, replaces_and_adds)
{
    becomes("{\"a\": 1,\t\"b\": [2, {\"a\": 3}]}\n", "a", "null",
            "{\"a\": null,\t\"b\": [2, {\"a\": 3}]}\n");
    becomes("{\"b\": {\"a\": 3}}", "a", "7", "{\"b\": {\"a\": 3},\n  \"a\": 7}");
    becomes("{\n \"b\": NaN\n}\n", "a", "\"x\"", "{\n \"b\": NaN,\n  \"a\": \"x\"\n}\n");
    becomes("{}", "a", "true", "{\n  \"a\": true}");
    becomes("{\"a\\u0062\": \"\\n\"}", "ab", "1", "{\"a\\u0062\": 1}");
    arena_free(&arena);
    CHECK_LEAKS();
}

Test(json_edit, refuses_what_is_no_object)
{
    static const char *const texts[] = {"", "[1]", "{\"a\": 1", "{\"a\" 1}", "{} {}"};
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct str out;
        struct quern_error err;
        cr_assert(json_set(&arena, str_from(texts[i]), "a", "1", &out, &err) == QUERN_EFORMAT);
    }
    arena_free(&arena);
    CHECK_LEAKS();
}
