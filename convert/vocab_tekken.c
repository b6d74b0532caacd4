/* vocab_tekken.c - tokenizer keys from tekken.json, Mistral's own format. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "convert/base64.h"
#include "convert/meta_array.h"
#include "convert/template_files.h"
#include "convert/vocab_job.h"
#include "core/io.h"
#include "core/pull.h"

#define MAX_TEKKEN_BYTES (UINT64_C(1) << 28)

struct tekken {
    struct vocab_job *j;
    struct pull p;
    struct str *ranks; /* bytes of the tokens by rank */
    uint32_t nranks, room;
    uint64_t vocab_size, nspecial; /* of config: all tokens, special ones among them */
    struct str *special;           /* by rank; empty when it is not named */
    uint32_t special_room;
    struct name_table index; /* ranks by their bytes */
};

static enum quern_status bad(struct tekken *t, const char *what)
{
    if (t->p.kind)
        return pull_fail(&t->p, 0, t->j->err);
    return at_offset(t->j->err, t->p.token_at,
                     fail(t->j->err, QUERN_EFORMAT, "tekken", "%s", what));
}

static enum quern_status skip(struct tekken *t)
{
    return pull_skip(&t->p, pull_next(&t->p)) ? QUERN_OK : pull_fail(&t->p, 0, t->j->err);
}

static enum quern_status read_count(struct tekken *t, uint64_t *out)
{
    if (pull_next(&t->p) != PULL_NUMBER || !pull_u64(&t->p, out) || *out > TOKENIZER_MAX_IDS)
        return bad(t, "a number of tokens is no whole number up to 16777216");
    return QUERN_OK;
}

static enum quern_status read_config(struct tekken *t)
{
    enum pull_token token;
    if (pull_next(&t->p) != PULL_OBJECT)
        return bad(t, "'config' is no object");
    while ((token = pull_next(&t->p)) == PULL_KEY) {
        if (str_is(t->p.str, "default_vocab_size"))
            TRY(read_count(t, &t->vocab_size));
        else if (str_is(t->p.str, "default_num_special_tokens"))
            TRY(read_count(t, &t->nspecial));
        else
            TRY(skip(t));
    }
    return token == PULL_OBJECT_END ? QUERN_OK : bad(t, "'config' is malformed");
}

/* One token of either list: its rank and one of its texts. */
static enum quern_status read_entry(struct tekken *t, const char *text_key, uint64_t *rank,
                                    struct str *text)
{
    enum pull_token token;
    bool has_rank = false;
    *text = (struct str){0};
    while ((token = pull_next(&t->p)) == PULL_KEY) {
        if (str_is(t->p.str, "rank")) {
            has_rank = true;
            TRY(read_count(t, rank));
        } else if (str_is(t->p.str, text_key)) {
            if (pull_next(&t->p) != PULL_STRING)
                return bad(t, "the text of a token is no string");
            *text = t->p.str;
        } else {
            TRY(skip(t));
        }
    }
    if (token != PULL_OBJECT_END || !has_rank || !text->p)
        return bad(t, "a token has no rank or no text");
    return QUERN_OK;
}

/* Ranks come in order, from 0. */
static enum quern_status read_vocab(struct tekken *t)
{
    enum pull_token token;
    if (pull_next(&t->p) != PULL_ARRAY)
        return bad(t, "'vocab' is no list");
    while ((token = pull_next(&t->p)) == PULL_OBJECT) {
        uint64_t rank = 0;
        struct str text;
        TRY(read_entry(t, "token_bytes", &rank, &text));
        if (rank != t->nranks)
            return bad(t, "the ranks of the tokens are not in order");
        if (t->nranks == t->room) {
            t->room = t->room ? t->room * 2 : 1024;
            struct str *bigger = realloc(t->ranks, t->room * sizeof *bigger);
            if (!bigger)
                return fail_memory(t->j->err, t->room * sizeof *bigger);
            t->ranks = bigger;
        }
        TRY(base64_decode(&t->j->arena, text, &t->ranks[t->nranks++], t->j->err));
    }
    return token == PULL_ARRAY_END ? QUERN_OK : bad(t, "a token is no object");
}

static enum quern_status read_special(struct tekken *t)
{
    enum pull_token token = pull_next(&t->p);
    if (token == PULL_NULL)
        return QUERN_OK;
    if (token != PULL_ARRAY)
        return bad(t, "'special_tokens' is no list");
    while ((token = pull_next(&t->p)) == PULL_OBJECT) {
        uint64_t rank = 0;
        struct str text;
        TRY(read_entry(t, "token_str", &rank, &text));
        if (rank >= t->special_room) {
            const uint32_t bigger = (uint32_t)rank * 2 + 64;
            struct str *special = ARENA_NEW(&t->j->arena, struct str, bigger);
            if (!special)
                return fail_memory(t->j->err, bigger * sizeof *special);
            if (t->special_room)
                memcpy(special, t->special, t->special_room * sizeof *special);
            t->special = special;
            t->special_room = bigger;
        }
        t->special[rank] = text;
    }
    return token == PULL_ARRAY_END ? QUERN_OK : bad(t, "a special token is no object");
}

