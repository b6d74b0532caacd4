/* cmd_join.c - quern join: the output of parts that are done. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/archive.h"
#include "core/io.h"
#include "core/output.h"
#include "core/text_file.h"
#include "formats/byte_files.h"
#include "job_file.h"
#include "pipeline/hashing.h"

struct joining {
    const struct cli *outer;
    struct job *job;
    const struct division *d;
    char (*hex)[65];   /* of all slices, as they were recorded */
    enum done *states; /* of all parts */
    uint32_t count[3]; /* how many are in each state */
};

static void list_missing(FILE *f, const enum done *states, uint32_t n)
{
    bool first = true;
    for (uint32_t i = 0; i < n; i++) {
        if (states[i] == DONE)
            continue;
        uint32_t end = i;
        while (end + 1 < n && states[end + 1] != DONE)
            end++;
        fprintf(f, "%s%u", first ? "" : ", ", i + 1);
        if (end > i)
            fprintf(f, "-%u", end + 1);
        first = false;
        i = end;
    }
}

/* "3, 5-7, 9" of the parts that are not done; malloc'ed. */
static char *missing_parts(const struct joining *g)
{
    struct text_file t;
    size_t length;
    if (!text_file_begin(&t))
        return NULL;
    list_missing(t.f, g->states, g->d->count);
    return text_file_end(&t, &length);
}

static enum quern_status say_missing(const struct joining *g, struct quern_error *err)
{
    const uint32_t n = g->d->count;
    char *text = missing_parts(g);
    if (!text)
        return fail_memory(err, n);
    fail(err, QUERN_EIO, "parts",
         "not done of %u part%s: %.200s" WANT "run %s first: quern run ... --part I", n,
         n == 1 ? "" : "s", text, n - g->count[DONE] == 1 ? "it" : "them");
    free(text);
    return in_file(err, g->job->path, QUERN_EIO);
}

/* ---- sums ----------------------------------------------------------------------------------- */

static enum quern_status sums_of(const struct joining *g, const struct byte_range *ranges,
                                 char (*found)[65], struct quern_error *err)
{
    const struct quern_run_options options = {
        .threads = g->outer->threads, .mem_bytes = g->outer->mem, .cancel = &stop_signal};
    return hash_ranges(ranges, g->d->nslices, &options, found, err);
}

/* Their records go, so that they are made again when somebody runs them. */
static enum quern_status say_damaged(struct joining *g, const char *path, const char (*found)[65],
                                     struct arena *arena, struct quern_error *err)
{
    const struct division *d = g->d;
    for (uint32_t k = 0; k < d->count; k++)
        for (uint32_t i = 0; i < d->portions[k].nslices; i++) {
            const uint32_t slice = d->portions[k].first_slice + i;
            if (strcmp(found[slice], g->hex[slice]) != 0)
                g->states[k] = DONE_NOT;
        }
    for (uint32_t k = 0; k < d->count; k++) {
        const char *record = g->states[k] == DONE_NOT ? done_path(g->job, k, arena) : NULL;
        if (record)
            unlink(record);
    }
    char *text = missing_parts(g);
    if (!text)
        return fail_memory(err, d->count);
    fail(err, QUERN_EIO, "changed",
         "its bytes are not those that were made" WANT "run these parts again: %.200s", text);
    free(text);
    return in_file(err, path, QUERN_EIO);
}

static enum quern_status check_sums(struct joining *g, struct arena *arena, struct quern_error *err)
{
    const struct division *d = g->d;
    struct byte_range *ranges = ARENA_NEW(arena, struct byte_range, d->nslices);
    char(*found)[65] = arena_array(arena, d->nslices, sizeof *found);
    bool ok = ranges && found;
    for (uint32_t i = 0; ok && i < d->nslices; i++) {
        ranges[i] = slice_place(d, g->job->made_in, i, arena);
        ok = ranges[i].path != NULL;
    }
    if (!ok)
        return fail_memory(err, d->nslices * sizeof *found);
    TRY(sums_of(g, ranges, found, err));
    for (uint32_t i = 0; i < d->nslices; i++)
        if (strcmp(found[i], g->hex[i]) != 0)
            return say_damaged(g, ranges[i].path, (const char(*)[65])found, arena, err);
    return QUERN_OK;
}

