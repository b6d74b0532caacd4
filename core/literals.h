/* literals.h - blocks of zstd frames that hold nothing but literals, decoded faster than libzstd
 * does: several of them with one look into a table.
 *
 * Half of what a pack of floats is made of is such blocks. Whatever else a block may have
 * (sequences, a single stream) is left to libzstd, and so is saying what is wrong with it. */
#ifndef QUERN_LITERALS_H
#define QUERN_LITERALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LITERALS_BITS 11u /* of the longest code */

/* What the next bits stand for: all symbols whose codes are whole. */
struct look {
    uint8_t symbols[6];
    uint8_t nbits, count; /* of all codes; of the symbols */
};

/* All zero at first. */
struct literals {
    struct look several[1u << LITERALS_BITS];
    uint16_t one[1u << LITERALS_BITS];
    uint8_t weights[256]; /* of symbols, that the tables are for */
    size_t nweights;
    bool has_several; /* blocks that are short do without */
    bool known;       /* the frame has told a code, which later blocks may use again */
};

/* What a frame's blocks hold, which take nbytes. False when that is not n bytes of literals in all;
 * then any of to may have been written. Nothing is written behind it. */
bool literals_read(struct literals *l, const uint8_t *blocks, size_t nbytes, uint8_t *to, size_t n);

#endif
