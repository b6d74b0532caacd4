/* cmd_batch.c - quern batch: many jobs from one file. */
#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "core/cores.h"
#include "core/output.h"
#include "mistake_list.h"

/* ---- the manifest --------------------------------------------------------------------------- */

static int read_manifest(struct batch *b)
{
    struct mistake_list mistakes;
    struct quern_error err;
    const bool hears = mistake_list_begin(&mistakes);
    const struct mistake_sink sink = {mistake_list_add, &mistakes};
    int code = 0;
    if (manifest_read(b->c->args.items[0], &b->m, hears ? &sink : NULL, &err) != QUERN_OK)
        code = mistakes.total > 1
                   ? report_errors(b->c, mistakes.items, mistakes.count, mistakes.total)
                   : report_error(b->c, &err);
    free(mistakes.items);
    return code;
}

/* ---- which jobs ----------------------------------------------------------------------------- */

static bool is_wanted(const struct cli *c, const char *name)
{
    for (size_t i = 0; i < c->only.count; i++)
        if (fnmatch(c->only.items[i], name, 0) == 0)
            return true;
    return c->only.count == 0;
}

static int no_match(const struct batch *b, const char *pattern)
{
    const char *names[256];
    size_t n = 0;
    for (uint32_t i = 0; i < b->m.njobs && n < 256; i++)
        names[n++] = b->m.jobs[i].name;
    const char *near = closest(str_from(pattern), names, n);
    return usage_error(b->c, "there is no job '%s'%s%s%s", quoted(str_from(pattern)).text,
                       near ? "; did you mean '" : "", near ? quoted(str_from(near)).text : "",
                       near ? "'?" : "");
}

static int choose(struct batch *b)
{
    for (size_t k = 0; k < b->c->only.count; k++) {
        bool any = false;
        for (uint32_t i = 0; i < b->m.njobs; i++)
            any |= fnmatch(b->c->only.items[k], b->m.jobs[i].name, 0) == 0;
        if (!any)
            return no_match(b, b->c->only.items[k]);
    }
    /* Needs come before, so one pass from the end finds all of them. */
    for (uint32_t i = b->m.njobs; i-- > 0;) {
        b->chosen[i] |= is_wanted(b->c, b->m.jobs[i].name);
        for (uint32_t k = 0; b->chosen[i] && k < b->m.jobs[i].nneeds; k++)
            b->chosen[b->m.jobs[i].needs[k]] = true;
    }
    return 0;
}

/* "I", "I/N", a name, or auto: the scheduler's number. */
static int choose_one(const struct batch *b, uint32_t *job)
{
    uint64_t base = 1, n, of = b->m.njobs;
    const char *text = b->c->job;
    if (strcmp(text, "auto") == 0 && !(text = scheduler_number(&base)))
        return usage_error(b->c, "which job? expected SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX "
                                 "in the environment");
    const char *slash = strchr(text, '/');
    const struct str number = {text, slash ? (size_t)(slash - text) : strlen(text)};
    if (!str_to_u64(number, &n)) {
        for (*job = 0; *job < b->m.njobs; ++*job)
            if (strcmp(b->m.jobs[*job].name, text) == 0)
                return 0;
        return no_match(b, text);
    }
    n += 1 - base;
    if ((slash && !str_to_u64(str_from(slash + 1), &of)) || of != b->m.njobs)
        return usage_error(b->c, "job '%s': the manifest has %" PRIu32 " jobs",
                           quoted(str_from(text)).text, b->m.njobs);
    if (n < 1 || n > b->m.njobs)
        return usage_error(b->c, "job '%s': expected a number from 1 to %" PRIu32,
                           quoted(str_from(text)).text, b->m.njobs);
    *job = (uint32_t)n - 1;
    return 0;
}

/* ---- running -------------------------------------------------------------------------------- */

/* Jobs that run at the same time share threads and memory. */
static void share(struct batch *b)
{
    const unsigned at_once = b->c->jobs && !b->c->job ? b->c->jobs : 1;
    b->threads = b->c->threads;
    if (at_once > 1) {
        const unsigned all = b->threads ? b->threads : usable_cores();
        b->threads = all > at_once ? all / at_once : 1;
    }
    b->mem = b->c->mem / at_once;
}

