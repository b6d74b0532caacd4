/* test_vocab_keys.c - the tokenizer.* keys of Hugging Face directories. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "convert/merge_list.h"
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
    const struct folder folder = {.path = dir};
    struct hf_config config;
    *m = (struct made){0};
    m->metas.arena = &m->plan.arena;
    enum quern_status s = hf_config_open(&folder, &config, &m->err);
    const struct vocab_ask ask = {
        .config = &config, .arch = arch, .hf_arch = config.architecture, .pre = pre};
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
        {"rwkv-world",     "rwkv7"    },
        {"tekken",         "llama"    },
        {"unigram",        "bert"     },
        {"t5-unigram",     "t5"       },
        {"gemma",          "gemma"    },
        {"internlm2",      "internlm2"},
        {"qwen2-slow",     "qwen2"    },
        {"bert-slow",      "bert"     },
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
    CHECK_LEAKS();
}

/* The parts of real vocabularies that the check text needs: their ids have the known digest. */
Test(vocab, known_tokenizers)
{
    static const struct {
        const char *dir, *arch, *pre;
    } all[] = {
        {DATA "gpt2-known-pre",    "gpt2",      "gpt-2"      },
        {DATA "known-deepseek-v3", "deepseek2", "deepseek-v3"},
        {DATA "known-qwen2",       "qwen2",     "qwen2"      },
        {DATA "known-qwen35",      "qwen35",    "qwen35"     },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct made m;
        cr_assert(make(&m, all[i].dir, all[i].arch, NULL) == QUERN_OK, "%s", m.err.text);
        cr_assert(key_is(&m, "tokenizer.ggml.pre", all[i].pre) && m.plan.nnotes == 0, "%s",
                  all[i].dir);
        clean(&m);
    }
    CHECK_LEAKS();
}

/* What the older files of a tokenizer give is what its tokenizer.json gives. */
static void same_tokens(const char *a, const char *b, const char *arch)
{
    static const char *const keys[] = {"tokenizer.ggml.model", "tokenizer.ggml.pre",
                                       "tokenizer.ggml.tokens", "tokenizer.ggml.token_type",
                                       "tokenizer.ggml.merges"};
    struct made x, y;
    cr_assert(make(&x, a, arch, NULL) == QUERN_OK, "%s: %s", a, x.err.text);
    cr_assert(make(&y, b, arch, NULL) == QUERN_OK, "%s: %s", b, y.err.text);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const struct meta *k = find(&x, keys[i]), *l = find(&y, keys[i]);
        cr_assert(!k == !l && (!k || str_eq(k->value, l->value)), "%s: %s", a, keys[i]);
    }
    clean(&x);
    clean(&y);
}

Test(vocab, older_files)
{
    same_tokens(DATA "qwen2-slow", DATA "qwen2-bpe", "qwen2");
    same_tokens(DATA "bert-slow", DATA "bert-wordpiece", "bert");
    CHECK_LEAKS();
}

/* ---- hostile directories -------------------------------------------------------------------- */

#define CONFIG "{\"architectures\": [\"X\"], \"vocab_size\": 300}"

static void begin(void)
{
    scratch_begin();
    scratch_file("config.json", STR(CONFIG));
}

/* The directory as it is now is refused, in that way, with the name of a file. */
static void refused(const char *arch, enum quern_status status, const char *kind)
{
    struct made m;
    const enum quern_status s = make(&m, scratch_dir, arch, NULL);
    cr_assert(s == status, "%s: %d, %s", kind, s, m.err.text);
    cr_assert_str_eq(m.err.kind, kind, "%s", m.err.text);
    cr_assert(m.err.file[0], "%s", m.err.text);
    clean(&m);
}

static void file(const char *name, const char *text)
{
    scratch_file(name, str_from(text));
}

static void gone(const char *name)
{
    cr_assert(unlink(scratch(name)) == 0);
}

#define BPE(added, rest)                                                      \
    "{\"added_tokens\": [" added "], " rest "\"model\": {\"type\": \"BPE\", " \
    "\"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, \"merges\": [\"a b\"]}}"
#define BYTE_LEVEL "\"pre_tokenizer\": {\"type\": \"ByteLevel\"}, "

Test(vocab, nothing_to_read, .init = begin, .fini = scratch_end)
{
    refused("llama", QUERN_EUNSUPPORTED, "no-tokenizer");
    refused("qwen3moe", QUERN_EUNSUPPORTED, "no-tokenizer");
    refused("t5", QUERN_EUNSUPPORTED, "no-tokenizer");
    refused("rwkv7", QUERN_EUNSUPPORTED, "no-tokenizer");
    refused("bert", QUERN_EUNSUPPORTED, "no-tokenizer");
    refused("gemma", QUERN_EUNSUPPORTED, "no-tokenizer");
    CHECK_LEAKS();
}

