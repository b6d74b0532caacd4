/* run.c - run any plan: hand out tiles to workers, in bounded memory. */
#include <fenv.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "agenda.h"
#include "core/cores.h"
#include "core/seconds.h"
#include "differences.h"
#include "memory.h"
#include "passes.h"
#include "provenance.h"
#include "publish.h"
#include "sequence.h"
#include "tile.h"

#define DEFAULT_MEM      (UINT64_C(256) << 20)
#define MAX_WORKERS      1024u
#define PROGRESS_SECONDS 0.1

/* A step under way. */
struct job {
    uint32_t item; /* of the agenda */
    unsigned pass;
    uint64_t next_tile, done_tiles, ntiles;
    uint64_t tile_elems;
    void *state;
    uint64_t *counts; /* total of all workers, of this pass */
    size_t ncounts;
    uint8_t *records;
    size_t record_bytes;
    struct error_sums *errors;      /* per chunk, in the applying pass of a run with stats */
    struct difference *differences; /* likewise, of a plan that compares */
    uint64_t nchunks;
    bool combining;
};

/* Where an error happened; the lowest place wins, whatever the timing. */
struct place {
    uint32_t item;
    unsigned pass;
    uint64_t tile;
};

struct run {
    struct plan *plan;
    const struct quern_run_options *options;
    struct publication pub;
    struct agenda agenda;
    struct shares shares;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    struct sequence sequence;
    struct scratch *workers; /* nworkers */
    struct job *jobs;        /* max_jobs, item == UINT32_MAX when free */
    uint32_t next_item, njobs;
    struct place error_at; /* UINT32_MAX: none */
    struct quern_error error;
    enum quern_status status;
    bool cancelled;
    uint64_t moved, total, to_write;
    uint32_t current_item;
};

/* ---- jobs (called with the lock held) ---------------------------------------------------------
 */

static bool before(struct place a, struct place b)
{
    if (a.item != b.item)
        return a.item < b.item;
    return a.pass != b.pass ? a.pass < b.pass : a.tile < b.tile;
}

static void record_error(struct run *r, struct place at, const struct quern_error *e,
                         enum quern_status status)
{
    if (r->status != QUERN_OK && !before(at, r->error_at))
        return;
    r->error_at = at;
    r->error = *e;
    r->status = status;
}

static void job_free(struct job *j)
{
    free(j->state);
    free(j->counts);
    free(j->records);
    free(j->errors);
    free(j->differences);
    *j = (struct job){.item = UINT32_MAX};
}

/* Steps go on after measuring. */
static bool goes_on(const struct plan *p)
{
    return p->nfiles > 0 || p->compares;
}

static const struct step *step_of(const struct run *r, const struct job *j)
{
    return r->agenda.items[j->item].step;
}

static bool is_hidden(const struct run *r, const struct job *j)
{
    return r->agenda.items[j->item].hidden != NULL;
}

/* Memory for the pass the job is about to make. */
static enum quern_status job_pass(struct run *r, struct job *j, struct quern_error *err)
{
    const struct step *s = step_of(r, j);
    free(j->counts);
    free(j->records);
    j->counts = NULL;
    j->records = NULL;
    j->ncounts = j->record_bytes = 0;
    j->next_tile = j->done_tiles = 0;
    j->nchunks = chunks_of(s, j->pass);
    j->ntiles =
        is_sample(s, j->pass)
            ? sample_tiles(s)
            : (pass_end(s, j->pass) - pass_first(s, j->pass) + j->tile_elems - 1) / j->tile_elems;
    if (j->pass == s->npasses) {
        if (s->stats && !(j->errors = calloc(j->nchunks + 1, sizeof *j->errors)))
            return fail_memory(err, j->nchunks * sizeof *j->errors);
        if (s->against && !(j->differences = calloc(j->nchunks + 1, sizeof *j->differences)))
            return fail_memory(err, j->nchunks * sizeof *j->differences);
        return QUERN_OK;
    }
    const struct measure_need n = need_of(s, j->pass);
    j->ncounts = n.ncounts;
    j->record_bytes = n.record_bytes;
    j->counts = calloc(n.ncounts ? n.ncounts : 1, sizeof(uint64_t));
    j->records = n.record_bytes ? calloc(j->nchunks, n.record_bytes) : NULL;
    if (!j->counts || (n.record_bytes && j->nchunks && !j->records))
        return fail_memory(err, n.ncounts * sizeof(uint64_t) + n.record_bytes * j->nchunks);
    return QUERN_OK;
}

