/* batch_report.c - what became of the jobs: a line for each, a table, JSON. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "batch.h"
#include "core/archive.h"

static const struct {
    const char *word, *key;
} verdicts[] = {
    [JOB_NOT_RUN] = {"not run",    "not_run"   },
    [JOB_WOULD_RUN] = {"to run",     "to_run"    },
    [JOB_UP_TO_DATE] = {"up to date", "up_to_date"},
    [JOB_DONE] = {"done",       "done"      },
    [JOB_FAILED] = {"FAILED",     "failed"    },
    [JOB_STOPPED] = {"stopped",    "stopped"   },
};
#define NVERDICTS (sizeof verdicts / sizeof *verdicts)

/* What there is to say besides the verdict. */
static const char *detail_of(const struct job_report *r)
{
    const bool of_itself =
        r->verdict == JOB_DONE || r->verdict == JOB_STOPPED || r->verdict == JOB_FAILED;
    return r->error[0] ? r->error : of_itself ? "" : r->reason;
}

static void verdict_text(const struct job_report *r, char text[24])
{
    if (r->code)
        snprintf(text, 24, "%s (%d)", verdicts[r->verdict].word, r->code);
    else
        snprintf(text, 24, "%s", verdicts[r->verdict].word);
}

static void time_text(const struct job_report *r, char text[24])
{
    if (r->verdict == JOB_NOT_RUN || r->verdict == JOB_WOULD_RUN || r->verdict == JOB_UP_TO_DATE)
        snprintf(text, 24, "-");
    else if (r->seconds < 600)
        snprintf(text, 24, "%.1f s", r->seconds);
    else
        snprintf(text, 24, "%.0f min", r->seconds / 60);
}

static bool has_line(const struct batch *b)
{
    return !b->c->quiet && isatty(STDERR_FILENO);
}

void batch_tell_running(const struct batch *b, const uint32_t *jobs, unsigned n, uint32_t ended,
                        uint32_t of)
{
    if (!has_line(b))
        return;
    const unsigned width = terminal_width(stderr);
    unsigned used =
        (unsigned)fprintf(stderr, "\r\033[K[%" PRIu32 "/%" PRIu32 "] running:", ended, of) - 4;
    for (unsigned i = 0; i < n; i++) {
        const struct quoted name = quoted(str_from(b->m.jobs[jobs[i]].name));
        const unsigned more = (unsigned)strlen(name.text) + 2;
        if (used + more + 4 > width) {
            fputs(" ...", stderr);
            break;
        }
        used += more;
        fprintf(stderr, "%s%s", i ? ", " : " ", name.text);
    }
    fflush(stderr);
}

void batch_tell_job(const struct batch *b, uint32_t job, const struct job_report *r, uint32_t ended,
                    uint32_t of)
{
    char verdict[24], seconds[24], size[16];
    if (b->c->quiet && r->code == 0)
        return;
    verdict_text(r, verdict);
    time_text(r, seconds);
    if (has_line(b))
        fputs("\r\033[K", stderr);
    const struct quoted name = quoted(str_from(b->m.jobs[job].name));
    const bool again = strcmp(r->reason, NEVER_RAN) != 0;
    if (r->verdict == JOB_DONE)
        say("[%" PRIu32 "/%" PRIu32 "] %s: %s, %s%s%s%s%s%s", ended, of, name.text, verdict,
            seconds, r->nbytes ? ", " : "", r->nbytes ? human_bytes(r->nbytes, size) : "",
            again ? " (" : "", again ? r->reason : "", again ? ")" : "");
    else
        say("[%" PRIu32 "/%" PRIu32 "] %s: %s%s%s", ended, of, name.text, verdict,
            *detail_of(r) ? ": " : "", detail_of(r));
}

/* ---- the table ------------------------------------------------------------------------------ */

static void count_verdicts(const struct batch *b, const struct job_report *reports,
                           uint32_t counts[NVERDICTS])
{
    memset(counts, 0, NVERDICTS * sizeof *counts);
    for (uint32_t i = 0; i < b->m.njobs; i++)
        if (b->chosen[i])
            counts[reports[i].verdict]++;
}

static int name_width(const struct batch *b)
{
    size_t most = 3;
    for (uint32_t i = 0; i < b->m.njobs; i++) {
        const size_t n = strlen(quoted(str_from(b->m.jobs[i].name)).text);
        if (b->chosen[i] && n > most)
            most = n;
    }
    return most < 48 ? (int)most : 48;
}

