/* xxh64.h - the 64-bit checksum XXH64, as zstd frames use it: fast, and no proof against malice. */
#ifndef QUERN_XXH64_H
#define QUERN_XXH64_H

#include <stddef.h>
#include <stdint.h>

/* With seed 0. */
uint64_t xxh64(const void *data, size_t n);

/* Of bytes that lie in pieces; only the last one may have other than a multiple of 32 bytes. */
struct xxh64 {
    uint64_t lane[4];
    uint64_t nbytes;
};
void xxh64_start(struct xxh64 *x);
void xxh64_add(struct xxh64 *x, const void *piece, size_t n);
uint64_t xxh64_end(struct xxh64 *x, const void *last, size_t n);

#endif
