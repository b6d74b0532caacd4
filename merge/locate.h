/* locate.h - where the model that a recipe names lies on this machine. Nothing is downloaded. */
#ifndef QUERN_LOCATE_H
#define QUERN_LOCATE_H

#include "merge/recipe.h"

struct places {
    const char *const *mappings; /* "ID=PATH" */
    size_t nmappings;
    const char *hub_cache; /* the Hugging Face hub cache, or NULL */
};

/* Looks in this order: the mappings, a path of this name, the cache (refs/REVISION, snapshots/).
 * *path is the arena's. *hub tells that the name is a hub id, fit for a model card.
 * EIO "not-found" with the download command when there is none, EUNSUPPORTED for path+lora. */
enum quern_status locate_model(const struct model_ref *ref, const struct places *places,
                               struct arena *arena, const char **path, bool *hub,
                               struct quern_error *err);

/* A mapping must be of the form ID=PATH and its ID in the recipe. */
enum quern_status check_mappings(const struct places *places, const struct recipe *r,
                                 struct quern_error *err);

#endif
