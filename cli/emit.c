/* emit.c - job files for Slurm, Ninja, Kubernetes and GNU parallel. */
#include "emit.h"

#include <string.h>

struct emission {
    const struct job *job;
    FILE *f;
    unsigned threads;
    uint64_t mem_mib; /* of a part, all in all */
    const char *mem;  /* " --mem N" or "" */
    bool measures;    /* the stage that measures is written, not the one that makes the output */
};

typedef void emit_fn(const struct emission *e);

/* For a script_fn: the same into another file. */
struct piece_of_script {
    const struct emission *e;
    emit_fn *put;
};

static void put_into(FILE *f, const void *what)
{
    const struct piece_of_script *piece = what;
    struct emission e = *piece->e;
    e.f = f;
    piece->put(&e);
}

static void put_run(const struct emission *e, const char *part)
{
    fputs("\"${QUERN:-quern}\" run ", e->f);
    script_word(e->f, e->job->path);
    fprintf(e->f, "%s --part %s -j %u%s", e->measures ? " --stage stats" : "", part, e->threads,
            e->mem);
}

/* Of the stage at hand. */
static uint32_t nparts(const struct emission *e)
{
    return e->measures ? e->job->nstats : e->job->nparts;
}

/* "8 parts", "3 + 8 parts" */
static void put_number(const struct emission *e)
{
    if (e->job->nstats)
        fprintf(e->f, "%u + ", e->job->nstats);
    fprintf(e->f, "%u part%s", e->job->nparts, e->job->nparts == 1 && !e->job->nstats ? "" : "s");
}

static void put_join(const struct emission *e)
{
    fputs("\"${QUERN:-quern}\" join ", e->f);
    script_word(e->f, e->job->path);
}

/* ---- Slurm ---------------------------------------------------------------------------------- */

/* Submitted or run, it submits an array and what joins it. */
static void slurm_array(const struct emission *e, const char *name, const char *after)
{
    fprintf(e->f,
            "%s=$(sbatch --parsable --job-name=quern-%s --array=1-%u --cpus-per-task=%u \\\n"
            "    --mem=%lluM --requeue --signal=TERM@60 --open-mode=append%s <<'END'\n",
            name, name, nparts(e), e->threads, (unsigned long long)e->mem_mib, after);
    script_slurm_begin(e->f, e->threads);
    put_run(e, "\"$SLURM_ARRAY_TASK_ID\"");
    script_slurm_end(e->f);
}

static void emit_slurm(const struct emission *e)
{
    struct emission stage = *e;
    fputs("#!/bin/sh\n# Runs a plan in ", e->f);
    put_number(e);
    fputs(
        " and joins them: sbatch this file, or run it with sh.\n"
        "# After a failure do the same again: parts that are done are not done again, others\n"
        "# go on where they stopped. Partition, account and so on come from SBATCH_PARTITION ...\n"
        "# in the environment; QUERN names the program.\n"
        "#SBATCH --job-name=quern-plan\n"
        "set -eu\n",
        e->f);
    stage.measures = true;
    if (e->job->nstats)
        slurm_array(&stage, "stats", "");
    slurm_array(e, "part",
                e->job->nstats ? " \\\n    --dependency=afterok:\"${stats%%;*}\" "
                                 "--kill-on-invalid-dep=yes"
                               : "");
    fputs("sbatch --job-name=quern-join --dependency=afterok:\"${part%%;*}\" \\\n"
          "    --kill-on-invalid-dep=yes --requeue --open-mode=append --cpus-per-task=1 ",
          e->f);
    fprintf(e->f, "--mem=%lluM <<'END'\n#!/bin/sh\nexec ", (unsigned long long)e->mem_mib);
    put_join(e);
    fputs("\nEND\n", e->f);
}

/* ---- GNU parallel --------------------------------------------------------------------------- */

static void parallel_line(const struct emission *e)
{
    fprintf(e->f, "seq %u | parallel --halt now,fail=1 \"$@\" -q ", nparts(e));
    put_run(e, "{}");
    fputs("\n", e->f);
}

static void emit_parallel(const struct emission *e)
{
    struct emission stage = *e;
    fputs("#!/bin/sh\n# Runs a plan in ", e->f);
    put_number(e);
    fputs(" with GNU parallel and joins them. Arguments are parallel's:\n"
          "# -j 2, --sshlogin host1,host2 (the files must be there under the same names) ...\n"
          "set -eu\n",
          e->f);
    stage.measures = true;
    if (e->job->nstats)
        parallel_line(&stage);
    parallel_line(e);
    fputs("exec ", e->f);
    put_join(e);
    fputs("\n", e->f);
}

/* ---- Ninja ---------------------------------------------------------------------------------- */

static void put_ninja_command(const struct emission *e, emit_fn *put)
{
    script_put_ninja(e->f, put_into, &(struct piece_of_script){e, put});
}

static void put_ninja_run(const struct emission *e)
{
    put_run(e, "\"$PART\"");
    fputs(" -q", e->f);
}

static void put_ninja_join(const struct emission *e)
{
    put_join(e);
    fputs(" -q --keep-records -f", e->f);
}

/* Of a part of the stage at hand. */
static void put_record(const struct emission *e, uint32_t part)
{
    struct arena arena = {0};
    const char *path =
        e->measures ? stats_path(e->job, part, &arena) : done_path(e->job, part, &arena);
    script_ninja(e->f, path ? path : "", true);
    arena_free(&arena);
}

static void put_records(const struct emission *e)
{
    for (uint32_t k = 0; k < nparts(e); k++) {
        fputs(" $\n    ", e->f);
        put_record(e, k);
    }
}

