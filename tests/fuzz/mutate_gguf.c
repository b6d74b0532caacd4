/* mutate_gguf.c - change a GGUF file by what its bytes mean: counts, lengths, types, whole entries.
 */
#include <string.h>

#include "core/checked.h"
#include "formats/gguf.h"
#include "fuzz.h"

#define MAX_FIELDS  512
#define MAX_ENTRIES 64

struct field {
    size_t at, width;
};

/* Keys, then tensors: bytes [at, end). A tensor's shape begins at body, a key's type. */
struct entry {
    size_t at, body, end;
};

struct gguf_map {
    struct field fields[MAX_FIELDS];
    size_t nfields;
    struct field strings[MAX_FIELDS]; /* at: of the length; width: of the text */
    size_t nstrings;
    struct entry entries[2 * MAX_ENTRIES];
    size_t nkeys, nentries;
    size_t pos, end; /* of the header, as far as it makes sense */
    uint64_t alignment;
    bool whole;
};

static uint64_t number_at(const struct mutation *m, size_t at, size_t width)
{
    uint64_t v = 0;
    for (size_t i = 0; i < width; i++)
        v |= (uint64_t)m->p[at + i] << (8 * i);
    return v;
}

static void put_number(struct mutation *m, size_t at, size_t width, uint64_t v)
{
    for (size_t i = 0; i < width; i++)
        m->p[at + i] = (uint8_t)(v >> (8 * i));
}

static bool take_number(const struct mutation *m, struct gguf_map *g, size_t width, uint64_t *v)
{
    if (width > m->n - g->pos)
        return false;
    *v = number_at(m, g->pos, width);
    if (g->nfields < MAX_FIELDS)
        g->fields[g->nfields++] = (struct field){g->pos, width};
    g->pos += width;
    return true;
}

static bool take_string(const struct mutation *m, struct gguf_map *g)
{
    uint64_t n;
    const size_t at = g->pos;
    if (!take_number(m, g, 8, &n) || n > m->n - g->pos)
        return false;
    if (g->nstrings < MAX_FIELDS)
        g->strings[g->nstrings++] = (struct field){at, n};
    g->pos += n;
    return true;
}

static bool take_value(const struct mutation *m, struct gguf_map *g, uint64_t type)
{
    uint64_t item, count, v;
    if (type == META_STRING)
        return take_string(m, g);
    if (type < META_COUNT && type != META_ARRAY)
        return take_number(m, g, meta_item_bytes((enum meta_type)type), &v);
    if (type != META_ARRAY || !take_number(m, g, 4, &item) || !take_number(m, g, 8, &count) ||
        item >= META_COUNT || item == META_ARRAY)
        return false;
    for (uint64_t i = 0; i < count; i++)
        if (!take_value(m, g, item))
            return false;
    return true;
}

static bool take_key(const struct mutation *m, struct gguf_map *g, struct entry *e)
{
    uint64_t type;
    if (!take_string(m, g))
        return false;
    e->body = g->pos;
    if (!take_number(m, g, 4, &type) || !take_value(m, g, type))
        return false;
    static const char alignment[] = "general.alignment";
    const size_t n = sizeof alignment - 1;
    if (e->body - e->at == n + 8 && memcmp(m->p + e->at + 8, alignment, n) == 0)
        g->alignment = number_at(m, e->body + 4, 4);
    return true;
}

static bool take_tensor(const struct mutation *m, struct gguf_map *g, struct entry *e)
{
    uint64_t ndims, v;
    if (!take_string(m, g))
        return false;
    e->body = g->pos;
    if (!take_number(m, g, 4, &ndims) || ndims > 8)
        return false;
    for (uint64_t i = 0; i < ndims; i++)
        if (!take_number(m, g, 8, &v))
            return false;
    return take_number(m, g, 4, &v) && take_number(m, g, 8, &v);
}

/* The header as far as it makes sense. */
static void read_map(const struct mutation *m, struct gguf_map *g)
{
    uint64_t v, ntensors, nkeys;
    memset(g, 0, sizeof *g);
    g->alignment = GGUF_DEFAULT_ALIGNMENT;
    g->pos = 4;
    g->whole = m->n >= 4 && take_number(m, g, 4, &v) && take_number(m, g, 8, &ntensors) &&
               take_number(m, g, 8, &nkeys) && nkeys <= MAX_ENTRIES && ntensors <= MAX_ENTRIES;
    if (!g->whole)
        return;
    for (uint64_t i = 0; g->whole && i < nkeys + ntensors; i++) {
        struct entry *e = &g->entries[g->nentries];
        e->at = g->pos;
        g->whole = i < nkeys ? take_key(m, g, e) : take_tensor(m, g, e);
        e->end = g->pos;
        if (g->whole) {
            g->nentries++;
            g->nkeys += i < nkeys;
        }
    }
    g->end = g->pos;
}

