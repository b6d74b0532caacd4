/* criterion.h - what the tests use of Criterion, without its libraries: those are not instrumented
 * (MemorySanitizer), claim addresses for themselves (ThreadSanitizer), or are not there (32 bits).
 * plain_tests.c runs them. */
#ifndef QUERN_PLAIN_CRITERION_H
#define QUERN_PLAIN_CRITERION_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct plain_options {
    void (*init)(void), (*fini)(void);
    double timeout;
};

struct plain_test {
    const char *suite, *name; /* without a name: options of the suite */
    void (*run)(void);
    struct plain_options options;
    struct plain_test *next;
};

void plain_add(struct plain_test *t);
/* fatal: the test's process ends. */
void plain_fail(const char *file, int line, bool fatal, const char *text, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

#define PLAIN_ADD(id, ...)                                  \
    __attribute__((constructor)) static void id##_add(void) \
    {                                                       \
        static struct plain_test test = {__VA_ARGS__};      \
        plain_add(&test);                                   \
    }
#define TestSuite(suite_, ...)                                            \
    PLAIN_ADD(plain_##suite_, .suite = #suite_, .options = {__VA_ARGS__}) \
    struct plain_test
#define Test(suite_, name_, ...)                                                                 \
    static void suite_##_##name_##_run(void);                                                    \
    PLAIN_ADD(suite_##_##name_, .suite = #suite_, .name = #name_, .run = suite_##_##name_##_run, \
              .options = {__VA_ARGS__})                                                          \
    static void suite_##_##name_##_run(void)

#define PLAIN_CHECK(fatal, fine, text, ...) \
    ((fine) ? (void)0 : plain_fail(__FILE__, __LINE__, fatal, text, " " __VA_ARGS__))
#define cr_assert(fine, ...)       PLAIN_CHECK(true, fine, #fine, ##__VA_ARGS__)
#define cr_assert_not(fine, ...)   PLAIN_CHECK(true, !(fine), "not " #fine, ##__VA_ARGS__)
#define cr_expect(fine, ...)       PLAIN_CHECK(false, fine, #fine, ##__VA_ARGS__)
#define cr_assert_eq(a, b, ...)    PLAIN_CHECK(true, (a) == (b), #a " == " #b, ##__VA_ARGS__)
#define cr_assert_neq(a, b, ...)   PLAIN_CHECK(true, (a) != (b), #a " != " #b, ##__VA_ARGS__)
#define cr_assert_lt(a, b, ...)    PLAIN_CHECK(true, (a) < (b), #a " < " #b, ##__VA_ARGS__)
#define cr_assert_leq(a, b, ...)   PLAIN_CHECK(true, (a) <= (b), #a " <= " #b, ##__VA_ARGS__)
#define cr_assert_gt(a, b, ...)    PLAIN_CHECK(true, (a) > (b), #a " > " #b, ##__VA_ARGS__)
#define cr_assert_geq(a, b, ...)   PLAIN_CHECK(true, (a) >= (b), #a " >= " #b, ##__VA_ARGS__)
#define cr_assert_null(a, ...)     PLAIN_CHECK(true, (a) == NULL, #a " is NULL", ##__VA_ARGS__)
#define cr_expect_null(a, ...)     PLAIN_CHECK(false, (a) == NULL, #a " is NULL", ##__VA_ARGS__)
#define cr_assert_not_null(a, ...) PLAIN_CHECK(true, (a) != NULL, #a " is not NULL", ##__VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) \
    PLAIN_CHECK(true, strcmp(a, b) == 0, #a " and " #b " are the same", ##__VA_ARGS__)
#define cr_expect_str_eq(a, b, ...) \
    PLAIN_CHECK(false, strcmp(a, b) == 0, #a " and " #b " are the same", ##__VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...) \
    PLAIN_CHECK(true, memcmp(a, b, n) == 0, #a " and " #b " are the same", ##__VA_ARGS__)
#define cr_assert_float_eq(a, b, near, ...) \
    PLAIN_CHECK(true, (a) - (b) <= (near) && (b) - (a) <= (near), #a " is near " #b, ##__VA_ARGS__)
#define cr_assert_fail(...) plain_fail(__FILE__, __LINE__, true, "fail", " " __VA_ARGS__)
/* The test counts as passed. */
#define cr_skip_test(...) (fprintf(stderr, "skipped: " __VA_ARGS__), fputc('\n', stderr), exit(0))
#define cr_log_info(...)  (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr))

#endif
