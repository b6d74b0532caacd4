/* manifest_job.c - the keys of a job: a command, its inputs, output and options. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/grow.h"
#include "manifest_reader.h"
#include "quant/mix.h"

/* A command that can be a job. All inputs are words; the type is one, or an option. */
static const struct kind {
    const char *key, *command, *verb;
    uint32_t least, most; /* inputs */
    enum { NO_TYPE, MAY_TYPE, MUST_TYPE, OPTION_TYPE } type;
    bool writes, has_recipe;
} kinds[] = {
    {"quantize",        "quantize", NULL,      1, 1,   MUST_TYPE,   true,  false},
    {"convert",         "convert",  NULL,      1, 1,   OPTION_TYPE, true,  false},
    {"merge",           "merge",    NULL,      0, 1,   MAY_TYPE,    true,  true },
    {"lora extract",    "lora",     "extract", 2, 2,   NO_TYPE,     true,  false},
    {"imatrix combine", "imatrix",  "combine", 1, 200, NO_TYPE,     true,  false},
    {"imatrix convert", "imatrix",  "convert", 1, 1,   NO_TYPE,     true,  false},
    {"imatrix lint",    "imatrix",  "lint",    1, 1,   NO_TYPE,     false, false},
    {"pack",            "pack",     NULL,      1, 200, NO_TYPE,     true,  false},
    {"unpack",          "unpack",   NULL,      1, 1,   NO_TYPE,     true,  false},
    {"rebuild",         "rebuild",  NULL,      1, 1,   NO_TYPE,     true,  false},
    {"verify",          "verify",   NULL,      1, 2,   NO_TYPE,     false, true },
    {"compare",         "compare",  NULL,      2, 2,   NO_TYPE,     false, false},
    {"check",           "check",    NULL,      1, 200, NO_TYPE,     false, false},
};
#define NKINDS (sizeof kinds / sizeof *kinds)

static const char *const other_keys[] = {"name", "matrix",  "include", "exclude",
                                         "type", "options", "output",  "needs"};
#define NOTHERS (sizeof other_keys / sizeof *other_keys)

/* A job that is being written out. */
struct draft {
    struct manifest_reader *r;
    const struct bindings *b;
    const struct kind *kind;
    struct batch_job job;
    const char *words[MANIFEST_MAX_WORDS];
    struct named_path inputs[MANIFEST_MAX_WORDS];
    uint32_t line;
    bool bad;
};

static void put_word(struct draft *d, const char *word)
{
    d->bad |= word == NULL;
    if (d->job.nwords == MANIFEST_MAX_WORDS) {
        manifest_wrong(d->r, d->line, "too-large", "a job has more than %d words",
                       MANIFEST_MAX_WORDS);
        d->bad = true;
    } else {
        d->words[d->job.nwords++] = word;
    }
}

static void put_input(struct draft *d, const char *path, uint32_t line, bool must)
{
    if (path && d->job.ninputs < MANIFEST_MAX_WORDS)
        d->inputs[d->job.ninputs++] = (struct named_path){path, line, must};
}

/* ---- options -------------------------------------------------------------------------------- */

/* What quern batch decides itself, or would make a job something else. */
static bool is_for_batch(const struct option *o)
{
    static const size_t fields[] = {
        offsetof(struct cli, output),    offsetof(struct cli, dry_run),
        offsetof(struct cli, force),     offsetof(struct cli, resume),
        offsetof(struct cli, help),      offsetof(struct cli, json),
        offsetof(struct cli, progress),  offsetof(struct cli, quiet),
        offsetof(struct cli, write_map), offsetof(struct cli, print_supported)};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (o->field == fields[i])
            return true;
    return false;
}

static bool has_no_effect(const struct option *o)
{
    return o->kind == OPTION_IGNORED || o->kind == OPTION_IGNORED_TEXT || o->kind == OPTION_REFUSED;
}

