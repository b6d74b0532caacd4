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
#include "job_file.h"
#include "pipeline/hashing.h"
#include "pipeline/publish.h"

#define MAX_ATTEMPTS 100u
#define LONGEST_HOST 64

/* A directory of our own in which a part is made. Another copy of this run may be under way, here
 * or on a machine that is believed dead: both make the same bytes, each in its own place. */
struct attempt {
    char *path;
    int fd;     /* locked */
    bool fresh; /* nobody has worked there */
};

struct part_run {
    const struct cli *outer;
    struct job *job;
    uint32_t part;
    struct attempt attempt;
    double seconds;
};

/* ---- which part ----------------------------------------------------------------------------- */

/* The scheduler's number: arrays of Slurm count as they were told, those of Kubernetes from 0. */
static const char *number_from_scheduler(uint64_t *base)
{
    const char *slurm = getenv("SLURM_ARRAY_TASK_ID"), *k8s = getenv("JOB_COMPLETION_INDEX");
    *base = slurm ? 1 : 0;
    return slurm ? slurm : k8s;
}

static int choose_part(const struct cli *c, const struct job *j, uint32_t *part)
{
    uint64_t base = 1, n, of = j->nparts;
    const char *text = c->part && strcmp(c->part, "auto") != 0 ? c->part : NULL;
    if (!text && !(text = number_from_scheduler(&base)))
        return usage_error(c,
                           "which part? expected --part I, 1 to %u (or SLURM_ARRAY_TASK_ID or "
                           "JOB_COMPLETION_INDEX in the environment)",
                           j->nparts);
    const char *slash = strchr(text, '/');
    const struct str number = {text, slash ? (size_t)(slash - text) : strlen(text)};
    if (!str_to_u64(number, &n) || (slash && !str_to_u64(str_from(slash + 1), &of)) || n < base ||
        n - base >= j->nparts)
        return usage_error(c, "part '%s': expected a number from %" PRIu64 " to %" PRIu64,
                           quoted(str_from(text)).text, base, base + j->nparts - 1);
    if (of != j->nparts)
        return usage_error(c, "part '%s': the plan has %u parts", quoted(str_from(text)).text,
                           j->nparts);
    *part = (uint32_t)(n - base);
    return 0;
}

/* ---- the directory -------------------------------------------------------------------------- */

static enum quern_status make_dir(const char *path, bool *fresh, struct quern_error *err)
{
    *fresh = mkdir(path, 0777) == 0;
    return *fresh || errno == EEXIST ? QUERN_OK : fail_errno(err, path, "create the directory");
}

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
    bool fresh;
    host_name(host);
    TRY(make_dir(r->job->work, &fresh, err));
    for (unsigned k = 0; k < MAX_ATTEMPTS; k++) {
        char *path = arena_printf(&r->job->arena, "%s/part-%05u.%.16s.%s.%u", r->job->work,
                                  r->part + 1, r->job->digest, host, k);
        if (!path)
            return fail_memory(err, strlen(r->job->work));
        TRY(make_dir(path, &fresh, err));
        const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            return fail_errno(err, path, "open the directory");
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) {
            r->attempt = (struct attempt){path, fd, fresh};
            return QUERN_OK;
        }
        close(fd);
    }
    return in_file(err, r->job->work,
                   fail(err, QUERN_EEXIST, "locked", "%u runs of part %u are under way",
                        MAX_ATTEMPTS, r->part + 1));
}

/* ---- the work ------------------------------------------------------------------------------- */

static enum quern_status hash_slices(const struct part_run *r, const struct portion *q,
                                     char (*hex)[65], struct quern_error *err)
{
    struct arena *a = &r->job->arena;
    const struct quern_run_options options = {
        .threads = r->outer->threads, .mem_bytes = r->outer->mem, .cancel = &stop_signal};
    const char **paths = ARENA_NEW(a, const char *, q->nslices);
    bool ok = paths != NULL;
    for (uint32_t i = 0; ok && i < q->nslices; i++)
        ok = (paths[i] = slice_path(r->attempt.path, q->first_slice + i, a)) != NULL;
    return ok ? hash_files(paths, q->nslices, &options, hex, err)
              : fail_memory(err, q->nslices * sizeof *paths);
}

/* Sums first, then names, then the record: whoever reads it finds what it tells of. */
static enum quern_status hand_in(struct part_run *r, const struct division *d,
                                 struct quern_error *err)
{
    struct arena *a = &r->job->arena;
    const struct portion *q = &d->portions[r->part];
    char(*hex)[65] = arena_array(a, q->nslices, sizeof *hex);
    if (!hex)
        return fail_memory(err, q->nslices * sizeof *hex);
    TRY(hash_slices(r, q, hex, err));
    for (uint32_t i = 0; i < q->nslices; i++) {
        const char *made = slice_path(r->attempt.path, q->first_slice + i, a);
        const char *final = slice_path(r->job->work, q->first_slice + i, a);
        if (!made || !final)
            return fail_memory(err, strlen(r->attempt.path));
        if (rename(made, final) != 0)
            return fail_errno(err, final, "rename the finished slice");
    }
    const char *any = slice_path(r->job->work, 0, a);
    TRY(any ? output_sync_dir(any, err) : fail_memory(err, strlen(r->job->work)));
    TRY(done_write(r->job, d, r->part, (const char(*)[65])hex, err));
    rmdir(r->attempt.path);
    return QUERN_OK;
}

static uint32_t parts_done(const struct job *j, const struct division *d)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < d->count; k++) {
        bool done = false;
        done_read(j, d, k, &done, NULL, NULL);
        n += done;
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
    enum quern_status s = attempt_begin(r, &err);
    if (s == QUERN_OK)
        s = plan_keep_portion(p, d, r->part, r->attempt.path, &err);
    if (s != QUERN_OK)
        return report_error(c, &err);
    c->resume = !r->outer->force && !r->attempt.fresh;
    p->resumes_if_fit = true; /* nobody has asked for more */
    const int code = run_quietly(c, p);
    if (code == 0)
        s = hand_in(r, d, &err);
    if (code == 0 && s == QUERN_OK)
        tell(r, d, false);
    return code ? code : s == QUERN_OK ? 0 : report_error(c, &err);
}

static int take(struct cli *c, struct plan *p, struct division *d, void *data)
{
    struct part_run *r = data;
    struct quern_error err;
    bool done = false;
    enum quern_status s = done_read(r->job, d, r->part, &done, NULL, &err);
    if (s == QUERN_OK && done && !r->outer->force) {
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
    int code = choose_part(c, &j, &r.part);
    if (code == 0)
        code = job_plan(c, &j, take, &r);
    job_free(&j);
    return code;
}
