/* test_back.c - from GGUF back to safetensors: what was there before comes back to the last bit. */
#include "convert/back.h"
#include "convert/back_vocab.h"
#include "convert/pre_tables.h"
#include "convert/pretokenizer.h"
#include "formats/sentencepiece.h"
#include "pipeline/retype.h"
#include "tests/checkpoint.h"

static enum quern_status back_with(const char *input, const struct back_request *r,
                                   const struct quern_run_options *options, struct quern_error *err)
{
    struct model *m;
    struct plan *p;
    enum quern_status s = model_open(input, &m, err);
    if (s != QUERN_OK)
        return s;
    s = convert_back_plan(m, r, &p, err);
    if (s == QUERN_OK) {
        s = plan_run(p, options, NULL, err);
        plan_free(p);
    }
    model_close(m);
    return s;
}

static void back_to(const char *input, const char *output, const char *type)
{
    const struct back_request r = {.output = output, .type = type};
    struct quern_error err;
    cr_assert(back_with(input, &r, NULL, &err) == QUERN_OK, "%s: %s", output, err.text);
}

/* Where the tokenizer of a small model is no known one, any will do. */
static void there(const char *dir, const char *output, const char *type)
{
    struct convert_request r = {.output = output, .type = type, .force = true};
    struct quern_error err;
    enum quern_status s = convert_with(dir, &r, NULL, &err);
    if (s != QUERN_OK && strcmp(err.kind, "pre") == 0) {
        r.pre = "gpt-2";
        s = convert_with(dir, &r, NULL, &err);
    }
    cr_assert(s == QUERN_OK, "%s: %s", dir, err.text);
}

static struct model *opened(const char *path)
{
    struct model *m;
    struct quern_error err;
    cr_assert(model_open(path, &m, &err) == QUERN_OK, "%s", err.text);
    return m;
}

static bool same_tensor(struct model *a, const struct tensor *x, struct model *b,
                        const struct tensor *y)
{
    bool same = x->ndims == y->ndims && x->dtype == y->dtype && x->nbytes == y->nbytes &&
                memcmp(x->dims, y->dims, x->ndims * sizeof *x->dims) == 0;
    uint8_t *p = malloc(x->nbytes + 1), *q = malloc(y->nbytes + 1);
    cr_assert(p && q && model_pread(a, x->file, p, x->nbytes, x->offset, NULL) == QUERN_OK &&
              model_pread(b, y->file, q, y->nbytes, y->offset, NULL) == QUERN_OK);
    same = same && memcmp(p, q, x->nbytes) == 0;
    free(p);
    free(q);
    return same;
}

/* Every tensor of b is one of a, and at most `fewer` of a are not in b. A_log is computed. */
static void check_same(const char *name, const char *first, const char *second, uint32_t fewer)
{
    struct model *a = opened(first), *b = opened(second);
    for (uint32_t i = 0; i < b->ntensors; i++) {
        const struct tensor *y = &b->tensors[i], *x = model_find(a, y->name);
        cr_assert(x != NULL, "%s: %s is new", name, y->name.p);
        cr_expect(str_has(y->name, "A_log") || str_ends(y->name, "ssm_a") ||
                      same_tensor(a, x, b, y),
                  "%s: %s", name, y->name.p);
    }
    cr_expect(a->ntensors - b->ntensors <= fewer, "%s: %u of %u tensors", name, b->ntensors,
              a->ntensors);
    model_close(a);
    model_close(b);
}

/* The type that most weights of a checkpoint have. */
static const char *main_type(const char *dir)
{
    struct model *m = opened(dir);
    uint64_t n[DTYPE_COUNT] = {0};
    for (uint32_t i = 0; i < m->ntensors; i++)
        n[m->tensors[i].dtype] += m->tensors[i].nelems;
    model_close(m);
    return n[DTYPE_F32] > n[DTYPE_F16] + n[DTYPE_BF16] ? "f32"
           : n[DTYPE_F16] > n[DTYPE_BF16]              ? "f16"
                                                       : "bf16";
}

/* ---- there and back ----------------------------------------------------------------------------
 */

