/* run_command.c - a command and its words. */
#include <string.h>

#include "cli.h"
#include "core/archive.h"
#include "formats/pack.h"

/* One that is misspelt would only be passed over. Those in packs are found when they are opened. */
static int check_pack_bases(const struct cli *c)
{
    struct quern_error err;
    for (size_t i = 0; i < c->pack_bases.count; i++) {
        const char *path = c->pack_bases.items[i];
        if (pack_part(path) == 0 && !path_exists(path)) {
            fail_errno(&err, path, "open");
            return report_error(c, &err);
        }
    }
    return 0;
}

int add_pack_bases(const struct cli *c)
{
    struct quern_error err;
    const int code = check_pack_bases(c);
    if (code != 0)
        return code;
    for (size_t i = 0; i < c->pack_bases.count; i++)
        if (pack_add_base(c->pack_bases.items[i], &err) != QUERN_OK)
            return report_error(c, &err);
    return 0;
}

int run_command(struct cli *c, const struct command *command, int argc, char **argv)
{
    c->command = command;
    /* --json must be known before the first error is printed. */
    for (int i = 0; i < argc && (command->common & COMMON_JSON); i++)
        c->json |= strcmp(argv[i], "--json") == 0;
    const int code = parse_options(c, argc, argv);
    if (code != 0)
        return code;
    if (c->help) {
        help_command(stdout, command);
        return 0;
    }
    if (c->progress && strcmp(c->progress, "auto") != 0 && strcmp(c->progress, "json") != 0 &&
        strcmp(c->progress, "none") != 0)
        return usage_error(c, "--progress '%s': expected auto, json or none",
                           quoted(str_from(c->progress)).text);
    const int bad_base = add_pack_bases(c);
    return bad_base ? bad_base : command->run(c);
}

/* Others print what they find, or have no plan that could be given to somebody else. */
static bool writes_a_model(const struct command *command)
{
    return strcmp(command->name, "quantize") == 0 || strcmp(command->name, "merge") == 0 ||
           strcmp(command->name, "convert") == 0;
}

int run_words(struct cli *c, const struct values *words)
{
    char *argv[MAX_ARGS];
    const char *name = words->count ? words->items[0] : "";
    const struct command *command = find_command(name);
    if (!command || !writes_a_model(command)) {
        say("quern: '%s': expected quantize, merge or convert and their arguments",
            quoted(str_from(name)).text);
        return 2;
    }
    for (size_t i = 1; i < words->count; i++)
        argv[i - 1] = (char *)words->items[i];
    return run_command(c, command, (int)words->count - 1, argv);
}
