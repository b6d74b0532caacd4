/* journal.c - keep the record of finished work: what to sync, when, and what to skip later. */
#include "journal.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/seconds.h"
#include "identity.h"
#include "journal_file.h"
#include "passes.h"

#define STACK_BYTES (512u << 10)
/* Syncing takes at most one part in so many of the time. */
#define SYNC_SHARE 10

enum report_state { REPORT_NONE, REPORT_NEW, REPORT_RECORDED };

struct journal {
    const struct plan *plan;
    struct journal_file file;
    struct parts *parts;
    uint64_t *base; /* per step its first chunk; then their number */
    uint64_t nwords;
    uint64_t *done;             /* a bit per chunk: written by an earlier run */
    uint64_t *batch;            /* of the thread: what it is about to record */
    bool *syncing;              /* ... and the files it lies in */
    enum journal_place *places; /* per file */
    uint32_t entry_step;        /* of the next entry that is read: its step ... */
    bool resumed, running;
    double seconds, last_sync;
    uint8_t *entry_batch; /* likewise of the thread: entries that it is about to record */
    size_t batch_entries, batch_capacity;
    uint64_t recorded_entries;
    uint64_t entry_first; /* ... and where in it */
    pthread_t thread;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake;
    bool stop;
    uint64_t *fresh;    /* a bit per chunk: finished since the last sync */
    uint64_t low, high; /* words of fresh that have some */
    bool *dirty;
    uint8_t *reports; /* per step: enum report_state */
    bool new_reports;
    uint8_t *entries; /* of a sink, since the last sync */
    size_t nentries, entry_capacity;
    enum quern_status status; /* of syncing the output */
    struct quern_error error;
    bool given_up; /* the journal itself cannot be written: */
    struct quern_error trouble;
};

/* ---- chunks --------------------------------------------------------------------------------- */

/* Those that are made: a cut step counts from the first of them. */
static uint64_t made_chunks(const struct step *s)
{
    const uint64_t n = made_end(s) - made_first(s);
    return n / CHUNK + (n % CHUNK != 0);
}

static uint64_t all_chunks(const struct plan *p)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < p->nsteps; i++)
        n += made_chunks(&p->steps[i]);
    return n;
}

static uint64_t chunk_at(const struct journal *j, uint32_t step, uint64_t elem)
{
    return j->base[step] + (elem - made_first(&j->plan->steps[step])) / CHUNK;
}

static bool has_bit(const uint64_t *bits, uint64_t i)
{
    return bits[i / 64] >> (i % 64) & 1;
}

static void set_bits(uint64_t *bits, uint64_t first, uint64_t n)
{
    for (uint64_t i = first; i < first + n; i++)
        bits[i / 64] |= UINT64_C(1) << (i % 64);
}

static bool all_bits(const uint64_t *bits, uint64_t first, uint64_t n)
{
    for (uint64_t i = first; i < first + n; i++)
        if (!has_bit(bits, i))
            return false;
    return true;
}

/* ---- life ----------------------------------------------------------------------------------- */

uint64_t journal_bytes(const struct plan *p)
{
    if (p->nfiles == 0)
        return 0;
    const uint64_t nwords = all_chunks(p) / 64 + 1;
    return sizeof(struct journal) + STACK_BYTES + 3 * nwords * sizeof(uint64_t) +
           p->nsteps * (sizeof(uint64_t) + 1) + p->nfiles * (sizeof(enum journal_place) + 2);
}

