/* hub_cache.h - models in the local cache of the Hugging Face hub. Nothing is downloaded. */
#ifndef QUERN_HUB_CACHE_H
#define QUERN_HUB_CACHE_H

#include "core/arena.h"
#include "core/error.h"

/* "org/name" or "name", of letters, digits, '-', '_' and '.'. */
bool hub_is_id(struct str s);
/* It becomes part of a path: nothing may climb out of the cache. */
bool hub_is_revision(struct str s);

/* The directory of a model's snapshot; *path stays NULL when the cache has none. revision is a
 * branch, a tag or a commit; empty: main. Both are of the form that the functions above check. */
enum quern_status hub_find(const char *cache, struct str id, struct str revision,
                           struct arena *arena, const char **path, struct quern_error *err);

#endif
