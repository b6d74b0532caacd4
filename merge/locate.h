/* locate.h - where the model that a recipe names lies on this machine. Nothing is downloaded. */
#ifndef QUERN_LOCATE_H
#define QUERN_LOCATE_H

#include "merge/recipe.h"

struct places {
    const char *const *mappings; /* "ID=PATH" */
    size_t nmappings;
    const char *const *moved; /* "OLD=NEW": paths that are elsewhere now, see path_moved() */
    size_t nmoved;
    const char *hub_cache; /* the Hugging Face hub cache, or NULL */
};

struct location {
    const char *path;
    const char *loras[MAX_LORAS]; /* of the adapters */
    double weights[MAX_LORAS];
    unsigned nloras;
    bool hub; /* the model's name is a hub id, fit for a model card */
};

/* Looks in this order: the mappings, a path of this name, the cache (refs/REVISION, snapshots/).
 * The paths are the arena's or the recipe's. EIO "not-found" with the download command when there
 * is none. */
enum quern_status locate_model(const struct model_ref *ref, const struct places *places,
                               struct arena *arena, struct location *out, struct quern_error *err);

/* A mapping must be of the form ID=PATH and its ID in one of the recipes. */
enum quern_status check_mappings(const struct places *places, const struct recipe *const *recipes,
                                 size_t nrecipes, struct quern_error *err);

#endif