static enum quern_status make_room(struct journal *j, struct quern_error *err)
{
    const struct plan *p = j->plan;
    j->nwords = all_chunks(p) / 64 + 1;
    j->base = calloc(p->nsteps + 1, sizeof *j->base);
    j->done = calloc(j->nwords, sizeof *j->done);
    j->batch = calloc(j->nwords, sizeof *j->batch);
    j->fresh = calloc(j->nwords, sizeof *j->fresh);
    j->syncing = calloc(p->nfiles, sizeof *j->syncing);
    j->dirty = calloc(p->nfiles, sizeof *j->dirty);
    j->places = calloc(p->nfiles, sizeof *j->places);
    j->reports = calloc(p->nsteps + 1, sizeof *j->reports);
    if (!j->base || !j->done || !j->batch || !j->fresh || !j->syncing || !j->dirty || !j->places ||
        !j->reports)
        return fail_memory(err, 3 * j->nwords * sizeof *j->done);
    for (uint32_t i = 0; i < p->nsteps; i++)
        j->base[i + 1] = j->base[i] + made_chunks(&p->steps[i]);
    return QUERN_OK;
}

enum quern_status journal_open(const struct plan *p, struct journal **out, struct quern_error *err)
{
    struct journal *j = calloc(1, sizeof *j);
    if (!j)
        return fail_memory(err, sizeof *j);
    pthread_condattr_t clock;
    j->plan = p;
    j->file.fd = -1;
    pthread_mutex_init(&j->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&j->wake, &clock);
    pthread_condattr_destroy(&clock);
    enum quern_status s = make_room(j, err);
    if (s == QUERN_OK)
        s = journal_file_open(&j->file, p->dir ? p->dir : p->files[0].path, err);
    if (s == QUERN_OK)
        plan_identity(p, j->file.identity);
    if (s == QUERN_OK)
        *out = j;
    else
        journal_close(j, false);
    return s;
}

void journal_close(struct journal *j, bool remove)
{
    if (!j)
        return;
    journal_file_close(&j->file, remove);
    pthread_cond_destroy(&j->wake);
    pthread_mutex_destroy(&j->lock);
    free(j->base);
    free(j->done);
    free(j->batch);
    free(j->fresh);
    free(j->syncing);
    free(j->dirty);
    free(j->places);
    free(j->reports);
    free(j->entries);
    free(j->entry_batch);
    free(j);
}

bool journal_holds_work(const struct journal *j)
{
    return j && j->file.old_bytes > 0;
}

bool journal_can_resume(const struct journal *j)
{
    const bool nothing_to_make = j->base[j->plan->nsteps] == 0;
    return (j->file.nrecords > 0 || (nothing_to_make && j->file.has_head)) && !j->given_up;
}

/* ---- what an earlier run left --------------------------------------------------------------- */

static bool is_file(const char *path, uint64_t ino)
{
    struct stat st;
    return path && lstat(path, &st) == 0 && st.st_ino == ino;
}

static enum journal_place find_place(const char *path, const char *shared, uint64_t ino)
{
    if (shared)
        return ino && output_mark(shared) == ino ? PLACE_PART : PLACE_GONE;

    char *part = output_beside(path, PART_SUFFIX);
    const enum journal_place place = is_file(part, ino)   ? PLACE_PART
                                     : is_file(path, ino) ? PLACE_FINAL
                                                          : PLACE_GONE;
    free(part);
    return place;
}

/* Shards have their names in the directory from the start. */
static enum journal_place find_inside(const struct plan *p, enum journal_place dir, uint32_t file,
                                      uint64_t ino)
{
    char *part = dir == PLACE_PART ? output_beside(p->dir, PART_SUFFIX) : strdup(p->dir);
    char *path = NULL;
    if (!part || asprintf(&path, "%s/%s", part, p->files[file].path) < 0)
        path = NULL;
    free(part);
    const bool there = is_file(path, ino);
    free(path);
    return there ? dir : PLACE_GONE;
}

static bool find_places(struct journal *j, const struct journal_head *h)
{
    const struct plan *p = j->plan;
    const enum journal_place dir = p->dir ? find_place(p->dir, NULL, h->dir_ino) : PLACE_PART;
    bool all = dir != PLACE_GONE;
    for (uint32_t i = 0; all && i < p->nfiles; i++) {
        j->places[i] = p->dir ? find_inside(p, dir, i, h->inos[i])
                              : find_place(p->files[i].path, p->files[i].shared, h->inos[i]);
        all = j->places[i] != PLACE_GONE;
    }
    return all;
}

