/* params.h - what a parameter's value is for one tensor.
 *
 * Looked for under the source (per-model parameters only), the slice, the module and the recipe, in
 * this order, then it is the method's default. A filter is a part of a tensor's name, the first
 * that fits counts: of the output's name for parameters of the whole merge, of the input's for
 * per-model ones. A list of numbers is a gradient over the layers of the slice. */
#ifndef QUERN_PARAMS_H
#define QUERN_PARAMS_H

#include "merge/recipe.h"

/* A tensor of the output, as far as parameters care. */
struct param_place {
    const struct module *module;
    const struct slice *slice;
    struct str output;
    const struct str *inputs; /* its names in the sources; NULL: as the output's */
    double position;          /* from 0, the first layer of the slice, to 1, the last */
};

/* Values when no tensor of the slice can differ: no filter and no gradient anywhere. False when
 * they can. */
bool params_constant(const struct recipe *r, const struct module *module, const struct slice *s,
                     struct merge_values *out);

/* A required parameter without a value counts as a mistake. Values of models are by source. */
void params_of(const struct recipe *r, const struct param_place *at, struct merge_values *out,
               struct mistakes *m);

/* Required parameters that nothing sets at all. */
void params_missing(const struct recipe *r, const struct module *module, const struct slice *s,
                    struct mistakes *m);

/* Every filter that is part of no name is a mistake. */
void params_unused_filters(const struct recipe *r, const struct str *names, uint32_t nnames,
                           struct mistakes *m);

#endif
