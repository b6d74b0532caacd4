/* task_vector.h - the family of methods that add what models differ from a base by: which elements
 * of a difference count (a sparsifier), and whether the models must agree on a sign. */
#ifndef QUERN_TASK_VECTOR_H
#define QUERN_TASK_VECTOR_H

#include "merge/method.h"

/* Parameters that all members know by these places; those of sparsifiers come last. */
enum { TV_WEIGHT, TV_NORMALIZE, TV_LAMBDA, TV_DENSITY, TV_RESCALE, TV_SPREAD };

/* How elements are chosen. */
struct sparsifier {
    unsigned ncuts; /* by magnitude: 1 drops the smallest, 2 the largest too */
    bool random;    /* drawn ... */
    bool ranked;    /* ... the likelier, the larger they are in their row */
};

extern const struct sparsifier keep_all, keep_largest, keep_middle, keep_random, keep_ranked;

/* What is fixed for one tensor: params of its step. Models are numbered without the base. */
struct task_vector {
    const struct sparsifier *sparsifier;
    unsigned nmodels, ntrimmed;
    bool consensus, normalize, rescale;
    enum dtype exact;     /* rounded to after every operation; DTYPE_COUNT: not */
    double lambda, total; /* total: of the weights, 1 for nearly none */
    double weight[MAX_SOURCES];
    double density[MAX_SOURCES];
    double spread[MAX_SOURCES];   /* gamma or epsilon */
    uint8_t trimmed[MAX_SOURCES]; /* numbers of the models of which not everything counts */
    uint64_t seed, name_hash;
    /* Bits of elements [first, first + n) of a model, kept when below its limit. A test may put
     * recorded choices here. */
    void (*draw)(const struct task_vector *t, unsigned model, uint64_t first, size_t n,
                 uint32_t *bits);
};

/* As method.prepare. */
enum quern_status task_vector_prepare(const struct merge_job *job, struct step *s,
                                      const struct sparsifier *how, bool consensus,
                                      struct quern_error *err);

/* ---- draws (draws.c) --------------------------------------------------------------------------
 */

/* Draws below it are kept: p * 2^32, rounded down. */
uint32_t draw_limit(double p);
/* Of Philox, for element `first`, a multiple of 4: element / 4 (bits 0 to 55), model (56 to 63),
 * the name's hash; the key: the seed. */
struct draw_counter {
    uint32_t key[2], counter[4];
};
struct draw_counter draw_counter(const struct task_vector *t, unsigned model, uint64_t first);
/* For task_vector.draw; first is a multiple of 4. */
void draw_random(const struct task_vector *t, unsigned model, uint64_t first, size_t n,
                 uint32_t *bits);

/* ---- ranks in rows (row_ranks.c) ------------------------------------------------------------- */

/* The last dimension. */
uint64_t row_length(const struct step *s);
/* For op.fetch: finds the limit of every element of the piece from the rank of its magnitude in its
 * row. */
size_t row_ranks_bytes(const struct step *s);
enum quern_status row_ranks_fetch(const struct piece *p, unsigned pass, uint64_t *moved,
                                  struct quern_error *err);
/* Those of trimmed model j, from the first element of the piece on. */
const uint32_t *row_limits(const struct piece *p, unsigned j);

#endif
