/* check_ids.c - split the check text at added tokens, then into words, then into tokens. */
#include "convert/check_ids.h"

#include <stdlib.h>

#include "convert/pre_tables.h"

#define MAX_WORD_BYTES 2048
#define MAX_PREFIX     64

/* ---- merges --------------------------------------------------------------------------------- */

static struct str merge_text(const void *owner, uint32_t i)
{
    return ((const struct merge_index *)owner)->texts[i];
}

enum quern_status merge_index_make(struct merge_index *m, const struct str *texts, uint32_t n,
                                   struct quern_error *err)
{
    *m = (struct merge_index){.texts = texts, .n = n};
    m->ranks = malloc((n ? n : 1) * sizeof *m->ranks);
    if (!m->ranks)
        return fail_memory(err, n * sizeof *m->ranks);
    for (uint32_t i = 0; i < n; i++) {
        bool fresh;
        uint32_t other;
        if (!name_table_add(&m->table, texts[i], i, merge_text, m, &fresh, &other))
            return fail_memory(err, n * sizeof(uint64_t));
        m->ranks[fresh ? i : other] = i;
    }
    return QUERN_OK;
}

void merge_index_free(struct merge_index *m)
{
    free(m->ranks);
    name_table_free(&m->table);
    *m = (struct merge_index){0};
}

/* ---- words into tokens ---------------------------------------------------------------------- */

struct encoding {
    const struct tokenizer *t;
    const struct pretokenizer *p;
    const struct merge_index *merges;
    struct check_ids *out;
    bool known;
    struct arena arena;
    struct quern_error *err;
};

static void put_id(struct encoding *e, uint32_t id)
{
    if (e->out->n == MAX_CHECK_IDS)
        e->known = false;
    else
        e->out->ids[e->out->n++] = id;
}

static const struct token *in_model(const struct encoding *e, struct str text)
{
    const struct token *token = token_by_text(e->t, text);
    return token && token->flags & TOKEN_IN_MODEL ? token : NULL;
}

static size_t char_bytes(struct str s)
{
    size_t n = 1;
    while (n < s.n && ((unsigned char)s.p[n] & 0xC0) == 0x80)
        n++;
    return n;
}

/* The rank of the merge of two neighbours, UINT32_MAX for none. */
static uint32_t rank_of(const struct encoding *e, struct str left, struct str right)
{
    char key[MAX_WORD_BYTES + 1];
    uint32_t i;
    if (left.n + right.n + 1 > sizeof key)
        return UINT32_MAX;
    memcpy(key, left.p, left.n);
    key[left.n] = ' ';
    memcpy(key + left.n + 1, right.p, right.n);
    const struct str text = {key, left.n + right.n + 1};
    if (!name_table_find(&e->merges->table, text, merge_text, e->merges, &i))
        return UINT32_MAX;
    return e->merges->ranks[i];
}

/* Joins neighbours, the merge of lowest rank first, of equal ones the leftmost. parts are
 * neighbouring stretches of one text. Returns how many are left. */
static size_t merge_parts(const struct encoding *e, struct str *parts, size_t n)
{
    for (;;) {
        uint32_t best = UINT32_MAX;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const uint32_t rank = rank_of(e, parts[i], parts[i + 1]);
            if (rank >= best)
                continue;
            best = rank;
            at = i;
        }
        if (best == UINT32_MAX)
            return n;
        parts[at].n += parts[at + 1].n;
        memmove(&parts[at + 1], &parts[at + 2], (n - at - 2) * sizeof *parts);
        n--;
    }
}

