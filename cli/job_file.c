/* job_file.c - write a divided command, and plan it again. */
#include "job_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/io.h"
#include "core/output.h"
#include "formats/byte_files.h"
#include "formats/pack.h"
#include "pipeline/identity.h"
#include "pipeline/publish.h"

#define WORK_SUFFIX ".quern-parts"

/* As it has been read: the same on every machine. */
static void digest_of_header(const struct model_file *f, uint8_t digest[32])
{
    struct sha256 s;
    sha256_start(&s);
    if (f->header)
        sha256_add(&s, f->header, f->header_bytes);
    sha256_end(&s, digest);
}

/* Of everything that decides the bytes, of how they are divided, and of the inputs' sizes and
 * headers: what is the same on every machine that sees the same files. */
static void digest_of(const struct plan *p, const struct job *j, const struct division *d,
                      char hex[65])
{
    const uint32_t division[] = {d->count, j->layout, j->nstats};
    uint8_t digest[32];
    struct sha256 s;
    plan_identity(p, digest);
    sha256_start(&s);
    sha256_add(&s, digest, sizeof digest);
    sha256_add(&s, division, sizeof division);
    for (uint32_t m = 0; m < p->nmodels; m++)
        for (uint32_t i = 0; i < p->models[m]->nfiles; i++) {
            const struct model_file *f = &p->models[m]->files[i];
            uint8_t header[32];
            digest_of_header(f, header);
            sha256_add(&s, &f->id.nbytes, sizeof f->id.nbytes);
            sha256_add(&s, header, sizeof header);
        }
    sha256_end(&s, digest);
    digest_hex(digest, hex);
}

/* ---- writing -------------------------------------------------------------------------------- */

static const char *const layout_names[] = {
    [LAYOUT_FILES] = "files", [LAYOUT_JOINED] = "joined", [LAYOUT_RANGES] = "ranges"};

bool job_layout(const char *name, enum job_layout *layout)
{
    for (unsigned i = 0; i < sizeof layout_names / sizeof *layout_names; i++)
        if (strcmp(name, layout_names[i]) == 0) {
            *layout = (enum job_layout)i;
            return true;
        }
    return false;
}

static void head_json(struct json_writer *w, const struct job *j)
{
    json_line(w, "  ");
    field_u64(w, "quern_plan", JOB_FORM);
    json_line(w, "  ");
    field_text(w, "version", quern_version());
    json_line(w, "  ");
    json_key(w, "arguments");
    json_open(w, '[');
    for (size_t i = 0; i < j->words.count; i++)
        json_put_text(w, j->words.items[i]);
    json_close(w, ']');
    json_line(w, "  ");
    field_text(w, "output", j->output);
    json_line(w, "  ");
    field_text(w, "layout", layout_names[j->layout]);
    json_line(w, "  ");
    field_text(w, "work", j->work);
    json_line(w, "  ");
    field_u64(w, "parts", j->nparts);
    json_line(w, "  ");
    field_u64(w, "stats_parts", j->nstats);
    json_line(w, "  ");
    field_text(w, "digest", j->digest);
}

static void inputs_json(struct json_writer *w, const struct plan *p)
{
    json_line(w, "  ");
    json_key(w, "inputs");
    json_open(w, '[');
    for (uint32_t m = 0; m < p->nmodels; m++)
        for (uint32_t i = 0; i < p->models[m]->nfiles; i++) {
            const struct model_file *f = &p->models[m]->files[i];
            uint8_t digest[32];
            char hex[65];
            digest_of_header(f, digest);
            digest_hex(digest, hex);
            json_line(w, "    ");
            json_open(w, '{');
            field_text(w, "path", f->path);
            field_u64(w, "bytes", f->id.nbytes);
            field_text(w, "header_sha256", hex);
            json_close(w, '}');
        }
    json_close(w, ']');
}

static void files_json(struct json_writer *w, const struct plan *p)
{
    json_line(w, "  ");
    json_key(w, "files");
    json_open(w, '[');
    for (uint32_t i = 0; i < p->nfiles; i++) {
        json_line(w, "    ");
        json_open(w, '{');
        field_text(w, "path", p->files[i].path);
        field_u64(w, "bytes", p->files[i].nbytes);
        json_close(w, '}');
    }
    json_close(w, ']');
}

static void shape_json(struct json_writer *w, const struct step *s)
{
    json_key(w, "shape");
    json_open(w, '[');
    for (unsigned d = 0; d < s->ndims; d++)
        json_put_u64(w, s->dims[d]);
    json_close(w, ']');
}

