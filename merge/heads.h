/* heads.h - output heads that are tied to the embeddings, beside models that have one. */
#ifndef QUERN_HEADS_H
#define QUERN_HEADS_H

#include "merge/pairing.h"

/* Where any model has an output head, those without take part with their embeddings, as mergekit
 * does. *fresh: the donor of the set had none. Views grow in scratch, the rest is in keep. */
enum quern_status share_heads(struct model_set *set, struct arena *keep, struct arena *scratch,
                              bool *fresh, struct quern_error *err);

#endif
