/* test_core.c - text, numbers, tables and patterns every room stands on. */
#include <criterion/criterion.h>

#include "core/arena.h"
#include "core/checked.h"
#include "core/error.h"
#include "core/hash.h"
#include "core/pattern.h"
#include "core/safe_text.h"
#include "core/sha256.h"
#include "leaks.h"

Test(core, quoting_defuses_terminals)
{
    cr_assert_str_eq(quoted(STR("plain.name")).text, "plain.name");
    cr_assert_str_eq(quoted(STR("a\033[2J\007")).text, "a\\x1b[2J\\x07");
    cr_assert_str_eq(quoted(STR("it's \\")).text, "it\\'s \\\\");
    cr_assert_str_eq(quoted(STR("\xff\xfe")).text, "\\xff\\xfe");
    cr_assert_str_eq(quoted(STR("\xc2\x9b"
                                "31m"))
                         .text,
                     "\\xc2\\x9b31m", "C1 control");
    cr_assert_str_eq(quoted(STR("\xe2\x80\xae"
                                "x"))
                         .text,
                     "\\xe2\\x80\\xaex", "bidi override");
    cr_assert_str_eq(quoted(STR("模型")).text, "模型");
    cr_assert_str_eq(quoted((struct str){"a\0b", 3}).text, "a\\x00b");
}

Test(core, quoting_cuts_long_text)
{
    char name[5000];
    memset(name, '\033', sizeof name);
    const struct quoted q = quoted((struct str){name, sizeof name});
    cr_assert_leq(strlen(q.text), QUOTED_MAX);
    cr_assert_not_null(strstr(q.text, "..."));
    memset(name, 'x', sizeof name);
    cr_assert_leq(strlen(quoted((struct str){name, sizeof name}).text), QUOTED_MAX);
}

Test(core, utf8)
{
    size_t at = 99;
    cr_assert(utf8_valid(STR("a\xc3\xa9\xe6\xa8\xa1\xf0\x9f\x98\x80"), NULL));
    cr_assert(!utf8_valid(STR("ab\xc0\x80"), &at) && at == 2, "overlong");
    cr_assert(!utf8_valid(STR("\xed\xa0\x80"), &at) && at == 0, "surrogate");
    cr_assert(!utf8_valid(STR("\xf4\x90\x80\x80"), NULL), "beyond U+10FFFF");
    cr_assert(!utf8_valid((struct str){"\xe6\xa8\x80", 2}, NULL), "cut");
}

Test(core, numbers)
{
    uint64_t n = 7;
    cr_assert(str_to_u64(STR("18446744073709551615"), &n) && n == UINT64_MAX);
    cr_assert(!str_to_u64(STR("18446744073709551616"), &n));
    cr_assert(!str_to_u64(STR("007"), &n));
    cr_assert(!str_to_u64(STR("-1"), &n));
    cr_assert(!str_to_u64(STR(""), &n));
    cr_assert(!checked_mul(UINT64_C(1) << 32, UINT64_C(1) << 32, &n));
    cr_assert(!checked_align(UINT64_MAX - 3, 32, &n));
    cr_assert(checked_align(33, 32, &n) && n == 64);
}

Test(core, suggestions)
{
    static const char *const words[] = {"merge_method", "models", "dtype"};
    cr_assert_str_eq(closest(STR("merge_metod"), words, 3), "merge_method");
    cr_assert_null(closest(STR("tokenizer_source"), words, 3));
}

Test(core, errors_name_the_place)
{
    struct quern_error e;
    enum quern_status s = fail(&e, QUERN_EFORMAT, "truncated", "%d bytes" WANT "expected %d", 3, 8);
    s = at_offset(&e, 12, in_file(&e, "dir/model.gguf", in_tensor(&e, STR("a'b"), s)));
    cr_assert_eq(s, QUERN_EFORMAT);
    cr_assert_str_eq(e.text, "dir/model.gguf: tensor 'a\\'b': 3 bytes at byte 12, expected 8");
    cr_assert_str_eq(e.kind, "truncated");
    in_file(&e, "outer", s);
    cr_assert_str_eq(e.file, "dir/model.gguf", "the first place stays");
    cr_assert_eq(in_file(NULL, "x", QUERN_EIO), QUERN_EIO);
    cr_assert_eq(fail(NULL, QUERN_EIO, "io", "no error object"), QUERN_EIO);
}

static struct str nth_name(const void *owner, uint32_t i)
{
    return ((const struct str *)owner)[i];
}

Test(core, name_table_finds_every_name_and_only_those)
{
    enum { N = 20000 };
    struct arena arena = {0};
    struct str *names = ARENA_NEW(&arena, struct str, N);
    struct name_table t = {0};
    bool fresh;
    uint32_t at;
    for (uint32_t i = 0; i < N; i++) {
        names[i] = str_from(arena_printf(&arena, "blk.%u.weight", i));
        cr_assert(name_table_add(&t, names[i], i, nth_name, names, &fresh, NULL) && fresh);
    }
    for (uint32_t i = 0; i < N; i++)
        cr_assert(name_table_find(&t, names[i], nth_name, names, &at) && at == i);
    cr_assert(name_table_add(&t, names[77], 5, nth_name, names, &fresh, &at) && !fresh && at == 77);
    cr_assert(!name_table_find(&t, STR("blk.20000.weight"), nth_name, names, &at));
    cr_assert(!name_table_find(&t, (struct str){NULL, 0}, nth_name, names, &at));
    cr_assert(!name_table_find(&(struct name_table){0}, STR("x"), nth_name, names, &at));
    name_table_free(&t);
    arena_free(&arena);
    CHECK_LEAKS();
}

