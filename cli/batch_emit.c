/* batch_emit.c - the jobs of a manifest for Slurm, Ninja, Kubernetes and GNU parallel. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "core/output.h"
#include "core/text_file.h"
#include "script_text.h"

/* Room beside the ceiling of --mem for the program itself. */
#define SPARE_MEM   (UINT64_C(64) << 20)
#define DEFAULT_MEM (UINT64_C(256) << 20)
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

static unsigned threads_of(const struct batch *b)
{
    return b->c->threads ? b->c->threads : 1;
}

static uint64_t mem_mib(const struct batch *b)
{
    const uint64_t mem = (b->c->mem ? b->c->mem : DEFAULT_MEM) + SPARE_MEM;
    return (mem + (1u << 20) - 1) >> 20;
}

/* number: what a shell makes the job's number of. */
static void put_job(FILE *f, const struct batch *b, const char *program, const char *number)
{
    fprintf(f, "%s batch ", program);
    script_word(f, b->m.path);
    fprintf(f, " --job %s/%" PRIu32 " -j %u", number, b->m.njobs, threads_of(b));
    if (b->c->mem)
        fprintf(f, " --mem %" PRIu64, b->c->mem);
    if (b->c->check_hashes)
        fputs(" --check-hashes", f);
}

#define PROGRAM "\"${QUERN:-quern}\""

/* ---- Slurm ---------------------------------------------------------------------------------- */

/* Tasks count from 1 in each array, whose numbers may not be large. A job is a step that gets
 * SIGTERM before a preemption, and then asks to be queued again, as the parts of a plan do. */
static void put_array(FILE *f, const struct batch *b, uint32_t first, uint32_t n)
{
    char number[64];
    snprintf(number, sizeof number, "\"$((SLURM_ARRAY_TASK_ID + %" PRIu32 "))\"", first);
    fprintf(f,
            "id=$(sbatch --parsable --job-name=quern-batch --array=1-%" PRIu32 " $after \\\n"
            "    --cpus-per-task=%u --mem=%" PRIu64 "M --requeue --signal=TERM@60 \\\n"
            "    --open-mode=append <<'END'\n"
            "#!/bin/sh\n"
            "code=0\n"
            "srun --ntasks=1 --cpus-per-task=%u --input=none ",
            n, threads_of(b), mem_mib(b), threads_of(b));
    put_job(f, b, PROGRAM, number);
    fputs(" || code=$?\n"
          "# told to stop: it goes on later, perhaps elsewhere\n"
          "if [ $code -eq 143 ] && scontrol requeue \"$SLURM_JOB_ID\"; then sleep 600; fi\n"
          "exit $code\n"
          "END\n)\n"
          "ids=$ids:${id%%;*}\n"
          "echo \"Submitted ${id%%;*}\"\n",
          f);
}

