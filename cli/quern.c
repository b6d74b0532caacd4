/* quern.c - main: find the command, read its options, run it. */
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static int unknown_command(const char *name)
{
    const char *names[32];
    size_t n = 0;
    for (const struct command *c = commands; c->name && n < 32; c++)
        names[n++] = c->name;
    const char *near = closest(str_from(name), names, n);
    say("quern: there is no command '%s'%s%s%s", quoted(str_from(name)).text,
        near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    say("'quern help' lists the commands.");
    return 2;
}

/* QUERN_CPU forces a kernel table: for tests and for comparing speed. */
static int choose_kernels(void)
{
    const char *cpu = getenv("QUERN_CPU");
    if (!cpu || !*cpu || quern_set_cpu(cpu))
        return 0;
    say("quern: QUERN_CPU '%s': expected portable, avx2 or avx512, and a CPU that has it",
        quoted(str_from(cpu)).text);
    return 2;
}

/* Large blocks go back to the system when they are freed. Otherwise what one worker allocates and
 * another frees adds up to twice the limit of --mem. */
static void keep_nothing(void)
{
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, 1 << 17);
#endif
}

/* A file that we open must not become number 0, 1 or 2: messages would be written into it. What was
 * closed can be written to no more than before. */
static void keep_standard_files(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != fd)
            _exit(5);
}

int main(int argc, char **argv)
{
    keep_standard_files();
    if (argc < 2) {
        help_overview(stderr);
        return 2;
    }
    const char *word = argv[1];
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        printf("quern %s (kernels: %s)\n", quern_version(), quern_cpu());
        return 0;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        word = "help";
    keep_nothing();
    const int bad_cpu = choose_kernels();
    if (bad_cpu)
        return bad_cpu;
    const struct command *command = find_command(word);
    if (!command)
        return unknown_command(word);
    struct cli c = {.command = command};
    int code = run_command(&c, command, argc - 2, argv + 2);
    /* What was asked for on stdout must have arrived: a full disk is an error. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        say("quern: cannot write to standard output");
        code = code ? code : 5;
    }
    return code;
}