static bool has_no_way(const char *name)
{
    static const char *const none[] = {"xlmr-spm", "gpt-oss", "arch-nomic-bert", "arch-rwkv7",
                                       "arch-mistral3"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (strcmp(name, none[i]) == 0)
            return true;
    return false;
}

/* Poolers, tied heads and buffers are lost on the way there. */
#define LOST 2u

static void check_round(const struct json *m)
{
    const char *name = text_of(m, "name"), *gguf = scratch("there.gguf"), *back = scratch("back");
    const struct back_request r = {.output = back, .type = "auto"};
    struct quern_error err;
    const char *dir = write_checkpoint(m);
    const char *type = main_type(dir);
    there(dir, gguf, type);
    if (has_no_way(name)) {
        cr_expect(back_with(gguf, &r, NULL, &err) == QUERN_EUNSUPPORTED &&
                      strcmp(err.kind, "architecture") == 0 && strstr(err.text, "--keep-names"),
                  "%s: %s", name, err.text);
        return;
    }
    back_to(gguf, back, "auto");
    check_same(name, dir, back, LOST);
    if (strcmp(name, "arch-t5") == 0)
        return; /* its tokenizer cannot be made, so that the way ends here */
    there(back, scratch("again.gguf"), type);
    check_same(name, gguf, scratch("again.gguf"), 0);
}

static void check_rounds(const char *file)
{
    struct json *root = read_models(file);
    for (const struct json *m = json_first(json_get(root, "models")); m; m = json_next(m)) {
        scratch_begin();
        check_round(m);
        scratch_end();
    }
    json_free(root);
}

/* Names, types and bytes, and the directory converts again. */
Test(back, golden_models_come_back)
{
    check_rounds("golden.json");
    CHECK_LEAKS();
}

Test(back, other_architectures_come_back)
{
    check_rounds("architectures.json");
    CHECK_LEAKS();
}

/* ---- blocks -----------------------------------------------------------------------------------
 */

static void quantize(const char *input, const char *output, const char *type)
{
    const struct quern_quantize q = {.type = type, .allow_requantize = true, .pure = true};
    struct model *m = opened(input);
    struct plan *p;
    struct quern_error err;
    cr_assert(plan_quantize(m, output, &q, &p, &err) == QUERN_OK, "%s", err.text);
    cr_assert(plan_run(p, NULL, NULL, &err) == QUERN_OK, "%s", err.text);
    plan_free(p);
    model_close(m);
}

/* Decoding and going back is going back and decoding, for rows that are permuted, fused, stacked,
 * turned around. */
Test(back, blocks_are_decoded)
{
    static const char *const models[] = {"golden.json llama3-bpe",
                                         "golden.json qwen3moe",
                                         "golden.json deepseek2",
                                         "golden.json gpt2",
                                         "architectures.json arch-internlm2",
                                         "architectures.json arch-granitemoe"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char file[64];
        const size_t n = strcspn(models[i], " ");
        snprintf(file, sizeof file, "%.*s", (int)n, models[i]);
        struct json *root = read_models(file);
        scratch_begin();
        const char *dir = write_checkpoint(model_named(root, models[i] + n + 1));
        there(dir, scratch("f32.gguf"), "f32");
        quantize(scratch("f32.gguf"), scratch("q8.gguf"), "Q8_0");
        quantize(scratch("q8.gguf"), scratch("decoded.gguf"), "F32");
        back_to(scratch("q8.gguf"), scratch("back"), "f32");
        back_to(scratch("decoded.gguf"), scratch("decoded"), "f32");
        check_same(models[i], scratch("decoded"), scratch("back"), 0);
        scratch_end();
        json_free(root);
    }
    CHECK_LEAKS();
}

Test(back, types)
{
    struct json *root = read_models("golden.json");
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "llama3-bpe"));
    there(dir, scratch("bf16.gguf"), "bf16");
    quantize(scratch("bf16.gguf"), scratch("q8.gguf"), "Q8_0");
    back_to(scratch("q8.gguf"), scratch("auto"), "auto");
    back_to(scratch("q8.gguf"), scratch("f16"), "f16");
    struct model *m = opened(scratch("auto"));
    /* This norm was F32 in the checkpoint, and 16 bits do not hold it. */
    cr_expect(model_find(m, STR("model.norm.weight"))->dtype == DTYPE_F32);
    cr_expect(model_find(m, STR("model.embed_tokens.weight"))->dtype == DTYPE_BF16);
    model_close(m);
    m = opened(scratch("f16"));
    for (uint32_t i = 0; i < m->ntensors; i++)
        cr_expect(m->tensors[i].dtype == DTYPE_F16);
    model_close(m);
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

