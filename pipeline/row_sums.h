/* row_sums.h - the mean of squares over whole rows, which some encoders want to know. */
#ifndef QUERN_ROW_SUMS_H
#define QUERN_ROW_SUMS_H

#include "plan.h"

/* A worker's memory for it, cut from its scratch. */
struct row_sums {
    void *scratch; /* of the source, all zero at first */
    float *x;      /* a piece of a row: PIECE floats */
    uint8_t *raw;  /* the same in the type it is rounded to first: PIECE floats */
    uint64_t row;  /* the one summed last, UINT64_MAX for none ... */
    float sigma2;  /* ... and its mean of squares */
};

/* The type and the importance of the step ask for it. */
bool row_sums_needed(const struct step *s);

/* Mean of squares of a row of what the step copies, summed in order in one float as llama.cpp does.
 * The row is read again, a piece at a time: it may be longer than all memory, and lie in several
 * tiles. EFORMAT names the element when the sum is not finite. */
enum quern_status row_sums_get(const struct step *s, struct row_sums *sums, uint64_t row,
                               float *sigma2, struct quern_error *err);

#endif
