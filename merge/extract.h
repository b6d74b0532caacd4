/* extract.h - plan to take a LoRA adapter out of a tuned model: what it is away from its base. */
#ifndef QUERN_EXTRACT_H
#define QUERN_EXTRACT_H

#include "merge/extract_op.h"

#define EXTRACT_DEFAULT_RANK 32u

struct extract_request {
    /* Of the base (a) and the tuned model (b), from plan_compare(), after its run: what differs. */
    const struct plan *survey;
    const struct comparison *comparison;
    const char *output; /* a directory */
    uint64_t rank;      /* 0: the default; matrices that are smaller get less */
    const char *const *includes, *const *excludes; /* regular expressions on names of tensors */
    size_t nincludes, nexcludes;
    bool no_save_modules;  /* leave out what is no matrix of a layer, instead of keeping it whole */
    const char *dtype;     /* of A and B: f32, f16 or bf16; NULL: f32 */
    const char *base_name; /* what the adapter calls its base; NULL: its path */
    bool force;
};

/* Beside the plan, in its order and filled by its run; 0 for steps that copy. */
struct extract_report {
    struct extracted *steps;
    uint32_t nproducts, nwhole;
};

/* The models of the survey must outlive the plan. EUSAGE when there is nothing to extract, or when
 * the models have other tensors or shapes. */
enum quern_status extract_plan(const struct extract_request *req, struct plan **out,
                               struct extract_report **report, struct quern_error *err);

/* Together over all steps: the norm of the differences, and of what the products leave. */
struct extracted extract_total(const struct plan *p, const struct extract_report *report);

#endif