Test(vocab, malformed_tokenizers, .init = begin, .fini = scratch_end)
{
    file("tokenizer.json", BPE("", "") "x");
    refused("x", QUERN_EFORMAT, "json");
    file("tokenizer.json", BPE("{\"id\": 0, \"content\": \"<x>\"}", ""));
    refused("x", QUERN_EFORMAT, "duplicate");
    file("tokenizer.json", BPE("{\"id\": 16777216, \"content\": \"<x>\"}", ""));
    refused("x", QUERN_EFORMAT, "tokenizer");
    file("tokenizer.json", BPE("{\"id\": 300, \"content\": \"<x>\"}", ""));
    refused("x", QUERN_EUNSUPPORTED, "vocab"); /* no room for it in the model */
    file("tokenizer.json", BPE("", "\"decoder\": [[[[\"x\"]], "));
    refused("x", QUERN_EFORMAT, "json");
    file("tokenizer.json",
         BPE("", BYTE_LEVEL "\"normalizer\": {\"type\": \"A\", \"type\": \"B\"}, "));
    refused("x", QUERN_EFORMAT, "duplicate");
    file("tokenizer.json", "{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"x\", 0]]}}");
    refused("x", QUERN_EUNSUPPORTED, "tokenizer");
    file("tokenizer.json", BPE("", ""));
    refused("glm4", QUERN_EUNSUPPORTED, "pre");
    CHECK_LEAKS();
}

/* What no known tokenizer does has no name; nothing of it is run at length. */
Test(vocab, pre_tokenizers_without_a_name, .init = begin, .fini = scratch_end)
{
    static const char *const odd[] = {
        BPE("", ""),
        BPE("", "\"pre_tokenizer\": {\"type\": \"Martian\"}, "),
        BPE("", "\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(\"}}, "),
        BPE("", "\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": "
                "\"(.*.*.*.*.*.*.*.*)*Z\"}}, "),
        BPE("", "\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": "
                "\"[\\\\w&&[^a]]\"}}, "),
        BPE("", "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": ["
                "{\"type\": \"ByteLevel\"}, {\"type\": \"ByteLevel\"}]}, "),
        BPE("", "\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"String\": \"\"}}, "),
        BPE("", "\"pre_tokenizer\": [1], "),
    };
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        file("tokenizer.json", odd[i]);
        refused("x", QUERN_EUNSUPPORTED, "pre");
    }
    CHECK_LEAKS();
}

Test(vocab, malformed_side_files, .init = begin, .fini = scratch_end)
{
    file("tokenizer.json", BPE("", BYTE_LEVEL));
    file("tokenizer_config.json", "[]");
    refused("x", QUERN_EFORMAT, "tokenizer");
    file("tokenizer_config.json", "{\"added_tokens_decoder\": {\"-1\": {\"content\": \"x\"}}}");
    refused("x", QUERN_EFORMAT, "tokenizer");
    file("tokenizer_config.json", "{\"chat_template\": [\"x\"]}");
    refused("x", QUERN_EFORMAT, "tokenizer");
    file("tokenizer_config.json", "{\"bos_token\": \"\xFF\"}");
    refused("x", QUERN_EFORMAT, "utf8");
    file("tokenizer_config.json", "{\"bos_token\": \"a\"}");
    file("chat_template.jinja", "\xFF");
    refused("x", QUERN_EFORMAT, "utf8");
    gone("chat_template.jinja");
    file("chat_template.json", "{");
    refused("x", QUERN_EFORMAT, "json");
    gone("chat_template.json");
    file("tokenizer.json",
         "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}}");
    file("merges.txt", "a \xC3\n");
    refused("x", QUERN_EFORMAT, "utf8");
    CHECK_LEAKS();
}

Test(vocab, sizes_that_cannot_be, .init = begin, .fini = scratch_end)
{
    file("tokenizer.json", BPE("", BYTE_LEVEL));
    file("config.json", "{\"vocab_size\": 1000000000000}");
    refused("x", QUERN_EUNSUPPORTED, "vocab");
    file("config.json", "{\"vocab_size\": 4000000}"); /* 200 MB for a file of 23 bytes */
    refused("x", QUERN_EUNSUPPORTED, "vocab");
    file("tekken.json", "{\"config\": {\"default_vocab_size\": 16000000, "
                        "\"default_num_special_tokens\": 1000}, \"vocab\": []}");
    gone("tokenizer.json");
    refused("llama", QUERN_EFORMAT, "tekken");
    file("tekken.json", "{\"config\": {\"default_vocab_size\": 99999999999999999999}}");
    refused("llama", QUERN_EFORMAT, "tekken");
    file("tekken.json", "{\"vocab\": [{\"rank\": 0, \"token_bytes\": \"*\"}]}");
    refused("llama", QUERN_EFORMAT, "base64");
    file("tekken.json", "{\"vocab\": [{\"rank\": 1, \"token_bytes\": \"AA==\"}]}");
    refused("llama", QUERN_EFORMAT, "tekken");
    CHECK_LEAKS();
}

