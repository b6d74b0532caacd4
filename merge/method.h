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
    BASE_INPUT,  /* not needed; a base is one more input */
    BASE_MEMBER, /* required, one of the models, its parameters count */
    BASE_ORIGIN  /* required; what the other models are differences from. Takes no parameters. */
};

/* Every parameter's value for one tensor, by its index in method.params. */
struct merge_values {
    double global[MAX_METHOD_PARAMS];
    double model[MAX_SOURCES][MAX_METHOD_PARAMS];
};

/* One tensor as it lies in all models, in the order of the recipe. */
struct merge_job {
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

/* Method number i, or NULL past the end. */
const struct method *method_at(size_t i);

/* EUNSUPPORTED for methods of mergekit that quern lacks, EUSAGE with a suggestion for others. */
enum quern_status method_find(struct str name, const struct method **out, struct quern_error *err);

/* Index of a parameter, or -1. */
int method_param_index(const struct method *m, struct str name);

/* A parameter that recipes carry although it does nothing in method m: of old versions of mergekit,
 * or of its other methods. */
bool param_without_effect(struct str name);

/* The parameter of m whose name is close to word, or NULL. */
const char *closest_param(const struct method *m, struct str word);

/* Helper for prepare: all the models as sources, the base first when there is one of BASE_ORIGIN or
 * BASE_MEMBER. NULL when memory ran out. */
struct source *sources_base_first(const struct merge_job *job);

#endif
