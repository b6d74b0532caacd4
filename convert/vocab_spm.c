/* vocab_spm.c - tokenizer keys from the model file of SentencePiece. */
#include <inttypes.h>

#include "convert/base64.h"
#include "convert/meta_array.h"
#include "convert/vocab_job.h"
#include "formats/sentencepiece.h"

/* ---- tokens --------------------------------------------------------------------------------- */

static uint8_t type_of(const struct sp_piece *p, unsigned rules)
{
    if (rules & SPM_INTERNLM2 && str_starts(p->text, "[UNUSED"))
        return TYPE_UNUSED;
    /* llama.cpp's converter does not ask for user-defined pieces. */
    return p->type == SP_USER_DEFINED ? TYPE_NORMAL : p->type;
}

static enum quern_status list_pieces(struct vocab_job *j, const struct sentencepiece *sp,
                                     unsigned rules)
{
    uint64_t n = sp->npieces;
    if (!hf_u64(j->ask->config, "vocab_size_per_layer_input", &n) || n == 0)
        n = job_vocab_size(j, sp->npieces);
    TRY(token_list_init(&j->list, &j->arena, n, sp->npieces, j->err));
    for (uint32_t i = 0; i < sp->npieces && i < n; i++) {
        const struct sp_piece *p = &sp->pieces[i];
        j->list.items[i] = (struct listed_token){p->text, p->score, type_of(p, rules)};
        /* A NUL would end the string in llama.cpp; InternLM2 has it as a piece: a dragon. */
        if (rules & SPM_INTERNLM2 && p->text.n == 1 && p->text.p[0] == '\0')
            j->list.items[i].text = STR("\xF0\x9F\x90\x89");
    }
    if (sp->npieces > n)
        return plan_note(j->plan, j->err,
                         "the tokenizer has %" PRIu32 " pieces, the model room for %" PRIu64
                         ": the last ones are left out",
                         sp->npieces, n);
    return QUERN_OK;
}

/* An added token takes its place, whatever is there. */
static enum quern_status set_added(struct vocab_job *j, uint64_t id, struct str text, bool special,
                                   unsigned rules)
{
    if (id >= j->list.n)
        return plan_note(j->plan, j->err,
                         "added token '%s' has the id %" PRIu64 ", the model room for %" PRIu32
                         ": it is left out",
                         quoted(text).text, id, j->list.n);
    uint8_t type = TYPE_USER_DEFINED;
    if (special || (rules & SPM_LOOKS && token_looks_special(text)))
        type = TYPE_CONTROL;
    else if (rules & SPM_LOOKS && !(text = token_with_spaces(&j->arena, text)).p)
        return fail_memory(j->err, id);
    j->list.items[id] = (struct listed_token){text, SCORE_ADDED, type};
    return QUERN_OK;
}

static enum quern_status list_added_file(struct vocab_job *j)
{
    struct added_entry *entries;
    uint32_t n;
    TRY(job_added_tokens(j, &entries, &n));
    for (uint32_t i = 0; i < n; i++)
        TRY(set_added(j, entries[i].id, entries[i].text, false, 0));
    return QUERN_OK;
}

static enum quern_status list_added(struct vocab_job *j, unsigned rules)
{
    TRY(list_added_file(j));
    for (uint32_t i = 0; i < j->tc.nadded; i++)
        TRY(set_added(j, j->tc.added[i].id, j->tc.added[i].text, j->tc.added[i].special, rules));
    for (uint32_t i = 0; rules & SPM_JSON_TOO && j->json && i < j->json->ntokens; i++) {
        const struct token *t = &j->json->tokens[i];
        if (t->flags & TOKEN_ADDED)
            TRY(set_added(j, t->id, t->text, t->flags & TOKEN_SPECIAL, rules));
    }
    return QUERN_OK;
}

/* ---- LLaMA models --------------------------------------------------------------------------- */

/* The token that ends a turn of a chat is the end for InternLM. */
static enum quern_status put_special_internlm(struct vocab_job *j, uint8_t prefix)
{
    struct special_ids s;
    if (prefix != FLAG_ABSENT)
        TRY(job_put(j, meta_list_put_bool(j->metas, "tokenizer.ggml.add_space_prefix",
                                          prefix == FLAG_TRUE)));
    enum quern_status status =
        special_ids_find(&s, j->ask->config, &j->tc, j->json, j->list.n, j->err);
    for (uint32_t i = 0; i < j->list.n; i++)
        if (j->list.items[i].score == SCORE_ADDED && str_is(j->list.items[i].text, "<|im_end|>"))
            special_ids_override(&s, SPECIAL_EOS, i);
    if (status == QUERN_OK)
        status = job_put(j, special_ids_put(&s, j->metas));
    special_ids_close(&s);
    return status;
}

