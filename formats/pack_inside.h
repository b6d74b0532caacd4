/* pack_inside.h - what the parts of the reader of packs share. */
#ifndef QUERN_PACK_INSIDE_H
#define QUERN_PACK_INSIDE_H

#include <pthread.h>

#include "core/frame.h"
#include "formats/model.h"
#include "formats/pack.h"
#include "formats/planes.h"

/* The planes of a chunk take their bytes and a little more: those that could not be compressed are
 * used in their frames. */
#define PLANE_ROOM      64u
#define PACK_PLANES_MAX (PACK_CHUNK + MAX_PLANES * PLANE_ROOM)

struct pack_planes {
    const uint8_t *at[MAX_PLANES];
    bool framed[MAX_PLANES];
};

/* A chunk that is decoded, or about to be. */
struct pack_slot {
    uint32_t chunk; /* number in the pack, UINT32_MAX: none */
    uint32_t nusers;
    bool loading;
    bool in_planes; /* numbers, which are joined when they are read */
    uint64_t last_use;
    uint8_t *bytes; /* PACK_PLANES_MAX, or NULL until they are needed */
    struct pack_planes planes;
};

/* What decoding takes. */
struct pack_decoder {
    struct pack_decoder *next;
    struct frame_reader *frames;
    uint8_t *stored; /* chunk_bound() */
    uint8_t *planes; /* PACK_PLANES_MAX */
};

struct pack {
    struct archive archive;
    struct arena arena;
    int fd;
    char *text; /* the directory, which names point into; malloc'ed, like all below */
    size_t text_bytes;
    struct pack_file *files;
    struct pack_run *runs;
    uint32_t nfiles, nruns, file_capacity, run_capacity;
    uint32_t *chunk_frame; /* per chunk its first frame; then their number */
    uint64_t *frame_at;    /* per frame where it begins; then where the last ends */
    uint32_t nchunks, nframes;
    uint8_t tail_sum[32]; /* SHA-256 of directory and table, as they lie in the file */
    uint64_t directory_at;
    bool directory;

    struct str base_path; /* as recorded; .p is NULL without base */
    uint8_t base_probe[32];
    struct model *base;
    enum quern_status base_status;
    bool base_is_absent; /* nothing lies where it was, and no other fits */
    struct quern_error base_error;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    struct pack_slot **slots;
    uint32_t nslots;
    uint64_t clock;
    struct pack_decoder *decoders; /* idle ones */
};

/* Fills files, runs and the base from the text; everything but the frames is checked. */
enum quern_status pack_read_directory(struct pack *p, struct quern_error *err);
/* Where a run's errors are. */
enum quern_status in_run(const struct pack *p, const struct pack_run *run, enum quern_status status,
                         struct quern_error *err);
static inline size_t chunk_bytes(const struct pack_run *run, uint32_t chunk)
{
    const uint64_t left = run->nbytes - (uint64_t)chunk * PACK_CHUNK;
    return left < PACK_CHUNK ? (size_t)left : PACK_CHUNK;
}

/* Looks for the base; what came of it is in base_status. */
void pack_find_base(struct pack *p);

/* Bytes of a file. */
enum quern_status pack_read(struct archive *a, uint32_t file, void *buf, size_t n, uint64_t offset,
                            struct quern_error *err);
enum quern_status pack_pool_open(struct pack *p, uint32_t nslots, struct quern_error *err);
void pack_pool_close(struct pack *p);
void pack_set_workers(struct archive *a, uint32_t nworkers);
uint64_t pack_worker_bytes(const struct archive *a);
#define PACK_SPARE_SLOTS  2u
#define PACK_WORKER_SLOTS 2u
size_t pack_decoder_bytes(void);

#endif
