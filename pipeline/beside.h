/* beside.h - the small files that were read with a model: configuration, tokenizer, adapters'
 * settings. */
#ifndef QUERN_BESIDE_H
#define QUERN_BESIDE_H

#include "formats/model.h"

/* A growing list of paths; the strings are the arena's. */
struct path_list {
    struct arena *arena;
    const char **items;
    uint32_t count, capacity;
};

/* False when memory ran out. A path that is in the list already is not added again. */
bool path_list_add(struct path_list *l, const char *path);

/* Adds what may have been read beside the weights of a model: in its directory, sorted by name, or,
 * beside a file of an adapter, its adapter_config.json. */
enum quern_status list_beside(const struct model *m, struct path_list *l, struct quern_error *err);

#endif
