/* back_spm.c - tokenizer.model and tokenizer.json of a vocabulary with scores. */
#include <stdlib.h>

#include "back_vocab.h"
#include "formats/sentencepiece.h"

#define SPACE "\xE2\x96\x81"

/* ---- tokenizer.model --------------------------------------------------------------------------
 */

/* Fields of a message; numbers with seven bits a byte, the lowest first. */
struct wire {
    uint8_t *p;
    size_t n;
};

static void put_varint(struct wire *w, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        w->p[w->n++] = (uint8_t)(v | 0x80);
    w->p[w->n++] = (uint8_t)v;
}

static void put_number(struct wire *w, unsigned field, uint64_t v)
{
    put_varint(w, field << 3);
    put_varint(w, v);
}

static void put_bytes(struct wire *w, unsigned field, struct str s)
{
    put_varint(w, field << 3 | 2);
    put_varint(w, s.n);
    memcpy(w->p + w->n, s.p, s.n);
    w->n += s.n;
}

static void put_float(struct wire *w, unsigned field, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_varint(w, field << 3 | 5);
    for (int i = 0; i < 4; i++)
        w->p[w->n++] = (uint8_t)(bits >> (8 * i));
}

/* More than any field but the text of a piece needs. */
#define FIELD_BYTES 64u

static void put_piece(struct wire *w, const struct listed_token *t, uint8_t *room)
{
    struct wire piece = {room, 0};
    put_bytes(&piece, 1, t->text);
    put_float(&piece, 2, t->score);
    if (t->type != TYPE_NORMAL)
        put_number(&piece, 3, t->type);
    put_bytes(w, 1, (struct str){(const char *)piece.p, piece.n});
}

static void put_specs(const struct back_vocab *v, struct wire *w, uint8_t *room)
{
    static const struct {
        const char *key;
        unsigned field;
    } ids[] = {
        {"tokenizer.ggml.unknown_token_id", 40},
        {"tokenizer.ggml.bos_token_id",     41},
        {"tokenizer.ggml.eos_token_id",     42},
        {"tokenizer.ggml.padding_token_id", 43}
    };
    bool bytes = false;
    for (uint32_t i = 0; i < v->nmodel; i++)
        bytes |= v->items[i].type == TYPE_BYTE;
    struct wire spec = {room, 0};
    put_number(&spec, 3, SP_BPE);
    put_number(&spec, 4, v->nmodel);
    put_number(&spec, 35, bytes);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        uint32_t id;
        const bool has = back_token(v, ids[i].key, &id) && id < v->nmodel;
        put_number(&spec, ids[i].field, has ? id : UINT64_MAX); /* -1: there is none */
    }
    put_bytes(w, 2, (struct str){(const char *)spec.p, spec.n});
    spec.n = 0;
    put_bytes(&spec, 1, STR("identity"));
    put_number(&spec, 3, v->add_space_prefix);
    put_number(&spec, 4, false);
    put_number(&spec, 5, true);
    put_bytes(w, 3, (struct str){(const char *)spec.p, spec.n});
}

static enum quern_status write_model(struct back_vocab *v, struct quern_error *err)
{
    size_t nbytes = 8u * FIELD_BYTES, longest = 0;
    for (uint32_t i = 0; i < v->nmodel; i++) {
        const size_t n = v->items[i].text.n;
        nbytes += n + FIELD_BYTES;
        longest = n > longest ? n : longest;
    }
    struct wire w = {arena_alloc(&v->arena, nbytes), 0};
    uint8_t *room = arena_alloc(&v->arena, longest + 4u * FIELD_BYTES);
    if (!w.p || !room)
        return fail_memory(err, nbytes);
    for (uint32_t i = 0; i < v->nmodel; i++)
        put_piece(&w, &v->items[i], room);
    put_specs(v, &w, room);
    return back_add_text(v, "tokenizer.model", (struct str){(const char *)w.p, w.n}, err);
}

/* ---- merges -----------------------------------------------------------------------------------
 */

/* Two tokens that make a third. */
struct pair {
    uint32_t whole, left, right;
    uint32_t left_n, right_n; /* letters */
    float rank;               /* the highest first */
};

struct pairs {
    struct pair *items; /* malloc'ed */
    size_t n, capacity;
};

static struct str text_of(const void *owner, uint32_t i)
{
    return ((const struct back_vocab *)owner)->items[i].text;
}

static uint32_t letters(struct str s)
{
    uint32_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((uint8_t)s.p[i] & 0xC0) != 0x80;
    return n;
}

/* Scores decide, then long parts, then the order of the tokens: as the transformers package has it
 * when it reads a tokenizer.model. */
static int by_rank(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank > y->rank ? -1 : 1;
    if (x->left_n != y->left_n)
        return x->left_n > y->left_n ? -1 : 1;
    if (x->right_n != y->right_n)
        return x->right_n > y->right_n ? -1 : 1;
    if (x->whole != y->whole)
        return x->whole < y->whole ? -1 : 1;
    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    return x->right < y->right ? -1 : x->right > y->right;
}

static enum quern_status add_pair(struct pairs *l, struct pair p, struct quern_error *err)
{
    if (l->n == l->capacity) {
        const size_t capacity = l->capacity ? 2 * l->capacity : 4096;
        struct pair *bigger = realloc(l->items, capacity * sizeof *bigger);
        if (!bigger)
            return fail_memory(err, capacity * sizeof *bigger);
        l->items = bigger;
        l->capacity = capacity;
    }
    l->items[l->n++] = p;
    return QUERN_OK;
}

