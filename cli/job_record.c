/* job_record.c - command lines to JSON and back, by the tables of options. */
#include "job_record.h"

#include <stdlib.h>

#define MAX_COUNT 100000u

static bool has_place(const struct option *o, enum job_scope scope)
{
    switch (o->kind) {
    case OPTION_IGNORED:
    case OPTION_IGNORED_TEXT:
    case OPTION_REFUSED:
        return false;
    default:
        return scope == JOB_ALL || !option_is_free(o);
    }
}

/* The option that stands for its field: the first of several. Lists share theirs with files. */
static const struct option *first_of(const struct command *c, const struct option *o)
{
    const struct option *t;
    for (unsigned i = 0; (t = command_options(c, i)); i++)
        for (; t->name; t++)
            if (t->field == o->field && has_place(t, JOB_ALL))
                return t;
    return o;
}

/* ---- writing -------------------------------------------------------------------------------- */

static void put_list(struct json_writer *w, const struct values *v)
{
    json_open(w, '[');
    for (size_t i = 0; i < v->count; i++) {
        if (v->is_file[i]) {
            json_open(w, '{');
            field_text(w, "file", v->items[i]);
            json_close(w, '}');
        } else {
            json_put_text(w, v->items[i]);
        }
    }
    json_close(w, ']');
}

static void put_number(struct json_writer *w, const struct option *o, uint64_t n, uint64_t shown)
{
    if (n)
        field_u64(w, o->name, shown);
}

static void put_option(struct json_writer *w, const struct cli *c, const struct option *o)
{
    const void *field = (const char *)c + o->field;
    const char *const *text = field;
    switch (o->kind) {
    case OPTION_FLAG:
        if (*(const bool *)field) {
            json_key(w, o->name);
            json_put_bool(w, true);
        }
        break;
    case OPTION_TEXT:
    case OPTION_FILE:
        if (*text)
            field_text(w, o->name, *text);
        break;
    case OPTION_PAIR:
        if (text[0]) {
            json_key(w, o->name);
            json_open(w, '[');
            json_put_text(w, text[0]);
            json_put_text(w, text[1]);
            json_close(w, ']');
        }
        break;
    case OPTION_LIST:
    case OPTION_LIST_FILE:
        if (((const struct values *)field)->count) {
            json_key(w, o->name);
            put_list(w, field);
        }
        break;
    case OPTION_COUNT:
        put_number(w, o, *(const unsigned *)field, *(const unsigned *)field);
        break;
    case OPTION_SIZE:
    case OPTION_NUMBER:
        put_number(w, o, *(const uint64_t *)field, *(const uint64_t *)field);
        break;
    case OPTION_SHARD: /* no limit is written as it is given: 0 */
        put_number(w, o, *(const uint64_t *)field,
                   *(const uint64_t *)field == UINT64_MAX ? 0 : *(const uint64_t *)field);
        break;
    case OPTION_IGNORED:
    case OPTION_IGNORED_TEXT:
    case OPTION_REFUSED:
        break;
    }
}

void job_write(const struct cli *c, enum job_scope scope, struct json_writer *w)
{
    const struct option *t;
    json_open(w, '{');
    field_text(w, "command", c->command->name);
    json_key(w, "words");
    json_open(w, '[');
    for (size_t i = 0; i < c->args.count; i++)
        if (scope == JOB_ALL || i + 1 != c->output_at)
            json_put_text(w, c->args.items[i]);
    json_close(w, ']');
    json_key(w, "options");
    json_open(w, '{');
    for (unsigned i = 0; (t = command_options(c->command, i)); i++)
        for (; t->name; t++)
            if (has_place(t, scope) && first_of(c->command, t) == t)
                put_option(w, c, t);
    json_close(w, '}');
    json_close(w, '}');
}

/* ---- reading -------------------------------------------------------------------------------- */