static int make_dir(const struct batch *b)
{
    struct quern_error err;
    return output_make_dir(b->dir, &err) == QUERN_OK ? 0 : report_error(b->c, &err);
}

static int run_one(const struct batch *b, struct job_report *reports)
{
    uint32_t job = 0;
    int code = choose_one(b, &job);
    if (code == 0)
        code = make_dir(b);
    if (code != 0)
        return code;
    memset(b->chosen, 0, b->m.njobs * sizeof *b->chosen);
    b->chosen[job] = true;
    code = batch_run_job(b, job, false, &reports[job]);
    if (b->c->json)
        return batch_summary(b, reports, false);
    batch_tell_job(b, job, &reports[job], 1, 1);
    return code;
}

/* What one that would run is needed by may run as well: it depends on what comes out. */
static int look_at_all(const struct batch *b, struct job_report *reports)
{
    for (uint32_t i = 0; i < b->m.njobs; i++) {
        const struct batch_job *job = &b->m.jobs[i];
        if (!b->chosen[i])
            continue;
        batch_look(b, i, &reports[i]);
        for (uint32_t k = 0; k < job->nneeds && reports[i].verdict == JOB_UP_TO_DATE; k++)
            if (reports[job->needs[k]].verdict == JOB_WOULD_RUN) {
                reports[i].verdict = JOB_WOULD_RUN;
                snprintf(reports[i].reason, sizeof reports[i].reason,
                         "when '%s' has made something else",
                         quoted(str_from(b->m.jobs[job->needs[k]].name)).text);
            }
    }
    return batch_summary(b, reports, true);
}

static int run_all(const struct batch *b, struct job_report *reports)
{
    struct quern_error err;
    const int code = make_dir(b);
    if (code != 0)
        return code;
    if (batch_run_all(b, reports, &err) != QUERN_OK)
        return report_error(b->c, &err);
    return batch_summary(b, reports, false);
}

static int emit(struct batch *b)
{
    struct quern_error err;
    struct json_writer w = {0};
    const char *path;
    if (batch_emit(b, &path, &err) != QUERN_OK)
        return report_error(b->c, &err);
    if (b->c->json) {
        json_open(&w, '{');
        field_text(&w, "command", "batch");
        field_text(&w, "manifest", b->m.path);
        field_u64(&w, "jobs", b->m.njobs);
        field_u64(&w, "levels", b->m.nlevels);
        field_text(&w, "script", path);
        json_close(&w, '}');
        print_json(&w);
    } else if (!b->c->quiet) {
        const char *hint = scheduler_hint(b->to, path, &b->arena);
        say("%s: %" PRIu32 " job%s; %s", quoted(str_from(path)).text, b->m.njobs,
            b->m.njobs == 1 ? "" : "s", hint ? hint : "");
    }
    return 0;
}

static int with_jobs(struct batch *b)
{
    struct quern_error err;
    struct job_report *reports = calloc(b->m.njobs + 1u, sizeof *reports);
    char *dir = output_beside(b->m.path, ".quern-batch");
    b->chosen = ARENA_NEW(&b->arena, bool, b->m.njobs + 1u);
    b->dir = dir;
    int code = 6;
    if (!reports || !dir || !b->chosen) {
        fail_memory(&err, b->m.njobs * sizeof *reports);
        report_error(b->c, &err);
    } else {
        share(b);
        code = choose(b);
        if (code == 0)
            code = b->c->emit      ? emit(b)
                   : b->c->job     ? run_one(b, reports)
                   : b->c->dry_run ? look_at_all(b, reports)
                                   : run_all(b, reports);
    }
    free(reports);
    free(dir);
    return code;
}

int cmd_batch(struct cli *c)
{
    struct batch b = {.c = c};
    if (c->args.count != 1)
        return usage_error(c, "expected one JOBS.yml, got %zu arguments", c->args.count);
    int code = scheduler_of(c, &b.to);
    if (code != 0)
        return code;
    if ((c->emit != NULL) + (c->job != NULL) + c->dry_run > 1)
        return usage_error(c, "--emit, --job and --dry-run exclude each other");
    if (c->only.count && (c->emit || c->job))
        return usage_error(c, "--only has no meaning with --emit and --job");
    code = read_manifest(&b);
    if (code == 0)
        code = with_jobs(&b);
    manifest_free(&b.m);
    arena_free(&b.arena);
    return code;
}
