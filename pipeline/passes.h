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

/* Of its stored bytes, those that are written. */
static inline uint64_t written_bytes(const struct step *s)
{
    return s->cut_bytes ? s->cut_bytes : s->nbytes;
}

/* The element that a byte of it belongs to, or the first of its block. */
static inline uint64_t element_at(const struct step *s, uint64_t byte)
{
    const struct dtype_traits *t = &dtype_traits[s->dtype];
    return byte / t->block_bytes * t->block_elems;
}

/* Elements [made_first, made_end) are made: whole chunks, but at the end of the tensor. */
static inline uint64_t made_first(const struct step *s)
{
    return s->cut_bytes ? element_at(s, s->cut_first) / CHUNK * CHUNK : 0;
}

static inline uint64_t made_end(const struct step *s)
{
    if (!s->cut_bytes)
        return s->nelems;
    const uint64_t end = (element_at(s, s->cut_first + s->cut_bytes - 1) / CHUNK + 1) * CHUNK;
    return end < s->nelems ? end : s->nelems;
}

/* The first element that a pass goes over, and the one behind the last. */
static inline uint64_t pass_first(const struct step *s, unsigned pass)
{
    return pass < s->npasses ? 0 : made_first(s);
}

static inline uint64_t pass_end(const struct step *s, unsigned pass)
{
    return pass < s->npasses ? pass_elems(s, pass) : made_end(s);
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

/* What all measuring passes read, its own and those of what it needs. */
static inline uint64_t measured_bytes(const struct step *s)
{
    uint64_t total = source_bytes(s) * s->npasses;
    for (uint32_t i = 0; i < s->nneeds; i++)
        total += source_bytes(&s->needs[i]->step) * s->needs[i]->step.npasses;
    return total;
}

/* What the applying pass reads. */
static inline uint64_t applied_bytes(const struct step *s)
{
    const uint64_t all = source_bytes(s), n = made_end(s) - made_first(s);
    return n == s->nelems ? all : (uint64_t)((double)n / (double)s->nelems * (double)all);
}

/* What a sample leaves out of that, nearly: ends of tensors are not looked at. */
static inline uint64_t left_out_bytes(const struct step *s)
{
    const uint64_t seen = sample_tiles(s) * PIECE, all = pass_elems(s, 0);
    return seen < all ? (uint64_t)((double)(all - seen) / (double)all * (double)source_bytes(s))
                      : 0;
}

#endif
