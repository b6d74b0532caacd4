/* parts.h - the files of a run's output while they are written: no more of them open than may be.
 */
#ifndef QUERN_PARTS_H
#define QUERN_PARTS_H

#include <pthread.h>

#include "core/output.h"

struct parts {
    struct output *outs; /* one per file of the plan; not open: complete already */
    uint32_t n, nopen, most;
    pthread_mutex_t lock;
    enum quern_status status; /* of syncing one that was closed */
    struct quern_error error;
};

enum quern_status parts_open(struct parts *p, uint32_t n, struct quern_error *err);
/* One more has been begun: it stays open or not. */
enum quern_status parts_add(struct parts *p, uint32_t file, struct quern_error *err);
/* Frees the list; nothing happens to the files. Fine on a zeroed object. */
void parts_close(struct parts *p);

/* The descriptor of a file until it is given back. From any thread. */
enum quern_status parts_take(struct parts *p, uint32_t file, int *fd, struct quern_error *err);
void parts_give(struct parts *p, uint32_t file);
/* Syncs what has been written to a file so far. */
enum quern_status parts_sync(struct parts *p, uint32_t file, struct quern_error *err);

#endif