static enum quern_status job_start(struct run *r, struct job *j, uint32_t item,
                                   struct quern_error *err)
{
    const struct step *s = r->agenda.items[item].step;
    const size_t state_bytes = s->op->state_bytes ? s->op->state_bytes(s) : 0;
    *j = (struct job){.item = item};
    j->tile_elems =
        r->plan->sink ? r->plan->sink->tile_bytes : tile_elems(s, r->shares.tile_budget);
    j->state = state_bytes ? calloc(1, state_bytes) : NULL;
    if (state_bytes && !j->state)
        return fail_memory(err, state_bytes);
    if (s->known && state_bytes)
        memcpy(j->state, s->known, state_bytes);
    /* Nothing to apply to: an empty tensor has no tiles and skips its passes. */
    j->pass = pass_elems(s, 0) && !s->known ? 0 : s->npasses;
    TRY(job_pass(r, j, err));
    if (j->pass == s->npasses && (is_hidden(r, j) || !goes_on(r->plan)))
        j->ntiles = 0;
    return QUERN_OK;
}

static bool worth_doing(const struct run *r, struct place at)
{
    return r->status == QUERN_OK || before(at, r->error_at);
}

/* No error in this step or below: what it has gathered may be used. */
static bool sound_so_far(const struct run *r, const struct job *j)
{
    return r->status == QUERN_OK || r->error_at.item > j->item;
}

/* One tile at a time, and none before what comes before the first is done. */
static bool must_wait(const struct run *r, const struct job *j)
{
    return step_of(r, j)->op->in_order &&
           (j->next_tile > j->done_tiles || !agenda_ready(&r->agenda, j->item));
}

/* The next tile of the lowest step that has one. */
static struct job *take_tile(struct run *r, uint64_t *tile)
{
    struct job *best = NULL;
    for (uint32_t i = 0; i < r->shares.max_jobs && !sequence_full(&r->sequence); i++) {
        struct job *j = &r->jobs[i];
        if (j->item == UINT32_MAX || j->combining || j->next_tile >= j->ntiles ||
            !worth_doing(r, (struct place){j->item, j->pass, j->next_tile}) || must_wait(r, j))
            continue;
        if (!best || j->item < best->item)
            best = j;
    }
    if (best)
        *tile = best->next_tile++;
    return best;
}

/* The job has done all it could. */
static void job_end(struct run *r, struct job *j)
{
    const struct step *s = step_of(r, j);
    void *state = NULL;
    if (s->keep && j->state)
        memcpy(s->keep, j->state, s->op->state_bytes(s));
    if (is_hidden(r, j)) {
        state = j->state;
        j->state = NULL;
    }
    agenda_done(&r->agenda, j->item, state);
    job_free(j);
    r->njobs--;
}

static struct job *open_job(struct run *r)
{
    if (!r->agenda.items[r->next_item].step->op->in_order &&
        !agenda_ready(&r->agenda, r->next_item))
        return NULL;
    for (uint32_t i = 0; i < r->shares.max_jobs; i++) {
        struct job *j = &r->jobs[i];
        if (j->item != UINT32_MAX)
            continue;
        struct quern_error err;
        const uint32_t item = r->next_item++;
        const enum quern_status s = job_start(r, j, item, &err);
        r->njobs++;
        if (s == QUERN_OK && j->ntiles > 0)
            return j;
        if (s != QUERN_OK)
            record_error(r, (struct place){item, 0, 0}, &err, s);
        job_end(r, j);
        return j;
    }
    return NULL;
}

