/* differences.c - find the blocks whose bytes differ, and how far their values are apart. */
#include "differences.h"

#include "quant/codec.h"

size_t difference_block(enum dtype d)
{
    return dtype_traits[d].block_elems;
}

static bool is_weights(enum dtype d)
{
    return (dtype_is_float(d) || dtype_is_quantized(d)) && codec_can_decode(d);
}

static void decode(const struct step *s, const uint8_t *stored, void *values, size_t n)
{
    if (s->wide)
        codec_decode_f64(s->dtype, stored, values, n);
    else
        codec_kernels()->decode[s->dtype](stored, values, n);
}

/* Elements [at, at + n) of the chunk have other bytes. */
static bool differs(const struct stored_pair *p, size_t at, size_t n)
{
    const enum dtype d = p->step->dtype;
    const size_t from = dtype_stored(d, at);
    return memcmp(p->ours + from, p->theirs + from, dtype_stored(d, n)) != 0;
}

/* Of the block that begins `at` values into the room, the first value that is another one. All may
 * be the same, in other bytes: then 0. */
static size_t first_other(const struct stored_pair *p, size_t at)
{
    const size_t width = p->step->wide ? sizeof(double) : sizeof(float);
    const uint8_t *a = (const uint8_t *)p->a + at * width, *b = (const uint8_t *)p->b + at * width;
    for (size_t i = 0; i < difference_block(p->step->dtype); i++)
        if (memcmp(a + i * width, b + i * width, width) != 0)
            return i;
    return 0;
}

/* Counts the blocks among n elements that differ, and keeps the first. */
static void count_blocks(const struct stored_pair *p, size_t at, size_t n, struct difference *r)
{
    const size_t block = difference_block(p->step->dtype);
    for (size_t i = at; i < at + n; i += block) {
        if (!differs(p, i, block))
            continue;
        if (r->nblocks++ == 0) {
            r->first_elem = p->first + i;
            r->first_block = r->first_elem / block;
        }
    }
}

/* A run of at most a piece with differences everywhere. It begins: nothing differs before it. */
static void measure_run(const struct stored_pair *p, size_t at, size_t n, bool begins,
                        struct difference *r)
{
    const struct step *s = p->step;
    const size_t from = dtype_stored(s->dtype, at);
    const struct error_pairs pairs = {.a = p->a,
                                      .b = p->b,
                                      .wide = s->wide,
                                      .block = error_block(s->dtype),
                                      .first = p->first + at,
                                      .n = n};
    decode(s, p->ours + from, p->a, n);
    decode(s, p->theirs + from, p->b, n);
    if (begins)
        r->first_elem += first_other(p, (size_t)(r->first_elem - p->first) - at);
    error_sums_add(&r->errors, &pairs);
}

static size_t unit_at(const struct stored_pair *p, size_t at, size_t unit)
{
    return p->n - at < unit ? p->n - at : unit;
}

void differences_find(const struct stored_pair *p, struct difference *record)
{
    if (!differs(p, 0, p->n))
        return;
    const bool weights = is_weights(p->step->dtype);
    const size_t unit = error_block(p->step->dtype);
    for (size_t at = 0, n; at < p->n; at += n) {
        n = unit_at(p, at, unit);
        if (!differs(p, at, n))
            continue;
        while (at + n < p->n && n + unit <= PIECE && differs(p, at + n, unit_at(p, at + n, unit)))
            n += unit_at(p, at + n, unit);
        const bool begins = record->nblocks == 0;
        count_blocks(p, at, n, record);
        if (weights)
            measure_run(p, at, n, begins, record);
    }
}

void differences_fold(const struct difference *records, uint64_t nrecords, struct difference *out)
{
    *out = (struct difference){.nblocks = 0};
    for (uint64_t i = 0; i < nrecords; i++) {
        const struct difference *r = &records[i];
        if (r->nblocks == 0)
            continue;
        if (out->nblocks == 0) {
            out->first_block = r->first_block;
            out->first_elem = r->first_elem;
        }
        out->nblocks += r->nblocks;
        error_sums_join(&out->errors, &r->errors);
    }
    for (size_t k = 0; nrecords && k < NERROR_SUMS; k++)
        out->errors.sum[k] =
            fold_records(records[0].errors.sum, nrecords, sizeof *records / sizeof(double), k);
}