static void emit_slurm(FILE *f, const struct batch *b)
{
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

static void emit_parallel(FILE *f, const struct batch *b)
{
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

static void put_ninja_rule(FILE *f, const struct batch *b)
{
    struct text_file t;
    size_t n;
    if (!text_file_begin(&t))
        return;
    put_job(t.f, b, PROGRAM, "\"$JOB\"");
    char *text = text_file_end(&t, &n);
    fprintf(f, "rule job\n  description = job $job of %" PRIu32 ": $name\n  command = JOB=$job; ",
            b->m.njobs);
    script_ninja(f, text ? text : "", false);
    fputs(" -q\n\nbuild quern-always: phony\n", f);
    free(text);
}

static void emit_ninja(FILE *f, const struct batch *b)
{
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

static void put_command(FILE *f, const struct batch *b, uint32_t first)
{
    struct text_file t;
    size_t n;
    char number[64];
    if (!text_file_begin(&t))
        return;
    snprintf(number, sizeof number, "\"$((JOB_COMPLETION_INDEX + %" PRIu32 "))\"", first + 1);
    fputs("exec ", t.f);
    put_job(t.f, b, "quern", number);
    char *text = text_file_end(&t, &n);
    script_yaml(f, text ? text : "");
    free(text);
}

/* Exit codes 1 to 4 and 7 do not get better by trying again. */
static void put_level(FILE *f, const struct batch *b, uint32_t level)
{
    const uint32_t first = first_of(&b->m, level), n = first_of(&b->m, level + 1) - first;
    fprintf(f,
            "%sapiVersion: batch/v1\n"
            "kind: Job\n"
            "metadata:\n"
            "  name: quern-batch-%" PRIu32 "\n"
            "spec:\n"
            "  suspend: %s\n"
            "  completionMode: Indexed\n"
            "  completions: %" PRIu32 "\n"
            "  parallelism: %" PRIu32 "\n"
            "  backoffLimitPerIndex: 3\n"
            "  podFailurePolicy:\n"
            "    rules:\n"
            "    - action: FailIndex\n"
            "      onExitCodes: {containerName: quern, operator: In, values: [1, 2, 3, 4, 7]}\n"
            "  template:\n"
            "    spec:\n"
            "      restartPolicy: Never\n"
            "      containers:\n"
            "      - name: quern\n"
            "        image: quern:%s\n"
            "        workingDir: /work\n"
            "        command:\n"
            "        - sh\n"
            "        - -c\n"
            "        - ",
            level ? "---\n" : "", level + 1, level ? "true" : "false", n, n < 16 ? n : 16,
            quern_version());
    put_command(f, b, first);
    fprintf(f,
            "\n        resources:\n"
            "          requests: {cpu: \"%u\", memory: %" PRIu64 "Mi}\n"
            "          limits: {memory: %" PRIu64 "Mi}\n"
            "        volumeMounts:\n"
            "        - {name: work, mountPath: /work}\n"
            "      volumes:\n"
            "      - name: work\n"
            "        persistentVolumeClaim: {claimName: quern-work}\n",
            threads_of(b), mem_mib(b), mem_mib(b));
}

static void emit_kubernetes(FILE *f, const struct batch *b)
{
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
    const char *name, *suffix;
    void (*emit)(FILE *f, const struct batch *b);
} schedulers[] = {
    {"slurm",    ".slurm.sh",    emit_slurm     },
    {"ninja",    ".ninja",       emit_ninja     },
    {"k8s",      ".k8s.yaml",    emit_kubernetes},
    {"parallel", ".parallel.sh", emit_parallel  },
};

static enum quern_status write_script(const struct batch *b,
                                      void (*put)(FILE *f, const struct batch *b), const char *path,
                                      struct quern_error *err)
{
    struct text_file t;
    size_t n = 0;
    TRY(output_check(path, false, b->c->force, err));
    if (!text_file_begin(&t))
        return fail_memory(err, sizeof t);
    put(t.f, b);
    char *text = text_file_end(&t, &n);
    const enum quern_status s =
        text ? output_write(path, (struct str){text, n}, 0, b->c->force, err) : fail_memory(err, n);
    free(text);
    return s;
}

enum quern_status batch_emit(struct batch *b, const char **path, struct quern_error *err)
{
    const struct str m = str_from(b->m.path);
    const size_t n = m.n - (str_ends(m, ".yml") ? 4 : str_ends(m, ".yaml") ? 5 : 0);
    for (size_t i = 0; i < sizeof schedulers / sizeof *schedulers; i++) {
        if (strcmp(schedulers[i].name, b->c->emit) != 0)
            continue;
        *path = arena_printf(&b->arena, "%.*s%s", (int)n, m.p, schedulers[i].suffix);
        return *path ? write_script(b, schedulers[i].emit, *path, err) : fail_memory(err, m.n);
    }
    return fail(err, QUERN_EUSAGE, "usage", "there is no scheduler '%s'", b->c->emit);
}