/* ---- names that stay ----------------------------------------------------------------------------
 */

Test(back, names_may_stay)
{
    const char *const outputs[] = {"kept.safetensors", "kept"};
    struct json *root = read_models("architectures.json");
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "arch-rwkv7"));
    there(dir, scratch("there.gguf"), "f32");
    for (size_t i = 0; i < 2; i++) {
        struct quern_error err;
        const struct back_request r = {
            .output = scratch(outputs[i]), .type = "auto", .keep_names = true};
        cr_assert(back_with(scratch("there.gguf"), &r, NULL, &err) == QUERN_OK, "%s", err.text);
        check_same("rwkv7", scratch("there.gguf"), scratch(outputs[i]), 0);
    }
    cr_expect(access(scratch("kept/config.json"), F_OK) != 0);
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

/* ---- other safetensors
 * --------------------------------------------------------------------------- */

static void digest(const char *path, char hex[65])
{
    struct quern_error err;
    cr_assert(sha256_file(path, hex, &err) == QUERN_OK, "%s", err.text);
}

Test(back, directories_are_sharded_and_cast)
{
    static const char pocket[] = "build/pocket/pocket-base";
    struct quern_error err;
    char before[65], after[65];
    scratch_begin();
    const struct back_request shards = {
        .output = scratch("shards"), .type = "auto", .shard_bytes = 1 << 20};
    cr_assert(back_with(pocket, &shards, NULL, &err) == QUERN_OK, "%s", err.text);
    cr_expect(access(scratch("shards/model-00003-of-00003.safetensors"), F_OK) == 0);
    check_same("pocket", pocket, scratch("shards"), 0);
    back_to(scratch("shards"), scratch("one"), "auto");
    digest(scratch("one/model.safetensors"), after);
    digest("build/pocket/pocket-base/model.safetensors", before);
    cr_expect_str_eq(after, before);
    digest(scratch("one/config.json"), after);
    digest("build/pocket/pocket-base/config.json", before);
    cr_expect_str_eq(after, before);
    back_to(pocket, scratch("f32.safetensors"), "f32");
    back_to(scratch("f32.safetensors"), scratch("bf16.safetensors"), "bf16");
    check_same("cast", pocket, scratch("bf16.safetensors"), 0);
    scratch_end();
    CHECK_LEAKS();
}

/* ---- the run does not show
 * ------------------------------------------------------------------------ */

Test(back, threads_and_memory_do_not_show)
{
    const struct quern_run_options few = {.threads = 1, .mem_bytes = UINT64_C(8) << 20};
    const struct quern_run_options many = {.threads = 7};
    struct json *root = read_models("golden.json");
    struct quern_error err;
    char a[65], b[65];
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "deepseek2"));
    there(dir, scratch("there.gguf"), "q8_0");
    struct back_request r = {.output = scratch("a.safetensors"), .type = "auto"};
    cr_assert(back_with(scratch("there.gguf"), &r, &few, &err) == QUERN_OK, "%s", err.text);
    digest(r.output, a);
    r.output = scratch("b.safetensors");
    cr_assert(back_with(scratch("there.gguf"), &r, &many, &err) == QUERN_OK, "%s", err.text);
    digest(r.output, b);
    cr_expect_str_eq(a, b);
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

/* ---- what is refused
 * ------------------------------------------------------------------------------ */

/* A GGUF without the tensor `without`, with values of rope_freqs.weight changed, with another key.
 */
struct change {
    const char *model, *without, *spoil, *key;
    uint32_t value;
    const char *kind, *says;
};