/* ---- changes ----------------------------------------------------------------------------------
 */

static void change_number(struct mutation *m, const struct gguf_map *g)
{
    const struct field *f = &g->fields[chance_below(m, (uint32_t)g->nfields)];
    const uint64_t old = number_at(m, f->at, f->width);
    put_number(m, f->at, f->width, chance_below(m, 2) ? odd_number(m) : chance_below(m, 64));
    if (chance_below(m, 8) == 0)
        put_number(m, f->at, f->width, old + 1 - chance_below(m, 3));
}

static const char *const texts[] = {
    "general.architecture",
    "general.alignment",
    "general.file_type",
    "general.name",
    "split.no",
    "split.count",
    "split.tensors.count",
    "llama",
    "bert",
    "llama.block_count",
    "llama.embedding_length",
    "llama.attention.head_count",
    "llama.attention.head_count_kv",
    "llama.expert_count",
    "tokenizer.ggml.model",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.chat_template",
    "gpt2",
    "imatrix.datasets",
    "imatrix.chunk_count",
    "imatrix.chunk_size",
    "general.type",
    "imatrix",
    "blk.0.attn_q.weight",
    "token_embd.weight",
    "output.weight",
    "blk.0.attn_q.weight.in_sum2",
    "blk.0.attn_q.weight.counts",
    "blk.1.ffn_down.weight",
    "",
};
#define NTEXTS (sizeof texts / sizeof *texts)

static void change_text(struct mutation *m, const struct gguf_map *g)
{
    const struct field *s = &g->strings[chance_below(m, (uint32_t)g->nstrings)];
    uint8_t text[256];
    size_t n = s->width < sizeof text / 2 ? s->width : sizeof text / 2;
    memcpy(text, m->p + s->at + 8, n);
    if (chance_below(m, 3) == 0) {
        const char *known = texts[chance_below(m, NTEXTS)];
        n = strlen(known);
        memcpy(text, known, n);
    } else {
        n = m->any_change(text, n, sizeof text);
    }
    if (mutation_splice(m, s->at + 8, s->width, text, n))
        put_number(m, s->at, 8, n);
}

/* Into its place among keys or tensors goes a copy of another entry, or nothing. */
static void change_entries(struct mutation *m, const struct gguf_map *g)
{
    const uint32_t i = chance_below(m, (uint32_t)g->nentries);
    const bool key = i < g->nkeys, remove = chance_below(m, 2) == 0;
    const struct entry e = g->entries[i];
    const size_t count_at = key ? 16 : 8;
    const uint64_t count = key ? g->nkeys : g->nentries - g->nkeys;
    uint8_t copy[1024];
    if (e.end - e.at > sizeof copy)
        return;
    memcpy(copy, m->p + e.at, e.end - e.at);
    const size_t first = key ? 0 : g->nkeys;
    const struct entry *to = &g->entries[first + chance_below(m, (uint32_t)count)];
    if (remove ? mutation_splice(m, e.at, e.end - e.at, NULL, 0)
               : mutation_splice(m, to->at, 0, copy, e.end - e.at))
        put_number(m, count_at, 8, remove ? count - 1 : count + 1);
}

static size_t put_text(uint8_t *to, const char *text)
{
    const uint64_t n = strlen(text);
    memcpy(to, &n, 8);
    memcpy(to + 8, text, n);
    return 8 + n;
}

static size_t put_value(struct mutation *m, uint8_t *to, uint32_t type)
{
    if (type == META_STRING)
        return put_text(to, texts[chance_below(m, NTEXTS)]);
    const uint64_t v = chance_below(m, 2) ? odd_number(m) : chance_below(m, 40);
    memcpy(to, &v, 8);
    return meta_item_bytes((enum meta_type)type);
}

