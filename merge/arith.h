/* arith.h - the arithmetic that methods share, in f32 and, for wide steps, in f64. */
#ifndef QUERN_ARITH_H
#define QUERN_ARITH_H

#include <stdbool.h>
#include <stddef.h>

#include "core/dtype.h"
#include "quant/small_floats.h"

/* y = w[0]*x[0] + w[1]*x[1] + ..., in this order, every product and sum rounded. */
void sum_weighted(bool wide, void *y, const void *const x[], const double w[], size_t nx, size_t n);

/* y[i] = y[i] / divisor. */
void divide_all(bool wide, void *y, double divisor, size_t n);

/* To the nearest value of F16 or BF16; x itself for any other type. */
static inline float round_value(enum dtype d, float x)
{
    if (d == DTYPE_BF16)
        return bf16_to_f32(bf16_from_f32(x));
    return d == DTYPE_F16 ? f16_to_f32(f16_from_f32(x)) : x;
}
void round_values(enum dtype d, float *x, size_t n);

/* a.b in f64. */
double dot_f64(const double *a, const double *b, size_t n);

/* d = x - base in f32. */
void subtract_f32(float *d, const float *x, const float *base, size_t n);

/* y = base + (w[0]*(x[0] - base) + w[1]*(x[1] - base) + ...), in this order, every difference,
 * product and sum rounded. */
void sum_differences(bool wide, void *y, const void *base, const void *const x[], const double w[],
                     size_t nx, size_t n);

/* Straight from BF16 to BF16, with a base as sum_differences(), without one (NULL) as
 * sum_weighted(). False when a result is not finite: then what is in y means nothing. */
bool sum_bf16(uint16_t *y, const uint16_t *base, const uint16_t *const x[], const double w[],
              size_t nx, size_t n);

#endif
