/* mistakes.h - collect mistakes, report the first and how many more there are.
 *
 *     fail(mistake(&m), QUERN_EUSAGE, ...);
 *     ...
 *     return mistakes_end(&m, err); */
#ifndef QUERN_MISTAKES_H
#define QUERN_MISTAKES_H

#include "core/error.h"

struct mistakes {
    struct quern_error first;
    uint32_t count;
};

/* Counts one more; where its error goes: NULL for all but the first. */
struct quern_error *mistake(struct mistakes *m);

/* QUERN_OK when there was none, else the first, with a word about the others. */
enum quern_status mistakes_end(const struct mistakes *m, struct quern_error *err);

#endif
