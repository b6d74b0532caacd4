/* method.h - what a merge method is: its parameters, its rules and how it makes a step.
 *
 * To add a method: one file beside linear.c that defines a struct method, and a row in methods.c.
 * The recipe parser, the error messages and docs/merging.md take all they know from that struct. */
#ifndef QUERN_METHOD_H
#define QUERN_METHOD_H

#include "pipeline/plan.h"

#define MAX_METHOD_PARAMS 8

struct method_param {
    const char *name;
    const char *about;
    double fallback; /* value when no recipe sets it; unused when required */
    bool per_model;  /* else one value for all models */
    bool required;
    bool flag; /* a truth value */
};

enum base_rule {
    BASE_INPUT,    /* not needed; a base is one more input */
    BASE_MEMBER,   /* required, one of the models, its parameters count */
    BASE_ORIGIN,   /* required; what the other models are differences from. Takes no parameters. */
    BASE_OPTIONAL, /* not needed; if there is one, as BASE_ORIGIN */
    BASE_NONE      /* there must be none */
};

/* What --allow-crimes does to tensors of the vocabulary when their sizes differ. */
enum crop_rule {
    CROP_NEVER,  /* an error all the same */
    CROP_COMMON, /* all are cut to what they have in common */
    CROP_TO_BASE /* those that are larger than the base are cut to its size */
};

/* Every parameter's value for one tensor, by its index in method.params. */
struct merge_values {
    double global[MAX_METHOD_PARAMS];
    double model[MAX_SOURCES][MAX_METHOD_PARAMS];
};

struct method;

/* One tensor as it lies in all models, in the order of the recipe. */
struct merge_job {
    const struct method *method;
    const struct merge_values *values;
    const struct source *models;
    unsigned nmodels;
    int base;         /* index of the base, or -1 */
    enum dtype exact; /* round after every operation to this type, as mergekit does; DTYPE_COUNT:
                       * once, at the end */
    uint64_t seed;    /* of methods that draw random numbers */
    struct arena *arena;
};

struct method {
    const char *name;
    const char *title;
    const char *paper; /* where to read about it */
    enum base_rule base;
    enum crop_rule crop;
    unsigned min_models, max_models; /* the base counts */
    const struct method_param *params;
    unsigned nparams;
    bool exact; /* can round after every operation (merge_job.exact) */
    /* Can it work with these values? EUSAGE when not. Also called before any model is open. */
    enum quern_status (*check)(const struct merge_values *v, unsigned nmodels, int base,
                               struct quern_error *err);
    /* Sets op, params, sources, nsources and npasses of a step whose name, shape and width are
     * known. The values have passed check. */
    enum quern_status (*prepare)(const struct merge_job *job, struct step *s,
                                 struct quern_error *err);
};

extern const struct method method_linear;
extern const struct method method_slerp;
extern const struct method method_ties;
extern const struct method method_task_arithmetic;
extern const struct method method_dare_linear;
extern const struct method method_dare_ties;
extern const struct method method_della;
extern const struct method method_della_linear;
extern const struct method method_breadcrumbs;
extern const struct method method_breadcrumbs_ties;
extern const struct method method_sce;
extern const struct method method_ram;
extern const struct method method_ramplus_tl;
extern const struct method method_nearswap;
extern const struct method method_nuslerp;
extern const struct method method_multislerp;
extern const struct method method_karcher;
extern const struct method method_model_stock;
extern const struct method method_arcee_fusion;
extern const struct method method_passthrough;

/* Method number i, or NULL past the end. */
const struct method *method_at(size_t i);

/* EUSAGE with a suggestion when there is none of this name. */
enum quern_status method_find(struct str name, const struct method **out, struct quern_error *err);

/* Index of a parameter, or -1. */
int method_param_index(const struct method *m, struct str name);

/* A parameter that recipes carry although it does nothing in method m: of old versions of mergekit,
 * or of its other methods. */
bool param_without_effect(struct str name);

/* The parameter of m whose name is close to word, or NULL. */
const char *closest_param(const struct method *m, struct str word);

/* Is a base, if there is one, what the other models are differences from? */
static inline bool base_is_origin(const struct method *m)
{
    return m->base == BASE_ORIGIN || m->base == BASE_OPTIONAL;
}

/* For struct method: all values will do. */
enum quern_status check_nothing(const struct merge_values *v, unsigned nmodels, int base,
                                struct quern_error *err);

/* Helper for prepare: all the models as sources, the base first when there is one. NULL when memory
 * ran out. */
struct source *sources_base_first(const struct merge_job *job);

#endif