/* A worker counts on from tile to tile of one pass, for adding up large tables after every tile
 * would take longer than counting. Its counts join the total when it turns to another pass ... */
static void hand_in_counts(struct scratch *w)
{
    struct job *j = w->counting;
    if (!j)
        return;
    for (size_t i = 0; i < j->ncounts; i++)
        j->counts[i] += w->counts[i];
    memset(w->counts, 0, j->ncounts * sizeof(uint64_t));
    w->counting = NULL;
}

/* ... or when the pass is over. No worker is in one of its tiles then. */
static void collect_counts(struct run *r, const struct job *j)
{
    for (uint32_t i = 0; i < r->shares.nworkers; i++)
        if (r->workers[i].counting == j)
            hand_in_counts(&r->workers[i]);
}

/* All tiles of the pass are in: combine (without the lock) and go to the next pass or finish. */
static void end_pass(struct run *r, struct job *j)
{
    const struct step *s = step_of(r, j);
    if (j->pass < s->npasses) {
        struct quern_error err;
        enum quern_status status = QUERN_OK;
        j->combining = true;
        collect_counts(r, j);
        pthread_mutex_unlock(&r->lock);
        if (s->op->combine)
            status = s->op->combine(s, j->pass, j->state, j->counts, j->records, j->nchunks, &err);
        pthread_mutex_lock(&r->lock);
        j->combining = false;
        const unsigned next = status == QUERN_OK && s->op->next_pass
                                  ? s->op->next_pass(s, j->pass, j->state)
                                  : j->pass + 1u;
        const bool last = (!goes_on(r->plan) || is_hidden(r, j)) && next == s->npasses;
        if (status == QUERN_OK && next == s->npasses && !is_hidden(r, j))
            journal_report(r->pub.journal, r->agenda.items[j->item].index);
        if (status == QUERN_OK && !last) {
            r->total -= source_bytes(s) * (next - j->pass - 1u);
            j->pass = next;
            status = job_pass(r, j, &err);
        }
        if (status == QUERN_OK && !last) {
            pthread_cond_broadcast(&r->changed);
            return;
        }
        if (status != QUERN_OK) {
            in_tensor(&err, s->name, status);
            record_error(r, (struct place){j->item, j->pass, UINT64_MAX}, &err, status);
        }
    } else if (j->errors) {
        fold_errors(j->errors, j->nchunks, &r->plan->errors[r->agenda.items[j->item].index]);
    } else if (j->differences) {
        differences_fold(j->differences, j->nchunks,
                         &r->plan->differences[r->agenda.items[j->item].index]);
    }
    job_end(r, j);
    pthread_cond_broadcast(&r->changed);
}

/* ---- workers -----------------------------------------------------------------------------------
 */

/* Place and size of a tile: of a sample, the first piece of a chunk. */
static void place_tile(const struct job *j, const struct step *s, uint64_t tile, struct tile *t)
{
    const bool sample = is_sample(s, j->pass);
    t->first = sample ? tile * j->nchunks / j->ntiles * CHUNK
                      : pass_first(s, j->pass) + tile * j->tile_elems;
    const uint64_t left = pass_end(s, j->pass) - t->first, most = sample ? PIECE : j->tile_elems;
    t->n = left < most ? left : most;
}

/* A tile of the job is done, or has failed. */
static void count_tile(struct run *r, struct job *j)
{
    if (++j->done_tiles == j->ntiles && sound_so_far(r, j))
        end_pass(r, j);
    else if (r->status != QUERN_OK || step_of(r, j)->op->in_order)
        pthread_cond_broadcast(&r->changed);
}

static enum quern_status take_one(struct run *r, struct sequence_slot *q, struct quern_error *err)
{
    const struct sink_tile *t = &q->tile;
    const uint32_t index = r->agenda.items[q->item].index;
    TRY(r->plan->sink->take(r->plan->sink, &q->tile, err));
    if (r->plan->sink->entry_bytes)
        return journal_append(r->pub.journal, index, t->kept, err);
    return t->written ? QUERN_OK : journal_done(r->pub.journal, index, t->first, t->n, err);
}