static void steps_json(struct json_writer *w, const struct plan *p, const struct division *d)
{
    json_line(w, "  ");
    json_key(w, "steps");
    json_open(w, '[');
    for (uint32_t i = 0; i < p->nsteps; i++) {
        const struct step *s = &p->steps[d->order[i]];
        json_line(w, "    ");
        json_open(w, '{');
        json_key(w, "tensor");
        json_put_str(w, s->name);
        field_text(w, "op", step_op(s));
        field_text(w, "type", dtype_traits[s->dtype].name);
        shape_json(w, s);
        field_u64(w, "file", s->file);
        field_u64(w, "offset", s->offset);
        field_u64(w, "bytes", s->nbytes);
        if (s->detail)
            field_text(w, "from", s->detail);
        json_close(w, '}');
    }
    json_close(w, ']');
}

static void division_json(struct json_writer *w, const struct division *d)
{
    json_line(w, "  ");
    json_key(w, "division");
    json_open(w, '[');
    for (uint32_t k = 0; k < d->count; k++) {
        const struct portion *part = &d->portions[k];
        json_line(w, "    ");
        json_open(w, '{');
        field_u64(w, "part", k + 1);
        field_u64(w, "reads", part->read_bytes);
        field_u64(w, "cost", part->cost);
        json_key(w, "slices");
        json_open(w, '[');
        for (uint32_t i = 0; i < part->nslices; i++) {
            const struct stretch *s = &d->slices[part->first_slice + i];
            json_open(w, '{');
            field_u64(w, "slice", part->first_slice + i + 1);
            field_u64(w, "file", s->file);
            field_u64(w, "offset", s->offset);
            field_u64(w, "bytes", s->nbytes);
            field_u64(w, "first_step", s->first);
            field_u64(w, "steps", s->nsteps);
            json_close(w, '}');
        }
        json_close(w, ']');
        json_close(w, '}');
    }
    json_close(w, ']');
}

const char *job_more_files(const struct plan *p)
{
    return !p->dir && p->nfiles > 1 ? " ..." : "";
}

enum quern_status job_write_text(const char *path, struct json_writer *w, bool force,
                                 struct quern_error *err)
{
    json_raw(w, str_from("\n"));
    const struct str text = json_written(w);
    enum quern_status s = text.p ? QUERN_OK : fail_memory(err, w->capacity);
    if (s == QUERN_OK)
        s = output_write(path, text, 0, force, err);
    json_writer_free(w);
    return s;
}

/* What the plan is of, once it is cut as the job says. */
static enum quern_status divide(struct job *j, const struct cli *c, struct plan *p,
                                struct division *d, char digest[65], struct quern_error *err)
{
    static const enum cutting cuttings[] = {[LAYOUT_FILES] = CUT_NOWHERE,
                                            [LAYOUT_JOINED] = CUT_CHEAPLY,
                                            [LAYOUT_RANGES] = CUT_ANYWHERE};
    struct division_request r = {
        .count = j->nparts, .cutting = cuttings[j->layout], .measured = j->nstats > 0};
    if (j->nstats)
        TRY(measuring_divide(p, j->nstats, &p->arena, &j->measuring, err));
    j->nstats = j->measuring.count;
    if (j->layout == LAYOUT_FILES)
        TRY(plan_in_files(p, j->nparts, r.measured, err));
    TRY(plan_divide(p, &r, &p->arena, d, err));
    /* Who asks for as many as there are must get the same. */
    while (d->count != r.count) {
        r.count = d->count;
        TRY(plan_divide(p, &r, &p->arena, d, err));
    }
    ask_plan(c, p);
    digest_of(p, j, d, digest);
    return QUERN_OK;
}

static enum quern_status name_output(struct job *j, const struct plan *p, struct quern_error *err)
{
    const char *output = p->dir ? p->dir : p->files[0].path;
    char *work = output_beside(output, WORK_SUFFIX);
    j->output = arena_printf(&j->arena, "%s", output);
    j->work = work ? arena_printf(&j->arena, "%s", work) : NULL;
    free(work);
    return j->output && j->work ? QUERN_OK : fail_memory(err, strlen(output));
}

