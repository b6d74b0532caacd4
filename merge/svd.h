/* svd.h - the small decompositions that taking an adapter out of a model needs, in double.
 *
 * A matrix is given by its columns, one after the other. All sums have a fixed order: the same bits
 * on every machine. */
#ifndef QUERN_SVD_H
#define QUERN_SVD_H

#include <stdbool.h>
#include <stddef.h>

/* q, of ncols columns of n values each, becomes orthonormal columns with the same span; r, when not
 * NULL, the upper triangle with old q = new q * r. Columns that depend on earlier ones become 0. */
void orthonormalize(double *q, size_t n, size_t ncols, double *r);

/* m, n columns of n values, = u * diag(sigma) * transposed(v): m becomes u; sigma falls. Columns of
 * u with sigma 0 are 0. */
void small_svd(double *m, double *v, double *sigma, size_t n);

#endif