/* Whoever finds tiles whose turn it is takes them, one after the other. */
static void take_ready(struct run *r)
{
    struct sequence_slot *q;
    while (r->status == QUERN_OK && (q = sequence_begin(&r->sequence))) {
        struct quern_error err;
        q->tile.moved = 0;
        pthread_mutex_unlock(&r->lock);
        const enum quern_status status = take_one(r, q, &err);
        pthread_mutex_lock(&r->lock);
        r->moved += q->tile.moved;
        if (status != QUERN_OK)
            record_error(r, (struct place){q->item, 0, q->number}, &err, status);
        sequence_end(&r->sequence);
        pthread_cond_broadcast(&r->changed);
    }
}

/* The same for a plan with a sink. */
static void run_sink_tile(struct run *r, struct job *j, uint64_t tile, struct scratch *w)
{
    struct tile place;
    struct quern_error err;
    const uint32_t item = j->item;
    place_tile(j, step_of(r, j), tile, &place);
    const bool written =
        journal_skips(r->pub.journal, r->agenda.items[item].index, place.first, place.n);
    if (written && r->plan->sink->entry_bytes) {
        count_tile(r, j);
        return;
    }
    struct sequence_slot *q = sequence_next(&r->sequence);
    q->item = item;
    q->number = tile;
    q->tile.step = step_of(r, j);
    q->tile.first = place.first;
    q->tile.n = place.n;
    q->tile.written = written;
    q->tile.parts = &r->pub.parts;
    q->tile.scratch = w->block;
    r->current_item = item;
    pthread_mutex_unlock(&r->lock);
    const enum quern_status status = r->plan->sink->make(r->plan->sink, &q->tile, &err);
    pthread_mutex_lock(&r->lock);
    r->moved += q->tile.moved;
    q->ready = status == QUERN_OK;
    if (status != QUERN_OK)
        record_error(r, (struct place){item, 0, tile}, &err, status);
    count_tile(r, j);
    take_ready(r);
}

static void run_tile(struct run *r, struct job *j, uint64_t tile, struct scratch *w)
{
    const struct step *s = step_of(r, j);
    struct tile t = {.step = s,
                     .pass = j->pass,
                     .state = j->state,
                     .records = j->records,
                     .record_bytes = j->record_bytes,
                     .parts = r->pub.parts.outs ? &r->pub.parts : NULL,
                     .errors = j->errors,
                     .differences = j->differences,
                     .imatrix = r->plan->imatrix,
                     .nonfinite = r->plan->nonfinite};
    place_tile(j, s, tile, &t);
    const struct place at = {j->item, j->pass, tile};
    const uint32_t index = r->agenda.items[j->item].index;
    const bool applies = r->pub.journal && j->pass == s->npasses && !is_hidden(r, j);
    struct quern_error err;
    uint64_t moved = 0;
    r->current_item = j->item;
    if (j->ncounts && w->counting != j) {
        hand_in_counts(w);
        w->counting = j;
    }
    pthread_mutex_unlock(&r->lock);

    t.written = applies && journal_skips(r->pub.journal, index, t.first, t.n);
    enum quern_status status = QUERN_OK;
    if (!t.written || t.errors)
        status = tile_run(&t, w, &moved, &err);
    if (status == QUERN_OK && applies && !t.written)
        status = journal_done(r->pub.journal, index, t.first, t.n, &err);

    pthread_mutex_lock(&r->lock);
    r->moved += moved;
    if (status != QUERN_OK)
        record_error(r, at, &err, status);
    count_tile(r, j);
}

