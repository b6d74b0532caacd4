/* lora_source.h - a source that adds low-rank products to another: W + scale * B A, made while it
 * is read. The order of operations is in docs/lora.md. */
#ifndef QUERN_LORA_SOURCE_H
#define QUERN_LORA_SOURCE_H

#include "pipeline/plan.h"

/* Element (row, column) of the product is the sum over k of left(row, k) * right(k, column). */
struct lora_product {
    struct source left, right; /* stored tensors; left.tensor NULL: ones */
    bool left_flipped;         /* stored as [rank, rows], else [rows, rank] */
    bool right_flipped;        /* stored as [columns, rank], else [rank, columns] */
    uint64_t rows, cols, rank; /* of each matrix; the rank at most PIECE */
    double scale;
    /* DoRA: the rows get these lengths; tensor NULL: none. */
    struct source magnitude;
};

/* The params of a source of this kind. */
struct lora {
    struct source inner;
    const struct lora_product *products; /* added in this order */
    uint32_t nproducts;
};

extern const struct source_kind lora_kind;

#endif
