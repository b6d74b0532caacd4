/* batch_state.c - the record of a job: of what it was made, with which bytes. */
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "batch.h"
#include "core/archive.h"
#include "core/grow.h"
#include "core/io.h"
#include "core/sha256.h"
#include "job_file.h"
#include "job_record.h"

#define RECORD_FORM  1u
#define LONGEST_BASE 80

const char *state_path(const struct batch *b, uint32_t job, const char *suffix, struct arena *arena)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-=";
    const char *name = b->m.jobs[job].name;
    char base[LONGEST_BASE + 1], hex[65];
    size_t n = 0;
    struct sha256 sum;
    for (; n < LONGEST_BASE && name[n]; n++)
        base[n] = strchr(plain, name[n]) && (n || name[n] != '.') ? name[n] : '-';
    base[n] = '\0';
    sha256_start(&sum);
    sha256_add(&sum, name, strlen(name));
    sha256_hex(sum, hex);
    return arena_printf(arena, "%s/%s.%.8s%s", b->dir, base, hex, suffix);
}

/* ---- writing -------------------------------------------------------------------------------- */

static void put_files(struct json_writer *w, const char *key, const struct seen_files *l)
{
    json_key(w, key);
    json_open(w, '[');
    for (uint32_t i = 0; i < l->count; i++) {
        const struct seen_file *f = &l->items[i];
        json_line(w, "    ");
        json_open(w, '{');
        field_text(w, "path", f->path);
        json_key(w, "directory");
        json_put_bool(w, f->is_dir);
        field_u64(w, "bytes", f->nbytes);
        field_u64(w, "seconds", (uint64_t)(f->mtime_ns / 1000000000));
        field_u64(w, "nanoseconds", (uint64_t)(f->mtime_ns % 1000000000));
        field_text(w, "head", f->head);
        if (f->sha256[0])
            field_text(w, "sha256", f->sha256);
        json_close(w, '}');
    }
    json_close(w, ']');
}

static const char *const stages[] = {"never", "started", "failed", "done"};

