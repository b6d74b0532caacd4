/* scheduler.c - quote words for shells, Ninja and YAML; tasks of Slurm and Kubernetes. */
#include "scheduler.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/output.h"
#include "core/text_file.h"

/* Room beside the ceiling of --mem for the program itself. */
#define SPARE_MEM   (UINT64_C(64) << 20)
#define DEFAULT_MEM (UINT64_C(256) << 20)

/* ---- which ---------------------------------------------------------------------------------- */

static const struct {
    const char *name, *hint; /* a blank at the end: the name of the file belongs there */
} schedulers[NSCHEDULERS] = {
    [SLURM] = {"slurm",    "start it with: sbatch "             },
    [NINJA] = {"ninja",    "start it with: ninja -f "           },
    [K8S] = {"k8s",      "its first lines say how to start it"},
    [PARALLEL] = {"parallel", "start it with: sh "                 },
};

int scheduler_of(const struct cli *c, enum scheduler *out)
{
    *out = c->emit ? SLURM : NSCHEDULERS;
    while (*out < NSCHEDULERS && strcmp(schedulers[*out].name, c->emit) != 0)
        ++*out;
    return !c->emit || *out < NSCHEDULERS
               ? 0
               : usage_error(c, "--emit '%s': expected slurm, ninja, k8s or parallel",
                             quoted(str_from(c->emit)).text);
}

const char *scheduler_hint(enum scheduler s, const char *script, struct arena *arena)
{
    const char *hint = schedulers[s].hint;
    return arena_printf(arena, "%s%s", hint,
                        str_ends(str_from(hint), " ") ? quoted(str_from(script)).text : "");
}

const char *scheduler_number(uint64_t *base)
{
    const char *slurm = getenv("SLURM_ARRAY_TASK_ID"), *k8s = getenv("JOB_COMPLETION_INDEX");
    *base = slurm ? 1 : 0;
    return slurm ? slurm : k8s;
}

/* ---- text ----------------------------------------------------------------------------------- */

void script_word(FILE *f, const char *word)
{
    fputc('\'', f);
    for (; *word; word++)
        if (*word == '\'')
            fputs("'\\''", f);
        else
            fputc(*word, f);
    fputc('\'', f);
}

void script_ninja(FILE *f, const char *text, bool path)
{
    for (; *text; text++) {
        if (*text == '$' || (path && (*text == ' ' || *text == ':')))
            fputc('$', f);
        fputc(*text, f);
    }
}

void script_yaml(FILE *f, const char *text)
{
    fputc('"', f);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', f);
        fputc(*text, f);
    }
    fputc('"', f);
}

/* ---- tasks ---------------------------------------------------------------------------------- */

uint64_t script_mem_mib(const struct cli *c, uint64_t least)
{
    const uint64_t ceiling = c->mem ? c->mem : DEFAULT_MEM;
    const uint64_t mem = (ceiling > least ? ceiling : least) + SPARE_MEM;
    return (mem + (1u << 20) - 1) >> 20;
}

unsigned script_threads(const struct cli *c)
{
    return c->threads ? c->threads : 1;
}

void script_slurm_begin(FILE *f, unsigned threads)
{
    fprintf(f,
            "#!/bin/sh\n"
            "code=0\n"
            "srun --ntasks=1 --cpus-per-task=%u --input=none ",
            threads);
}

void script_slurm_end(FILE *f)
{
    fputs(" || code=$?\n"
          "# told to stop: it goes on later, perhaps elsewhere\n"
          "if [ $code -eq 143 ] && scontrol requeue \"$SLURM_JOB_ID\"; then sleep 600; fi\n"
          "exit $code\n"
          "END\n)\n",
          f);
}

void script_indexed_job(FILE *f, const char *name, const char *suspend, uint32_t n,
                        const char *codes)
{
    fprintf(f,
            "apiVersion: batch/v1\n"
            "kind: Job\n"
            "metadata:\n"
            "  name: quern-%s\n"
            "spec:\n%s"
            "  completionMode: Indexed\n"
            "  completions: %" PRIu32 "\n"
            "  parallelism: %" PRIu32 "\n"
            "  backoffLimitPerIndex: 3\n"
            "  podFailurePolicy:\n"
            "    rules:\n"
            "    - action: FailIndex\n"
            "      onExitCodes: {containerName: quern, operator: In, values: [%s]}\n"
            "  template:\n",
            name, suspend, n, n < 16 ? n : 16, codes);
}

void script_pod_begin(FILE *f)
{
    fprintf(f,
            "    spec:\n"
            "      restartPolicy: Never\n"
            "      containers:\n"
            "      - name: quern\n"
            "        image: quern:%s\n"
            "        workingDir: /work\n"
            "        command:\n",
            quern_version());
}

void script_pod_end(FILE *f, unsigned threads, uint64_t mem_mib)
{
    fprintf(f,
            "\n        resources:\n"
            "          requests: {cpu: \"%u\", memory: %" PRIu64 "Mi}\n"
            "          limits: {memory: %" PRIu64 "Mi}\n"
            "        volumeMounts:\n"
            "        - {name: work, mountPath: /work}\n"
            "      volumes:\n"
            "      - name: work\n"
            "        persistentVolumeClaim: {claimName: quern-work}\n",
            threads, mem_mib, mem_mib);
}

/* ---- the file ------------------------------------------------------------------------------- */

/* malloc'ed; NULL when memory ran out. */
static char *text_of(script_fn *put, const void *what, size_t *n)
{
    struct text_file t;
    if (!text_file_begin(&t))
        return NULL;
    put(t.f, what);
    return text_file_end(&t, n);
}

enum quern_status script_write(const char *path, bool force, script_fn *put, const void *what,
                               struct quern_error *err)
{
    size_t n = 0;
    TRY(output_check(path, false, force, err));
    char *text = text_of(put, what, &n);
    const enum quern_status s =
        text ? output_write(path, (struct str){text, n}, 0, force, err) : fail_memory(err, n);
    free(text);
    return s;
}

void script_put_ninja(FILE *f, script_fn *put, const void *what)
{
    size_t n;
    char *text = text_of(put, what, &n);
    script_ninja(f, text ? text : "", false);
    free(text);
}

void script_put_yaml(FILE *f, script_fn *put, const void *what)
{
    size_t n;
    char *text = text_of(put, what, &n);
    script_yaml(f, text ? text : "");
    free(text);
}
