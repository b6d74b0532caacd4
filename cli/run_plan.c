/* run_plan.c - what every planning command does with its plan. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
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

static int run(struct cli *c, struct plan *p, struct quern_result *result)
{
    struct quern_error err;
    struct meter *meter = meter_new(c);
    const struct quern_run_options options = {.threads = c->threads,
                                              .mem_bytes = c->mem,
                                              .progress = meter ? meter_update : NULL,
                                              .user = meter,
                                              .stats = c->stats,
                                              .cancel = &stop_signal};
    catch_signals();
    const enum quern_status s = plan_run(p, &options, result, &err);
    meter_end(meter);
    if (s == QUERN_ECANCELLED) {
        say("quern: stopped by signal %d%s", stop_signal,
            p->nfiles ? "; no output was written" : "");
        return 128 + stop_signal;
    }
    return s == QUERN_OK ? 0 : report_error(c, &err);
}

static int run_now(struct cli *c, struct plan *p)
{
    struct quern_result result;
    const int code = run(c, p, &result);
    if (code != 0)
        return code;
    if (c->verbose && !c->json)
        print_steps(stderr, p);
    print_summary(c, p, &result);
    return 0;
}

int run_quietly(struct cli *c, struct plan *p)
{
    return run(c, p, NULL);
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
