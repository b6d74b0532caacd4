/* tokenizer.c - read the vocabulary of a tokenizer.json, one JSON token at a time. */
#include "formats/tokenizer.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/io.h"
#include "core/pull.h"
#include "core/yaml.h"

struct reader {
    struct tokenizer *t;
    struct pull p;
    bool want_merges;
    bool has_model, has_kind;
    uint32_t capacity;       /* of t->tokens while they are read: malloc'ed */
    uint32_t merge_capacity; /* of t->merges, likewise */
    struct quern_error *err;
};

#define DEFAULT_MAX_WORD 100 /* characters of a WordPiece model that does not say */

static const char *const kind_names[] = {"BPE", "Unigram", "WordPiece", "WordLevel"};

const char *tokenizer_kind_name(enum tokenizer_kind kind)
{
    return kind_names[kind];
}

/* ---- helpers -------------------------------------------------------------------------------- */

/* The last token is not what it should be. */
static enum quern_status unexpected(struct reader *r, const char *what, const char *expected)
{
    if (r->p.kind)
        return pull_fail(&r->p, 0, r->err);
    return at_offset(
        r->err, r->p.token_at,
        fail(r->err, QUERN_EFORMAT, "tokenizer", "%s" WANT "expected %s", what, expected));
}

static enum quern_status skip_value(struct reader *r)
{
    return pull_skip(&r->p, pull_next(&r->p)) ? QUERN_OK : pull_fail(&r->p, 0, r->err);
}

/* A value that is now known to begin at the last token: once per file. */
static enum quern_status open_span(struct reader *r, struct span *s, const char *key)
{
    if (s->to)
        return at_offset(r->err, r->p.token_at,
                         fail(r->err, QUERN_EFORMAT, "duplicate", "a second '%s'", key));
    s->from = r->p.token_at;
    s->to = r->p.at;
    return QUERN_OK;
}

static enum quern_status grow(struct reader *r, void **items, uint32_t count, uint32_t *capacity,
                              size_t item_bytes)
{
    if (count < *capacity)
        return QUERN_OK;
    const uint32_t bigger = *capacity ? *capacity * 2 : 256;
    void *p = realloc(*items, bigger * item_bytes);
    if (!p)
        return fail_memory(r->err, bigger * item_bytes);
    *items = p;
    *capacity = bigger;
    return QUERN_OK;
}

static enum quern_status add_token(struct reader *r, struct token token)
{
    struct tokenizer *t = r->t;
    TRY(grow(r, (void **)&t->tokens, t->ntokens, &r->capacity, sizeof *t->tokens));
    token.text = arena_str(&t->arena, token.text);
    if (!token.text.p)
        return fail_memory(r->err, sizeof token);
    t->tokens[t->ntokens++] = token;
    return QUERN_OK;
}

static enum quern_status read_id(struct reader *r, uint32_t *id)
{
    uint64_t v;
    if (pull_next(&r->p) != PULL_NUMBER || !pull_u64(&r->p, &v))
        return unexpected(r, "the id of a token is no whole number", "one from 0");
    if (v >= TOKENIZER_MAX_IDS)
        return at_offset(r->err, r->p.token_at,
                         fail(r->err, QUERN_EFORMAT, "tokenizer",
                              "the id of a token is %" PRIu64 WANT "expected less than %u", v,
                              TOKENIZER_MAX_IDS));
    *id = (uint32_t)v;
    return QUERN_OK;
}

static enum quern_status read_flag(struct reader *r, bool *out)
{
    const enum pull_token t = pull_next(&r->p);
    if (t != PULL_TRUE && t != PULL_FALSE)
        return unexpected(r, "a flag is no truth value", "true or false");
    *out = t == PULL_TRUE;
    return QUERN_OK;
}

/* ---- model.vocab ---------------------------------------------------------------------------- */

/* {"token": id, ...} */
static enum quern_status read_vocab_map(struct reader *r)
{
    enum pull_token t;
    while ((t = pull_next(&r->p)) == PULL_KEY) {
        struct token token = {
            .text = r->p.str, .at = (uint32_t)r->p.token_at, .flags = TOKEN_IN_MODEL};
        TRY(read_id(r, &token.id));
        TRY(add_token(r, token));
    }
    return t == PULL_OBJECT_END ? QUERN_OK : pull_fail(&r->p, 0, r->err);
}

