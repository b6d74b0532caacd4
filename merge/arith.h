/* arith.h - the arithmetic that methods share, in f32 and, for wide steps, in f64. */
#ifndef QUERN_ARITH_H
#define QUERN_ARITH_H

#include <stdbool.h>
#include <stddef.h>

/* y = w[0]*x[0] + w[1]*x[1] + ..., in this order, every product and sum rounded. */
void sum_weighted(bool wide, void *y, const void *const x[], const double w[], size_t nx, size_t n);

/* y[i] = y[i] / divisor. */
void divide_all(bool wide, void *y, double divisor, size_t n);

/* Adds a.a, a.b and b.b to sums[0..2], in f64. */
void add_pair_dots(bool wide, const void *a, const void *b, size_t n, double sums[3]);

#endif
