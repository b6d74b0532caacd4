/* fuzz_rows.c - any weights, encoded by all kernels: the bytes of the reference, and good values;
 * any bytes, decoded by all of them. */
#include <math.h>
#include <string.h>

#include "fuzz.h"
#include "quant/codec.h"

#define NELEMS 512u /* two of the largest blocks */

struct row {
    float x[NELEMS], importance[NELEMS];
    uint8_t stored[NELEMS * 8];
    enum dtype d;
    float row_sigma2;
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
static void fill(struct fuzz_bytes *b, float *x, uint8_t how)
{
    const float step = ldexpf(1.0f, (how >> 2) - 32);
    for (size_t i = 0; i < NELEMS; i++)
        if (b->n == 0)
            x[i] = i == 0 ? 0.0f : x[i / 3];
        else
            x[i] = how & 1 ? finite_of(take_u32(b)) : (float)(int8_t)take_byte(b) * step;
}

static void mean_of_squares(struct row *r)
{
    float sum = 0;
    for (size_t i = 0; i < NELEMS; i++)
        sum += r->x[i] * r->x[i];
    r->row_sigma2 = sum / (float)NELEMS;
}

/* What can be decoded to NaN or Inf is found before. */
static void check_values(const struct row *r, const uint8_t *stored, const float *values)
{
    const size_t bad = codec_first_nonfinite(r->d, stored, NELEMS);
    for (size_t i = 0; i < bad && r->d != DTYPE_F64; i++) /* that may be more than a float holds */
        FUZZ_CHECK(isfinite(values[i]));
}

static void check_decode(struct row *r)
{
    static float want[NELEMS], got[NELEMS];
    const struct dtype_traits *t = &dtype_traits[r->d];
    if (!kernels_reference.decode[r->d])
        return;
    kernels_reference.decode[r->d](r->stored, want, NELEMS);
    check_values(r, r->stored, want);
    /* NaN and Inf may decode to any NaN and Inf: blocks with such a scale become others. */
    for (size_t at;
         t->block_elems > 1 && (at = codec_first_nonfinite(r->d, r->stored, NELEMS)) < NELEMS;)
        memset(r->stored + at / t->block_elems * t->block_bytes, 1, t->block_bytes);
    kernels_reference.decode[r->d](r->stored, want, NELEMS);
    for (size_t i = 0; codec_table(i); i++) {
        if (!codec_table(i)->decode[r->d])
            continue;
        codec_table(i)->decode[r->d](r->stored, got, NELEMS);
        FUZZ_CHECK(memcmp(got, want, sizeof got) == 0);
    }
}

static void encode(const struct kernels *k, const struct row *r, bool im, uint8_t *to)
{
    if (im)
        k->encode_im[r->d](r->x, r->importance, r->row_sigma2, to, NELEMS);
    else
        k->encode[r->d](r->x, to, NELEMS);
}

static void check_encode(struct row *r, bool im)
{
    static uint8_t want[NELEMS * 8], got[NELEMS * 8];
    const struct kernels *ref = &kernels_reference;
    const size_t nbytes = dtype_stored(r->d, NELEMS);
    if (im ? !ref->encode_im[r->d] : !ref->encode[r->d])
        return;
    encode(ref, r, im, want);
    for (size_t i = 0; codec_table(i); i++) {
        const struct kernels *k = codec_table(i);
        if (im ? !k->encode_im[r->d] : !k->encode[r->d])
            continue;
        encode(k, r, im, got);
        FUZZ_CHECK(memcmp(got, want, nbytes) == 0);
    }
    memcpy(r->stored, want, nbytes);
    check_decode(r);
}

static void run(char *text, size_t n)
{
    static struct row r;
    struct fuzz_bytes b = {text, n};
    r.d = (enum dtype)(take_byte(&b) % DTYPE_COUNT);
    const uint8_t how = take_byte(&b), how_im = take_byte(&b);
    if (how & 2) {
        const struct str bytes = take_bytes(&b, sizeof r.stored);
        memset(r.stored, 0, sizeof r.stored);
        memcpy(r.stored, bytes.p, bytes.n);
        check_decode(&r);
        return;
    }
    fill(&b, r.importance, how_im & 1 ? 1 : how_im);
    for (size_t i = 0; i < NELEMS; i++)
        r.importance[i] = fabsf(r.importance[i]);
    fill(&b, r.x, how);
    mean_of_squares(&r);
    check_encode(&r, false);
    check_encode(&r, true);
}

const struct fuzz_target fuzz_rows = {
    .name = "rows",
    .max_len = 4096,
    .run = run,
    .bytes_besides = 1u << 20,
};
