/* test_yaml.c - the YAML subset: what a document means, and what is refused. */
#include "core/yaml.h"

#include <criterion/criterion.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/leaks.h"

static struct arena arena;

static enum quern_status parse_bytes(struct str text, const struct yaml_node **root,
                                     struct quern_error *err)
{
    return yaml_parse(text, "test.yml", &arena, root, err);
}

static const struct yaml_node *parse(const char *text)
{
    struct quern_error err;
    const struct yaml_node *root = NULL;
    cr_assert(parse_bytes(str_from(text), &root, &err) == QUERN_OK, "%s: %s", text, err.text);
    return root;
}

static void refused_bytes(struct str text, const char *kind, const char *words)
{
    struct quern_error err;
    const struct yaml_node *root;
    const enum quern_status status = parse_bytes(text, &root, &err);
    cr_assert(status == QUERN_EUSAGE || status == QUERN_EUNSUPPORTED, "%.60s: status %d", text.p,
              status);
    cr_assert_str_eq(err.kind, kind, "%.60s: %s", text.p, err.text);
    cr_assert(strstr(err.text, words), "%.60s: %s", text.p, err.text);
    cr_assert_str_eq(err.file, "test.yml");
    arena_free(&arena);
}

static void refused(const char *text, const char *kind, const char *words)
{
    refused_bytes(str_from(text), kind, words);
}

Test(yaml, tree)
{
    const struct yaml_node *root =
        parse("a: 1\nb:\n  - x\n  - {y: 'z', w: [1, 2]}\nc: |\n  text\n");
    cr_assert(root->kind == YAML_IS_MAP && root->count == 3);
    const struct yaml_node *b = yaml_get(root, "b");
    cr_assert(b->kind == YAML_IS_LIST && b->count == 2 && b->line == 3);
    cr_assert(str_is(b->first->text, "x") && b->first->plain);
    const struct yaml_node *y = yaml_get(b->first->next, "y");
    cr_assert(str_is(y->text, "z") && !y->plain && y->line == 4 && y->column == 9);
    cr_assert(yaml_get(b->first->next, "w")->count == 2);
    cr_assert(str_is(yaml_get(root, "c")->text, "text\n"));
    cr_assert(yaml_get(root, "d") == NULL && yaml_get(b, "a") == NULL);
    arena_free(&arena);
    CHECK_LEAKS();
}

