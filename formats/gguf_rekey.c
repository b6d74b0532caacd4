/* gguf_rekey.c - other keys in the header of a GGUF file. */
#include "core/checked.h"
#include "formats/gguf.h"
#include "formats/gguf_encode.h"
#include "formats/rekey.h"

#define LEAD_BYTES 24u /* magic, version, counts */
#define NKEYS_AT   16u

/* Walks over a header that quern has written itself. */
struct walk {
    struct str text;
    uint64_t at;
    bool ok;
};

static uint64_t take_uint(struct walk *w, size_t nbytes)
{
    uint64_t v = 0;
    if (!w->ok || nbytes > w->text.n - w->at) {
        w->ok = false;
        return 0;
    }
    for (size_t i = 0; i < nbytes; i++)
        v |= (uint64_t)(uint8_t)w->text.p[w->at + i] << (8 * i);
    w->at += nbytes;
    return v;
}

static struct str take_bytes(struct walk *w, uint64_t n)
{
    w->ok = w->ok && n <= w->text.n - w->at;
    if (!w->ok)
        return (struct str){"", 0};
    const struct str s = {w->text.p + w->at, (size_t)n};
    w->at += n;
    return s;
}

static struct str take_string(struct walk *w)
{
    return take_bytes(w, take_uint(w, 8));
}

static void skip_value(struct walk *w, uint64_t type)
{
    uint64_t item_type = type, count = 1, nbytes;
    if (type == META_ARRAY) {
        item_type = take_uint(w, 4);
        count = take_uint(w, 8);
    }
    if (item_type >= META_COUNT || item_type == META_ARRAY) {
        w->ok = false;
    } else if (item_type == META_STRING) {
        for (uint64_t i = 0; w->ok && i < count; i++)
            take_string(w);
    } else {
        w->ok = w->ok && checked_mul(count, meta_item_bytes((enum meta_type)item_type), &nbytes);
        take_bytes(w, w->ok ? nbytes : 0);
    }
}

static void skip_tensors(struct walk *w, uint64_t n)
{
    for (uint64_t i = 0; w->ok && i < n; i++) {
        take_string(w);
        take_bytes(w, take_uint(w, 4) * 8);
        take_bytes(w, 4 + 8);
    }
}

/* ---- the new one ---------------------------------------------------------------------------- */

struct rekeyed {
    struct encoder e;
    uint64_t alignment, nkeys;
};

static void keep_keys(struct rekeyed *r, struct walk *w, uint64_t nkeys, const char *prefix)
{
    for (uint64_t i = 0; w->ok && i < nkeys; i++) {
        const uint64_t start = w->at;
        const struct str key = take_string(w);
        const uint64_t type = take_uint(w, 4);
        struct walk value = *w;
        skip_value(w, type);
        if (str_is(key, "general.alignment") && type == META_U32)
            r->alignment = take_uint(&value, 4);
        if (w->ok && !str_starts(key, prefix)) {
            put_bytes(&r->e, w->text.p + start, w->at - start);
            r->nkeys++;
        }
    }
}

static bool make(struct rekeyed *r, struct str header, const char *prefix, const struct meta *keys,
                 uint32_t nkeys)
{
    struct walk w = {header, 8, header.n >= LEAD_BYTES};
    const uint64_t ntensors = take_uint(&w, 8), old_keys = take_uint(&w, 8);
    put_bytes(&r->e, header.p, w.ok ? LEAD_BYTES : 0);
    keep_keys(r, &w, old_keys, prefix);
    for (uint32_t i = 0; i < nkeys; i++)
        put_meta(&r->e, &keys[i]);
    r->nkeys += nkeys;
    const uint64_t start = w.at;
    skip_tensors(&w, ntensors);
    if (w.ok)
        put_bytes(&r->e, header.p + start, w.at - start);
    return w.ok && r->alignment > 0;
}

enum quern_status gguf_rekey(struct arena *arena, struct str header, const char *prefix,
                             const struct meta *keys, uint32_t nkeys, struct str *out,
                             struct quern_error *err)
{
    struct rekeyed r = {.alignment = GGUF_DEFAULT_ALIGNMENT};
    uint64_t nbytes = 0;
    if (!make(&r, header, prefix, keys, nkeys) || !checked_align(r.e.n, r.alignment, &nbytes))
        return fail(err, QUERN_EINTERNAL, "internal", "the header of the output cannot be read");
    r = (struct rekeyed){.e = {.p = arena_array(arena, nbytes, 1)}, .alignment = r.alignment};
    if (!r.e.p)
        return fail_memory(err, nbytes);
    make(&r, header, prefix, keys, nkeys);
    for (unsigned i = 0; i < 8; i++)
        r.e.p[NKEYS_AT + i] = (char)(r.nkeys >> (8 * i));
    *out = (struct str){r.e.p, (size_t)nbytes};
    return QUERN_OK;
}
