/* packing.h - a pack in the making, shared by its planner, its sink and the writer of its end. */
#ifndef QUERN_PACKING_H
#define QUERN_PACKING_H

#include <pthread.h>

#include "core/frame.h"
#include "formats/pack.h"
#include "pipeline/pack_plan.h"
#include "pipeline/parts.h"

#define CHUNK_PLANES 8u

/* A file that goes in. */
struct packed_file {
    const char *name;
    struct model *model; /* of this file alone */
    uint64_t nbytes;
    uint32_t first_run, nruns;
    uint8_t sha256[32];
};

/* A run is a step of the plan: its sources are the bytes, then those of the run that may be the
 * same, then those of the base; the latter two where there are some. */
struct packed_run {
    uint32_t file;
    uint32_t same; /* an earlier run of as many bytes that begins like it; or itself */
    const struct tensor *tensor; /* NULL: bytes between tensors */
    const struct tensor *base;   /* NULL: none */
    uint64_t first;
    uint32_t first_chunk;
    uint64_t stored; /* bytes of its frames so far */
};

/* What a chunk has become: what is kept of a tile, and what a run that goes on must know of it. */
struct pack_entry {
    uint32_t form; /* enum chunk_form */
    uint32_t nframes;
    uint32_t nbytes[CHUNK_PLANES]; /* of each frame */
    struct sha256 sha;             /* of the file up to here */
};

struct packing {
    struct sink sink;
    struct plan *plan;
    struct packed_file *files;
    struct packed_run *runs; /* run i is step i */
    uint32_t nfiles, nruns;
    struct model *base;
    const char *base_path; /* as it is to be recorded */
    uint8_t base_probe[32];
    int level;
    bool thorough;
    bool directory;

    /* What is taken, in order: */
    char *letters; /* of each chunk; the arena's, like frames */
    uint32_t *frames;
    uint32_t nchunks, nframes, frame_capacity;
    uint64_t end; /* of the file so far */
    struct sha256 sha;

    pthread_mutex_t lock; /* of the idle writers */
    struct packing_writer *writers;
};

struct packing_writer {
    struct packing_writer *next;
    struct frame_writer *frames;
};

/* The sink's functions. */
void packing_fill_sink(struct packing *k);
/* Frees what the arena does not have. */
void packing_end(struct packing *k);

/* Directory and table, to be written from k->end on; malloc'ed. */
enum quern_status packing_tail(const struct packing *k, uint8_t **tail, size_t *nbytes,
                               struct quern_error *err);

#endif