enum quern_status state_write(const struct batch *b, uint32_t job, const struct cli *command,
                              const struct job_state *s, struct quern_error *err)
{
    struct arena arena = {0};
    struct json_writer w = {0};
    const char *path = state_path(b, job, ".json", &arena);
    json_open(&w, '{');
    field_u64(&w, "quern_batch_job", RECORD_FORM);
    field_text(&w, "name", b->m.jobs[job].name);
    field_text(&w, "version", quern_version());
    field_text(&w, "stage", stages[s->stage]);
    json_line(&w, "  ");
    json_key(&w, "job");
    job_write(command, JOB_ALL, &w);
    json_line(&w, "  ");
    field_text(&w, "output", command->output ? command->output : "");
    field_text(&w, "digest", s->digest);
    field_u64(&w, "exit", (uint64_t)s->code);
    field_f64(&w, "took", s->seconds);
    json_line(&w, "  ");
    put_files(&w, "inputs", &s->inputs);
    json_line(&w, "  ");
    put_files(&w, "outputs", &s->outputs);
    json_close(&w, '}');
    enum quern_status status = path ? QUERN_OK : fail_memory(err, strlen(b->dir));
    if (status == QUERN_OK)
        status = job_write_text(path, &w, true, err);
    else
        json_writer_free(&w);
    arena_free(&arena);
    return status;
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool take_hex(const struct json *v, char hex[65])
{
    struct str s;
    if (!json_text(v, &s) || !is_digest_hex(s))
        return false;
    memcpy(hex, s.p, 65);
    return true;
}

static bool take_file(const struct json *v, struct arena *arena, struct seen_file *f)
{
    struct str path;
    uint64_t seconds, nanoseconds;
    *f = (struct seen_file){.path = NULL};
    if (!json_text(json_get(v, "path"), &path) || path.n == 0 ||
        !json_bool(json_get(v, "directory"), &f->is_dir) ||
        !json_u64(json_get(v, "bytes"), &f->nbytes) ||
        !json_u64(json_get(v, "seconds"), &seconds) || seconds > INT64_MAX / 2000000000 ||
        !json_u64(json_get(v, "nanoseconds"), &nanoseconds) || nanoseconds >= 1000000000 ||
        !take_hex(json_get(v, "head"), f->head))
        return false;
    if (json_get(v, "sha256") && !take_hex(json_get(v, "sha256"), f->sha256))
        return false;
    f->mtime_ns = (int64_t)seconds * 1000000000 + (int64_t)nanoseconds;
    f->path = arena_str(arena, path).p;
    return f->path != NULL;
}

static bool take_files(const struct json *list, struct arena *arena, struct seen_files *l)
{
    if (!json_is_array(list))
        return false;
    for (const struct json *v = json_first(list); v; v = json_next(v)) {
        void *items = l->items;
        if (!grow(&items, l->count, &l->capacity, sizeof *l->items))
            return false;
        l->items = items;
        if (!take_file(v, arena, &l->items[l->count]))
            return false;
        l->count++;
    }
    return true;
}

static bool take_state(const struct batch *b, uint32_t job, const struct json *root,
                       struct job_state *s)
{
    struct str text;
    uint64_t n;
    if (!json_u64(json_get(root, "quern_batch_job"), &n) || n != RECORD_FORM ||
        !json_text(json_get(root, "name"), &text) || !str_is(text, b->m.jobs[job].name) ||
        !json_text(json_get(root, "version"), &text))
        return false;
    s->version = arena_str(&s->arena, text).p;
    if (!json_text(json_get(root, "output"), &text))
        return false;
    s->output = arena_str(&s->arena, text).p;
    if (!s->version || !s->output || !take_hex(json_get(root, "digest"), s->digest) ||
        !json_u64(json_get(root, "exit"), &n) || n > 255 ||
        !json_f64(json_get(root, "took"), &s->seconds) || !isfinite(s->seconds) ||
        !take_files(json_get(root, "inputs"), &s->arena, &s->inputs) ||
        !take_files(json_get(root, "outputs"), &s->arena, &s->outputs) ||
        !json_text(json_get(root, "stage"), &text))
        return false;
    s->code = (int)n;
    for (size_t i = STAGE_STARTED; i <= STAGE_DONE; i++)
        if (str_is(text, stages[i]))
            s->stage = (enum job_stage)i;
    return s->stage != STAGE_NEVER;
}

void state_free(struct job_state *s)
{
    seen_free(&s->inputs);
    seen_free(&s->outputs);
    arena_free(&s->arena);
    *s = (struct job_state){.stage = STAGE_NEVER};
}

enum quern_status state_read(const struct batch *b, uint32_t job, struct job_state *s,
                             struct quern_error *err)
{
    struct str text;
    struct json *root = NULL;
    *s = (struct job_state){.stage = STAGE_NEVER};
    const char *path = state_path(b, job, ".json", &s->arena);
    if (!path)
        return fail_memory(err, strlen(b->dir));
    if (!path_exists(path))
        return QUERN_OK;
    if (read_small_file(path, JSON_MAX_BYTES, &s->arena, &text, NULL) == QUERN_OK &&
        json_parse(text, &root, NULL) == QUERN_OK && !take_state(b, job, root, s))
        state_free(s);
    json_free(root);
    return QUERN_OK;
}

/* ---- comparing ------------------------------------------------------------------------------ */

static bool find_change(const struct seen_files *l, bool exact, const char *what, char *why,
                        size_t n)
{
    for (uint32_t i = 0; i < l->count; i++) {
        const enum seen_change change = seen_compare(&l->items[i], exact);
        if (change == SEEN_SAME)
            continue;
        snprintf(why, n, "%s %s: %s", what, change == SEEN_GONE ? "is gone" : "has changed",
                 quoted(str_from(l->items[i].path)).text);
        return true;
    }
    return false;
}

bool state_asks_for_run(const struct batch *b, const struct job_state *s, const char *digest,
                        char *why, size_t n)
{
    const bool exact = b->c->check_hashes;
    if (s->stage == STAGE_NEVER)
        snprintf(why, n, NEVER_RAN);
    else if (strcmp(s->digest, digest) != 0)
        snprintf(why, n, "its command is another one");
    else if (strcmp(s->version, quern_version()) != 0)
        snprintf(why, n, "quern %s made it", quoted(str_from(s->version)).text);
    else if (s->stage == STAGE_STARTED || s->code > 128)
        snprintf(why, n, "it was interrupted");
    else if (s->stage == STAGE_FAILED)
        snprintf(why, n, "it failed with exit code %d", s->code);
    else
        return find_change(&s->inputs, exact, "an input", why, n) ||
               find_change(&s->outputs, exact, "an output", why, n);
    return true;
}

bool state_owns_outputs(const struct job_state *s)
{
    char why[8];
    return s->outputs.count > 0 && !find_change(&s->outputs, false, "", why, sizeof why);
}
