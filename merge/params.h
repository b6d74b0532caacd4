/* params.h - what a parameter's value is for one tensor.
 *
 * Looked for under the model, then under the recipe's parameters, then the method's default. A
 * filter is a part of the tensor's name, the first that fits counts. A list of numbers is a
 * gradient over the layers of the model, from the first to the last. */
#ifndef QUERN_PARAMS_H
#define QUERN_PARAMS_H

#include "merge/mistakes.h"
#include "merge/recipe.h"
#include "merge/view.h"

/* Values when no tensor can differ: no filter and no gradient anywhere. False when they can. */
bool params_constant(const struct recipe *r, struct merge_values *out);

/* Values for a tensor at a position from 0 (first layer) to 1 (last). A required parameter without
 * a value counts as a mistake. */
void params_of(const struct recipe *r, struct str tensor, double position, struct merge_values *out,
               struct mistakes *m);

/* Required parameters that nothing sets at all. */
void params_missing(const struct recipe *r, struct mistakes *m);

/* Every filter that is part of no tensor name is a mistake. */
void params_unused_filters(const struct recipe *r, const struct view *tensors, struct mistakes *m);

/* ---- where a tensor stands in its model ----------------------------------------------------- */

/* Number of layers by the part of the name before the layer's number: the text before the first
 * ".<integer>." All zero is valid and empty. */
struct layers {
    struct layer_stack *stacks; /* malloc'ed */
    uint32_t count, capacity;
    struct name_table index;
};
/* False when memory ran out. */
bool layers_add(struct layers *l, struct str tensor);
/* layer / (layers - 1); 1 in a stack of one layer, 0 outside of any. */
double layers_position(const struct layers *l, struct str tensor);
void layers_free(struct layers *l);

#endif
