/* identity.h - tell plans and their inputs apart, over the end of the process. */
#ifndef QUERN_IDENTITY_H
#define QUERN_IDENTITY_H

#include "plan.h"

/* Of everything that decides the bytes of the output but what is in the inputs' data. Parameters of
 * ops and kinds of sources are opaque here: they follow from what was asked for (plan_asked()) and
 * from the small files beside the inputs. */
void plan_identity(const struct plan *p, uint8_t digest[32]);

/* A file that is read, or what lies beside the weights of a model in its directory. */
struct input {
    const char *path;
    uint8_t digest[32]; /* of size, time of change, inode and header */
};

/* All inputs of a plan, in a fixed order; free() the list. */
enum quern_status plan_inputs(const struct plan *p, struct input **inputs, uint32_t *n,
                              struct quern_error *err);

#endif
