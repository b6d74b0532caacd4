/* cmd_plan.c - quern plan: a command as a file, to be run in parts. */
#include <string.h>

#include "core/checked.h"
#include "emit.h"
#include "job_file.h"

struct planning {
    const struct cli *outer;
    struct job job;
    enum scheduler to; /* of --emit */
};

/* As many as are asked for, or as it takes for none to write much more than so many bytes. */
static uint32_t count_parts(const struct cli *c, const struct plan *p)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < p->nsteps; i++)
        total += p->steps[i].nbytes;
    if (!c->part_bytes)
        return c->parts ? c->parts : 1;
    const uint64_t n = total / c->part_bytes + (total % c->part_bytes != 0);
    return n == 0 ? 1 : n < MAX_PORTIONS ? (uint32_t)n : MAX_PORTIONS;
}

static void print_plan_json(const struct planning *g, const struct division *d, const char *script)
{
    struct json_writer w = {0};
    json_open(&w, '{');
    field_text(&w, "command", "plan");
    field_text(&w, "plan", g->job.path);
    field_text(&w, "output", g->job.output);
    field_u64(&w, "parts", g->job.nparts);
    field_u64(&w, "stats_parts", g->job.nstats);
    field_text(&w, "script", script);
    json_key(&w, "cost");
    json_open(&w, '[');
    for (uint32_t k = 0; k < d->count; k++)
        json_put_u64(&w, d->portions[k].cost);
    json_close(&w, ']');
    json_close(&w, '}');
    print_json(&w);
}

static uint64_t written_by(const struct division *d, uint32_t part)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < d->portions[part].nslices; i++)
        total += d->slices[d->portions[part].first_slice + i].nbytes;
    return total;
}

static void print_division(struct planning *g, const struct plan *plan, const struct division *d,
                           const char *script)
{
    const struct cli *c = g->outer;
    char reads[16], writes[16];
    uint64_t total = 0, costliest = 0, most = 0, most_written = 0;
    for (uint32_t k = 0; k < d->count; k++) {
        const struct portion *p = &d->portions[k];
        total += p->cost;
        costliest = p->cost > costliest ? p->cost : costliest;
        most = p->read_bytes > most ? p->read_bytes : most;
        most_written = written_by(d, k) > most_written ? written_by(d, k) : most_written;
    }
    say("%s: %u part%s of %s%s", quoted(str_from(g->job.path)).text, d->count,
        d->count == 1 ? "" : "s",
        quoted(str_from(plan->dir ? plan->dir : plan->files[0].path)).text, job_more_files(plan));
    say("  a part reads at most %s, writes at most %s; the costliest is %.2f times the mean",
        human_bytes(most, reads), human_bytes(most_written, writes),
        total ? (double)costliest * d->count / (double)total : 1.0);
    if (c->parts > d->count)
        say("  note: %u parts were asked for; no more can be made of this output", c->parts);
    if (c->stages && !g->job.nstats)
        say("  note: nothing has to be measured first: there is no stage for it");
    const char *hint = script ? scheduler_hint(g->to, script, &g->job.arena) : NULL;
    if (script)
        say("  %s: %s", quoted(str_from(script)).text, hint ? hint : "");
    else if (g->job.nstats)
        say("  quern run %s --stage stats --part 1/%u, ... first, then",
            quoted(str_from(g->job.path)).text, g->job.nstats);
    if (!script)
        say("  quern run %s --part 1/%u, ... and then quern join %s",
            quoted(str_from(g->job.path)).text, d->count, quoted(str_from(g->job.path)).text);
}

static int take(struct cli *c, struct plan *p, void *data)
{
    struct planning *g = data;
    struct quern_error err;
    struct division d;
    const char *script = NULL;
    if (c->provenance)
        return usage_error(c, "--provenance needs one run over everything: it cannot be made in "
                              "parts");
    if (c->stats)
        return usage_error(c,
                           "--stats is not measured in parts: quern compare measures the output");
    if (c->dry_run)
        return usage_error(c, "--dry-run writes nothing, but a plan is written; without quern plan "
                              "it shows the tensors");
    print_notes(c, p);
    g->job.nparts = count_parts(g->outer, p);
    g->job.nstats = g->outer->stages ? g->job.nparts : 0;
    enum quern_status s = job_file_write(&g->job, c, p, g->outer->force, &d, &err);
    if (s == QUERN_OK && g->outer->emit)
        s = emit_script(&g->job, g->outer, g->to, plan_min_mem(p), &script, &err);
    if (s != QUERN_OK)
        return report_error(c, &err);
    if (c->json)
        print_plan_json(g, &d, script);
    else if (!c->quiet)
        print_division(g, p, &d, script);
    return 0;
}

static int check_choices(const struct cli *c)
{
    if (c->parts && c->part_bytes)
        return usage_error(c, "--parts and --part-size exclude each other");
    enum job_layout layout;
    if (c->layout && !job_layout(c->layout, &layout))
        return usage_error(c, "--layout '%s': expected files, joined or ranges",
                           quoted(str_from(c->layout)).text);
    return 0;
}

int cmd_plan(struct cli *c)
{
    struct planning g = {.outer = c};
    int code = check_choices(c);
    if (code == 0)
        code = scheduler_of(c, &g.to);
    if (code != 0)
        return code;
    if (c->args.count == 0)
        return usage_error(c, "expected a command and its arguments");
    g.job.path = c->output ? c->output : "job.plan";
    g.job.words = c->args;
    if (c->force && g.job.words.count < MAX_ARGS)
        g.job.words.items[g.job.words.count++] = "--force";
    job_layout(c->layout ? c->layout : "files", &g.job.layout);
    struct cli inner = {
        .quiet = c->quiet, .json = c->json, .force = c->force, .take_plan = take, .take_data = &g};
    const int done = run_words(&inner, &g.job.words);
    job_free(&g.job);
    return done;
}
