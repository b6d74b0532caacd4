/* source.c - read the elements of a source, whatever kind it is. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "plan.h"
#include "quant/codec.h"

#define MOST_BLOCK 256u

/* As a run cuts it from a worker's memory. */
#define SCRATCH_ALIGN ((size_t)64)

enum quern_status in_source(struct quern_error *err, const struct source *s,
                            enum quern_status status)
{
    in_tensor(err, s->tensor->name, status);
    if (!s->model || s->model->nfiles == 0)
        return status;
    return in_file(err, s->model->files[s->tensor->file].path, status);
}

enum quern_status source_misfit(struct quern_error *err, const struct source *s,
                                const char *expected)
{
    char shape[128] = "";
    size_t n = 0;
    for (unsigned d = 0; d < s->tensor->ndims && n < sizeof shape - 32; d++)
        n += (size_t)snprintf(shape + n, sizeof shape - n, "%s%" PRIu64, d ? ", " : "",
                              s->tensor->dims[d]);
    return in_source(err, s,
                     fail(err, QUERN_EFORMAT, "shape", "it is %s [%s]" WANT "expected %s",
                          dtype_traits[s->tensor->dtype].name, shape, expected));
}

void source_mend(const struct source *s, void *bytes, uint64_t n)
{
    const enum dtype d = s->tensor->dtype;
    if (s->model->zero_nonfinite && (dtype_is_float(d) || dtype_is_quantized(d)) &&
        codec_zero_nonfinite(d, bytes, (size_t)n))
        s->model->saw_nonfinite = true;
}

/* A stored tensor is read in whole blocks, which may begin before the first element asked for. */
struct stored_scratch {
    double values[PIECE + 2 * MOST_BLOCK];
    uint8_t raw[(PIECE + 2 * MOST_BLOCK) * sizeof(double)];
};

size_t source_scratch_bytes(const struct source *s, bool wide)
{
    return s->kind ? s->kind->scratch_bytes(s, wide) : sizeof(struct stored_scratch);
}

void *source_scratch_new(const struct source *s, bool wide)
{
    const size_t nbytes = (source_scratch_bytes(s, wide) + SCRATCH_ALIGN) & ~(SCRATCH_ALIGN - 1);
    void *scratch = aligned_alloc(SCRATCH_ALIGN, nbytes);
    if (scratch)
        memset(scratch, 0, nbytes);
    return scratch;
}

static enum quern_status read_stored(const struct source *s, struct stored_scratch *scratch,
                                     bool wide, uint64_t first, size_t n, void *x, uint64_t *moved,
                                     struct quern_error *err)
{
    const enum dtype d = s->tensor->dtype;
    const size_t block = dtype_traits[d].block_elems, width = wide ? sizeof(double) : sizeof(float);
    const size_t before = first % block, whole = (before + n + block - 1) / block * block;
    const size_t nbytes = dtype_stored(d, whole);
    TRY(model_pread(s->model, s->tensor->file, scratch->raw, nbytes,
                    s->tensor->offset + dtype_stored(d, first - before), err));
    *moved += nbytes;
    source_mend(s, scratch->raw, whole);
    void *to = whole == n ? x : scratch->values;
    if (wide)
        codec_decode_f64(d, scratch->raw, to, whole);
    else
        codec_kernels()->decode[d](scratch->raw, to, whole);
    if (to != x)
        memcpy(x, (const uint8_t *)to + before * width, n * width);
    return QUERN_OK;
}

enum quern_status source_read(const struct source *s, void *scratch, bool wide, uint64_t first,
                              size_t n, void *x, uint64_t *moved, struct quern_error *err)
{
    const enum quern_status status = s->kind
                                         ? s->kind->read(s, scratch, wide, first, n, x, moved, err)
                                         : read_stored(s, scratch, wide, first, n, x, moved, err);
    return status == QUERN_OK || s->kind ? status : in_source(err, s, status);
}

bool source_has_raw(const struct source *s)
{
    return !s->kind || s->kind->read_raw;
}

static const struct source *inner_source(const struct source *s, uint32_t i)
{
    return s->kind && s->kind->inner ? s->kind->inner(s, i) : NULL;
}

bool source_ready(const struct source *s)
{
    const struct source *inner;
    if (s->kind && s->kind->ready && !s->kind->ready(s))
        return false;
    for (uint32_t i = 0; (inner = inner_source(s, i)); i++)
        if (!source_ready(inner))
            return false;
    return true;
}

/* Of a source that takes more than this one has, the part that is taken. */
uint64_t source_read_bytes(const struct source *s)
{
    const struct source *inner = inner_source(s, 0);
    const uint64_t own = s->tensor->nelems;
    uint64_t total = 0;
    if (!inner)
        return s->tensor->nbytes;
    for (uint32_t i = 0; inner; inner = inner_source(s, ++i)) {
        const uint64_t all = source_read_bytes(inner), n = inner->tensor->nelems;
        total += n > own ? (uint64_t)((double)all * ((double)own / (double)n)) : all;
    }
    return total;
}

void source_leaves(const struct source *s, void (*see)(const struct source *leaf, void *more),
                   void *more)
{
    const struct source *inner = inner_source(s, 0);
    if (!inner)
        see(s, more);
    for (uint32_t i = 0; inner; inner = inner_source(s, ++i))
        source_leaves(inner, see, more);
}

enum quern_status source_read_raw(const struct source *s, uint64_t first, uint64_t n, uint8_t *to,
                                  uint64_t *moved, struct quern_error *err)
{
    const enum dtype d = s->tensor->dtype;
    const size_t nbytes = dtype_stored(d, n);
    if (s->kind)
        return s->kind->read_raw(s, first, n, to, moved, err);
    *moved += nbytes;
    TRY(in_source(err, s,
                  model_pread(s->model, s->tensor->file, to, nbytes,
                              s->tensor->offset + dtype_stored(d, first), err)));
    source_mend(s, to, n);
    return QUERN_OK;
}