/* A new key, or another value for one. */
static void change_key(struct mutation *m, const struct gguf_map *g)
{
    uint8_t bytes[1024];
    size_t n = 0;
    const bool fresh = g->nkeys == 0 || chance_below(m, 2);
    const struct entry none = {.at = 24, .body = 24, .end = 24};
    const struct entry e = fresh ? none : g->entries[chance_below(m, (uint32_t)g->nkeys)];
    if (fresh)
        n = put_text(bytes, texts[chance_below(m, NTEXTS)]);
    const uint32_t type = chance_below(m, META_COUNT);
    memcpy(bytes + n, &type, 4);
    n += 4;
    if (type == META_ARRAY) {
        uint32_t item = chance_below(m, META_COUNT - 1);
        const uint64_t count = chance_below(m, 5);
        item += item >= META_ARRAY;
        memcpy(bytes + n, &item, 4);
        memcpy(bytes + n + 4, &count, 8);
        n += 12;
        for (uint64_t i = 0; i < count; i++)
            n += put_value(m, bytes + n, item);
    } else {
        n += put_value(m, bytes + n, type);
    }
    if (mutation_splice(m, e.body, e.end - e.body, bytes, n) && fresh)
        put_number(m, 16, 8, g->nkeys + 1);
}

/* A new tensor in front of the others. */
static void add_tensor(struct mutation *m, const struct gguf_map *g)
{
    uint8_t bytes[256];
    size_t n = put_text(bytes, texts[chance_below(m, NTEXTS)]);
    const uint32_t ndims = chance_below(m, 5), type = chance_below(m, 43);
    memcpy(bytes + n, &ndims, 4);
    n += 4;
    for (uint32_t i = 0; i < ndims; i++, n += 8) {
        const uint64_t d =
            i == 0 && chance_below(m, 2) ? 32u << chance_below(m, 4) : chance_below(m, 4);
        memcpy(bytes + n, &d, 8);
    }
    memcpy(bytes + n, &type, 4);
    memset(bytes + n + 4, 0, 8);
    n += 12;
    const size_t at = g->nentries > g->nkeys ? g->entries[g->nkeys].at : g->end;
    if (mutation_splice(m, at, 0, bytes, n))
        put_number(m, 8, 8, g->nentries - g->nkeys + 1);
}

/* ---- making it whole again --------------------------------------------------------------------
 */

/* Bytes of the data of a tensor, padded; false when they are beyond all bounds. */
static bool padded_bytes(const struct mutation *m, const struct gguf_map *g, const struct entry *e,
                         uint64_t *nbytes)
{
    const uint64_t ndims = number_at(m, e->body, 4);
    uint64_t nelems = 1;
    enum dtype d;
    for (uint64_t i = 0; i < ndims; i++)
        if (!checked_mul(nelems, number_at(m, e->body + 4 + i * 8, 8), &nelems))
            return false;
    return dtype_from_gguf((uint32_t)number_at(m, e->end - 12, 4), &d) &&
           dtype_bytes(d, nelems, nbytes) && checked_align(*nbytes, g->alignment, nbytes);
}

/* Offsets that follow each other, and data for all of them. */
static void settle(struct mutation *m)
{
    static struct gguf_map g; /* large */
    read_map(m, &g);
    uint64_t at = 0, nbytes, start;
    if (!g.whole || g.alignment == 0 || (g.alignment & (g.alignment - 1)) != 0 ||
        !checked_align(g.end, g.alignment, &start))
        return;
    for (size_t i = g.nkeys; i < g.nentries; i++) {
        put_number(m, g.entries[i].end - 8, 8, at);
        if (!padded_bytes(m, &g, &g.entries[i], &nbytes) || nbytes > m->room)
            return;
        at += nbytes;
    }
    if (start + at > m->room)
        return;
    if (start + at > m->n)
        memset(m->p + m->n, 0, start + at - m->n);
    if (chance_below(m, 8))
        m->n = start + at;
}

void mutate_gguf(struct mutation *m)
{
    static struct gguf_map g;
    read_map(m, &g);
    const uint32_t what = chance_below(m, 8);
    if (!g.whole && (what > 2 || g.nfields == 0)) {
        mutate_bytes(m);
        return;
    }
    if (what == 0)
        change_number(m, &g);
    else if (what == 1 && g.nstrings > 0)
        change_text(m, &g);
    else if (what <= 3 && g.nentries > 0)
        change_entries(m, &g);
    else if (what == 4 || what == 5)
        change_key(m, &g);
    else if (what == 6)
        add_tensor(m, &g);
    else
        mutate_bytes(m);
    if (chance_below(m, 4))
        settle(m);
}
