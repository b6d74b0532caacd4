/* verify_plan.h - plan `quern verify`: find out how a model would be made of its source. */
#ifndef QUERN_VERIFY_PLAN_H
#define QUERN_VERIFY_PLAN_H

#include "merge/merge.h"

/* The plan that would write `made`, a model that is there, ends in a comparison with it
 * (pipeline/verify.h). source: a model, an adapter or a recipe, by its ending .yml; NULL when
 * options tell of a merge without a file. What can be read from `made` is: the types of its tensors
 * and so how it was quantized. The rest of options counts: convert and what quantize of it says
 * about importance, keys and layers. The plan owns all models. Errors: those of the planners, and
 * of model_open() for both. */
enum quern_status verify_plan(const char *source, const char *made,
                              const struct merge_request *options, struct plan **out,
                              struct quern_error *err);

/* A recipe, by its ending. */
bool verify_is_recipe(const char *source);

#endif
