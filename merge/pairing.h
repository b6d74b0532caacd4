/* pairing.h - do these models fit together, and which tensors belong together? */
#ifndef QUERN_PAIRING_H
#define QUERN_PAIRING_H

#include "merge/mistakes.h"
#include "pipeline/view.h"

/* The models of a recipe, in its order; each once. */
struct model_set {
    struct view views[MAX_SOURCES];
    unsigned count;
    unsigned donor; /* whose files and metadata the result has: the base, else the first */
    bool has_base;  /* the donor is the recipe's base_model */
};

/* All safetensors or all GGUF, no weights with scales beside them, one architecture; others are
 * only noted when crimes are allowed. */
enum quern_status check_models_alike(const struct model_set *set, bool crimes, struct plan *plan,
                                     struct arena *scratch, struct quern_error *err);

/* Models whose layers are stacked have one hidden size, as far as their keys tell. */
enum quern_status check_widths(const struct model_set *set, struct arena *scratch,
                               struct quern_error *err);

struct target;

/* The inputs of a tensor: all there, of one shape and of types that can be merged. All that is
 * wrong is counted. */
void check_target(const struct target *t, struct mistakes *m);

/* A tensor that is not in another model, which should have it. */
void missing_tensor(const struct source *has, const struct model *lacks, struct mistakes *m);

/* Is this a tensor of weights, or one whose bytes are only passed on? */
bool is_weights(const struct tensor *t);

#endif