static bool is_a_file(const struct option *o)
{
    return o->kind == OPTION_FILE || o->kind == OPTION_LIST_FILE;
}

/* One "--name=value". */
static void put_value(struct draft *d, const struct option *o, const struct yaml_node *n)
{
    const char *expected, *value = manifest_fill(d->r, n, o->name, d->b);
    if (!value) {
        d->bad = true;
        return;
    }
    if (!option_takes(o, value, &expected)) {
        manifest_wrong(d->r, n->line, "option", "option '%s' is '%s'" WANT "expected %s", o->name,
                       quoted(str_from(value)).text, expected);
        d->bad = true;
        return;
    }
    put_word(d, manifest_memory(d->r, arena_printf(&d->r->m->arena, "--%s=%s", o->name, value)));
    if (o->kind == OPTION_SIZE || o->kind == OPTION_SHARD || o->kind == OPTION_COUNT ||
        o->kind == OPTION_NUMBER)
        return;
    put_input(d, value, n->line, is_a_file(o));
    /* ID=PATH, PATH:WEIGHT. */
    const char *equals = strchr(value, '='), *colon = strrchr(value, ':');
    if (equals && o->kind == OPTION_LIST)
        put_input(d, equals + 1, n->line, false);
    if (colon && o->kind == OPTION_LIST)
        put_input(d,
                  manifest_memory(
                      d->r, arena_printf(&d->r->m->arena, "%.*s", (int)(colon - value), value)),
                  n->line, false);
}

static void put_pair(struct draft *d, const struct option *o, const struct yaml_node *n)
{
    const char *words[2] = {NULL, NULL};
    if (n->kind == YAML_IS_LIST && n->count == 2) {
        words[0] = manifest_fill(d->r, n->first, o->name, d->b);
        words[1] = manifest_fill(d->r, n->first->next, o->name, d->b);
    } else {
        manifest_wrong(d->r, n->line, "option", "option '%s' is no list of two" WANT "expected %s",
                       o->name, o->arg);
    }
    if (!words[0] || !words[1]) {
        d->bad = true;
        return;
    }
    put_word(d, manifest_memory(d->r, arena_printf(&d->r->m->arena, "--%s=%s", o->name, words[0])));
    put_word(d, words[1]);
    put_input(d, words[0], n->line, true);
    put_input(d, words[1], n->line, true);
}

static void put_flag(struct draft *d, const struct option *o, const struct yaml_node *n)
{
    bool given = false;
    if (n->kind != YAML_IS_SCALAR || !yaml_bool(n, &given)) {
        manifest_wrong(d->r, n->line, "option",
                       "option '%s' has a value" WANT "expected true or false", o->name);
        d->bad = true;
    } else if (given) {
        put_word(d, manifest_memory(d->r, arena_printf(&d->r->m->arena, "--%s", o->name)));
    }
}

static void put_option(struct draft *d, const struct option *o, const struct yaml_node *n)
{
    bool given = true;
    const bool many = o->kind == OPTION_LIST || o->kind == OPTION_LIST_FILE;
    if (o->kind == OPTION_FLAG)
        put_flag(d, o, n);
    else if (yaml_is_null(n) || (n->kind == YAML_IS_SCALAR && yaml_bool(n, &given) && !given))
        return; /* it takes a default back */
    else if (o->kind == OPTION_PAIR)
        put_pair(d, o, n);
    else if (n->kind == YAML_IS_LIST && many)
        for (const struct yaml_node *v = n->first; v; v = v->next)
            put_value(d, o, v);
    else
        put_value(d, o, n);
}