static bool all_done(const struct journal *j, uint32_t step)
{
    return all_bits(j->done, j->base[step], j->base[step + 1] - j->base[step]);
}

/* A file has its name only when it is complete. When all have theirs, nothing else needs to be
 * known; else the journal knows of everything in those that have. */
static bool sound_places(const struct journal *j)
{
    bool all_final = true, sound = true;
    for (uint32_t i = 0; i < j->plan->nfiles; i++)
        all_final &= j->places[i] == PLACE_FINAL;
    for (uint32_t i = 0; i < j->plan->nsteps; i++)
        sound &= j->places[j->plan->steps[i].file] != PLACE_FINAL || all_done(j, i);
    return all_final || sound;
}

/* Tiles have an order, so the entries need not say which they are of. */
static bool take_entry(struct journal *j, const uint8_t *entry)
{
    const struct plan *p = j->plan;
    while (j->entry_step < p->nsteps && j->entry_first == p->steps[j->entry_step].nelems) {
        j->entry_step++;
        j->entry_first = 0;
    }
    if (j->entry_step == p->nsteps)
        return false;
    const struct step *s = &p->steps[j->entry_step];
    const uint64_t first = j->entry_first, left = s->nelems - first;
    const uint64_t n = left < p->sink->tile_bytes ? left : p->sink->tile_bytes;
    if (!p->sink->resume(p->sink, s, first, n, entry))
        return false;
    set_bits(j->done, j->base[j->entry_step] + first / CHUNK, (n + CHUNK - 1) / CHUNK);
    j->entry_first += n;
    j->recorded_entries++;
    return true;
}

static bool take_entries(struct journal *j, const struct journal_record *r, const uint8_t *payload)
{
    const struct sink *k = j->plan->sink;
    if (!k || !k->entry_bytes || r->first != j->recorded_entries ||
        r->nbytes % k->entry_bytes != 0 || r->nbytes / k->entry_bytes != r->n)
        return false;
    for (uint64_t i = 0; i < r->n; i++)
        if (!take_entry(j, payload + i * k->entry_bytes))
            return false;
    return true;
}

static bool take_record(struct journal *j, const struct journal_record *r, const void *payload)
{
    const struct plan *p = j->plan;
    const uint64_t nchunks = j->base[p->nsteps];
    if (r->kind == RECORD_ENTRIES)
        return take_entries(j, r, payload);
    if (r->kind == RECORD_CHUNKS) {
        if (r->first > nchunks || r->n > nchunks - r->first)
            return false;
        set_bits(j->done, r->first, r->n);
        return true;
    }
    if (r->kind != RECORD_REPORT || r->first >= p->nsteps)
        return false;
    const struct step *s = &p->steps[r->first];
    if (!s->op->report || s->op->report_bytes != r->nbytes)
        return false;
    memcpy(s->op->report(s), payload, r->nbytes);
    j->reports[r->first] = REPORT_RECORDED;
    return true;
}

static enum quern_status load(struct journal *j, bool *fits, const char **why,
                              struct quern_error *err)
{
    struct journal_head h;
    *fits = false;
    *why = NULL;
    if (!journal_holds_work(j))
        return QUERN_OK;
    enum quern_status s = journal_file_head(&j->file, j->plan, &h, fits, err);
    if (s == QUERN_OK && !*fits) {
        *why = "its journal was never finished";
    } else if (s == QUERN_OK && !find_places(j, &h)) {
        *fits = false;
        *why = "its part files are not there any more";
    }
    journal_head_free(&h);
    if (s != QUERN_OK || !*fits)
        return s;
    struct journal_record r;
    uint8_t payload[RECORD_MAX];
    while (journal_file_next(&j->file, &r, payload) && take_record(j, &r, payload))
        j->file.nrecords++;
    *fits = j->resumed = sound_places(j);
    *why = j->resumed ? NULL : "it ended while its files were given their names";
    return QUERN_OK;
}

