/* batch.h - jobs of a manifest: what is known of each, running one, telling about all. */
#ifndef QUERN_BATCH_H
#define QUERN_BATCH_H

#include "cli.h"
#include "manifest.h"
#include "scheduler.h"

struct batch {
    const struct cli *c;
    struct manifest m;
    struct arena arena;
    const char *dir; /* records and logs: .NAME.quern-batch beside the manifest */
    bool *chosen;    /* by --only, and what those need */
    unsigned threads;
    uint64_t mem;      /* of one job; 0: not told */
    enum scheduler to; /* of --emit */
};

#define NEVER_RAN "it never ran"

/* What became of a job. */
enum verdict { JOB_NOT_RUN, JOB_WOULD_RUN, JOB_UP_TO_DATE, JOB_DONE, JOB_FAILED, JOB_STOPPED };
struct job_report {
    enum verdict verdict;
    int code; /* exit code, of one that ran or that cannot */
    double seconds;
    uint64_t nbytes;  /* of its output */
    char reason[400]; /* why it runs, or does not */
    char error[600];  /* its message */
};

/* ---- batch_seen.c: what files look like */

struct seen_file {
    const char *path;
    bool is_dir; /* what it lists, without .gguf files: outputs may lie in it */
    uint64_t nbytes;
    int64_t mtime_ns;
    char head[65];   /* SHA-256 of the first MiB, or of the list */
    char sha256[65]; /* of all, or "" */
};
struct seen_files {
    struct seen_file *items; /* malloc'ed */
    uint32_t count, capacity;
};
/* False when it is not there. path is kept. */
bool seen_look(const char *path, struct seen_file *f);
/* Adds what is there, once; paths in packs count as the pack. */
enum quern_status seen_add(struct seen_files *l, struct arena *arena, const char *path,
                           struct quern_error *err);
/* The file of a path, or all files of a directory. */
enum quern_status seen_add_tree(struct seen_files *l, struct arena *arena, const char *path,
                                struct quern_error *err);
/* Fills in the SHA-256 of all files. */
enum quern_status seen_hash(struct seen_files *l, unsigned threads, struct quern_error *err);
enum seen_change { SEEN_SAME, SEEN_CHANGED, SEEN_GONE };
/* Is it still what it was? exact: by its SHA-256 where that is known, not by size and time. */
enum seen_change seen_compare(const struct seen_file *was, bool exact);
/* Of all of them. */
uint64_t seen_bytes(const struct seen_files *l);
void seen_free(struct seen_files *l);

/* ---- batch_state.c: the record of a job */

enum job_stage { STAGE_NEVER, STAGE_STARTED, STAGE_FAILED, STAGE_DONE };
struct job_state {
    struct arena arena;
    enum job_stage stage;
    const char *version;
    const char *output; /* as its command named it, or "" */
    char digest[65];    /* of the command, without what changes no byte of its output */
    struct seen_files inputs, outputs;
    double seconds;
    int code;
};

/* DIR/NAME.suffix; NULL when memory ran out. */
const char *state_path(const struct batch *b, uint32_t job, const char *suffix,
                       struct arena *arena);
/* One that is torn, or of another form, is as good as none. Free it whatever comes back. */
enum quern_status state_read(const struct batch *b, uint32_t job, struct job_state *s,
                             struct quern_error *err);
/* command: as parsed, for people who read the record. */
enum quern_status state_write(const struct batch *b, uint32_t job, const struct cli *command,
                              const struct job_state *s, struct quern_error *err);
void state_free(struct job_state *s);
/* Why the job must run, in why, or false: everything is as the record says. */
bool state_asks_for_run(const struct batch *b, const struct job_state *s, const char *digest,
                        char *why, size_t n);
/* The outputs are there as the record says. */
bool state_owns_outputs(const struct job_state *s);

/* ---- batch_job.c */

/* Would it run, and why: for a dry run. Needs are not looked at. */
void batch_look(const struct batch *b, uint32_t job, struct job_report *r);
/* Runs it in this process when it must. Exit code. logged: stderr is its log, and what it needs is
 * known to be done. */
int batch_run_job(const struct batch *b, uint32_t job, bool logged, struct job_report *r);

/* ---- batch_loop.c */

/* All that are chosen, so many at a time, each in a process of its own. reports: of each job. */
enum quern_status batch_run_all(const struct batch *b, struct job_report *reports,
                                struct quern_error *err);

/* ---- batch_report.c */

/* On a terminal: which jobs run. */
void batch_tell_running(const struct batch *b, const uint32_t *jobs, unsigned n, uint32_t ended,
                        uint32_t of);
/* A line on stderr when a job has ended. */
void batch_tell_job(const struct batch *b, uint32_t job, const struct job_report *r, uint32_t ended,
                    uint32_t of);
/* The table, or the object on stdout. Exit code. */
int batch_summary(const struct batch *b, const struct job_report *reports, bool dry_run);

/* ---- batch_emit.c */

/* Writes what runs the jobs on a scheduler beside the manifest, and names it. */
enum quern_status batch_emit(struct batch *b, const char **path, struct quern_error *err);

#endif