static void unknown_option(struct manifest_reader *r, const struct yaml_node *n,
                           const struct command *c)
{
    const char *names[128];
    size_t count = 0;
    const struct option *t;
    for (unsigned i = 0; (t = command_options(c, i)); i++)
        for (; t->name && count < 128; t++)
            if (!has_no_effect(t) && !is_for_batch(t))
                names[count++] = t->name;
    const char *near = closest(n->key, names, count);
    manifest_wrong(r, n->line, "option", "quern %s has no option '%s'%s%s%s", c->name,
                   quoted(n->key).text, near ? WANT "did you mean '" : "", near ? near : "",
                   near ? "'?" : "");
}

/* NULL after a mistake. */
static const struct option *option_of_job(struct manifest_reader *r, const struct yaml_node *n,
                                          const struct command *c)
{
    const struct option *o = n->key.n > 1 ? find_option(c, n->key, 0) : NULL;
    if (!o) {
        unknown_option(r, n, c);
    } else if (has_no_effect(o)) {
        manifest_wrong(r, n->line, "option", "option '%s' has no effect here", o->name);
        o = NULL;
    } else if (is_for_batch(o)) {
        manifest_wrong(r, n->line, "option",
                       "option '%s' is no option of a job" WANT
                       "expected it as a key of the job, or with quern batch",
                       o->name);
        o = NULL;
    }
    return o;
}

static void put_options(struct draft *d, const struct yaml_node *own)
{
    const struct yaml_node *defaults = d->r->defaults;
    if (own && own->kind != YAML_IS_MAP) {
        manifest_wrong(d->r, own->line, "manifest", "'options' is no map");
        d->bad = true;
        return;
    }
    for (const struct yaml_node *n = defaults ? defaults->first : NULL; n; n = n->next) {
        const struct option *o = find_option(d->job.command, n->key, 0);
        if (o && !has_no_effect(o) && !(own && yaml_get(own, n->key.p)))
            put_option(d, o, n);
    }
    for (const struct yaml_node *n = own ? own->first : NULL; n; n = n->next) {
        const struct option *o = option_of_job(d->r, n, d->job.command);
        d->bad |= o == NULL;
        if (o)
            put_option(d, o, n);
    }
}

void manifest_defaults(struct manifest_reader *r, const struct yaml_node *n)
{
    if (n->kind != YAML_IS_MAP) {
        manifest_wrong(r, n->line, "manifest", "'defaults' is no map" WANT "expected options");
        return;
    }
    for (const struct yaml_node *v = n->first; v; v = v->next) {
        const struct command *knows = NULL;
        for (size_t i = 0; i < NKINDS && !knows; i++) {
            const struct command *c = find_command(kinds[i].command);
            knows = v->key.n > 1 && find_option(c, v->key, 0) ? c : NULL;
        }
        option_of_job(r, v, knows ? knows : find_command("quantize"));
    }
    r->defaults = n;
}

/* ---- the other keys ------------------------------------------------------------------------- */

/* A text or a list of them. */
static uint32_t put_inputs(struct draft *d, const struct yaml_node *n)
{
    const struct yaml_node *v = n->kind == YAML_IS_LIST ? n->first : n;
    uint32_t count = 0;
    if (yaml_is_null(n))
        return 0;
    for (; v; v = n->kind == YAML_IS_LIST ? v->next : NULL, count++) {
        const char *path = manifest_fill(d->r, v, "an input", d->b);
        put_word(d, path);
        put_input(d, path, v->line, true);
        if (d->kind->has_recipe && count == 0 && path &&
            (str_ends(str_from(path), ".yml") || str_ends(str_from(path), ".yaml")))
            d->job.recipe = path;
    }
    return count;
}

static void check_inputs(struct draft *d, const struct yaml_node *n, uint32_t count)
{
    if (count >= d->kind->least && count <= d->kind->most)
        return;
    char wanted[32];
    snprintf(wanted, sizeof wanted, d->kind->least == d->kind->most ? "%u" : "%u to %u",
             d->kind->least, d->kind->most);
    manifest_wrong(d->r, n->line, "manifest", "'%s' has %" PRIu32 " inputs" WANT "expected %s",
                   d->kind->key, count, wanted);
    d->bad = true;
}

