/* row_sums.c - the mean of squares over whole rows. */
#include "row_sums.h"

#include "quant/codec.h"

bool row_sums_needed(const struct step *s)
{
    return s->importance && codec_uses_row_sigma2(s->dtype);
}

static uint64_t stored(enum dtype d, uint64_t n)
{
    const struct dtype_traits *t = &dtype_traits[d];
    return n / t->block_elems * t->block_bytes;
}

enum quern_status row_sums_get(const struct step *s, struct row_sums *sums, uint64_t row,
                               float *sigma2, struct quern_error *err)
{
    const struct source *src = &s->sources[0];
    const enum dtype d = src->tensor->dtype;
    const uint64_t length = s->dims[s->ndims - 1];
    float sum = 0.0f;
    /* The values of any other op could not be had again so simply; no planner asks for it. */
    if (s->op != &op_copy || (s->round_dtype != DTYPE_COUNT && s->round_dtype != s->dtype))
        return fail(err, QUERN_EINTERNAL, "internal", "row sums of what is not a copy");
    for (uint64_t done = 0; done < length && sums->row != row; done += PIECE) {
        const size_t n = length - done < PIECE ? (size_t)(length - done) : PIECE;
        TRY(model_pread(src->model, src->tensor->file, sums->raw, (size_t)stored(d, n),
                        src->tensor->offset + stored(d, row * length + done), err));
        codec_kernels()->decode[d](sums->raw, sums->x, n);
        for (size_t i = 0; i < n; i++)
            sum += sums->x[i] * sums->x[i];
    }
    if (sums->row != row)
        sums->sigma2 = sum / (float)length;
    sums->row = row;
    *sigma2 = sums->sigma2;
    return QUERN_OK;
}