enum quern_status job_file_write(struct job *j, const struct cli *c, struct plan *p, bool force,
                                 struct division *d, struct quern_error *err)
{
    if (p->refusal) {
        *err = *p->refusal;
        return p->refusal->status;
    }
    TRY(name_output(j, p, err));
    TRY(divide(j, c, p, d, j->digest, err));
    j->made = p->dir ? p->dir : p->files[0].path;
    TRY(publish_check(p, err));
    j->nparts = d->count;
    TRY(output_check(j->path, false, force, err));
    struct json_writer w = {0};
    json_open(&w, '{');
    head_json(&w, j);
    inputs_json(&w, p);
    files_json(&w, p);
    division_json(&w, d);
    steps_json(&w, p, d);
    json_raw(&w, str_from("\n"));
    json_close(&w, '}');
    return job_write_text(j->path, &w, force, err);
}

/* ---- the plan ------------------------------------------------------------------------------- */

struct taking {
    struct job *job;
    take_division *take;
    void *data;
};

static enum quern_status same_plan(const struct job *j, const char *digest, struct quern_error *err)
{
    if (strcmp(j->digest, digest) == 0)
        return QUERN_OK;
    if (strcmp(j->version, quern_version()) != 0)
        return in_file(err, j->path,
                       fail(err, QUERN_EUSAGE, "plan",
                            "it was made by quern %s" WANT "this is quern %s: plan again",
                            quoted(str_from(j->version)).text, quern_version()));
    return in_file(err, j->path,
                   fail(err, QUERN_EIO, "changed",
                        "an input, or a file that the command names, is not what it was when this "
                        "was planned" WANT "plan again"));
}

/* Both follow from the arguments: slices are made and removed nowhere else. */
static enum quern_status same_places(struct job *j, const struct plan *p, struct quern_error *err)
{
    const char *output = j->output, *work = j->work;
    TRY(name_output(j, p, err));
    const bool same = strcmp(output, j->output) == 0;
    if (same && strcmp(work, j->work) == 0)
        return QUERN_OK;
    fail(err, QUERN_EFORMAT, "plan", "the value of \"%s\"" WANT "expected %s",
         same ? "work" : "output", quoted(str_from(same ? j->work : j->output)).text);
    return in_file(err, j->path, QUERN_EFORMAT);
}

/* Files that all parts write to are those of one plan: an old part of another still has its own. */
static enum quern_status name_slices(struct job *j, struct quern_error *err)
{
    j->made_in = j->layout == LAYOUT_RANGES
                     ? arena_printf(&j->arena, "%s/shared.%.16s", j->work, j->digest)
                     : j->work;
    return j->made_in ? QUERN_OK : fail_memory(err, strlen(j->work));
}

static int take_plan(struct cli *c, struct plan *p, void *data)
{
    const struct taking *t = data;
    struct quern_error err;
    struct division d;
    char digest[65];
    if (p->refusal)
        return report_error(c, p->refusal);
    enum quern_status s = same_places(t->job, p, &err);
    if (s == QUERN_OK)
        s = divide(t->job, c, p, &d, digest, &err);
    if (s == QUERN_OK)
        s = same_plan(t->job, digest, &err);
    t->job->made = p->dir ? p->dir : p->files[0].path;
    if (s == QUERN_OK)
        s = name_slices(t->job, &err);
    return s == QUERN_OK ? t->take(c, p, &d, t->data) : report_error(c, &err);
}

/* Before they are opened: one that was cut short since would be called damaged. */
static enum quern_status same_inputs(const struct job *j, struct quern_error *err)
{
    for (uint32_t i = 0; i < j->ninputs; i++) {
        const struct planned_input *in = &j->inputs[i];
        uint64_t nbytes;
        if (pack_part(in->path)) /* looked for when the pack is opened */
            continue;
        if (!byte_file_size(in->path, &nbytes))
            return in_file(err, in->path,
                           fail(err, QUERN_EIO, "changed",
                                "this input is not there any more" WANT "plan again"));
        if (nbytes != in->nbytes)
            return in_file(err, in->path,
                           fail(err, QUERN_EIO, "changed",
                                "this input has %" PRIu64 " bytes, and had %" PRIu64
                                " when this was planned" WANT "plan again",
                                nbytes, in->nbytes));
    }
    return QUERN_OK;
}

int job_plan(const struct cli *outer, struct job *j, take_division *take, void *data)
{
    struct quern_error err;
    if (same_inputs(j, &err) != QUERN_OK)
        return report_error(outer, &err);
    struct taking t = {j, take, data};
    struct cli inner = {.threads = outer->threads,
                        .mem = outer->mem,
                        .progress = outer->progress,
                        .quiet = outer->quiet,
                        .verbose = outer->verbose,
                        .json = outer->json,
                        .resume = outer->resume,
                        .sha256 = outer->sha256,
                        .take_plan = take_plan,
                        .take_data = &t};
    return run_words(&inner, &j->words);
}
