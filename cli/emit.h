/* emit.h - files with which schedulers run the parts of a plan and join them. */
#ifndef QUERN_EMIT_H
#define QUERN_EMIT_H

#include "job_file.h"

/* How to start it, with a blank at the end where the name of the file belongs; NULL when there is
 * no such scheduler. */
const char *emit_hint(const char *scheduler);

/* Writes the file beside the plan and names it. min_mem: bytes that a part needs at least. The name
 * is the job's. */
enum quern_status emit_script(struct job *j, const struct cli *c, uint64_t min_mem, char **path,
                              struct quern_error *err);

#endif
