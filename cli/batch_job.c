/* batch_job.c - run one job of a manifest, unless all is as its record says. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "batch.h"
#include "core/archive.h"
#include "core/io.h"
#include "core/output.h"
#include "core/seconds.h"
#include "core/sha256.h"
#include "job_record.h"
#include "recipe_texts.h"

/* A job while it runs. */
struct job_run {
    const struct batch *b;
    const struct batch_job *job;
    uint32_t number;
    struct cli *command;     /* as its words say; what runs is another one */
    struct job_state before; /* the record as it was found */
    struct job_state now;    /* what will be recorded */
    struct seen_files made;  /* outputs; looked at when they are complete */
    const char **paths;      /* of outputs, as planned; malloc'ed */
    uint32_t npaths;
    enum quern_status status; /* of what is done while the command runs */
    struct quern_error err;
};

/* ---- the command ---------------------------------------------------------------------------- */

static int parse_words(const struct batch_job *job, struct cli *c)
{
    char *argv[MAX_ARGS];
    *c = (struct cli){.command = job->command};
    for (uint32_t i = 0; i < job->nwords; i++)
        argv[i] = (char *)job->words[i];
    return parse_options(c, (int)job->nwords, argv);
}

/* Of all that decides the bytes, and where they go. */
static enum quern_status digest_of(const struct cli *c, char hex[65], struct quern_error *err)
{
    struct json_writer w = {0};
    struct sha256 sum;
    job_write(c, JOB_BYTES, &w);
    json_put_text(&w, c->output);
    json_put_bool(&w, c->provenance);
    const struct str text = json_written(&w);
    sha256_start(&sum);
    if (text.p)
        sha256_add(&sum, text.p, text.n);
    sha256_hex(sum, hex);
    json_writer_free(&w);
    return text.p ? QUERN_OK : fail_memory(err, w.n);
}

static enum quern_status begin(struct job_run *r, struct quern_error *err)
{
    r->job = &r->b->m.jobs[r->number];
    r->command = calloc(1, sizeof *r->command);
    if (!r->command)
        return fail_memory(err, sizeof *r->command);
    /* The manifest was checked by the same tables. */
    if (parse_words(r->job, r->command) != 0)
        return fail(err, QUERN_EUSAGE, "job", "the words of job '%s' are not understood",
                    quoted(str_from(r->job->name)).text);
    TRY(digest_of(r->command, r->now.digest, err));
    return state_read(r->b, r->number, &r->before, err);
}

static void end(struct job_run *r)
{
    state_free(&r->before);
    state_free(&r->now);
    free(r->paths);
    free(r->command);
}

/* ---- while it runs -------------------------------------------------------------------------- */

/* PATH, or PATH+ADAPTER; a name of the hub is not there and not looked at. */
static enum quern_status add_named(struct job_run *r, struct str text, struct quern_error *err)
{
    struct arena *a = &r->now.arena;
    if (text.n == 0)
        return QUERN_OK;
    const char *plus = memchr(text.p, '+', text.n);
    const size_t first = plus ? (size_t)(plus - text.p) : text.n;
    const struct str parts[] = {
        text, {text.p,                          first                        },
         {text.p + first + (plus != NULL), plus ? text.n - first - 1 : 0}
    };
    for (size_t i = 0; i < (plus ? 3u : 1u); i++) {
        const struct str path = arena_str(a, parts[i]);
        if (!path.p)
            return fail_memory(err, parts[i].n);
        if (path.n)
            TRY(seen_add(&r->now.inputs, a, path.p, err));
    }
    return QUERN_OK;
}

/* Of a model that a recipe names its plan may use no weights, but its tokenizer, or more files than
 * those with weights, as of an adapter. */
