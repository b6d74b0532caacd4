/* crop.h - merge embeddings of different sizes by what they have in common. */
#ifndef QUERN_CROP_H
#define QUERN_CROP_H

#include "merge/planner.h"

/* Where the inputs of a tensor of the vocabulary have different sizes and the request allows it:
 * replaces them by their top left parts, as mergekit does for this method. Otherwise, and where
 * they are too small for that, a mistake. */
enum quern_status crop_target(struct planner *pl, struct target *t, struct mistakes *m,
                              struct quern_error *err);

/* The top left rows x cols of a matrix, which has as many at least. Memory is the arena's. */
enum quern_status crop_source(const struct source *s, uint64_t rows, uint64_t cols,
                              struct arena *arena, struct source *out, struct quern_error *err);

#endif
