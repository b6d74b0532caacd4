/* cuts.c - exact selection by radix counting. */
#include "merge/cuts.h"

#include <math.h>

#include "quant/codec.h"

unsigned cut_passes(bool wide)
{
    return wide ? 4 : 2;
}

void cut_count(const struct cut *c, bool wide, unsigned pass, const void *scores, size_t n,
               uint64_t *histogram)
{
    const unsigned shift = 16 * (cut_passes(wide) - 1 - pass);
    if (!wide) {
        codec_kernels()->radix_count(scores, n, shift + 16, (uint32_t)c->score, shift,
                                     CUT_SLOTS - 1, histogram);
        return;
    }
    const uint64_t *s = scores;
    for (size_t i = 0; i < n; i++) {
        const uint64_t bits = s[i] >> shift;
        if (pass == 0 || bits >> 16 == c->score)
            histogram[bits & (CUT_SLOTS - 1)]++;
    }
}

void cut_narrow(struct cut *c, const uint64_t *histogram)
{
    unsigned slot = CUT_SLOTS - 1;
    while (slot > 0 && histogram[slot] < c->rank) {
        c->rank -= histogram[slot];
        slot--;
    }
    c->score = c->score << 16 | slot;
    c->equals = histogram[slot];
}

void cut_count_sample(const uint32_t *scores, size_t n, uint64_t counts[CUT_SAMPLE])
{
    codec_kernels()->radix_count(scores, n, 32, 0, 16, CUT_SLOTS - 1, counts);
    for (size_t i = 0; i < n; i++)
        counts[CUT_SLOTS] += (scores[i] & (CUT_SLOTS - 1)) == 0;
}

#define NO_SIGN (CUT_SLOTS / 2) /* slots that scores without a sign bit have */

static void guess_scores(const uint64_t *histogram, double rank, double spread,
                         struct cut_window *w)
{
    uint64_t above = 0;
    w->nguesses = 0;
    for (unsigned slot = NO_SIGN; slot-- > 0 && w->nguesses < CUT_GUESSES;) {
        const uint64_t first = above;
        above += histogram[slot];
        if ((double)first > rank + spread)
            return;
        /* Slots with hardly anything are not worth looking for. */
        if ((double)histogram[slot] > spread / 16 && (double)above >= rank - spread)
            w->guess[w->nguesses++] = (uint32_t)slot << 16;
    }
}

void cut_guess_window(const struct cut *c, uint64_t nelems, const uint64_t counts[CUT_SAMPLE],
                      struct cut_window *w)
{
    const uint64_t *histogram = counts;
    uint64_t total = 0, above = 0;
    for (unsigned slot = 0; slot < NO_SIGN; slot++)
        total += histogram[slot];
    const double rank = (double)c->rank / (double)nelems * (double)total;
    /* Six standard deviations of the rank at the median, more elsewhere. */
    guess_scores(histogram, rank, 3 * sqrt((double)total), w);
    unsigned slot = NO_SIGN - 1;
    while (slot > 0 && (double)(above += histogram[slot]) < rank)
        slot--;
    unsigned first = slot > CUT_WINDOW / 2 ? slot - CUT_WINDOW / 2 : 0;
    first = first < NO_SIGN - CUT_WINDOW ? first : NO_SIGN - CUT_WINDOW;
    w->first = (uint32_t)first << 16;
    w->plain = counts[CUT_SLOTS] >= total - total / 8;
}

#define BLOCK 1024u

/* Scores have no sign bit. */
static uint32_t count_after_some(const uint32_t *scores, size_t n, int32_t last)
{
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += (int32_t)scores[i] > last;
    return count;
}

static uint64_t count_after(const uint32_t *scores, size_t n, uint32_t last)
{
    uint64_t count = 0;
    size_t i = 0;
    for (; n - i >= BLOCK; i += BLOCK) /* a constant, for which compilers make better code */
        count += count_after_some(scores + i, BLOCK, (int32_t)last);
    return count + count_after_some(scores + i, n - i, (int32_t)last);
}