static void put_output(struct draft *d, const struct yaml_node *entry)
{
    const struct yaml_node *n = yaml_get(entry, "output");
    if (!n && !d->kind->writes)
        return;
    if (!n || !d->kind->writes) {
        manifest_wrong(d->r, n ? n->line : d->line, "manifest",
                       n ? "'%s' writes nothing: 'output' has no meaning"
                         : "'output' is missing: '%s' writes something",
                       d->kind->key);
        d->bad = true;
        return;
    }
    d->job.output = manifest_fill(d->r, n, "output", d->b);
    put_word(d, d->job.output ? manifest_memory(d->r, arena_printf(&d->r->m->arena, "--output=%s",
                                                                   d->job.output))
                              : NULL);
}

/* Not every command makes every type, but a word that is none is told before anything runs. */
static bool is_type(struct str word)
{
    enum dtype d;
    return file_type_find(word) || dtype_from_name(word, &d) || str_eq_nocase(word, STR("AUTO")) ||
           str_eq_nocase(word, STR("F8"));
}

static void check_type(struct draft *d, const char *type, uint32_t line)
{
    const char *names[64];
    size_t n = 0;
    if (!type || is_type(str_from(type)))
        return;
    for (const struct file_type *t; n < 64 && (t = file_type_get(n)); n++)
        names[n] = t->name;
    const char *near = closest(str_from(type), names, n);
    manifest_wrong(d->r, line, "manifest", "'%s' is no type" WANT "%s%s%s",
                   quoted(str_from(type)).text, near ? "did you mean '" : "expected one of ",
                   near ? near : "'quern types'", near ? "'?" : "");
    d->bad = true;
}

/* Where the type is an option it comes before the words. */
static void put_type(struct draft *d, const struct yaml_node *entry, bool as_option)
{
    const struct yaml_node *n = yaml_get(entry, "type");
    const char *type = NULL;
    if ((d->kind->type == OPTION_TYPE) != as_option)
        return;
    if (!n && d->kind->type == MUST_TYPE) {
        manifest_wrong(d->r, d->line, "manifest", "'type' is missing: what is it quantized to?");
        d->bad = true;
    } else if (n && d->kind->type == NO_TYPE) {
        manifest_wrong(d->r, n->line, "manifest", "'%s' takes no 'type'", d->kind->key);
        d->bad = true;
    } else if (n) {
        type = manifest_fill(d->r, n, "type", d->b);
        check_type(d, type, n->line);
        put_word(d,
                 !type || !as_option
                     ? type
                     : manifest_memory(d->r, arena_printf(&d->r->m->arena, "--outtype=%s", type)));
    }
}

static void take_needs(struct draft *d, const struct yaml_node *n)
{
    if (!n)
        return;
    const struct yaml_node *v = n->kind == YAML_IS_LIST ? n->first : n;
    const uint32_t count = n->kind == YAML_IS_LIST ? n->count : 1;
    d->job.asked = manifest_memory(d->r, ARENA_NEW(&d->r->m->arena, struct job_need, count + 1));
    for (uint32_t i = 0; d->job.asked && i < count; i++, v = v->next) {
        const char *name = manifest_fill(d->r, v, "a job that is needed", d->b);
        d->bad |= name == NULL;
        if (name)
            d->job.asked[d->job.nasked++] = (struct job_need){name, v->line};
    }
}

static void take_name(struct draft *d, const struct yaml_node *entry)
{
    const struct yaml_node *n = yaml_get(entry, "name");
    if (n)
        d->job.name = manifest_fill(d->r, n, "name", d->b);
    else if (d->job.output)
        d->job.name = d->job.output;
    else if (!d->bad)
        manifest_wrong(d->r, d->line, "manifest",
                       "'name' is missing: there is no output to call "
                       "the job after");
    d->bad |= d->job.name == NULL;
}

