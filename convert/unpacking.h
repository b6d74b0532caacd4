/* unpacking.h - what the packings share: finding parts, putting weights in their place.
 *
 * To add a packing: a row in the table of unpack.c and a file unpack_NAME.c. Its unpack() goes over
 * the tensors with unpack_next(), fetches the parts with unpack_part() and puts a source in with
 * unpack_put(). Parts that nobody fetched are found by the dispatcher, by their endings. */
#ifndef QUERN_UNPACKING_H
#define QUERN_UNPACKING_H

#include "core/json.h"
#include "unpack.h"

/* A packed model on its way. */
struct unpacking {
    const struct json *root;   /* config.json */
    const struct json *config; /* what it says of packing: quantization_config or its like */
    struct str method;         /* its quant_method; empty when it has none */
    struct arena *arena;
    const struct view *from;    /* as stored */
    enum dtype dtype;           /* of weights that are computed: what they would be stored in */
    const struct source **made; /* per source of from: what comes in its place, or NULL */
    bool *taken;                /* per source of from: it is part of something */
    uint32_t nweights;
};

struct packing {
    const char *name;
    /* Endings of the names of packed parts, blank between them. One that is left is an error. */
    const char *parts;
    bool (*claims)(const struct unpacking *u);
    bool comes_last; /* convert_hf_to_gguf.py writes its weights behind all others */
    enum quern_status (*unpack)(struct unpacking *u, struct quern_error *err);
};

extern const struct packing packing_fp8, packing_fbgemm, packing_mxfp4, packing_modelopt,
    packing_compressed_floats, packing_gptq, packing_awq, packing_compressed_words,
    packing_compressed_ints, packing_bnb, packing_mlx;

/* The next source whose name ends so, at *i or behind it; then *i is its place + 1. stem: its name
 * without the ending. NULL when there is no more. */
const struct source *unpack_next(const struct unpacking *u, const char *ending, uint32_t *i,
                                 struct str *stem);
/* The part `stem` + `ending`, which is then used up. NULL when there is none; when it is needed,
 * that is EFORMAT "packed-part", naming what lacks it. */
enum quern_status unpack_part(struct unpacking *u, struct str stem, const char *ending, bool needed,
                              const struct source **out, struct quern_error *err);
/* Parts that mean nothing here (scales of activations and the like): taken without a look. */
void unpack_ignore(struct unpacking *u, const char *endings);
/* A weight in the place of a part of it. s is complete but for its name; what it points to is the
 * arena's. */
enum quern_status unpack_put(struct unpacking *u, const struct source *at, struct str name,
                             const struct source *s, struct quern_error *err);
/* unpack_put() of weight * scale under the name of weight (scaled.h). */
enum quern_status unpack_put_scaled(struct unpacking *u, const struct source *weight,
                                    const struct source *scale, const uint64_t block[2],
                                    struct quern_error *err);
/* All values of a small part, at most `most` of them; the arena's. They must be finite. */
enum quern_status unpack_values(struct unpacking *u, const struct source *s, uint64_t most,
                                const float **out, struct quern_error *err);
/* Zero points that are all zero, as symmetric packings write them; EUNSUPPORTED when not. */
enum quern_status unpack_expect_zero(const struct source *s, struct quern_error *err);
/* stem + ending; the arena's. */
enum quern_status unpack_name(struct unpacking *u, struct str stem, const char *ending,
                              struct str *out, struct quern_error *err);

/* EUNSUPPORTED "packing" when the object has a key that is not among these (blank between them) and
 * is neither null nor false. */
enum quern_status unpack_known_keys(const struct json *object, const char *keys,
                                    struct quern_error *err);
/* EUNSUPPORTED "packing": `key` is `value`, which is not read. */
enum quern_status unpack_unknown(const char *key, const struct json *value, const char *expected,
                                 struct quern_error *err);

#endif