enum quern_status journal_load(struct journal *j, bool *fits, const char **why,
                               struct quern_error *err)
{
    const enum quern_status s = load(j, fits, why, err);
    /* Then its files are no more than any others. */
    if (s != QUERN_OK || !*fits)
        memset(j->places, 0, j->plan->nfiles * sizeof *j->places);
    return s;
}

enum journal_place journal_place_of(const struct journal *j, uint32_t file)
{
    return j->places[file];
}

bool journal_skips(const struct journal *j, uint32_t step, uint64_t first, uint64_t n)
{
    if (!j || !j->resumed)
        return false;
    return all_bits(j->done, chunk_at(j, step, first), (n + CHUNK - 1) / CHUNK);
}

bool journal_skips_step(const struct journal *j, uint32_t step)
{
    if (!j || !j->resumed)
        return false;
    const struct step *s = &j->plan->steps[step];
    /* Whatever sees tiles in their order sees all of them. */
    if (j->plan->sink && !j->plan->sink->entry_bytes)
        return false;
    if (s->stats || (s->op->report && j->reports[step] != REPORT_RECORDED))
        return false;
    return all_done(j, step);
}

uint64_t journal_kept_bytes(const struct journal *j)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < j->plan->nsteps; i++) {
        const struct step *s = &j->plan->steps[i];
        for (uint64_t c = 0; c < made_chunks(s); c++) {
            const uint64_t left = made_end(s) - made_first(s) - c * CHUNK;
            const uint64_t n = left < CHUNK ? left : CHUNK;
            total += has_bit(j->done, j->base[i] + c) ? dtype_stored(s->dtype, n) : 0;
        }
    }
    return total;
}

/* ---- recording ------------------------------------------------------------------------------ */

/* Entries change places with those that were recorded last. */
static void swap_entries(struct journal *j)
{
    uint8_t *const entries = j->entry_batch;
    const size_t capacity = j->batch_capacity;
    j->entry_batch = j->entries;
    j->batch_entries = j->nentries;
    j->batch_capacity = j->entry_capacity;
    j->entries = entries;
    j->nentries = 0;
    j->entry_capacity = capacity;
}

/* What is finished becomes the batch. False when there is nothing. */
static bool take_batch(struct journal *j, uint64_t *low, uint64_t *high, bool *reports)
{
    pthread_mutex_lock(&j->lock);
    *low = j->low;
    *high = j->high;
    *reports = j->new_reports;
    if (*low < *high) {
        memcpy(j->batch + *low, j->fresh + *low, (*high - *low) * sizeof *j->batch);
        memset(j->fresh + *low, 0, (*high - *low) * sizeof *j->fresh);
    }
    memcpy(j->syncing, j->dirty, j->plan->nfiles * sizeof *j->dirty);
    memset(j->dirty, 0, j->plan->nfiles * sizeof *j->dirty);
    swap_entries(j);
    j->low = j->nwords;
    j->high = 0;
    j->new_reports = false;
    pthread_mutex_unlock(&j->lock);
    return *low < *high || *reports || j->batch_entries;
}

static enum quern_status sync_outputs(const struct journal *j, struct quern_error *err)
{
    for (uint32_t i = 0; i < j->plan->nfiles; i++)
        if (j->syncing[i])
            TRY(parts_sync(j->parts, i, err));
    return QUERN_OK;
}

static enum quern_status record_chunks(struct journal *j, uint64_t low, uint64_t high,
                                       struct quern_error *err)
{
    uint64_t first = 0, n = 0;
    for (uint64_t i = low * 64; i < high * 64; i++) {
        if (has_bit(j->batch, i)) {
            first = n ? first : i;
            n++;
        }
        if (n && (i + 1 == high * 64 || !has_bit(j->batch, i))) {
            const struct journal_record r = {.kind = RECORD_CHUNKS, .first = first, .n = n};
            TRY(journal_file_append(&j->file, &r, NULL, err));
            n = 0;
        }
    }
    return QUERN_OK;
}

