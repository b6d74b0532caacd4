/* convert.h - plan the way from a Hugging Face directory to a GGUF file. */
#ifndef QUERN_CONVERT_H
#define QUERN_CONVERT_H

#include "pipeline/folder.h"
#include "pipeline/view.h"

/* A model in the layout of Hugging Face: its tensors, and config.json, tokenizer ... beside them.
 */
struct hf_model {
    const struct view *view;
    const struct folder *folder;
};

struct convert_request {
    const char *output;
    const char *type; /* "auto", "bf16" ... or a file type of quantize */
    /* Options of quantizing for TYPE beyond the 16-bit ones and Q8_0. */
    const struct quern_quantize *quantize;
    bool like_quantize; /* TYPE is llama-quantize's: as converting with auto, then quantizing */
    const char *model_name, *metadata, *pre; /* or NULL */
    bool vocab_only, text_only;
    uint64_t split_max_bytes, split_max_tensors; /* 0: one file */
    bool no_tensor_first_split;
    bool force;
};

/* The plan of `quern convert` and of `quern quantize` of a Hugging Face directory. The model must
 * stay open until the plan is freed. */
enum quern_status convert_plan(struct model *m, const struct convert_request *r, struct plan **out,
                               struct quern_error *err);

/* The same into a plan that exists and may have hidden steps, which make sources of the view. What
 * the view and the folder point to must stay until the plan is freed. */
enum quern_status convert_into(const struct hf_model *m, const struct convert_request *r,
                               struct plan *p, struct quern_error *err);

#endif
