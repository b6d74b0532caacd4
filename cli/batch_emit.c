/* batch_emit.c - the jobs of a manifest for Slurm, Ninja, Kubernetes and GNU parallel. */
#include <inttypes.h>

#include "batch.h"
#include "scheduler.h"

/* Slurm's own limit, unless it was told another. */
#define MAX_ARRAY 1000u

/* The first job of a level; those of level nlevels would begin behind the last. */
static uint32_t first_of(const struct manifest *m, uint32_t level)
{
    uint32_t i = 0;
    while (i < m->njobs && m->jobs[i].level < level)
        i++;
    return i;
}

/* number: what a shell makes the job's number of. */
static void put_job(FILE *f, const struct batch *b, const char *program, const char *number)
{
    fprintf(f, "%s batch ", program);
    script_word(f, b->m.path);
    fprintf(f, " --job %s/%" PRIu32 " -j %u", number, b->m.njobs, script_threads(b->c));
    if (b->c->mem)
        fprintf(f, " --mem %" PRIu64, b->c->mem);
    if (b->c->check_hashes)
        fputs(" --check-hashes", f);
}

#define PROGRAM "\"${QUERN:-quern}\""

/* ---- Slurm ---------------------------------------------------------------------------------- */

/* Tasks count from 1 in each array, whose numbers may not be large. */
static void put_array(FILE *f, const struct batch *b, uint32_t first, uint32_t n)
{
    char number[64];
    snprintf(number, sizeof number, "\"$((SLURM_ARRAY_TASK_ID + %" PRIu32 "))\"", first);
    fprintf(f,
            "id=$(sbatch --parsable --job-name=quern-batch --array=1-%" PRIu32 " $after \\\n"
            "    --cpus-per-task=%u --mem=%" PRIu64 "M --requeue --signal=TERM@60 \\\n"
            "    --open-mode=append <<'END'\n",
            n, script_threads(b->c), script_mem_mib(b->c, 0));
    script_slurm_begin(f, script_threads(b->c));
    put_job(f, b, PROGRAM, number);
    script_slurm_end(f);
    fputs("ids=$ids:${id%%;*}\n"
          "echo \"Submitted ${id%%;*}\"\n",
          f);
}

static void emit_slurm(FILE *f, const void *batch)
{
    const struct batch *b = batch;
    fprintf(f,
            "#!/bin/sh\n"
            "# Runs %" PRIu32 " jobs: sbatch this file, or run it with sh. After a failure do the "
            "same again:\n"
            "# jobs that are up to date say so and end, others go on where they stopped.\n"
            "# Partition, account and so on come from SBATCH_PARTITION ... in the environment;\n"
            "# QUERN names the program.\n"
            "#SBATCH --job-name=quern-batch\n"
            "set -eu\n"
            "after= ids=\n",
            b->m.njobs);
    for (uint32_t level = 0; level < b->m.nlevels; level++) {
        const uint32_t end = first_of(&b->m, level + 1);
        if (level)
            fputs("# jobs that need some of those above; what did not fail is used\n"
                  "after=--dependency=afterany$ids ids=\n",
                  f);
        for (uint32_t i = first_of(&b->m, level); i < end; i += MAX_ARRAY)
            put_array(f, b, i, end - i < MAX_ARRAY ? end - i : MAX_ARRAY);
    }
}

/* ---- GNU parallel --------------------------------------------------------------------------- */

static void emit_parallel(FILE *f, const void *batch)
{
    const struct batch *b = batch;
    fprintf(f,
            "#!/bin/sh\n"
            "# Runs %" PRIu32 " jobs with GNU parallel. Arguments are parallel's: -j 2,\n"
            "# --sshlogin host1,host2 (the files must be there under the same names) ...\n"
            "set -u\n"
            "failed=0\n",
            b->m.njobs);
    for (uint32_t level = 0; level < b->m.nlevels; level++) {
        fprintf(f, "seq %" PRIu32 " %" PRIu32 " | parallel \"$@\" -q ", first_of(&b->m, level) + 1,
                first_of(&b->m, level + 1));
        put_job(f, b, PROGRAM, "{}");
        fputs(" || failed=1\n", f);
    }
    fputs("exit $failed\n", f);
}

/* ---- Ninja ---------------------------------------------------------------------------------- */

