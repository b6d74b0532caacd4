/* view.h - a model as planners see it: named tensors, each with where its values come from.
 *
 * view_of_model() shows the stored tensors. What adds an adapter, lays out a vocabulary anew or
 * stands for the result of an earlier stage replaces sources of a view or adds some; the planner
 * knows no difference. */
#ifndef QUERN_VIEW_H
#define QUERN_VIEW_H

#include "pipeline/plan.h"

struct vocab_result;

struct view {
    struct model *model;           /* its files and metadata */
    bool made;                     /* its tensors are not those of the model: all were added */
    struct str config;             /* text of config.json; .p is NULL where there is none */
    const struct meta_list *metas; /* its keys; NULL: those of the model */
    const struct vocab_result *vocabulary; /* of an earlier stage; NULL: the model's own */
    struct str chat_template;              /* likewise; .p is NULL */
    struct model *gguf;            /* this GGUF is shown in Hugging Face's layout; or NULL */
    const struct side_file *sides; /* then: the files that would lie beside it, config.json too */
    uint32_t nsides;
    struct source *sources; /* its tensors in their order, then what was added; the arena's */
    uint32_t count, capacity;
    struct name_table added; /* index of what is no tensor of the model; malloc'ed */
};

/* All zero is a valid empty view. The arena must outlive it. */
enum quern_status view_of_model(struct model *m, struct arena *arena, struct view *v,
                                struct quern_error *err);
/* Adds a source under the name of its tensor; replaces the one that has this name. */
enum quern_status view_set(struct view *v, struct arena *arena, const struct source *s,
                           struct quern_error *err);
/* A key, or NULL. */
const struct meta *view_meta(const struct view *v, const char *key);
/* NULL when there is none of this name. */
const struct source *view_find(const struct view *v, struct str name);
void view_free(struct view *v);

/* For qsort() of pointers to sources: files in their order, the tensors of each by name. */
int view_by_file_and_name(const void *a, const void *b);

#endif
