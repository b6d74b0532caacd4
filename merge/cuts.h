/* cuts.h - where a tensor's scores are cut so that exactly so many are above, found by counting.
 *
 * A score is an unsigned integer, of 32 bits or, for wide steps, of 64: bits of a magnitude, which
 * order like the number. In each pass over a tensor 16 more bits of the cut are found. Where the
 * cut falls among equal scores, a last pass counts these per chunk: those of the lowest index are
 * above the cut. Nothing is sorted and nothing is kept per element. */
#ifndef QUERN_CUTS_H
#define QUERN_CUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CUT_SLOTS   65536u /* of a histogram: 16 bits */
#define CUT_WINDOW  32u    /* of these in a window */
#define CUT_GUESSES 8u
#define CUT_SAMPLE  (CUT_SLOTS + 1) /* counts of a sample */

/* All zero before the first pass. */
struct cut {
    uint64_t score;  /* its leading bits while they are being found */
    uint64_t rank;   /* how many elements of this score (or these bits) are above ... */
    uint64_t equals; /* ... out of how many */
    uint64_t split;  /* chunks below have all equals above, chunks after none, this one ... */
    uint64_t quota;  /* ... its first few */
};

/* Where a sample of narrow scores has the cut: leading bits from first on, and the likeliest
 * scores, all with zeros in the lower 16 bits. Differences of 16-bit floats mostly end in zeros, so
 * that for these the cut nearly always is one of them. */
struct cut_window {
    bool plain; /* nearly all scores end in such zeros: only the guesses are looked for */
    uint32_t first;
    unsigned nguesses;
    uint32_t guess[CUT_GUESSES];
};

enum cut_found { CUT_NOTHING, CUT_LEADING, CUT_ALL }; /* bits of its score */

/* Adds to the counts of leading bits, then of the scores that end in zeros. */
void cut_count_sample(const uint32_t *scores, size_t n, uint64_t counts[CUT_SAMPLE]);
/* From a sample of nelems scores. */
void cut_guess_window(const struct cut *c, uint64_t nelems, const uint64_t counts[CUT_SAMPLE],
                      struct cut_window *w);
/* Adds to the counts of each slot, then of what is above the window (when plain: of what is above
 * each guess), and of each guess. */
void cut_count_window(const struct cut_window *w, const uint32_t *scores, size_t n,
                      uint64_t counts[CUT_WINDOW + 1], double guesses[CUT_GUESSES]);
/* When the cut is in the window: what its first pass would tell, and its place when it is one of
 * the guesses. guesses: of every chunk, `stride` doubles apart. */
enum cut_found cut_take_window(struct cut *c, const struct cut_window *w,
                               const uint64_t counts[CUT_WINDOW + 1], const double *guesses,
                               uint64_t nchunks, size_t stride);

/* Passes that count; one more, for the equals, follows. */
unsigned cut_passes(bool wide);

/* Adds the scores that have the bits found so far to a histogram of CUT_SLOTS. */
void cut_count(const struct cut *c, bool wide, unsigned pass, const void *scores, size_t n,
               uint64_t *histogram);
/* Before the first: set rank to how many elements must be above. 0 gives a cut above everything. */
void cut_narrow(struct cut *c, const uint64_t *histogram);

size_t cut_count_score(bool wide, const void *scores, size_t n, uint64_t score);
/* equals: how many scores of every chunk equal that of the cut, `stride` doubles apart. */
void cut_place(struct cut *c, const double *equals, uint64_t nchunks, size_t stride);

/* In the last pass that counts: a guess at what score the cut will have. Differences of 16-bit
 * floats mostly end in zeros, so that it is right for these, and its equals can be counted a pass
 * earlier. */
static inline uint64_t cut_guess(const struct cut *c)
{
    return c->score << 16;
}

/* How many elements of this piece come before the first whose equals are below: 0 ... n. *met is
 * the worker's count of equals in this chunk, 0 at its first piece. */
size_t cut_split(const struct cut *c, bool wide, uint64_t chunk, const void *scores, size_t n,
                 uint64_t *met);

/* Element i of a piece with this split is above when its score is at least this. */
static inline uint64_t cut_least(const struct cut *c, size_t split, size_t i)
{
    return c->score + (i >= split);
}

#endif
