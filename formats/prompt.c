/* prompt.c - what a tokenizer does to a text before its model sees words: added tokens, normalizer,
 * pre-tokenizer. */
#include "formats/prompt.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/io.h"
#include "core/json.h"
#include "core/pattern.h"
#include "core/pull.h"

#define MAX_STAGES 16u
/* Bytes that steps may make of each byte of a prompt, and besides. */
#define MADE_PER_BYTE 64u
#define MADE_BESIDES  16384u

/* What happens to a text (normalizers) or to each of its pieces (pre-tokenizers). */
enum stage_kind {
    /* normalizers */
    PREPEND, /* a in front */
    REPLACE, /* every a by b */
    UNICODE, /* a normal form: texts that it would change, or might, are refused */
    /* pre-tokenizers */
    CUT,         /* at every match of the pattern, which is a piece of its own */
    DROP,        /* likewise, and the match is gone */
    BYTES,       /* every byte becomes a letter */
    BLANK_FIRST, /* a blank in front unless there is one */
    METASPACE    /* blanks become a; a in front, by the scheme; pieces begin with a when cut */
};

enum scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

struct stage {
    enum stage_kind kind;
    struct str a, b;
    struct pattern *pattern;
    enum scheme scheme;
    bool cut;      /* METASPACE */
    bool composed; /* UNICODE: NFC */
};

struct prompt_encoder {
    struct arena arena;
    struct tokenizer tokenizer;
    struct bpe bpe;
    struct stage normalizers[MAX_STAGES], pretokenizers[MAX_STAGES];
    unsigned nnormalizers, npretokenizers;
    const struct token **added; /* the added tokens */
    uint32_t nadded;
};

/* ---- reading tokenizer.json ------------------------------------------------------------------ */

static enum quern_status unknown(const char *what, struct str name, struct quern_error *err)
{
    return fail(err, QUERN_EUNSUPPORTED, "tokenizer",
                "its %s '%s' is not known here" WANT "use a gate_mode that needs no prompts", what,
                quoted(name).text);
}

/* Copies a member's text; false when it is no text. */
static bool member_text(struct prompt_encoder *e, const struct json *v, const char *key,
                        struct str *out)
{
    struct str s;
    if (!json_text(json_get(v, key), &s))
        return false;
    *out = arena_str(&e->arena, s);
    return out->p != NULL;
}

static bool member_flag(const struct json *v, const char *key, bool fallback)
{
    bool flag = fallback;
    json_bool(json_get(v, key), &flag);
    return flag;
}

static enum quern_status read_normalizer(struct prompt_encoder *e, const struct json *v,
                                         struct stage *s, struct quern_error *err)
{
    struct str type = {NULL, 0};
    json_text(json_get(v, "type"), &type);
    if (str_is(type, "NFC") || str_is(type, "NFD") || str_is(type, "NFKC") ||
        str_is(type, "NFKD")) {
        s->kind = UNICODE;
        s->composed = str_is(type, "NFC");
        return QUERN_OK;
    }
    s->kind = str_is(type, "Prepend") ? PREPEND : REPLACE;
    if (s->kind == PREPEND && member_text(e, v, "prepend", &s->a))
        return QUERN_OK;
    if (str_is(type, "Replace") && member_text(e, json_get(v, "pattern"), "String", &s->a) &&
        s->a.n > 0 && member_text(e, v, "content", &s->b))
        return QUERN_OK;
    return unknown("normalizer", type, err);
}

static enum quern_status read_split(const struct json *v, struct stage *s, struct quern_error *err)
{
    struct str behavior = {NULL, 0}, text;
    json_text(json_get(v, "behavior"), &behavior);
    if (!json_text(json_get(json_get(v, "pattern"), "Regex"), &text))
        return unknown("pre-tokenizer", STR("Split by a string"), err);
    if (member_flag(v, "invert", false))
        return unknown("pre-tokenizer", STR("Split, inverted"), err);
    if (!str_is(behavior, "Isolated") && !str_is(behavior, "Removed"))
        return unknown("pre-tokenizer's behavior", behavior, err);
    s->kind = str_is(behavior, "Removed") ? DROP : CUT;
    return pattern_new_unicode(text, &s->pattern, err);
}

