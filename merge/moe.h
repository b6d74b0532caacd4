/* moe.h - plan a mixture of experts from dense models; for merge/ alone.
 *
 *     moe.c         models, prompts, layout
 *     moe_steps.c   which tensor of which model becomes which tensor of the mixture
 *     moe_arch.c    the architectures: names and config.json
 *     moe_values.c  what is computed: routers, noise */
#ifndef QUERN_MOE_H
#define QUERN_MOE_H

#include "formats/prompt.h"
#include "merge/merge.h"
#include "merge/moe_recipe.h"
#include "merge/pairing.h"

/* A recipe that is_moe_recipe(). plan is empty and stays the caller's, whatever happens. */
enum quern_status moe_plan(const struct merge_request *req, struct str text, struct plan *plan,
                           struct quern_error *err);

/* ---- architectures --------------------------------------------------------------------------- */

struct moe_arch {
    const char *name;
    const char *class_name, *model_type; /* of config.json */
    /* In a layer's names: what comes before an expert's number, before the part of a shared expert
     * (NULL: there is none), and the routers. */
    const char *expert, *shared, *gate, *shared_gate;
    const char *parts[3];  /* what gate_proj, up_proj and down_proj are called */
    const char *count_key; /* the number of experts in config.json */
    unsigned min_shared, max_shared;
    bool attention_bias;    /* queries, keys and values have one: zeros where the base has none */
    const char *sources[4]; /* model types it can be built from */
    struct {
        const char *key, *value; /* JSON, or NULL for the width of the MLP */
    } settings[8];               /* further members of config.json */
};

/* The one that the recipe names, else the first that fits. model_type: of all the models. */
enum quern_status moe_arch_choose(const struct moe_recipe *m, struct str model_type,
                                  const struct moe_arch **out, struct quern_error *err);
/* The base's config.json, changed. *out is the arena's. */
enum quern_status moe_config(const struct moe_arch *a, const struct moe_recipe *m,
                             struct str config, struct arena *arena, struct str *out,
                             struct quern_error *err);

/* ---- values ---------------------------------------------------------------------------------- */

/* The router of one layer: a row for each expert. */
struct gate {
    enum gate_mode mode;
    uint64_t seed, name_hash; /* of the router's name */
    uint64_t width;           /* of a row */
    struct source embedding;  /* of GATE_EMBEDDING: a row for each token */
    const struct gate_prompts *prompts;
};
/* The tokens of one expert's prompts, one after the other. */
struct gate_prompts {
    struct token_list positive, negative;
};
extern const struct source_kind source_gate;  /* params: struct gate */
extern const struct source_kind source_zeros; /* no params */

/* Weights of an expert, changed: (x + noise * n) * scale, n normal. */
struct expert_change {
    double noise, scale;
    uint64_t seed, name_hash; /* of the output's name */
};
extern const struct op op_expert; /* params: struct expert_change */

/* ---- planning -------------------------------------------------------------------------------- */

struct moe_planner {
    const struct merge_request *req;
    struct moe_recipe recipe;
    struct plan *plan;
    struct arena scratch; /* what only planning needs */
    struct model_set set; /* the models of the recipe, the base first */
    const struct moe_arch *arch;
    struct gate gate, shared_gate; /* what all routers have in common */
    uint64_t width;                /* of the residual stream */
    uint32_t capacity;             /* of plan->steps */
    bool to_gguf, to_file;
};

/* Steps for all tensors of the mixture, by name. */
enum quern_status moe_steps(struct moe_planner *pl, struct quern_error *err);

#endif
