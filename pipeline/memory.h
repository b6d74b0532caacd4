/* memory.h - how a run shares out the memory it may take, decided before it starts. */
#ifndef QUERN_MEMORY_H
#define QUERN_MEMORY_H

#include "pipeline/plan.h"

struct shares {
    uint32_t nworkers, max_jobs;
    uint64_t tile_budget; /* scratch bytes per worker */
    size_t max_counts;    /* of any pass */
    unsigned nwindows;    /* per worker */
};

/* Short memory takes first the spare jobs, then the tile size, then workers. EMEMORY "mem-limit"
 * names the least that works. */
enum quern_status fit_memory(const struct plan *p, uint32_t wanted, uint64_t limit,
                             struct shares *out, struct quern_error *err);

/* Elements per tile that fit a budget; at least one chunk. */
uint64_t tile_elems(const struct step *s, uint64_t budget);

#endif