static enum quern_status read_metaspace(struct prompt_encoder *e, const struct json *v,
                                        struct stage *s, struct quern_error *err)
{
    struct str scheme = STR("always");
    s->kind = METASPACE;
    s->cut = member_flag(v, "split", true);
    if (!member_text(e, v, "replacement", &s->a))
        return unknown("pre-tokenizer", STR("Metaspace"), err);
    if (!json_text(json_get(v, "prepend_scheme"), &scheme) &&
        !member_flag(v, "add_prefix_space", true))
        scheme = STR("never");
    s->scheme = str_is(scheme, "never")   ? PREPEND_NEVER
                : str_is(scheme, "first") ? PREPEND_FIRST
                                          : PREPEND_ALWAYS;
    return QUERN_OK;
}

/* read_pretokenizer() has seen to it that there is room. */
static struct stage *next_pretokenizer(struct prompt_encoder *e)
{
    return &e->pretokenizers[e->npretokenizers++];
}

/* A blank in front, GPT-2's pattern, letters for bytes. */
static enum quern_status read_byte_level(struct prompt_encoder *e, const struct json *v,
                                         struct quern_error *err)
{
    if (member_flag(v, "add_prefix_space", true))
        next_pretokenizer(e)->kind = BLANK_FIRST;
    if (member_flag(v, "use_regex", true)) {
        struct stage *s = next_pretokenizer(e);
        s->kind = CUT;
        TRY(pattern_new_unicode(STR("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+"
                                    "| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"),
                                &s->pattern, err));
    }
    next_pretokenizer(e)->kind = BYTES;
    return QUERN_OK;
}

static enum quern_status read_pretokenizer(struct prompt_encoder *e, const struct json *v,
                                           struct quern_error *err)
{
    struct str type = {NULL, 0};
    json_text(json_get(v, "type"), &type);
    if (e->npretokenizers + 3 > MAX_STAGES)
        return unknown("pre-tokenizer", STR("a long Sequence"), err);
    if (str_is(type, "ByteLevel"))
        return read_byte_level(e, v, err);
    if (str_is(type, "Split"))
        return read_split(v, next_pretokenizer(e), err);
    if (str_is(type, "Metaspace"))
        return read_metaspace(e, v, next_pretokenizer(e), err);
    if (!str_is(type, "Digits"))
        return unknown("pre-tokenizer", type, err);
    struct stage *s = next_pretokenizer(e);
    s->kind = CUT;
    return pattern_new_unicode(member_flag(v, "individual_digits", false) ? STR("\\p{N}")
                                                                          : STR("\\p{N}+"),
                               &s->pattern, err);
}

static enum quern_status read_normalizers(struct prompt_encoder *e, const struct json *v,
                                          struct quern_error *err)
{
    const struct json *list = json_get(v, "normalizers");
    if (!list && !json_is_object(v))
        return QUERN_OK;
    if (!list)
        return read_normalizer(e, v, &e->normalizers[e->nnormalizers++], err);
    for (const struct json *i = json_first(list); i; i = json_next(i)) {
        if (e->nnormalizers == MAX_STAGES)
            return unknown("normalizer", STR("a long Sequence"), err);
        TRY(read_normalizer(e, i, &e->normalizers[e->nnormalizers++], err));
    }
    return QUERN_OK;
}

static enum quern_status read_pretokenizers(struct prompt_encoder *e, const struct json *v,
                                            struct quern_error *err)
{
    const struct json *list = json_get(v, "pretokenizers");
    if (!list)
        return json_is_object(v) ? read_pretokenizer(e, v, err) : QUERN_OK;
    for (const struct json *i = json_first(list); i; i = json_next(i))
        TRY(read_pretokenizer(e, i, err));
    return QUERN_OK;
}

/* What of the model tokenizer.h leaves out. */
static enum quern_status read_model(struct prompt_encoder *e, struct pull *p,
                                    struct quern_error *err)
{
    for (enum pull_token t; (t = pull_next(p)) != PULL_OBJECT_END;) {
        if (t == PULL_ERROR)
            return pull_fail(p, 0, err);
        const bool affix =
            str_is(p->str, "continuing_subword_prefix") || str_is(p->str, "end_of_word_suffix");
        const bool fuse = str_is(p->str, "fuse_unk");
        t = pull_next(p);
        if (affix && t == PULL_STRING && p->str.n > 0)
            return unknown("sign for parts of words", p->str, err);
        if (fuse)
            e->bpe.fuse_unk = t == PULL_TRUE;
        if (!pull_skip(p, t))
            return pull_fail(p, 0, err);
    }
    return QUERN_OK;
}

