/* job_read.c - read the file of a divided command. */
#include <string.h>

#include "core/io.h"
#include "core/pull.h"
#include "job_file.h"

#define MAX_JOB_FILE (256u << 20)

enum job_key {
    KEY_FORM,
    KEY_VERSION,
    KEY_ARGUMENTS,
    KEY_OUTPUT,
    KEY_LAYOUT,
    KEY_WORK,
    KEY_PARTS,
    KEY_STATS,
    KEY_DIGEST,
    KEY_NEEDED,
    KEY_INPUTS = KEY_NEEDED,
    KEY_FILES, /* from here on for people */
    KEY_DIVISION,
    KEY_STEPS,
    KEY_COUNT
};

static const char *const key_names[KEY_COUNT] = {
    [KEY_FORM] = "quern_plan",   [KEY_VERSION] = "version",   [KEY_ARGUMENTS] = "arguments",
    [KEY_OUTPUT] = "output",     [KEY_LAYOUT] = "layout",     [KEY_WORK] = "work",
    [KEY_PARTS] = "parts",       [KEY_STATS] = "stats_parts", [KEY_DIGEST] = "digest",
    [KEY_INPUTS] = "inputs",     [KEY_FILES] = "files",       [KEY_STEPS] = "steps",
    [KEY_DIVISION] = "division",
};

static enum quern_status bad_value(enum job_key key, const char *expected, struct quern_error *err)
{
    return fail(err, QUERN_EFORMAT, "plan", "the value of \"%s\"" WANT "expected %s",
                key_names[key], expected);
}

static enum quern_status read_words(struct pull *p, struct job *j, struct quern_error *err)
{
    enum pull_token t = pull_next(p);
    if (t != PULL_ARRAY)
        return bad_value(KEY_ARGUMENTS, "a list of words", err);
    while ((t = pull_next(p)) == PULL_STRING) {
        if (j->words.count == MAX_ARGS || memchr(p->str.p, '\0', p->str.n))
            return bad_value(KEY_ARGUMENTS, "words without U+0000, no more than 256 of them", err);
        j->words.items[j->words.count++] = p->str.p;
    }
    return t == PULL_ARRAY_END ? QUERN_OK : bad_value(KEY_ARGUMENTS, "a list of words", err);
}

static enum quern_status read_text(struct pull *p, enum job_key key, const char **out,
                                   struct quern_error *err)
{
    if (pull_next(p) != PULL_STRING || p->str.n == 0 || memchr(p->str.p, '\0', p->str.n))
        return bad_value(key, "text", err);
    *out = p->str.p;
    return QUERN_OK;
}

static enum quern_status read_number(struct pull *p, enum job_key key, uint64_t least,
                                     uint32_t *out, struct quern_error *err)
{
    uint64_t n;
    if (pull_next(p) != PULL_NUMBER || !pull_u64(p, &n) || n < least || n > MAX_PORTIONS)
        return bad_value(key, "a number that is not too large", err);
    *out = (uint32_t)n;
    return QUERN_OK;
}

/* Of an input: where it is and how long it was. */
static enum quern_status read_input(struct pull *p, struct planned_input *in,
                                    struct quern_error *err)
{
    enum pull_token t;
    *in = (struct planned_input){0};
    while ((t = pull_next(p)) == PULL_KEY) {
        const bool is_path = str_is(p->str, "path"), is_size = str_is(p->str, "bytes");
        t = pull_next(p);
        if (is_path && t == PULL_STRING && !memchr(p->str.p, '\0', p->str.n))
            in->path = p->str.p;
        else if (is_path || (is_size && (t != PULL_NUMBER || !pull_u64(p, &in->nbytes))))
            return bad_value(KEY_INPUTS, "a path and a number of bytes", err);
        else if (!pull_skip(p, t))
            return pull_fail(p, 0, err);
    }
    return t == PULL_OBJECT_END && in->path
               ? QUERN_OK
               : bad_value(KEY_INPUTS, "a path and a number of bytes", err);
}

