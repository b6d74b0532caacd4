/* fuzz_yaml.c - any text as YAML: refused with a line, or a tree that is what it says. */
#include <math.h>

#include "core/yaml.h"
#include "fuzz.h"

/* Nodes of the subtree, which must be those it was counted to have. */
static uint32_t count(const struct yaml_node *n, unsigned depth)
{
    uint32_t nnodes = 1, nitems = 0;
    double x;
    bool b;
    FUZZ_CHECK(depth <= YAML_MAX_DEPTH + 1 && n->line >= 1 && n->column >= 1);
    FUZZ_CHECK(n->text.n == 0 || n->text.p[n->text.n] == '\0');
    for (const struct yaml_node *i = n->first; i; i = i->next, nitems++) {
        FUZZ_CHECK(n->kind != YAML_IS_MAP || i->key.p);
        nnodes += count(i, depth + 1);
    }
    FUZZ_CHECK(nitems == n->count && (n->kind != YAML_IS_SCALAR || nitems == 0));
    FUZZ_CHECK(nnodes == n->nnodes);
    const int meanings = yaml_is_null(n) + yaml_bool(n, &b) + yaml_number(n, &x);
    FUZZ_CHECK(meanings <= (n->kind == YAML_IS_SCALAR && n->plain));
    if (yaml_number(n, &x))
        FUZZ_CHECK(isfinite(x));
    return nnodes;
}

static void run(char *text, size_t n)
{
    struct arena a = {0};
    const struct yaml_node *root;
    struct quern_error err;
    const struct str s = {text, n};
    const enum quern_status all = yaml_parse_all(s, "x.yml", &a, &root, &err);
    if (!fuzz_failed(all, &err)) {
        for (const struct yaml_node *d = root; d; d = d->next)
            count(d, 0);
        const bool several = root->next != NULL;
        FUZZ_CHECK(fuzz_failed(yaml_parse(s, "x.yml", &a, &root, &err), &err) == several);
    }
    arena_free(&a);
}

static const char *const words[] = {"---\n",  "...\n", "- ",          ": ",        "? ",   "&a ",
                                    "*a",     "<<: ",  "!!str ",      "|\n ",      ">-\n", "{a: 1}",
                                    "[1, 2]", "\n  ",  "%YAML 1.1\n", "\"\\x41\"", "'",    "1e400",
                                    "0x10",   "~",     NULL};

const struct fuzz_target fuzz_yaml = {
    .name = "yaml",
    .max_len = 512,
    .run = run,
    .bytes_per_byte = 256,
    .bytes_besides = 131072,
    .words = words,
    .memory_may_fail = true,
};