static void encode_bpe(struct encoding *e, struct str word)
{
    struct str parts[MAX_WORD_BYTES];
    size_t n = 0;
    const struct token *whole = e->t->ignore_merges ? in_model(e, word) : NULL;
    if (whole) {
        put_id(e, whole->id);
        return;
    }
    if (word.n > MAX_WORD_BYTES) {
        e->known = false;
        return;
    }
    for (size_t at = 0; at < word.n; at += parts[n++].n)
        parts[n] = (struct str){word.p + at, char_bytes((struct str){word.p + at, word.n - at})};
    n = merge_parts(e, parts, n);
    for (size_t i = 0; i < n; i++) {
        const struct token *token = in_model(e, parts[i]);
        if (token)
            put_id(e, token->id);
        else
            e->known = false; /* a byte without a token */
    }
}

/* The longest pieces from the left; a word with a gap is unknown as a whole. */
static void encode_wordpiece(struct encoding *e, struct str word)
{
    char piece[MAX_WORD_BYTES + MAX_PREFIX];
    const size_t start = e->out->n;
    const struct token *unknown = in_model(e, e->t->unk_token);
    size_t nchars = 0;
    for (size_t at = 0; at < word.n; nchars++)
        at += char_bytes((struct str){word.p + at, word.n - at});
    bool whole = nchars <= e->t->max_word_chars && word.n <= MAX_WORD_BYTES &&
                 e->t->word_prefix.n <= MAX_PREFIX;
    for (size_t at = 0, next; whole && at < word.n; at = next) {
        const struct str prefix = at ? e->t->word_prefix : (struct str){0};
        const struct token *token = NULL;
        for (next = word.n; !token && next > at; next--) {
            if (next < word.n && ((unsigned char)word.p[next] & 0xC0) == 0x80)
                continue;
            memcpy(piece, prefix.p ? prefix.p : "", prefix.n);
            memcpy(piece + prefix.n, word.p + at, next - at);
            token = in_model(e, (struct str){piece, prefix.n + next - at});
            next += token != NULL;
        }
        whole = token != NULL;
        if (token)
            put_id(e, token->id);
    }
    if (whole)
        return;
    e->out->n = start;
    if (unknown)
        put_id(e, unknown->id);
    else
        e->known = false;
}

static enum quern_status encode_text(struct encoding *e, struct str text)
{
    struct pieces words = {.arena = &e->arena};
    TRY(pretokenizer_split(e->p, text, &words, e->err));
    for (size_t i = 0; e->known && i < words.n; i++)
        e->t->kind == TOKENIZER_BPE ? encode_bpe(e, words.items[i])
                                    : encode_wordpiece(e, words.items[i]);
    return QUERN_OK;
}

/* ---- added tokens --------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_word_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (c & 0x80);
}

/* The longest added token that begins at text[at]; NULL for none. */
static const struct token *longest_at(const struct encoding *e, struct str text, size_t at,
                                      bool normalized)
{
    const struct token *best = NULL;
    for (uint32_t i = 0; i < e->t->ntokens; i++) {
        const struct token *token = &e->t->tokens[i];
        const size_t n = token->text.n;
        if (!(token->flags & TOKEN_ADDED) || !(token->flags & TOKEN_NORMALIZED) == normalized ||
            n == 0 || n > text.n - at || (best && n <= best->text.n))
            continue;
        if (memcmp(token->text.p, text.p + at, n) == 0)
            best = token;
    }
    return best;
}

/* Can the text have any of the added tokens? Most tokenizers are done with this one look. */
static bool has_added(const struct encoding *e, struct str text, bool normalized)
{
    for (uint32_t i = 0; i < e->t->ntokens; i++) {
        const struct token *token = &e->t->tokens[i];
        if (token->flags & TOKEN_ADDED && !(token->flags & TOKEN_NORMALIZED) != normalized &&
            token->text.n && memmem(text.p, text.n, token->text.p, token->text.n))
            return true;
    }
    return false;
}

/* Grows a match over the blanks around it that the token takes with it. */
static void widen(const struct token *token, struct str text, size_t done, size_t *from, size_t *to)
{
    while (token->flags & TOKEN_LSTRIP && *from > done && is_blank(text.p[*from - 1]))
        --*from;
    while (token->flags & TOKEN_RSTRIP && *to < text.n && is_blank(text.p[*to]))
        ++*to;
}

