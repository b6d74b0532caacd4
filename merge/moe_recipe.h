/* moe_recipe.h - what to build a mixture of experts from: mergekit-moe's YAML schema, strictly. */
#ifndef QUERN_MOE_RECIPE_H
#define QUERN_MOE_RECIPE_H

#include "merge/recipe.h"

/* Where the rows of a router come from. */
enum gate_mode { GATE_RANDOM, GATE_UNIFORM, GATE_EMBEDDING };

struct prompts {
    const struct str *items;
    uint32_t count;
};

struct moe_expert {
    unsigned model; /* index in the models of the recipe */
    struct prompts positive, negative;
    double noise; /* spread of the noise added to its weights; 0: none */
    double scale; /* of what it adds to the residual stream; 1: as it is */
};

#define MAX_EXPERTS (MAX_SOURCES - 1)

struct moe_recipe {
    /* Text, notes, dtype, and every model once; the base is the first. It has no method. */
    struct recipe r;
    enum gate_mode gate;
    struct moe_expert experts[MAX_EXPERTS];
    unsigned nexperts;
    struct moe_expert shared[1];
    unsigned nshared;
    uint64_t per_token;
    struct str architecture; /* what its name begins with; empty: not given */
};

/* Is this the recipe of a mixture? False for whatever cannot be read: others say why. */
bool is_moe_recipe(struct str text);

/* Parses text (which is copied) into *m. Free with moe_recipe_free() whatever comes back. sink: who
 * wants to hear of every mistake, or NULL. */
enum quern_status moe_recipe_parse(struct moe_recipe *m, struct str text, const char *path,
                                   const struct mistake_sink *sink, struct quern_error *err);
void moe_recipe_free(struct moe_recipe *m);

#endif