static enum quern_status read_file(struct tekken *t)
{
    enum pull_token token;
    if (pull_next(&t->p) != PULL_OBJECT)
        return bad(t, "it is no JSON object");
    while ((token = pull_next(&t->p)) == PULL_KEY) {
        if (str_is(t->p.str, "config"))
            TRY(read_config(t));
        else if (str_is(t->p.str, "vocab"))
            TRY(read_vocab(t));
        else if (str_is(t->p.str, "special_tokens"))
            TRY(read_special(t));
        else
            TRY(skip(t));
    }
    if (token != PULL_OBJECT_END || pull_next(&t->p) != PULL_END)
        return bad(t, "it is no JSON object");
    if (t->nranks < 256 || t->vocab_size < t->nspecial + 256 ||
        t->vocab_size - t->nspecial > t->nranks)
        return bad(t, "the sizes in 'config' do not fit the list of tokens");
    t->nranks = (uint32_t)(t->vocab_size - t->nspecial);
    return QUERN_OK;
}

/* ---- tokens --------------------------------------------------------------------------------- */

/* Files without a list of them have these. */
static const char *const usual_special[] = {
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
};

static enum quern_status special_name(struct tekken *t, uint32_t i, struct str *out)
{
    const uint32_t nusual = sizeof usual_special / sizeof *usual_special;
    if (i < t->special_room)
        *out = t->special[i];
    else if (!t->special && i < nusual)
        *out = str_from(usual_special[i]);
    if (out->n)
        return QUERN_OK;
    const char *name = arena_printf(&t->j->arena, "<SPECIAL_%" PRIu32 ">", i);
    if (!name)
        return fail_memory(t->j->err, 32);
    *out = str_from(name);
    return QUERN_OK;
}

static struct str spelled(struct arena *arena, struct str bytes)
{
    char *p = arena_alloc(arena, bytes.n * 2 + 1);
    size_t n = 0;
    for (size_t i = 0; p && i < bytes.n; i++)
        n += byte_letter((uint8_t)bytes.p[i], p + n);
    return (struct str){p, n};
}

static enum quern_status list_tekken(struct tekken *t)
{
    struct vocab_job *const j = t->j;
    const uint32_t nspecial = (uint32_t)t->nspecial;
    TRY(token_list_init(&j->list, &j->arena, t->vocab_size, t->vocab_size, j->err));
    for (uint32_t i = 0; i < nspecial; i++) {
        struct str name = {0};
        TRY(special_name(t, i, &name));
        j->list.items[i] = (struct listed_token){name, 0, TYPE_CONTROL};
    }
    for (uint32_t i = 0; i < t->nranks; i++) {
        const struct str text = spelled(&j->arena, t->ranks[i]);
        if (!text.p)
            return fail_memory(j->err, t->ranks[i].n * 2);
        j->list.items[nspecial + i] = (struct listed_token){text, 0, TYPE_NORMAL};
    }
    return QUERN_OK;
}

/* ---- merges --------------------------------------------------------------------------------- */

static struct str bytes_of(const void *owner, uint32_t i)
{
    return ((const struct tekken *)owner)->ranks[i];
}

static enum quern_status index_ranks(struct tekken *t)
{
    for (uint32_t i = 0; i < t->nranks; i++) {
        bool fresh;
        uint32_t other;
        if (!name_table_add(&t->index, t->ranks[i], i, bytes_of, t, &fresh, &other))
            return fail_memory(t->j->err, t->nranks * sizeof(uint64_t));
        if (!fresh)
            return fail(t->j->err, QUERN_EFORMAT, "duplicate",
                        "tokens %" PRIu32 " and %" PRIu32 " are the same", other, i);
    }
    return QUERN_OK;
}

/* Two ranks whose tokens make up one. */
struct split {
    uint32_t left, right;
};

static int by_ranks(const void *a, const void *b)
{
    const struct split *x = a, *y = b;
    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    return (x->right > y->right) - (x->right < y->right);
}

#define MAX_TOKEN_BYTES 4096

/* All ways to put a token together of two others, lower ranks first. */
static size_t splits_of(const struct tekken *t, struct str bytes, struct split *out)
{
    size_t n = 0;
    for (size_t at = 1; at < bytes.n; at++) {
        struct split s;
        if (name_table_find(&t->index, (struct str){bytes.p, at}, bytes_of, t, &s.left) &&
            name_table_find(&t->index, (struct str){bytes.p + at, bytes.n - at}, bytes_of, t,
                            &s.right))
            out[n++] = s;
    }
    qsort(out, n, sizeof *out, by_ranks);
    return n;
}

struct merge_texts {
    struct str *items;
    uint64_t n, room;
};

