/* memory.c - decide before a run starts how much memory it takes. */
#include "memory.h"

#include <assert.h>
#include <inttypes.h>

#include "agenda.h"
#include "hashing.h"
#include "journal.h"
#include "passes.h"
#include "sequence.h"

/* Enough for large reads and writes; more only pushes the data out of the caches. */
#define WORKER_BYTES (UINT64_C(1) << 20)
#define RECORD_BYTES 256u /* of a job, beside what it gathers */

/* Beside the tiles: what one job of this step keeps. */
static uint64_t job_bytes(const struct step *s, size_t *max_counts)
{
    uint64_t most = s->stats     ? sizeof(struct error_sums) * chunks_of(s, s->npasses)
                    : s->against ? sizeof(struct difference) * chunks_of(s, s->npasses)
                                 : 0;
    for (unsigned pass = 0; pass < s->npasses; pass++) {
        const struct measure_need n = need_of(s, pass);
        const uint64_t bytes = n.ncounts * sizeof(uint64_t) + n.record_bytes * chunks_of(s, pass);
        if (bytes > most)
            most = bytes;
        if (n.ncounts > *max_counts)
            *max_counts = n.ncounts;
    }
    return most + (s->op->state_bytes ? s->op->state_bytes(s) : 0);
}

uint64_t tile_elems(const struct step *s, uint64_t budget)
{
    const uint64_t all = most_elems(s) ? most_elems(s) : 1;
    if (all <= CHUNK || tile_bytes(s, all) <= budget)
        return (all + CHUNK - 1) / CHUNK * CHUNK;
    const uint64_t base = tile_bytes(s, CHUNK);
    const uint64_t per_chunk = tile_bytes(s, 2 * (uint64_t)CHUNK) - base;
    const uint64_t extra = budget > base ? (budget - base) / per_chunk : 0;
    return (1 + extra) * CHUNK;
}

/* The tile that speed can use. What sources keep that are made while they are read comes on top:
 * they fill it anew for every tile, so tiles must not get smaller for it. */
static uint64_t best_tile_elems(const struct step *s)
{
    uint64_t kept = 0;
    for (unsigned k = 0; k < s->nsources; k++)
        if (s->sources[k].kind)
            kept += source_scratch_bytes(&s->sources[k], s->wide);
    const uint64_t elems = tile_elems(s, WORKER_BYTES + kept);
    return most_elems(s) < elems ? most_elems(s) : elems;
}

struct memory {
    uint64_t metadata;   /* models and plan */
    uint64_t least_tile; /* scratch of a worker at one chunk per tile */
    uint64_t most_tile;  /* ... that speed can use */
    uint64_t job;        /* the largest job */
    size_t max_counts;
    uint64_t reader; /* of a worker: for reading from archives, for tiles that wait */
};

static void survey_step(const struct step *s, struct memory *m)
{
    const uint64_t all = most_elems(s) < CHUNK ? most_elems(s) : CHUNK;
    const uint64_t least = tile_bytes(s, all);
    const uint64_t most = tile_bytes(s, best_tile_elems(s));
    const uint64_t job = job_bytes(s, &m->max_counts);
    m->least_tile = least > m->least_tile ? least : m->least_tile;
    m->most_tile = most > m->most_tile ? most : m->most_tile;
    m->job = job > m->job ? job : m->job;
}

static void survey_hash(struct hash_step *h, void *memory)
{
    survey_step(&h->work.step, memory);
}

static void survey(const struct plan *p, struct memory *m)
{
    const struct sink *sink = p->sink;
    *m = (struct memory){.metadata = p->arena.nbytes + p->held_bytes + agenda_state_bytes(p) +
                                     journal_bytes(p)};
    for (uint32_t i = 0; i < p->nmodels; i++) {
        m->metadata += model_bytes(p->models[i]);
        m->reader += model_worker_bytes(p->models[i]);
    }
    if (p->imatrix) /* its model is one of those */
        m->metadata += p->imatrix->arena.nbytes;
    if (sink) {
        m->metadata += SEQUENCE_SPARE * sink->kept_bytes;
        m->reader += SEQUENCE_SHARE * sink->kept_bytes + sink->worker_bytes;
        m->least_tile = m->most_tile = sink->scratch_bytes;
        return;
    }
    for (uint32_t i = 0; i < p->nsteps; i++)
        survey_step(&p->steps[i], m);
    for (uint32_t i = 0; i < p->nhidden; i++)
        survey_step(&p->hidden[i]->step, m);
    hashes_all(p->hashes, survey_hash, m);
    if (m->most_tile < m->least_tile)
        m->most_tile = m->least_tile;
}

static uint64_t worker_fixed(const struct memory *m)
{
    return m->max_counts * sizeof(uint64_t) + RECORD_BYTES + m->reader;
}

uint64_t plan_min_mem(const struct plan *p)
{
    struct memory m;
    survey(p, &m);
    return m.metadata + m.job + worker_fixed(&m) + m.least_tile;
}

enum quern_status fit_memory(const struct plan *p, uint32_t wanted, uint64_t limit,
                             struct shares *r, struct quern_error *err)
{
    struct memory m;
    survey(p, &m);
    r->max_counts = m.max_counts;
    const uint64_t least = m.metadata + m.job + worker_fixed(&m) + m.least_tile;
    if (least > limit)
        return fail(err, QUERN_EMEMORY, "mem-limit",
                    "a limit of %" PRIu64 " bytes" WANT "this run needs at least %" PRIu64
                    " (%" PRIu64 " of them for metadata); raise --mem",
                    limit, least, m.metadata);
    const uint64_t room = limit - m.metadata;
    /* While a step waits for its statistics, workers go on with the next ones. */
    r->max_jobs = wanted + 1;
    while (r->max_jobs > 1 &&
           r->max_jobs * m.job + wanted * (worker_fixed(&m) + m.most_tile) > room)
        r->max_jobs--;
    const uint64_t after_jobs = room - r->max_jobs * m.job;
    r->nworkers = wanted;
    while (r->nworkers > 1 && r->nworkers * (worker_fixed(&m) + m.least_tile) > after_jobs)
        r->nworkers--;
    assert(r->nworkers > 0);
    const uint64_t share = after_jobs / r->nworkers - worker_fixed(&m);
    r->tile_budget = share < m.most_tile ? share : m.most_tile;
    const uint64_t spare = (share - r->tile_budget) / WINDOW_BYTES;
    r->nwindows = MOST_WINDOWS / r->nworkers;
    r->nwindows = spare < r->nwindows ? (unsigned)spare : r->nwindows;
    return QUERN_OK;
}
