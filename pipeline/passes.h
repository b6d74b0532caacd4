/* passes.h - what the passes of a step go over: elements, chunks, samples. */
#ifndef QUERN_PASSES_H
#define QUERN_PASSES_H

#include "pipeline/plan.h"
#include "pipeline/tile.h"

static inline struct measure_need need_of(const struct step *s, unsigned pass)
{
    return s->op->need ? s->op->need(s, pass) : (struct measure_need){0};
}

/* Elements that a pass goes over. */
static inline uint64_t pass_elems(const struct step *s, unsigned pass)
{
    return pass < s->npasses && s->measured ? s->measured : s->nelems;
}

static inline uint64_t most_elems(const struct step *s)
{
    return s->measured > s->nelems ? s->measured : s->nelems;
}

static inline uint64_t chunks_of(const struct step *s, unsigned pass)
{
    return (pass_elems(s, pass) + CHUNK - 1) / CHUNK;
}

static inline bool is_sample(const struct step *s, unsigned pass)
{
    return pass == 0 && step_samples(s);
}

static inline uint64_t sample_tiles(const struct step *s)
{
    const uint64_t n = chunks_of(s, 0);
    return n < SAMPLE_PIECES ? n : SAMPLE_PIECES;
}

/* What one pass over everything reads. */
static inline uint64_t source_bytes(const struct step *s)
{
    uint64_t total = 0;
    for (unsigned k = 0; k < s->nsources; k++)
        total += source_read_bytes(&s->sources[k]);
    return total;
}

/* What a sample leaves out of that, nearly: ends of tensors are not looked at. */
static inline uint64_t left_out_bytes(const struct step *s)
{
    const uint64_t seen = sample_tiles(s) * PIECE, all = pass_elems(s, 0);
    return seen < all ? (uint64_t)((double)(all - seen) / (double)all * (double)source_bytes(s))
                      : 0;
}

#endif