/* The value of one of the small members, whose text is at [from, to). */
static enum quern_status read_small(struct prompt_encoder *e, struct str text, bool normalizer,
                                    struct quern_error *err)
{
    struct json *root;
    if (text.n > JSON_MAX_BYTES)
        return unknown(normalizer ? "normalizer" : "pre-tokenizer", STR("a long one"), err);
    if (text.n == 0 || text.p[0] != '{')
        return QUERN_OK;
    TRY(json_parse(text, &root, err));
    const enum quern_status s = (normalizer ? read_normalizers : read_pretokenizers)(e, root, err);
    json_free(root);
    return s;
}

/* text is changed by the reader, original is not. */
static enum quern_status read_stages(struct prompt_encoder *e, char *text, struct str original,
                                     struct quern_error *err)
{
    struct pull p;
    pull_start(&p, text, original.n);
    if (pull_next(&p) != PULL_OBJECT)
        return fail(err, QUERN_EFORMAT, "json", "it is no JSON object");
    for (enum pull_token t; (t = pull_next(&p)) != PULL_OBJECT_END;) {
        if (t == PULL_ERROR)
            return pull_fail(&p, 0, err);
        const bool normalizer = str_is(p.str, "normalizer");
        const bool small = normalizer || str_is(p.str, "pre_tokenizer");
        const bool model = str_is(p.str, "model");
        t = pull_next(&p);
        const size_t from = p.token_at;
        if (model && t == PULL_OBJECT) {
            TRY(read_model(e, &p, err));
            continue;
        }
        if (!pull_skip(&p, t))
            return pull_fail(&p, 0, err);
        if (small)
            TRY(read_small(e, (struct str){original.p + from, p.at - from}, normalizer, err));
    }
    return QUERN_OK;
}

static enum quern_status list_added(struct prompt_encoder *e, struct quern_error *err)
{
    const struct tokenizer *t = &e->tokenizer;
    e->added = ARENA_NEW(&e->arena, const struct token *, t->ntokens + 1);
    if (!e->added)
        return fail_memory(err, t->ntokens * sizeof *e->added);
    for (uint32_t i = 0; i < t->ntokens; i++)
        if (t->tokens[i].flags & TOKEN_ADDED && t->tokens[i].text.n > 0)
            e->added[e->nadded++] = &t->tokens[i];
    return QUERN_OK;
}

static enum quern_status open_encoder(struct prompt_encoder *e, const char *path,
                                      struct quern_error *err)
{
    TRY(tokenizer_read(path, true, &e->tokenizer, err));
    if (e->tokenizer.kind != TOKENIZER_BPE)
        return unknown("model", str_from(tokenizer_kind_name(e->tokenizer.kind)), err);
    TRY(bpe_open(&e->tokenizer, &e->arena, &e->bpe, err));
    TRY(list_added(e, err));
    struct arena texts = {0};
    struct str original;
    enum quern_status s = read_small_file(path, TOKENIZER_MAX_BYTES, &texts, &original, err);
    const struct str copy = s == QUERN_OK ? arena_str(&texts, original) : original;
    if (s == QUERN_OK)
        s = copy.p ? read_stages(e, (char *)copy.p, original, err) : fail_memory(err, original.n);
    arena_free(&texts);
    return s;
}

enum quern_status prompt_open(const char *tokenizer_json, struct prompt_encoder **out,
                              struct quern_error *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return fail_memory(err, sizeof **out);
    return in_file(err, tokenizer_json, open_encoder(*out, tokenizer_json, err));
}

