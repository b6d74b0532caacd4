/* planner.h - the state of planning a merge; for the files that plan it, not for anyone else. */
#ifndef QUERN_PLANNER_H
#define QUERN_PLANNER_H

#include "merge/merge.h"
#include "merge/targets.h"
#include "merge/vocab_align.h"

struct planner {
    const struct merge_request *req;
    struct recipe recipe;
    struct plan *plan;
    struct arena scratch; /* what only planning needs */
    struct model_set set;
    struct targets targets;
    struct step *steps;        /* of the targets */
    const struct source *made; /* what they make, for other stages; NULL: not asked for */
    const struct stages *stages;
    struct vocab_result aligned;
    const struct vocab_result *vocabulary; /* of the result; NULL: the donor's own */
    struct str chat_template;              /* likewise; .p is NULL */
    bool hub[MAX_SOURCES];                 /* the model's name is a hub id */
    bool as_hf;                            /* GGUF models are shown in the layout of Hugging Face */
    bool to_gguf, to_file;                 /* output is one file: GGUF, safetensors */
    bool converts;     /* ... GGUF, of models that are none: planned as a directory first */
    uint64_t cut_rows; /* rows of the embeddings when the donor's were cut; else 0 */
    bool new_head;     /* the result has an output head and its donor has none */
};

/* The model that metadata and side files are taken from. */
const struct view *donor_view(const struct planner *pl);
const struct model *donor_of(const struct planner *pl);

/* Steps for all targets, in output order: pl->steps. */
enum quern_status plan_steps(struct planner *pl, struct quern_error *err);

/* Keys and files of the output, and where everything goes in it. */
enum quern_status lay_out(struct planner *pl, struct quern_error *err);

/* Sources and parameters of a tensor in words; the plan's. NULL when memory ran out. values: NULL
 * for bytes that are passed on. */
const char *explain_target(struct planner *pl, const struct target *t,
                           const struct merge_values *values);

/* config.json of the donor with what the merge changed; nothing when config has no text. */
enum quern_status merged_config(struct planner *pl, struct str *config, struct quern_error *err);
/* The same for the keys of a GGUF. */
enum quern_status merged_metas(struct planner *pl, struct meta_list *metas,
                               struct quern_error *err);

/* What of the inputs no target uses, into the plan's list of what is left out. */
enum quern_status list_left_out(struct planner *pl, struct quern_error *err);

#endif
