/* error_stats.h - how far values b are from the values a they stand for, as sums that add up.
 *
 * Sums are taken piece by piece in order, so the same pieces give the same bits. A pair with a NaN
 * or Inf in it is counted and otherwise left out. */
#ifndef QUERN_ERROR_STATS_H
#define QUERN_ERROR_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/dtype.h"

/* Which sum; WEIGHT and after count every pair by its importance. */
enum error_sum {
    SUM_ERROR_SQ, /* (a - b)^2 */
    SUM_AA,
    SUM_AB,
    SUM_BB,
    SUM_WEIGHT,
    SUM_WEIGHTED_ERROR_SQ,
    SUM_WEIGHTED_AA,
    NERROR_SUMS
};

/* All zero says that nothing was looked at. The sums stand first, so that pipeline can fold them as
 * columns of a record of doubles. */
struct error_sums {
    double sum[NERROR_SUMS];
    double max_error; /* largest |a - b| and its first place */
    uint64_t max_at;
    double worst_mean_sq; /* of the block with the largest mean square error */
    uint64_t worst_at;    /* its index, the lowest when there are several */
    uint64_t npairs;      /* that were summed */
    uint64_t nbad[2];     /* NaN and Inf in a, in b */
    uint64_t first_bad[2];
};
_Static_assert(sizeof(struct error_sums) % sizeof(double) == 0, "records of doubles");

/* Elements of a block of b's type; plain types count in blocks of PLAIN_BLOCK along the flat index.
 */
#define PLAIN_BLOCK 256u
size_t error_block(enum dtype d);

/* A run of pairs. first is the flat index of the first, a multiple of block; a piece that does not
 * end its tensor is whole blocks. a and b are double when wide, else float. */
struct error_pairs {
    const void *a, *b;
    bool wide;
    const float *importance; /* n values, or NULL */
    size_t block;            /* at least 16, at most 256, a multiple of 16 */
    uint64_t first;
    size_t n; /* at most MAX_ERROR_PAIRS */
};
#define MAX_ERROR_PAIRS 8192u

/* Pairs are added in the order of their flat index. */
void error_sums_add(struct error_sums *sums, const struct error_pairs *pairs);
/* Adds everything of a later part. */
void error_sums_join(struct error_sums *sums, const struct error_sums *later);

/* What people read. NaN where it has no meaning: weighted without importance, the signal-to-noise
 * ratio without noise. relative is infinite when a is all zero and b is not. */
struct error_figures {
    double rmse;     /* root mean square of a - b */
    double relative; /* rmse over the root mean square of a */
    double sqnr_db;  /* 10 log10(sum of a^2 / sum of (a - b)^2), to a millionth */
    double cosine;   /* of the angle between a and b; 1 when they are equal */
    double worst_rmse;
    double weighted_rmse; /* every square counted as often as its importance says */
    double weighted_relative;
};
void error_figures(const struct error_sums *sums, struct error_figures *out);
/* Every pair is equal and finite. */
bool error_free(const struct error_sums *sums);

#endif
