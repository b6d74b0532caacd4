/* vocab_source.h - a tensor with a row per token, laid out for another vocabulary. */
#ifndef QUERN_VOCAB_SOURCE_H
#define QUERN_VOCAB_SOURCE_H

#include "merge/vocabulary.h"
#include "pipeline/plan.h"

/* The params of a vocabulary_source: the same tensor of all models, as it was before. */
struct vocab_rows {
    const struct row_map *map;
    const struct source *sources; /* [map->nmodels] */
    unsigned model;               /* whose this one is */
    uint64_t width;               /* elements in a row */
};

/* Rows are read where they lie, neighbours together. A worker holds two pieces, what the largest
 * inner source needs, and, when there are padded rows, one row of doubles. */
extern const struct source_kind vocabulary_source;

#endif
