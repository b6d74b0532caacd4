/* help.c - render the tables: --help, man pages, shell completion. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "quant/mix.h"

/* Words of text, wrapped to width with an indent; "\n" starts a paragraph. */
static void wrap(FILE *f, const char *text, unsigned indent, unsigned column, unsigned width)
{
    while (*text) {
        if (*text == '\n') {
            fprintf(f, "\n%*s", (int)indent, "");
            column = indent;
            text++;
            continue;
        }
        const unsigned n = (unsigned)strcspn(text, " \n");
        if (column > indent && column + 1 + n > width) {
            fprintf(f, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', f);
            column++;
        }
        fwrite(text, 1, n, f);
        column += n;
        text += n;
        while (*text == ' ')
            text++;
    }
    fputc('\n', f);
}

static unsigned help_width(FILE *f)
{
    const unsigned w = terminal_width(f);
    return w < 40 ? 40 : w > 100 ? 100 : w;
}

static void usage_lines(FILE *f, const struct command *c, const char *before, const char *after)
{
    const char *line = c->usage;
    for (;;) {
        const size_t n = strcspn(line, "\n");
        fprintf(f, "%squern %s%s%.*s%s\n", before, c->name, n ? " " : "", (int)n, line, after);
        if (!line[n])
            return;
        line += n + 1;
    }
}

void help_overview(FILE *f)
{
    fprintf(f, "%squern%s - shrink and fuse model checkpoints\n\n", bold(f), plain(f));
    for (const struct command *c = commands; c->name; c++)
        usage_lines(f, c, "  ", "");
    fprintf(f, "  quern --version\n\n");
    for (const struct command *c = commands; c->name; c++)
        fprintf(f, "  %s%-9s%s %s\n", bold(f), c->name, plain(f), c->about);
    fprintf(f, "\n'quern help COMMAND' explains one.\n");
}

static void option_entry(FILE *f, const struct option *o, unsigned width)
{
    enum { COLUMN = 30 };
    char left[80];
    const int n = snprintf(left, sizeof left, "  %c%c%s --%s%s%s", o->letter ? '-' : ' ',
                           o->letter ? o->letter : ' ', o->letter ? "," : " ", o->name,
                           o->arg ? " " : "", o->arg ? o->arg : "");
    fprintf(f, "%s%s%s", bold(f), left, plain(f));
    if (n + 1 > COLUMN)
        fprintf(f, "\n%*s", COLUMN, "");
    else
        fprintf(f, "%*s", COLUMN - n, "");
    wrap(f, o->about, COLUMN, COLUMN, width);
}

void help_command(FILE *f, const struct command *c)
{
    const unsigned width = help_width(f);
    fprintf(f, "%squern %s%s - %s\n\n", bold(f), c->name, plain(f), c->about);
    usage_lines(f, c, "  ", "");
    if (c->text) {
        fputc('\n', f);
        wrap(f, c->text, 0, 0, width);
    }
    const struct option *t;
    bool headed = false;
    for (unsigned i = 0; (t = command_options(c, i)); i++) {
        if (t->name && (!headed || i == 1))
            fprintf(f, "\n%s:\n", i == 1 ? "Common options" : "Options");
        headed |= t->name != NULL;
        for (; t->name; t++)
            if (t->about)
                option_entry(f, t, width);
    }
    if (c->examples)
        fprintf(f, "\nExamples:\n");
    for (const char *e = c->examples; e && *e;) {
        const size_t n = strcspn(e, "\n");
        fprintf(f, "  %.*s\n", (int)n, e);
        e += n + (e[n] == '\n');
    }
}

/* ---- man pages --------------------------------------------------------------------------------
 */

/* roff takes '\', and '.' or "'" at the start of a line, as its own. */
static void roff(FILE *f, const char *text)
{
    bool start = true;
    for (; *text; text++) {
        if (start && (*text == '.' || *text == '\''))
            fputs("\\&", f);
        if (*text == '\\')
            fputs("\\e", f);
        else if (*text == '-')
            fputs("\\-", f);
        else
            fputc(*text, f);
        start = *text == '\n';
    }
}

static void man_title(FILE *f, const char *page, const char *about)
{
    fprintf(f, ".TH %s 1 \"\" \"quern " QUERN_VERSION "\" \"User Commands\"\n.SH NAME\n", page);
    roff(f, page);
    fputs(" \\- ", f);
    roff(f, about);
    fputc('\n', f);
}

static void man_exit_codes(FILE *f)
{
    static const struct {
        int code;
        const char *meaning;
    } codes[] = {
        {0,   "done"                                                          },
        {1,   "files differ or a check found bad values"                      },
        {2,   "usage or recipe error"                                         },
        {3,   "malformed input, or NaN/Inf in weights"                        },
        {4,   "unsupported"                                                   },
        {5,   "I/O error: disk full, permission, an input vanished or changed"},
        {6,   "out of memory, or over --mem"                                  },
        {7,   "the output exists or is locked"                                },
        {70,  "internal error: a bug, please report it"                       },
        {128, "128+n: stopped by signal n"                                    },
    };
    fprintf(f, ".SH EXIT STATUS\n");
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        fprintf(f, ".TP\n.B %d\n", codes[i].code);
        roff(f, codes[i].meaning);
        fputc('\n', f);
    }
}

