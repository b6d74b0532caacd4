/* fuzz_args.c - any words as a command line: understood, or a message and exit code 2. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "fuzz.h"

#define MAX_WORDS 300

/* Lists hold what was given, in its words. */
static void check_values(const struct values *v, const char *from, const char *to)
{
    FUZZ_CHECK(v->count <= MAX_ARGS);
    for (size_t i = 0; i < v->count; i++)
        FUZZ_CHECK(v->items[i] >= from && v->items[i] <= to);
}

static void parse(const struct command *command, int argc, char **argv, const char *end)
{
    static struct cli c; /* large */
    memset(&c, 0, sizeof c);
    c.command = command;
    const int code = parse_options(&c, argc, argv);
    FUZZ_CHECK(code == 0 || code == 2);
    if (argc > 0) {
        check_values(&c.args, argv[0], end);
        check_values(&c.tensor_types, argv[0], end);
        check_values(&c.params, argv[0], end);
    }
    FUZZ_CHECK(c.threads <= 100000);
}

static void run(char *text, size_t n)
{
    static int out = -1, talk = -1, null = -1;
    char *argv[MAX_WORDS + 1];
    int argc = 0;
    uint64_t size;
    if (null < 0) {
        out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
        talk = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        FUZZ_CHECK(out >= 0 && talk >= 0 && null >= 0);
    }
    const struct command *command = commands;
    unsigned skip = n ? (uint8_t)text[0] : 0;
    while (skip-- > 0)
        command = command[1].name ? command + 1 : commands;
    for (size_t i = 1; i < n && argc < MAX_WORDS; i += strlen(text + i) + 1) {
        char *line = memchr(text + i, '\n', n - i);
        if (line)
            *line = '\0';
        argv[argc++] = text + i;
        parse_size(text + i, &size);
    }
    argv[argc] = NULL;
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    parse(command, argc, argv, text + n);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    dup2(talk, STDERR_FILENO);
}

static const char *const words[] = {"\n-o\nx",
                                    "\n--",
                                    "\n-j4",
                                    "\n-j\n4",
                                    "\n--mem=512MiB",
                                    "\n--mem\n1.5G",
                                    "\n--dry-run",
                                    "\n--type=",
                                    "\n--tensor-type\n",
                                    "\n--override-kv\n",
                                    "\n--prune-layers\n",
                                    "\n--split-max-size=2G",
                                    "\n--split-max-tensors\n128",
                                    "\n--param\nt=0.5",
                                    "\n--model\na",
                                    "\n--seed\n",
                                    "\n--force",
                                    "\n-f",
                                    "\n--quiet",
                                    "\n-h",
                                    "\n--shard-size=5B",
                                    "\n--learn\na\nb",
                                    "\n--json",
                                    "KiB",
                                    "18446744073709551615",
                                    "\n--imatrix\n",
                                    "\n--include-weights\n",
                                    "\n--pure",
                                    "\n--leave-output-tensor",
                                    "=",
                                    NULL};

const struct fuzz_target fuzz_args = {
    .name = "args",
    .max_len = 512,
    .run = run,
    .bytes_per_byte = 256,
    .bytes_besides = 16384,
    .words = words,
};