Test(core, arena_counts_and_keeps)
{
    struct arena a = {0};
    char *small = arena_printf(&a, "%d", 42);
    unsigned char *big = arena_alloc(&a, 3u << 20);
    memset(big, 0xAB, 3u << 20);
    char *next = arena_printf(&a, "next");
    cr_assert_str_eq(small, "42");
    cr_assert_str_eq(next, "next");
    cr_assert_geq(a.nbytes, 3u << 20);
    cr_assert_eq((uintptr_t)big % 16, 0u);
    cr_assert_null(arena_array(&a, SIZE_MAX / 2, 16));
    arena_free(&a);
    cr_assert_eq(a.nbytes, 0u);
    CHECK_LEAKS();
}

static bool matches(const char *pattern, const char *name)
{
    struct pattern *p;
    bool found = false;
    cr_assert_eq(pattern_new(str_from(pattern), &p, NULL), QUERN_OK);
    cr_assert_eq(pattern_search(p, str_from(name), &found, NULL), QUERN_OK);
    pattern_free(p);
    return found;
}

Test(core, patterns_search)
{
    cr_assert(matches("attn_v", "blk.0.attn_v.weight"));
    cr_assert(matches("blk\\.(0|3)\\.", "blk.3.ffn_up.weight"));
    cr_assert(!matches("^attn_v", "blk.0.attn_v.weight"));
    cr_assert(matches("weight$", "blk.0.attn_v.weight"));
    struct pattern *p;
    struct quern_error e;
    cr_assert_eq(pattern_new(STR("blk.(0"), &p, &e), QUERN_EUSAGE);
    cr_assert_str_eq(e.kind, "pattern");
}

Test(core, patterns_cannot_run_away)
{
    struct pattern *p;
    bool found;
    struct quern_error e;
    cr_assert_eq(pattern_new(STR("(a+)+$"), &p, &e), QUERN_OK);
    cr_assert_eq(pattern_search(p, STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"), &found, &e),
                 QUERN_EUSAGE);
    pattern_free(p);
    CHECK_LEAKS();
}

Test(core, sha256_of_known_texts)
{
    static const uint8_t abc[32] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
                                    0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                                    0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
                                    0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    static const uint8_t million[32] = {0xcd, 0xc7, 0x6e, 0x5c, 0x99, 0x14, 0xfb, 0x92,
                                        0x81, 0xa1, 0xc7, 0xe2, 0x84, 0xd7, 0x3e, 0x67,
                                        0xf1, 0x80, 0x9a, 0x48, 0xa4, 0x97, 0x20, 0x0e,
                                        0x04, 0x6d, 0x39, 0xcc, 0xc7, 0x11, 0x2c, 0xd0};
    struct sha256 s;
    uint8_t digest[32];
    sha256_start(&s);
    sha256_add(&s, "abc", 3);
    sha256_end(&s, digest);
    cr_assert_arr_eq(digest, abc, 32);
    sha256_start(&s);
    for (int i = 0; i < 100000; i++)
        sha256_add(&s, "aaaaaaaaaa", 10);
    sha256_end(&s, digest);
    cr_assert_arr_eq(digest, million, 32);
}

/* ---- text that acts on a terminal ------------------------------------------------------------ */

Test(core, what_acts_on_a_terminal_is_quoted)
{
    static const struct {
        const char *text, *quoted;
    } cases[] = {
        {"\x1b[1m\x7f",               "\\x1b[1m\\x7f"                  },
        {"a\xc2\x9b"
         "31m",              "a\\xc2\\x9b31m"                 },
        {"\xc2\xa0\xc3\xa9",          "\xc2\xa0\xc3\xa9"               },
        {"\xc2\xad|\xd8\x9c",         "\\xc2\\xad|\\xd8\\x9c"          },
        {"\xe1\xa0\x8e",              "\\xe1\\xa0\\x8e"                },
        {"\xe2\x80\xae|\xe2\x80\x8b", "\\xe2\\x80\\xae|\\xe2\\x80\\x8b"},
        {"\xe2\x81\xa0|\xef\xbb\xbf", "\\xe2\\x81\\xa0|\\xef\\xbb\\xbf"},
        {"\xf3\xa0\x81\x81",          "\\xf3\\xa0\\x81\\x81"           },
        {"\xf0\x9f\x98\x80",          "\xf0\x9f\x98\x80"               },
        {"\xff|\xc0\x80",             "\\xff|\\xc0\\x80"               },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_expect_str_eq(quoted(str_from(cases[i].text)).text, cases[i].quoted);
}

Test(core, text_in_errors_cannot_act)
{
    struct quern_error e;
    char path[700], name[] = "caf\xc3\xa9\x1b\n\xe2\x80\xae\xff.";
    fail(&e, QUERN_EFORMAT, "x", "%s" WANT "%s", name, name);
    cr_expect_str_eq(e.found, "caf\xc3\xa9??????.");
    cr_expect_str_eq(e.expected, "caf\xc3\xa9??????.");
    memset(path, 'p', sizeof path);
    memcpy(path + 508, "\xe2\x80\xae", 3); /* cut in its middle */
    memcpy(path + 300, "\xc2\x9b", 2);
    path[699] = '\0';
    in_file(&e, path, QUERN_EFORMAT);
    cr_expect(strlen(e.file) >= 508 && utf8_valid(str_from(e.file), NULL));
    cr_expect(e.file[300] == '?' && e.file[301] == '?' && e.file[299] == 'p');
    for (size_t most = 0; most < 9; most++)
        cr_expect(utf8_valid(
            (struct str){"a\xc3\xa9\xf0\x9f\x98\x80z", str_fit("a\xc3\xa9\xf0\x9f\x98\x80z", most)},
            NULL));
}
