/* cmd_run.c - quern run: one part of a plan. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/io.h"
#include "core/output.h"
#include "core/text_file.h"
#include "job_file.h"
#include "pipeline/hashing.h"
#include "pipeline/publish.h"
#include "scheduler.h"

#define MAX_ATTEMPTS 100u
#define LONGEST_HOST 64
#define MAX_MADE     (4u << 20)

/* A directory of our own in which a part is made. Another copy of this run may be under way, here
 * or on a machine that is believed dead: both make the same bytes, each in its own place. */
struct attempt {
    char *path;
    int fd; /* locked */
};

struct part_run {
    const struct cli *outer;
    struct job *job;
    uint32_t part;
    bool measures; /* it is one of the stage before */
    struct attempt attempt;
};

/* ---- which part ----------------------------------------------------------------------------- */

static int choose_part(const struct cli *c, uint32_t nparts, uint32_t *part)
{
    uint64_t base = 1, n, of = nparts;
    const char *text = c->part && strcmp(c->part, "auto") != 0 ? c->part : NULL;
    if (!text && !(text = scheduler_number(&base)))
        return usage_error(c,
                           "which part? expected --part I, 1 to %u (or SLURM_ARRAY_TASK_ID or "
                           "JOB_COMPLETION_INDEX in the environment)",
                           nparts);
    const char *slash = strchr(text, '/');
    const struct str number = {text, slash ? (size_t)(slash - text) : strlen(text)};
    if (!str_to_u64(number, &n) || (slash && !str_to_u64(str_from(slash + 1), &of)) || n < base ||
        n - base >= nparts)
        return usage_error(c, "part '%s': expected a number from %" PRIu64 " to %" PRIu64,
                           quoted(str_from(text)).text, base, base + nparts - 1);
    if (of != nparts)
        return usage_error(c, "part '%s': there %s %u part%s", quoted(str_from(text)).text,
                           nparts == 1 ? "is" : "are", nparts, nparts == 1 ? "" : "s");
    *part = (uint32_t)(n - base);
    return 0;
}

static int choose_stage(const struct cli *c, const struct job *j, bool *measures)
{
    *measures = c->stage && strcmp(c->stage, "stats") == 0;
    if (c->stage && !*measures && strcmp(c->stage, "run") != 0)
        return usage_error(c, "--stage '%s': expected stats or run",
                           quoted(str_from(c->stage)).text);
    if (*measures && j->nstats == 0)
        return usage_error(c, "the plan has no stage that measures: quern plan --stages makes one");
    return 0;
}

/* ---- the directory -------------------------------------------------------------------------- */

static void host_name(char name[LONGEST_HOST + 1])
{
    if (gethostname(name, LONGEST_HOST) != 0)
        snprintf(name, LONGEST_HOST, "host");
    name[LONGEST_HOST] = '\0';
    for (char *p = name; *p; p++)
        if (*p == '/' || *p == '.')
            *p = '-';
}

/* The first that nobody holds: one that a killed run has left is gone on with, if it was of the
 * same plan. */
static enum quern_status attempt_begin(struct part_run *r, struct quern_error *err)
{
    char host[LONGEST_HOST + 1];
    host_name(host);
    TRY(output_make_dir(r->job->work, err));
    TRY(output_make_dir(r->job->made_in, err));
    for (unsigned k = 0; k < MAX_ATTEMPTS; k++) {
        char *path = arena_printf(&r->job->arena, "%s/part-%05u.%.16s.%s.%u", r->job->work,
                                  r->part + 1, r->job->digest, host, k);
        if (!path)
            return fail_memory(err, strlen(r->job->work));
        TRY(output_make_dir(path, err));
        const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            return fail_errno(err, path, "open the directory");
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) {
            r->attempt = (struct attempt){path, fd};
            return QUERN_OK;
        }
        close(fd);
    }
    return in_file(err, r->job->work,
                   fail(err, QUERN_EEXIST, "locked", "%u runs of part %u are under way",
                        MAX_ATTEMPTS, r->part + 1));
}

