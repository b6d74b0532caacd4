/* gguf_encode.h - the bytes of a GGUF header, for those who lay one out or change its keys. */
#ifndef QUERN_GGUF_ENCODE_H
#define QUERN_GGUF_ENCODE_H

#include <string.h>

#include "formats/model.h"

/* Run once without memory to learn the size, and once more to fill it. */
struct encoder {
    char *p; /* NULL: only count */
    uint64_t n;
};

static inline void put_bytes(struct encoder *e, const void *bytes, uint64_t n)
{
    if (e->p && n)
        memcpy(e->p + e->n, bytes, (size_t)n);
    e->n += n;
}

static inline void put_uint(struct encoder *e, uint64_t v, size_t nbytes)
{
    char b[8];
    for (size_t i = 0; i < nbytes; i++)
        b[i] = (char)(v >> (8 * i));
    put_bytes(e, b, nbytes);
}

static inline void put_string(struct encoder *e, struct str s)
{
    put_uint(e, s.n, 8);
    put_bytes(e, s.p, s.n);
}

static inline void put_meta(struct encoder *e, const struct meta *k)
{
    put_string(e, k->key);
    put_uint(e, k->type, 4);
    if (k->type == META_ARRAY) {
        put_uint(e, k->item_type, 4);
        put_uint(e, k->count, 8);
    } else if (k->type == META_STRING) {
        put_uint(e, k->value.n, 8);
    }
    put_bytes(e, k->value.p, k->value.n);
}

#endif