static enum quern_status spm_keys(struct vocab_job *j, const struct sentencepiece *sp,
                                  unsigned rules)
{
    TRY(list_pieces(j, sp, rules));
    TRY(list_added(j, rules));
    TRY(job_put_list(j, "llama", "default", true));
    if (rules & SPM_INTERNLM2)
        return put_special_internlm(j, sp->add_dummy_prefix ? FLAG_TRUE : FLAG_FALSE);
    if (rules & SPM_INTERNLM3)
        return put_special_internlm(j, j->tc.add_prefix_space);
    return job_put_special(j, j->list.n);
}

static enum quern_status read_model(const struct vocab_job *j, const struct folder_file *file,
                                    struct sentencepiece *sp)
{
    return file->copy_from ? sentencepiece_read(file->copy_from, sp, j->err)
                           : sentencepiece_parse(file->text, file->path, sp, j->err);
}

enum quern_status vocab_spm(struct vocab_job *j, const struct folder_file *file, unsigned rules)
{
    struct sentencepiece sp;
    enum quern_status s = read_model(j, file, &sp);
    if (s == QUERN_OK)
        s = spm_keys(j, &sp, rules);
    sentencepiece_close(&sp);
    return s;
}

/* ---- Unigram -------------------------------------------------------------------------------- */

static enum quern_status put_charsmap(struct vocab_job *j, const struct sentencepiece *sp)
{
    return job_put(j, meta_list_put_array(j->metas, "tokenizer.ggml.precompiled_charsmap", META_U8,
                                          sp->charsmap, sp->charsmap.n));
}

static enum quern_status put_flag(struct vocab_job *j, const char *key, bool v)
{
    return job_put(j, meta_list_put_bool(j->metas, key, v));
}

static enum quern_status t5_keys(struct vocab_job *j, const struct sentencepiece *sp)
{
    TRY(list_pieces(j, sp, 0));
    TRY(list_added_file(j));
    TRY(job_put_list(j, "t5", "default", true));
    TRY(put_flag(j, "tokenizer.ggml.add_space_prefix", sp->add_dummy_prefix));
    TRY(put_flag(j, "tokenizer.ggml.remove_extra_whitespaces", sp->remove_extra_whitespaces));
    TRY(put_charsmap(j, sp));
    return job_put_special(j, j->list.n);
}

static enum quern_status not_unigram(const struct sentencepiece *sp, const char *path,
                                     struct quern_error *err)
{
    return in_file(err, path,
                   fail(err, QUERN_EUNSUPPORTED, "sentencepiece",
                        "its model is of type %" PRIu64 WANT "expected 1 (Unigram)",
                        sp->model_type));
}

enum quern_status vocab_t5(struct vocab_job *j, const struct folder_file *file)
{
    struct sentencepiece sp;
    enum quern_status s = read_model(j, file, &sp);
    if (s == QUERN_OK)
        s = sp.model_type == SP_UNIGRAM ? t5_keys(j, &sp)
            : sp.model_type == SP_BPE   ? spm_keys(j, &sp, SPM_LOOKS)
                                        : not_unigram(&sp, file->path, j->err);
    sentencepiece_close(&sp);
    return s;
}

/* fairseq's ids: four tokens of its own, then the pieces from the fourth on; the last place is the
 * mask's. */
static enum quern_status xlmr_list(struct vocab_job *j, const struct sentencepiece *sp)
{
    static const struct listed_token first[] = {
        {{"<s>", 3},   0, TYPE_CONTROL},
        {{"<pad>", 5}, 0, TYPE_CONTROL},
        {{"</s>", 4},  0, TYPE_CONTROL},
        {{"<unk>", 5}, 0, TYPE_UNKNOWN},
    };
    uint64_t n = job_vocab_size(j, 0);
    if (n < sp->npieces)
        n = sp->npieces;
    if (n < 4)
        return fail(j->err, QUERN_EFORMAT, "vocab", "the tokenizer has less than 4 pieces");
    TRY(token_list_init(&j->list, &j->arena, n, sp->npieces, j->err));
    struct listed_token *items = j->list.items;
    for (uint32_t i = 0; i < sp->npieces; i++)
        items[i] = (struct listed_token){sp->pieces[i].text, sp->pieces[i].score,
                                         type_of(&sp->pieces[i], 0)};
    memmove(&items[4], &items[3], (j->list.n - 4) * sizeof *items);
    memcpy(items, first, sizeof first);
    if (strcmp(j->ask->arch, "nomic-bert-moe") == 0 && j->list.n > 250001)
        items[250001] = (struct listed_token){STR("<mask>"), 0, TYPE_CONTROL};
    return QUERN_OK;
}

