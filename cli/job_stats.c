/* job_stats.c - the stage of a job that measures: its records. */
#include <inttypes.h>
#include <string.h>

#include "core/io.h"
#include "core/output.h"
#include "job_file.h"

#define MAX_STATS (UINT64_C(1) << 30)

const char *stats_path(const struct job *j, uint32_t part, struct arena *arena)
{
    return arena_printf(arena, "%s/stats-%05u", j->work, part + 1);
}

/* *there is false for one that is torn or of another plan, as for none. */
static enum quern_status read_stats(const struct job *j, uint32_t part, struct arena *arena,
                                    struct str *record, bool *there, struct quern_error *err)
{
    const char *path = stats_path(j, part, arena);
    *there = false;
    if (!path)
        return fail_memory(err, strlen(j->work));
    if (!path_exists(path))
        return QUERN_OK;
    TRY(read_small_file(path, MAX_STATS, arena, record, err));
    *there = statistics_fit(*record, part, j->digest);
    return QUERN_OK;
}

static bool is_there(const struct job *j, uint32_t part)
{
    struct arena arena = {0};
    struct str record;
    bool there;
    const bool ok = read_stats(j, part, &arena, &record, &there, NULL) == QUERN_OK && there;
    arena_free(&arena);
    return ok;
}

static void tell(const struct cli *c, const struct job *j, uint32_t part, bool before)
{
    uint32_t done = 0;
    if (!c->json && c->quiet)
        return;
    for (uint32_t k = 0; k < j->nstats; k++)
        done += is_there(j, k);
    if (c->json) {
        struct json_writer w = {0};
        json_open(&w, '{');
        field_text(&w, "command", "run");
        field_text(&w, "stage", "stats");
        field_u64(&w, "part", part + 1);
        field_u64(&w, "parts", j->nstats);
        json_key(&w, "was_done");
        json_put_bool(&w, before);
        field_u64(&w, "done", done);
        json_close(&w, '}');
        print_json(&w);
        return;
    }
    say("statistics, part %u of %u %s; done in all: %u", part + 1, j->nstats,
        before ? "was done before" : "is done", done);
}

/* Appears as a whole and last, like the record of any part. */
static enum quern_status hand_in(struct job *j, struct plan *p, uint32_t part,
                                 struct quern_error *err)
{
    struct str record;
    const char *path = stats_path(j, part, &j->arena);
    TRY(statistics_record(p, &j->measuring, part, j->digest, &record, err));
    return path ? output_write(path, record, 0, true, err) : fail_memory(err, strlen(j->work));
}

int measure_part(const struct cli *outer, struct cli *c, struct job *j, struct plan *p,
                 uint32_t part)
{
    struct quern_error err;
    if (!outer->force && is_there(j, part)) {
        tell(outer, j, part, true);
        return 0;
    }
    if (plan_keep_measuring(p, &j->measuring, part, &err) != QUERN_OK)
        return report_error(c, &err);
    const int code = run_quietly(c, p);
    if (code)
        return code;
    if (hand_in(j, p, part, &err) != QUERN_OK)
        return report_error(c, &err);
    tell(outer, j, part, false);
    return 0;
}

/* ---- for the parts that come after ----------------------------------------------------------- */

static enum quern_status take_record(const struct job *j, struct plan *p, uint32_t part,
                                     struct quern_error *err)
{
    struct arena arena = {0};
    struct str record;
    bool there = false;
    enum quern_status s = read_stats(j, part, &arena, &record, &there, err);
    if (s == QUERN_OK && !there)
        s = fail(err, QUERN_EIO, "parts",
                 "the statistics of part %u of %u are not there" WANT
                 "run it first: quern run ... --stage stats --part %u",
                 part + 1, j->nstats, part + 1);
    if (s == QUERN_OK)
        s = statistics_take(p, record, err);
    arena_free(&arena);
    return in_file(err, j->path, s);
}

enum quern_status stats_take(const struct job *j, struct plan *p, const struct division *d,
                             uint32_t part, struct quern_error *err)
{
    const struct portion *q = &d->portions[part];
    bool *wanted = ARENA_NEW(&p->arena, bool, j->nstats + 1u);
    if (!wanted)
        return fail_memory(err, j->nstats);
    for (uint32_t i = 0; i < q->nslices; i++) {
        const struct stretch *s = &d->slices[q->first_slice + i];
        for (uint32_t k = 0; k < s->nsteps; k++) {
            uint32_t portion;
            if (measuring_of(&j->measuring, d->order[s->first + k], &portion))
                wanted[portion] = true;
        }
    }
    for (uint32_t k = 0; k < j->nstats; k++)
        if (wanted[k])
            TRY(take_record(j, p, k, err));
    return QUERN_OK;
}
