/* error_totals.h - the errors of a plan's tensors added up by stored type. */
#ifndef QUERN_ERROR_TOTALS_H
#define QUERN_ERROR_TOTALS_H

#include "plan.h"

struct error_total {
    struct error_sums sums; /* places in it mean nothing */
    uint64_t ntensors;
};

struct error_totals {
    struct error_total type[DTYPE_COUNT], all;
};

/* The step is about weights: its errors are numbers, not bytes that were compared or moved. */
bool step_has_errors(const struct step *s);

/* plan->errors must be there. False when memory ran out. */
bool error_totals(const struct plan *p, struct error_totals *out);

#endif
