/* recording.c - give a plan its record: what was asked for, and what was read for it. */
#include "core/io.h"
#include "core/yaml.h"
#include "formats/pack.h"
#include "job_record.h"
#include "making.h"
#include "pipeline/provenance.h"
#include "pipeline/rename.h"

/* Every file that an option names. */
static size_t named_files(const struct cli *c, const char **files, size_t most)
{
    const struct option *t;
    size_t n = 0;
    for (unsigned i = 0; (t = command_options(c->command, i)); i++)
        for (; t->name; t++) {
            const void *field = (const char *)c + t->field;
            const struct values *v = field;
            if (t->kind == OPTION_FILE && *(const char *const *)field && n < most)
                files[n++] = *(const char *const *)field;
            for (size_t k = 0; t->kind == OPTION_LIST_FILE && k < v->count && n < most; k++)
                if (v->is_file[k])
                    files[n++] = v->items[k];
        }
    return n;
}

static enum quern_status add_record(const struct cli *c, struct plan *p, struct arena *arena,
                                    struct json_writer *job, struct quern_error *err)
{
    const char *files[MAX_ARGS * 2];
    struct str recipe = {NULL, 0};
    struct provenance_request r = {.nmodels = c->also[0] ? 2 : 0,
                                   .models = c->also,
                                   .files = files,
                                   .hub_cache = c->hub_cache ? c->hub_cache : hub_cache_dir(arena)};
    r.nfiles = (uint32_t)named_files(c, files, sizeof files / sizeof *files);
    if (c->recipe)
        TRY(read_named_file(c->recipe, YAML_MAX_TEXT, arena, &recipe, err));
    job_write(c, JOB_BYTES, job);
    r.job = json_written(job);
    r.recipe = recipe;
    return r.job.p ? plan_record(p, &r, err) : fail_memory(err, job->n);
}

/* The same as it was recorded, whatever things are called now. */
static enum quern_status add_same(const struct cli *c, struct plan *p, struct arena *arena,
                                  struct quern_error *err)
{
    const struct record *record = c->making->record;
    const char *files[MAX_ARGS * 2];
    const char **paths = ARENA_NEW(arena, const char *, record->ninputs + 1u);
    char(*outputs)[65] = arena_array(arena, record->noutputs + 1u, sizeof *outputs);
    if (!paths || !outputs)
        return fail_memory(err, record->ninputs * sizeof *paths);
    for (uint32_t i = 0; i < record->ninputs; i++)
        paths[i] = record->inputs[i].path;
    for (uint32_t i = 0; i < record->noutputs; i++)
        memcpy(outputs[i], record->outputs[i].sha256, sizeof outputs[i]);
    struct provenance_request r = {.version = record->version,
                                   .made_by = record->version,
                                   .job = record->job,
                                   .recipe = record->recipe,
                                   .nmodels = c->also[0] ? 2 : 0,
                                   .models = c->also,
                                   .files = files,
                                   .paths = paths,
                                   .npaths = record->ninputs,
                                   .outputs = (const char(*)[65])outputs,
                                   .noutputs = record->noutputs};
    r.nfiles = (uint32_t)named_files(c, files, sizeof files / sizeof *files);
    p->held_bytes += record->arena.nbytes;
    TRY(plan_rename(p, c->making->planned, c->making->target, err));
    return plan_record(p, &r, err);
}

int record_plan(struct cli *c, struct plan *p)
{
    struct arena arena = {0};
    struct json_writer job = {0};
    struct quern_error err;
    if (!c->provenance && !c->making)
        return 0;
    if (c->making)
        c->making->begun = true;
    const enum quern_status s =
        c->making ? add_same(c, p, &arena, &err) : add_record(c, p, &arena, &job, &err);
    json_writer_free(&job);
    arena_free(&arena);
    return s == QUERN_OK ? 0 : report_error(c, &err);
}