static enum quern_status bad_value(const struct pull *p, const struct option *o,
                                   const char *expected, struct quern_error *err)
{
    return at_offset(err, p->token_at,
                     fail(err, QUERN_EFORMAT, "job",
                          "option '%s' has another value" WANT "expected %s", o->name, expected));
}

static enum quern_status take_text(struct pull *p, const struct option *o, const char **out,
                                   struct quern_error *err)
{
    if (pull_next(p) != PULL_STRING || strlen(p->str.p) != p->str.n)
        return bad_value(p, o, "a string", err);
    *out = p->str.p;
    return QUERN_OK;
}

static enum quern_status take_number(struct pull *p, const struct option *o, uint64_t most,
                                     uint64_t *out, struct quern_error *err)
{
    if (pull_next(p) != PULL_NUMBER || !pull_u64(p, out) || *out > most)
        return bad_value(p, o, "a whole number that it can have", err);
    return QUERN_OK;
}

static enum quern_status take_pair(struct pull *p, const struct option *o, const char **pair,
                                   struct quern_error *err)
{
    if (pull_next(p) != PULL_ARRAY)
        return bad_value(p, o, "two strings", err);
    TRY(take_text(p, o, &pair[0], err));
    TRY(take_text(p, o, &pair[1], err));
    return pull_next(p) == PULL_ARRAY_END ? QUERN_OK : bad_value(p, o, "two strings", err);
}

static bool takes_files(const struct command *c, const struct option *o)
{
    const struct option *t;
    for (unsigned i = 0; (t = command_options(c, i)); i++)
        for (; t->name; t++)
            if (t->field == o->field && t->kind == OPTION_LIST_FILE)
                return true;
    return false;
}

/* {"file": PATH}, behind the brace. */
static enum quern_status take_file(struct pull *p, const struct cli *c, const struct option *o,
                                   const char **path, struct quern_error *err)
{
    const char *expected = "{\"file\": PATH}";
    if (!takes_files(c->command, o) || pull_next(p) != PULL_KEY || !str_is(p->str, "file"))
        return bad_value(p, o, takes_files(c->command, o) ? expected : "strings", err);
    TRY(take_text(p, o, path, err));
    return pull_next(p) == PULL_OBJECT_END ? QUERN_OK : bad_value(p, o, expected, err);
}

static enum quern_status take_list(struct pull *p, const struct cli *c, const struct option *o,
                                   struct values *v, struct quern_error *err)
{
    enum pull_token token = pull_next(p);
    if (token != PULL_ARRAY)
        return bad_value(p, o, "an array", err);
    while ((token = pull_next(p)) != PULL_ARRAY_END) {
        if ((token != PULL_STRING && token != PULL_OBJECT) || v->count == MAX_ARGS ||
            (token == PULL_STRING && strlen(p->str.p) != p->str.n))
            return bad_value(p, o, "strings, and no more than there may be", err);
        v->is_file[v->count] = token == PULL_OBJECT;
        v->items[v->count] = p->str.p;
        if (token == PULL_OBJECT)
            TRY(take_file(p, c, o, &v->items[v->count], err));
        v->count++;
    }
    return QUERN_OK;
}

static enum quern_status take_value(struct pull *p, struct cli *c, const struct option *o,
                                    struct quern_error *err)
{
    void *field = (char *)c + o->field;
    uint64_t n = 0;
    switch (o->kind) {
    case OPTION_FLAG:
        if (pull_next(p) != PULL_TRUE)
            return bad_value(p, o, "true", err);
        *(bool *)field = true;
        return QUERN_OK;
    case OPTION_TEXT:
    case OPTION_FILE:
        return take_text(p, o, field, err);
    case OPTION_PAIR:
        return take_pair(p, o, field, err);
    case OPTION_LIST:
    case OPTION_LIST_FILE:
        return take_list(p, c, o, field, err);
    case OPTION_COUNT:
        TRY(take_number(p, o, MAX_COUNT, &n, err));
        *(unsigned *)field = (unsigned)n;
        return n ? QUERN_OK : bad_value(p, o, "a number from 1 on", err);
    case OPTION_SIZE:
    case OPTION_NUMBER:
        return take_number(p, o, UINT64_MAX, field, err);
    case OPTION_SHARD:
        TRY(take_number(p, o, UINT64_MAX, &n, err));
        *(uint64_t *)field = n ? n : UINT64_MAX;
        return QUERN_OK;
    case OPTION_IGNORED:
    case OPTION_IGNORED_TEXT:
    case OPTION_REFUSED:
        break;
    }
    return bad_value(p, o, "none", err);
}

