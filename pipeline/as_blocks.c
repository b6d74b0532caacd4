/* as_blocks.c - show packed values as the blocks they lie in. */
#include "as_blocks.h"

#include <inttypes.h>

#include "quant/codec.h"

const struct block_form *source_block_form(const struct source *s, uint32_t i)
{
    return s->kind && s->kind->block_form ? s->kind->block_form(s, i) : NULL;
}

static enum quern_status read_inner(const struct source *s, uint64_t first, uint64_t n, uint8_t *to,
                                    uint64_t *moved, struct quern_error *err)
{
    const struct source *inner = s->params;
    const enum dtype d = s->tensor->dtype;
    TRY(inner->kind->read_blocks(inner, first, n, to, moved, err));
    const size_t bad = codec_first_nonfinite(d, to, (size_t)n);
    if (bad < n)
        return in_source(err, inner,
                         fail(err, QUERN_EFORMAT, "nonfinite",
                              "the scale of element %" PRIu64 " is no number" WANT
                              "expected finite weights",
                              first + bad));
    return QUERN_OK;
}

#define MOST_BLOCK 256u

/* Values are read in whole blocks, which may begin before the first that is asked for. No type has
 * more bytes for a block than values. */
struct value_scratch {
    double values[PIECE + 2 * MOST_BLOCK];
    uint8_t raw[2 * (PIECE + 2 * MOST_BLOCK)];
};

static size_t values_scratch(const struct source *s, bool wide)
{
    (void)s;
    (void)wide;
    return sizeof(struct value_scratch);
}

static enum quern_status read_values(const struct source *s, void *scratch, bool wide,
                                     uint64_t first, size_t n, void *x, uint64_t *moved,
                                     struct quern_error *err)
{
    struct value_scratch *v = scratch;
    const enum dtype d = s->tensor->dtype;
    const size_t block = dtype_traits[d].block_elems, width = wide ? sizeof(double) : sizeof(float);
    const size_t before = first % block, whole = (before + n + block - 1) / block * block;
    TRY(read_inner(s, first - before, whole, v->raw, moved, err));
    if (wide)
        codec_decode_f64(d, v->raw, v->values, whole);
    else
        codec_kernels()->decode[d](v->raw, (float *)v->values, whole);
    memcpy(x, (const uint8_t *)v->values + before * width, n * width);
    return QUERN_OK;
}

static const struct block_form *own_form(const struct source *s, uint32_t i)
{
    return source_block_form(s->params, i);
}

static const struct source_kind blocks = {.name = "packed blocks",
                                          .scratch_bytes = values_scratch,
                                          .read = read_values,
                                          .read_raw = read_inner,
                                          .block_form = own_form,
                                          .read_blocks = read_inner};

enum quern_status source_as_blocks(struct arena *arena, const struct source *s, struct source *out,
                                   struct quern_error *err)
{
    struct source *inner = ARENA_NEW(arena, struct source, 1);
    struct tensor *t = ARENA_NEW(arena, struct tensor, 1);
    if (!inner || !t)
        return fail_memory(err, sizeof *t);
    *inner = *s;
    *t = *s->tensor;
    t->dtype = source_block_form(s, 0)->dtype;
    if (!dtype_bytes(t->dtype, t->nelems, &t->nbytes))
        return in_source(err, s,
                         fail(err, QUERN_EFORMAT, "shape",
                              "%" PRIu64 " elements are no whole blocks of %s", t->nelems,
                              dtype_traits[t->dtype].name));
    *out = (struct source){.model = s->model, .tensor = t, .kind = &blocks, .params = inner};
    return QUERN_OK;
}
