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

struct tensor_map;

struct convert_request {
    const char *output; /* NULL: the converter's own name, in the input directory */
    const char *type;   /* "auto", "bf16" ... or a file type of quantize; NULL: the default */
    /* Options of quantizing for TYPE beyond the 16-bit ones and Q8_0. */
    const struct quern_quantize *quantize;
    bool like_quantize; /* TYPE is llama-quantize's: as converting with auto, then quantizing */
    const char *via;    /* then: converting with f32, f16 or bf16 instead; NULL: auto */
    const char *model_name, *metadata, *pre; /* or NULL */
    /* A GGUF of the same family: all but the data of tensors is as there. Or NULL. */
    const char *like;
    /* With it: what becomes of tensors, instead of the architecture's table; read, or in a file. */
    const struct tensor_map *map;
    const char *map_path;
    bool vocab_only, text_only;
    uint64_t split_max_bytes, split_max_tensors; /* 0: one file */
    bool no_tensor_first_split;
    /* Of adapters: the model they belong to, or its config.json, and where models are cached. */
    const char *base, *hub_cache; /* or NULL */
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
