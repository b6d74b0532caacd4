/* adapt.h - put an adapter on a view of its base: the tensors it changes get other sources. */
#ifndef QUERN_ADAPT_H
#define QUERN_ADAPT_H

#include "formats/adapter.h"
#include "merge/locate.h"
#include "pipeline/view.h"

/* How many tensors of the base an adapter changed or took the place of. */
struct adapted {
    uint32_t nchanged, nreplaced;
};

/* weight multiplies what the adapter adds; tensors it has whole replace the base's whatever the
 * weight. Every tensor of the adapter finds its place or it is an error: EUSAGE, with the closest
 * name. The arena keeps what the plan's steps point to; the adapter must outlive them. */
enum quern_status view_add_adapter(struct view *v, struct arena *arena, const struct adapter *a,
                                   double weight, struct adapted *out, struct quern_error *err);

/* The adapters of a model that was located: opened, given to the plan, put on, with a note each. */
enum quern_status adapt_view(struct view *v, struct plan *p, const struct location *at,
                             struct quern_error *err);

#endif
