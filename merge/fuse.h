/* fuse.h - make the results of earlier stages on the way to the last one: nothing is written.
 *
 * A step whose sources are made by other steps becomes one step that reads everything those read.
 * It measures what they measure, one after the other, and each of them gives values that are
 * rounded to its type, so the bytes are those of stages that run one after the other through files.
 * What several of them read is read once. */
#ifndef QUERN_FUSE_H
#define QUERN_FUSE_H

#include "merge/made.h"

/* Leaves a step as it is that has no made sources, or must read them on their own, with statistics
 * that hidden steps gather: since an op wants to see rows of them. EUNSUPPORTED when there is too
 * much to fuse. Memory is the arena's. */
enum quern_status fuse_step(struct step *s, struct arena *arena, struct quern_error *err);

/* Compares the bytes of all sources: for tensors that are no weights. */
extern const struct op op_equal;

#endif
