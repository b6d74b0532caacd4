/* cuts.c - exact selection by radix counting. */
#include "merge/cuts.h"

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
