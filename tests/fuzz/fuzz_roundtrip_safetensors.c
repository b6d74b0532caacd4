/* fuzz_roundtrip_safetensors.c - a safetensors file that was read, laid out anew and read again has
 * the same tensors, and laid out once more it has the same bytes. */
#include <string.h>

#include "check_model.h"
#include "formats/safetensors.h"

static struct str lay_out(const struct model *m, struct arena *a)
{
    struct quern_error err;
    struct st_tensor *t = ARENA_NEW(a, struct st_tensor, m->ntensors + 1);
    struct str header;
    uint64_t nbytes;
    for (uint32_t i = 0; i < m->ntensors; i++)
        t[i] = (struct st_tensor){.name = m->tensors[i].name,
                                  .dims = m->tensors[i].dims,
                                  .ndims = m->tensors[i].ndims,
                                  .dtype = (enum dtype)m->tensors[i].dtype,
                                  .nbytes = m->tensors[i].nbytes};
    const enum quern_status s =
        safetensors_layout(a, m->metas, m->nmetas, t, m->ntensors, &header, &nbytes, &err);
    if (s != QUERN_OK)
        fprintf(stderr, "%s\n", err.text);
    FUZZ_CHECK(s == QUERN_OK && header.n <= nbytes && nbytes < 1u << 24);
    char *file = arena_array(a, nbytes + 1, 1);
    memcpy(file, header.p, header.n);
    return (struct str){file, nbytes};
}

static void same_models(const struct model *a, const struct model *b)
{
    FUZZ_CHECK(a->ntensors == b->ntensors && a->nmetas == b->nmetas);
    for (uint32_t i = 0; i < a->ntensors; i++) {
        const struct tensor *s = &a->tensors[i], *t = model_find(b, s->name);
        FUZZ_CHECK(t && s->dtype == t->dtype && s->ndims == t->ndims && s->nbytes == t->nbytes);
        FUZZ_CHECK(memcmp(s->dims, t->dims, s->ndims * sizeof *s->dims) == 0);
    }
    for (uint32_t i = 0; i < a->nmetas; i++) {
        const struct meta *s = &a->metas[i], *t = &b->metas[i];
        FUZZ_CHECK(str_eq(s->key, t->key) && str_eq(s->value, t->value));
    }
}

static void run(char *text, size_t n)
{
    static const struct round_trip r = {"model.safetensors", "again.safetensors", lay_out,
                                        same_models};
    check_round_trip(&r, text, n);
}

const struct fuzz_target fuzz_roundtrip_safetensors = {
    .name = "roundtrip_safetensors",
    .max_len = 4096,
    .run = run,
    .mutate = mutate_safetensors,
    .bytes_per_byte = 256,
    .bytes_besides = 32768,
};
