/* run_plan.c - what every planning command does with its plan. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "core/io.h"
#include "pipeline/publish.h"

volatile int stop_signal;

/* The first signal asks the workers to stop; the second ends us at once. */
static void on_signal(int number)
{
    if (stop_signal) {
        signal(number, SIG_DFL);
        raise(number);
    }
    stop_signal = number;
}

static void catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction old, ours = {.sa_handler = on_signal};
        /* nohup ignores SIGHUP, a background job SIGINT: leave that. */
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(numbers[i], &ours, NULL);
    }
    /* A full disk quota or file-size limit must come back as an error of write(2). */
    signal(SIGXFSZ, SIG_IGN);
}

/* What the library calls back with. */
struct watch {
    const struct cli *cli;
    struct meter *meter;
};

static void on_progress(const struct quern_progress *p, void *watch)
{
    meter_update(p, ((struct watch *)watch)->meter);
}

static void on_note(const char *text, void *watch)
{
    if (!((struct watch *)watch)->cli->quiet)
        say("note: %s", text);
}

/* Seconds between syncs, for tests: QUERN_SYNC=0.02 loses less to a kill. */
static double sync_seconds(void)
{
    const char *text = getenv("QUERN_SYNC");
    const double seconds = text ? strtod(text, NULL) : 0.0;
    return seconds > 0.001 && seconds < 3600.0 ? seconds : 0.0;
}

static int say_stopped(const struct cli *c, const struct plan *p, bool resumable,
                       enum quern_status s, const struct quern_error *err)
{
    const int code = s == QUERN_ECANCELLED ? 128 + stop_signal : report_error(c, err);
    const char *how = "run the same command with --resume to go on from here";
    if (s == QUERN_ECANCELLED)
        say("quern: stopped by signal %d%s%s", stop_signal,
            resumable   ? "; "
            : p->nfiles ? "; no output was written"
                        : "",
            resumable ? how : "");
    else if (resumable)
        say("What is finished has been kept: %s.", how);
    return code;
}

static int run(struct cli *c, struct plan *p, struct quern_result *result)
{
    struct quern_error err;
    struct watch watch = {c, meter_new(c)};
    const struct quern_run_options options = {.threads = c->threads,
                                              .mem_bytes = c->mem,
                                              .progress = watch.meter ? on_progress : NULL,
                                              .user = &watch,
                                              .stats = c->stats,
                                              .resume = c->resume,
                                              .keep_unfinished = true,
                                              .sync_seconds = sync_seconds(),
                                              .note = on_note,
                                              .cancel = &stop_signal};
    catch_signals();
    ask_plan(c, p);
    const enum quern_status s = plan_run(p, &options, result, &err);
    meter_end(watch.meter);
    return s == QUERN_OK ? 0 : say_stopped(c, p, result->resumable, s, &err);
}

/* Every file of the output, read once more from the disk. */
static enum quern_status hash_outputs(struct plan *p, struct file_hash **hashes, size_t *n,
                                      struct quern_error *err)
{
    const uint32_t nsides = p->dir ? p->nsides : 0;
    *n = 0;
    *hashes = ARENA_NEW(&p->arena, struct file_hash, p->nfiles + nsides);
    if (!*hashes)
        return fail_memory(err, (p->nfiles + nsides) * sizeof **hashes);
    for (uint32_t i = 0; i < p->nfiles + nsides; i++) {
        const char *name = i < p->nfiles ? p->files[i].path : p->sides[i - p->nfiles].name;
        struct file_hash *h = &(*hashes)[i];
        h->path = path_join(&p->arena, p->dir, name);
        if (!h->path)
            return fail_memory(err, strlen(name));
        TRY(sha256_file(h->path, h->hex, err));
        ++*n;
    }
    return QUERN_OK;
}

static int run_now(struct cli *c, struct plan *p)
{
    struct quern_result result;
    struct quern_error err;
    struct file_hash *hashes = NULL;
    size_t nhashes = 0;
    const int code = run(c, p, &result);
    if (code != 0)
        return code;
    if (c->sha256 && p->nfiles && hash_outputs(p, &hashes, &nhashes, &err) != QUERN_OK)
        return report_error(c, &err);
    if (c->verbose && !c->json)
        print_steps(stderr, p);
    print_summary(c, p, &result, hashes, nhashes);
    return 0;
}

int run_with_result(struct cli *c, struct plan *p, struct quern_result *result)
{
    return run(c, p, result);
}

int run_quietly(struct cli *c, struct plan *p)
{
    struct quern_result result;
    return run(c, p, &result);
}

int run_plan(struct cli *c, struct plan *p)
{
    struct quern_error err;
    print_notes(c, p);
    if (c->dry_run && p->refusal && !c->quiet)
        say("note: to be run, this lacks something: %s", p->refusal->text);
    if (!c->dry_run)
        return run_now(c, p);
    const enum quern_status s = publish_check(p, &err);
    if (s != QUERN_OK)
        return report_error(c, &err);
    print_plan(c, p);
    return 0;
}
