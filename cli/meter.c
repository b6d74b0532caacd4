/* meter.c - progress: one line on a terminal, or JSON lines. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "core/seconds.h"

#define REDRAW_SECONDS 0.2

enum meter_kind { METER_NONE, METER_LINE, METER_JSON };

struct meter {
    enum meter_kind kind;
    double start, last;
    bool drawn;
};

struct meter *meter_new(const struct cli *c)
{
    struct meter *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    if (c->progress && strcmp(c->progress, "json") == 0)
        m->kind = METER_JSON;
    else if (!c->quiet && isatty(STDERR_FILENO) &&
             !(c->progress && strcmp(c->progress, "none") == 0))
        m->kind = METER_LINE;
    m->start = m->last = seconds_now();
    return m;
}

static void progress_json(const struct quern_progress *p, double seconds)
{
    struct json_writer w = {0};
    json_open(&w, '{');
    field_u64(&w, "done_bytes", p->done_bytes);
    field_u64(&w, "total_bytes", p->total_bytes);
    field_f64(&w, "seconds", seconds);
    field_text(&w, "tensor", p->tensor);
    json_close(&w, '}');
    write_json(stderr, &w);
}

static void draw(const struct quern_progress *p, double seconds)
{
    const double share = p->total_bytes ? (double)p->done_bytes / (double)p->total_bytes : 0.0;
    const double left = share > 0.0 ? seconds * (1.0 - share) / share : 0.0;
    const unsigned width = terminal_width(stderr);
    char rate[16];
    human_bytes((uint64_t)((double)p->done_bytes / (seconds > 0 ? seconds : 1)), rate);
    fprintf(stderr, "\r\033[K");
    print_bar(stderr, share, 20);
    const int used = fprintf(stderr, " %3.0f %%  %s/s  %.0f:%02.0f left  ", share * 100.0, rate,
                             (double)((uint64_t)left / 60), (double)((uint64_t)left % 60));
    const unsigned room = width > 21u + (unsigned)used ? width - 21u - (unsigned)used : 0;
    fprintf(stderr, "%.*s", (int)str_fit(p->tensor, room), p->tensor);
    fflush(stderr);
}

void meter_update(const struct quern_progress *p, void *meter)
{
    struct meter *m = meter;
    const double t = seconds_now();
    if (m->kind == METER_NONE || t - m->last < REDRAW_SECONDS)
        return;
    m->last = t;
    if (m->kind == METER_JSON) {
        progress_json(p, t - m->start);
    } else {
        draw(p, t - m->start);
        m->drawn = true;
    }
}

void meter_end(struct meter *m)
{
    if (m && m->drawn)
        fprintf(stderr, "\r\033[K");
    free(m);
}
