/* unpack.h - models whose weights another program has packed, as if it had not.
 *
 * Such a model has several tensors for a weight: values of few bits, scales, zero points ... and
 * config.json says how they belong together. unpack_view() puts one source in their place, with the
 * plain name and the plain shape, that makes the values while they are read. */
#ifndef QUERN_UNPACK_H
#define QUERN_UNPACK_H

#include "core/json.h"
#include "pipeline/view.h"

struct unpack_ask {
    struct str config;   /* text of config.json; .p is NULL where there is none */
    struct str modelopt; /* text of hf_quant_config.json; likewise */
    /* Weights that a GGUF type holds as they are packed stay so: sources of type MXFP4 or NVFP4.
     * What the blocks of NVFP4 lack is beside them, as X.scale and X.input_scale. */
    bool keep_blocks;
};

struct unpacked {
    const char *by;    /* the packing; NULL when there is none */
    uint32_t nweights; /* that were made of packed parts */
    struct str config; /* the text without what it said of packing */
};

/* The model as stored becomes the model as meant. All packed parts are used, or it is an error, and
 * so is everything config.json says of packing that is not known. Modules that were left as they
 * are stay so. What is made is the arena's, which must outlive the view. */
enum quern_status unpack_view(struct view *v, const struct unpack_ask *ask, struct arena *arena,
                              struct unpacked *out, struct quern_error *err);
/* The same with the files of the model's directory; v->config is replaced when there is one. */
enum quern_status unpack_model(struct view *v, bool keep_blocks, struct arena *arena,
                               struct unpacked *out, struct quern_error *err);

#endif