static enum quern_status add_model(const struct yaml_node *text, void *run, struct quern_error *err)
{
    static const char *const keys[] = {"model", "base_model", "source", "tokenizer_source"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (str_is(text->key, keys[i]))
            return add_named(run, text->text, err);
    return QUERN_OK;
}

static enum quern_status add_words(struct job_run *r, struct quern_error *err)
{
    for (uint32_t i = 0; i < r->job->ninputs; i++)
        TRY(seen_add(&r->now.inputs, &r->now.arena, r->job->inputs[i].path, err));
    return r->job->recipe ? recipe_texts(r->job->recipe, add_model, r, err) : QUERN_OK;
}

static enum quern_status add_inputs(struct job_run *r, const struct plan *p,
                                    struct quern_error *err)
{
    for (uint32_t m = 0; m < p->nmodels; m++) {
        const struct model *model = p->models[m];
        for (uint32_t i = 0; i < model->nfiles; i++)
            TRY(seen_add(&r->now.inputs, &r->now.arena, model->files[i].path, err));
        if (model->dir)
            TRY(seen_add(&r->now.inputs, &r->now.arena, model->dir, err));
    }
    return QUERN_OK;
}

static enum quern_status note_outputs(struct job_run *r, const struct plan *p,
                                      struct quern_error *err)
{
    const uint32_t n = p->nfiles + (p->dir ? p->nsides : 0);
    free(r->paths);
    r->paths = calloc(n + 1u, sizeof *r->paths);
    r->npaths = 0;
    if (!r->paths)
        return fail_memory(err, n * sizeof *r->paths);
    for (uint32_t i = 0; i < n; i++) {
        const char *name = i < p->nfiles ? p->files[i].path : p->sides[i - p->nfiles].name;
        r->paths[i] = path_join(&r->now.arena, p->dir, name);
        if (!r->paths[i])
            return fail_memory(err, strlen(name));
        r->npaths++;
    }
    return QUERN_OK;
}

static bool any_is_there(const struct job_run *r)
{
    for (uint32_t i = 0; i < r->npaths; i++)
        if (path_exists(r->paths[i]))
            return true;
    return false;
}

static bool was_made(const struct job_run *r, const char *path)
{
    for (uint32_t i = 0; i < r->before.outputs.count; i++)
        if (strcmp(r->before.outputs.items[i].path, path) == 0)
            return true;
    return false;
}

static bool was_made_in(const struct job_run *r, const char *dir)
{
    const size_t n = strlen(dir);
    for (uint32_t i = 0; i < r->before.outputs.count; i++) {
        const char *path = r->before.outputs.items[i].path;
        if (strncmp(path, dir, n) == 0 && path[n] == '/')
            return true;
    }
    return false;
}

/* What the job would replace is what it has made itself: not what happens to be where a manifest
 * that was changed since puts the output now. */
static bool replaces_its_own(const struct job_run *r, const struct plan *p)
{
    const char *output = r->command->output ? r->command->output : "";
    if (r->b->c->force ||
        (r->before.stage == STAGE_STARTED && strcmp(r->before.output, output) == 0))
        return true;
    if (!state_owns_outputs(&r->before) ||
        (p->dir && path_exists(p->dir) && !was_made_in(r, p->dir)))
        return false;
    for (uint32_t i = 0; i < r->npaths; i++)
        if (path_exists(r->paths[i]) && !was_made(r, r->paths[i]))
            return false;
    return true;
}

static bool is_in_the_way(const struct job_run *r, const struct plan *p)
{
    return any_is_there(r) || (p->dir && path_exists(p->dir));
}

static enum quern_status look_at_plan(struct job_run *r, struct plan *p, struct quern_error *err)
{
    TRY(add_inputs(r, p, err));
    if (p->nfiles == 0)
        return QUERN_OK;
    TRY(note_outputs(r, p, err));
    if (is_in_the_way(r, p) && !replaces_its_own(r, p))
        p->force = false;
    /* From now on what is found at the output is taken for ours: nothing else may be there. */
    if (!p->force && any_is_there(r))
        return QUERN_OK;
    r->now.stage = STAGE_STARTED;
    return state_write(r->b, r->number, r->command, &r->now, err);
}

/* An error shows when the command has ended: there is nothing here that could be told to stop. */
static void see_plan(const struct cli *c, struct plan *p, void *data)
{
    struct job_run *r = data;
    (void)c;
    if (r->status == QUERN_OK)
        r->status = look_at_plan(r, p, &r->err);
}

/* ---- what is left of an earlier run --------------------------------------------------------- */

static bool inputs_are_same(const struct job_run *r)
{
    for (uint32_t i = 0; i < r->before.inputs.count; i++)
        if (seen_compare(&r->before.inputs.items[i], r->b->c->check_hashes) != SEEN_SAME)
            return false;
    return true;
}

/* An unfinished run of the same: anything else would be refused, or not be wanted. */
static bool may_resume(const struct job_run *r)
{
    return !r->b->c->force &&
           (r->before.stage == STAGE_STARTED || r->before.stage == STAGE_FAILED) &&
           strcmp(r->before.digest, r->now.digest) == 0 &&
           strcmp(r->before.version, quern_version()) == 0 && inputs_are_same(r);
}

/* Something: what, is told by the plan. */
static bool may_replace(const struct job_run *r)
{
    return r->b->c->force || r->before.stage == STAGE_STARTED || state_owns_outputs(&r->before);
}

static enum quern_status keep_outputs(struct job_run *r, struct quern_error *err)
{
    const struct seen_files *was = &r->before.outputs;
    struct seen_files *l = &r->now.outputs;
    l->items = calloc(was->count + 1u, sizeof *l->items);
    if (!l->items)
        return fail_memory(err, was->count * sizeof *l->items);
    for (uint32_t i = 0; i < was->count; i++) {
        l->items[i] = was->items[i];
        l->items[i].path = arena_str(&r->now.arena, str_from(was->items[i].path)).p;
        if (!l->items[i].path)
            return fail_memory(err, strlen(was->items[i].path));
        l->count++;
    }
    l->capacity = was->count + 1u;
    return QUERN_OK;
}

/* Where its output goes: a matrix may name directories that nobody has made yet. */
static enum quern_status make_place(const struct batch_job *job, struct quern_error *err)
{
    const char *output = job->output ? job->output : "";
    struct arena arena = {0};
    enum quern_status s = QUERN_OK;
    for (const char *slash = strchr(output, '/'); slash && s == QUERN_OK;
         slash = strchr(slash + 1, '/')) {
        const char *dir = arena_printf(&arena, "%.*s", (int)(slash - output), output);
        if (!dir)
            s = fail_memory(err, strlen(output));
        else if (dir[0] && slash[1])
            s = output_make_dir(dir, err);
    }
    arena_free(&arena);
    return s;
}

/* ---- the run -------------------------------------------------------------------------------- */

static int run_it(struct job_run *r)
{
    const struct batch *b = r->b;
    struct cli *c = calloc(1, sizeof *c);
    if (!c)
        return 6;
    struct quern_error err;
    int code = parse_words(r->job, c);
    if (code == 0 && make_place(r->job, &err) != QUERN_OK)
        code = report_error(c, &err);
    c->threads = c->threads ? c->threads : b->threads;
    c->mem = c->mem ? c->mem : b->mem;
    c->force = may_replace(r);
    c->resume = may_resume(r);
    c->see_plan = see_plan;
    c->see_data = r;
    c->progress = "none";
    if (code == 0)
        code = add_pack_bases(c);
    if (code == 0)
        code = c->command->run(c);
    free(c);
    return code;
}

/* One that is told to stop when its output is complete is done, without sums. */
static enum quern_status hash_unless_stopped(struct seen_files *l, unsigned threads,
                                             struct quern_error *err)
{
    const enum quern_status s = seen_hash(l, threads, err);
    return s == QUERN_ECANCELLED ? QUERN_OK : s;
}

static enum quern_status record_end(struct job_run *r, int code, struct quern_error *err)
{
    struct job_state *s = &r->now;
    s->code = code;
    s->stage = code == 0 ? STAGE_DONE : STAGE_FAILED;
    if (code == 0) {
        seen_free(&s->outputs);
        for (uint32_t i = 0; i < r->npaths; i++)
            TRY(seen_add(&s->outputs, &s->arena, r->paths[i], err));
        if (r->npaths == 0 && r->job->output)
            TRY(seen_add_tree(&s->outputs, &s->arena, r->job->output, err));
        TRY(hash_unless_stopped(&s->outputs, r->b->threads, err));
        if (r->b->c->check_hashes)
            TRY(hash_unless_stopped(&s->inputs, r->b->threads, err));
    }
    return state_write(r->b, r->number, r->command, s, err);
}

static int run_and_record(struct job_run *r, bool logged, struct job_report *report,
                          struct quern_error *err)
{
    const double start = seconds_now();
    /* What the run before had to say was kept until now. */
    if (logged && ftruncate(STDERR_FILENO, 0) != 0)
        return (int)fail_errno(err, r->b->dir, "empty the log of a job in");
    enum quern_status s = add_words(r, err);
    if (s == QUERN_OK)
        s = keep_outputs(r, err);
    if (s != QUERN_OK)
        return (int)s;
    const int code = run_it(r);
    r->now.seconds = report->seconds = seconds_now() - start;
    if (r->status != QUERN_OK)
        *err = r->err;
    s = r->status == QUERN_OK ? record_end(r, code, err) : r->status;
    report->nbytes = code == 0 ? seen_bytes(&r->now.outputs) : 0;
    return code ? code : (int)s;
}

static bool need_is_missing(const struct job_run *r, struct job_report *report)
{
    for (uint32_t i = 0; i < r->job->nneeds; i++) {
        struct job_state s;
        const bool done =
            state_read(r->b, r->job->needs[i], &s, NULL) == QUERN_OK && s.stage == STAGE_DONE;
        state_free(&s);
        if (done)
            continue;
        snprintf(report->reason, sizeof report->reason, "it needs '%s', which is not done",
                 quoted(str_from(r->b->m.jobs[r->job->needs[i]].name)).text);
        return true;
    }
    return false;
}

static bool must_run(struct job_run *r, struct job_report *report)
{
    if (r->b->c->force) {
        snprintf(report->reason, sizeof report->reason, "--force");
        return true;
    }
    return state_asks_for_run(r->b, &r->before, r->now.digest, report->reason,
                              sizeof report->reason);
}

/* Inputs that were not hashed when the job ran, because nobody asked for it. */
static enum quern_status add_hashes(struct job_run *r, struct quern_error *err)
{
    bool lacks = false;
    for (uint32_t i = 0; i < r->before.inputs.count; i++)
        lacks |= !r->before.inputs.items[i].is_dir && !r->before.inputs.items[i].sha256[0];
    if (!r->b->c->check_hashes || !lacks)
        return QUERN_OK;
    TRY(hash_unless_stopped(&r->before.inputs, r->b->threads, err));
    return state_write(r->b, r->number, r->command, &r->before, err);
}

static int locked_run(struct job_run *r, bool logged, struct job_report *report,
                      struct quern_error *err)
{
    const enum quern_status s = begin(r, err);
    if (s != QUERN_OK)
        return (int)s;
    if (!logged && need_is_missing(r, report)) {
        report->verdict = JOB_NOT_RUN;
        return 5;
    }
    if (!must_run(r, report)) {
        report->verdict = JOB_UP_TO_DATE;
        report->nbytes = seen_bytes(&r->before.outputs);
        return (int)add_hashes(r, err);
    }
    err->text[0] = '\0';
    const int code = run_and_record(r, logged, report, err);
    report->verdict = code == 0 ? JOB_DONE : code > 128 ? JOB_STOPPED : JOB_FAILED;
    return code;
}

int batch_run_job(const struct batch *b, uint32_t job, bool logged, struct job_report *report)
{
    struct job_run r = {.b = b, .number = job};
    struct quern_error err = {.text = ""};
    int lock = -1;
    *report = (struct job_report){.verdict = JOB_FAILED};
    const char *path = state_path(b, job, ".lock", &r.now.arena);
    const enum quern_status s = path ? output_lock(path, b->m.jobs[job].name, &lock, &err)
                                     : fail_memory(&err, strlen(b->dir));
    report->code = s == QUERN_OK ? locked_run(&r, logged, report, &err) : (int)s;
    /* Of the command's own errors its log tells. */
    if (report->code)
        snprintf(report->error, sizeof report->error, "%.599s", err.text);
    if (lock >= 0) {
        unlink(path);
        close(lock);
    }
    end(&r);
    return report->code;
}

void batch_look(const struct batch *b, uint32_t job, struct job_report *report)
{
    struct job_run r = {.b = b, .number = job};
    struct quern_error err;
    *report = (struct job_report){.verdict = JOB_UP_TO_DATE};
    if (begin(&r, &err) != QUERN_OK) {
        report->verdict = JOB_FAILED;
        report->code = (int)err.status;
        snprintf(report->error, sizeof report->error, "%.599s", err.text);
    } else if (must_run(&r, report)) {
        report->verdict = JOB_WOULD_RUN;
    }
    report->nbytes = seen_bytes(&r.before.outputs);
    end(&r);
}