static enum quern_status add_merge(struct tekken *t, struct merge_texts *m, struct split s)
{
    const struct str left = spelled(&t->j->arena, t->ranks[s.left]);
    const struct str right = spelled(&t->j->arena, t->ranks[s.right]);
    if (m->n == m->room) {
        m->room = m->room ? m->room * 2 : 1024;
        struct str *bigger = realloc(m->items, m->room * sizeof *bigger);
        if (!bigger)
            return fail_memory(t->j->err, m->room * sizeof *bigger);
        m->items = bigger;
    }
    const char *text = left.p && right.p
                           ? arena_printf(&t->j->arena, "%.*s %.*s", STR_ARG(left), STR_ARG(right))
                           : NULL;
    if (!text)
        return fail_memory(t->j->err, left.n + right.n);
    m->items[m->n++] = (struct str){text, left.n + 1 + right.n};
    return QUERN_OK;
}

static enum quern_status all_merges(struct tekken *t, struct merge_texts *m)
{
    struct split splits[MAX_TOKEN_BYTES];
    for (uint32_t i = 256; i < t->nranks; i++) {
        if (t->ranks[i].n > MAX_TOKEN_BYTES)
            return fail(t->j->err, QUERN_EUNSUPPORTED, "tekken",
                        "token %" PRIu32 " has %zu bytes" WANT "expected at most %d", i,
                        t->ranks[i].n, MAX_TOKEN_BYTES);
        const size_t n = splits_of(t, t->ranks[i], splits);
        if (n == 0)
            return fail(t->j->err, QUERN_EFORMAT, "tekken",
                        "token %" PRIu32 " is not made of two others", i);
        for (size_t k = 0; k < n; k++)
            TRY(add_merge(t, m, splits[k]));
    }
    return QUERN_OK;
}

static enum quern_status put_merges(struct tekken *t)
{
    struct merge_texts m = {0};
    enum quern_status s = all_merges(t, &m);
    if (s == QUERN_OK)
        s = job_put(t->j,
                    meta_list_set_strings(t->j->metas, "tokenizer.ggml.merges", m.items, m.n));
    free(m.items);
    return s;
}

/* ---- keys ----------------------------------------------------------------------------------- */

static enum quern_status put_id_of(struct tekken *t, const char *key, const char *name,
                                   const char *otherwise)
{
    const struct token_list *l = &t->j->list;
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < t->nspecial; i++)
            if (str_is(l->items[i].text, pass ? otherwise : name))
                return job_put(t->j, meta_list_put_u32(t->j->metas, key, i));
    return QUERN_OK;
}

static enum quern_status put_tekken(struct tekken *t)
{
    struct vocab_job *const j = t->j;
    TRY(job_put(j, meta_list_put_string(j->metas, "tokenizer.ggml.model", STR("gpt2")) &&
                       meta_list_put_string(j->metas, "tokenizer.ggml.pre", STR("tekken"))));
    TRY(put_merges(t));
    TRY(put_id_of(t, "tokenizer.ggml.bos_token_id", "<s>", "<s>"));
    TRY(put_id_of(t, "tokenizer.ggml.eos_token_id", "</s>", "</s>"));
    TRY(put_id_of(t, "tokenizer.ggml.unknown_token_id", "<unk>", "<unk>"));
    TRY(put_id_of(t, "tokenizer.ggml.padding_token_id", "<pad>", "</s>"));
    j->ntokens = j->list.n;
    return job_put(j, token_list_put(&j->list, true, j->metas) &&
                          meta_list_put_bool(j->metas, "tokenizer.ggml.add_bos_token", true) &&
                          meta_list_put_bool(j->metas, "tokenizer.ggml.add_eos_token", false));
}

/* The format has no templates of its own: a chat_template.jinja is taken. */
static enum quern_status put_template(struct vocab_job *j)
{
    struct special_ids s = {0};
    static const struct tokenizer_config nothing;
    enum quern_status status = templates_find(&s, j->ask->config->folder, &nothing, j->err);
    if (status == QUERN_OK && s.has_template)
        status = job_put(j, templates_put(&s, j->metas));
    else if (status == QUERN_OK)
        status = plan_note(j->plan, j->err,
                           "tekken.json says nothing of a chat template: the model has none");
    special_ids_close(&s);
    return status;
}

enum quern_status vocab_tekken(struct vocab_job *j, const struct folder_file *file)
{
    struct tekken t = {.j = j};
    struct str text;
    TRY(folder_read(file, MAX_TEKKEN_BYTES, &j->arena, &text, j->err));
    pull_start(&t.p, (char *)text.p, text.n);
    enum quern_status s = read_file(&t);
    if (s == QUERN_OK)
        s = index_ranks(&t);
    if (s == QUERN_OK)
        s = list_tekken(&t);
    if (s == QUERN_OK)
        s = put_tekken(&t);
    name_table_free(&t.index);
    free(t.ranks);
    return s == QUERN_OK ? put_template(j) : in_file(j->err, file->path, s);
}
