/* making.h - what is made again from a record, while the command that makes it runs. */
#ifndef QUERN_MAKING_H
#define QUERN_MAKING_H

#include "record_file.h"

struct rebuild {
    const struct record *record;
    const char *planned; /* OUTPUT as the plan is told: under the recorded name, which may count */
    const char *target;  /* where it goes */
    struct values moved; /* "OLD=NEW" */
    bool begun;          /* the command has come to a plan that makes something */
};

/* What the record would call this path; the arena's or path itself, NULL when memory ran out. */
const char *place_then(const struct cli *c, const char *path, struct arena *arena);

#endif
