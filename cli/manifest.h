/* manifest.h - many jobs in one file: what quern batch reads (docs/batch.md).
 *
 * All mistakes are told, with their lines, before anything runs. */
#ifndef QUERN_MANIFEST_H
#define QUERN_MANIFEST_H

#include "cli.h"
#include "merge/mistakes.h"

#define MANIFEST_VERSION   1u
#define MANIFEST_MAX_JOBS  10000u
#define MANIFEST_MAX_BYTES (UINT64_C(64) << 20) /* of all jobs written out */
#define MANIFEST_MAX_TEXT  4096u                /* of a word */
#define MANIFEST_MAX_WORDS (MAX_ARGS - 16)      /* of a job: batch adds some */

/* A path among the words of a job. */
struct named_path {
    const char *path;
    uint32_t line;
    bool must; /* be there, or be made; others may be no paths at all */
};

/* A job that must be done before, by name. */
struct job_need {
    const char *name;
    uint32_t line;
};

struct batch_job {
    const char *name;
    uint32_t line;
    const struct command *command;
    const char *const *words; /* that follow the command, OUTPUT too */
    uint32_t nwords;
    const char *output; /* NULL: of one that only looks */
    const char *recipe; /* which may name outputs of other jobs, or NULL */
    struct named_path *inputs;
    uint32_t ninputs;
    struct job_need *asked; /* in the text */
    uint32_t nasked;
    uint32_t *needs; /* jobs that come before, told or found, each once */
    uint32_t nneeds;
    uint32_t level; /* 0: needs none; else one more than the highest that it needs */
};

struct manifest {
    struct arena arena;
    const char *path;
    struct batch_job *jobs; /* by level, then as they are written */
    uint32_t njobs, nlevels;
};

/* EUSAGE, with the first mistake; sink hears of all of them, or is NULL. Free it whatever comes
 * back. Files are only looked for. */
enum quern_status manifest_read(const char *path, struct manifest *m,
                                const struct mistake_sink *sink, struct quern_error *err);
/* The same for its text. */
enum quern_status manifest_parse(struct str text, const char *path, struct manifest *m,
                                 const struct mistake_sink *sink, struct quern_error *err);
void manifest_free(struct manifest *m);

#endif
