/* deviates.h - random bits to random numbers, with the same bits on every machine.
 *
 * Like smath.h: +, -, *, / and sqrt of doubles only. Where the bits come from is the caller's
 * matter; the upper 52 of 64 count. */
#ifndef QUERN_DEVIATES_H
#define QUERN_DEVIATES_H

#include <stdint.h>

/* Evenly spread over the open interval (0, 1): (k + 1/2) / 2^52. */
double deviate_uniform(uint64_t bits);

/* Normal with mean 0 and variance 1: the inverse of the distribution function at
 * deviate_uniform(bits). At most 8.2 in size. */
double deviate_normal(uint64_t bits);

#endif
