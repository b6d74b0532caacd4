/* batch_loop.c - run the jobs of a manifest, each in a process of its own: what kills one does not
 * stop the others. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "batch.h"
#include "core/io.h"

#define MAX_AT_ONCE 256u
#define TICK_MS     500

struct worker {
    pid_t pid; /* 0: free */
    int pipe;  /* its report comes here */
    uint32_t job;
};

struct loop {
    const struct batch *b;
    struct job_report *reports;
    enum { WAITS, RUNS, ENDED } * states; /* malloc'ed; of each job */
    struct worker workers[MAX_AT_ONCE];
    unsigned limit, nrunning;
    uint32_t nended, nchosen;
    bool failed;
    int told; /* the signal that was passed on */
};

/* ---- a worker ------------------------------------------------------------------------------- */

/* All that it prints goes into its log. */
static bool open_log(const struct batch *b, uint32_t job)
{
    struct arena arena = {0};
    const char *path = state_path(b, job, ".log", &arena);
    const int fd =
        path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0666) : -1;
    const bool good = fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0 && dup2(fd, STDERR_FILENO) >= 0;
    if (fd >= 0)
        close(fd);
    arena_free(&arena);
    return good;
}

/* Signals of the terminal go to the parent alone, which passes them on once: a second one would end
 * a job before it has recorded how far it is. Without the parent nobody would. */
static void work(const struct batch *b, uint32_t job, int fd, pid_t parent)
{
    struct job_report r = {.verdict = JOB_FAILED, .code = 5};
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(143);
    if (open_log(b, job))
        batch_run_job(b, job, true, &r);
    else
        snprintf(r.error, sizeof r.error, "its log cannot be written: %s", strerror(errno));
    fflush(stdout);
    if (write(fd, &r, sizeof r) != (ssize_t)sizeof r && r.code == 0)
        r.code = 5;
    _exit(r.code);
}

static enum quern_status start(struct loop *l, uint32_t job, struct quern_error *err)
{
    int ends[2];
    struct worker *w = l->workers;
    while (w->pid)
        w++;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail_errno(err, l->b->m.path, "make a pipe for a job");
    fflush(stdout);
    const pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        work(l->b, job, ends[1], parent);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return fail_errno(err, l->b->m.path, "start a process for a job");
    }
    setpgid(pid, pid);
    *w = (struct worker){.pid = pid, .pipe = ends[0], .job = job};
    l->states[job] = RUNS;
    l->nrunning++;
    return QUERN_OK;
}

/* ---- its end -------------------------------------------------------------------------------- */

/* The first message in the log; what only looked at files has none, but a report there. */
static void find_error(const struct loop *l, uint32_t job, struct job_report *r)
{
    char text[8192];
    struct arena arena = {0};
    const char *path = state_path(l->b, job, ".log", &arena);
    const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    const ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    text[n > 0 ? n : 0] = '\0';
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, "quern: ", 7) != 0)
            continue;
        snprintf(r->error, sizeof r->error, "%.*s", (int)strcspn(line + 7, "\n"), line + 7);
        defuse(r->error);
        break;
    }
    if (path && !r->error[0])
        snprintf(r->error, sizeof r->error, "see %.500s", quoted(str_from(path)).text);
    if (fd >= 0)
        close(fd);
    arena_free(&arena);
}

static void take_end(struct loop *l, struct worker *w, int status)
{
    struct job_report *r = &l->reports[w->job];
    const bool told = read(w->pipe, r, sizeof *r) == (ssize_t)sizeof *r;
    if (!told) {
        *r = (struct job_report){.verdict = JOB_FAILED, .code = 70};
        snprintf(r->error, sizeof r->error, "it ended without a report");
    }
    if (!told && WIFSIGNALED(status)) {
        r->code = 128 + WTERMSIG(status);
        snprintf(r->error, sizeof r->error, "it was ended by signal %d%s", WTERMSIG(status),
                 WTERMSIG(status) == SIGKILL ? " (out of memory?)" : "");
    }
    if (r->verdict == JOB_FAILED && told && !r->error[0])
        find_error(l, w->job, r);
    close(w->pipe);
    l->states[w->job] = ENDED;
    l->failed |= r->code != 0;
    l->nended++;
    l->nrunning--;
    batch_tell_job(l->b, w->job, r, l->nended, l->nchosen);
    *w = (struct worker){.pid = 0};
}

static void pass_on_signal(struct loop *l)
{
    if (!stop_signal || l->told)
        return;
    l->told = stop_signal;
    for (unsigned i = 0; i < l->limit; i++)
        if (l->workers[i].pid)
            kill(l->workers[i].pid, l->told);
}

