/* options.c - parse a command's words by its tables. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const struct option no_options[] = {{.name = NULL}};

const struct option *command_options(const struct command *c, unsigned table)
{
    switch (table) {
    case 0:
        return c->options ? c->options : no_options;
    case 1:
        return c->common & COMMON_RUN ? run_options : no_options;
    case 2:
        return c->common & COMMON_PACK ? pack_options : no_options;
    case 3:
        return c->common & COMMON_JOB ? record_options : no_options;
    case 4:
        return c->common & COMMON_JSON ? json_options : no_options;
    case 5:
        return help_options;
    default:
        return NULL;
    }
}

const struct command *find_command(const char *name)
{
    for (const struct command *c = commands; c->name; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

bool parse_size(const char *text, uint64_t *out)
{
    static const struct {
        const char *suffix;
        uint64_t factor;
    } units[] = {
        {"",    1                      },
        {"b",   1                      },
        {"k",   1000                   },
        {"kb",  1000                   },
        {"m",   1000000                },
        {"mb",  1000000                },
        {"g",   1000000000             },
        {"gb",  1000000000             },
        {"kib", 1u << 10               },
        {"mib", 1u << 20               },
        {"gib", 1u << 30               },
        {"t",   UINT64_C(1000000000000)},
        {"tib", UINT64_C(1) << 40      },
    };
    const size_t ndigits = strspn(text, "0123456789");
    uint64_t n;
    if (!str_to_u64((struct str){text, ndigits}, &n))
        return false;
    /* 1.5G: a fraction of the unit, exact to a byte. */
    const char *rest = text + ndigits;
    double fraction = 0.0;
    if (*rest == '.' && rest[1] >= '0' && rest[1] <= '9') {
        const size_t n_frac = strspn(rest + 1, "0123456789");
        double scale = 0.1;
        for (size_t i = 0; i < n_frac && i < 15; i++, scale /= 10.0)
            fraction += (rest[1 + i] - '0') * scale;
        rest += 1 + n_frac;
    }
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (str_eq_nocase(str_from(rest), str_from(units[i].suffix)))
            return !__builtin_mul_overflow(n, units[i].factor, &n) &&
                   !__builtin_add_overflow(n, (uint64_t)(fraction * (double)units[i].factor), out);
    return false;
}

static bool parse_shard(const char *text, uint64_t *out)
{
    const size_t n = strlen(text);
    char billions[32];
    if (n > 1 && n < sizeof billions - 1 && strchr("bB", text[n - 1]) &&
        strspn(text, "0123456789") == n - 1) {
        snprintf(billions, sizeof billions, "%.*sG", (int)(n - 1), text);
        return parse_size(billions, out);
    }
    if (!parse_size(text, out))
        return false;
    if (*out == 0)
        *out = UINT64_MAX;
    return true;
}

static void *field(struct cli *c, const struct option *o)
{
    return (char *)c + o->field;
}

bool option_takes(const struct option *o, const char *value, const char **expected)
{
    uint64_t n;
    switch (o->kind) {
    case OPTION_SIZE:
        *expected = "a size such as 512MiB or 5G";
        return parse_size(value, &n);
    case OPTION_SHARD:
        *expected = "a size such as 5B, 2GiB, or 0 for no limit";
        return parse_shard(value, &n);
    case OPTION_NUMBER:
        *expected = "a whole number";
        return str_to_u64(str_from(value), &n);
    case OPTION_COUNT:
        *expected = "a number from 1 to 100000";
        return str_to_u64(str_from(value), &n) && n > 0 && n <= 100000;
    default:
        *expected = "a text";
        return true;
    }
}

static void add_value(struct values *v, const char *value, bool is_file)
{
    v->is_file[v->count] = is_file;
    v->items[v->count++] = value;
}

static int set_option(struct cli *c, const struct option *o, const char *value)
{
    uint64_t n;
    struct values *v;
    const char *expected;
    if (value && !option_takes(o, value, &expected))
        return usage_error(c, "--%s '%s': expected %s", o->name, quoted(str_from(value)).text,
                           expected);
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)field(c, o) = true;
        return 0;
    case OPTION_TEXT:
    case OPTION_FILE:
    case OPTION_PAIR: /* the second is the next word */
        *(const char **)field(c, o) = value;
        return 0;
    case OPTION_LIST:
    case OPTION_LIST_FILE:
        v = field(c, o);
        if (v->count == MAX_ARGS)
            return usage_error(c, "--%s is given more than %d times", o->name, MAX_ARGS);
        add_value(v, value, o->kind == OPTION_LIST_FILE);
        return 0;
    case OPTION_SIZE:
        return parse_size(value, field(c, o)) ? 0 : 70;
    case OPTION_SHARD:
        return parse_shard(value, field(c, o)) ? 0 : 70;
    case OPTION_NUMBER:
        return str_to_u64(str_from(value), field(c, o)) ? 0 : 70;
    case OPTION_COUNT:
        if (!str_to_u64(str_from(value), &n))
            return 70;
        *(unsigned *)field(c, o) = (unsigned)n;
        return 0;
    case OPTION_IGNORED:
    case OPTION_IGNORED_TEXT:
        say("note: --%s has no effect here", o->name);
        return 0;
    case OPTION_REFUSED:
        return usage_error(c, "--%s: %s", o->name, o->arg);
    }
    return 70;
}