static bool inside_word(const struct token *token, struct str text, size_t from, size_t to)
{
    return token->flags & TOKEN_SINGLE_WORD && ((from > 0 && is_word_char(text.p[from - 1])) ||
                                                (to < text.n && is_word_char(text.p[to])));
}

/* First the tokens that are looked for in the text as it is, then, in what lies between, those that
 * are looked for in normalized text. */
static enum quern_status encode_around_added(struct encoding *e, struct str text, bool normalized)
{
    size_t done = 0;
    const bool any = has_added(e, text, normalized);
    for (size_t at = 0; any && at < text.n;) {
        const struct token *token = longest_at(e, text, at, normalized);
        size_t from = at, to = at + (token ? token->text.n : 1);
        at = to;
        if (!token || inside_word(token, text, from, to))
            continue;
        /* The next token is looked for behind the match itself, not behind the blanks it took. */
        widen(token, text, done, &from, &to);
        const struct str before = {text.p + done, from > done ? from - done : 0};
        if (before.n)
            TRY(normalized ? encode_text(e, before) : encode_around_added(e, before, true));
        put_id(e, token->id);
        done = to;
    }
    const struct str rest = {text.p + done, text.n - done};
    if (rest.n == 0)
        return QUERN_OK;
    return normalized ? encode_text(e, rest) : encode_around_added(e, rest, true);
}

/* ---- normalizer ----------------------------------------------------------------------------- */

/* The check text is in the canonical composed and decomposed form already. */
static bool leaves_alone(const struct json *n, unsigned depth)
{
    struct str type;
    if (!json_text(json_get(n, "type"), &type) || depth > 8)
        return false;
    if (str_is(type, "NFC") || str_is(type, "NFD"))
        return true;
    if (!str_is(type, "Sequence"))
        return false;
    for (const struct json *i = json_first(json_get(n, "normalizers")); i; i = json_next(i))
        if (!leaves_alone(i, depth + 1))
            return false;
    return true;
}

static bool flag_or(const struct json *object, const char *key, bool otherwise)
{
    bool v;
    return json_bool(json_get(object, key), &v) ? v : otherwise;
}

static bool bert_text(const struct json *n, struct str *text)
{
    struct str type;
    if (!json_text(json_get(n, "type"), &type) || !str_is(type, "BertNormalizer") ||
        !flag_or(n, "clean_text", true) || !flag_or(n, "handle_chinese_chars", true))
        return false;
    const bool lowercase = flag_or(n, "lowercase", true);
    *text = str_from(check_text_bert[lowercase][flag_or(n, "strip_accents", lowercase)]);
    return true;
}

static enum quern_status normalized_text(const struct tokenizer *t, struct str *text, bool *known,
                                         struct quern_error *err)
{
    struct json *root;
    *text = str_from(check_text);
    if (t->normalizer.n == 0)
        return QUERN_OK;
    TRY(in_file(err, t->path, json_parse(t->normalizer, &root, err)));
    *known = t->kind == TOKENIZER_WORDPIECE ? bert_text(root, text) : leaves_alone(root, 0);
    json_free(root);
    return QUERN_OK;
}

enum quern_status check_ids_encode(const struct tokenizer *t, const struct pretokenizer *p,
                                   const struct merge_index *merges, struct check_ids *out,
                                   bool *known, struct quern_error *err)
{
    struct str text;
    out->n = 0;
    *known = t->kind == TOKENIZER_WORDPIECE ||
             (t->kind == TOKENIZER_BPE && merges && t->is_plain && p->letters);
    if (!*known)
        return QUERN_OK;
    TRY(normalized_text(t, &text, known, err));
    if (!*known)
        return QUERN_OK;
    struct encoding e = {.t = t, .p = p, .merges = merges, .out = out, .known = true, .err = err};
    const enum quern_status s = encode_around_added(&e, text, false);
    *known = e.known;
    arena_free(&e.arena);
    return s;
}
