/* chat_template.h - which chat template a merged model gets. */
#ifndef QUERN_CHAT_TEMPLATE_H
#define QUERN_CHAT_TEMPLATE_H

#include "merge/pairing.h"
#include "merge/recipe.h"

/* The text that the recipe asks for, in the arena; .p is NULL when it asks for none, or for "auto"
 * and no model has one. Errors: EUSAGE when it is neither a known name nor a template, EFORMAT and
 * EIO of the models' files. */
enum quern_status chat_template_text(const struct recipe *recipe, const struct model_set *set,
                                     struct arena *arena, struct str *out, struct quern_error *err);

/* A note for each model whose template is not that of the base, or of the model that gives the
 * output its files; of the first that has one when that has none. */
enum quern_status chat_template_notes(const struct recipe *recipe, const struct model_set *set,
                                      struct arena *arena, struct plan *p, struct quern_error *err);

#endif