static enum quern_status take_options(struct pull *p, enum job_scope scope, struct cli *c,
                                      struct key_set *seen, struct quern_error *err)
{
    enum pull_token token = pull_next(p);
    bool fresh = false;
    if (token != PULL_OBJECT)
        return fail(err, QUERN_EFORMAT, "job", "'options' is no object");
    while ((token = pull_next(p)) == PULL_KEY) {
        const struct option *o = find_option(c->command, p->str, 0);
        if (!o || !has_place(o, scope) || first_of(c->command, o) != o)
            return at_offset(err, p->token_at,
                             fail(err, QUERN_EFORMAT, "job",
                                  "'%s' is no option of a job of quern %s", quoted(p->str).text,
                                  c->command->name));
        if (!key_set_add(seen, p->str, &fresh))
            return fail_memory(err, p->str.n);
        if (!fresh)
            return bad_value(p, o, "one value", err);
        TRY(take_value(p, c, o, err));
    }
    return token == PULL_OBJECT_END ? QUERN_OK : pull_fail(p, 0, err);
}

static enum quern_status take_words(struct pull *p, struct values *v, struct quern_error *err)
{
    enum pull_token token = pull_next(p);
    if (token != PULL_ARRAY)
        return fail(err, QUERN_EFORMAT, "job", "'words' is no array");
    while ((token = pull_next(p)) == PULL_STRING) {
        if (v->count == MAX_ARGS || strlen(p->str.p) != p->str.n)
            return at_offset(err, p->token_at,
                             fail(err, QUERN_EFORMAT, "job", "a word that cannot be given"));
        v->items[v->count++] = p->str.p;
    }
    return token == PULL_ARRAY_END ? QUERN_OK
                                   : fail(err, QUERN_EFORMAT, "job", "a word is no string");
}

static enum quern_status take_command(struct pull *p, struct cli *c, struct quern_error *err)
{
    if (pull_next(p) != PULL_OBJECT || pull_next(p) != PULL_KEY || !str_is(p->str, "command") ||
        pull_next(p) != PULL_STRING)
        return fail(err, QUERN_EFORMAT, "job", "the job does not begin with its command");
    c->command = find_command(p->str.p);
    if (!c->command || !(c->command->common & COMMON_JOB))
        return fail(err, QUERN_EFORMAT, "job", "'%s' is no command that makes anything",
                    quoted(p->str).text);
    return QUERN_OK;
}

enum quern_status job_read(struct pull *p, enum job_scope scope, struct cli *c,
                           struct quern_error *err)
{
    struct key_set seen = {0};
    enum pull_token token;
    bool words = false, options = false;
    *c = (struct cli){.command = NULL};
    TRY(take_command(p, c, err));
    enum quern_status s = QUERN_OK;
    while (s == QUERN_OK && (token = pull_next(p)) == PULL_KEY) {
        if (str_is(p->str, "words") && !words) {
            words = true;
            s = take_words(p, &c->args, err);
        } else if (str_is(p->str, "options") && !options) {
            options = true;
            s = take_options(p, scope, c, &seen, err);
        } else {
            s = fail(err, QUERN_EFORMAT, "job", "'%s' is no part of a job, or stands there twice",
                     quoted(p->str).text);
        }
    }
    key_set_free(&seen);
    TRY(s);
    if (token != PULL_OBJECT_END)
        return pull_fail(p, 0, err);
    return words ? QUERN_OK : fail(err, QUERN_EFORMAT, "job", "it has no words");
}
