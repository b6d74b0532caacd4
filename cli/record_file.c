/* record_file.c - the record of an output, read strictly: it may be anybody's. */
#include "record_file.h"

#include "core/io.h"
#include "core/pull.h"
#include "core/sha256.h"
#include "job_record.h"
#include "pipeline/provenance.h"

#define MOST_BYTES (UINT64_C(512) << 20)

static enum quern_status bad(const struct pull *p, const char *what, struct quern_error *err)
{
    if (p->kind)
        return pull_fail(p, 0, err);
    return at_offset(
        err, p->token_at,
        fail(err, QUERN_EFORMAT, "record", "%s" WANT "expected a record as quern writes it", what));
}

static enum quern_status take_text(struct pull *p, const char **out, struct quern_error *err)
{
    if (pull_next(p) != PULL_STRING || strlen(p->str.p) != p->str.n)
        return bad(p, "a value is no string", err);
    *out = p->str.p;
    return QUERN_OK;
}

static enum quern_status take_hash(struct pull *p, const char **out, struct quern_error *err)
{
    TRY(take_text(p, out, err));
    return is_digest_hex(str_from(*out)) ? QUERN_OK
                                         : bad(p, "a hash is no 64 hexadecimal digits", err);
}

static enum quern_status take_number(struct pull *p, uint64_t *out, struct quern_error *err)
{
    return pull_next(p) == PULL_NUMBER && pull_u64(p, out) ? QUERN_OK
                                                           : bad(p, "a value is no number", err);
}

/* An array in an arena that doubles. */
static void *one_more(struct arena *a, void *items, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity)
        return items;
    const uint32_t bigger = *capacity ? *capacity * 2 : 16;
    void *p = arena_array(a, bigger, size);
    if (!p)
        return NULL;
    if (count)
        memcpy(p, items, count * size);
    *capacity = bigger;
    return p;
}

/* ---- inputs and outputs --------------------------------------------------------------------- */

/* Behind the brace. Names may be anything; nothing but a look-up is done with them. */
static enum quern_status take_tensors(struct record *r, struct pull *p, struct record_input *in,
                                      struct quern_error *err)
{
    enum pull_token token;
    uint32_t capacity = 0;
    while ((token = pull_next(p)) == PULL_KEY) {
        struct record_tensor *t =
            one_more(&r->arena, in->tensors, in->ntensors, &capacity, sizeof *in->tensors);
        if (!t)
            return fail_memory(err, capacity * sizeof *t);
        in->tensors = t;
        in->tensors[in->ntensors].name = p->str;
        TRY(take_hash(p, &in->tensors[in->ntensors++].sha256, err));
    }
    return token == PULL_OBJECT_END ? QUERN_OK : bad(p, "'tensors' does not end", err);
}

struct file_entry {
    const char *name, *sha256;
    uint64_t nbytes;
};

/* Members in the order in which they are written; what may follow is the caller's. */
static enum quern_status take_entry(struct pull *p, const char *key, struct file_entry *e,
                                    struct quern_error *err)
{
    if (pull_next(p) != PULL_KEY || !str_is(p->str, key))
        return bad(p, "an entry does not begin with its name", err);
    TRY(take_text(p, &e->name, err));
    if (pull_next(p) != PULL_KEY || !str_is(p->str, "bytes"))
        return bad(p, "an entry has no 'bytes'", err);
    TRY(take_number(p, &e->nbytes, err));
    if (pull_next(p) != PULL_KEY || !str_is(p->str, "sha256"))
        return bad(p, "an entry has no 'sha256'", err);
    return take_hash(p, &e->sha256, err);
}

static enum quern_status take_input(struct record *r, struct pull *p, struct quern_error *err)
{
    struct file_entry e;
    struct record_input *in =
        one_more(&r->arena, r->inputs, r->ninputs, &r->input_capacity, sizeof *in);
    if (!in)
        return fail_memory(err, r->input_capacity * sizeof *in);
    r->inputs = in;
    TRY(take_entry(p, "path", &e, err));
    in = &r->inputs[r->ninputs++];
    *in = (struct record_input){.path = e.name, .nbytes = e.nbytes, .sha256 = e.sha256};
    enum pull_token token = pull_next(p);
    if (token == PULL_KEY && str_is(p->str, "tensors")) {
        if (pull_next(p) != PULL_OBJECT)
            return bad(p, "'tensors' is no object", err);
        TRY(take_tensors(r, p, in, err));
        token = pull_next(p);
    }
    return token == PULL_OBJECT_END ? QUERN_OK : bad(p, "an input has an unknown member", err);
}

static enum quern_status take_output(struct record *r, struct pull *p, struct quern_error *err)
{
    struct file_entry e;
    struct record_output *o =
        one_more(&r->arena, r->outputs, r->noutputs, &r->output_capacity, sizeof *o);
    if (!o)
        return fail_memory(err, r->output_capacity * sizeof *o);
    r->outputs = o;
    TRY(take_entry(p, "file", &e, err));
    r->outputs[r->noutputs++] = (struct record_output){e.name, e.nbytes, e.sha256};
    return pull_next(p) == PULL_OBJECT_END ? QUERN_OK
                                           : bad(p, "an output has an unknown member", err);
}