static void man_options(FILE *f, const struct command *c)
{
    const struct option *t;
    fprintf(f, ".SH OPTIONS\n");
    for (unsigned i = 0; (t = command_options(c, i)); i++)
        for (; t->name; t++) {
            if (!t->about)
                continue;
            fprintf(f, ".TP\n");
            if (t->letter)
                fprintf(f, "\\fB\\-%c\\fR, ", t->letter);
            fprintf(f, "\\fB\\-\\-");
            roff(f, t->name);
            fprintf(f, "\\fR");
            if (t->arg)
                fprintf(f, " \\fI%s\\fR", t->arg);
            fputc('\n', f);
            roff(f, t->about);
            fputc('\n', f);
        }
}

static void man_overview(FILE *f)
{
    man_title(f, "quern", "shrink and fuse model checkpoints");
    fprintf(f, ".SH SYNOPSIS\n.B quern\n.I COMMAND\n[options] ...\n.SH COMMANDS\n");
    for (const struct command *c = commands; c->name; c++) {
        fprintf(f, ".TP\n.B %s\n", c->name);
        roff(f, c->about);
        fprintf(f, strcmp(c->name, "help") ? "; see\n.BR quern\\-%s (1).\n" : ".\n", c->name);
    }
    fprintf(
        f, ".SH ENVIRONMENT\n.TP\n.B QUERN_CPU\n"
           "portable, avx2 or avx512: use these kernels instead of the best this CPU has. The "
           "bytes written are the same.\n"
           ".TP\n.B QUERN_SYNC\n"
           "seconds between two records of finished work for \\-\\-resume, 1 by default: what came "
           "later is made again after a crash.\n"
           ".TP\n.B NO_COLOR\nwhen set, print no colours.\n"
           ".TP\n.BR HF_HUB_CACHE , HF_HOME\nwhere the Hugging Face cache lies "
           "(default: ~/.cache/huggingface/hub).\n");
    man_exit_codes(f);
}

void help_man(FILE *f, const struct command *c)
{
    if (!c) {
        man_overview(f);
        return;
    }
    char page[64];
    snprintf(page, sizeof page, "quern-%s", c->name);
    man_title(f, page, c->about);
    fprintf(f, ".SH SYNOPSIS\n.nf\n");
    usage_lines(f, c, "", "");
    fprintf(f, ".fi\n.SH DESCRIPTION\n");
    for (const char *p = c->text; p && *p; p++) {
        char one[2] = {*p, '\0'};
        if (*p == '\n')
            fputs("\n.PP\n", f);
        else
            roff(f, one);
    }
    fputc('\n', f);
    man_options(f, c);
    if (c->examples)
        fprintf(f, ".SH EXAMPLES\n");
    for (const char *e = c->examples; e && *e;) {
        const size_t n = strcspn(e, "\n");
        char line[256];
        snprintf(line, sizeof line, "%.*s", (int)n, e);
        if (line[0] == ' ') {
            roff(f, line + strspn(line, " "));
            fputc('\n', f);
        } else {
            fprintf(f, ".TP\n.B ");
            roff(f, line);
            fputc('\n', f);
        }
        e += n + (e[n] == '\n');
    }
    man_exit_codes(f);
    fprintf(f, ".SH SEE ALSO\n.BR quern (1)\n");
}

/* ---- completion -------------------------------------------------------------------------------
 */

static void completed_types(FILE *f)
{
    const struct file_type *t;
    for (size_t i = 0; (t = file_type_get(i)); i++)
        fprintf(f, "%s ", t->name);
}

static void completed_words(FILE *f, const struct command *c)
{
    const struct option *t;
    fprintf(f, "        %s:*) words='", c->name);
    for (unsigned i = 0; (t = command_options(c, i)); i++)
        for (; t->name; t++)
            if (t->about)
                fprintf(f, "--%s ", t->name);
    if (strcmp(c->name, "quantize") == 0 || strcmp(c->name, "merge") == 0)
        completed_types(f);
    if (strcmp(c->name, "plan") == 0)
        fprintf(f, "quantize merge convert ");
    if (strcmp(c->name, "help") == 0)
        for (const struct command *d = commands; d->name; d++)
            fprintf(f, "%s ", d->name);
    fprintf(f, "' ;;\n");
}

void help_completion(FILE *f)
{
    fprintf(
        f, "# bash completion for quern; made by `quern help completion`.\n"
           "_quern()\n{\n    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
           "    local words= files=1 command=${COMP_WORDS[1]} i\n"
           "    # what is planned has options of its own\n"
           "    for ((i = 2; i < COMP_CWORD; i++)); do\n"
           "        case $command:${COMP_WORDS[i]} in\n"
           "        plan:quantize | plan:merge | plan:convert) command=${COMP_WORDS[i]} ;;\n"
           "        esac\n    done\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        files= words='");
    for (const struct command *c = commands; c->name; c++)
        fprintf(f, "%s ", c->name);
    fprintf(f, "--version'\n    else\n        case $command:$prev in\n");
    const struct option *t;
    for (const struct command *c = commands; c->name; c++)
        for (unsigned i = 0; (t = command_options(c, i)); i++)
            for (; t->name; t++)
                if (t->choices)
                    fprintf(f, "        %s:--%s) files= words='%s' ;;\n", c->name, t->name,
                            t->choices);
    for (const struct command *c = commands; c->name; c++)
        completed_words(f, c);
    fprintf(f, "        esac\n    fi\n"
               "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
               "    [ -z \"$files\" ] || [[ $cur == -* ]] || mapfile -t -O \"${#COMPREPLY[@]}\" "
               "COMPREPLY < <(compgen -f -- \"$cur\")\n}\n"
               "complete -o filenames -F _quern quern\n");
}
