/* planes.h - lay numbers out so that an entropy coder finds what they have in common.
 *
 * A float of w bytes becomes an integer with its sign in the lowest bit; then all lowest bytes
 * stand side by side, then all of the next, and so on: w planes. Exponents share a plane. With a
 * base, numbers are first mapped to integers in the order of the floats, the base's are subtracted,
 * and the difference is folded so that small ones of either sign are small. */
#ifndef QUERN_PLANES_H
#define QUERN_PLANES_H

#include <stddef.h>
#include <stdint.h>

#define MAX_PLANES 8u

/* n numbers of width bytes (1, 2, 4 or 8, little-endian): n bytes to each plane, which lie one
 * after the other when they are made and anywhere when they are joined. */
void planes_split(const uint8_t *x, unsigned width, size_t n, uint8_t *planes);
void planes_join(const uint8_t *const planes[], unsigned width, size_t n, uint8_t *x);
/* The same of the distance from base. For joining, x holds the base. */
void planes_split_delta(const uint8_t *x, const uint8_t *base, unsigned width, size_t n,
                        uint8_t *planes);
void planes_join_delta(const uint8_t *const planes[], unsigned width, size_t n, uint8_t *x);

#endif
