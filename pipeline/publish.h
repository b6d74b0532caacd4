/* publish.h - the output side of a run: part files at the start, final names at the end. */
#ifndef QUERN_PUBLISH_H
#define QUERN_PUBLISH_H

#include "core/output.h"
#include "plan.h"

struct publication {
    struct output *outs; /* one per plan file */
    struct output_dir dir;
};

/* Is there room, may the names be taken? Then create all part files, their space reserved. */
enum quern_status publish_begin(const struct plan *p, struct publication *pub,
                                struct quern_error *err);
/* Headers and side files, sync, rename. */
enum quern_status publish_commit(const struct plan *p, struct publication *pub,
                                 uint64_t *bytes_moved, struct quern_error *err);
/* Remove what is not committed, free the rest; fine after a commit and on a zeroed object. */
void publish_end(const struct plan *p, struct publication *pub);

/* May the outputs of this plan be made at all? For dry runs too. */
enum quern_status publish_check(const struct plan *p, struct quern_error *err);

#endif
