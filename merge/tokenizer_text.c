/* tokenizer_text.c - write a tokenizer.json anew around another vocabulary. */
#include "merge/tokenizer_text.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/io.h"
#include "core/json.h"

/* Far below any score, so that a new piece is taken only where there is nothing else. */
#define NEW_PIECE_PENALTY 1e6

struct text_writer {
    const struct vocabulary *v;
    struct tokenizer *t; /* the tokenizer as it was, with its merges */
    const struct token **by_id;
    bool all_in_model; /* added tokens go into model.vocab too, so that they keep their ids */
    struct json_writer w;
};

static int compare_ids(const void *a, const void *b)
{
    const struct token *const *x = a, *const *y = b;
    return ((*x)->id > (*y)->id) - ((*x)->id < (*y)->id);
}

static const struct token **sorted(const struct vocabulary *v, struct arena *arena)
{
    const struct token **list = ARENA_NEW(arena, const struct token *, v->ntokens + 1);
    for (uint32_t i = 0; list && i < v->ntokens; i++)
        list[i] = &v->tokens[i];
    if (list)
        qsort(list, v->ntokens, sizeof *list, compare_ids);
    return list;
}

/* ---- parts ----------------------------------------------------------------------------------- */

static void put_flags(struct json_writer *w, const struct token *t)
{
    static const struct {
        const char *key;
        uint8_t flag;
    } flags[] = {
        {"single_word", TOKEN_SINGLE_WORD},
        {"lstrip",      TOKEN_LSTRIP     },
        {"rstrip",      TOKEN_RSTRIP     },
        {"normalized",  TOKEN_NORMALIZED },
        {"special",     TOKEN_SPECIAL    },
    };
    json_key(w, "content");
    json_put_str(w, t->text);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        json_key(w, flags[i].key);
        json_put_bool(w, t->flags & flags[i].flag);
    }
}

static void put_added(struct text_writer *x)
{
    json_open(&x->w, '[');
    for (uint32_t i = 0; i < x->v->ntokens; i++) {
        if (!(x->by_id[i]->flags & TOKEN_ADDED))
            continue;
        json_open(&x->w, '{');
        json_key(&x->w, "id");
        json_put_u64(&x->w, x->by_id[i]->id);
        put_flags(&x->w, x->by_id[i]);
        json_close(&x->w, '}');
    }
    json_close(&x->w, ']');
}

static void put_vocab_map(struct text_writer *x)
{
    json_open(&x->w, '{');
    for (uint32_t i = 0; i < x->v->ntokens; i++) {
        if (!x->all_in_model && !(x->by_id[i]->flags & TOKEN_IN_MODEL))
            continue;
        json_key_str(&x->w, x->by_id[i]->text);
        json_put_u64(&x->w, x->by_id[i]->id);
    }
    json_close(&x->w, '}');
}

/* Of a Unigram model: the position is the id. */
static enum quern_status put_vocab_list(struct text_writer *x, struct quern_error *err)
{
    double lowest = 0;
    for (uint32_t i = 0; i < x->t->ntokens; i++)
        if (x->t->tokens[i].score < lowest)
            lowest = x->t->tokens[i].score;
    json_open(&x->w, '[');
    uint32_t next = 0;
    for (uint32_t i = 0; i < x->v->ntokens; i++) {
        const struct token *t = x->by_id[i];
        if (!x->all_in_model && !(t->flags & TOKEN_IN_MODEL))
            continue;
        if (t->id != next++)
            return fail(err, QUERN_EUNSUPPORTED, "tokenizer",
                        "no piece has id %u, and '%s' has %u" WANT
                        "a Unigram model needs ids without gaps to be given more pieces",
                        next - 1, quoted(t->text).text, t->id);
        const struct token *old = token_by_text(x->t, t->text);
        json_open(&x->w, '[');
        json_put_str(&x->w, t->text);
        json_put_f64(&x->w, old ? old->score : lowest - NEW_PIECE_PENALTY);
        json_close(&x->w, ']');
    }
    json_close(&x->w, ']');
    return QUERN_OK;
}

static bool is_there(const struct text_writer *x, const char *a, size_t na, const char *b,
                     size_t nb)
{
    char both[512];
    if (na + nb > sizeof both)
        return true; /* too long to be looked up; only tokens that are left out matter */
    memcpy(both, a, na);
    memcpy(both + na, b, nb);
    const struct str text = {both, na + nb};
    const struct token *t = token_by_text(x->t, text);
    return !t || vocabulary_find(x->v, text);
}

