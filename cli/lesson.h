/* lesson.h - learn rules for tensors from a known pair, for quern convert --learn. */
#ifndef QUERN_LESSON_H
#define QUERN_LESSON_H

#include "cli.h"
#include "convert/learn.h"

struct lesson {
    struct model *base, *made;
    struct learning *l;
};

/* Learns from the pair of --learn and tells what there is to note. An exit code, 0 when all went
 * well; reports what did not. Free with lesson_end() whatever comes back. */
int lesson_take(struct cli *c, struct lesson *x);
/* Writes what was learnt where --write-map says; likewise. */
int lesson_write(const struct cli *c, const struct lesson *x);
void lesson_end(struct lesson *x);

#endif
