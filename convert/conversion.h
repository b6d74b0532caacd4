/* conversion.h - what the parts of the planner share while a plan is made. */
#ifndef QUERN_CONVERSION_H
#define QUERN_CONVERSION_H

#include "arch.h"
#include "convert.h"

/* A value from one of several keys of config.json, | between them: the first that is there. */
const struct json *hparam(const struct conversion *c, const char *names);
bool hparam_u64(const struct conversion *c, const char *names, uint64_t *out);
bool hparam_f64(const struct conversion *c, const char *names, double *out);

struct conversion {
    const struct convert_request *request;
    struct plan *plan;
    const struct view *view;
    const struct source **inputs; /* the tensors of the view, in the order of the output */
    uint32_t ninputs;
    struct hf_config config;
    struct str hf_class;
    const struct architecture *arch;
    struct meta_list keys;       /* of the output, in its order */
    struct meta_list vocab_keys; /* tokenizer.* */
    uint64_t ntokens;            /* 0: no vocabulary was read */
    uint64_t nlayers, nheads, nkv_heads, nexperts;
    /* Of `auto`: what 16-bit type the weights have; otherwise the type that is asked for. */
    enum dtype weights;
    bool has_mxfp4;     /* experts stay in that type */
    struct step *steps; /* malloc'ed while it grows */
    uint32_t nsteps, step_capacity;
};

/* ---- inputs.c */
/* Sets the inputs: files in their order, the tensors of each by name. A view that was made has its
 * order already. */
enum quern_status convert_order_inputs(struct conversion *c, struct quern_error *err);
/* Values that decide what becomes of a tensor, looked at while planning. EUNSUPPORTED when they are
 * only known after something has been measured. */
enum quern_status convert_is_zero(const struct source *s, bool *zero, struct quern_error *err);
enum quern_status convert_same_values(const struct source *a, const struct source *b, bool *same,
                                      struct quern_error *err);

/* ---- tensors.c */
/* Every tensor of the model becomes steps, is left out for a reason, or is an error. */
enum quern_status convert_tensors(struct conversion *c, struct quern_error *err);
/* A step that writes source under this name. The op is op_copy or a function of single values. */
enum quern_status convert_add_step(struct conversion *c, struct str name,
                                   const struct source *source, const struct op *op,
                                   struct quern_error *err);
/* A tensor of floats that is in no file. values is the arena's. */
enum quern_status convert_add_values(struct conversion *c, const char *name, const float *values,
                                     uint64_t n, struct quern_error *err);

/* ---- transforms.c */
/* Adds the steps of one tensor that is not stacked. to: new names, suffix appended to each. */
enum quern_status convert_transform(struct conversion *c, const struct tensor_rule *rule,
                                    const struct source *from, const char *to, struct str suffix,
                                    struct quern_error *err);
/* n tensors of one shape on top of each other. */
enum quern_status convert_stack(struct conversion *c, struct str name,
                                const struct source *const *members, uint64_t n,
                                struct quern_error *err);

/* ---- types.c */
/* The type the converter of llama.cpp stores this tensor as, by name and shape. */
enum quern_status convert_choose_types(struct conversion *c, struct quern_error *err);

/* ---- keys.c */
enum quern_status convert_put_keys(struct conversion *c, const struct key_rule *rules,
                                   struct quern_error *err);
uint32_t convert_file_type(const struct conversion *c);

/* ---- metadata.c */
/* general.*: from options, generation_config.json, README.md, config.json and the directory's
 * name. Needs the steps. */
enum quern_status convert_metadata(struct conversion *c, struct quern_error *err);

#endif
