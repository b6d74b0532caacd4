/* open_view.h - a model that was located, as a view with its config.json and its adapters. */
#ifndef QUERN_OPEN_VIEW_H
#define QUERN_OPEN_VIEW_H

#include "merge/locate.h"
#include "pipeline/view.h"

/* The model itself. The plan gets it unless it has it already. An adapter where a model is meant is
 * EUSAGE. */
enum quern_status open_located(const struct location *at, struct plan *p, struct model **out,
                               struct quern_error *err);

/* The same as a view; scratch must outlive it. as_hf: a GGUF has the names and shapes it would have
 * as a Hugging Face model; see hf_form_of_gguf(). */
enum quern_status open_view(const struct location *at, bool as_hf, struct plan *p,
                            struct arena *scratch, struct view *v, struct quern_error *err);

#endif