/* An earlier join has done everything but to clear up: the output has the sums of the slices. */
static enum quern_status was_joined(const struct joining *g, const struct plan *p,
                                    struct arena *arena, bool *joined, struct quern_error *err)
{
    const struct division *d = g->d;
    struct byte_range *ranges = ARENA_NEW(arena, struct byte_range, d->nslices);
    char(*found)[65] = arena_array(arena, d->nslices, sizeof *found);
    if (!ranges || !found)
        return fail_memory(err, d->nslices * sizeof *found);
    *joined = true;
    for (uint32_t i = 0; i < d->nslices; i++) {
        const struct stretch *s = &d->slices[i];
        ranges[i] = (struct byte_range){path_join(arena, p->dir, p->files[s->file].path), s->offset,
                                        s->nbytes};
        if (!ranges[i].path || !byte_file_has_size(ranges[i].path, s->file_bytes))
            *joined = false;
    }
    if (!*joined)
        return QUERN_OK;
    TRY(sums_of(g, ranges, found, err));
    for (uint32_t i = 0; i < d->nslices; i++)
        *joined &= strcmp(found[i], g->hex[i]) == 0;
    return QUERN_OK;
}

/* ---- records -------------------------------------------------------------------------------- */

/* Nothing but the output is there: no part has to be run. */
static enum quern_status say_joined(const struct plan *p, struct arena *arena,
                                    struct quern_error *err)
{
    const char *path = path_join(arena, p->dir, p->files[0].path);
    if (!path)
        return fail_memory(err, strlen(p->files[0].path));
    if (!path_exists(path))
        return QUERN_OK;
    fail(err, QUERN_EEXIST, "exists",
         "the output exists already, and nothing of its parts" WANT "has it been joined before?");
    return in_file(err, path, QUERN_EEXIST);
}

static enum quern_status read_records(struct joining *g, struct arena *arena,
                                      struct quern_error *err)
{
    const struct division *d = g->d;
    g->states = ARENA_NEW(arena, enum done, d->count);
    g->hex = arena_array(arena, d->nslices, sizeof *g->hex);
    if (!g->states || !g->hex)
        return fail_memory(err, d->nslices * sizeof *g->hex);
    for (uint32_t k = 0; k < d->count; k++) {
        TRY(done_read(g->job, d, k, &g->states[k], g->hex + d->portions[k].first_slice, err));
        g->count[g->states[k]]++;
    }
    return QUERN_OK;
}

/* All records are there, and the bytes are what they say; or the output is that already. */
static enum quern_status check_parts(struct joining *g, const struct plan *p, struct arena *arena,
                                     bool *joined, struct quern_error *err)
{
    const struct division *d = g->d;
    *joined = false;
    TRY(read_records(g, arena, err));
    if (g->count[DONE_NOT] == 0 && (g->count[DONE_GONE] > 0 || !p->force))
        TRY(was_joined(g, p, arena, joined, err));
    if (*joined)
        return QUERN_OK;
    if (g->count[DONE] == 0)
        TRY(say_joined(p, arena, err));
    if (g->count[DONE] < d->count)
        return say_missing(g, err);
    return check_sums(g, arena, err);
}

/* ---- the end -------------------------------------------------------------------------------- */

static bool is_record(const char *name)
{
    return str_ends(str_from(name), ".done") || strncmp(name, "stats-", 6) == 0;
}

/* Files, and directories with files, of this form: nothing else is ever put there. */
static bool is_ours(const char *name)
{
    return strncmp(name, "slice-", 6) == 0 || strncmp(name, "part-", 5) == 0 ||
           strncmp(name, "shared.", 7) == 0 || is_record(name);
}

/* Everything but records, or the records. */
static void clear(const char *path, bool records, bool deep)
{
    DIR *d = opendir(path);
    if (!d)
        return;
    for (const struct dirent *e; (e = readdir(d));) {
        char *entry;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            (deep && (!is_ours(e->d_name) || records != is_record(e->d_name))) ||
            asprintf(&entry, "%s/%s", path, e->d_name) < 0)
            continue;
        if (unlink(entry) != 0 && errno == EISDIR && deep)
            clear(entry, false, false);
        free(entry);
    }
    closedir(d);
    rmdir(path);
}