static enum quern_status take_array(struct record *r, struct pull *p,
                                    enum quern_status (*take)(struct record *, struct pull *,
                                                              struct quern_error *),
                                    struct quern_error *err)
{
    enum pull_token token = pull_next(p);
    if (token != PULL_ARRAY)
        return bad(p, "a list is no array", err);
    while ((token = pull_next(p)) == PULL_OBJECT)
        TRY(take(r, p, err));
    return token == PULL_ARRAY_END ? QUERN_OK : bad(p, "an entry is no object", err);
}

/* ---- the whole ------------------------------------------------------------------------------ */

static enum quern_status take_version(struct pull *p, struct quern_error *err)
{
    uint64_t n;
    if (pull_next(p) != PULL_OBJECT || pull_next(p) != PULL_KEY || !str_is(p->str, "quern_record"))
        return bad(p, "it does not begin with 'quern_record'", err);
    TRY(take_number(p, &n, err));
    if (n == RECORD_VERSION)
        return QUERN_OK;
    return fail(err, QUERN_EUNSUPPORTED, "version",
                "a record of version %llu" WANT "quern %s reads version %u", (unsigned long long)n,
                quern_version(), RECORD_VERSION);
}

static enum quern_status take_member(struct record *r, struct pull *p, struct quern_error *err)
{
    const struct str key = p->str;
    const char *recipe;
    if (str_is(key, "version") && !r->version)
        return take_text(p, &r->version, err);
    if (str_is(key, "output") && !r->output)
        return take_text(p, &r->output, err);
    if (str_is(key, "form") && !r->form)
        return take_text(p, &r->form, err);
    if (str_is(key, "inputs") && !r->inputs)
        return take_array(r, p, take_input, err);
    if (str_is(key, "outputs") && !r->outputs)
        return take_array(r, p, take_output, err);
    if (str_is(key, "job") && !r->cli->command)
        return job_read(p, JOB_BYTES, r->cli, err);
    if (!str_is(key, "recipe") || r->recipe.p)
        return bad(p, "a member is unknown or stands there twice", err);
    TRY(take_text(p, &recipe, err));
    r->recipe = p->str;
    return QUERN_OK;
}

/* The output becomes part of a path: one component, that of no other place. */
static bool is_plain_name(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static bool is_form(const char *form)
{
    return strcmp(form, "file") == 0 || strcmp(form, "files") == 0 ||
           strcmp(form, "directory") == 0;
}

/* What would write something else, or nothing. */
static const char *unfit_option(const struct cli *c)
{
    return c->write_map ? "write-map" : c->print_supported ? "print-supported-models" : NULL;
}

static enum quern_status check(const struct record *r, struct quern_error *err)
{
    if (!r->version || !r->output || !r->form || !r->inputs || !r->outputs || !r->cli->command)
        return fail(err, QUERN_EFORMAT, "record",
                    "a member is missing" WANT
                    "expected version, output, form, job, inputs and outputs");
    if (!is_plain_name(r->output) || !is_form(r->form))
        return fail(err, QUERN_EFORMAT, "record", "the output is called '%s', its form '%s'",
                    quoted(str_from(r->output)).text, quoted(str_from(r->form)).text);
    if (unfit_option(r->cli))
        return fail(err, QUERN_EFORMAT, "job", "'%s' is no option of what is made again",
                    unfit_option(r->cli));
    return QUERN_OK;
}

static enum quern_status job_text(struct record *r, struct quern_error *err)
{
    struct json_writer w = {0};
    job_write(r->cli, JOB_BYTES, &w);
    const struct str text = json_written(&w);
    r->job = text.p ? arena_str(&r->arena, text) : text;
    json_writer_free(&w);
    return r->job.p ? QUERN_OK : fail_memory(err, w.n);
}

static enum quern_status read_text(struct record *r, char *text, size_t n, struct quern_error *err)
{
    struct pull p;
    enum pull_token token;
    pull_start(&p, text, n);
    TRY(take_version(&p, err));
    while ((token = pull_next(&p)) == PULL_KEY)
        TRY(take_member(r, &p, err));
    if (token != PULL_OBJECT_END || pull_next(&p) != PULL_END)
        return bad(&p, "it does not end", err);
    TRY(check(r, err));
    return job_text(r, err);
}

enum quern_status record_read(const char *path, struct record *r, struct quern_error *err)
{
    struct str text;
    *r = (struct record){.path = path};
    TRY(read_small_file(path, MOST_BYTES, &r->arena, &text, err));
    r->cli = ARENA_NEW(&r->arena, struct cli, 1);
    if (!r->cli)
        return fail_memory(err, sizeof *r->cli);
    return in_file(err, path, read_text(r, (char *)text.p, text.n, err));
}

void record_free(struct record *r)
{
    arena_free(&r->arena);
}
