/* windows.h - parts of files seen where the system has them, without a copy.
 *
 * Mapped memory is not there any more when its file gets shorter or its disk fails: then a thread
 * that looks gets a signal. So a program must allow it first, and from then on SIGBUS is ours. What
 * is lost is seen as zeros; who looked must ask afterwards, and throw away what it made of it. */
#ifndef QUERN_WINDOWS_H
#define QUERN_WINDOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WINDOW_BYTES (UINT64_C(4) << 20) /* that one may keep in memory; half of it can be seen */
#define MOST_WINDOWS 12u

/* Of one thread. All zero when there are none. */
struct windows {
    uint8_t *area; /* `count` places */
    unsigned count;
    struct {
        const void *file; /* NULL: nothing is seen */
        uint64_t from;
    } seen[MOST_WINDOWS];
    volatile int lost; /* a window that lost what was seen, counted from 1 */
};

/* For programs, before they have threads. */
void windows_allow(void);
bool windows_allowed(void);

/* The thread's, when they are allowed; fewer, or none, when the system will not, or when a limit
 * of the process (ulimit -v) leaves few addresses. */
void windows_open(struct windows *w, unsigned count);
/* By any thread, when the one that opened them has ended or calls this itself. */
void windows_close(struct windows *w);

/* Bytes [at, at + n) of what is seen through window k of a file that `file` stands for: a pointer
 * that nobody else gives for another file. Valid until the window is moved. NULL: move it. */
const uint8_t *window_look(const struct windows *w, unsigned k, const void *file, uint64_t at,
                           size_t n);
/* NULL: it cannot be seen, or is not in memory yet, and must be read. */
const uint8_t *window_move(struct windows *w, unsigned k, const void *file, int fd, uint64_t at,
                           size_t n);

#endif