static void count_slots(uint32_t first, const uint32_t *scores, size_t n, uint64_t *counts)
{
    for (size_t at = 0, some; at < n; at += some) {
        uint32_t shifted[BLOCK];
        some = n - at < BLOCK ? n - at : BLOCK;
        for (size_t i = 0; i < some; i++)
            shifted[i] = scores[at + i] - first;
        /* 16 bits in a slot, 5 more in the window. */
        codec_kernels()->radix_count(shifted, some, 21, 0, 16, CUT_WINDOW - 1, counts);
    }
}

void cut_count_window(const struct cut_window *w, const uint32_t *scores, size_t n,
                      uint64_t counts[CUT_WINDOW + 1], double guesses[CUT_GUESSES])
{
    for (unsigned i = 0; w->plain && i < w->nguesses; i++) {
        guesses[i] += (double)codec_kernels()->count_equal(scores, n, w->guess[i]);
        counts[i] += count_after(scores, n, w->guess[i]);
    }
    if (w->plain)
        return;
    counts[CUT_WINDOW] += count_after(scores, n, w->first + (CUT_WINDOW << 16) - 1);
    count_slots(w->first, scores, n, counts);
}

/* Is the cut guess i, which so many scores are above? Then places it. */
static bool take_guess(struct cut *c, uint32_t guess, uint64_t above, const double *counts,
                       uint64_t nchunks, size_t stride)
{
    uint64_t equals = 0;
    for (uint64_t k = 0; k < nchunks; k++)
        equals += (uint64_t)counts[k * stride];
    if (c->rank <= above || c->rank > above + equals)
        return false;
    *c = (struct cut){.score = guess, .rank = c->rank - above, .equals = equals};
    cut_place(c, counts, nchunks, stride);
    return true;
}

/* Finds the leading bits of a cut in the window. */
static bool take_slot(struct cut *c, const struct cut_window *w, const uint64_t *counts)
{
    uint64_t above = counts[CUT_WINDOW];
    unsigned slot = CUT_WINDOW;
    if (c->rank <= above)
        return false;
    while (slot > 0 && above + counts[slot - 1] < c->rank)
        above += counts[--slot];
    if (slot == 0)
        return false;
    c->score = (w->first >> 16) + slot - 1;
    c->rank -= above;
    return true;
}

enum cut_found cut_take_window(struct cut *c, const struct cut_window *w,
                               const uint64_t counts[CUT_WINDOW + 1], const double *guesses,
                               uint64_t nchunks, size_t stride)
{
    if (c->rank == 0) {
        *c = (struct cut){.score = UINT32_MAX, .split = UINT64_MAX};
        return CUT_ALL;
    }
    if (!w->plain)
        return take_slot(c, w, counts) ? CUT_LEADING : CUT_NOTHING;
    for (unsigned i = 0; i < w->nguesses; i++)
        if (take_guess(c, w->guess[i], counts[i], guesses + i, nchunks, stride))
            return CUT_ALL;
    return CUT_NOTHING;
}

size_t cut_count_score(bool wide, const void *scores, size_t n, uint64_t score)
{
    if (!wide)
        return codec_kernels()->count_equal(scores, n, (uint32_t)score);
    const uint64_t *s = scores;
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += s[i] == score;
    return count;
}

void cut_place(struct cut *c, const double *equals, uint64_t nchunks, size_t stride)
{
    c->split = UINT64_MAX;
    if (c->rank >= c->equals)
        return;
    uint64_t before = 0;
    for (uint64_t i = 0; i < nchunks; i++) {
        const uint64_t here = (uint64_t)equals[i * stride];
        if (before + here > c->rank) {
            c->split = i;
            c->quota = c->rank - before;
            return;
        }
        before += here;
    }
}

static uint64_t score_at(bool wide, const void *scores, size_t i)
{
    return wide ? ((const uint64_t *)scores)[i] : ((const uint32_t *)scores)[i];
}

size_t cut_split(const struct cut *c, bool wide, uint64_t chunk, const void *scores, size_t n,
                 uint64_t *met)
{
    if (chunk != c->split)
        return chunk < c->split ? n : 0;
    const uint64_t left = c->quota > *met ? c->quota - *met : 0;
    const size_t here = cut_count_score(wide, scores, n, c->score);
    *met += here;
    if (here <= left)
        return n;
    uint64_t seen = 0;
    for (size_t i = 0; i < n; i++)
        if (score_at(wide, scores, i) == c->score && seen++ == left)
            return i;
    return n;
}