void prompt_close(struct prompt_encoder *e)
{
    if (!e)
        return;
    for (unsigned i = 0; i < e->npretokenizers; i++)
        pattern_free(e->pretokenizers[i].pattern);
    bpe_close(&e->bpe);
    tokenizer_close(&e->tokenizer);
    arena_free(&e->arena);
    free(e);
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* A text on its way to its tokens. */
struct encoding {
    struct prompt_encoder *e;
    struct arena scratch, *arena;
    struct token_list *out;
    struct quern_error *err;
    bool first;          /* nothing of the text has come before */
    uint64_t made, most; /* bytes of all texts that steps have made; how many they may */
};

/* For a text that a step makes. A few steps that write much for little, one behind the other, make
 * a text that no memory holds. */
static enum quern_status make_room(struct encoding *c, uint64_t n, char **room)
{
    c->made += n;
    if (c->made > c->most)
        return fail(c->err, QUERN_EUNSUPPORTED, "tokenizer",
                    "its steps make more than %" PRIu64 " bytes of a prompt" WANT
                    "expected steps that make few bytes of each",
                    c->most);
    *room = arena_alloc(&c->scratch, n + 1);
    return *room ? QUERN_OK : fail_memory(c->err, n);
}

static bool begins_with(struct str s, struct str with)
{
    return s.n >= with.n && memcmp(s.p, with.p, with.n) == 0;
}

static struct str behind(struct str s, size_t at)
{
    return (struct str){s.p + at, s.n - at};
}

static size_t count_of(struct str s, struct str what)
{
    size_t count = 0;
    for (size_t i = 0; i < s.n;) {
        const bool here = begins_with(behind(s, i), what);
        count += here;
        i += here ? what.n : 1;
    }
    return count;
}

static enum quern_status replace_all(struct encoding *c, struct str *s, struct str from,
                                     struct str to)
{
    char *p;
    size_t n = 0;
    const uint64_t count = count_of(*s, from);
    TRY(make_room(c, s->n - count * from.n + count * to.n, &p));
    for (size_t i = 0; i < s->n;) {
        const bool here = begins_with(behind(*s, i), from);
        const struct str put = here ? to : (struct str){s->p + i, 1};
        memcpy(p + n, put.p, put.n);
        n += put.n;
        i += here ? from.n : 1;
    }
    *s = (struct str){p, n};
    return QUERN_OK;
}

static enum quern_status put_in_front(struct encoding *c, struct str *s, struct str front)
{
    char *p;
    TRY(make_room(c, (uint64_t)front.n + s->n, &p));
    memcpy(p, front.p, front.n);
    memcpy(p + front.n, s->p, s->n);
    *s = (struct str){p, front.n + s->n};
    return QUERN_OK;
}

static uint32_t code_point(const char *p)
{
    const size_t n = utf8_length(*p);
    uint32_t c = n == 1 ? (uint8_t)*p : (uint8_t)*p & (0x7fu >> n);
    for (size_t i = 1; i < n; i++)
        c = c << 6 | ((uint8_t)p[i] & 0x3f);
    return c;
}

/* Texts of nothing but these are in NFC already: no marks that combine, nothing that is replaced.
 */
static bool is_composed(uint32_t c)
{
    static const uint32_t ranges[][2] = {
        {0,       0x2ff  }, /* Latin */
        {0x400,   0x482  }, /* Cyrillic */
        {0x2010,  0x2027 }, /* dashes, quotes */
        {0x3001,  0x3029 },
        {0x3041,  0x3096 }, /* Kana */
        {0x30a1,  0x30fa },
        {0x4e00,  0x9fff }, /* Han */
        {0xac00,  0xd7a3 }, /* Hangul */
        {0x1f300, 0x1f6ff}  /* pictures */
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i][0] && c <= ranges[i][1])
            return true;
    return false;
}

static bool is_normal(const struct stage *form, struct str s)
{
    for (size_t i = 0; i < s.n; i += utf8_length(s.p[i])) {
        const uint32_t c = code_point(s.p + i);
        if (form->composed ? !is_composed(c) : c >= 0x80)
            return false;
    }
    return true;
}

static enum quern_status normalize(struct encoding *c, struct str *s)
{
    for (unsigned i = 0; i < c->e->nnormalizers; i++) {
        const struct stage *n = &c->e->normalizers[i];
        if (n->kind == UNICODE && !is_normal(n, *s))
            return fail(c->err, QUERN_EUNSUPPORTED, "tokenizer",
                        "'%s' may have to be brought into a Unicode normal form" WANT
                        "use plain letters in prompts",
                        quoted(*s).text);
        if (n->kind == PREPEND)
            TRY(put_in_front(c, s, n->a));
        else if (n->kind == REPLACE)
            TRY(replace_all(c, s, n->a, n->b));
    }
    return QUERN_OK;
}

/* As GPT-2 writes bytes: those that print stand for themselves, the others for U+0100 and on. */
static enum quern_status byte_letters(struct encoding *c, struct str *s)
{
    char *p;
    size_t n = 0;
    TRY(make_room(c, (uint64_t)s->n * 2, &p));
    for (size_t i = 0; i < s->n; i++) {
        const unsigned b = (uint8_t)s->p[i];
        unsigned letter = b;
        if (b <= 0x20)
            letter = 0x100 + b;
        else if (b >= 0x7f && b <= 0xa0)
            letter = 0x100 + 33 + (b - 0x7f);
        else if (b == 0xad)
            letter = 0x143;
        if (letter >= 0x80) {
            p[n++] = (char)(0xc0 | letter >> 6);
            p[n++] = (char)(0x80 | (letter & 0x3f));
        } else {
            p[n++] = (char)letter;
        }
    }
    *s = (struct str){p, n};
    return QUERN_OK;
}

static enum quern_status pretokenize(struct encoding *c, unsigned stage, struct str s);

