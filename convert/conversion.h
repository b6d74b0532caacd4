/* conversion.h - what the parts of the planner share while a plan is made. */
#ifndef QUERN_CONVERSION_H
#define QUERN_CONVERSION_H

#include "arch.h"
#include "convert.h"
#include "map.h"

/* A value from one of several keys of config.json, | between them: the first that is there. */
const struct json *hparam(const struct conversion *c, const char *names);
bool hparam_u64(const struct conversion *c, const char *names, uint64_t *out);
bool hparam_f64(const struct conversion *c, const char *names, double *out);

struct conversion {
    const struct convert_request *request;
    const char *output;
    struct plan *plan;
    const struct view *view;
    const struct source **inputs; /* the tensors of the view, in the order of the output */
    uint32_t ninputs;
    struct hf_config config;
    const struct hf_config *card; /* what the metadata are of: config's, or an adapter's */
    bool adapts;                  /* the inputs are the changes of an adapter */
    struct str hf_class;
    const struct architecture *arch;
    struct meta_list keys;       /* of the output, in its order */
    struct meta_list vocab_keys; /* tokenizer.* */
    uint64_t ntokens;            /* 0: no vocabulary was read */
    uint64_t nlayers, nheads, nkv_heads, nexperts;
    uint64_t head_dim; /* of a template whose layers have different numbers of heads, else 0 */
    /* Of `auto`: what 16-bit type the weights have; otherwise the type that is asked for. */
    enum dtype weights;
    bool quantizes;     /* by the rules of llama-quantize, behind those of the converter */
    enum dtype kept;    /* the type of packed blocks that stay as they are, or DTYPE_COUNT */
    struct step *steps; /* malloc'ed while it grows */
    uint32_t nsteps, step_capacity;
    struct model *like;           /* --like: the template, closed when the plan is made; or NULL */
    const struct tensor_map *map; /* in place of the table's rules; or NULL */
    struct tensor_map own_map;
    uint32_t *rule_hits; /* how many tensors each rule of the map took */
};

/* ---- convert.c */
/* Reads config.json and finds out what the model is. */
enum quern_status convert_begin(struct conversion *c, const struct folder *folder,
                                struct quern_error *err);
/* The types convert_hf_to_gguf.py writes itself: false for others. auto is DTYPE_COUNT. */
bool convert_is_own_type(struct str type, enum dtype *out);

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

/* The token embedding, which has its step already, has the same bytes. */
enum quern_status convert_is_embedding(struct conversion *c, const struct source *head, bool *same,
                                       struct quern_error *err);

/* ---- transforms.c */
/* Adds the steps of one tensor that is not stacked. to: new names, suffix appended to each. */
enum quern_status convert_transform(struct conversion *c, const struct tensor_rule *rule,
                                    const struct source *from, const char *to, struct str suffix,
                                    struct quern_error *err);
/* n tensors of one shape on top of each other. */
enum quern_status convert_stack(struct conversion *c, struct str name,
                                const struct source *const *members, uint64_t n,
                                struct quern_error *err);

/* Their rows one after the other; as many columns in each. */
enum quern_status convert_join(struct conversion *c, struct str name,
                               const struct source *const *members, uint64_t n,
                               struct quern_error *err);

/* ---- types.c */
/* The type the converter of llama.cpp stores this tensor as, by name and shape. */
enum quern_status convert_choose_types(struct conversion *c, struct quern_error *err);

/* ---- keep_blocks.c */
/* Packed weights that GGUF has a type for keep their blocks, as the converter of llama.cpp does
 * with MXFP4 and NVFP4, and come first. */
enum quern_status convert_keep_blocks(struct conversion *c, struct quern_error *err);
/* Weights whose type has turned out to be that of their packed blocks keep those. */
enum quern_status convert_keep_exact(struct conversion *c, struct quern_error *err);

/* ---- keys.c */
enum quern_status convert_put_keys(struct conversion *c, const struct key_rule *rules,
                                   struct quern_error *err);
uint32_t convert_file_type(const struct conversion *c);

/* ---- metadata.c */
/* general.*: from options, generation_config.json, README.md, config.json and the directory's
 * name. Needs the steps. */
enum quern_status convert_metadata(struct conversion *c, struct quern_error *err);
/* What the options say of general.*, into keys that are there already. */
enum quern_status convert_edit_metadata(struct conversion *c, struct quern_error *err);

#endif
