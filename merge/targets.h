/* targets.h - the tensors that a recipe makes, each with the tensors it is made from.
 *
 * A slice that is whole keeps names. In other slices layers are numbered anew, one after the other;
 * what belongs to no layer comes from the sources of the first slice when it stands before the
 * layers (embeddings), from those of the last slice when it comes after them (final norm, output
 * head). */
#ifndef QUERN_TARGETS_H
#define QUERN_TARGETS_H

#include "merge/layers.h"
#include "merge/pairing.h"
#include "merge/recipe.h"

struct target {
    struct str name;
    const struct module *module;
    const struct slice *slice;
    struct source
        *inputs;     /* one for each source of the slice; tensor is NULL where it is missing */
    unsigned lead;   /* the input that gives shape and type: the base, else the first */
    double position; /* in the slice, 0 to 1 */
};

struct targets {
    struct target *items; /* pre weights, layers, post weights, as they lie in files */
    uint32_t count, capacity;
    bool relaid;             /* some slice is not whole */
    bool *used[MAX_SOURCES]; /* by model: which of the sources of its view are inputs */
};

/* Inputs that are missing are left to check_target(). What else is wrong with layers and modules is
 * told to m. Names and inputs are in keep. */
enum quern_status targets_list(const struct recipe *r, const struct model_set *set,
                               struct arena *keep, struct arena *scratch, struct targets *out,
                               struct mistakes *m, struct quern_error *err);

#endif
