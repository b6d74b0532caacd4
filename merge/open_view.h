/* open_view.h - a model that was located, as a view with its config.json and its adapters. */
#ifndef QUERN_OPEN_VIEW_H
#define QUERN_OPEN_VIEW_H

#include "merge/locate.h"
#include "pipeline/view.h"

/* The plan gets the model unless it has it already; scratch must outlive the view. An adapter where
 * a model is meant is EUSAGE. */
enum quern_status open_view(const struct location *at, struct plan *p, struct arena *scratch,
                            struct view *v, struct quern_error *err);

#endif
