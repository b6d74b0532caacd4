/* nuslerp_columns.c - NuSLERP of vectors along the first dimension.
 *
 * Every chunk has a part of many columns, so the sums of a column come together from all workers.
 * They are added as integers, which may be done in any order: one pass finds how large the
 * elements are, the next adds products in units that small ones show in and large ones fit in. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "merge/arith.h"
#include "merge/nuslerp.h"

enum { EXPONENTS, PRODUCTS };

/* Counts of the first pass: how many elements of a vector have an exponent, as in a double. */
#define NEXPONENTS 2048

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

/* Of the first element of a piece. */
static uint64_t first_column(const struct piece *p)
{
    const uint64_t n = ncolumns(p->step);
    assert(n > 0); /* a tensor without elements has no pieces */
    return p->first % n;
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

/* The elements of both vectors of the pair: the models' own, or their differences from the base,
 * for which room has place. */
struct pair {
    const void *v[2];
};

static struct pair pair_of(const struct piece *p, const void *const x[], double room[2][PIECE])
{
    const struct step *s = p->step;
    const struct blend *b = s->params;
    if (!b->origin)
        return (struct pair){
            {x[0], x[1]}
        };
    for (unsigned k = 0; k < 2; k++) {
        if (!s->wide) {
            subtract_f32((float *)room[k], x[k + 1], x[0], p->n);
            continue;
        }
        for (size_t i = 0; i < p->n; i++)
            room[k][i] = ((const double *)x[k + 1])[i] - ((const double *)x[0])[i];
    }
    return (struct pair){
        {room[0], room[1]}
    };
}

static inline double element(bool wide, const struct pair *pair, unsigned k, size_t i)
{
    return wide ? ((const double *)pair->v[k])[i] : (double)((const float *)pair->v[k])[i];
}

static void count_exponents(const struct step *s, const struct pair *pair, size_t n,
                            uint64_t *counts)
{
    for (unsigned k = 0; k < 2; k++)
        for (size_t i = 0; i < n; i++) {
            const double v = element(s->wide, pair, k, i);
            uint64_t bits;
            memcpy(&bits, &v, sizeof bits);
            counts[k * NEXPONENTS + (bits >> 52 & 0x7FF)]++;
        }
}

/* Adds v, which lies in -1 ... 1, to two limbs: units of 2^-bits, and of 2^(-2 bits). Both have the
 * sign of v. */
static inline void add_fixed(uint64_t limbs[2], double v, double unit)
{
    const int64_t high = (int64_t)(v * unit);
    limbs[0] += (uint64_t)high;
    limbs[1] += (uint64_t)(int64_t)((v * unit - (double)high) * unit);
}

static void add_products(const struct piece *p, const struct pair *pair, uint64_t *counts)
{
    const struct step *s = p->step;
    const struct columns *c = p->state;
    const double unit = ldexp(1, (int)limb_bits(s));
    const uint64_t n = ncolumns(s);
    uint64_t column = first_column(p);
    for (size_t i = 0; i < p->n; i++) {
        const double a = element(s->wide, pair, 0, i) * c->scale[0];
        const double b = element(s->wide, pair, 1, i) * c->scale[1];
        uint64_t *limbs = counts + NLIMBS * column;
        column = column + 1 < n ? column + 1 : 0;
        if (!(fabs(a) <= 1 && fabs(b) <= 1)) /* an infinite difference: the result will show it */
            continue;
        add_fixed(limbs, a * a, unit);
        add_fixed(limbs + 2, a * b, unit);
        add_fixed(limbs + 4, b * b, unit);
    }
}

static void columns_measure(const struct piece *p, unsigned pass, const void *const x[],
                            uint64_t *counts, void *record)
{
    double room[2][PIECE];
    const struct pair pair = pair_of(p, x, room);
    (void)record;
    if (pass == EXPONENTS)
        count_exponents(p->step, &pair, p->n, counts);
    else
        add_products(p, &pair, counts);
}

/* What brings the largest element below 1; the last exponent is that of infinities. */
static double scale_of(const uint64_t *counts)
{
    int e = NEXPONENTS - 2;
    while (e > 0 && counts[e] == 0)
        e--;
    return ldexp(1, 1022 - e > 1000 ? 1000 : 1022 - e);
}

/* The sum that two limbs stand for. */
static double from_fixed(const uint64_t limbs[2], double unit)
{
    return ((double)(int64_t)limbs[0] + (double)(int64_t)limbs[1] / unit) / unit;
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

static void apply_f64(const struct piece *p, const struct pair *pair, const double *base, double *y)
{
    const struct columns *c = p->state;
    const uint64_t n = ncolumns(p->step);
    const double *a = pair->v[0], *b = pair->v[1];
    uint64_t column = first_column(p);
    for (size_t i = 0; i < p->n; i++) {
        const double *w = c->weights + 2 * column, sum = w[0] * a[i] + w[1] * b[i];
        y[i] = base ? base[i] + sum : sum;
        column = column + 1 < n ? column + 1 : 0;
    }
}

static void apply_f32(const struct piece *p, const struct pair *pair, const float *base, float *y)
{
    const struct columns *c = p->state;
    const uint64_t n = ncolumns(p->step);
    const float *a = pair->v[0], *b = pair->v[1];
    uint64_t column = first_column(p);
    for (size_t i = 0; i < p->n; i++) {
        const double *w = c->weights + 2 * column;
        const float sum = (float)w[0] * a[i] + (float)w[1] * b[i];
        y[i] = base ? base[i] + sum : sum;
        column = column + 1 < n ? column + 1 : 0;
    }
}

static void columns_apply(const struct piece *p, const void *const x[], void *y)
{
    const struct blend *b = p->step->params;
    double room[2][PIECE];
    const struct pair pair = pair_of(p, x, room);
    if (p->step->wide)
        apply_f64(p, &pair, b->origin ? x[0] : NULL, y);
    else
        apply_f32(p, &pair, b->origin ? x[0] : NULL, y);
}

const struct op op_nuslerp_columns = {
    .name = "nuslerp",
    .state_bytes = columns_state_bytes,
    .need = columns_need,
    .measure = columns_measure,
    .combine = columns_combine,
    .apply = columns_apply,
};
