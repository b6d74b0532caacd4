/* scheduler.h - what the files with which schedulers run parts of a plan or jobs have in common. */
#ifndef QUERN_SCHEDULER_H
#define QUERN_SCHEDULER_H

#include <stdio.h>

#include "cli.h"

enum scheduler { SLURM, NINJA, K8S, PARALLEL, NSCHEDULERS };

/* Which one --emit names: NSCHEDULERS without it. Exit code. */
int scheduler_of(const struct cli *c, enum scheduler *out);
/* How to start this file; NULL when memory ran out. */
const char *scheduler_hint(enum scheduler s, const char *script, struct arena *arena);

/* The number that a scheduler has given this task, and what its numbers begin with: 1 in arrays of
 * Slurm as they are asked for here, 0 in Kubernetes. NULL: no scheduler has started it. */
const char *scheduler_number(uint64_t *base);

/* ---- text ---- */

/* A word as a shell takes it. */
void script_word(FILE *f, const char *word);
/* Text of a ninja file: a path, or what a shell gets. */
void script_ninja(FILE *f, const char *text, bool path);
/* A string of YAML in double quotes. */
void script_yaml(FILE *f, const char *text);

/* ---- tasks ---- */

/* What one is given: --mem, or what it takes without, least bytes at least, and the program. */
uint64_t script_mem_mib(const struct cli *c, uint64_t least);
unsigned script_threads(const struct cli *c);
/* The script of a Slurm task, before and behind its command, with the line that ends a here
 * document. The command is a step of its job: before a preemption or the end of its time Slurm
 * sends SIGTERM to steps, and to the script only if somebody has configured that. A job that ends
 * by itself then has failed for Slurm, so it asks to be queued again; until that is done it must
 * not end. */
void script_slurm_begin(FILE *f, unsigned threads);
void script_slurm_end(FILE *f);
/* An indexed Job of Kubernetes up to its pod. suspend: the line that says whether, or "". codes:
 * exit codes that do not get better by trying again. */
void script_indexed_job(FILE *f, const char *name, const char *suspend, uint32_t n,
                        const char *codes);
/* A pod up to its command's words, and what follows them. */
void script_pod_begin(FILE *f);
void script_pod_end(FILE *f, unsigned threads, uint64_t mem_mib);

/* ---- the file ---- */

typedef void script_fn(FILE *f, const void *what);
enum quern_status script_write(const char *path, bool force, script_fn *put, const void *what,
                               struct quern_error *err);
/* What it puts, escaped as in a ninja file's command or in a string of YAML. */
void script_put_ninja(FILE *f, script_fn *put, const void *what);
void script_put_yaml(FILE *f, script_fn *put, const void *what);

#endif