static void report_progress(struct run *r, double *last)
{
    if (!r->options->progress || seconds_now() - *last < PROGRESS_SECONDS)
        return;
    *last = seconds_now();
    const struct quoted name = quoted(r->agenda.items[r->current_item].step->name);
    /* Rows that an op looks at once more are not in the total. */
    const struct quern_progress progress = {.done_bytes = r->moved,
                                            .total_bytes =
                                                r->moved > r->total ? r->moved : r->total,
                                            .tensor = name.text};
    pthread_mutex_unlock(&r->lock);
    r->options->progress(&progress, r->options->user);
    pthread_mutex_lock(&r->lock);
}

/* Waits for another worker's tile; wakes now and then to look at the cancel flag. */
static void wait_for_change(struct run *r)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 50 * 1000 * 1000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&r->changed, &r->lock, &until);
}

static bool jobs_under_way(const struct run *r)
{
    for (uint32_t i = 0; i < r->shares.max_jobs; i++) {
        const struct job *j = &r->jobs[i];
        if (j->item != UINT32_MAX && (j->combining || j->done_tiles < j->next_tile))
            return true;
    }
    return r->sequence.taking;
}

static void work(struct run *r, struct scratch *w, bool reports)
{
    double last = seconds_now();
    pthread_mutex_lock(&r->lock);
    for (;;) {
        uint64_t tile;
        if (asked_to_stop(r->options->cancel))
            r->cancelled = true;
        if (r->cancelled)
            break;
        struct job *j = take_tile(r, &tile);
        if (j && r->sequence.slots)
            run_sink_tile(r, j, tile, w);
        else if (j)
            run_tile(r, j, tile, w);
        else if (r->status == QUERN_OK && r->next_item < r->agenda.count && open_job(r))
            pthread_cond_broadcast(&r->changed);
        else if (jobs_under_way(r))
            wait_for_change(r);
        else
            break;
        if (reports)
            report_progress(r, &last);
    }
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static bool scratch_open(struct scratch *w, const struct shares *shares)
{
    const uint64_t nbytes = shares->tile_budget;
    const size_t ncounts = shares->max_counts;
    const uint64_t page = UINT64_C(2) << 20;
    /* All zero so far. Other workers look at w->counting, so it is not written again. */
    w->nbytes = (nbytes + 4095) & ~UINT64_C(4095);
    if (w->nbytes == 0)
        w->nbytes = 4096;
    w->block = mmap(NULL, w->nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (w->block == MAP_FAILED)
        w->block = NULL;
    else if (w->nbytes >= page)
        madvise(w->block, w->nbytes, MADV_HUGEPAGE);
    w->counts = calloc(ncounts ? ncounts : 1, sizeof(uint64_t));
    windows_open(&w->windows, shares->nwindows);
    return w->block && w->counts;
}

static void scratch_close(struct scratch *w)
{
    if (w->block)
        munmap(w->block, w->nbytes);
    free(w->counts);
    windows_close(&w->windows);
}

struct worker {
    struct run *run;
    struct scratch *scratch;
    pthread_t thread;
    bool reports; /* progress; the thread that asked for the run */
};

static void *run_worker(void *worker)
{
    const struct worker *w = worker;
    struct run *r = w->run;
    /* A host program may have set flush-to-zero: compute with the IEEE default. */
    fenv_t host;
    feholdexcept(&host);
    fesetenv(FE_DFL_ENV);
    if (scratch_open(w->scratch, &r->shares)) {
        work(r, w->scratch, w->reports);
    } else {
        struct quern_error err;
        pthread_mutex_lock(&r->lock);
        record_error(r, (struct place){0, 0, 0}, &err, fail_memory(&err, r->shares.tile_budget));
        pthread_mutex_unlock(&r->lock);
    }
    fesetenv(&host);
    return NULL;
}

/* A system that will not give as many threads gets the work done with fewer. */
static enum quern_status run_workers(struct run *r, struct quern_error *err)
{
    struct worker *workers = calloc(r->shares.nworkers, sizeof *workers);
    if (!workers)
        return fail_memory(err, r->shares.nworkers * sizeof *workers);
    uint32_t n = 0;
    for (; n < r->shares.nworkers; n++) {
        workers[n] = (struct worker){.run = r, .scratch = &r->workers[n], .reports = n == 0};
        if (n > 0 && pthread_create(&workers[n].thread, NULL, run_worker, &workers[n]) != 0)
            break;
    }
    run_worker(&workers[0]);
    for (uint32_t i = 1; i < n; i++)
        pthread_join(workers[i].thread, NULL);
    free(workers);
    return QUERN_OK;
}

/* ---- the run -----------------------------------------------------------------------------------
 */

/* What there is to read and write. */
static void count_work(struct run *r)
{
    for (uint32_t i = 0; i < r->agenda.count; i++) {
        const struct step *s = r->agenda.items[i].step;
        const bool makes = goes_on(r->plan) && !r->agenda.items[i].hidden;
        r->total += s->known ? 0 : source_bytes(s) * s->npasses;
        r->total += makes && !s->measured ? applied_bytes(s) : 0;
        r->total += s->against ? s->nbytes : 0;
        r->total -= step_samples(s) && !s->known ? left_out_bytes(s) : 0;
        r->to_write += r->plan->nfiles && makes ? written_bytes(s) : 0;
    }
    r->total += r->to_write;
}

static enum quern_status run_steps(struct run *r, struct quern_error *err)
{
    r->jobs = calloc(r->shares.max_jobs, sizeof *r->jobs);
    r->workers = calloc(r->shares.nworkers, sizeof *r->workers);
    if (!r->jobs || !r->workers) {
        free(r->jobs);
        free(r->workers);
        return fail_memory(err, r->shares.max_jobs * sizeof *r->jobs);
    }
    for (uint32_t i = 0; i < r->shares.max_jobs; i++)
        r->jobs[i].item = UINT32_MAX;
    for (uint32_t i = 0; i < r->plan->nmodels; i++)
        model_set_workers(r->plan->models[i], r->shares.nworkers);
    enum quern_status started = sequence_open(&r->sequence, r->plan->sink, r->shares.nworkers, err);
    if (started == QUERN_OK)
        started = run_workers(r, err);
    sequence_close(&r->sequence);
    for (uint32_t i = 0; i < r->shares.max_jobs; i++)
        job_free(&r->jobs[i]);
    for (uint32_t i = 0; i < r->shares.nworkers; i++)
        scratch_close(&r->workers[i]);
    free(r->workers);
    free(r->jobs);
    TRY(started);
    if (r->cancelled)
        return fail(err, QUERN_ECANCELLED, "cancelled", "stopped on request");
    if (r->status == QUERN_OK && (r->next_item < r->agenda.count || r->njobs > 0))
        return fail(err, QUERN_EINTERNAL, "internal", "the run ended before its last step");
    if (r->status != QUERN_OK && err)
        *err = r->error;
    if (r->status != QUERN_OK)
        nonfinite_explain(r->plan, r->agenda.items[r->error_at.item].step, r->options->cancel, err);
    return r->status;
}

/* A plan that compares has its errors already. */
static enum quern_status prepare_stats(struct plan *p, bool stats, struct quern_error *err)
{
    if (p->nfiles == 0)
        return QUERN_OK;
    p->errors = NULL;
    for (uint32_t i = 0; i < p->nsteps; i++)
        p->steps[i].stats = stats && !p->steps[i].measured && !p->steps[i].cut_bytes;
    if (stats && !(p->errors = ARENA_NEW(&p->arena, struct error_sums, p->nsteps + 1)))
        return fail_memory(err, p->nsteps * sizeof *p->errors);
    return QUERN_OK;
}

static enum quern_status run_published(struct run *r, struct quern_error *err)
{
    if (r->plan->nfiles)
        TRY(publish_begin(r->plan, r->options, &r->pub, err));
    if (r->pub.naming) /* nothing is left to measure */
        TRY(prepare_stats(r->plan, false, err));
    if (!r->pub.complete || r->plan->hashes) {
        TRY(agenda_open(r->plan, r->pub.journal, r->pub.complete, &r->agenda, err));
        count_work(r);
        TRY(run_steps(r, err));
    }
    if (r->plan->nonfinite == NONFINITE_ZERO) /* of an earlier run nothing is known */
        TRY(nonfinite_survey(r->plan, r->options->resume, r->options->cancel, err));
    for (uint32_t i = 0; i < r->plan->nmodels; i++)
        TRY(model_unchanged(r->plan->models[i], err));
    TRY(provenance_fill(r->plan, err));
    return r->plan->nfiles ? publish_commit(r->plan, r->options, &r->pub, &r->moved, err)
                           : QUERN_OK;
}

/* Of all tensors with a block type. */
static double relative_error(const struct plan *p)
{
    struct error_sums sums = {0};
    struct error_figures figures;
    for (uint32_t i = 0; p->errors && i < p->nsteps; i++)
        if (dtype_is_quantized(p->steps[i].dtype))
            error_sums_join(&sums, &p->errors[i]);
    error_figures(&sums, &figures);
    return sums.sum[SUM_AA] > 0.0 ? figures.relative : -1.0;
}

static void fill_result(const struct run *r, double start, struct quern_result *result)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    *result = (struct quern_result){.seconds = seconds_now() - start,
                                    .peak_rss_bytes = (uint64_t)u.ru_maxrss * 1024,
                                    .threads = r->shares.nworkers,
                                    .relative_error = relative_error(r->plan)};
    for (uint32_t i = 0; i < r->plan->nfiles; i++)
        result->written_bytes += r->plan->files[i].nbytes;
    result->read_bytes = r->total - r->to_write;
}

/* May a run that ended so be gone on with? What was read from a changed input is of no use. */
static bool worth_keeping(const struct run *r, enum quern_status s, const struct quern_error *err)
{
    const bool outside = s == QUERN_ECANCELLED || s == QUERN_EMEMORY || s == QUERN_EEXIST ||
                         (s == QUERN_EIO && strcmp(err->kind, "changed") != 0);
    return r->options->keep_unfinished && outside;
}

static void prepare_models(const struct plan *p, bool zero)
{
    for (uint32_t i = 0; i < p->nmodels; i++) {
        p->models[i]->zero_nonfinite = zero;
        if (zero)
            p->models[i]->saw_nonfinite = false;
    }
}

static enum quern_status run_and_publish(struct run *r, struct quern_result *result,
                                         struct quern_error *err)
{
    struct quern_error e;
    prepare_models(r->plan, r->plan->nonfinite == NONFINITE_ZERO);
    const enum quern_status s = run_published(r, &e);
    prepare_models(r->plan, false);
    agenda_close(&r->agenda);
    const bool stays =
        publish_end(r->plan, r->options, &r->pub, s != QUERN_OK && worth_keeping(r, s, &e));
    if (result)
        result->resumable = stays;
    if (s != QUERN_OK && err)
        *err = e;
    return s;
}

enum quern_status plan_run(struct plan *p, const struct quern_run_options *options,
                           struct quern_result *result, struct quern_error *err)
{
    static const struct quern_run_options defaults;
    const double start = seconds_now();
    struct run r = {.plan = p, .options = options ? options : &defaults};
    if (result)
        *result = (struct quern_result){0};
    uint32_t wanted = r.options->threads ? r.options->threads : usable_cores();
    if (wanted > MAX_WORKERS)
        wanted = MAX_WORKERS;
    if (p->refusal) {
        if (err)
            *err = *p->refusal;
        return p->refusal->status;
    }
    TRY(prepare_stats(p, r.options->stats, err));
    const uint64_t limit = r.options->mem_bytes ? r.options->mem_bytes : DEFAULT_MEM;
    TRY(fit_memory(p, wanted, limit, &r.shares, err));
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.changed, NULL);
    const enum quern_status s = run_and_publish(&r, result, err);
    pthread_cond_destroy(&r.changed);
    pthread_mutex_destroy(&r.lock);
    if (s == QUERN_OK && result)
        fill_result(&r, start, result);
    return s;
}
