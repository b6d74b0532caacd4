/* scaled.h - weights that are values of few bits times scales which several of them share. */
#ifndef QUERN_SCALED_H
#define QUERN_SCALED_H

#include "unpacking.h"

/* Puts weight * scale in the place of weight. The dimensions of scale are those of weight, from the
 * first on: 1 where all share a scale, else one for every (the last two: for every block[] of
 * them, the last of which may be short); dimensions that are missing at the end count as 1. Both
 * are taken in 32 bits and the product is rounded to 32 bits. */
enum quern_status unpack_scaled(struct unpacking *u, const struct source *weight,
                                const struct source *scale, const uint64_t block[2],
                                struct quern_error *err);

#endif
