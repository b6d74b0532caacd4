/* fuse.h - make the results of earlier stages on the way to the last one: nothing is written.
 *
 * A step whose sources are made by other steps becomes one step that reads everything those read.
 * It measures what they measure, one after the other, and each of them gives values that are
 * rounded to its type, so the bytes are those of stages that run one after the other through files.
 */
#ifndef QUERN_FUSE_H
#define QUERN_FUSE_H

#include "merge/made.h"

/* Leaves a step without made sources as it is. EUNSUPPORTED when there is too much to fuse, or an
 * op wants to see a result of a stage whole. Memory is the arena's. */
enum quern_status fuse_step(struct step *s, struct arena *arena, struct quern_error *err);

/* Compares the bytes of all sources: for tensors that are no weights. */
extern const struct op op_equal;

#endif