/* [["piece", score], ...]: the id is the position. */
static enum quern_status read_vocab_list(struct reader *r)
{
    static const char entry[] = "an entry of the vocabulary is no pair of a piece and a score";
    enum pull_token t;
    for (uint32_t id = 0; (t = pull_next(&r->p)) != PULL_ARRAY_END; id++) {
        if (t != PULL_ARRAY || pull_next(&r->p) != PULL_STRING)
            return unexpected(r, entry, "[\"piece\", score]");
        if (id >= TOKENIZER_MAX_IDS)
            return unexpected(r, "the vocabulary has too many pieces", "at most 16777216");
        struct token token = {
            .text = r->p.str, .id = id, .at = (uint32_t)r->p.token_at, .flags = TOKEN_IN_MODEL};
        if (pull_next(&r->p) != PULL_NUMBER || !decimal_number(r->p.str, &token.score) ||
            pull_next(&r->p) != PULL_ARRAY_END)
            return unexpected(r, entry, "[\"piece\", score]");
        TRY(add_token(r, token));
    }
    return QUERN_OK;
}

static enum quern_status read_vocab(struct reader *r)
{
    const enum pull_token t = pull_next(&r->p);
    struct span *span = &r->t->vocab;
    if (t != PULL_OBJECT && t != PULL_ARRAY)
        return unexpected(r, "the vocabulary is neither object nor list", "{\"token\": id, ...}");
    TRY(open_span(r, span, "vocab"));
    TRY(t == PULL_OBJECT ? read_vocab_map(r) : read_vocab_list(r));
    span->to = r->p.at;
    return QUERN_OK;
}

/* ---- model.merges --------------------------------------------------------------------------- */

static enum quern_status keep_merge(struct reader *r, struct str left, struct str right)
{
    struct tokenizer *t = r->t;
    if (!r->want_merges)
        return QUERN_OK;
    TRY(grow(r, (void **)&t->merges, t->nmerges, &r->merge_capacity, sizeof *t->merges));
    const struct token_merge m = {arena_str(&t->arena, left), arena_str(&t->arena, right)};
    if (!m.left.p || !m.right.p)
        return fail_memory(r->err, left.n + right.n);
    t->merges[t->nmerges] = m;
    return QUERN_OK;
}

/* "left right", or ["left", "right"] when a part may hold a space. */
static enum quern_status read_merge(struct reader *r, enum pull_token t)
{
    static const char expected[] = "\"left right\" or [\"left\", \"right\"]";
    struct str left, right;
    if (t == PULL_STRING) {
        const struct str s = r->p.str;
        const char *space = memchr(s.p, ' ', s.n);
        left = (struct str){s.p, space ? (size_t)(space - s.p) : s.n};
        right = (struct str){s.p + left.n + 1, space ? s.n - left.n - 1 : 0};
        if (left.n == 0 || right.n == 0 || memchr(right.p, ' ', right.n))
            return unexpected(r, "a merge is not of two tokens", expected);
        return keep_merge(r, left, right);
    }
    if (t != PULL_ARRAY || pull_next(&r->p) != PULL_STRING)
        return unexpected(r, "a merge is not of two tokens", expected);
    left = r->p.str;
    if (pull_next(&r->p) != PULL_STRING)
        return unexpected(r, "a merge is not of two tokens", expected);
    right = r->p.str;
    if (pull_next(&r->p) != PULL_ARRAY_END)
        return unexpected(r, "a merge is not of two tokens", expected);
    return keep_merge(r, left, right);
}

static enum quern_status read_merges(struct reader *r)
{
    struct span *span = &r->t->merge_list;
    enum pull_token t = pull_next(&r->p);
    if (t != PULL_ARRAY)
        return unexpected(r, "'merges' is no list", "a list of merges");
    TRY(open_span(r, span, "merges"));
    while ((t = pull_next(&r->p)) != PULL_ARRAY_END) {
        TRY(read_merge(r, t));
        r->t->nmerges++;
    }
    span->to = r->p.at;
    return QUERN_OK;
}

