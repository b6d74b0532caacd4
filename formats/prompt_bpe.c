/* prompt_bpe.c - byte pair encoding of one word: join the pair that was learned first, until none
 * is left. */
#include <stdio.h>

#include "formats/prompt.h"

#define NO_RANK UINT32_MAX

static struct str pair_name(const void *owner, uint32_t i)
{
    return ((const struct bpe *)owner)->pairs[i];
}

/* 0xFF is in no UTF-8 text. */
static struct str pair_text(struct arena *arena, struct str left, struct str right)
{
    char *p = arena_alloc(arena, left.n + right.n + 1);
    if (!p)
        return (struct str){NULL, 0};
    memcpy(p, left.p, left.n);
    p[left.n] = '\xff';
    memcpy(p + left.n + 1, right.p, right.n);
    return (struct str){p, left.n + right.n + 1};
}

enum quern_status bpe_open(const struct tokenizer *t, struct arena *arena, struct bpe *b,
                           struct quern_error *err)
{
    *b = (struct bpe){.t = t, .pairs = ARENA_NEW(arena, struct str, t->nmerges + 1)};
    if (!b->pairs)
        return fail_memory(err, t->nmerges * sizeof *b->pairs);
    for (uint32_t i = 0; i < t->nmerges; i++) {
        bool fresh;
        b->pairs[i] = pair_text(arena, t->merges[i].left, t->merges[i].right);
        if (!b->pairs[i].p ||
            !name_table_add(&b->index, b->pairs[i], i, pair_name, b, &fresh, NULL))
            return fail_memory(err, sizeof *b->pairs);
    }
    return QUERN_OK;
}

void bpe_close(struct bpe *b)
{
    name_table_free(&b->index);
}

size_t utf8_length(char first)
{
    const uint8_t c = (uint8_t)first;
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

enum quern_status token_list_add(struct token_list *l, struct arena *arena, uint32_t id,
                                 struct quern_error *err)
{
    if (l->count == l->capacity) {
        const uint32_t capacity = l->capacity ? 2 * l->capacity : 64;
        uint32_t *ids = ARENA_NEW(arena, uint32_t, capacity);
        if (!ids)
            return fail_memory(err, capacity * sizeof *ids);
        if (l->count)
            memcpy(ids, l->ids, l->count * sizeof *ids);
        l->ids = ids;
        l->capacity = capacity;
    }
    l->ids[l->count++] = id;
    return QUERN_OK;
}

/* A word in parts: part i is text[from[i], from[i + 1]), rank[i] that of joining it with the next.
 */
struct parts {
    struct str text;
    uint32_t *from, *rank;
    uint32_t count;
};

static struct str part(const struct parts *p, uint32_t i)
{
    return (struct str){p->text.p + p->from[i], p->from[i + 1] - p->from[i]};
}

static enum quern_status find_rank(const struct bpe *b, struct parts *p, uint32_t i,
                                   struct arena *scratch, struct quern_error *err)
{
    p->rank[i] = NO_RANK;
    if (i + 1 >= p->count)
        return QUERN_OK;
    /* The two lie side by side, only the sign between them is missing. */
    char small[256];
    const struct str left = part(p, i), right = part(p, i + 1);
    struct str key = {small, left.n + right.n + 1};
    if (key.n <= sizeof small) {
        memcpy(small, left.p, left.n);
        small[left.n] = '\xff';
        memcpy(small + left.n + 1, right.p, right.n);
    } else {
        key = pair_text(scratch, left, right);
    }
    if (!key.p)
        return fail_memory(err, key.n);
    uint32_t rank;
    if (name_table_find(&b->index, key, pair_name, b, &rank))
        p->rank[i] = rank;
    return QUERN_OK;
}

static enum quern_status split(const struct bpe *b, struct str word, struct arena *scratch,
                               struct parts *p, struct quern_error *err)
{
    *p = (struct parts){.text = word,
                        .from = ARENA_NEW(scratch, uint32_t, word.n + 1),
                        .rank = ARENA_NEW(scratch, uint32_t, word.n + 1)};
    if (!p->from || !p->rank)
        return fail_memory(err, word.n * sizeof *p->from);
    for (size_t i = 0; i < word.n; i += utf8_length(word.p[i]))
        p->from[p->count++] = (uint32_t)i;
    p->from[p->count] = (uint32_t)word.n;
    for (uint32_t i = 0; i < p->count; i++)
        TRY(find_rank(b, p, i, scratch, err));
    return QUERN_OK;
}

/* Joins until no pair is known. Of equal ranks the first goes first. */
static enum quern_status join(const struct bpe *b, struct parts *p, struct arena *scratch,
                              struct quern_error *err)
{
    for (;;) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < p->count; i++)
            if (p->rank[i] < p->rank[best])
                best = i;
        if (p->count == 0 || p->rank[best] == NO_RANK)
            return QUERN_OK;
        const uint32_t after = p->count - best - 2;
        memmove(&p->from[best + 1], &p->from[best + 2], (after + 1) * sizeof *p->from);
        memmove(&p->rank[best + 1], &p->rank[best + 2], after * sizeof *p->rank);
        p->count--;
        if (best > 0)
            TRY(find_rank(b, p, best - 1, scratch, err));
        TRY(find_rank(b, p, best, scratch, err));
    }
}

/* The bytes of a part that is no token, as tokens; false when one of them is none. */
static bool byte_tokens(const struct tokenizer *t, struct str s, const struct token *out[])
{
    for (size_t i = 0; i < s.n; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (uint8_t)s.p[i]);
        out[i] = token_by_text(t, str_from(name));
        if (!out[i])
            return false;
    }
    return true;
}

/* A part is a token, or one character that is none. */
static enum quern_status add_part(const struct bpe *b, struct str s, bool *unknown,
                                  struct arena *arena, struct token_list *out,
                                  struct quern_error *err)
{
    const struct token *bytes[4], *t = token_by_text(b->t, s);
    const bool after_unknown = *unknown;
    *unknown = false;
    if (t)
        return token_list_add(out, arena, t->id, err);
    if (b->t->byte_fallback && s.n <= 4 && byte_tokens(b->t, s, bytes)) {
        for (size_t i = 0; i < s.n; i++)
            TRY(token_list_add(out, arena, bytes[i]->id, err));
        return QUERN_OK;
    }
    *unknown = true;
    t = b->t->unk_token.n ? token_by_text(b->t, b->t->unk_token) : NULL;
    if (!t || (b->fuse_unk && after_unknown))
        return QUERN_OK;
    return token_list_add(out, arena, t->id, err);
}

enum quern_status bpe_encode(const struct bpe *b, struct str word, struct arena *scratch,
                             struct arena *arena, struct token_list *out, struct quern_error *err)
{
    const struct token *whole = b->t->ignore_merges ? token_by_text(b->t, word) : NULL;
    if (whole)
        return token_list_add(out, arena, whole->id, err);
    struct parts p;
    bool unknown = false;
    TRY(split(b, word, scratch, &p, err));
    TRY(join(b, &p, scratch, err));
    for (uint32_t i = 0; i < p.count; i++)
        TRY(add_part(b, part(&p, i), &unknown, arena, out, err));
    return QUERN_OK;
}