Test(yaml, empty_documents_are_null)
{
    const char *const texts[] = {"", "\n", "# nothing\n", "---\n", "~", "--- \n...\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        cr_assert(yaml_is_null(parse(texts[i])), "%zu", i);
    arena_free(&arena);
    CHECK_LEAKS();
}

Test(yaml, numbers)
{
    static const struct {
        const char *text;
        double value;
    } good[] = {
        {"0",       0     },
        {"-0.5",    -0.5  },
        {"+3",      3     },
        {"1e-5",    1e-5  },
        {"1E5",     1e5   },
        {".5",      0.5   },
        {"2.",      2     },
        {"0.25",    .25   },
        {"1e+2",    100   },
        {"-1.5e-3", -.0015},
        {"1e-400",  0.0   },
        {"0e0",     0     }
    };
    static const char *const bad[] = {"",      "1e400", ".nan", ".inf", "-.inf", "nan", "inf",
                                      "0x10",  "010",   "1_0",  "1:30", "1e",    ".",   "+-1",
                                      "1.2.3", "1 2",   "true", "'1'",  "\"1\"", "1e-", "+"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        double v = -1;
        cr_assert(yaml_number(parse(good[i].text), &v) && v == good[i].value, "%s", good[i].text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[32];
        double v;
        snprintf(text, sizeof text, "k: %s", bad[i]);
        cr_assert(!yaml_number(yaml_get(parse(text), "k"), &v), "%s", bad[i]);
    }
    arena_free(&arena);
    CHECK_LEAKS();
}

Test(yaml, numbers_ignore_the_locale)
{
    /* Where it is installed, this locale writes 0,5. */
    setlocale(LC_ALL, "de_DE.UTF-8");
    double v = 0;
    cr_assert(decimal_number(STR("0.5"), &v) && v == 0.5);
    cr_assert(!decimal_number(STR("0,5"), &v));
    CHECK_LEAKS();
}

Test(yaml, truth_values)
{
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "ON"};
    static const char *const no[] = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off"};
    static const char *const neither[] = {"1", "y", "n", "tRUE", "'true'", "", "~"};
    bool b;
    for (size_t i = 0; i < 8; i++) {
        cr_assert(yaml_bool(parse(yes[i]), &b) && b, "%s", yes[i]);
        cr_assert(yaml_bool(parse(no[i]), &b) && !b, "%s", no[i]);
    }
    for (size_t i = 0; i < sizeof neither / sizeof *neither; i++)
        cr_assert(!yaml_bool(parse(neither[i]), &b), "%s", neither[i]);
    arena_free(&arena);
    CHECK_LEAKS();
}

Test(yaml, aliases)
{
    const struct yaml_node *root = parse("a: &x {p: 1}\nb: *x\nc: [*x, *x]\nd: &x 5\ne: *x\n");
    cr_assert(str_is(yaml_get(yaml_get(root, "b"), "p")->text, "1"));
    cr_assert(yaml_get(root, "c")->count == 2);
    cr_assert(str_is(yaml_get(root, "e")->text, "5"));
    arena_free(&arena);
    refused("a: *x\n", "alias", "without its anchor");
    CHECK_LEAKS();
}

Test(yaml, alias_limits)
{
    refused("a: &x [*x]\n", "alias", "inside the node");
    /* 9^9 nodes in 300 bytes. */
    char bomb[1024];
    size_t n = (size_t)snprintf(bomb, sizeof bomb, "a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (char c = 'b'; c <= 'i'; c++)
        n += (size_t)snprintf(bomb + n, sizeof bomb - n,
                              "%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c - 1, c - 1,
                              c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1);
    refused(bomb, "alias", "1000 nodes");
    /* 1000 repeated scalars are fine, 1001 are not. */
    char *text = malloc(8000);
    n = (size_t)sprintf(text, "a: &a 1\nb: [");
    for (int i = 0; i < 1000; i++)
        n += (size_t)sprintf(text + n, "*a ,");
    strcpy(text + n, "]\n");
    parse(text);
    arena_free(&arena);
    strcpy(text + n, "*a ]\n");
    refused(text, "alias", "1000 nodes");
    free(text);
    CHECK_LEAKS();
}

Test(yaml, refused_documents)
{
    refused("a: 1\na: 2\n", "duplicate", "key 'a' is there twice");
    refused("{x: {a: 1, 'a': 2}}", "duplicate", "line 1");
    refused("!!python/object/apply:os.getcwd []\n", "tag", "tags");
    refused("a: !!float 1\n", "tag", "tags");
    refused("a: !x {b: 1}\n", "tag", "tags");
    refused("? [a, b]\n: c\n", "yaml", "key");
    refused("a: &x {b: 1}\nc:\n  <<: *x\n", "yaml", "merge keys");
    refused("models:\n\t- model: a\n", "yaml", "line 2");
    refused("a: [1, 2\n", "yaml", "line");
    refused("a: 'open\n", "yaml", "line");
    refused("a: 1\n---\nb: 2\n", "yaml", "second document");
    refused("a: \"x\\0y\"\n", "yaml", "NUL");
    refused("a: \xff\n", "encoding", "UTF-8");
    refused_bytes(STR("merge_method: linear\0\n"), "encoding", "NUL");
    refused_bytes(STR("\xff\xfem\0e\0"), "encoding", "UTF-16");
    refused_bytes(STR("\xfe\xff\0m\0e"), "encoding", "UTF-16");
    CHECK_LEAKS();
}

Test(yaml, byte_order_mark_is_fine)
{
    cr_assert(yaml_get(parse("\xef\xbb\xbf"
                             "a: 1\n"),
                       "a") != NULL);
    arena_free(&arena);
    CHECK_LEAKS();
}

Test(yaml, depth)
{
    char text[200];
    memset(text, '[', 32);
    memset(text + 32, ']', 33);
    text[64] = '\0';
    parse(text);
    memset(text, '[', 33);
    memset(text + 33, ']', 33);
    text[66] = '\0';
    refused(text, "depth", "32 levels");
    char *deep = malloc(100001);
    memset(deep, '[', 100000);
    deep[100000] = '\0';
    refused(deep, "depth", "32 levels");
    free(deep);
    CHECK_LEAKS();
}

Test(yaml, size_and_linear_time)
{
    char *big = malloc(YAML_MAX_TEXT + 2);
    memset(big, ' ', YAML_MAX_TEXT + 1);
    big[YAML_MAX_TEXT + 1] = '\0';
    refused(big, "too-large", "1 MiB");
    /* A hundred thousand keys: the duplicate test must not compare each with each. */
    size_t n = 0;
    for (int i = 0; i < 100000; i++)
        n += (size_t)sprintf(big + n, "k%d: 1\n", i);
    cr_assert(parse(big)->count == 100000);
    arena_free(&arena);
    free(big);
    CHECK_LEAKS();
}
