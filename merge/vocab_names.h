/* vocab_names.h - which tensors have a row for each token, by their names. */
#ifndef QUERN_VOCAB_NAMES_H
#define QUERN_VOCAB_NAMES_H

#include "core/str.h"

/* Input embeddings. */
bool is_embedding(struct str name);
/* Output heads and their biases. */
bool is_head(struct str name);
/* Both. */
bool is_vocabulary(struct str name);

#endif
