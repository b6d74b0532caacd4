/* verify.h - a plan that compares what it makes with a model that is there, instead of writing it.
 *
 * Any plan will do: plan_verify() takes away its files and gives each step the tensor of the same
 * name to be held against. Where tensors lie, in which order and in how many files, does not
 * matter. After plan_run() plan->differences has one record per step. */
#ifndef QUERN_VERIFY_H
#define QUERN_VERIFY_H

#include "plan.h"

/* A tensor that is not compared. */
struct mismatch {
    struct str name;
    const struct step *made;    /* what the plan makes; NULL: nothing of this name */
    const struct tensor *there; /* NULL: the model has none of this name */
    bool other_shape;           /* else, when there are both, of another type */
};

/* A key of a GGUF, or of the __metadata__ of safetensors. */
struct key_mismatch {
    const struct meta *made, *there; /* NULL where it is missing */
    uint64_t item;                   /* of arrays of one type: the first item that differs */
    bool describes; /* what the file is called, how it was made or how it is laid out, and nothing
                     * that a program would compute with */
};

/* A small file beside the weights. */
struct side_mismatch {
    const char *name;
    const char *key;  /* of a JSON object whose other members are the same; or NULL */
    const char *what; /* "is missing", "has other bytes" ... */
    bool describes;
};

struct verification {
    struct model *there;
    struct mismatch *tensors;
    uint32_t ntensors;
    struct key_mismatch *keys;
    uint32_t nkeys;
    struct side_mismatch *sides;
    uint32_t nsides;
};

/* `there` must be among the models of the plan, which has not been run. takes_types: what is copied
 * as floats is made in the type that it has there. Errors: EMEMORY, EIO. */
enum quern_status plan_verify(struct plan *p, struct model *there, bool takes_types,
                              struct quern_error *err);

/* Everything but what describes is as it should be; after the run. */
bool plan_verified(const struct plan *p, bool tensors_only);

/* ---- verify_keys.c */
enum quern_status verify_keys(struct plan *p, struct verification *v, struct quern_error *err);

/* ---- verify_sides.c */
/* The small files of the plan against those of the model's directory. */
enum quern_status verify_sides(struct plan *p, struct verification *v, struct quern_error *err);

#endif
