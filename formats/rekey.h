/* rekey.h - other keys in a header that is laid out already; tensors keep their order and places.
 */
#ifndef QUERN_REKEY_H
#define QUERN_REKEY_H

#include "formats/model.h"

/* The header of a GGUF file as gguf_layout() made it, without the keys that begin with prefix and
 * with these behind the others. Padded: where it ends, the data begins. */
enum quern_status gguf_rekey(struct arena *arena, struct str header, const char *prefix,
                             const struct meta *keys, uint32_t nkeys, struct str *out,
                             struct quern_error *err);

/* The same with what safetensors_layout() made, and its __metadata__: keys are strings there. */
enum quern_status safetensors_rekey(struct arena *arena, struct str header, const char *prefix,
                                    const struct meta *keys, uint32_t nkeys, struct str *out,
                                    struct quern_error *err);

#endif