/* ---- model ---------------------------------------------------------------------------------- */

static enum quern_status read_kind(struct reader *r)
{
    if (pull_next(&r->p) != PULL_STRING)
        return unexpected(r, "the model's type is no string", "BPE, Unigram, WordPiece ...");
    for (size_t i = 0; i < sizeof kind_names / sizeof *kind_names; i++) {
        if (!str_is(r->p.str, kind_names[i]))
            continue;
        r->t->kind = (enum tokenizer_kind)i;
        r->has_kind = true;
        return QUERN_OK;
    }
    return fail(r->err, QUERN_EUNSUPPORTED, "tokenizer",
                "its model is of type '%s'" WANT "expected BPE, Unigram, WordPiece or WordLevel",
                quoted(r->p.str).text);
}

static enum quern_status read_model_key(struct reader *r)
{
    struct tokenizer *t = r->t;
    if (str_is(r->p.str, "type"))
        return read_kind(r);
    if (str_is(r->p.str, "vocab"))
        return read_vocab(r);
    if (str_is(r->p.str, "merges"))
        return read_merges(r);
    const bool unk_token = str_is(r->p.str, "unk_token"), unk_id = str_is(r->p.str, "unk_id");
    const bool fallback = str_is(r->p.str, "byte_fallback");
    const bool ignores = str_is(r->p.str, "ignore_merges");
    const bool fuses = str_is(r->p.str, "fuse_unk");
    const bool prefix = str_is(r->p.str, "continuing_subword_prefix");
    const bool odd =
        prefix || str_is(r->p.str, "end_of_word_suffix") || str_is(r->p.str, "dropout");
    const bool longest = str_is(r->p.str, "max_input_chars_per_word");
    const enum pull_token token = pull_next(&r->p);
    if (odd && token != PULL_NULL && (token != PULL_STRING || r->p.str.n))
        t->is_plain = false;
    if (prefix && token == PULL_STRING && !(t->word_prefix = arena_str(&t->arena, r->p.str)).p)
        return fail_memory(r->err, r->p.str.n);
    if (longest && token == PULL_NUMBER)
        (void)pull_u64(&r->p, &t->max_word_chars);
    if (fuses)
        t->fuse_unk = token == PULL_TRUE;
    if (unk_token && token == PULL_STRING && !(t->unk_token = arena_str(&t->arena, r->p.str)).p)
        return fail_memory(r->err, r->p.str.n);
    if (unk_id && token == PULL_NUMBER)
        t->has_unk_id = pull_u64(&r->p, &t->unk_id);
    if (fallback)
        t->byte_fallback = token == PULL_TRUE;
    if (ignores)
        t->ignore_merges = token == PULL_TRUE;
    return pull_skip(&r->p, token) ? QUERN_OK : pull_fail(&r->p, 0, r->err);
}

static enum quern_status read_model(struct reader *r)
{
    struct tokenizer *t = r->t;
    if (pull_next(&r->p) != PULL_OBJECT || r->has_model)
        return unexpected(r, "'model' is no object, or there twice", "one object");
    r->has_model = true;
    enum pull_token token;
    while ((token = pull_next(&r->p)) == PULL_KEY)
        TRY(read_model_key(r));
    if (token != PULL_OBJECT_END)
        return pull_fail(&r->p, 0, r->err);
    if (!t->vocab.to)
        return unexpected(r, "the model has no vocabulary", "'vocab'");
    const bool list = r->p.text[t->vocab.from] == '[';
    if (!r->has_kind)
        t->kind = list ? TOKENIZER_UNIGRAM : t->merge_list.to ? TOKENIZER_BPE : TOKENIZER_WORDPIECE;
    if (list != (t->kind == TOKENIZER_UNIGRAM))
        return unexpected(r, "the vocabulary is not of the form its type needs",
                          "a list for Unigram, else an object");
    return QUERN_OK;
}

/* ---- added_tokens --------------------------------------------------------------------------- */

