/* back.h - the way back: a GGUF as safetensors, with the names and shapes of Hugging Face models.
 *
 * The rules by which an architecture becomes GGUF are read from right to left: a tensor of the GGUF
 * gives the name it came from, and a transform its inverse. Where there is no inverse, or where
 * llama.cpp has less than the class in transformers asks for, the error says which tensor it is. */
#ifndef QUERN_BACK_H
#define QUERN_BACK_H

#include "arch.h"

struct back_request {
    const char *output; /* NAME.safetensors, else a directory */
    const char *type;   /* "auto", "f32", "f16", "bf16"; NULL: auto */
    bool keep_names; /* of the GGUF: tensors as they are called and shaped there, no config.json */
    uint64_t shard_bytes;
    bool force;
};

/* The plan of `quern convert` into safetensors: of a GGUF, or of safetensors in other files, in
 * another type, unpacked. The model must stay open until the plan is freed. */
enum quern_status convert_back_plan(struct model *m, const struct back_request *r,
                                    struct plan **out, struct quern_error *err);

/* A GGUF as a Hugging Face model, nothing of it written. */
struct hf_form {
    struct source *sources; /* the tensors, under their names in transformers */
    uint32_t count;
    struct str config;       /* text of config.json */
    struct side_file *files; /* config.json, tokenizer files, generation_config.json */
    uint32_t nfiles;
};

/* dtype: what blocks and vectors of 32 bits are to be stored as, DTYPE_COUNT for what the weights
 * have, then a vector stays F32 when a 16-bit type does not hold it exactly (its values are read).
 * All is the plan's arena's; notes go to the plan.
 * EUNSUPPORTED "architecture", "unmapped", "no-way-back"; EFORMAT "hparam", "shape". */
enum quern_status hf_form_of_gguf(struct model *m, enum dtype dtype, struct plan *p,
                                  struct hf_form *out, struct quern_error *err);

#endif
