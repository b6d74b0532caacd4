/* xxh64.h - the 64-bit checksum XXH64, as zstd frames use it: fast, and no proof against malice. */
#ifndef QUERN_XXH64_H
#define QUERN_XXH64_H

#include <stddef.h>
#include <stdint.h>

/* With seed 0. */
uint64_t xxh64(const void *data, size_t n);

#endif