static void put_record(FILE *f, const struct batch *b, uint32_t job)
{
    struct arena arena = {0};
    const char *path = state_path(b, job, ".json", &arena);
    script_ninja(f, path ? path : "", true);
    arena_free(&arena);
}

static void put_ninja_job(FILE *f, const void *batch)
{
    put_job(f, batch, PROGRAM, "\"$JOB\"");
}

static void put_ninja_rule(FILE *f, const struct batch *b)
{
    fprintf(f, "rule job\n  description = job $job of %" PRIu32 ": $name\n  command = JOB=$job; ",
            b->m.njobs);
    script_put_ninja(f, put_ninja_job, b);
    fputs(" -q\n\nbuild quern-always: phony\n", f);
}

static void emit_ninja(FILE *f, const void *batch)
{
    const struct batch *b = batch;
    fprintf(f,
            "# Runs %" PRIu32 " jobs, as many at a time as ninja -j says; -k 0 goes on after a "
            "failure.\n"
            "# quern itself looks which are up to date: each is started.\n"
            "ninja_required_version = 1.3\n\n",
            b->m.njobs);
    put_ninja_rule(f, b);
    for (uint32_t i = 0; i < b->m.njobs; i++) {
        const struct batch_job *job = &b->m.jobs[i];
        fputs("\nbuild ", f);
        put_record(f, b, i);
        fputs(": job quern-always", f);
        for (uint32_t k = 0; k < job->nneeds; k++) {
            fputs(" $\n    ", f);
            put_record(f, b, job->needs[k]);
        }
        fprintf(f, "\n  job = %" PRIu32 "\n  name = ", i + 1);
        script_ninja(f, quoted(str_from(job->name)).text, false);
        fputc('\n', f);
    }
}

/* ---- Kubernetes ----------------------------------------------------------------------------- */

struct level {
    const struct batch *b;
    uint32_t first; /* of its jobs */
};

static void put_command(FILE *f, const void *level)
{
    const struct level *l = level;
    char number[64];
    snprintf(number, sizeof number, "\"$((JOB_COMPLETION_INDEX + %" PRIu32 "))\"", l->first + 1);
    fputs("exec ", f);
    put_job(f, l->b, "quern", number);
}

static void put_level(FILE *f, const struct batch *b, uint32_t level)
{
    const uint32_t first = first_of(&b->m, level), n = first_of(&b->m, level + 1) - first;
    char name[32];
    snprintf(name, sizeof name, "batch-%" PRIu32, level + 1);
    fputs(level ? "---\n" : "", f);
    script_indexed_job(f, name, level ? "  suspend: true\n" : "  suspend: false\n", n,
                       "1, 2, 3, 4, 7");
    script_pod_begin(f);
    fputs("        - sh\n        - -c\n        - ", f);
    script_put_yaml(f, put_command, &(struct level){b, first});
    script_pod_end(f, script_threads(b->c), script_mem_mib(b->c, 0));
}

static void emit_kubernetes(FILE *f, const void *batch)
{
    const struct batch *b = batch;
    fprintf(f,
            "# Runs %" PRIu32 " jobs. The claim quern-work has the manifest and its files; the "
            "image has quern.\n"
            "# Start: kubectl apply -f this file; each further Job when the one before has ended:\n"
            "#   kubectl patch job/quern-batch-2 -p '{\"spec\":{\"suspend\":false}}'\n",
            b->m.njobs);
    for (uint32_t level = 0; level < b->m.nlevels; level++)
        put_level(f, b, level);
}

/* ---- which ---------------------------------------------------------------------------------- */

static const struct {
    const char *suffix;
    script_fn *emit;
} scripts[NSCHEDULERS] = {
    [SLURM] = {".slurm.sh",    emit_slurm     },
    [NINJA] = {".ninja",       emit_ninja     },
    [K8S] = {".k8s.yaml",    emit_kubernetes},
    [PARALLEL] = {".parallel.sh", emit_parallel  },
};

enum quern_status batch_emit(struct batch *b, const char **path, struct quern_error *err)
{
    const struct str m = str_from(b->m.path);
    const size_t n = m.n - (str_ends(m, ".yml") ? 4 : str_ends(m, ".yaml") ? 5 : 0);
    *path = arena_printf(&b->arena, "%.*s%s", (int)n, m.p, scripts[b->to].suffix);
    return *path ? script_write(*path, b->c->force, scripts[b->to].emit, b, err)
                 : fail_memory(err, m.n);
}
