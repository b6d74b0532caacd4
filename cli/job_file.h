/* job_file.h - a command as a file, divided into parts that any scheduler can run. */
#ifndef QUERN_JOB_FILE_H
#define QUERN_JOB_FILE_H

#include "cli.h"
#include "pipeline/division.h"
#include "pipeline/statistics.h"

#define JOB_FORM 1u /* of the file */

enum job_layout {
    LAYOUT_FILES,  /* one file of the output for each part */
    LAYOUT_JOINED, /* files as the command makes them, put together from those of the parts */
    LAYOUT_RANGES  /* the same, and all parts write to them */
};

/* Of this name; false when there is none. */
bool job_layout(const char *name, enum job_layout *layout);

struct planned_input {
    const char *path;
    uint64_t nbytes;
};

struct job {
    struct arena arena;
    const char *path;    /* of the file */
    struct values words; /* the command and what follows it */
    uint32_t nparts;
    uint32_t nstats; /* parts of a stage that measures first; 0: there is none */
    enum job_layout layout;
    struct measuring measuring; /* that stage, once the plan is read */
    const char *output;
    const char *made;    /* once written: the first file of the output, or its directory */
    const char *work;    /* directory where parts are put until they are joined */
    const char *made_in; /* in it, or itself: where finished slices lie, once the plan is read */
    const char *version; /* of quern */
    struct planned_input *inputs; /* files as they were */
    uint32_t ninputs;
    char digest[65]; /* of the plan and what its inputs look like */
};

/* Divides the plan, writes everything there is to know to j->path and fills the rest of *j, whose
 * words, nparts, nstats and layout say what is wanted. */
enum quern_status job_file_write(struct job *j, const struct cli *c, struct plan *p, bool force,
                                 struct division *d, struct quern_error *err);

/* Reads such a file (job_read.c); job_free() it. */
enum quern_status job_file_read(const char *path, struct job *j, struct quern_error *err);
void job_free(struct job *j);

/* Plans the job's command and hands the plan and its division to take, which must not free them.
 * Exit code; what take returns. EUSAGE "plan" when the plan is no longer that of the file, EIO
 * "changed" when an input is not. */
typedef int take_division(struct cli *c, struct plan *p, struct division *d, void *data);
int job_plan(const struct cli *outer, struct job *j, take_division *take, void *data);

/* What goes behind the name of the output's first file: " ..." where there are more. */
const char *job_more_files(const struct plan *p);

/* A text as a whole file; the writer is freed. */
enum quern_status job_write_text(const char *path, struct json_writer *w, bool force,
                                 struct quern_error *err);

/* ---- job_done.c: what is done ---- */

/* Where the finished slices are described; NULL when memory ran out. */
const char *done_path(const struct job *j, uint32_t part, struct arena *arena);
enum done {
    DONE_NOT,
    DONE_GONE, /* it was done, but its slices are not there any more */
    DONE
};
/* A part is finished when its record is there and names these slices with these sizes. hex has room
 * for the sums of the part's slices, or is NULL. */
enum quern_status done_read(const struct job *j, const struct division *d, uint32_t part,
                            enum done *done, char (*hex)[65], struct quern_error *err);
enum quern_status done_write(const struct job *j, const struct division *d, uint32_t part,
                             const char (*hex)[65], struct quern_error *err);

/* ---- job_stats.c: the stage that measures ---- */

/* Where the record of a part of it lies; NULL when memory ran out. */
const char *stats_path(const struct job *j, uint32_t part, struct arena *arena);
/* Makes one. Exit code. */
int measure_part(const struct cli *outer, struct cli *c, struct job *j, struct plan *p,
                 uint32_t part);
/* The plan's steps take what they need to make a part from the records. EIO "parts" when one is
 * missing. */
enum quern_status stats_take(const struct job *j, struct plan *p, const struct division *d,
                             uint32_t part, struct quern_error *err);

#endif