/* Pieces between the matches of a pattern, and the matches. */
static enum quern_status cut(struct encoding *c, unsigned stage, struct str s)
{
    const struct stage *p = &c->e->pretokenizers[stage];
    for (size_t at = 0, from = 0, to = 0; at < s.n; at = to) {
        TRY(pattern_next(p->pattern, s, at, &from, &to, c->err));
        if (to == from && from < s.n) /* an empty match cuts nothing */
            to = from + utf8_length(s.p[from]), from = to;
        TRY(pretokenize(c, stage + 1, (struct str){s.p + at, from - at}));
        if (p->kind == CUT)
            TRY(pretokenize(c, stage + 1, (struct str){s.p + from, to - from}));
    }
    return QUERN_OK;
}

static enum quern_status metaspace(struct encoding *c, unsigned stage, struct str s)
{
    const struct stage *m = &c->e->pretokenizers[stage];
    TRY(replace_all(c, &s, STR(" "), m->a));
    if (!begins_with(s, m->a) &&
        (m->scheme == PREPEND_ALWAYS || (m->scheme == PREPEND_FIRST && c->first)))
        TRY(put_in_front(c, &s, m->a));
    if (!m->cut)
        return pretokenize(c, stage + 1, s);
    for (size_t at = 0, to; at < s.n; at = to) {
        to = at + 1;
        while (to < s.n && !begins_with(behind(s, to), m->a))
            to++;
        TRY(pretokenize(c, stage + 1, (struct str){s.p + at, to - at}));
    }
    return QUERN_OK;
}

static enum quern_status pretokenize(struct encoding *c, unsigned stage, struct str s)
{
    if (s.n == 0)
        return QUERN_OK;
    if (stage == c->e->npretokenizers)
        return bpe_encode(&c->e->bpe, s, &c->scratch, c->arena, c->out, c->err);
    switch (c->e->pretokenizers[stage].kind) {
    case CUT:
    case DROP:
        return cut(c, stage, s);
    case METASPACE:
        return metaspace(c, stage, s);
    case BYTES:
        TRY(byte_letters(c, &s));
        break;
    case BLANK_FIRST:
        if (s.p[0] != ' ')
            TRY(put_in_front(c, &s, STR(" ")));
        break;
    default: /* no normalizer is in this list */
        break;
    }
    return pretokenize(c, stage + 1, s);
}

/* Text between added tokens. */
static enum quern_status encode_plain(struct encoding *c, struct str s)
{
    if (s.n == 0)
        return QUERN_OK;
    TRY(normalize(c, &s));
    TRY(pretokenize(c, 0, s));
    c->first = false;
    return QUERN_OK;
}

/* The longest added token that begins here, or NULL. */
static const struct token *added_at(const struct prompt_encoder *e, struct str rest)
{
    const struct token *best = NULL;
    for (uint32_t i = 0; i < e->nadded; i++)
        if (begins_with(rest, e->added[i]->text) && (!best || e->added[i]->text.n > best->text.n))
            best = e->added[i];
    return best;
}

static enum quern_status encode(struct encoding *c, struct str s)
{
    size_t from = 0;
    for (size_t at = 0; at < s.n;) {
        const struct token *t = added_at(c->e, behind(s, at));
        if (!t) {
            at += utf8_length(s.p[at]);
            continue;
        }
        if (t->flags & (TOKEN_LSTRIP | TOKEN_RSTRIP | TOKEN_SINGLE_WORD))
            return unknown("way to look for the added token", t->text, c->err);
        TRY(encode_plain(c, (struct str){s.p + from, at - from}));
        TRY(token_list_add(c->out, c->arena, t->id, c->err));
        c->first = false;
        from = at += t->text.n;
    }
    return encode_plain(c, behind(s, from));
}

enum quern_status prompt_encode(struct prompt_encoder *e, struct str text, struct arena *arena,
                                struct token_list *out, struct quern_error *err)
{
    size_t bad;
    if (text.n > PROMPT_MAX_BYTES)
        return fail(err, QUERN_EUSAGE, "prompt", "a prompt of %zu bytes" WANT "expected at most %u",
                    text.n, PROMPT_MAX_BYTES);
    if (!utf8_valid(text, &bad))
        return fail(err, QUERN_EUSAGE, "utf8", "a prompt is not UTF-8");
    struct encoding c = {.e = e,
                         .arena = arena,
                         .out = out,
                         .err = err,
                         .first = true,
                         .most = MADE_BESIDES + (uint64_t)MADE_PER_BYTE * text.n};
    const enum quern_status s = encode(&c, text);
    arena_free(&c.scratch);
    return s;
}