/* Without those that need a token that was left out, or make one. */
static void put_merges(struct text_writer *x, bool pairs)
{
    json_open(&x->w, '[');
    for (uint32_t i = 0; i < x->t->nmerges; i++) {
        const struct str l = x->t->merges[i].left, r = x->t->merges[i].right;
        if (!is_there(x, l.p, l.n, "", 0) || !is_there(x, r.p, r.n, "", 0) ||
            !is_there(x, l.p, l.n, r.p, r.n))
            continue;
        if (pairs) {
            json_open(&x->w, '[');
            json_put_str(&x->w, l);
            json_put_str(&x->w, r);
            json_close(&x->w, ']');
        } else {
            char *joined = arena_alloc(&x->t->arena, l.n + 1 + r.n);
            if (!joined) {
                x->w.failed = true;
                return;
            }
            memcpy(joined, l.p, l.n); /* there may be a U+0000 in either */
            joined[l.n] = ' ';
            memcpy(joined + l.n + 1, r.p, r.n);
            json_put_str(&x->w, (struct str){joined, l.n + 1 + r.n});
        }
    }
    json_close(&x->w, ']');
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Bytes of the old text that give way to bytes of the writer. */
struct splice {
    struct span old;
    size_t from, to; /* in the writer's text */
};

static enum quern_status write_parts(struct text_writer *x, struct str old, struct splice parts[3],
                                     unsigned *nparts, struct quern_error *err)
{
    const struct tokenizer *t = x->t;
    struct json_writer *w = &x->w;
    unsigned n = 0;
    parts[n] = (struct splice){.old = t->vocab};
    if (t->kind == TOKENIZER_UNIGRAM)
        TRY(put_vocab_list(x, err));
    else
        put_vocab_map(x);
    parts[n++].to = w->n;
    if (x->v->nstripped && t->merge_list.to) {
        const char *first = old.p + t->merge_list.from + 1;
        while (strchr(" \t\r\n", *first))
            first++;
        parts[n] = (struct splice){.old = t->merge_list, .from = w->n};
        w->comma = false;
        put_merges(x, *first == '[');
        parts[n++].to = w->n;
    }
    parts[n] = (struct splice){.old = t->added, .from = w->n};
    w->comma = false;
    if (!t->added.to) {
        /* There was none: it becomes the first key. */
        const size_t brace = (size_t)((const char *)memchr(old.p, '{', old.n) - old.p);
        parts[n].old = (struct span){brace + 1, brace + 1};
        json_raw(w, STR("\"added_tokens\":"));
        put_added(x);
        json_raw(w, STR(","));
    } else {
        put_added(x);
    }
    parts[n++].to = w->n;
    *nparts = n;
    return QUERN_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct splice *x = a, *y = b;
    return (x->old.from > y->old.from) - (x->old.from < y->old.from);
}

static enum quern_status join(const struct str old, const struct str new, struct splice *parts,
                              unsigned nparts, struct arena *arena, struct str *out,
                              struct quern_error *err)
{
    qsort(parts, nparts, sizeof *parts, by_place);
    char *text = arena_alloc(arena, old.n + new.n + 1), *to = text;
    if (!text)
        return fail_memory(err, old.n + new.n + 1);
    size_t at = 0;
    for (unsigned i = 0; i < nparts; i++) {
        const size_t before = parts[i].old.from - at, n = parts[i].to - parts[i].from;
        memcpy(to, old.p + at, before);
        memcpy(to + before, new.p + parts[i].from, n);
        to += before + n;
        at = parts[i].old.to;
    }
    memcpy(to, old.p + at, old.n - at);
    to += old.n - at;
    *to = '\0';
    *out = (struct str){text, (size_t)(to - text)};
    return QUERN_OK;
}

static enum quern_status write_all(struct text_writer *x, const char *path, struct arena *scratch,
                                   struct arena *arena, struct str *out, struct quern_error *err)
{
    struct str old;
    struct splice parts[3];
    unsigned nparts = 0;
    TRY(read_small_file(path, TOKENIZER_MAX_BYTES, scratch, &old, err));
    x->by_id = sorted(x->v, scratch);
    if (!x->by_id)
        return fail_memory(err, x->v->ntokens * sizeof *x->by_id);
    /* The library numbers added tokens that are not in the vocabulary from its end on. */
    for (uint32_t i = 0; i < x->v->ntokens; i++)
        x->all_in_model |=
            (x->v->tokens[i].flags & TOKEN_IN_MODEL) && !token_by_text(x->t, x->v->tokens[i].text);
    TRY(in_file(err, path, write_parts(x, old, parts, &nparts, err)));
    const struct str text = json_written(&x->w);
    if (!text.p)
        return fail_memory(err, x->w.n);
    return join(old, text, parts, nparts, arena, out, err);
}

enum quern_status tokenizer_text(const char *path, const struct vocabulary *v, struct arena *arena,
                                 struct str *out, struct quern_error *err)
{
    struct tokenizer t;
    struct arena scratch = {0};
    struct text_writer x = {.v = v, .t = &t};
    enum quern_status status = tokenizer_read(path, v->nstripped > 0, &t, err);
    if (status == QUERN_OK)
        status = write_all(&x, path, &scratch, arena, out, err);
    json_writer_free(&x.w);
    tokenizer_close(&t);
    arena_free(&scratch);
    return status;
}

enum quern_status added_tokens_text(const struct vocabulary *v, struct arena *arena,
                                    struct str *out, struct quern_error *err)
{
    struct arena scratch = {0};
    struct json_writer w = {0};
    const struct token **by_id = sorted(v, &scratch);
    json_open(&w, '{');
    for (uint32_t i = 0; by_id && i < v->ntokens; i++) {
        if (!(by_id[i]->flags & TOKEN_ADDED))
            continue;
        char id[16];
        snprintf(id, sizeof id, "%u", by_id[i]->id);
        json_key(&w, id);
        json_open(&w, '{');
        put_flags(&w, by_id[i]);
        json_close(&w, '}');
    }
    json_close(&w, '}');
    *out = by_id && json_written(&w).p ? arena_str(arena, json_written(&w)) : (struct str){0};
    json_writer_free(&w);
    arena_free(&scratch);
    return out->p ? QUERN_OK : fail_memory(err, v->ntokens * sizeof *by_id);
}
