/* sha256_blocks.h - the blocks of SHA-256, in the ways this processor can do them. */
#ifndef QUERN_SHA256_BLOCKS_H
#define QUERN_SHA256_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

/* Takes n blocks of 64 bytes into the state h; k are the constants of the rounds. */
typedef void sha256_blocks(uint32_t h[8], const uint32_t k[64], const uint8_t *p, size_t n);

/* With special instructions, whole multiples of at_once blocks; NULL when this processor has none.
 */
sha256_blocks *sha256_blocks_special(size_t *at_once);

#endif
