/* run_plan.c - what every planning command does with its plan. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "core/io.h"
#include "core/windows.h"
#include "pipeline/hashing.h"
#include "pipeline/nonfinite.h"
#include "pipeline/provenance.h"
#include "pipeline/publish.h"

volatile int stop_signal;

/* The first signal asks the workers to stop; the second ends us at once. */
static void on_signal(int number)
{
    if (asked_to_stop(&stop_signal)) {
        signal(number, SIG_DFL);
        raise(number);
    }
    __atomic_store_n(&stop_signal, number, __ATOMIC_RELAXED);
}

void catch_signals(void)
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
    /* Hours of work do not end because nobody listens any more. */
    signal(SIGPIPE, SIG_IGN);
    windows_allow();
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
    if (c->see_plan)
        c->see_plan(c, p, c->see_data);
    const enum quern_status s = plan_run(p, &options, result, &err);
    meter_end(watch.meter);
    if (s == QUERN_ECANCELLED)
        return report_stopped(c, &err, asked_to_stop(&stop_signal), result->resumable,
                              p->nfiles > 0);
    return s == QUERN_OK ? 0 : report_failed_run(c, &err, result->resumable);
}

/* Every file of the output, read once more from the disk unless the record has told. */
enum quern_status hash_outputs(const struct cli *c, struct plan *p, struct file_hash **hashes,
                               size_t *n, struct quern_error *err)
{
    const struct quern_run_options options = {
        .threads = c->threads, .mem_bytes = c->mem, .cancel = &stop_signal};
    const uint32_t count = p->nfiles + (p->dir ? p->nsides : 0);
    const char **paths = ARENA_NEW(&p->arena, const char *, count);
    char(*hex)[65] = arena_array(&p->arena, count, sizeof *hex);
    *hashes = ARENA_NEW(&p->arena, struct file_hash, count);
    if (!paths || !hex || !*hashes)
        return fail_memory(err, count * sizeof **hashes);
    for (uint32_t i = 0; i < count; i++) {
        const char *name = i < p->nfiles ? p->files[i].path : p->sides[i - p->nfiles].name;
        paths[i] = path_join(&p->arena, p->dir, name);
        if (!paths[i])
            return fail_memory(err, strlen(name));
        if (p->provenance)
            memcpy(hex[i], p->provenance->outputs[i].sha256, sizeof hex[i]);
    }
    if (!p->provenance)
        TRY(hash_files(paths, count, &options, hex, err));
    for (*n = 0; *n < count; ++*n) {
        (*hashes)[*n].path = paths[*n];
        memcpy((*hashes)[*n].hex, hex[*n], sizeof hex[*n]);
    }
    return QUERN_OK;
}

int run_and_hash(struct cli *c, struct plan *p, struct quern_result *result,
                 struct file_hash **hashes, size_t *nhashes)
{
    struct quern_error err;
    *hashes = NULL;
    *nhashes = 0;
    const int code = run(c, p, result);
    if (code != 0)
        return code;
    if (c->sha256 && p->nfiles && hash_outputs(c, p, hashes, nhashes, &err) != QUERN_OK)
        return report_error(c, &err);
    return 0;
}

static int run_now(struct cli *c, struct plan *p)
{
    struct quern_result result;
    struct file_hash *hashes;
    size_t nhashes;
    const int code = run_and_hash(c, p, &result, &hashes, &nhashes);
    if (code != 0)
        return code;
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
    if (c->take_plan)
        return c->take_plan(c, p, c->take_data);
    const int code = record_plan(c, p);
    if (code != 0)
        return code;
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

int run_weights(struct cli *c, struct plan *p)
{
    struct quern_error err;
    if (plan_set_nonfinite(p, c->nonfinite, &err) != QUERN_OK)
        return report_error(c, &err);
    return run_plan(c, p);
}
