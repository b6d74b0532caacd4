/* scaled.h - weights that are values of few bits times scales which several of them share. */
#ifndef QUERN_SCALED_H
#define QUERN_SCALED_H

#include "pipeline/plan.h"

/* Makes *out, weight * scale, of the name and shape of weight, which counts as being of `dtype`.
 * The dimensions of scale are those of weight, from the first on: 1 where all share a scale, else
 * one for every element (of the last two: or for every block[] of them, the last of which may be
 * short); dimensions that are missing at the end count as 1. Both are taken in 32 bits and the
 * product is rounded to 32 bits. EFORMAT "shape" when they do not fit. */
enum quern_status scaled_source(struct arena *arena, const struct source *weight,
                                const struct source *scale, const uint64_t block[2],
                                enum dtype dtype, struct source *out, struct quern_error *err);

#endif