static bool take_report(struct journal *j, uint32_t step)
{
    pthread_mutex_lock(&j->lock);
    const bool is_new = j->reports[step] == REPORT_NEW;
    if (is_new)
        j->reports[step] = REPORT_RECORDED;
    pthread_mutex_unlock(&j->lock);
    return is_new;
}

static enum quern_status record_reports(struct journal *j, struct quern_error *err)
{
    for (uint32_t i = 0; i < j->plan->nsteps; i++) {
        const struct step *s = &j->plan->steps[i];
        const struct journal_record r = {
            .kind = RECORD_REPORT, .nbytes = (uint32_t)s->op->report_bytes, .first = i};
        if (s->op->report && take_report(j, i))
            TRY(journal_file_append(&j->file, &r, s->op->report(s), err));
    }
    return QUERN_OK;
}

static enum quern_status record_entries(struct journal *j, struct quern_error *err)
{
    const size_t size = j->plan->sink ? j->plan->sink->entry_bytes : 0;
    if (size == 0)
        return QUERN_OK;
    for (size_t i = 0, n; i < j->batch_entries; i += n) {
        const size_t most = RECORD_MAX / size;
        n = j->batch_entries - i < most ? j->batch_entries - i : most;
        const struct journal_record r = {.kind = RECORD_ENTRIES,
                                         .nbytes = (uint32_t)(n * size),
                                         .first = j->recorded_entries,
                                         .n = n};
        TRY(journal_file_append(&j->file, &r, j->entry_batch + i * size, err));
        j->recorded_entries += n;
    }
    return QUERN_OK;
}

static enum quern_status record_batch(struct journal *j, uint64_t low, uint64_t high, bool reports,
                                      struct quern_error *err)
{
    if (!j->file.has_head)
        TRY(journal_file_begin(&j->file, j->plan, j->parts->outs, err));
    if (reports)
        TRY(record_reports(j, err));
    if (low < high)
        TRY(record_chunks(j, low, high, err));
    TRY(record_entries(j, err));
    return journal_file_sync(&j->file, err);
}

/* A journal that cannot be written (a full disk) is given up: the output may still be finished. An
 * output that cannot be synced is lost. */
static void flush(struct journal *j)
{
    uint64_t low, high;
    bool reports;
    struct quern_error err;
    if (j->given_up || !take_batch(j, &low, &high, &reports))
        return;
    enum quern_status s = sync_outputs(j, &err);
    if (s != QUERN_OK) {
        pthread_mutex_lock(&j->lock);
        j->status = s;
        j->error = err;
        pthread_mutex_unlock(&j->lock);
        return;
    }
    s = record_batch(j, low, high, reports, &err);
    if (s == QUERN_OK)
        return;
    j->given_up = true;
    j->trouble = err;
}

/* Of a plan that only gives names to files there is nothing to record, but where they are. */
static void flush_last(struct journal *j)
{
    struct quern_error err;
    flush(j);
    if (j->file.has_head || j->given_up || j->status != QUERN_OK ||
        record_batch(j, 0, 0, false, &err) == QUERN_OK)
        return;
    j->given_up = true;
    j->trouble = err;
}

