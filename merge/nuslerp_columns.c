/* nuslerp_columns.c - NuSLERP of vectors along the first dimension.
 *
 * Every chunk has a part of many columns, so the sums of a column come together from all workers.
 * They are added as integers, which may be done in any order: one pass finds how large the
 * elements are, the next adds products in units that small ones show in and large ones fit in. */
#include <math.h>
#include <string.h>

#include "merge/arith.h"
#include "merge/nuslerp.h"

enum { EXPONENTS, PRODUCTS };

/* Counts of the first pass: how many elements of a vector have an exponent, as frexp() gives it. */
#define NEXPONENTS     2304
#define EXPONENT_SHIFT 1152

/* Counts of the second pass, for each column: a.a, a.b, b.b in two limbs each. */
#define NLIMBS 6

struct columns {
    double scale[2];  /* powers of two: elements times it are below 1 */
    double weights[]; /* of a column: two */
};

static uint64_t ncolumns(const struct step *s)
{
    return s->nelems ? s->nelems / s->dims[0] : 0;
}

/* Bits of a limb: so many that the sum over a column fits in 63. */
static unsigned limb_bits(const struct step *s)
{
    unsigned rows = 0;
    while (rows < 63 && (UINT64_C(1) << rows) < s->dims[0])
        rows++;
    const unsigned left = 62 - (rows < 40 ? rows : 40);
    return left < 48 ? left : 48;
}

static size_t columns_state_bytes(const struct step *s)
{
    return sizeof(struct columns) + 2 * (size_t)ncolumns(s) * sizeof(double);
}

static struct measure_need columns_need(const struct step *s, unsigned pass)
{
    if (pass == EXPONENTS)
        return (struct measure_need){.ncounts = 2 * NEXPONENTS};
    return (struct measure_need){.ncounts = NLIMBS * (size_t)ncolumns(s)};
}

/* Element i of vector k (0 or 1) of the pair. */
static double element(const struct step *s, const void *const x[], unsigned k, size_t i)
{
    const struct blend *b = s->params;
    const void *v = x[k + (b->origin ? 1 : 0)];
    if (s->wide)
        return ((const double *)v)[i] - (b->origin ? ((const double *)x[0])[i] : 0);
    return (double)(((const float *)v)[i] - (b->origin ? ((const float *)x[0])[i] : 0));
}

static void count_exponents(const struct piece *p, const void *const x[], uint64_t *counts)
{
    for (unsigned k = 0; k < 2; k++)
        for (size_t i = 0; i < p->n; i++) {
            int exponent = 0;
            const double v = element(p->step, x, k, i);
            if (v == 0 || !isfinite(v))
                continue;
            frexp(v, &exponent);
            counts[k * NEXPONENTS + (size_t)(exponent + EXPONENT_SHIFT)]++;
        }
}

/* Adds v, which lies in -1 ... 1, to two limbs: units of 2^-bits, and of 2^(-2 bits). */
static void add_fixed(uint64_t limbs[2], double v, double unit)
{
    if (!(fabs(v) <= 1)) /* an infinite difference: the result will show it */
        return;
    const double high = floor(v * unit);
    limbs[0] += (uint64_t)(int64_t)high;
    limbs[1] += (uint64_t)((v * unit - high) * unit);
}

static void add_products(const struct piece *p, const void *const x[], uint64_t *counts)
{
    const struct step *s = p->step;
    const struct columns *c = p->state;
    const double unit = ldexp(1, (int)limb_bits(s));
    const uint64_t n = ncolumns(s);
    uint64_t column = p->first % n;
    for (size_t i = 0; i < p->n; i++) {
        const double a = element(s, x, 0, i) * c->scale[0], b = element(s, x, 1, i) * c->scale[1];
        uint64_t *limbs = counts + NLIMBS * column;
        add_fixed(limbs, a * a, unit);
        add_fixed(limbs + 2, a * b, unit);
        add_fixed(limbs + 4, b * b, unit);
        column = column + 1 < n ? column + 1 : 0;
    }
}

static void columns_measure(const struct piece *p, unsigned pass, const void *const x[],
                            uint64_t *counts, void *record)
{
    (void)record;
    if (pass == EXPONENTS)
        count_exponents(p, x, counts);
    else
        add_products(p, x, counts);
}

/* What brings the largest element below 1. */
static double scale_of(const uint64_t *counts)
{
    for (int e = NEXPONENTS - 1; e >= 0; e--)
        if (counts[e])
            return ldexp(1, EXPONENT_SHIFT - e > 1000 ? 1000 : EXPONENT_SHIFT - e);
    return 1;
}

/* The sum that two limbs stand for. */
static double from_fixed(const uint64_t limbs[2], double unit)
{
    return ((double)(int64_t)limbs[0] + (double)limbs[1] / unit) / unit;
}

static enum quern_status columns_combine(const struct step *s, unsigned pass, void *state,
                                         const uint64_t *counts, void *records, uint64_t nrecords,
                                         struct quern_error *err)
{
    const struct blend *b = s->params;
    struct columns *c = state;
    const double unit = ldexp(1, (int)limb_bits(s));
    (void)records;
    (void)nrecords;
    (void)err;
    if (pass == EXPONENTS) {
        for (unsigned k = 0; k < 2; k++)
            c->scale[k] = scale_of(counts + k * NEXPONENTS);
        return QUERN_OK;
    }
    for (uint64_t i = 0; i < ncolumns(s); i++) {
        const uint64_t *limbs = counts + NLIMBS * i;
        const double aa = from_fixed(limbs, unit) / c->scale[0] / c->scale[0];
        const double ab = from_fixed(limbs + 2, unit) / c->scale[0] / c->scale[1];
        const double bb = from_fixed(limbs + 4, unit) / c->scale[1] / c->scale[1];
        nuslerp_weights(aa, ab, bb, b->params[0], c->weights + 2 * i);
    }
    return QUERN_OK;
}

static void apply_f64(const struct piece *p, const void *const x[], double *y)
{
    const struct blend *b = p->step->params;
    const struct columns *c = p->state;
    const uint64_t n = ncolumns(p->step);
    uint64_t column = p->first % n;
    for (size_t i = 0; i < p->n; i++) {
        const double *w = c->weights + 2 * column;
        const double sum = w[0] * element(p->step, x, 0, i) + w[1] * element(p->step, x, 1, i);
        y[i] = b->origin ? ((const double *)x[0])[i] + sum : sum;
        column = column + 1 < n ? column + 1 : 0;
    }
}

static void apply_f32(const struct piece *p, const void *const x[], float *y)
{
    const struct blend *b = p->step->params;
    const struct columns *c = p->state;
    const uint64_t n = ncolumns(p->step);
    uint64_t column = p->first % n;
    for (size_t i = 0; i < p->n; i++) {
        const double *w = c->weights + 2 * column;
        const float sum = (float)w[0] * (float)element(p->step, x, 0, i) +
                          (float)w[1] * (float)element(p->step, x, 1, i);
        y[i] = b->origin ? ((const float *)x[0])[i] + sum : sum;
        column = column + 1 < n ? column + 1 : 0;
    }
}

static void columns_apply(const struct piece *p, const void *const x[], void *y)
{
    if (p->step->wide)
        apply_f64(p, x, y);
    else
        apply_f32(p, x, y);
}

const struct op op_nuslerp_columns = {
    .name = "nuslerp",
    .state_bytes = columns_state_bytes,
    .need = columns_need,
    .measure = columns_measure,
    .combine = columns_combine,
    .apply = columns_apply,
};
