/* model_id.h - what the name of a model says: "org/Mill-Llama-2M-Chat-v1.1". */
#ifndef QUERN_MODEL_ID_H
#define QUERN_MODEL_ID_H

#include "core/arena.h"

/* Parts are empty when the name does not have them. All in the arena. */
struct model_id {
    struct str full; /* without the organization */
    struct str organization, basename, finetune, version, size_label;
};

/* The model's real size; 0 when it is not known. An adapter counts the matrices it changes, which
 * need not be all. */
struct model_size {
    uint64_t weights;
    bool adapter;
};

/* A size in the name that is far from the real one is taken for something else. False when memory
 * ran out. */
bool model_id_parse(struct str id, struct model_size size, struct arena *arena,
                    struct model_id *out);

/* "mill-llama v1" to "Mill Llama v1": words in small letters are capitalized, versions are not. .p
 * is NULL when memory ran out. */
struct str model_id_title(struct str id, struct arena *arena);

/* "1.1B", or "8x7B" for experts: what a count of weights is called. */
char *model_size_label(uint64_t total, uint64_t shared, uint64_t per_expert, uint64_t nexperts,
                       struct arena *arena);

#endif
