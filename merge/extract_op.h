/* extract_op.h - the op that finds the low-rank product closest to the difference of two tensors.
 */
#ifndef QUERN_EXTRACT_OP_H
#define QUERN_EXTRACT_OP_H

#include "pipeline/plan.h"

/* Directions beyond the rank that are looked at, beside a share of the rank: they make the first
 * ones exact. */
#define SPARE_DIRECTIONS 12u
#define SPARE_SHARE      4u

/* Norms (Frobenius) of the difference and of what the product leaves of it. */
struct extracted {
    double norm, error;
};

/* The params of a step with op_extract. Its sources are the tuned tensor and the base's, its output
 * A [rank, cols], then B [rows, rank]; measured = rows * cols, npasses = EXTRACT_PASSES. */
struct extraction {
    uint64_t rows, cols;
    uint64_t rank;      /* at most rows and cols */
    uint64_t width;     /* of the search: more than the rank, at most rows and cols */
    const float *start; /* random numbers, start_row of them for every column */
    uint64_t start_row; /* at least width */
    struct extracted *result;
};

#define EXTRACT_PASSES 7

extern const struct op op_extract;

#endif
