/* leaks.h - CHECK_LEAKS(): in a build with AddressSanitizer, fail a test that leaked. It goes
 * at the end of the test's body: Criterion ignores failures in .fini, and its processes end without
 * the check at exit. */
#ifndef QUERN_LEAKS_H
#define QUERN_LEAKS_H

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_LEAK_CHECK 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_LEAK_CHECK 1
#endif
#endif

#ifdef HAVE_LEAK_CHECK
#include <sanitizer/lsan_interface.h>
#define CHECK_LEAKS() cr_assert(__lsan_do_recoverable_leak_check() == 0, "memory leaked")
#else
#define CHECK_LEAKS() ((void)0)
#endif

#endif
