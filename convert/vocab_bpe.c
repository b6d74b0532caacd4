/* vocab_bpe.c - tokenizer keys of models that split text with patterns: byte pairs, WordPiece. */
#include <inttypes.h>
#include <stdlib.h>

#include "convert/merge_list.h"
#include "convert/meta_array.h"
#include "convert/pre_name.h"
#include "convert/token_decoder.h"
#include "convert/vocab_job.h"

#define MAX_MISSING 1024 /* special tokens that get ids here */

/* ---- tokens --------------------------------------------------------------------------------- */

/* Special tokens of tokenizer_config.json count as added, wherever they are. */
static uint8_t flags_of(const struct vocab_job *j, const struct token *t)
{
    if (!job_is_special(j, t))
        return t->flags;
    if (t->flags & TOKEN_ADDED)
        return t->flags | TOKEN_SPECIAL;
    return (t->flags | TOKEN_ADDED | TOKEN_SPECIAL) & (uint8_t)~TOKEN_NORMALIZED;
}

static enum quern_status list_token(struct vocab_job *j, const struct token_decoder *d,
                                    const struct token *t)
{
    const uint8_t flags = flags_of(j, t);
    struct str text = t->text;
    uint8_t type = TYPE_NORMAL;
    if (flags & TOKEN_ADDED) {
        /* What is looked for in a text as it is must be written as it comes out again. */
        if (!(flags & TOKEN_NORMALIZED))
            TRY(token_decode(d, &j->arena, &text, j->err));
        type =
            flags & TOKEN_SPECIAL || token_looks_special(text) ? TYPE_CONTROL : TYPE_USER_DEFINED;
        if (type == TYPE_USER_DEFINED && !(text = token_with_spaces(&j->arena, text)).p)
            return fail_memory(j->err, t->text.n);
    }
    j->list.items[t->id] = (struct listed_token){text, 0, type};
    return QUERN_OK;
}

/* A special token of tokenizer_config.json that the tokenizer does not have gets the next id, when
 * the model has room for it. */
static void list_missing(struct vocab_job *j, struct str text, uint64_t *next)
{
    if (text.n == 0 || *next >= j->list.n || *next - j->t->end_id >= MAX_MISSING ||
        token_by_text(j->t, text))
        return;
    for (uint64_t id = j->t->end_id; id < *next; id++)
        if (str_eq(j->list.items[id].text, text))
            return;
    j->list.items[(*next)++] = (struct listed_token){text, 0, TYPE_CONTROL};
}

static enum quern_status list_all_missing(struct vocab_job *j)
{
    uint64_t next = j->t->end_id;
    for (unsigned i = 0; i < SPECIAL_EOT; i++)
        list_missing(j, j->tc.special[i].text, &next);
    for (uint32_t i = 0; i < j->tc.nmore_special; i++)
        list_missing(j, j->tc.more_special[i], &next);
    if (next == j->t->end_id)
        return QUERN_OK;
    return plan_note(j->plan, j->err,
                     "tokenizer.json does not have %" PRIu64
                     " special tokens of tokenizer_config.json: they get ids from %" PRIu32,
                     next - j->t->end_id, j->t->end_id);
}

static enum quern_status list_tokens(struct vocab_job *j)
{
    const struct tokenizer *t = j->t;
    struct token_decoder d;
    const uint64_t n = job_vocab_size(j, t->end_id);
    if (t->end_id > n)
        return in_file(j->err, t->path,
                       fail(j->err, QUERN_EUNSUPPORTED, "vocab",
                            "token '%s' has the id %" PRIu32 WANT
                            "expected less than vocab_size of config.json, %" PRIu64,
                            quoted(t->tokens[t->ntokens - 1].text).text, t->end_id - 1, n));
    TRY(token_list_init(&j->list, &j->arena, n, t->ntokens, j->err));
    enum quern_status s = token_decoder_read(&d, t, j->err);
    for (uint32_t i = 0; s == QUERN_OK && i < t->ntokens; i++)
        s = list_token(j, &d, &t->tokens[i]);
    token_decoder_close(&d);
    return s == QUERN_OK ? list_all_missing(j) : s;
}

/* ---- pre ------------------------------------------------------------------------------------ */

static enum quern_status choose_pre(struct vocab_job *j, const struct merge_list *merges,
                                    const char **pre)
{
    enum pre_source source;
    if (j->ask->pre) {
        *pre = j->ask->pre;
        return QUERN_OK;
    }
    /* As it is used: with the merges of tokenizer.json, without those of merges.txt. */
    TRY(pre_name_find(j->t, &j->tc, merges->texts, merges->from_file ? 0 : merges->n, pre, &source,
                      j->err));
    if (source == PRE_ALIKE)
        return plan_note(j->plan, j->err,
                         "this tokenizer is no known one; it splits text like '%s', which "
                         "tokenizer.ggml.pre says (--pre NAME says another)",
                         *pre);
    if (source == PRE_KNOWN)
        return QUERN_OK;
    return in_file(j->err, j->t->path,
                   fail(j->err, QUERN_EUNSUPPORTED, "pre",
                        "it splits text in a way that has no known name" WANT
                        "name the tokenizer it splits text like with --pre NAME, such as "
                        "--pre llama-bpe, --pre qwen2 or --pre gpt-2"));
}