static enum quern_status split_token(const struct back_vocab *v, const struct name_table *names,
                                     uint32_t whole, bool by_id, struct pairs *l,
                                     struct quern_error *err)
{
    const struct str s = v->items[whole].text;
    for (size_t i = 1; i < s.n; i++) {
        const struct str left = {s.p, i}, right = {s.p + i, s.n - i};
        struct pair p = {.whole = whole, .rank = by_id ? -(float)whole : v->items[whole].score};
        if (((uint8_t)s.p[i] & 0xC0) == 0x80 ||
            !name_table_find(names, left, text_of, v, &p.left) ||
            !name_table_find(names, right, text_of, v, &p.right))
            continue;
        p.left_n = letters(left);
        p.right_n = letters(right);
        TRY(add_pair(l, p, err));
    }
    return QUERN_OK;
}

static enum quern_status put_merges(struct back_vocab *v, const struct name_table *names,
                                    bool by_id, struct json_writer *w, struct quern_error *err)
{
    struct pairs l = {0};
    enum quern_status s = QUERN_OK;
    for (uint32_t i = 0; i < v->nmodel && s == QUERN_OK; i++)
        if (v->items[i].type == TYPE_NORMAL)
            s = split_token(v, names, i, by_id, &l, err);
    if (l.n)
        qsort(l.items, l.n, sizeof *l.items, by_rank);
    json_key(w, "merges");
    json_open(w, '[');
    for (size_t i = 0; i < l.n && s == QUERN_OK; i++) {
        json_open(w, '[');
        json_put_str(w, v->items[l.items[i].left].text);
        json_put_str(w, v->items[l.items[i].right].text);
        json_close(w, ']');
    }
    json_close(w, ']');
    free(l.items);
    return s;
}

/* ---- tokenizer.json ---------------------------------------------------------------------------
 */

static void put_unknown(const struct back_vocab *v, struct json_writer *w)
{
    uint32_t id;
    json_key(w, "unk_token");
    if (back_token(v, "tokenizer.ggml.unknown_token_id", &id))
        json_put_str(w, v->items[id].text);
    else
        json_put_null(w);
}

static enum quern_status write_json(struct back_vocab *v, const struct name_table *names,
                                    bool by_id, struct json_writer *w, struct quern_error *err)
{
    back_json_begin(v, w);
    json_key(w, "normalizer");
    json_raw(w, STR("{\"type\":\"Sequence\",\"normalizers\":["));
    if (v->add_space_prefix)
        json_raw(w, STR("{\"type\":\"Prepend\",\"prepend\":\"" SPACE "\"},"));
    json_raw(w, STR("{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" SPACE
                    "\"}]},\n\"pre_tokenizer\":null"));
    w->comma = true;
    back_json_post(v, w, false);
    json_raw(w, STR(",\n\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\","
                    "\"pattern\":{\"String\":\"" SPACE "\"},\"content\":\" \"},"
                    "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}"));
    if (v->add_space_prefix)
        json_raw(w, STR(",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}"));
    json_raw(w, STR("]},\n\"model\":"));
    w->comma = false;
    json_open(w, '{');
    json_key(w, "type");
    json_put_text(w, "BPE");
    json_key(w, "dropout");
    json_put_null(w);
    put_unknown(v, w);
    json_raw(w, STR(",\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
                    "\"fuse_unk\":true,\"byte_fallback\":true,\"ignore_merges\":false"));
    back_json_vocab(v, w);
    TRY(put_merges(v, names, by_id, w, err));
    json_close(w, '}');
    return back_json_end(v, w, err);
}

static bool scores_alike(const struct back_vocab *v)
{
    const struct listed_token *first = NULL;
    for (uint32_t i = 0; i < v->nmodel; i++) {
        if (v->items[i].type != TYPE_NORMAL)
            continue;
        if (first && v->items[i].score != first->score)
            return false;
        first = first ? first : &v->items[i];
    }
    return true;
}

static enum quern_status write_both(struct back_vocab *v, const struct name_table *names,
                                    struct quern_error *err)
{
    const bool by_id = scores_alike(v);
    struct json_writer w = {0};
    enum quern_status s = write_json(v, names, by_id, &w, err);
    json_writer_free(&w);
    if (s == QUERN_OK && by_id)
        return plan_note(v->b->plan, err,
                         "all tokens have one score, which tells nothing of the order of merges: "
                         "tokenizer.json has the order of the tokens");
    return s == QUERN_OK ? write_model(v, err) : s;
}

enum quern_status back_spm_files(struct back_vocab *v, struct quern_error *err)
{
    struct name_table names = {0};
    bool fresh = true;
    enum quern_status s = QUERN_OK;
    for (uint32_t i = 0; i < v->nmodel && s == QUERN_OK && fresh; i++)
        if (!name_table_add(&names, v->items[i].text, i, text_of, v, &fresh, NULL))
            s = fail_memory(err, v->nmodel);
    if (s == QUERN_OK)
        s = fresh ? write_both(v, &names, err)
                  : plan_note(v->b->plan, err, "no tokenizer: two tokens have the same text");
    name_table_free(&names);
    return s;
}
