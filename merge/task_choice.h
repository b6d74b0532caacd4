/* task_choice.h - which elements of a difference count: what the files of the task vector family
 * share of finding it out, pass by pass. */
#ifndef QUERN_TASK_CHOICE_H
#define QUERN_TASK_CHOICE_H

#include "merge/cuts.h"
#include "merge/task_vector.h"

/* The step's state, for each trimmed model: elements above low but not above high are kept. */
struct choice_cuts {
    struct cut low, high;
    struct cut_window window[2];
    enum cut_found found[2]; /* of each cut; all: placed among equals, too */
    double scale;            /* of what is kept */
};

/* ---- passes ---------------------------------------------------------------------------------- */

size_t task_state_bytes(const struct step *s);
/* Passes that find cuts; sums of what is kept follow. */
unsigned task_counting_passes(const struct step *s);
/* The pass that counts around what a sample told. */
bool task_is_window(const struct step *s, unsigned pass);
/* Where the counts of a cut (0: low, 1: high) of trimmed model j are, and in a chunk's record those
 * of its guesses. */
size_t task_counts_at(const struct step *s, unsigned pass, unsigned j, unsigned cut);
size_t task_guesses_at(const struct task_vector *t, unsigned j, unsigned cut);
/* In a chunk's record, sums that kept_sums made of trimmed model j. */
void task_add_sums(double *record, unsigned j, const double sums[2]);

/* For the op. */
struct measure_need task_need(const struct step *s, unsigned pass);
void task_measure(const struct piece *p, unsigned pass, const void *const x[], uint64_t *counts,
                  void *record);
enum quern_status task_combine(const struct step *s, unsigned pass, void *state,
                               const uint64_t *counts, void *records, uint64_t nrecords,
                               struct quern_error *err);
unsigned task_next_pass(const struct step *s, unsigned pass, const void *state);

/* ---- scores ---------------------------------------------------------------------------------- */

/* What is subtracted. With exact rounding the difference is made first, and 0 subtracted. */
struct operands {
    const void *x, *base;
};

struct operands task_operands(const struct step *s, const void *x, const void *base, size_t n,
                              float room[]);

union scores {
    uint32_t narrow[PIECE];
    uint64_t wide[PIECE];
};

/* Of n elements of trimmed model j, `from` elements into the piece; u32, or u64 when wide. They are
 * kept where they lie in a window, see task_window(). */
void task_scores(const struct piece *p, unsigned j, struct operands o, size_t from, size_t n,
                 void *score);

/* Kept is what has score - low < span. */
struct window {
    uint64_t low, span;
};

/* At element i of a piece, with the splits of this model's cuts. */
struct window task_window(const struct piece *p, unsigned j, const size_t split[2], size_t i);

struct cut *task_cut(struct choice_cuts *c, unsigned cut);

/* Whether one kernel can cut the differences and mix them. */
static inline bool task_one_kernel(const struct task_vector *t)
{
    return t->ntrimmed == 0 || (t->sparsifier->ncuts == 1 && !t->rescale);
}

/* ---- straight from BF16 to BF16 (task_bf16.c) ------------------------------------------------ */

/* For the op. */
bool task_measure_bf16(const struct piece *p, unsigned pass, const uint16_t *const x[],
                       uint64_t *counts, void *record);
bool task_apply_bf16(const struct piece *p, const uint16_t *const x[], uint16_t *y);

#endif
