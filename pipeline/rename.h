/* rename.h - give the outputs of a plan other names. */
#ifndef QUERN_RENAME_H
#define QUERN_RENAME_H

#include "plan.h"

/* A plan for OUTPUT from (a file, a directory, the prefix of several files) becomes one for to,
 * with the same bytes. */
enum quern_status plan_rename(struct plan *p, const char *from, const char *to,
                              struct quern_error *err);

#endif
