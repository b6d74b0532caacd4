/* card.h - the model card and the recipe that go beside a merged model. */
#ifndef QUERN_CARD_H
#define QUERN_CARD_H

#include "merge/recipe.h"

/* hub[i]: model i of the recipe is a hub id. title: name of the result. */
enum quern_status model_card(const struct recipe *r, const bool hub[], const char *title,
                             struct arena *arena, struct str *out, struct quern_error *err);

#endif
