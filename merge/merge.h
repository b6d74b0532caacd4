/* merge.h - plan a merge: recipe in, plan out. Reads headers only. */
#ifndef QUERN_MERGE_H
#define QUERN_MERGE_H

#include "convert/convert.h"
#include "merge/flags.h"
#include "merge/locate.h"
#include "pipeline/plan.h"

struct merge_request {
    /* One of the three: a file, its text, or flags.method set. */
    const char *recipe_path;
    const char *recipe_text;
    struct merge_flags flags;
    struct places places; /* where models lie */
    const char *output;   /* *.gguf, *.safetensors, else a directory */
    const char *type;     /* GGUF output: file type, or NULL to store what the merge rounds to */
    /* GGUF output: options of converting and of quantizing; what stands above and below in this
     * struct counts instead of the fields it has too. */
    struct convert_request convert;
    uint64_t shard_bytes; /* directory output: largest file; 0 = 5 GB, UINT64_MAX = no limit */
    bool force;
    uint64_t seed;       /* of methods that draw random numbers */
    bool mergekit_exact; /* round after every operation, as mergekit does */
    bool allow_crimes;   /* merge models that do not quite fit together, as mergekit does */
    const struct mistake_sink *sink; /* hears of every mistake; or NULL */
    bool no_tokenizer;               /* directory output: no tokenizer files */
    bool explain;                    /* step.detail tells how each tensor is made */
    bool no_model_card;              /* directory output: no README.md and mergekit_config.yml */
};

/* What layout_directory() is to be given: 0 = no limit. */
static inline uint64_t merge_shard_bytes(const struct merge_request *req)
{
    const uint64_t asked = req->shard_bytes;
    return asked == 0 ? UINT64_C(5000000000) : asked == UINT64_MAX ? 0 : asked;
}

/* The plan owns the models it opened. Errors: EUSAGE (recipe, models that do not fit together),
 * EUNSUPPORTED, EFORMAT, EIO, EMEMORY. */
enum quern_status merge_plan(const struct merge_request *req, struct plan **out,
                             struct quern_error *err);

#endif