static void write_changed(const struct change *c, const char *from, const char *to)
{
    struct arena arena = {0};
    struct model *m = opened(from);
    struct gguf_tensor *t = ARENA_NEW(&arena, struct gguf_tensor, m->ntensors + 1);
    const struct tensor **of = ARENA_NEW(&arena, const struct tensor *, m->ntensors + 1);
    struct meta_list metas;
    struct str header;
    uint64_t nbytes;
    uint32_t n = 0;
    cr_assert(t && of && meta_list_copy(&metas, &arena, m->metas, m->nmetas));
    if (c->key)
        cr_assert(meta_list_set_u32(&metas, c->key, c->value));
    for (uint32_t i = 0; i < m->ntensors; i++) {
        const struct tensor *x = &m->tensors[i];
        if (c->without && str_is(x->name, c->without))
            continue;
        of[n] = x;
        t[n++] = (struct gguf_tensor){.name = x->name,
                                      .dims = x->dims,
                                      .ndims = x->ndims,
                                      .dtype = x->dtype,
                                      .nbytes = x->nbytes};
    }
    cr_assert(gguf_layout_whole(&arena, metas.items, metas.count, t, n, 32, &header, &nbytes,
                                NULL) == QUERN_OK);
    uint8_t *file = calloc(1, nbytes);
    cr_assert(file != NULL);
    memcpy(file, header.p, header.n);
    for (uint32_t i = 0; i < n; i++) {
        cr_assert(model_pread(m, of[i]->file, file + t[i].offset, t[i].nbytes, of[i]->offset,
                              NULL) == QUERN_OK);
        if (c->spoil && str_is(t[i].name, c->spoil))
            file[t[i].offset + t[i].nbytes - 2] ^= 0x40;
    }
    FILE *f = fopen(to, "w");
    cr_assert(f && fwrite(file, 1, nbytes, f) == nbytes && fclose(f) == 0);
    free(file);
    model_close(m);
    arena_free(&arena);
}

Test(back, what_cannot_be_undone_is_named)
{
    static const struct change changes[] = {
        {"arch-granitemoe", "blk.1.ffn_up_exps.weight", NULL, NULL,                         0, "missing-tensor",
         "blk.1.ffn_up_exps.weight"                                                                                                 },
        {"arch-internlm2",  "blk.0.attn_v.weight",      NULL, NULL,                         0, "missing-tensor",
         "blk.0.attn_v.weight"                                                                                                      },
        {"arch-llama",      "token_embd.weight",        NULL, NULL,                         0, "missing-tensor", "token_embd.weight"},
        {"arch-llama",      NULL,                       NULL, "llama.attention.head_count", 7, "shape",          "attn_q"           },
        {"arch-olmoe",      NULL,                       NULL, "olmoe.expert_count",         3, "shape",          "exps"             },
    };
    struct json *root = read_models("architectures.json");
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const struct change *c = &changes[i];
        struct quern_error err;
        scratch_begin();
        const char *dir = write_checkpoint(model_named(root, c->model));
        there(dir, scratch("there.gguf"), "f32");
        write_changed(c, scratch("there.gguf"), scratch("changed.gguf"));
        const struct back_request r = {.output = scratch("back"), .type = "auto"};
        const enum quern_status s = back_with(scratch("changed.gguf"), &r, NULL, &err);
        cr_expect(s != QUERN_OK && strcmp(err.kind, c->kind) == 0 && strstr(err.text, c->says),
                  "%s: %s", c->model, s == QUERN_OK ? "fine" : err.text);
        scratch_end();
    }
    json_free(root);
    CHECK_LEAKS();
}

