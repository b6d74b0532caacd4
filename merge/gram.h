/* gram.h - methods whose result is a weighted sum of vectors, with weights that follow from the
 * vectors' dot products.
 *
 * The vectors are whole tensors, or their rows; the models' weights themselves, or their
 * differences from a base. One read measures all dot products (the Gram matrix), a solver of a few
 * numbers turns them into weights, one more read adds up. Rows are measured while they are added
 * up. */
#ifndef QUERN_GRAM_H
#define QUERN_GRAM_H

#include "merge/method.h"
#include "merge/rows.h"

/* Doubles in a Gram matrix: its lower triangle. */
static inline size_t gram_count(unsigned n)
{
    return (size_t)n * (n + 1) / 2;
}

static inline double gram_at(const double *dots, unsigned i, unsigned k)
{
    return i >= k ? dots[gram_count(i) + k] : dots[gram_count(k) + i];
}

/* Adds the dot products of n elements of count vectors: x[i], or x[i] - base. Differences are
 * rounded to the type of the arithmetic, products and sums are in f64. */
void gram_add(bool wide, const void *const x[], const void *base, unsigned count, size_t n,
              double *dots);

struct blend {
    unsigned count; /* vectors */
    bool origin;    /* source 0 is a base, of which they are differences */
    /* The weights of the vectors in the result. */
    enum quern_status (*solve)(const struct blend *b, const double *dots, double weights[],
                               struct quern_error *err);
    double params[MAX_METHOD_PARAMS]; /* the method's own, for all models ... */
    double weight[MAX_SOURCES];       /* ... and for each vector */
};

/* Makes a step of b, of whole tensors with an op of BLEND_OP, or of rows with one of BLEND_ROWS_OP.
 * Sources are the models, the base first if b has an origin; b->count is set. */
enum quern_status blend_prepare(const struct merge_job *job, struct step *s, struct blend *b,
                                const struct op *op, struct quern_error *err);

/* A step that gives the only model besides the base as it is. */
enum quern_status blend_single(const struct merge_job *job, struct step *s,
                               struct quern_error *err);

size_t blend_state_bytes(const struct step *s);
struct measure_need blend_need(const struct step *s, unsigned pass);
void blend_measure(const struct piece *p, unsigned pass, const void *const x[], uint64_t *counts,
                   void *record);
enum quern_status blend_combine(const struct step *s, unsigned pass, void *state,
                                const uint64_t *counts, void *records, uint64_t nrecords,
                                struct quern_error *err);
void blend_apply(const struct piece *p, const void *const x[], void *y);
bool blend_measure_bf16(const struct piece *p, unsigned pass, const uint16_t *const x[],
                        uint64_t *counts, void *record);
bool blend_apply_bf16(const struct piece *p, const uint16_t *const x[], uint16_t *y);
size_t blend_rows_fetch_bytes(const struct step *s);
enum quern_status blend_rows_fetch(const struct piece *p, unsigned pass, uint64_t *moved,
                                   struct quern_error *err);
void blend_rows_apply(const struct piece *p, const void *const x[], void *y);

#define BLEND_OP(title)                                                                           \
    {                                                                                             \
        .name = title, .records_nonfinite = true, .state_bytes = blend_state_bytes,               \
        .need = blend_need, .measure = blend_measure, .combine = blend_combine,                   \
        .apply = blend_apply, .measure_bf16 = blend_measure_bf16, .apply_bf16 = blend_apply_bf16, \
    }

#define BLEND_ROWS_OP(title)                                                             \
    {                                                                                    \
        .name = title, .fetch_bytes = blend_rows_fetch_bytes, .fetch = blend_rows_fetch, \
        .apply = blend_rows_apply,                                                       \
    }

#endif