static void *keep(void *journal)
{
    struct journal *j = journal;
    double pause = j->seconds;
    pthread_mutex_lock(&j->lock);
    while (!j->stop) {
        const double at = seconds_now() + pause;
        const struct timespec until = {.tv_sec = (time_t)at,
                                       .tv_nsec = (long)((at - (double)(time_t)at) * 1e9)};
        if (pthread_cond_timedwait(&j->wake, &j->lock, &until) != ETIMEDOUT)
            continue;
        pthread_mutex_unlock(&j->lock);
        const double start = seconds_now();
        flush(j);
        const double took = (seconds_now() - start) * SYNC_SHARE;
        pause = took > j->seconds ? took : j->seconds;
        pthread_mutex_lock(&j->lock);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

enum quern_status journal_forget(struct journal *j, struct quern_error *err)
{
    j->resumed = false;
    if (!journal_holds_work(j) && !j->file.has_head)
        return QUERN_OK;
    TRY(journal_file_cut(&j->file, false, err));
    return journal_file_sync(&j->file, err);
}

enum quern_status journal_start(struct journal *j, struct parts *parts, double seconds,
                                struct quern_error *err)
{
    j->parts = parts;
    j->seconds = seconds;
    j->low = j->nwords;
    if (j->resumed)
        TRY(journal_file_cut(&j->file, true, err));
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, STACK_BYTES);
    j->running = pthread_create(&j->thread, &small, keep, j) == 0;
    pthread_attr_destroy(&small);
    return j->running ? QUERN_OK : fail_memory(err, STACK_BYTES);
}

enum quern_status journal_done(struct journal *j, uint32_t step, uint64_t first, uint64_t n,
                               struct quern_error *err)
{
    if (!j)
        return QUERN_OK;
    const uint64_t chunk = chunk_at(j, step, first), count = (n + CHUNK - 1) / CHUNK;
    pthread_mutex_lock(&j->lock);
    set_bits(j->fresh, chunk, count);
    if (chunk / 64 < j->low)
        j->low = chunk / 64;
    if ((chunk + count - 1) / 64 + 1 > j->high)
        j->high = (chunk + count - 1) / 64 + 1;
    j->dirty[j->plan->steps[step].file] = true;
    const enum quern_status s = j->status;
    if (s != QUERN_OK)
        *err = j->error;
    pthread_mutex_unlock(&j->lock);
    return s;
}

/* Twice the room when there is none left: there is a second's work between two records. */
static enum quern_status add_entry(struct journal *j, const void *entry, struct quern_error *err)
{
    const size_t size = j->plan->sink->entry_bytes;
    if (j->nentries == j->entry_capacity) {
        const size_t bigger = j->entry_capacity ? 2 * j->entry_capacity : 64;
        uint8_t *p = realloc(j->entries, bigger * size);
        if (!p)
            return fail_memory(err, bigger * size);
        j->entries = p;
        j->entry_capacity = bigger;
    }
    memcpy(j->entries + j->nentries++ * size, entry, size);
    return QUERN_OK;
}

enum quern_status journal_append(struct journal *j, uint32_t step, const void *entry,
                                 struct quern_error *err)
{
    if (!j)
        return QUERN_OK;
    pthread_mutex_lock(&j->lock);
    j->dirty[j->plan->steps[step].file] = true;
    enum quern_status s = j->status;
    if (s != QUERN_OK)
        *err = j->error;
    else
        s = add_entry(j, entry, err);
    pthread_mutex_unlock(&j->lock);
    return s;
}

void journal_report(struct journal *j, uint32_t step)
{
    if (!j || !j->plan->steps[step].op->report)
        return;
    pthread_mutex_lock(&j->lock);
    j->reports[step] = REPORT_NEW;
    j->new_reports = true;
    pthread_mutex_unlock(&j->lock);
}

enum quern_status journal_stop(struct journal *j, bool flush_now, const char **trouble,
                               struct quern_error *err)
{
    *trouble = j && j->given_up ? j->trouble.text : NULL;
    if (!j || !j->running)
        return QUERN_OK;
    pthread_mutex_lock(&j->lock);
    j->stop = true;
    pthread_cond_signal(&j->wake);
    pthread_mutex_unlock(&j->lock);
    pthread_join(j->thread, NULL);
    j->running = false;
    if (flush_now)
        flush_last(j);
    if (j->given_up)
        *trouble = j->trouble.text;
    if (j->status != QUERN_OK && err)
        *err = j->error;
    return j->status;
}
