/* mistakes.h - collect mistakes: report the first, tell all of them to who wants to hear.
 *
 *     fail(mistake(&m), QUERN_EUSAGE, ...);
 *     ...
 *     return mistakes_end(&m, err); */
#ifndef QUERN_MISTAKES_H
#define QUERN_MISTAKES_H

#include "core/error.h"

/* Hears of every mistake, in their order. */
struct mistake_sink {
    void (*tell)(const struct quern_error *e, void *user);
    void *user;
};

struct mistakes {
    struct quern_error first;
    uint32_t count;
    const struct mistake_sink *sink; /* or NULL */
    struct quern_error latest;       /* the last one, where there is a sink */
};

/* Counts one more; where its error goes: NULL for all but the first, when there is no sink. */
struct quern_error *mistake(struct mistakes *m);

/* QUERN_OK when there was none, else the first, with a word about the others. */
enum quern_status mistakes_end(struct mistakes *m, struct quern_error *err);

#endif