/* Fields whose options may differ from run to run. */
static const size_t free_fields[] = {
    offsetof(struct cli, threads), offsetof(struct cli, mem),        offsetof(struct cli, output),
    offsetof(struct cli, dry_run), offsetof(struct cli, force),      offsetof(struct cli, resume),
    offsetof(struct cli, quiet),   offsetof(struct cli, verbose),    offsetof(struct cli, json),
    offsetof(struct cli, help),    offsetof(struct cli, progress),   offsetof(struct cli, stats),
    offsetof(struct cli, sha256),  offsetof(struct cli, provenance),
};

bool option_is_free(const struct option *o)
{
    if (o->kind == OPTION_IGNORED || o->kind == OPTION_IGNORED_TEXT || o->kind == OPTION_REFUSED)
        return true;
    for (size_t i = 0; i < sizeof free_fields / sizeof *free_fields; i++)
        if (o->field == free_fields[i])
            return true;
    return false;
}

const struct option *find_option(const struct command *c, struct str name, char letter)
{
    const struct option *t;
    for (unsigned i = 0; (t = command_options(c, i)); i++)
        for (; t->name; t++)
            if (letter ? t->letter == letter : str_is(name, t->name))
                return t;
    return NULL;
}

static int unknown_option(const struct cli *c, const char *word, struct str name)
{
    const char *names[128];
    size_t n = 0;
    const struct option *t;
    for (unsigned i = 0; (t = command_options(c->command, i)); i++)
        for (; t->name && n < 128; t++)
            names[n++] = t->name;
    const char *near = closest(name, names, n);
    return usage_error(c, "unknown option '%s'%s%s%s", quoted(str_from(word)).text,
                       near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
}

/* One "-x", "--name", "--name=value" and the word after it if it takes one. */
static int take_option(struct cli *c, int argc, char **argv, int *i)
{
    const char *word = argv[*i];
    const bool is_long = word[1] == '-';
    struct str name = str_from(word + (is_long ? 2 : 1));
    const char *value = NULL;
    const char *equals = is_long ? memchr(name.p, '=', name.n) : NULL;
    if (equals) {
        value = equals + 1;
        name.n = (size_t)(equals - name.p);
    }
    const struct option *o = find_option(c->command, name, is_long ? 0 : word[1]);
    /* -j4 as well as -j 4; flags are not bundled. */
    const bool is_flag =
        o && (o->kind == OPTION_FLAG || o->kind == OPTION_IGNORED || o->kind == OPTION_REFUSED);
    if (o && !is_long && word[2]) {
        if (is_flag)
            return unknown_option(c, word, name);
        value = word + 2;
    }
    if (!o)
        return unknown_option(c, word, name);
    if (is_flag && value)
        return usage_error(c, "--%s takes no value", o->name);
    if (!is_flag && !value) {
        if (*i + 1 >= argc)
            return usage_error(c, "--%s needs a value%s%s%s", o->name, o->arg ? " (" : "",
                               o->arg ? o->arg : "", o->arg ? ")" : "");
        value = argv[++*i];
    }
    if (o->kind == OPTION_PAIR) {
        if (*i + 1 >= argc)
            return usage_error(c, "--%s needs two values (%s)", o->name, o->arg);
        ((const char **)field(c, o))[1] = argv[++*i];
    }
    return set_option(c, o, value);
}

/* Of a command that wraps another: is this an option of its own? */
static bool is_own(const struct command *c, const char *word)
{
    if (!(c->common & COMMON_WORDS))
        return true;
    const size_t n = strcspn(word, "=");
    return word[1] == '-' ? find_option(c, (struct str){word + 2, n > 2 ? n - 2 : 0}, 0) != NULL
                          : find_option(c, str_from(""), word[1]) != NULL;
}

int parse_options(struct cli *c, int argc, char **argv)
{
    const bool wraps = c->command->common & COMMON_WORDS;
    bool only_args = false;
    for (int i = 0; i < argc; i++) {
        if (!wraps && !only_args && strcmp(argv[i], "--") == 0) {
            only_args = true;
        } else if (!only_args && argv[i][0] == '-' && argv[i][1] && is_own(c->command, argv[i])) {
            const int code = take_option(c, argc, argv, &i);
            if (code != 0)
                return code;
        } else if (c->args.count == MAX_ARGS) {
            return usage_error(c, "more than %d arguments", MAX_ARGS);
        } else {
            c->args.items[c->args.count++] = argv[i];
        }
    }
    return 0;
}
