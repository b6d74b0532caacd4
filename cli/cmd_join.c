/* cmd_join.c - quern join: the output of parts that are done. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/archive.h"
#include "core/io.h"
#include "core/text_file.h"
#include "job_file.h"
#include "pipeline/hashing.h"

struct joining {
    const struct cli *outer;
    struct job *job;
};

/* "3, 5-7 and 9" */
static void list_parts(FILE *f, const bool *missing, uint32_t n)
{
    bool first = true;
    for (uint32_t i = 0; i < n; i++) {
        if (!missing[i])
            continue;
        uint32_t end = i;
        while (end + 1 < n && missing[end + 1])
            end++;
        fprintf(f, "%s%u", first ? "" : ", ", i + 1);
        if (end > i)
            fprintf(f, "-%u", end + 1);
        first = false;
        i = end;
    }
}

static enum quern_status say_missing(const struct job *j, const bool *missing, uint32_t n,
                                     struct quern_error *err)
{
    struct text_file t;
    size_t length;
    if (!text_file_begin(&t))
        return fail_memory(err, sizeof t);
    list_parts(t.f, missing, n);
    char *text = text_file_end(&t, &length);
    if (!text)
        return fail_memory(err, length);
    fail(err, QUERN_EIO, "parts",
         "not done of %u parts: %.200s" WANT "run them first: quern run ... --part I", n, text);
    free(text);
    return in_file(err, j->path, QUERN_EIO);
}

static enum quern_status check_sums(const struct joining *g, const struct division *d,
                                    const char (*hex)[65], struct arena *arena,
                                    struct quern_error *err)
{
    const struct quern_run_options options = {
        .threads = g->outer->threads, .mem_bytes = g->outer->mem, .cancel = &stop_signal};
    const char **paths = ARENA_NEW(arena, const char *, d->nslices);
    char(*found)[65] = arena_array(arena, d->nslices, sizeof *found);
    bool ok = paths && found;
    for (uint32_t i = 0; ok && i < d->nslices; i++)
        ok = (paths[i] = slice_path(g->job->work, i, arena)) != NULL;
    if (!ok)
        return fail_memory(err, d->nslices * sizeof *found);
    TRY(hash_files(paths, d->nslices, &options, found, err));
    for (uint32_t i = 0; i < d->nslices; i++)
        if (strcmp(found[i], hex[i]) != 0)
            return in_file(err, paths[i],
                           fail(err, QUERN_EIO, "changed",
                                "its bytes are not those that were made" WANT
                                "remove it and run its part again"));
    return QUERN_OK;
}

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

/* All records are there, and the bytes are what they say. */
static enum quern_status check_parts(const struct joining *g, const struct plan *p,
                                     const struct division *d, struct arena *arena,
                                     struct quern_error *err)
{
    bool *missing = ARENA_NEW(arena, bool, d->count);
    char(*hex)[65] = arena_array(arena, d->nslices, sizeof *hex);
    uint32_t nmissing = 0;
    if (!missing || !hex)
        return fail_memory(err, d->nslices * sizeof *hex);
    for (uint32_t k = 0; k < d->count; k++) {
        bool done;
        TRY(done_read(g->job, d, k, &done, hex + d->portions[k].first_slice, err));
        missing[k] = !done;
        nmissing += !done;
    }
    if (nmissing == d->count)
        TRY(say_joined(p, arena, err));
    if (nmissing)
        return say_missing(g->job, missing, d->count, err);
    return check_sums(g, d, (const char(*)[65])hex, arena, err);
}

/* ---- the end -------------------------------------------------------------------------------- */

/* Files, and directories with files, of this form: nothing else is ever put there. */
static bool is_ours(const char *name)
{
    return strncmp(name, "slice-", 6) == 0 || strncmp(name, "part-", 5) == 0;
}

static bool is_record(const char *name)
{
    return str_ends(str_from(name), ".done");
}

static void clear(const char *path, bool keep_records, bool deep)
{
    DIR *d = opendir(path);
    if (!d)
        return;
    for (const struct dirent *e; (e = readdir(d));) {
        char *entry;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            (deep && (!is_ours(e->d_name) || (keep_records && is_record(e->d_name)))) ||
            asprintf(&entry, "%s/%s", path, e->d_name) < 0)
            continue;
        if (unlink(entry) != 0 && errno == EISDIR && deep)
            clear(entry, false, false);
        free(entry);
    }
    closedir(d);
    rmdir(path);
}

static void tell(const struct joining *g, const struct plan *p, const struct quern_result *r,
                 const struct file_hash *hashes, size_t nhashes)
{
    const struct cli *c = g->outer;
    char size[16];
    if (c->json) {
        struct json_writer w = {0};
        json_open(&w, '{');
        field_text(&w, "command", "join");
        field_text(&w, "output", g->job->output);
        field_u64(&w, "parts", g->job->nparts);
        field_u64(&w, "bytes", r->written_bytes);
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
        say("%s%s: %s, joined from %u part%s",
            quoted(str_from(p->dir ? p->dir : p->files[0].path)).text, job_more_files(p),
            human_bytes(r->written_bytes, size), g->job->nparts, g->job->nparts == 1 ? "" : "s");
}

static int take(struct cli *c, struct plan *p, struct division *d, void *data)
{
    const struct joining *g = data;
    struct quern_error err;
    struct model *slices = NULL;
    struct quern_result result;
    struct file_hash *hashes;
    size_t nhashes;
    p->force |= g->outer->force;
    catch_signals();
    enum quern_status s = check_parts(g, p, d, &p->arena, &err);
    if (s == QUERN_OK)
        s = plan_assemble(p, d, g->job->work, &slices, &err);
    if (s != QUERN_OK)
        return report_error(c, &err);
    const int code = run_and_hash(c, p, &result, &hashes, &nhashes);
    if (code == 0) {
        tell(g, p, &result, hashes, nhashes);
        clear(g->job->work, g->outer->keep_records, true);
    }
    model_close(slices);
    return code;
}

int cmd_join(struct cli *c)
{
    struct quern_error err;
    struct job j;
    if (c->args.count != 1)
        return usage_error(c, "expected one PLAN, got %zu arguments", c->args.count);
    if (job_file_read(c->args.items[0], &j, &err) != QUERN_OK)
        return report_error(c, &err);
    struct joining g = {c, &j};
    const int code = job_plan(c, &j, take, &g);
    job_free(&j);
    return code;
}
