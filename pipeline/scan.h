/* scan.h - a plan that reads all weights of a model and writes nothing: NaN, Inf, bad scales. */
#ifndef QUERN_SCAN_H
#define QUERN_SCAN_H

#include "plan.h"

struct scan_result {
    const struct tensor *tensor;
    uint64_t nbad;  /* elements that are NaN or Inf */
    uint64_t first; /* flat index of the first of them */
};

/* One step per tensor whose values quern can read; after plan_run() results[0..*n) are filled, in
 * file order. They live as long as the plan. */
enum quern_status plan_scan(struct model *m, struct plan **out, struct scan_result **results,
                            uint32_t *n, struct quern_error *err);

#endif
