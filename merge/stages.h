/* stages.h - recipes of several documents: each a merge with a name, which others use as a model.
 */
#ifndef QUERN_STAGES_H
#define QUERN_STAGES_H

#include "merge/planner.h"

#define MAX_STAGES 1000u

struct stages {
    struct planner *items; /* in the order of the text; malloc'ed */
    uint32_t count;
    uint32_t order[MAX_STAGES]; /* each after those that it needs; the last is the result */
    uint32_t norder;
};

/* The text of a request's recipe. */
enum quern_status request_text(const struct merge_request *req, struct arena *arena,
                               struct str *text, struct quern_error *err);
/* Reads it. Free with stages_free() whatever comes back. */
enum quern_status stages_load(struct stages *s, const struct merge_request *req, struct str text,
                              struct plan *plan, struct quern_error *err);
void stages_free(struct stages *s);

/* The stage that a model of this stage's recipe is, or NULL. */
struct planner *stage_of(const struct planner *pl, unsigned model);

/* Shows the result of a planned stage to another one. */
enum quern_status stage_view(struct planner *stage, struct planner *user, struct view *v,
                             struct quern_error *err);

#endif
