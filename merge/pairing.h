/* pairing.h - do these models fit together, and which tensors belong together? */
#ifndef QUERN_PAIRING_H
#define QUERN_PAIRING_H

#include "merge/mistakes.h"
#include "merge/view.h"

/* What is merged, in the order of the recipe; a model may be there twice. */
struct model_set {
    struct view views[MAX_SOURCES];
    unsigned count;
    unsigned donor; /* whose shapes, types and metadata the result has: the base, else the first */
    bool has_base;  /* the donor is a base */
};

/* All safetensors or all GGUF, one architecture, no weights with scales beside them. */
enum quern_status check_models_alike(const struct model_set *set, struct quern_error *err);

/* Every tensor in every model, of one shape and of types that can be merged. All that is wrong is
 * counted. */
void check_tensors_alike(const struct model_set *set, struct mistakes *m);

/* Is this a tensor of weights, or one whose bytes are only passed on? */
bool is_weights(const struct tensor *t);

#endif
