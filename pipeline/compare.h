/* compare.h - a plan that reads two models side by side and writes nothing: how far apart they are.
 *
 * Tensors are matched by name and shape. Weights (floats and blocks) are compared as numbers,
 * whatever their types; anything else byte by byte when both types are the same. */
#ifndef QUERN_COMPARE_H
#define QUERN_COMPARE_H

#include "pipeline/view.h"

/* A tensor that has no partner (the other pointer is NULL), one of another shape, or one whose type
 * does not compare with its own. */
struct unmatched {
    const struct tensor *a, *b;
    bool other_shape;
};

struct comparison {
    const struct model *a, *b;
    struct unmatched *unmatched; /* a's in its order, then b's */
    uint32_t nunmatched;
};

/* The original a, its approximation b. One step per pair, in the order of b; its sources are a's
 * tensor and b's. After plan_run() plan->errors has their sums. imatrix_path may be NULL. Both
 * models must outlive the plan; the comparison is part of it. Errors: EUSAGE when the models have
 * no name in common, or the imatrix none with them or another shape; those of imatrix_open(). */
enum quern_status plan_compare(struct model *a, struct model *b, const char *imatrix_path,
                               struct plan **out, struct comparison **comparison,
                               struct quern_error *err);
/* The same of models as views show them. What they point to must outlive the plan. */
enum quern_status plan_compare_views(const struct view *a, const struct view *b,
                                     const char *imatrix_path, struct plan **out,
                                     struct comparison **comparison, struct quern_error *err);

/* A step of plan_compare() that looks at bytes: the values are no numbers to compare. */
bool step_compares_bytes(const struct step *s);

#endif