/* Records go last: as long as they are there, another join can tell that this one was complete. */
static void clear_up(const struct joining *g)
{
    clear(g->job->work, false, true);
    if (!g->outer->keep_records)
        clear(g->job->work, true, true);
}

static void tell(const struct joining *g, const struct plan *p, const struct quern_result *r,
                 const struct file_hash *hashes, size_t nhashes)
{
    const struct cli *c = g->outer;
    const char *how = r ? "joined from" : "was joined before from";
    uint64_t nbytes = 0;
    char size[16];
    for (uint32_t i = 0; i < p->nfiles; i++)
        nbytes += p->files[i].nbytes;
    if (c->json) {
        struct json_writer w = {0};
        json_open(&w, '{');
        field_text(&w, "command", "join");
        field_text(&w, "output", g->job->output);
        field_u64(&w, "parts", g->job->nparts);
        field_u64(&w, "bytes", nbytes);
        json_key(&w, "sha256");
        json_open(&w, '{');
        for (size_t i = 0; i < nhashes; i++)
            field_text(&w, hashes[i].path, hashes[i].hex);
        json_close(&w, '}');
        json_close(&w, '}');
        print_json(&w);
        return;
    }
    for (size_t i = 0; i < nhashes; i++)
        printf("%s  %s\n", hashes[i].hex, quoted(str_from(hashes[i].path)).text);
    if (!c->quiet)
        say("%s%s: %s, %s %u part%s", quoted(str_from(p->dir ? p->dir : p->files[0].path)).text,
            job_more_files(p), human_bytes(nbytes, size), how, g->job->nparts,
            g->job->nparts == 1 ? "" : "s");
}

/* That of a join which was killed after its last step, unless a run holds it. */
static void remove_journal(const char *output)
{
    int fd = -1;
    char *path = output_beside(output, JOURNAL_SUFFIX);
    if (path && path_exists(path) && output_lock(path, output, &fd, NULL) == QUERN_OK) {
        unlink(path);
        close(fd);
    }
    free(path);
}

static int join(struct cli *c, struct plan *p, const struct joining *g)
{
    struct quern_error err;
    struct model *slices = NULL;
    struct quern_result result;
    struct file_hash *hashes;
    size_t nhashes;
    p->goes_on = !g->outer->force;
    if (plan_assemble(p, g->d, g->job->made_in, &slices, &err) != QUERN_OK)
        return report_error(c, &err);
    const int code = run_and_hash(c, p, &result, &hashes, &nhashes);
    if (code == 0) {
        tell(g, p, &result, hashes, nhashes);
        clear_up(g);
    }
    model_close(slices);
    return code;
}

static int take(struct cli *c, struct plan *p, struct division *d, void *data)
{
    struct joining *g = data;
    struct quern_error err;
    struct file_hash *hashes = NULL;
    size_t nhashes = 0;
    bool joined;
    g->d = d;
    p->force |= g->outer->force;
    catch_signals();
    enum quern_status s = check_parts(g, p, &p->arena, &joined, &err);
    if (s == QUERN_OK && !joined)
        return join(c, p, g);
    if (s == QUERN_OK && c->sha256)
        s = hash_outputs(c, p, &hashes, &nhashes, &err);
    if (s != QUERN_OK)
        return report_ended(c, &err);
    tell(g, p, NULL, hashes, nhashes);
    remove_journal(g->job->made);
    clear_up(g);
    return 0;
}

int cmd_join(struct cli *c)
{
    struct quern_error err;
    struct job j;
    if (c->args.count != 1)
        return usage_error(c, "expected one PLAN, got %zu arguments", c->args.count);
    if (job_file_read(c->args.items[0], &j, &err) != QUERN_OK)
        return report_error(c, &err);
    struct joining g = {.outer = c, .job = &j};
    const int code = job_plan(c, &j, take, &g);
    job_free(&j);
    return code;
}
