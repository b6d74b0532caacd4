/* fuzz_roundtrip_gguf.c - a GGUF that was read, laid out anew and read again is the same model, and
 * laid out once more it has the same bytes. */
#include <string.h>

#include "check_model.h"
#include "formats/gguf.h"

static struct str lay_out(const struct model *m, struct arena *a)
{
    struct quern_error err;
    struct gguf_tensor *t = ARENA_NEW(a, struct gguf_tensor, m->ntensors + 1);
    struct str header;
    uint64_t nbytes;
    for (uint32_t i = 0; i < m->ntensors; i++)
        t[i] = (struct gguf_tensor){.name = m->tensors[i].name,
                                    .dims = m->tensors[i].dims,
                                    .ndims = m->tensors[i].ndims,
                                    .dtype = (enum dtype)m->tensors[i].dtype,
                                    .nbytes = m->tensors[i].nbytes};
    /* What could be read can be written: the limits are the same. */
    const enum quern_status s = gguf_layout_whole(a, m->metas, m->nmetas, t, m->ntensors,
                                                  m->alignment, &header, &nbytes, &err);
    if (s != QUERN_OK)
        fprintf(stderr, "%s\n", err.text);
    FUZZ_CHECK(s == QUERN_OK && header.n <= nbytes && nbytes < 1u << 24);
    char *file = arena_array(a, nbytes + 1, 1);
    memcpy(file, header.p, header.n);
    return (struct str){file, nbytes};
}

static void same_models(const struct model *a, const struct model *b)
{
    FUZZ_CHECK(a->ntensors == b->ntensors && a->nmetas == b->nmetas &&
               a->alignment == b->alignment);
    for (uint32_t i = 0; i < a->ntensors; i++) {
        const struct tensor *s = &a->tensors[i], *t = &b->tensors[i];
        /* A tensor without dimensions gets one. */
        static const uint64_t one[] = {1};
        const uint32_t ndims = s->ndims ? s->ndims : 1;
        const uint64_t *dims = s->ndims ? s->dims : one;
        FUZZ_CHECK(str_eq(s->name, t->name) && s->dtype == t->dtype && t->ndims == ndims);
        FUZZ_CHECK(memcmp(dims, t->dims, ndims * sizeof *dims) == 0);
    }
    for (uint32_t i = 0; i < a->nmetas; i++) {
        const struct meta *s = &a->metas[i], *t = &b->metas[i];
        FUZZ_CHECK(str_eq(s->key, t->key) && s->type == t->type && str_eq(s->value, t->value));
        FUZZ_CHECK(s->type != META_ARRAY || (s->count == t->count && s->item_type == t->item_type));
    }
}

static void run(char *text, size_t n)
{
    static const struct round_trip r = {"model.gguf", "again.gguf", lay_out, same_models};
    check_round_trip(&r, text, n);
}

const struct fuzz_target fuzz_roundtrip_gguf = {
    .name = "roundtrip_gguf",
    .max_len = 4096,
    .run = run,
    .mutate = mutate_gguf,
    .bytes_per_byte = 256,
    .bytes_besides = 8u << 20, /* an alignment may be 1 MiB */
};
