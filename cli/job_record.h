/* job_record.h - a command and all that was asked of it, as data.
 *
 *     {"command": "quantize", "words": ["model-f16.gguf", "Q4_K_M"], "options": {"pure": true}}
 *
 * Options stand under their names in the tables, in the order of the tables: flags are true, texts
 * are strings, sizes (in bytes) and counts are numbers, what may be given several times is an array
 * of strings, or {"file": PATH} where a file gives a number of them. What has its default is left
 * out. */
#ifndef QUERN_JOB_RECORD_H
#define QUERN_JOB_RECORD_H

#include "cli.h"
#include "core/pull.h"

enum job_scope {
    JOB_BYTES, /* what decides the bytes of an output: no OUTPUT, --threads ... */
    JOB_ALL
};

void job_write(const struct cli *c, enum job_scope scope, struct json_writer *w);

/* Reads one where the next token would be a value; "command" comes first in it. Strings point into
 * the text of p, which may be anybody's: what is no command or option, is not of its kind, stands
 * there twice or has no place in this scope is EFORMAT "job". */
enum quern_status job_read(struct pull *p, enum job_scope scope, struct cli *c,
                           struct quern_error *err);

#endif
