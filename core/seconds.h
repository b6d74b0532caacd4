/* seconds.h - a clock for how long things take. */
#ifndef QUERN_SECONDS_H
#define QUERN_SECONDS_H

#include <time.h>

/* Since some moment, and never set back. */
static inline double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#endif