/* ---- the work ------------------------------------------------------------------------------- */

/* Where slice i of the part is before it is handed in. */
static struct byte_range being_made(const struct part_run *r, const struct division *d, uint32_t i)
{
    return slice_place(d, d->shared ? r->job->made_in : r->attempt.path,
                       d->portions[r->part].first_slice + i, &r->job->arena);
}

static enum quern_status hash_slices(const struct part_run *r, const struct division *d, uint32_t n,
                                     char (*hex)[65], struct quern_error *err)
{
    const struct quern_run_options options = {
        .threads = r->outer->threads, .mem_bytes = r->outer->mem, .cancel = &stop_signal};
    struct byte_range *ranges = ARENA_NEW(&r->job->arena, struct byte_range, n);
    for (uint32_t i = 0; ranges && i < n; i++) {
        ranges[i] = being_made(r, d, i);
        if (!ranges[i].path)
            ranges = NULL;
    }
    return ranges ? hash_ranges(ranges, n, &options, hex, err)
                  : fail_memory(err, n * sizeof *ranges);
}

/* ---- what is made but not handed in ---------------------------------------------------------- */

/* Being stopped while sums are taken then costs no more than taking them again. The file has the
 * marks of the slices: it is about these and no others. */
static char *made_text(const struct part_run *r, const struct division *d)
{
    struct text_file t;
    size_t n;
    bool there = true;
    if (!text_file_begin(&t))
        return NULL;
    for (uint32_t i = 0; i < d->portions[r->part].nslices; i++) {
        const char *path = being_made(r, d, i).path;
        const uint64_t mark = path ? output_mark(path) : 0;
        there &= mark != 0;
        fprintf(t.f, "%" PRIu64 "\n", mark);
    }
    char *text = text_file_end(&t, &n);
    if (there)
        return text;
    free(text);
    return NULL;
}

static const char *made_path(const struct part_run *r)
{
    return arena_printf(&r->job->arena, "%s/made", r->attempt.path);
}

static bool was_made(const struct part_run *r, const struct division *d)
{
    struct str text;
    char *want = made_text(r, d);
    const char *path = made_path(r);
    const bool made = want && path && path_exists(path) &&
                      read_small_file(path, MAX_MADE, &r->job->arena, &text, NULL) == QUERN_OK &&
                      str_is(text, want);
    free(want);
    return made;
}

static enum quern_status mark_made(const struct part_run *r, const struct division *d,
                                   struct quern_error *err)
{
    char *text = made_text(r, d);
    const char *path = made_path(r);
    const enum quern_status s = text && path ? output_write(path, str_from(text), 0, true, err)
                                             : fail_memory(err, MAX_MADE);
    free(text);
    return s;
}

static enum quern_status make_slices(const struct part_run *r, struct cli *c, struct plan *p,
                                     const struct division *d, int *code, struct quern_error *err)
{
    p->goes_on = !r->outer->force;
    *code = 0;
    catch_signals();
    if (!r->outer->force && was_made(r, d))
        return QUERN_OK;
    *code = run_quietly(c, p);
    return *code ? QUERN_OK : mark_made(r, d, err);
}

/* ---- handing in ----------------------------------------------------------------------------- */

/* Sums first, then names, then the record: whoever reads it finds what it tells of. */
static enum quern_status hand_in(struct part_run *r, const struct division *d,
                                 struct quern_error *err)
{
    struct arena *a = &r->job->arena;
    const struct portion *q = &d->portions[r->part];
    char(*hex)[65] = arena_array(a, q->nslices, sizeof *hex);
    if (!hex)
        return fail_memory(err, q->nslices * sizeof *hex);
    TRY(hash_slices(r, d, q->nslices, hex, err));
    for (uint32_t i = 0; !d->shared && i < q->nslices; i++) {
        const char *made = slice_path(r->attempt.path, q->first_slice + i, a);
        const char *final = slice_path(r->job->work, q->first_slice + i, a);
        if (!made || !final)
            return fail_memory(err, strlen(r->attempt.path));
        if (rename(made, final) != 0)
            return fail_errno(err, final, "rename the finished slice");
    }
    const char *any = slice_place(d, r->job->made_in, 0, a).path;
    TRY(any ? output_sync_dir(any, err) : fail_memory(err, strlen(r->job->work)));
    TRY(done_write(r->job, d, r->part, (const char(*)[65])hex, err));
    const char *made = made_path(r);
    if (made)
        unlink(made);
    rmdir(r->attempt.path);
    return QUERN_OK;
}