/* ---- byte pairs ----------------------------------------------------------------------------- */

static enum quern_status put_merges(struct vocab_job *j, const struct merge_list *merges)
{
    if (merges->n == 0)
        return plan_note(j->plan, j->err, "the tokenizer has no merges");
    return job_put(
        j, meta_list_set_strings(j->metas, "tokenizer.ggml.merges", merges->texts, merges->n));
}

static enum quern_status bpe_keys(struct vocab_job *j, const struct merge_list *merges)
{
    const char *pre = NULL;
    TRY(choose_pre(j, merges, &pre));
    TRY(job_put_list(j, "gpt2", pre, false));
    TRY(put_merges(j, merges));
    return job_put_special(j, UINT64_MAX);
}

enum quern_status vocab_bpe(struct vocab_job *j)
{
    struct merge_list merges;
    if (j->t->kind != TOKENIZER_BPE)
        return in_file(j->err, j->t->path,
                       fail(j->err, QUERN_EUNSUPPORTED, "tokenizer",
                            "its model is %s" WANT "expected BPE for this architecture",
                            tokenizer_kind_name(j->t->kind)));
    TRY(list_tokens(j));
    enum quern_status s = merge_list_read(&merges, j->ask->config->folder, j->t, j->err);
    if (s == QUERN_OK)
        s = bpe_keys(j, &merges);
    merge_list_close(&merges);
    return s;
}

/* ---- WordPiece ------------------------------------------------------------------------------ */

/* "##ing" goes on a word, anything else begins one: llama.cpp marks the beginnings. */
static enum quern_status mark_beginnings(struct vocab_job *j)
{
    static const char mark[] = {'\xE2', '\x96', '\x81'};
    for (uint32_t i = 0; i < j->list.n; i++) {
        struct listed_token *const item = &j->list.items[i];
        if (item->type == TYPE_CONTROL)
            continue;
        if (str_starts(item->text, "##")) {
            item->text.p += 2;
            item->text.n -= 2;
            continue;
        }
        const size_t n = sizeof mark + item->text.n;
        char *marked = arena_alloc(&j->arena, n);
        if (!marked)
            return fail_memory(j->err, n);
        memcpy(marked, mark, sizeof mark);
        /* There may be a U+0000 in it. */
        memcpy(marked + sizeof mark, item->text.p, item->text.n);
        item->text = (struct str){marked, n};
    }
    return QUERN_OK;
}

enum quern_status vocab_wordpiece(struct vocab_job *j)
{
    static const struct merge_list none;
    const char *pre = NULL;
    uint64_t ntypes = 1;
    (void)hf_u64(j->ask->config, "type_vocab_size", &ntypes);
    TRY(list_tokens(j));
    TRY(choose_pre(j, &none, &pre));
    TRY(mark_beginnings(j));
    TRY(job_put(j,
                meta_list_put_u32(j->metas, "tokenizer.ggml.token_type_count", (uint32_t)ntypes)));
    TRY(job_put_list(j, "bert", pre, false));
    return job_put_special(j, j->list.n);
}

/* ---- a tokenizer.json that imitates SentencePiece ------------------------------------------- */

static bool is_sequence(struct str text)
{
    struct json *root;
    struct str type;
    if (text.n == 0 || json_parse(text, &root, NULL) != QUERN_OK)
        return false;
    const bool is = json_text(json_get(root, "type"), &type) && str_is(type, "Sequence");
    json_free(root);
    return is;
}

bool vocab_is_llama_hf(const struct vocab_job *j)
{
    return j->t && j->t->kind == TOKENIZER_BPE && j->t->byte_fallback && is_sequence(j->t->decoder);
}

/* The order of merges is lost on the way: every score is the same. */
enum quern_status vocab_llama_hf(struct vocab_job *j)
{
    const struct tokenizer *t = j->t;
    uint64_t nbase = 0;
    const uint64_t n = job_vocab_size(j, t->end_id);
    for (uint32_t i = 0; i < t->ntokens; i++)
        nbase += (t->tokens[i].flags & TOKEN_IN_MODEL) != 0;
    TRY(token_list_init(&j->list, &j->arena, n > t->end_id ? n : t->end_id, t->ntokens, j->err));
    for (uint32_t i = 0; i < t->ntokens; i++) {
        const struct token *token = &t->tokens[i];
        uint8_t type = token->id < nbase ? TYPE_NORMAL : TYPE_USER_DEFINED;
        if (job_is_special(j, token))
            type = TYPE_CONTROL;
        if (token->id < nbase && token_is_byte(token->text))
            type = TYPE_BYTE;
        j->list.items[token->id] = (struct listed_token){token->text, SCORE_ADDED, type};
    }
    TRY(job_put_list(j, "llama", "default", true));
    return job_put_special(j, j->list.n);
}
