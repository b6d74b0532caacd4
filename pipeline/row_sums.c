/* row_sums.c - the mean of squares over whole rows. */
#include "row_sums.h"

#include <inttypes.h>
#include <math.h>

#include "quant/codec.h"

bool row_sums_needed(const struct step *s)
{
    return s->importance && codec_uses_row_sigma2(s->dtype);
}

/* What the encoder sees: the source's values, rounded first when the step says so. */
static enum quern_status read_piece(const struct step *s, struct row_sums *sums, uint64_t first,
                                    size_t n, struct quern_error *err)
{
    const enum dtype d = s->round_dtype;
    uint64_t moved = 0;
    TRY(source_read(&s->sources[0], sums->scratch, false, first, n, sums->x, &moved, err));
    if (d == DTYPE_COUNT || d == s->dtype)
        return QUERN_OK;
    codec_kernels()->encode[d](sums->x, sums->raw, n);
    codec_kernels()->decode[d](sums->raw, sums->x, n);
    return QUERN_OK;
}

/* The sum is not finite, and so all blocks of the row would be spoilt: name the element to blame,
 * which may lie in another tile. */
static enum quern_status blame(const struct step *s, struct row_sums *sums, uint64_t first,
                               uint64_t length, struct quern_error *err)
{
    uint64_t worst = first;
    float most = 0.0f;
    for (uint64_t done = 0; done < length; done += PIECE) {
        const size_t n = length - done < PIECE ? (size_t)(length - done) : PIECE;
        TRY(read_piece(s, sums, first + done, n, err));
        for (size_t i = 0; i < n; i++) {
            const float v = sums->x[i];
            if (!isfinite(v))
                return fail(err, QUERN_EFORMAT, "nonfinite",
                            "element %" PRIu64 " is %s" WANT "expected finite weights",
                            first + done + i,
                            isnan(v) ? "NaN"
                            : v > 0  ? "Inf"
                                     : "-Inf");
            if (fabsf(v) > fabsf(most)) {
                most = v;
                worst = first + done + i;
            }
        }
    }
    return fail(err, QUERN_EFORMAT, "value-range",
                "element %" PRIu64 " is %g" WANT "%s cannot store it; choose another type", worst,
                (double)most, dtype_traits[s->dtype].name);
}

enum quern_status row_sums_get(const struct step *s, struct row_sums *sums, uint64_t row,
                               float *sigma2, struct quern_error *err)
{
    const uint64_t length = s->dims[s->ndims - 1];
    float sum = 0.0f;
    /* The values of any other op could not be had again so simply; no planner asks for it. */
    if (s->op != &op_copy)
        return fail(err, QUERN_EINTERNAL, "internal", "row sums of what is not a copy");
    for (uint64_t done = 0; done < length && sums->row != row; done += PIECE) {
        const size_t n = length - done < PIECE ? (size_t)(length - done) : PIECE;
        TRY(read_piece(s, sums, row * length + done, n, err));
        for (size_t i = 0; i < n; i++)
            sum += sums->x[i] * sums->x[i];
    }
    if (!isfinite(sum))
        return blame(s, sums, row * length, length, err);
    if (sums->row != row)
        sums->sigma2 = sum / (float)length;
    sums->row = row;
    *sigma2 = sums->sigma2;
    return QUERN_OK;
}