static uint32_t parts_done(const struct job *j, const struct division *d)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < d->count; k++) {
        enum done done = DONE_NOT;
        done_read(j, d, k, &done, NULL, NULL);
        n += done == DONE;
    }
    return n;
}

static void tell(const struct part_run *r, const struct division *d, bool before)
{
    const struct cli *c = r->outer;
    uint64_t nbytes = 0;
    char size[16];
    for (uint32_t i = 0; i < d->portions[r->part].nslices; i++)
        nbytes += d->slices[d->portions[r->part].first_slice + i].nbytes;
    if (c->json) {
        struct json_writer w = {0};
        json_open(&w, '{');
        field_text(&w, "command", "run");
        field_u64(&w, "part", r->part + 1);
        field_u64(&w, "parts", d->count);
        field_u64(&w, "bytes", nbytes);
        json_key(&w, "was_done");
        json_put_bool(&w, before);
        field_u64(&w, "done", parts_done(r->job, d));
        json_close(&w, '}');
        print_json(&w);
    } else if (!c->quiet) {
        say("part %u of %u %s: %s; done in all: %u", r->part + 1, d->count,
            before ? "was done before" : "is done", human_bytes(nbytes, size),
            parts_done(r->job, d));
    }
}

static int make_part(struct part_run *r, struct cli *c, struct plan *p, const struct division *d)
{
    struct quern_error err;
    int code = 0;
    enum quern_status s = attempt_begin(r, &err);
    if (s == QUERN_OK)
        s = stats_take(r->job, p, d, r->part, &err);
    if (s == QUERN_OK)
        s = plan_keep_portion(p, d, r->part, r->attempt.path, r->job->made_in, &err);
    if (s == QUERN_OK)
        s = make_slices(r, c, p, d, &code, &err);
    if (code == 0 && s == QUERN_OK)
        s = hand_in(r, d, &err);
    if (code == 0 && s == QUERN_OK)
        tell(r, d, false);
    return code ? code : s == QUERN_OK ? 0 : report_ended(c, &err);
}

static int take(struct cli *c, struct plan *p, struct division *d, void *data)
{
    struct part_run *r = data;
    struct quern_error err;
    if (r->measures)
        return output_make_dir(r->job->work, &err) == QUERN_OK
                   ? measure_part(r->outer, c, r->job, p, r->part)
                   : report_error(c, &err);
    enum done done = DONE_NOT;
    enum quern_status s = done_read(r->job, d, r->part, &done, NULL, &err);
    if (s == QUERN_OK && done == DONE && !r->outer->force) {
        tell(r, d, true);
        return 0;
    }
    if (s == QUERN_OK)
        s = publish_check(p, &err);
    if (s != QUERN_OK)
        return report_error(c, &err);
    const int code = make_part(r, c, p, d);
    if (r->attempt.path)
        close(r->attempt.fd);
    return code;
}

int cmd_run(struct cli *c)
{
    struct quern_error err;
    struct job j;
    if (c->args.count != 1)
        return usage_error(c, "expected one PLAN, got %zu arguments", c->args.count);
    if (job_file_read(c->args.items[0], &j, &err) != QUERN_OK)
        return report_error(c, &err);
    struct part_run r = {.outer = c, .job = &j};
    int code = choose_stage(c, &j, &r.measures);
    if (code == 0)
        code = choose_part(c, r.measures ? j.nstats : j.nparts, &r.part);
    if (code == 0)
        code = job_plan(c, &j, take, &r);
    job_free(&j);
    return code;
}
