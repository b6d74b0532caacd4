/* layers.h - the stacks of layers in a model, found by names of the form PREFIX.<layer>.REST. */
#ifndef QUERN_LAYERS_H
#define QUERN_LAYERS_H

#include "core/hash.h"
#include "core/str.h"

/* "model.layers.12.mlp.experts.3.w1" is layer 12 of "model.layers": the first number counts. */
struct layer_name {
    struct str prefix, rest;
    uint64_t layer;
};
bool layer_of(struct str name, struct layer_name *out);

struct layer_stack {
    struct str prefix;
    uint64_t nlayers; /* one more than the largest number */
};

/* All zero is valid and empty. */
struct layers {
    struct layer_stack *stacks; /* malloc'ed */
    uint32_t count, capacity;
    struct name_table index;
};

/* False when memory ran out. */
bool layers_add(struct layers *l, struct str tensor);
/* NULL when there is no such stack. */
const struct layer_stack *layers_find(const struct layers *l, struct str prefix);
/* The stack that a recipe's slices are of: that of the language model, else the only one; NULL when
 * there is none or no telling. */
const struct layer_stack *layers_main(const struct layers *l);
/* The stack that a recipe's module of this name has: mergekit's names and prefixes of tensors. NULL
 * when it has none. */
const struct layer_stack *layers_of_module(const struct layers *l, struct str module);
/* layer / (layers - 1); 1 in a stack of one layer, 0 outside of any. */
double layers_position(const struct layers *l, struct str tensor);
void layers_free(struct layers *l);

#endif