static void print_table(FILE *f, const struct batch *b, const struct job_report *reports)
{
    uint32_t counts[NVERDICTS], total = 0;
    const int width = name_width(b);
    fprintf(f, "%s%5s  %-*s  %-12s %8s %9s%s\n", dim(f), "", width, "job", "", "time", "size",
            plain(f));
    for (uint32_t i = 0; i < b->m.njobs; i++) {
        const struct job_report *r = &reports[i];
        char verdict[24], seconds[24], size[16];
        if (!b->chosen[i])
            continue;
        verdict_text(r, verdict);
        time_text(r, seconds);
        fprintf(f, "%5" PRIu32 "  %-*s  %-12s %8s %9s%s%s\n", i + 1, width,
                quoted(str_from(b->m.jobs[i].name)).text, verdict, seconds,
                r->nbytes ? human_bytes(r->nbytes, size) : "-", *detail_of(r) ? "  " : "",
                detail_of(r));
    }
    count_verdicts(b, reports, counts);
    for (size_t v = 0; v < NVERDICTS; v++)
        total += counts[v];
    fprintf(f, "%" PRIu32 " job%s", total, total == 1 ? "" : "s");
    for (size_t v = NVERDICTS; v-- > 0;)
        if (counts[v])
            fprintf(f, ", %" PRIu32 " %s", counts[v], verdicts[v].word);
    if (counts[JOB_FAILED])
        fprintf(f, "; logs are in %s", quoted(str_from(b->dir)).text);
    fputc('\n', f);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void outputs_json(struct json_writer *w, const struct batch *b, uint32_t job)
{
    struct job_state s;
    json_key(w, "outputs");
    json_open(w, '[');
    if (state_read(b, job, &s, NULL) == QUERN_OK && s.stage == STAGE_DONE)
        for (uint32_t i = 0; i < s.outputs.count; i++) {
            json_open(w, '{');
            field_text(w, "path", s.outputs.items[i].path);
            field_u64(w, "bytes", s.outputs.items[i].nbytes);
            if (s.outputs.items[i].sha256[0])
                field_text(w, "sha256", s.outputs.items[i].sha256);
            json_close(w, '}');
        }
    state_free(&s);
    json_close(w, ']');
}

static void job_json(struct json_writer *w, const struct batch *b, uint32_t job,
                     const struct job_report *r)
{
    struct arena arena = {0};
    const struct batch_job *j = &b->m.jobs[job];
    json_open(w, '{');
    field_u64(w, "number", job + 1);
    field_text(w, "name", j->name);
    field_text(w, "verdict", verdicts[r->verdict].key);
    if (r->reason[0])
        field_text(w, "reason", r->reason);
    if (r->error[0])
        field_text(w, "error", r->error);
    field_u64(w, "exit", (uint64_t)r->code);
    if (r->verdict == JOB_DONE || r->verdict == JOB_FAILED || r->verdict == JOB_STOPPED)
        field_f64(w, "seconds", r->seconds);
    const char *log = state_path(b, job, ".log", &arena);
    if (log && path_exists(log))
        field_text(w, "log", log);
    json_key(w, "words");
    json_open(w, '[');
    json_put_text(w, j->command->name);
    for (uint32_t i = 0; i < j->nwords; i++)
        json_put_text(w, j->words[i]);
    json_close(w, ']');
    json_key(w, "needs");
    json_open(w, '[');
    for (uint32_t i = 0; i < j->nneeds; i++)
        json_put_text(w, b->m.jobs[j->needs[i]].name);
    json_close(w, ']');
    if (r->verdict == JOB_DONE || r->verdict == JOB_UP_TO_DATE)
        outputs_json(w, b, job);
    json_close(w, '}');
    arena_free(&arena);
}

static void print_object(const struct batch *b, const struct job_report *reports, int code)
{
    struct json_writer w = {0};
    uint32_t counts[NVERDICTS];
    json_open(&w, '{');
    field_text(&w, "command", "batch");
    field_text(&w, "manifest", b->m.path);
    json_key(&w, "jobs");
    json_open(&w, '[');
    for (uint32_t i = 0; i < b->m.njobs; i++)
        if (b->chosen[i])
            job_json(&w, b, i, &reports[i]);
    json_close(&w, ']');
    count_verdicts(b, reports, counts);
    for (size_t v = NVERDICTS; v-- > 0;)
        field_u64(&w, verdicts[v].key, counts[v]);
    field_u64(&w, "status", (uint64_t)code);
    json_close(&w, '}');
    print_json(&w);
}

int batch_summary(const struct batch *b, const struct job_report *reports, bool dry_run)
{
    int code = stop_signal ? 128 + stop_signal : 0;
    for (uint32_t i = 0; i < b->m.njobs && !dry_run; i++)
        if (b->chosen[i] && code == 0)
            code = reports[i].code;
    if (b->c->json)
        print_object(b, reports, code);
    else if (dry_run)
        print_table(stdout, b, reports);
    else if (!b->c->quiet)
        print_table(stderr, b, reports);
    if (stop_signal && !b->c->quiet && !dry_run)
        say("quern: stopped by signal %d; run the same command again to go on", stop_signal);
    return code;
}
