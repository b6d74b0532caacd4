/* manifest_reader.h - what the parts of the reader of manifests share; not for anyone else. */
#ifndef QUERN_MANIFEST_READER_H
#define QUERN_MANIFEST_READER_H

#include "core/hash.h"
#include "core/yaml.h"
#include "manifest.h"

#define MANIFEST_MAX_VARS     16u
#define MANIFEST_MAX_MISTAKES 1000u /* more are not looked for */

/* The variables of a matrix, with one value each. */
struct bindings {
    struct str names[MANIFEST_MAX_VARS], values[MANIFEST_MAX_VARS];
    uint32_t count;
};

struct manifest_reader {
    struct manifest *m;
    uint32_t capacity; /* of m->jobs */
    struct mistakes mistakes;
    /* What was told: what is wrong in a hundred jobs of a matrix is told once. */
    struct str told[MANIFEST_MAX_MISTAKES];
    struct name_table told_table;
    bool no_memory;
    bool full; /* a limit was passed: nothing more is read */
    const struct yaml_node *defaults;
};

/* A mistake at a line. */
void manifest_wrong(struct manifest_reader *r, uint32_t line, const char *kind, const char *format,
                    ...) __attribute__((format(printf, 4, 5)));
/* Remembers that memory ran out when p is NULL; gives p back. */
void *manifest_memory(struct manifest_reader *r, void *p);
/* A key that is none of these. */
void manifest_unknown(struct manifest_reader *r, const struct yaml_node *n, const char *where,
                      const char *const *keys, size_t nkeys);
/* A scalar's text, not empty; else a mistake, and false. */
bool manifest_text(struct manifest_reader *r, const struct yaml_node *n, const char *what,
                   struct str *out);

/* ---- manifest_matrix.c */
/* The text of a scalar with the variables' values in the place of {variables}; NULL after a
 * mistake. */
const char *manifest_fill(struct manifest_reader *r, const struct yaml_node *n, const char *what,
                          const struct bindings *b);
/* Calls job for each combination of the entry's matrix that is not excluded, and what is included
 * besides. */
typedef void manifest_job_fn(struct manifest_reader *r, const struct yaml_node *entry,
                             const struct bindings *b, void *more);
void manifest_expand(struct manifest_reader *r, const struct yaml_node *entry, manifest_job_fn *job,
                     void *more);

/* ---- manifest_job.c: the keys of a job */
void manifest_entry(struct manifest_reader *r, const struct yaml_node *entry);
/* Keys of options that hold for all jobs. */
void manifest_defaults(struct manifest_reader *r, const struct yaml_node *n);

/* ---- manifest_order.c: who needs whom. Renumbers the jobs. */
void manifest_order(struct manifest_reader *r);

#endif