static void ninja_rule(const struct emission *e, const char *name)
{
    fprintf(e->f, "rule %s\n  description = %s $part of %u\n  command = PART=$part; ", name, name,
            nparts(e));
    put_ninja_command(e, put_ninja_run);
    fputs("\n\n", e->f);
}

/* before: a stage that all of it wait for, or NULL. */
static void ninja_parts(const struct emission *e, const char *rule, const struct emission *before)
{
    for (uint32_t k = 0; k < nparts(e); k++) {
        fputs("build ", e->f);
        put_record(e, k);
        fprintf(e->f, ": %s ", rule);
        script_ninja(e->f, e->job->path, true);
        if (before)
            put_records(before);
        fprintf(e->f, "\n  part = %u\n", k + 1);
    }
}

static void emit_ninja(const struct emission *e)
{
    struct emission stage = *e;
    stage.measures = true;
    fputs("# Runs a plan in ", e->f);
    put_number(e);
    fputs(" and joins them, as many at a time as ninja -j says.\n"
          "ninja_required_version = 1.3\n\n",
          e->f);
    if (e->job->nstats)
        ninja_rule(&stage, "stats");
    ninja_rule(e, "part");
    fputs("rule join\n  description = join\n  command = ", e->f);
    put_ninja_command(e, put_ninja_join);
    /* A part's file that became the output's is older than the part's record. */
    fputs(" && touch -c $out\n\n", e->f);
    ninja_parts(&stage, "stats", NULL);
    ninja_parts(e, "part", e->job->nstats ? &stage : NULL);
    fputs("\nbuild ", e->f);
    script_ninja(e->f, e->job->made, true);
    fputs(": join", e->f);
    put_records(e);
    fputs("\n", e->f);
}

/* ---- Kubernetes ----------------------------------------------------------------------------- */

enum pod { POD_STATS, POD_RUN, POD_JOIN };

static void put_pod(const struct emission *e, enum pod pod)
{
    const bool joins = pod == POD_JOIN;
    script_pod_begin(e->f);
    fprintf(e->f, "        - quern\n        - %s\n        - ", joins ? "join" : "run");
    script_yaml(e->f, e->job->path);
    if (pod == POD_STATS)
        fputs("\n        - --stage=stats", e->f);
    if (!joins)
        fprintf(e->f, "\n        - --part=auto\n        - --threads=%u", e->threads);
    if (!joins && *e->mem)
        fprintf(e->f, "\n        - --mem=%s", e->mem + strlen(" --mem "));
    script_pod_end(e->f, joins ? 1 : e->threads, e->mem_mib);
}

static void put_indexed_job(const struct emission *e, const char *name, bool suspended)
{
    script_indexed_job(e->f, name, suspended ? "  suspend: true\n" : "", nparts(e), "2, 3, 4");
    put_pod(e, e->measures ? POD_STATS : POD_RUN);
}

/* How to start the one when the other is complete. */
static void put_start(const struct emission *e, const char *after, const char *name)
{
    fprintf(e->f,
            "#   kubectl wait --for=condition=complete --timeout=-1s job/quern-%s &&\n"
            "#   kubectl patch job/quern-%s -p '{\"spec\":{\"suspend\":false}}'\n",
            after, name);
}

static void emit_kubernetes(const struct emission *e)
{
    struct emission stage = *e;
    stage.measures = true;
    fputs("# Runs a plan in ", e->f);
    put_number(e);
    fputs(" and joins them. The claim quern-work has the plan and its\n"
          "# files; the image has quern. Start: kubectl apply -f this file, then\n",
          e->f);
    if (e->job->nstats)
        put_start(e, "stats", "parts");
    put_start(e, "parts", "join");
    if (e->job->nstats) {
        put_indexed_job(&stage, "stats", false);
        fputs("---\n", e->f);
    }
    put_indexed_job(e, "parts", e->job->nstats > 0);
    fputs("---\n"
          "apiVersion: batch/v1\n"
          "kind: Job\n"
          "metadata:\n"
          "  name: quern-join\n"
          "spec:\n"
          "  suspend: true\n"
          "  backoffLimit: 3\n"
          "  template:\n",
          e->f);
    put_pod(e, POD_JOIN);
}

/* ---- which ---------------------------------------------------------------------------------- */

static const struct {
    const char *suffix;
    emit_fn *emit;
} scripts[NSCHEDULERS] = {
    [SLURM] = {".sh",    emit_slurm     },
    [NINJA] = {".ninja", emit_ninja     },
    [K8S] = {".yaml",  emit_kubernetes},
    [PARALLEL] = {".sh",    emit_parallel  },
};

enum quern_status emit_script(struct job *j, const struct cli *c, enum scheduler to,
                              uint64_t min_mem, const char **path, struct quern_error *err)
{
    const struct str plan = str_from(j->path);
    char words[40] = "";
    if (c->mem)
        snprintf(words, sizeof words, " --mem %llu", (unsigned long long)c->mem);
    const struct emission e = {.job = j,
                               .threads = script_threads(c),
                               .mem_mib = script_mem_mib(c, min_mem),
                               .mem = words};
    *path = arena_printf(&j->arena, "%.*s%s", (int)(plan.n - (str_ends(plan, ".plan") ? 5 : 0)),
                         plan.p, scripts[to].suffix);
    return *path ? script_write(*path, c->force, put_into,
                                &(struct piece_of_script){&e, scripts[to].emit}, err)
                 : fail_memory(err, plan.n);
}
