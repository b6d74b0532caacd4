/* imatrix_lint.h - what is wrong with an importance matrix, alone and for a model. */
#ifndef QUERN_IMATRIX_LINT_H
#define QUERN_IMATRIX_LINT_H

#include "plan.h"

enum lint_kind {
    LINT_VALUE,     /* count of `of` values are NaN, Inf or negative; first is the first */
    LINT_COUNT,     /* likewise, counts */
    LINT_NO_DATA,   /* nothing was counted for any matrix */
    LINT_UNSEEN,    /* nothing was counted for count of `of` matrices; first is the first */
    LINT_ALL_ZERO,  /* counted, but every value is 0 */
    LINT_STRAY,     /* a tensor that is no part of an entry */
    LINT_NO_WEIGHT, /* the model has no tensor of this name */
    LINT_SIZE,      /* count values, the model's tensor needs `of` */
    LINT_NO_ENTRY   /* a weight of the model that the matrix says nothing of */
};

struct lint_finding {
    enum lint_kind kind;
    struct str name;
    uint64_t count, of, first;
};

struct lint_report {
    struct lint_finding *findings; /* by kind of check, then by name */
    uint32_t nfindings;
    uint32_t nweights, ncovered; /* weights of the model that should have an entry, and have one */
};

/* A plan that reads all values and writes nothing. After plan_run(), imatrix_lint_report() says
 * what was found; model may be NULL. Its strings live as long as imatrix, model and plan. */
enum quern_status imatrix_lint_plan(struct imatrix *im, struct plan **out, struct quern_error *err);
enum quern_status imatrix_lint_report(struct plan *p, const struct imatrix *im,
                                      const struct model *model, struct lint_report *out,
                                      struct quern_error *err);

#endif
