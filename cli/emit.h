/* emit.h - files with which schedulers run the parts of a plan and join them. */
#ifndef QUERN_EMIT_H
#define QUERN_EMIT_H

#include "job_file.h"
#include "scheduler.h"

/* Writes the file beside the plan and names it. min_mem: bytes that a part needs at least. The name
 * is the job's. */
enum quern_status emit_script(struct job *j, const struct cli *c, enum scheduler to,
                              uint64_t min_mem, const char **path, struct quern_error *err);

#endif
