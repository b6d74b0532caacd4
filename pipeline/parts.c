/* parts.c - open and close part files as they are needed. What is closed has been synced: an error
 * of a later write to the disk would have nobody to go to. */
#include "parts.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* Inputs may take a quarter of all descriptors. */
#define SHARE      8u
#define LEAST_OPEN 2u
#define MOST_OPEN  256u

enum quern_status parts_open(struct parts *p, uint32_t n, struct quern_error *err)
{
    struct rlimit limit;
    *p = (struct parts){.outs = calloc(n, sizeof *p->outs), .n = n, .most = MOST_OPEN};
    if (!p->outs)
        return fail_memory(err, n * sizeof *p->outs);
    pthread_mutex_init(&p->lock, NULL);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / SHARE < MOST_OPEN)
        p->most = (uint32_t)(limit.rlim_cur / SHARE);
    if (p->most < LEAST_OPEN)
        p->most = LEAST_OPEN;
    return QUERN_OK;
}

void parts_close(struct parts *p)
{
    if (p->outs)
        pthread_mutex_destroy(&p->lock);
    free(p->outs);
    *p = (struct parts){0};
}

static enum quern_status close_one(struct parts *p, uint32_t file, struct quern_error *err)
{
    p->nopen--;
    return output_close(&p->outs[file], err);
}

/* An idle one makes room for another. */
static enum quern_status make_room(struct parts *p, struct quern_error *err)
{
    for (uint32_t i = 0; p->nopen >= p->most && i < p->n; i++)
        if (p->outs[i].open && p->outs[i].fd >= 0 && p->outs[i].nusers == 0)
            TRY(close_one(p, i, err));
    return QUERN_OK;
}

enum quern_status parts_add(struct parts *p, uint32_t file, struct quern_error *err)
{
    p->nopen++;
    return p->nopen > p->most ? close_one(p, file, err) : QUERN_OK;
}

static enum quern_status take(struct parts *p, struct output *o, struct quern_error *err)
{
    if (p->status != QUERN_OK) {
        *err = p->error;
        return p->status;
    }
    if (o->fd < 0) {
        TRY(make_room(p, err));
        TRY(output_reopen(o, err));
        p->nopen++;
    }
    o->nusers++;
    return QUERN_OK;
}

enum quern_status parts_take(struct parts *p, uint32_t file, int *fd, struct quern_error *err)
{
    struct quern_error e;
    pthread_mutex_lock(&p->lock);
    const enum quern_status s = take(p, &p->outs[file], &e);
    *fd = p->outs[file].fd;
    pthread_mutex_unlock(&p->lock);
    if (s != QUERN_OK && err)
        *err = e;
    return s;
}

void parts_give(struct parts *p, uint32_t file)
{
    pthread_mutex_lock(&p->lock);
    if (--p->outs[file].nusers == 0 && p->nopen > p->most && p->status == QUERN_OK)
        p->status = close_one(p, file, &p->error);
    pthread_mutex_unlock(&p->lock);
}

enum quern_status parts_sync(struct parts *p, uint32_t file, struct quern_error *err)
{
    pthread_mutex_lock(&p->lock);
    const bool is_open = p->outs[file].fd >= 0;
    p->outs[file].nusers += is_open;
    pthread_mutex_unlock(&p->lock);
    if (!is_open)
        return QUERN_OK;
    const bool synced = fdatasync(p->outs[file].fd) == 0;
    const enum quern_status s =
        synced ? QUERN_OK : fail_errno(err, p->outs[file].final_path, "sync to disk");
    parts_give(p, file);
    return s;
}