static const struct {
    const char *key;
    uint8_t flag;
} flag_keys[] = {
    {"special",     TOKEN_SPECIAL    },
    {"lstrip",      TOKEN_LSTRIP     },
    {"rstrip",      TOKEN_RSTRIP     },
    {"single_word", TOKEN_SINGLE_WORD},
    {"normalized",  TOKEN_NORMALIZED },
};

/* One key of an added token. */
static enum quern_status read_added_key(struct reader *r, struct token *token, bool *has_id,
                                        bool *has_normalized)
{
    if (str_is(r->p.str, "id")) {
        *has_id = true;
        return read_id(r, &token->id);
    }
    if (str_is(r->p.str, "content")) {
        if (pull_next(&r->p) != PULL_STRING)
            return unexpected(r, "the content of an added token is no string", "a string");
        token->text = r->p.str;
        return QUERN_OK;
    }
    for (size_t i = 0; i < sizeof flag_keys / sizeof *flag_keys; i++) {
        if (!str_is(r->p.str, flag_keys[i].key))
            continue;
        bool set = false;
        TRY(read_flag(r, &set));
        token->flags |= set ? flag_keys[i].flag : 0;
        *has_normalized |= flag_keys[i].flag == TOKEN_NORMALIZED;
        return QUERN_OK;
    }
    return skip_value(r);
}

static enum quern_status read_added_token(struct reader *r)
{
    struct token token = {.at = (uint32_t)r->p.token_at, .flags = TOKEN_ADDED};
    bool has_id = false, has_normalized = false;
    enum pull_token t;
    while ((t = pull_next(&r->p)) == PULL_KEY)
        TRY(read_added_key(r, &token, &has_id, &has_normalized));
    if (t != PULL_OBJECT_END)
        return pull_fail(&r->p, 0, r->err);
    if (!has_id || !token.text.p)
        return unexpected(r, "an added token has no id or no content", "both");
    if (!has_normalized && !(token.flags & TOKEN_SPECIAL))
        token.flags |= TOKEN_NORMALIZED;
    return add_token(r, token);
}

static enum quern_status read_added(struct reader *r)
{
    struct span *span = &r->t->added;
    enum pull_token t = pull_next(&r->p);
    if (t == PULL_NULL)
        return QUERN_OK;
    if (t != PULL_ARRAY)
        return unexpected(r, "'added_tokens' is no list", "a list of tokens");
    TRY(open_span(r, span, "added_tokens"));
    while ((t = pull_next(&r->p)) == PULL_OBJECT)
        TRY(read_added_token(r));
    if (t != PULL_ARRAY_END)
        return unexpected(r, "an added token is no object", "{\"id\": ..., \"content\": ...}");
    span->to = r->p.at;
    return QUERN_OK;
}

/* ---- texts kept as they are ----------------------------------------------------------------- */

/* Where the value ends that begins at or after at. A malformed one ends anywhere: the reader finds
 * its fault afterwards. */
static size_t value_end(const char *text, size_t at, size_t nbytes)
{
    size_t depth = 0;
    for (bool quoted_text = false; at < nbytes; at++) {
        const char c = text[at];
        if (quoted_text) {
            at += c == '\\';
            quoted_text = c != '"';
        } else if (c == '"') {
            quoted_text = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth <= 1)
                return at + (depth == 1);
            depth--;
        } else if (c == ',' && depth == 0) {
            return at;
        }
    }
    return nbytes;
}

/* A copy of a value before the reader unescapes its strings in place. */
static enum quern_status keep_text(struct reader *r, struct str *out)
{
    if (out->p)
        return at_offset(
            r->err, r->p.token_at,
            fail(r->err, QUERN_EFORMAT, "duplicate", "a second '%s'", quoted(r->p.str).text));
    const char *text = r->p.text;
    const size_t from = r->p.at, to = value_end(text, from, r->p.nbytes);
    size_t at = from;
    while (at < to && strchr(" \t\r\n:", text[at]))
        at++;
    *out = arena_str(&r->t->arena, (struct str){text + at, to - at});
    if (!out->p)
        return fail_memory(r->err, to - at);
    if (str_is(*out, "null"))
        *out = (struct str){0};
    return skip_value(r);
}

