/* nonfinite.h - weights that are NaN or Inf: what becomes of them, and where they are.
 *
 * Workers stop at the first such value they meet, or a value that its type cannot store. Then the
 * tensor is read once more, from its beginning, so that the error can say how many there are. */
#ifndef QUERN_NONFINITE_H
#define QUERN_NONFINITE_H

#include "plan.h"

/* "error", "keep", "zero"; NULL leaves what the planner has chosen. EUSAGE. */
enum quern_status plan_set_nonfinite(struct plan *p, const char *word, struct quern_error *err);

/* What a quern_plan_*() gives its caller: the plan with this way set; freed when there is none. */
enum quern_status plan_hand_out(struct plan *p, const char *nonfinite, struct quern_plan **out,
                                struct quern_error *err);

/* For a run of the plan that ended with this error in this step. A stored tensor of it that has NaN
 * or Inf, values that its type cannot store: they are counted, and the error tells of all of them.
 * Otherwise it stays as it is. */
void nonfinite_explain(const struct plan *p, const struct step *s, const volatile int *cancel,
                       struct quern_error *err);

/* Fills plan.zeroed, from the models in which a run saw NaN or Inf; all: from every model. */
enum quern_status nonfinite_survey(struct plan *p, bool all, const volatile int *cancel,
                                   struct quern_error *err);

/* The type has this value, which is NaN or Inf. */
bool nonfinite_fits(enum dtype d, double v);
/* A float rounds to Inf in this type when the bits of its magnitude are no less than these. Types
 * that share scales, or saturate, have no such bound but Inf. */
uint32_t dtype_limit_bits(enum dtype d);

#endif
