/* plain_tests.c - run tests one by one, each in a process of its own: plain-tests [SUITE...] */
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include "criterion/criterion.h"

static struct plain_test *first, **last = &first;
static int failures; /* of this process's test */

void plain_add(struct plain_test *t)
{
    *last = t;
    last = &t->next;
}

void plain_fail(const char *file, int line, bool fatal, const char *text, const char *format, ...)
{
    char more[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(more, sizeof more, format, args);
    va_end(args);
    fprintf(stderr, "%s:%d: %s:%s\n", file, line, text, more);
    failures++;
    if (fatal)
        exit(1);
}

static const struct plain_options *suite_options(const char *suite)
{
    static const struct plain_options none;
    for (const struct plain_test *t = first; t; t = t->next)
        if (!t->name && strcmp(t->suite, suite) == 0)
            return &t->options;
    return &none;
}

static void run(const struct plain_test *t)
{
    const struct plain_options *all = suite_options(t->suite);
    void (*const init)(void) = t->options.init ? t->options.init : all->init;
    void (*const fini)(void) = t->options.fini ? t->options.fini : all->fini;
    if (init)
        init();
    t->run();
    if (fini)
        fini();
    exit(failures > 0);
}

static bool wanted(const struct plain_test *t, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], t->suite) == 0)
            return true;
    return argc < 2;
}

int main(int argc, char **argv)
{
    unsigned ntests = 0, nfailed = 0;
    for (const struct plain_test *t = first; t; t = t->next) {
        if (!t->name || !wanted(t, argc, argv))
            continue;
        fflush(NULL);
        const pid_t child = fork();
        if (child == 0)
            run(t);
        int status = -1;
        waitpid(child, &status, 0);
        ntests++;
        if (status != 0) {
            nfailed++;
            fprintf(stderr, "FAILED: %s::%s: status %#x\n", t->suite, t->name, (unsigned)status);
        }
    }
    printf("%u tests, %u failed\n", ntests, nfailed);
    return nfailed > 0;
}