static struct str *kept_text(struct tokenizer *t, struct str key)
{
    if (str_is(key, "normalizer"))
        return &t->normalizer;
    if (str_is(key, "pre_tokenizer"))
        return &t->pre_tokenizer;
    if (str_is(key, "post_processor"))
        return &t->post_processor;
    return str_is(key, "decoder") ? &t->decoder : NULL;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static int by_id(const void *a, const void *b)
{
    const struct token *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* Two entries with one id must be one token, in the model and among the added ones. */
static enum quern_status join(struct reader *r, struct token *a, const struct token *b)
{
    const bool both = (a->flags ^ b->flags) & TOKEN_IN_MODEL;
    if (!str_eq(a->text, b->text) || !both)
        return at_offset(r->err, b->at,
                         fail(r->err, QUERN_EFORMAT, "duplicate",
                              "tokens '%s' and '%s' have the same id %" PRIu32,
                              quoted(a->text).text, quoted(b->text).text, a->id));
    a->flags |= b->flags;
    a->score += b->score; /* only one of them has one */
    return QUERN_OK;
}

static struct str text_of(const void *owner, uint32_t i)
{
    return ((const struct tokenizer *)owner)->tokens[i].text;
}

static enum quern_status index_tokens(struct reader *r)
{
    struct tokenizer *t = r->t;
    for (uint32_t i = 0; i < t->ntokens; i++) {
        bool fresh;
        uint32_t other;
        if (!name_table_add(&t->index, t->tokens[i].text, i, text_of, t, &fresh, &other))
            return fail_memory(r->err, t->ntokens * sizeof(uint64_t));
        if (!fresh)
            return at_offset(r->err, t->tokens[i].at,
                             fail(r->err, QUERN_EFORMAT, "duplicate",
                                  "token '%s' has the ids %" PRIu32 " and %" PRIu32,
                                  quoted(t->tokens[i].text).text, t->tokens[other].id,
                                  t->tokens[i].id));
    }
    return QUERN_OK;
}

static enum quern_status finish(struct reader *r)
{
    struct tokenizer *t = r->t;
    if (t->ntokens == 0)
        return fail(r->err, QUERN_EFORMAT, "tokenizer", "the vocabulary is empty");
    qsort(t->tokens, t->ntokens, sizeof *t->tokens, by_id);
    uint32_t n = 1;
    for (uint32_t i = 1; i < t->ntokens; i++) {
        if (t->tokens[i].id == t->tokens[n - 1].id)
            TRY(join(r, &t->tokens[n - 1], &t->tokens[i]));
        else
            t->tokens[n++] = t->tokens[i];
    }
    t->ntokens = n;
    t->end_id = t->tokens[n - 1].id + 1;
    return index_tokens(r);
}

static enum quern_status read_all(struct reader *r)
{
    enum pull_token t;
    if (pull_next(&r->p) != PULL_OBJECT)
        return unexpected(r, "it does not begin with '{'", "a tokenizer as a JSON object");
    while ((t = pull_next(&r->p)) == PULL_KEY) {
        struct str *const kept = kept_text(r->t, r->p.str);
        if (kept)
            TRY(keep_text(r, kept));
        else if (str_is(r->p.str, "model"))
            TRY(read_model(r));
        else if (str_is(r->p.str, "added_tokens"))
            TRY(read_added(r));
        else
            TRY(skip_value(r));
    }
    if (t != PULL_OBJECT_END || pull_next(&r->p) != PULL_END)
        return pull_fail(&r->p, 0, r->err);
    if (!r->has_model)
        return fail(r->err, QUERN_EFORMAT, "tokenizer", "it has no 'model'" WANT "expected one");
    return finish(r);
}

enum quern_status tokenizer_parse(struct str text, const char *path, bool want_merges,
                                  struct tokenizer *t, struct quern_error *err)
{
    *t = (struct tokenizer){
        .is_plain = true, .word_prefix = STR("##"), .max_word_chars = DEFAULT_MAX_WORD};
    struct reader r = {.t = t, .want_merges = want_merges, .err = err};
    t->path = arena_printf(&t->arena, "%s", path);
    if (!t->path)
        return fail_memory(err, strlen(path));
    if (text.n > TOKENIZER_MAX_BYTES)
        return in_file(err, path, fail(err, QUERN_EFORMAT, "too-large", "the text is too large"));
    pull_start(&r.p, (char *)text.p, text.n);
    return in_file(err, path, read_all(&r));
}

enum quern_status tokenizer_read(const char *path, bool want_merges, struct tokenizer *t,
                                 struct quern_error *err)
{
    struct arena arena = {0};
    struct str text;
    *t = (struct tokenizer){0};
    enum quern_status status = read_small_file(path, TOKENIZER_MAX_BYTES, &arena, &text, err);
    if (status == QUERN_OK)
        status = tokenizer_parse(text, path, want_merges, t, err);
    arena_free(&arena);
    return status;
}

/* ---- GGUF ------------------------------------------------------------------------------------ */

/* tokenizer.ggml.token_type: 3 is control, 4 user-defined. */
static uint8_t gguf_flags(const struct meta *types, uint64_t i)
{
    if (!types || types->type != META_ARRAY || types->item_type != META_I32 || i >= types->count)
        return TOKEN_IN_MODEL;
    const char type = types->value.p[4 * i];
    if (type == 3)
        return TOKEN_IN_MODEL | TOKEN_ADDED | TOKEN_SPECIAL;
    return type == 4 ? TOKEN_IN_MODEL | TOKEN_ADDED : TOKEN_IN_MODEL;
}

static enum quern_status read_gguf(struct reader *r, const struct model *m)
{
    const struct meta *tokens = model_meta(m, "tokenizer.ggml.tokens");
    const struct meta *types = model_meta(m, "tokenizer.ggml.token_type");
    if (!tokens || tokens->type != META_ARRAY || tokens->item_type != META_STRING ||
        tokens->count == 0 || tokens->count > TOKENIZER_MAX_IDS)
        return fail(r->err, QUERN_EUNSUPPORTED, "tokenizer",
                    "it has no list of tokens in 'tokenizer.ggml.tokens'");
    const char *at = tokens->value.p;
    for (uint32_t i = 0; i < tokens->count; i++) {
        const struct token token = {
            .text = meta_next_string(&at), .id = i, .flags = gguf_flags(types, i)};
        TRY(add_token(r, token));
    }
    return finish(r);
}

enum quern_status tokenizer_of_gguf(const struct model *m, struct tokenizer *t,
                                    struct quern_error *err)
{
    *t = (struct tokenizer){0};
    struct reader r = {.t = t, .err = err};
    t->path = arena_printf(&t->arena, "%s", m->path);
    if (!t->path)
        return fail_memory(err, strlen(m->path));
    return in_file(err, m->path, read_gguf(&r, m));
}

enum quern_status tokenizer_of_tokens(const struct token *tokens, uint32_t ntokens,
                                      enum tokenizer_kind kind, struct tokenizer *t,
                                      struct quern_error *err)
{
    *t = (struct tokenizer){.path = "", .kind = kind};
    struct reader r = {.t = t, .err = err};
    for (uint32_t i = 0; i < ntokens; i++)
        TRY(add_token(&r, tokens[i]));
    return finish(&r);
}

void tokenizer_close(struct tokenizer *t)
{
    free(t->tokens);
    free(t->merges);
    name_table_free(&t->index);
    arena_free(&t->arena);
    *t = (struct tokenizer){0};
}

const struct token *token_by_text(const struct tokenizer *t, struct str text)
{
    uint32_t i;
    return name_table_find(&t->index, text, text_of, t, &i) ? &t->tokens[i] : NULL;
}

const struct token *token_by_id(const struct tokenizer *t, uint64_t id)
{
    uint32_t from = 0, to = t->ntokens;
    while (from < to) {
        const uint32_t mid = from + (to - from) / 2;
        if (t->tokens[mid].id < id)
            from = mid + 1;
        else
            to = mid;
    }
    return from < t->ntokens && t->tokens[from].id == id ? &t->tokens[from] : NULL;
}

size_t tokenizer_bytes(const struct tokenizer *t)
{
    return t->arena.nbytes + t->ntokens * sizeof *t->tokens + name_table_bytes(&t->index) +
           (t->merges ? t->nmerges * sizeof *t->merges : 0);
}