/* What stands behind the name of the architecture in the file is no part of it. */
Test(back, keys_without_a_place_are_named)
{
    static const struct change odd = {.model = "arch-llama", .key = "llama.odd_number", .value = 7};
    struct json *root = read_models("architectures.json");
    struct plan *p;
    struct quern_error err;
    bool named = false;
    scratch_begin();
    there(write_checkpoint(model_named(root, odd.model)), scratch("there.gguf"), "f32");
    write_changed(&odd, scratch("there.gguf"), scratch("changed.gguf"));
    struct model *m = opened(scratch("changed.gguf"));
    const struct back_request r = {.output = scratch("back"), .type = "auto"};
    cr_assert(convert_back_plan(m, &r, &p, &err) == QUERN_OK, "%s", err.text);
    for (uint32_t i = 0; i < p->nnotes; i++)
        named = named || strstr(p->notes[i], odd.key);
    cr_assert(named, "%s is not named", odd.key);
    plan_free(p);
    model_close(m);
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

/* The factors of Llama 3 give its numbers, any others are refused. */
Test(back, stretched_positions)
{
    struct json *root = read_models("golden.json");
    const struct change spoiled = {.spoil = "rope_freqs.weight"};
    struct quern_error err;
    struct arena arena = {0};
    struct str config;
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "llama3-bpe"));
    there(dir, scratch("there.gguf"), "bf16");
    back_to(scratch("there.gguf"), scratch("back"), "auto");
    cr_assert(read_small_file(scratch("back/config.json"), 1 << 20, &arena, &config, &err) ==
              QUERN_OK);
    cr_expect(strstr(config.p, "\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
                               "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":256"),
              "%s", config.p);
    write_changed(&spoiled, scratch("there.gguf"), scratch("changed.gguf"));
    const struct back_request r = {.output = scratch("none"), .type = "auto"};
    cr_expect(back_with(scratch("changed.gguf"), &r, NULL, &err) == QUERN_EUNSUPPORTED);
    cr_expect(strstr(err.text, "rope_freqs.weight") && strcmp(err.kind, "no-way-back") == 0, "%s",
              err.text);
    arena_free(&arena);
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

/* ---- tokenizers
 * ----------------------------------------------------------------------------------- */

static bool splits_like(const struct pretokenizer *p, const struct known_split *k)
{
    struct arena arena = {0};
    struct pieces words = {.arena = &arena};
    struct quern_error err;
    cr_assert(pretokenizer_split(p, str_from(check_text), &words, &err) == QUERN_OK);
    bool same = words.n == k->nwords;
    for (size_t w = 0; same && w < words.n; w++) {
        size_t letters = 0;
        for (size_t b = 0; b < words.items[w].n; b++)
            letters += ((uint8_t)words.items[w].p[b] & 0xC0) != 0x80;
        same = letters == k->lengths[w];
    }
    arena_free(&arena);
    return same;
}

/* The way a pre-tokenizer of the table splits the check text is one that its name is known for. */
Test(back, pre_tokenizers_split_as_their_names_say)
{
    unsigned nchecked = 0;
    for (const struct back_pre *pre = back_pres; pre->names; pre++) {
        const struct str first = {pre->names, strcspn(pre->names, " ")};
        struct pretokenizer p;
        struct quern_error err;
        bool known, same = false;
        unsigned nknown = 0;
        cr_assert(pretokenizer_read(str_from(pre->pre_tokenizer), &p, &known, &err) == QUERN_OK &&
                      known,
                  "%s", pre->names);
        for (size_t i = 0; i < nknown_splits; i++)
            if (str_eq(str_from(known_splits[i].name), first)) {
                nknown++;
                same |= splits_like(&p, &known_splits[i]);
            }
        cr_expect(same || nknown == 0, "%s", pre->names);
        nchecked += nknown > 0;
        pretokenizer_close(&p);
    }
    cr_expect(nchecked >= 9, "%u", nchecked); /* all but olmo and dbrx, which split like others */
    CHECK_LEAKS();
}

Test(back, pieces_and_scores_come_back)
{
    static const char *const names[] = {"llama-spm", "gemma2", "phi3"};
    struct json *root = read_models("golden.json");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct sentencepiece a, b;
        struct quern_error err;
        char path[600];
        scratch_begin();
        const char *dir = write_checkpoint(model_named(root, names[i]));
        there(dir, scratch("there.gguf"), "f32");
        back_to(scratch("there.gguf"), scratch("back"), "auto");
        snprintf(path, sizeof path, "%s/tokenizer.model", dir);
        cr_assert(sentencepiece_read(path, &a, &err) == QUERN_OK, "%s", err.text);
        cr_assert(sentencepiece_read(scratch("back/tokenizer.model"), &b, &err) == QUERN_OK, "%s",
                  err.text);
        cr_expect(a.npieces == b.npieces && a.model_type == b.model_type, "%s: %u and %u", names[i],
                  a.npieces, b.npieces);
        for (uint32_t k = 0; k < a.npieces && k < b.npieces; k++)
            cr_expect(
                str_eq(a.pieces[k].text, b.pieces[k].text) &&
                    (a.pieces[k].score == b.pieces[k].score || b.pieces[k].score == SCORE_ADDED),
                "%s: piece %u", names[i], k);
        sentencepiece_close(&a);
        sentencepiece_close(&b);
        scratch_end();
    }
    json_free(root);
    CHECK_LEAKS();
}
