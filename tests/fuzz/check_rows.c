/* check_rows.c - weights encoded by a kernel: the bytes of the reference, and good values; bytes
 * decoded by it. */
#include "check_rows.h"

#include <math.h>
#include <string.h>

#include "quant/codec.h"

#define MOST 512u /* elements: two of the largest blocks */

struct row {
    float x[MOST], importance[MOST];
    uint8_t stored[MOST * 8];
    enum dtype d;
    size_t n;
    float row_sigma2;
    const struct kernels *kernels; /* beside the reference */
};

/* Any finite number: larger ones lose a bit of their exponent. */
static float finite_of(uint32_t bits)
{
    float x;
    if ((bits & 0x7F800000) == 0x7F800000)
        bits &= 0xBFFFFFFF;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Numbers from few bytes: raw ones, or small steps of one size, among which ties are common. */
static void fill(struct fuzz_bytes *b, float *x, size_t n, uint8_t how)
{
    const float step = ldexpf(1.0f, (how >> 2) - 32);
    for (size_t i = 0; i < n; i++)
        if (b->n == 0)
            x[i] = i == 0 ? 0.0f : x[i / 3];
        else
            x[i] = how & 1 ? finite_of(take_u32(b)) : (float)(int8_t)take_byte(b) * step;
}

static void mean_of_squares(struct row *r)
{
    float sum = 0;
    for (size_t i = 0; i < r->n; i++)
        sum += r->x[i] * r->x[i];
    r->row_sigma2 = sum / (float)r->n;
}

/* What can be decoded to NaN or Inf is found before. */
static void check_values(const struct row *r, const uint8_t *stored, const float *values)
{
    const size_t bad = codec_first_nonfinite(r->d, stored, r->n);
    for (size_t i = 0; i < bad && r->d != DTYPE_F64; i++) /* that may be more than a float holds */
        FUZZ_CHECK(isfinite(values[i]));
}

static void check_decode(struct row *r)
{
    static float want[MOST], got[MOST];
    const struct dtype_traits *t = &dtype_traits[r->d];
    if (!kernels_reference.decode[r->d])
        return;
    kernels_reference.decode[r->d](r->stored, want, r->n);
    check_values(r, r->stored, want);
    /* NaN and Inf may decode to any NaN and Inf: blocks with such a scale become others. */
    for (size_t at;
         t->block_elems > 1 && (at = codec_first_nonfinite(r->d, r->stored, r->n)) < r->n;)
        memset(r->stored + at / t->block_elems * t->block_bytes, 1, t->block_bytes);
    kernels_reference.decode[r->d](r->stored, want, r->n);
    if (!r->kernels->decode[r->d])
        return;
    r->kernels->decode[r->d](r->stored, got, r->n);
    FUZZ_CHECK(memcmp(got, want, r->n * sizeof *got) == 0);
}

static void encode(const struct kernels *k, const struct row *r, bool im, uint8_t *to)
{
    if (im)
        k->encode_im[r->d](r->x, r->importance, r->row_sigma2, to, r->n);
    else
        k->encode[r->d](r->x, to, r->n);
}

static bool can_encode(const struct kernels *k, enum dtype d, bool im)
{
    return im ? k->encode_im[d] != NULL : k->encode[d] != NULL;
}

static void check_encode(struct row *r, bool im)
{
    static uint8_t got[MOST * 8];
    if (!can_encode(&kernels_reference, r->d, im))
        return;
    encode(&kernels_reference, r, im, r->stored);
    if (can_encode(r->kernels, r->d, im)) {
        encode(r->kernels, r, im, got);
        FUZZ_CHECK(memcmp(got, r->stored, dtype_stored(r->d, r->n)) == 0);
    }
    check_decode(r);
}

/* Bits of how: 0 and 2 to 7 are fill()'s, 1 bytes to decode. Of what: 0 with importance, 1 two of
 * the largest blocks, 2 to 4 which kernels, 5 importance from whole numbers. */
void check_row(enum dtype d, struct fuzz_bytes *b)
{
    static struct row r;
    const uint8_t how = take_byte(b), what = take_byte(b);
    size_t ntables = 0;
    while (codec_table(ntables))
        ntables++;
    r.d = d;
    r.n = what & 2 ? MOST : MOST / 2;
    r.kernels = codec_table(ntables > 1 ? 1 + (what >> 2 & 7) % (ntables - 1) : 0);
    if (how & 2) {
        const struct str bytes = take_bytes(b, sizeof r.stored);
        memset(r.stored, 0, sizeof r.stored);
        memcpy(r.stored, bytes.p, bytes.n);
        check_decode(&r);
        return;
    }
    if (what & 1) {
        fill(b, r.importance, r.n, what & 32 ? 0 : 1);
        for (size_t i = 0; i < r.n; i++)
            r.importance[i] = fabsf(r.importance[i]);
    }
    fill(b, r.x, r.n, how);
    mean_of_squares(&r);
    check_encode(&r, what & 1);
}