/* ---- a job ---------------------------------------------------------------------------------- */

static void *copied(struct manifest_reader *r, const void *items, uint32_t count, size_t size)
{
    void *p = manifest_memory(r, arena_array(&r->m->arena, count + 1u, size));
    if (p && count)
        memcpy(p, items, count * size);
    return p;
}

static void add_job(struct draft *d)
{
    struct manifest *m = d->r->m;
    void *jobs = m->jobs;
    d->job.words = copied(d->r, d->words, d->job.nwords, sizeof *d->words);
    d->job.inputs = copied(d->r, d->inputs, d->job.ninputs, sizeof *d->inputs);
    if (m->arena.nbytes > MANIFEST_MAX_BYTES) {
        manifest_wrong(d->r, d->line, "too-large",
                       "the jobs take more than 64 MiB" WANT
                       "expected a manifest that is cut in several");
        d->r->full = true;
    }
    if (!grow(&jobs, m->njobs, &d->r->capacity, sizeof *m->jobs)) {
        d->r->no_memory = d->r->full = true;
        return;
    }
    m->jobs = jobs;
    m->jobs[m->njobs++] = d->job;
}

static void make_job(struct manifest_reader *r, const struct yaml_node *entry,
                     const struct bindings *b, void *kind)
{
    struct draft *d = calloc(1, sizeof *d);
    if (!manifest_memory(r, d)) {
        r->full = true;
        return;
    }
    d->r = r;
    d->b = b;
    d->kind = kind;
    d->line = entry->line;
    d->job.line = entry->line;
    d->job.command = find_command(d->kind->command);
    const struct yaml_node *inputs = yaml_get(entry, d->kind->key);
    put_options(d, yaml_get(entry, "options"));
    put_type(d, entry, true);
    put_output(d, entry);
    put_word(d, "--");
    if (d->kind->verb)
        put_word(d, d->kind->verb);
    check_inputs(d, inputs, put_inputs(d, inputs));
    put_type(d, entry, false);
    take_needs(d, yaml_get(entry, "needs"));
    take_name(d, entry);
    /* Where it is wrong once it is wrong for every combination: the count is kept all the same. */
    if (!d->bad && !r->no_memory)
        add_job(d);
    free(d);
}

static bool is_other_key(struct str key)
{
    for (size_t i = 0; i < NOTHERS; i++)
        if (str_is(key, other_keys[i]))
            return true;
    return false;
}

static const struct kind *find_kind(struct str key)
{
    for (size_t i = 0; i < NKINDS; i++)
        if (str_is(key, kinds[i].key))
            return &kinds[i];
    return NULL;
}

static void unknown_key(struct manifest_reader *r, const struct yaml_node *n)
{
    const char *names[NKINDS + NOTHERS];
    for (size_t i = 0; i < NKINDS; i++)
        names[i] = kinds[i].key;
    memcpy(names + NKINDS, other_keys, sizeof other_keys);
    manifest_unknown(r, n, "a job", names, NKINDS + NOTHERS);
}

void manifest_entry(struct manifest_reader *r, const struct yaml_node *entry)
{
    const struct kind *kind = NULL;
    bool several = false;
    if (entry->kind != YAML_IS_MAP) {
        manifest_wrong(r, entry->line, "manifest", "a job is no map");
        return;
    }
    for (const struct yaml_node *n = entry->first; n; n = n->next) {
        const struct kind *k = find_kind(n->key);
        several |= k && kind;
        kind = k ? k : kind;
        if (!k && !is_other_key(n->key))
            unknown_key(r, n);
    }
    if (!kind || several) {
        manifest_wrong(r, entry->line, "manifest",
                       "a job has %s" WANT
                       "expected one of quantize, convert, merge, lora extract, pack, verify ...",
                       several ? "several commands" : "no command");
        return;
    }
    manifest_expand(r, entry, make_job, (void *)kind);
}
