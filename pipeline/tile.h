/* tile.h - the work on one tile: read, decode, measure or apply, encode, write. */
#ifndef QUERN_TILE_H
#define QUERN_TILE_H

#include "nonfinite.h"
#include "parts.h"
#include "plan.h"

/* A worker's memory, cut anew for every tile; sized for the largest step. */
struct scratch {
    uint8_t *block;
    size_t nbytes;
    uint64_t *counts;     /* room for the largest pass */
    struct job *counting; /* whose counts they are, or NULL: all zero (run.c) */
    struct windows windows;
};

struct tile {
    const struct step *step;
    unsigned pass;  /* step->npasses: the applying pass */
    uint64_t first; /* flat index, a multiple of CHUNK */
    uint64_t n;
    void *state;
    uint8_t *records; /* of the whole step; record_bytes per chunk */
    size_t record_bytes;
    struct parts *parts;            /* NULL: nothing is written */
    bool written;                   /* its bytes lie in the output already: only look at them */
    struct error_sums *errors;      /* of the whole step, per chunk; NULL: not asked for */
    struct difference *differences; /* likewise; NULL: nothing is compared */
    const struct imatrix *imatrix;  /* of the plan, or NULL */
    enum nonfinite nonfinite;       /* of the plan */
};

/* The first pass is a sample. */
bool step_samples(const struct step *s);

/* The sources have the output's type and the op takes bytes as they are. */
bool step_is_raw(const struct step *s);

/* Scratch that a tile of n elements of this step needs. */
size_t tile_bytes(const struct step *s, uint64_t n);

/* Adds the bytes read and written to *moved. */
enum quern_status tile_run(const struct tile *t, struct scratch *w, uint64_t *moved,
                           struct quern_error *err);

#endif
