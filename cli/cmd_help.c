/* cmd_help.c - quern help: explain a command; for packagers also man pages and completion. */
#include <string.h>

#include "cli.h"

int cmd_help(struct cli *c)
{
    const char *name = c->args.count ? c->args.items[0] : NULL;
    const char *topic = c->args.count > 1 ? c->args.items[1] : NULL;
    if (c->args.count > 2)
        return usage_error(c, "help takes one command");
    if (!name) {
        help_overview(stdout);
        return 0;
    }
    /* Made for `make install`: quern help man [COMMAND], quern help completion. */
    if (strcmp(name, "completion") == 0) {
        help_completion(stdout);
        return 0;
    }
    const bool man = strcmp(name, "man") == 0;
    const char *wanted = man ? topic : name;
    const struct command *about = wanted ? find_command(wanted) : NULL;
    if (wanted && !about)
        return usage_error(c, "there is no command '%s'", quoted(str_from(wanted)).text);
    if (man)
        help_man(stdout, about);
    else
        help_command(stdout, about);
    return 0;
}