Test(vocab, malformed_rwkv_lines, .init = begin, .fini = scratch_end)
{
    static const char *const lines[] = {
        "1",          "1 'a'",         "1 'a' x",    "1 'a' 2",   "1 a 1",    "1 'a\" 1",
        "1 '\\x4' 1", "1 '\\ud800' 3", "1 b'\\q' 1", "1 'a'b' 3", "1 '\\' 1", "1  1",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        file("rwkv_vocab_v20230424.txt", lines[i]);
        refused("rwkv7", QUERN_EFORMAT, "vocab");
    }
    CHECK_LEAKS();
}

/* Every file of every directory, cut short at many places: refused or read, never more. */
static void cut_short(const char *name, const char *arch, const char *cut)
{
    static const char *const files[] = {"tokenizer.json",
                                        "tokenizer_config.json",
                                        "tokenizer.model",
                                        "spiece.model",
                                        "sentencepiece.bpe.model",
                                        "tekken.json",
                                        "rwkv_vocab_v20230424.txt",
                                        "added_tokens.json",
                                        "config.json"};
    struct arena arena = {0};
    struct str whole = {0}, text;
    char path[300];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, DATA "%s/%s", name, files[i]);
        unlink(scratch(files[i]));
        if (access(path, F_OK))
            continue;
        cr_assert(read_small_file(path, 1 << 20, &arena, &text, NULL) == QUERN_OK);
        scratch_file(files[i], text);
        if (strcmp(files[i], cut) == 0)
            whole = text;
    }
    unsigned nrefused = 0;
    for (unsigned k = 0; whole.n && k < 20; k++) {
        struct made m;
        scratch_file(cut, (struct str){whole.p, whole.n * k / 20});
        nrefused += make(&m, scratch_dir, arch, NULL) != QUERN_OK;
        clean(&m);
    }
    cr_assert(whole.n && nrefused >= 10, "%s/%s: %u", name, cut, nrefused);
    arena_free(&arena);
}

Test(vocab, files_cut_short, .init = scratch_begin, .fini = scratch_end)
{
    cut_short("llama3-bpe", "llama", "tokenizer.json");
    cut_short("llama3-bpe", "llama", "tokenizer_config.json");
    cut_short("llama-spm", "llama", "tokenizer.model");
    cut_short("bert-wordpiece", "bert", "tokenizer.json");
    cut_short("unigram", "bert", "tokenizer.json");
    cut_short("tekken", "llama", "tekken.json");
    cut_short("phi3", "phi3", "added_tokens.json");
    cut_short("t5-unigram", "t5", "spiece.model");
    CHECK_LEAKS();
}

/* ---- what tokenizer_config.json leaves open ---------------------------------------------------
 */

static bool flag_is(const struct made *m, const char *key, bool value)
{
    const struct meta *k = find(m, key);
    return k && k->type == META_BOOL && k->value.p[0] == value;
}

static int32_t type_of(const struct made *m, uint32_t id)
{
    const struct meta *k = find(m, "tokenizer.ggml.token_type");
    cr_assert(k && id < k->count);
    return (uint8_t)k->value.p[4 * id];
}

#define ADDED(id, text, special) \
    "{\"id\": " id ", \"content\": \"" text "\", \"special\": " special ", \"normalized\": false}"
