/* mxfp4.c - put scales and values of MXFP4 blocks together, in the order GGUF has them. */
#include "mxfp4.h"

#include "quant/codec.h"

#define BLOCK_ELEMS  32u
#define BLOCK_BYTES  17u
#define PACKED_BYTES 16u
#define AT_ONCE      256u /* blocks */

struct mxfp4 {
    struct source blocks, scales;
};

/* Sixteen bytes with values 0 1, 2 3, ... become 0 16, 1 17, ... behind the scale. */
static void repack(const uint8_t *packed, uint8_t scale, uint8_t *to)
{
    *to++ = scale;
    for (unsigned j = 0; j < PACKED_BYTES; j++) {
        const unsigned shift = j % 2 * 4;
        const unsigned low = packed[j / 2] >> shift & 15u;
        const unsigned high = packed[j / 2 + PACKED_BYTES / 2] >> shift & 15u;
        to[j] = (uint8_t)(low | high << 4);
    }
}

static enum quern_status mxfp4_read_raw(const struct source *s, uint64_t first, uint64_t n,
                                        uint8_t *to, uint64_t *moved, struct quern_error *err)
{
    const struct mxfp4 *m = s->params;
    uint8_t packed[AT_ONCE * PACKED_BYTES], scales[AT_ONCE];
    const uint64_t nblocks = n / BLOCK_ELEMS;
    for (uint64_t done = 0; done < nblocks;) {
        const size_t some = nblocks - done < AT_ONCE ? (size_t)(nblocks - done) : AT_ONCE;
        const uint64_t at = first / BLOCK_ELEMS + done;
        TRY(source_read_raw(&m->blocks, at * PACKED_BYTES, some * PACKED_BYTES, packed, moved,
                            err));
        TRY(source_read_raw(&m->scales, at, some, scales, moved, err));
        for (size_t i = 0; i < some; i++)
            repack(packed + i * PACKED_BYTES, scales[i], to + (done + i) * BLOCK_BYTES);
        done += some;
    }
    return QUERN_OK;
}

/* Values are read in whole blocks, which may begin before the first that is asked for. */
struct value_scratch {
    uint8_t raw[(PIECE / BLOCK_ELEMS + 2) * BLOCK_BYTES];
    double values[PIECE + 2 * BLOCK_ELEMS];
};

static size_t mxfp4_scratch(const struct source *s, bool wide)
{
    (void)s;
    (void)wide;
    return sizeof(struct value_scratch);
}

static enum quern_status mxfp4_read(const struct source *s, void *scratch, bool wide,
                                    uint64_t first, size_t n, void *x, uint64_t *moved,
                                    struct quern_error *err)
{
    struct value_scratch *v = scratch;
    const size_t before = first % BLOCK_ELEMS, width = wide ? sizeof(double) : sizeof(float);
    const size_t whole = (before + n + BLOCK_ELEMS - 1) / BLOCK_ELEMS * BLOCK_ELEMS;
    TRY(mxfp4_read_raw(s, first - before, whole, v->raw, moved, err));
    if (wide)
        codec_decode_f64(DTYPE_MXFP4, v->raw, v->values, whole);
    else
        codec_kernels()->decode[DTYPE_MXFP4](v->raw, (float *)v->values, whole);
    memcpy(x, (const uint8_t *)v->values + before * width, n * width);
    return QUERN_OK;
}

static const struct source_kind repacking = {.name = "MXFP4 blocks",
                                             .scratch_bytes = mxfp4_scratch,
                                             .read = mxfp4_read,
                                             .read_raw = mxfp4_read_raw};

static bool fit(const struct source *from, const struct source *by)
{
    const struct tensor *blocks = from->tensor, *scales = by->tensor;
    if (!source_has_raw(from) || !source_has_raw(by))
        return false;
    if (blocks->dtype != DTYPE_U8 || scales->dtype != DTYPE_U8 || blocks->ndims < 2 ||
        blocks->ndims != scales->ndims + 1 || blocks->dims[blocks->ndims - 1] != PACKED_BYTES)
        return false;
    return memcmp(blocks->dims, scales->dims, scales->ndims * sizeof *scales->dims) == 0;
}

enum quern_status mxfp4_source(struct arena *arena, const struct source *blocks,
                               const struct source *scales, struct source *out,
                               struct quern_error *err)
{
    struct mxfp4 *own = ARENA_NEW(arena, struct mxfp4, 1);
    struct tensor *t = ARENA_NEW(arena, struct tensor, 1);
    uint64_t *dims = ARENA_NEW(arena, uint64_t, scales->tensor->ndims);
    if (!own || !t || !dims)
        return fail_memory(err, sizeof *own);
    own->blocks = *blocks;
    own->scales = *scales;
    if (!fit(blocks, scales))
        return in_source(err, blocks,
                         fail(err, QUERN_EFORMAT, "shape",
                              "it does not fit its scales" WANT
                              "expected 16 bytes for each of them"));
    const struct tensor *each = scales->tensor;
    memcpy(dims, each->dims, each->ndims * sizeof *dims);
    dims[each->ndims - 1] *= BLOCK_ELEMS;
    *t = *blocks->tensor;
    t->dims = dims;
    t->ndims = each->ndims;
    t->dtype = DTYPE_MXFP4;
    t->nelems = each->nelems * BLOCK_ELEMS;
    t->nbytes = each->nelems * BLOCK_BYTES;
    *out = (struct source){.model = blocks->model, .tensor = t, .kind = &repacking, .params = own};
    return QUERN_OK;
}
