/* differences.h - where the bytes that a step has made differ from those of an existing file. */
#ifndef QUERN_DIFFERENCES_H
#define QUERN_DIFFERENCES_H

#include "plan.h"

/* Elements that are compared as one: a block, or one of a plain type. */
size_t difference_block(enum dtype d);

/* A chunk of a step, as it is stored: elements [first, first + n), whole blocks. */
struct stored_pair {
    const struct step *step;
    const uint8_t *ours, *theirs;
    uint64_t first;
    size_t n;
    void *a, *b; /* room for the values of a piece each */
};

/* Notes what differs in the record of the chunk, which is all zero. Blocks that are equal are not
 * decoded, so a file without differences costs no more than the comparison of its bytes. */
void differences_find(const struct stored_pair *p, struct difference *record);

/* One record for each chunk to one for all; the sums as fold_errors() takes them. */
void differences_fold(const struct difference *records, uint64_t nrecords, struct difference *out);

#endif