#define BEGINS(text)                                                                          \
    "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": " \
    "{\"id\": \"" text "\"}}, {\"Sequence\": {\"id\": \"A\"}}], \"pair\": []}, "

/* A token that texts begin with is the first one when no other has that name, and is added. */
Test(vocab, texts_begin_with_a_token_that_is_not_named, .init = begin, .fini = scratch_end)
{
    struct made m;
    file("tokenizer.json", BPE(ADDED("3", "<s>", "true"), BYTE_LEVEL BEGINS("<s>")));
    file("tokenizer_config.json", "{\"legacy\": false}");
    cr_assert(make(&m, scratch_dir, "x", "gpt-2") == QUERN_OK, "%s", m.err.text);
    cr_expect(flag_is(&m, "tokenizer.ggml.add_bos_token", true));
    cr_expect(find(&m, "tokenizer.ggml.bos_token_id") != NULL);
    clean(&m);
    file("tokenizer_config.json", "{\"bos_token\": \"a\", \"cls_token\": \"b\"}");
    cr_assert(make(&m, scratch_dir, "x", "gpt-2") == QUERN_OK, "%s", m.err.text);
    cr_expect(flag_is(&m, "tokenizer.ggml.add_bos_token", false));
    clean(&m);
    CHECK_LEAKS();
}

Test(vocab, tokenizer_config_makes_tokens_special, .init = begin, .fini = scratch_end)
{
    struct made m;
    file("tokenizer.json", BPE(ADDED("3", "<x>", "false"), BYTE_LEVEL));
    file("tokenizer_config.json", "{\"legacy\": false}");
    cr_assert(make(&m, scratch_dir, "x", "gpt-2") == QUERN_OK, "%s", m.err.text);
    cr_expect(type_of(&m, 3) == 4);
    clean(&m);
    file("tokenizer_config.json", "{\"additional_special_tokens\": [\"<x>\"]}");
    cr_assert(make(&m, scratch_dir, "x", "gpt-2") == QUERN_OK, "%s", m.err.text);
    cr_expect(type_of(&m, 3) == 3);
    clean(&m);
    CHECK_LEAKS();
}

Test(vocab, chat_template_json_may_be_a_list, .init = begin, .fini = scratch_end)
{
    struct made m;
    file("tokenizer.json", BPE("", BYTE_LEVEL));
    file("tokenizer_config.json", "{\"legacy\": false}");
    file("chat_template.json", "{\"chat_template\": [{\"name\": \"default\", \"template\": \"d\"}, "
                               "{\"name\": \"rag\", \"template\": \"r\"}, 3]}");
    cr_assert(make(&m, scratch_dir, "x", "gpt-2") == QUERN_OK, "%s", m.err.text);
    cr_expect(key_is(&m, "tokenizer.chat_template", "d"));
    cr_expect(key_is(&m, "tokenizer.chat_template.rag", "r"));
    clean(&m);
    CHECK_LEAKS();
}

/* ---- letters -------------------------------------------------------------------------------- */

/* U+0000 is no end of a text. */
Test(vocab, merges_and_tokens_may_hold_any_character, .init = begin, .fini = scratch_end)
{
    const struct side_file sides[] = {
        {.name = "merges.txt", .text = STR("a\0x b\nc d\n")}
    };
    const struct folder f = {.path = "m", .made = true, .sides = sides, .nsides = 1};
    struct merge_list l;
    struct made m;
    cr_assert(merge_list_read(&l, &f, NULL, NULL) == QUERN_OK && l.n == 2);
    cr_assert(str_eq(l.texts[0], STR("a\0x b")) && str_eq(l.texts[1], STR("c d")));
    merge_list_close(&l);
    file("tokenizer.json", "{\"model\": {\"type\": \"WordPiece\", \"unk_token\": \"u\", \"vocab\": "
                           "{\"u\": 0, \"a\\u0000b\": 1, \"##c\": 2}}}");
    cr_assert(make(&m, scratch_dir, "bert", NULL) == QUERN_OK, "%s", m.err.text);
    const struct meta *tokens = find(&m, "tokenizer.ggml.tokens");
    cr_assert(tokens != NULL);
    const char *at = tokens->value.p;
    meta_next_string(&at);
    cr_assert(str_eq(meta_next_string(&at), STR("\xE2\x96\x81"
                                                "a\0b")));
    clean(&m);
    CHECK_LEAKS();
}

Test(vocab, letters_and_bytes)
{
    for (unsigned b = 0; b < 256; b++) {
        char letter[2];
        uint8_t back;
        size_t n;
        const size_t len = byte_letter((uint8_t)b, letter);
        cr_assert(letter_byte((struct str){letter, len}, &back, &n), "%u", b);
        cr_assert(back == b && n == len, "%u gives %u", b, back);
    }
    uint8_t byte;
    size_t n;
    cr_assert(!letter_byte(STR(" "), &byte, &n) && !letter_byte(STR("\xC5\x84"), &byte, &n));
    cr_assert(!letter_byte(STR("\xC2\xAD"), &byte, &n) && !letter_byte(STR("\xC4"), &byte, &n));
    cr_assert(token_is_byte(STR("<0x0a>")) && !token_is_byte(STR("<0x0g>")));
    cr_assert(token_looks_special(STR("<|x|>")) && !token_looks_special(STR("<x>")));
}
