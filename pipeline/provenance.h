/* provenance.h - tell what an output was made of and how: keys in the output, a record beside it.
 *
 * plan_record() changes a plan that is ready to run: its inputs are hashed while they are read, the
 * first output file gets keys quern.*, and a record goes beside the output. docs/provenance.md has
 * the form of both. */
#ifndef QUERN_PROVENANCE_H
#define QUERN_PROVENANCE_H

#include "core/json.h"
#include "plan.h"

#define RECORD_SUFFIX  ".quern.json"
#define RECORD_VERSION 1u
#define HUB_PATH       "hub:" /* begins a path in the cache of the Hugging Face hub */

/* Everything is copied but for models, which must stay open until the plan is freed. */
struct provenance_request {
    const char *version; /* of quern; NULL: this one */
    struct str job;      /* what was asked for: one JSON value, on one line */
    struct str recipe;   /* its text; .p is NULL when there is none */
    /* Read besides the inputs of the plan and the small files in their directories. */
    struct model *const *models;
    uint32_t nmodels;
    const char *const *files;
    uint32_t nfiles;
    const char *hub_cache; /* paths in it are told without it; or NULL */
    /* When it is made again: what the inputs are called, in the order in which the first run told
     * them, and what the outputs must come to. No record is written then. */
    const char *const *paths; /* NULL: it is made for the first time */
    uint32_t npaths;
    const char (*outputs)[65];
    uint32_t noutputs;
    const char *made_by; /* the version that made it first */
};

struct recorded_input {
    const char *path, *name; /* in the record, in the keys */
    struct model *model;
    uint32_t file;
    bool small; /* a file without tensors */
};

struct recorded_output {
    const char *file; /* its name beside the others */
    uint64_t nbytes;
    char sha256[65];
};

struct provenance {
    struct provenance_request about;
    const char *target; /* output file, directory, or the prefix of several files */
    const char *path;   /* of the record; NULL: none is written */
    struct recorded_input *inputs;
    uint32_t ninputs;
    struct recorded_output *outputs;
    uint32_t noutputs;
    struct model **beside; /* small files among the inputs; owned */
    uint32_t nbeside;
    /* Of the first output file: without our keys, and with them and all hashes. The plan has zeros
     * in place of hashes, so that it is the same plan before and after a run. */
    struct str bare_header, filled;
};

enum quern_status plan_record(struct plan *p, const struct provenance_request *r,
                              struct quern_error *err);
void provenance_free(struct provenance *v);

/* ---- for a run: each does nothing without provenance */

/* May the record be written? */
enum quern_status provenance_check_place(const struct plan *p, struct quern_error *err);
/* All inputs are read: the small ones are still what they were, and the hashes are known. */
enum quern_status provenance_fill(struct plan *p, struct quern_error *err);
/* What to write for the header of an output file: that of the plan, with hashes when it has some.
 */
struct str provenance_header(const struct plan *p, uint32_t file);
/* Hashes the outputs, which lie at these paths: files, then sides. EDIFF "differs" when they had to
 * come to something else. */
enum quern_status provenance_take_outputs(const struct plan *p, const char *const *paths,
                                          const struct quern_run_options *options,
                                          struct quern_error *err);
enum quern_status provenance_write(const struct plan *p, bool replace, struct quern_error *err);

/* The text of the record; the caller frees the writer. provenance_text.c */
void provenance_text(const struct plan *p, struct json_writer *w);
/* The keys, with the hashes or with as many zeros. lines: arrays become texts. .items is NULL when
 * memory ran out; memory is the arena's. provenance_keys.c */
struct meta_list provenance_keys(const struct plan *p, struct arena *arena, bool filled,
                                 bool lines);

#endif
