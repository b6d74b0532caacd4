/* philox.h - random bits that depend on nothing but a key and a counter: Philox4x32-10.
 *
 * J. K. Salmon and others, "Parallel random numbers: as easy as 1, 2, 3" (2011). Any number of
 * threads may draw any part of a sequence in any order. */
#ifndef QUERN_PHILOX_H
#define QUERN_PHILOX_H

#include <stdint.h>

#include "core/str.h"

enum { PHILOX_ROUNDS = 10 };
#define PHILOX_MUL0 0xD2511F53u
#define PHILOX_MUL1 0xCD9E8D57u
#define PHILOX_KEY0 0x9E3779B9u
#define PHILOX_KEY1 0xBB67AE85u

void philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* FNV-1a, 64 bits: turns a name into two words of a counter. Unlike hash_bytes() the same in every
 * process. */
uint64_t fnv1a_64(struct str name);

#endif