static enum quern_status put_xlmr(struct vocab_job *j, bool prefix, bool blanks,
                                  const struct sentencepiece *sp)
{
    uint64_t ntypes = 1;
    (void)hf_u64(j->ask->config, "type_vocab_size", &ntypes);
    TRY(job_put_list(j, "t5", "default", true));
    TRY(put_flag(j, "tokenizer.ggml.add_space_prefix", prefix));
    TRY(job_put(j,
                meta_list_put_u32(j->metas, "tokenizer.ggml.token_type_count", (uint32_t)ntypes)));
    TRY(put_flag(j, "tokenizer.ggml.remove_extra_whitespaces", blanks));
    TRY(put_charsmap(j, sp));
    return job_put_special(j, j->list.n);
}

static enum quern_status xlmr_from_model(struct vocab_job *j, const struct folder_file *file)
{
    struct sentencepiece sp;
    enum quern_status s = read_model(j, file, &sp);
    if (s == QUERN_OK && sp.model_type != SP_UNIGRAM)
        s = not_unigram(&sp, file->path, j->err);
    if (s == QUERN_OK)
        s = xlmr_list(j, &sp);
    if (s == QUERN_OK)
        s = put_xlmr(j, sp.add_dummy_prefix, sp.remove_extra_whitespaces, &sp);
    sentencepiece_close(&sp);
    return s;
}

/* ---- Unigram from tokenizer.json ------------------------------------------------------------ */

static enum quern_status unigram_list(struct vocab_job *j)
{
    const struct tokenizer *t = j->t;
    const struct str unk = j->tc.special[SPECIAL_UNK].text;
    const struct token *unknown = unk.p ? token_by_text(t, unk) : NULL;
    const uint64_t unk_id = unknown && unknown->flags & TOKEN_ADDED ? unknown->id
                            : t->has_unk_id                         ? t->unk_id
                                                                    : 3;
    uint64_t nbase = 0;
    for (uint32_t i = 0; i < t->ntokens; i++)
        if (t->tokens[i].flags & TOKEN_IN_MODEL)
            nbase = (uint64_t)t->tokens[i].id + 1;
    const uint64_t n = job_vocab_size(j, 0);
    TRY(token_list_init(&j->list, &j->arena, n < nbase ? nbase : n, t->ntokens, j->err));
    for (uint32_t i = 0; i < t->ntokens && t->tokens[i].id < nbase; i++) {
        const struct token *token = &t->tokens[i];
        const uint8_t type = token->id == unk_id          ? TYPE_UNKNOWN
                             : job_is_special(j, token)   ? TYPE_CONTROL
                             : token->flags & TOKEN_ADDED ? TYPE_USER_DEFINED
                                                          : TYPE_NORMAL;
        j->list.items[token->id] = (struct listed_token){token->text, (float)token->score, type};
    }
    return QUERN_OK;
}

static const struct json *find_charsmap(const struct json *n, unsigned depth)
{
    const struct json *map = json_get(n, "precompiled_charsmap");
    if (map || depth > 8)
        return map;
    for (const struct json *i = json_first(json_get(n, "normalizers")); i && !map; i = json_next(i))
        map = find_charsmap(i, depth + 1);
    return map;
}

static enum quern_status unigram_charsmap(struct vocab_job *j, struct str *out)
{
    struct json *root;
    struct str text;
    if (j->t->normalizer.n == 0)
        return QUERN_OK;
    TRY(in_file(j->err, j->t->path, json_parse(j->t->normalizer, &root, j->err)));
    enum quern_status s = QUERN_OK;
    if (json_text(find_charsmap(root, 0), &text))
        s = in_file(j->err, j->t->path, base64_decode(&j->arena, text, out, j->err));
    json_free(root);
    return s;
}

enum quern_status vocab_xlmr(struct vocab_job *j, const struct folder_file *file)
{
    struct sentencepiece none = {0};
    if (file)
        return xlmr_from_model(j, file);
    TRY(unigram_list(j));
    TRY(unigram_charsmap(j, &none.charsmap));
    return put_xlmr(j, j->tc.add_prefix_space != FLAG_FALSE, j->tc.clean_up == FLAG_TRUE, &none);
}