static enum quern_status read_inputs(struct pull *p, struct job *j, struct quern_error *err)
{
    uint32_t room = 0;
    enum pull_token t = pull_next(p);
    if (t != PULL_ARRAY)
        return bad_value(KEY_INPUTS, "a list", err);
    while ((t = pull_next(p)) == PULL_OBJECT) {
        if (j->ninputs == room) {
            struct planned_input *more = ARENA_NEW(&j->arena, struct planned_input, 2 * room + 16u);
            if (!more)
                return fail_memory(err, 2 * room * sizeof *more);
            if (j->ninputs)
                memcpy(more, j->inputs, j->ninputs * sizeof *more);
            j->inputs = more;
            room = 2 * room + 16;
        }
        TRY(read_input(p, &j->inputs[j->ninputs++], err));
    }
    return t == PULL_ARRAY_END ? QUERN_OK : bad_value(KEY_INPUTS, "a list", err);
}

static enum quern_status read_key(struct pull *p, enum job_key key, struct job *j,
                                  struct quern_error *err)
{
    const char *text;
    uint32_t form;
    switch (key) {
    case KEY_FORM:
        TRY(read_number(p, key, 1, &form, err));
        return form == JOB_FORM
                   ? QUERN_OK
                   : fail(err, QUERN_EUNSUPPORTED, "plan",
                          "a plan of form %u" WANT "this quern knows form %u", form, JOB_FORM);
    case KEY_VERSION:
        return read_text(p, key, &j->version, err);
    case KEY_ARGUMENTS:
        return read_words(p, j, err);
    case KEY_OUTPUT:
        return read_text(p, key, &j->output, err);
    case KEY_LAYOUT:
        TRY(read_text(p, key, &text, err));
        return job_layout(text, &j->layout) ? QUERN_OK
                                            : bad_value(key, "files, joined or ranges", err);
    case KEY_WORK:
        return read_text(p, key, &j->work, err);
    case KEY_PARTS:
        return read_number(p, key, 1, &j->nparts, err);
    case KEY_STATS:
        return read_number(p, key, 0, &j->nstats, err);
    case KEY_INPUTS:
        return read_inputs(p, j, err);
    case KEY_DIGEST:
        TRY(read_text(p, key, &text, err));
        if (strlen(text) != 64)
            return bad_value(key, "64 hexadecimal digits", err);
        memcpy(j->digest, text, 65);
        return QUERN_OK;
    default:
        return pull_skip(p, pull_next(p)) ? QUERN_OK : pull_fail(p, 0, err);
    }
}

static enum quern_status find_key(struct str name, unsigned *seen, enum job_key *out,
                                  struct quern_error *err)
{
    for (enum job_key k = 0; k < KEY_COUNT; k++) {
        if (!str_is(name, key_names[k]))
            continue;
        if (*seen & 1u << k)
            return fail(err, QUERN_EFORMAT, "duplicate", "\"%s\" is there twice", key_names[k]);
        *seen |= 1u << k;
        *out = k;
        return QUERN_OK;
    }
    return fail(err, QUERN_EFORMAT, "plan", "unknown key \"%s\"", quoted(name).text);
}

static enum quern_status read_job(struct str text, struct job *j, struct quern_error *err)
{
    struct pull p;
    enum pull_token t;
    unsigned seen = 0;
    pull_start(&p, (char *)text.p, text.n);
    if (pull_next(&p) != PULL_OBJECT)
        return fail(err, QUERN_EFORMAT, "plan",
                    "this is no plan" WANT "expected a file that quern plan wrote");
    while ((t = pull_next(&p)) == PULL_KEY) {
        enum job_key key = KEY_COUNT;
        TRY(find_key(p.str, &seen, &key, err));
        TRY(read_key(&p, key, j, err));
    }
    if (t != PULL_OBJECT_END || pull_next(&p) != PULL_END)
        return pull_fail(&p, 0, err);
    for (enum job_key k = 0; k < KEY_NEEDED; k++)
        if (!(seen & 1u << k))
            return fail(err, QUERN_EFORMAT, "plan", "\"%s\" is missing", key_names[k]);
    return QUERN_OK;
}

enum quern_status job_file_read(const char *path, struct job *j, struct quern_error *err)
{
    struct str text;
    *j = (struct job){.path = path};
    enum quern_status s = read_small_file(path, MAX_JOB_FILE, &j->arena, &text, err);
    if (s == QUERN_OK)
        s = in_file(err, path, read_job(text, j, err));
    if (s != QUERN_OK)
        job_free(j);
    return s;
}

void job_free(struct job *j)
{
    arena_free(&j->arena);
}
