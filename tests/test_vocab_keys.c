/* test_vocab_keys.c - the tokenizer.* keys of Hugging Face directories. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "convert/pretokenizer.h"
#include "convert/token_list.h"
#include "convert/vocab.h"
#include "core/io.h"
#include "core/sha256.h"
#include "tests/leaks.h"
#include "tests/scratch.h"

#define DATA "tests/data/convert/tok/"

struct made {
    struct plan plan;
    struct meta_list metas;
    uint64_t ntokens;
    struct quern_error err;
};

static enum quern_status make(struct made *m, const char *dir, const char *arch, const char *pre)
{
    struct hf_config config;
    *m = (struct made){0};
    m->metas.arena = &m->plan.arena;
    enum quern_status s = hf_config_open(dir, &config, &m->err);
    const struct vocab_ask ask = {
        .config = &config, .dir = dir, .arch = arch, .hf_arch = config.architecture, .pre = pre};
    if (s == QUERN_OK)
        s = vocab_keys(&ask, &m->plan, &m->metas, &m->ntokens, &m->err);
    hf_config_close(&config);
    return s;
}

static void clean(struct made *m)
{
    arena_free(&m->plan.arena);
}

static const struct meta *find(const struct made *m, const char *key)
{
    for (uint32_t i = 0; i < m->metas.count; i++)
        if (str_is(m->metas.items[i].key, key))
            return &m->metas.items[i];
    return NULL;
}

/* One line a key: name, type, then the value, or the number of items and their digest. */
static void print_meta(FILE *f, const struct meta *k)
{
    struct sha256 s;
    uint8_t digest[32];
    fprintf(f, "%s %s", k->key.p, meta_type_name(k->type));
    if (k->type == META_BOOL)
        fprintf(f, " %d", k->value.p[0]);
    else if (k->type == META_STRING && k->value.n < 40 && !memchr(k->value.p, '\n', k->value.n))
        fprintf(f, " %.*s", STR_ARG(k->value));
    else if (k->type == META_U32)
        fprintf(f, " %u",
                (uint8_t)k->value.p[0] | (unsigned)(uint8_t)k->value.p[1] << 8 |
                    (unsigned)(uint8_t)k->value.p[2] << 16);
    else {
        sha256_start(&s);
        sha256_add(&s, k->value.p, k->value.n);
        sha256_end(&s, digest);
        fprintf(f, "[%" PRIu64 "] ", k->count);
        for (size_t i = 0; i < 12; i++)
            fprintf(f, "%02x", digest[i]);
    }
    fputc('\n', f);
}

static void print_all(const struct made *m, char **text)
{
    size_t n;
    FILE *f = open_memstream(text, &n);
    cr_assert(f);
    for (uint32_t i = 0; i < m->metas.count; i++)
        print_meta(f, &m->metas.items[i]);
    fclose(f);
}

/* expected.txt next to a tokenizer holds what llama.cpp's converter writes, in the form above. With
 * BLESS set it is written instead. */
static void compare(const char *name, const char *arch)
{
    char dir[256], path[300];
    struct made m;
    struct arena arena = {0};
    struct str expected;
    char *text;
    snprintf(dir, sizeof dir, DATA "%s", name);
    snprintf(path, sizeof path, "%s/expected.txt", dir);
    cr_assert(make(&m, dir, arch, NULL) == QUERN_OK, "%s: %s", name, m.err.text);
    print_all(&m, &text);
    if (getenv("BLESS")) {
        FILE *f = fopen(path, "w");
        cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
    }
    cr_assert(read_small_file(path, 1 << 20, &arena, &expected, NULL) == QUERN_OK, "%s", path);
    cr_assert_str_eq(text, expected.p, "%s", name);
    free(text);
    arena_free(&arena);
    clean(&m);
}

Test(vocab, directories_of_every_family)
{
    static const struct {
        const char *name, *arch;
    } all[] = {
        {"llama-spm",      "llama"    },
        {"llama3-bpe",     "llama"    },
        {"llama-defaults", "llama"    },
        {"mistral-spm",    "llama"    },
        {"gemma3",         "gemma3"   },
        {"phi3",           "phi3"     },
        {"qwen2-bpe",      "qwen2"    },
        {"qwen3",          "qwen3"    },
        {"gpt2",           "gpt2"     },
        {"gpt2-known-pre", "gpt2"     },
        {"bert-wordpiece", "bert"     },
        {"xlmr-spm",       "bert"     },
        {"deepseek2",      "deepseek2"},
        {"granite",        "granite"  },
        {"gpt-oss",        "gpt-oss"  },
        {"glm4",           "glm4"     },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        compare(all[i].name, all[i].arch);
    CHECK_LEAKS();
}

static bool key_is(const struct made *m, const char *key, const char *value)
{
    const struct meta *k = find(m, key);
    return k && k->type == META_STRING && str_is(k->value, value);
}

Test(vocab, pre_may_be_named)
{
    struct made m;
    cr_assert(make(&m, DATA "qwen3", "qwen3", "megrez") == QUERN_OK, "%s", m.err.text);
    cr_assert(key_is(&m, "tokenizer.ggml.pre", "megrez") && m.plan.nnotes == 0);
    clean(&m);
    cr_assert(make(&m, DATA "qwen3", "qwen3", NULL) == QUERN_OK);
    cr_assert(key_is(&m, "tokenizer.ggml.pre", "qwen2") && m.plan.nnotes == 1);
    clean(&m);
    cr_assert(make(&m, DATA "gpt2-known-pre", "gpt2", NULL) == QUERN_OK);
    cr_assert(key_is(&m, "tokenizer.ggml.pre", "gpt-2") && m.plan.nnotes == 0);
    clean(&m);
    CHECK_LEAKS();
}
