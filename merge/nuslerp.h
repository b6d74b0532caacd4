/* nuslerp.h - what NuSLERP of columns shares with that of rows and tensors. */
#ifndef QUERN_NUSLERP_H
#define QUERN_NUSLERP_H

#include "merge/gram.h"

/* The weights of two vectors in the result, from their dot products; t = 0 gives the first. Nearly
 * parallel and opposite vectors are mixed along the straight line. */
void nuslerp_weights(double aa, double ab, double bb, double t, double weights[2]);

/* Vectors along the first dimension; the step's params are a struct blend. */
extern const struct op op_nuslerp_columns;
#define NUSLERP_COLUMN_PASSES 2

#endif
