/* criterion.h - as much of Criterion as the tests of readers use, for builds without it: one file
 * of tests is a program, and a test is a process. */
#ifndef QUERN_BARE_CRITERION_H
#define QUERN_BARE_CRITERION_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct bare_suite {
    void (*init)(void), (*fini)(void);
    unsigned timeout;
};

struct bare_test {
    const struct bare_suite *suite;
    const char *name;
    void (*run)(void);
};

static struct bare_test bare_tests[32];
static size_t bare_ntests;
static bool bare_failed; /* of the test that runs */

#define TestSuite(suite, ...) static const struct bare_suite bare_##suite = {__VA_ARGS__}

#define Test(suite, name)                                                                     \
    static void suite##_##name(void);                                                         \
    __attribute__((constructor)) static void bare_add_##suite##_##name(void)                  \
    {                                                                                         \
        bare_tests[bare_ntests++] = (struct bare_test){&bare_##suite, #name, suite##_##name}; \
    }                                                                                         \
    static void suite##_##name(void)

__attribute__((format(printf, 4, 5))) static inline bool
bare_check(bool fine, const char *what, int line, const char *format, ...)
{
    if (fine)
        return true;
    bare_failed = true;
    va_list args;
    va_start(args, format);
    fprintf(stderr, "line %d: %s:", line, what);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return false;
}

#define cr_expect(fine, ...) bare_check((fine), #fine, __LINE__, " " __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...) \
    bare_check(strcmp((a), (b)) == 0, #a " == " #b, __LINE__, " " __VA_ARGS__)
#define cr_assert(fine, ...)                                       \
    do                                                             \
        if (!bare_check((fine), #fine, __LINE__, " " __VA_ARGS__)) \
            exit(1);                                               \
    while (0)
#define cr_log_info(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr))

static bool bare_passes(const struct bare_test *t)
{
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        alarm(t->suite->timeout * 4);
        t->suite->init();
        t->run();
        t->suite->fini();
        exit(bare_failed);
    }
    int status = 1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

int main(void)
{
    size_t npassed = 0;
    for (size_t i = 0; i < bare_ntests; i++) {
        const bool passes = bare_passes(&bare_tests[i]);
        printf("%s %s\n", passes ? "ok    " : "not ok", bare_tests[i].name);
        npassed += passes;
    }
    printf("%zu of %zu tests passed\n", npassed, bare_ntests);
    return npassed == bare_ntests ? 0 : 1;
}

#endif