/* A report, or the end of the pipe without one, comes just before the end of the process. */
static void wait_for_some(struct loop *l)
{
    struct pollfd fds[MAX_AT_ONCE];
    struct worker *workers[MAX_AT_ONCE];
    uint32_t running[MAX_AT_ONCE];
    unsigned n = 0;
    for (unsigned i = 0; i < l->limit; i++) {
        if (!l->workers[i].pid)
            continue;
        workers[n] = &l->workers[i];
        running[n] = l->workers[i].job;
        fds[n++] = (struct pollfd){.fd = l->workers[i].pipe, .events = POLLIN};
    }
    batch_tell_running(l->b, running, n, l->nended, l->nchosen);
    if (poll(fds, n, TICK_MS) <= 0) /* a signal ends it, too */
        return;
    for (unsigned i = 0; i < n; i++) {
        int status = 0;
        if (!fds[i].revents)
            continue;
        while (waitpid(workers[i]->pid, &status, 0) < 0 && errno == EINTR)
            pass_on_signal(l);
        take_end(l, workers[i], status);
    }
}

/* ---- which next ----------------------------------------------------------------------------- */

/* A job that cannot run any more, because of one that it needs. */
static bool is_stuck(const struct loop *l, uint32_t job, struct job_report *r)
{
    const struct batch_job *j = &l->b->m.jobs[job];
    for (uint32_t i = 0; i < j->nneeds; i++) {
        const uint32_t need = j->needs[i];
        if (l->states[need] == ENDED && l->reports[need].verdict != JOB_DONE &&
            l->reports[need].verdict != JOB_UP_TO_DATE) {
            *r = (struct job_report){.verdict = JOB_NOT_RUN};
            snprintf(r->reason, sizeof r->reason, "it needs '%s'",
                     quoted(str_from(l->b->m.jobs[need].name)).text);
            return true;
        }
    }
    return false;
}

static bool is_ready(const struct loop *l, uint32_t job)
{
    const struct batch_job *j = &l->b->m.jobs[job];
    for (uint32_t i = 0; i < j->nneeds; i++)
        if (l->states[j->needs[i]] != ENDED)
            return false;
    return true;
}

static void skip_job(struct loop *l, uint32_t job)
{
    l->states[job] = ENDED;
    l->nended++;
    batch_tell_job(l->b, job, &l->reports[job], l->nended, l->nchosen);
}

/* Jobs are in an order in which none needs a later one. */
static enum quern_status start_some(struct loop *l, struct quern_error *err)
{
    for (uint32_t i = 0; i < l->b->m.njobs && l->nrunning < l->limit; i++) {
        if (l->states[i] != WAITS || stop_signal || (l->failed && l->b->c->fail_fast))
            continue;
        if (is_stuck(l, i, &l->reports[i]))
            skip_job(l, i);
        else if (is_ready(l, i))
            TRY(start(l, i, err));
    }
    return QUERN_OK;
}

static void leave_the_rest(struct loop *l)
{
    for (uint32_t i = 0; i < l->b->m.njobs; i++)
        if (l->b->chosen[i] && l->states[i] == WAITS) {
            l->reports[i] = (struct job_report){.verdict = JOB_NOT_RUN};
            snprintf(l->reports[i].reason, sizeof l->reports[i].reason, "%s",
                     stop_signal ? "stopped before it began" : "another job has failed");
        }
}

enum quern_status batch_run_all(const struct batch *b, struct job_report *reports,
                                struct quern_error *err)
{
    struct loop l = {.b = b, .reports = reports, .limit = b->c->jobs ? b->c->jobs : 1};
    l.limit = l.limit < MAX_AT_ONCE ? l.limit : MAX_AT_ONCE;
    l.states = calloc(b->m.njobs + 1u, sizeof *l.states);
    if (!l.states)
        return fail_memory(err, b->m.njobs * sizeof *l.states);
    for (uint32_t i = 0; i < b->m.njobs; i++) {
        l.states[i] = b->chosen[i] ? WAITS : ENDED;
        l.nchosen += b->chosen[i];
    }
    catch_signals();
    enum quern_status s;
    do {
        s = start_some(&l, err);
        pass_on_signal(&l);
        if (l.nrunning)
            wait_for_some(&l);
    } while (l.nrunning || (s == QUERN_OK && l.nended < l.nchosen && !stop_signal &&
                            !(l.failed && b->c->fail_fast)));
    leave_the_rest(&l);
    free(l.states);
    return s;
}
