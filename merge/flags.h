/* flags.h - a recipe from command-line options, written as YAML: it then goes the way of any
 * recipe, and can be kept beside the result. */
#ifndef QUERN_FLAGS_H
#define QUERN_FLAGS_H

#include "core/arena.h"
#include "core/error.h"

struct merge_flags {
    const char *method; /* NULL: none; then there are adapters, or no flags at all */
    const char *base;
    const char *const *models;
    size_t nmodels;
    /* "name=value". Commas separate one value per model (in the order of models), or for parameters
     * of the whole merge the values of a gradient. */
    const char *const *params;
    size_t nparams;
    const char *dtype, *out_dtype;
    /* "path" or "path:weight", added to the base, which is all there is to merge. */
    const char *const *loras;
    size_t nloras;
};

/* Else there is a recipe. */
static inline bool flags_given(const struct merge_flags *f)
{
    return f->method || f->nloras > 0;
}

enum quern_status flags_recipe(const struct merge_flags *f, struct arena *arena, struct str *yaml,
                               struct quern_error *err);

#endif
