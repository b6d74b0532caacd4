/* pack_chunks.c - decode chunks of a pack when they are read, and keep a few. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/xxh64.h"
#include "formats/pack_inside.h"
#include "formats/planes.h"

#define NO_CHUNK UINT32_MAX

enum quern_status in_run(const struct pack *p, const struct pack_run *run, enum quern_status status,
                         struct quern_error *err)
{
    char path[PATH_MAX];
    if (status == QUERN_OK)
        return QUERN_OK;
    snprintf(path, sizeof path, "%s/%s", p->archive.path, p->files[run->file].name);
    if (run->tensor.n)
        in_tensor(err, run->tensor, status);
    return in_file(err, path, status);
}

/* ---- decoders ------------------------------------------------------------------------------- */

size_t pack_decoder_bytes(void)
{
    return sizeof(struct pack_decoder) + frame_reader_bytes() + chunk_bound() + PACK_CHUNK +
           PACK_SUM_BYTES;
}

static void decoder_free(struct pack_decoder *d)
{
    if (!d)
        return;
    frame_reader_free(d->frames);
    free(d->stored);
    free(d->planes);
    free(d);
}

static struct pack_decoder *decoder_new(void)
{
    struct pack_decoder *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->frames = frame_reader_new();
    d->stored = malloc(chunk_bound());
    d->planes = malloc(PACK_CHUNK + PACK_SUM_BYTES);
    if (d->frames && d->stored && d->planes)
        return d;
    decoder_free(d);
    return NULL;
}

static struct pack_decoder *take_decoder(struct pack *p)
{
    pthread_mutex_lock(&p->lock);
    struct pack_decoder *d = p->decoders;
    if (d)
        p->decoders = d->next;
    pthread_mutex_unlock(&p->lock);
    return d ? d : decoder_new();
}

static void give_decoder(struct pack *p, struct pack_decoder *d)
{
    pthread_mutex_lock(&p->lock);
    d->next = p->decoders;
    p->decoders = d;
    pthread_mutex_unlock(&p->lock);
}

/* ---- one chunk ------------------------------------------------------------------------------ */

static enum quern_status damaged(const struct pack *p, uint32_t frame, const char *what,
                                 struct quern_error *err)
{
    return at_offset(
        err, p->frame_at[frame],
        fail(err, QUERN_EFORMAT, "pack-frame", "%s" WANT "expected an undamaged pack", what));
}

static enum quern_status read_frames(const struct pack *p, struct pack_decoder *d, uint32_t first,
                                     uint32_t end, struct quern_error *err)
{
    const uint64_t at = p->frame_at[first], n = p->frame_at[end] - at;
    return pread_full(p->fd, d->stored, (size_t)n, at, p->archive.path, err);
}

/* Frame k of those that were read, which begin with number first. */
static enum quern_status read_frame(const struct pack *p, struct pack_decoder *d, uint32_t first,
                                    unsigned k, uint8_t *to, size_t n, struct quern_error *err)
{
    const uint64_t at = p->frame_at[first + k];
    const size_t nbytes = (size_t)(p->frame_at[first + k + 1] - at);
    const char *wrong = frame_read(d->frames, d->stored + (at - p->frame_at[first]), nbytes, to, n);
    return wrong ? damaged(p, first + k, wrong, err) : QUERN_OK;
}

static enum quern_status read_base(const struct pack *p, const struct pack_run *run, uint32_t chunk,
                                   uint8_t *to, size_t n, struct quern_error *err)
{
    const struct tensor *t = run->base_tensor;
    if (p->base_status != QUERN_OK) {
        if (err)
            *err = p->base_error;
        return p->base_status;
    }
    return model_pread(p->base, t->file, to, n, t->offset + (uint64_t)chunk * PACK_CHUNK, err);
}

/* The frames are sound by their own checksums: when the result is not, the base is to blame. */
static enum quern_status check_sum(const struct pack *p, const uint8_t *bytes, size_t n,
                                   const uint8_t want[PACK_SUM_BYTES], struct quern_error *err)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < PACK_SUM_BYTES; i++)
        sum |= (uint64_t)want[i] << 8 * i;
    if (xxh64(bytes, n) == sum)
        return QUERN_OK;
    return fail(err, QUERN_EUSAGE, "base",
                "the base '%s' holds other values than when the pack was made" WANT
                "give the base the pack was made with",
                quoted(str_from(p->base->path)).text);
}

static enum quern_status decode_planes(const struct pack *p, const struct pack_run *run,
                                       struct pack_decoder *d, uint32_t chunk, uint8_t *to,
                                       struct quern_error *err)
{
    const enum chunk_form form = (enum chunk_form)run->chunks[chunk];
    const unsigned width = chunk_width(run->dtype);
    const size_t n = chunk_bytes(run, chunk), nelems = n / width;
    const uint32_t first = p->chunk_frame[run->first_chunk + chunk];
    uint8_t sum[PACK_SUM_BYTES];
    for (unsigned k = 0; k < width; k++) {
        TRY(read_frame(p, d, first, k, d->planes + k * nelems, chunk_content(form, width, n, k),
                       err));
        /* It is overwritten by the next plane. */
        if (k == 0 && form == CHUNK_DELTA)
            memcpy(sum, d->planes + nelems, sizeof sum);
    }
    if (form == CHUNK_FLOAT) {
        planes_join(d->planes, width, nelems, to);
        return QUERN_OK;
    }
    TRY(read_base(p, run, chunk, to, n, err));
    planes_join_delta(d->planes, width, nelems, to);
    return check_sum(p, to, n, sum, err);
}

static enum quern_status decode_with(const struct pack *p, const struct pack_run *run,
                                     struct pack_decoder *d, uint32_t chunk, uint8_t *to,
                                     struct quern_error *err)
{
    const size_t n = chunk_bytes(run, chunk);
    const uint32_t first = p->chunk_frame[run->first_chunk + chunk];
    const uint32_t end = p->chunk_frame[run->first_chunk + chunk + 1];
    uint8_t sum[PACK_SUM_BYTES];
    TRY(read_frames(p, d, first, end, err));
    switch ((enum chunk_form)run->chunks[chunk]) {
    case CHUNK_RAW:
        return read_frame(p, d, first, 0, to, n, err);
    case CHUNK_BASE:
        TRY(read_frame(p, d, first, 0, sum, sizeof sum, err));
        TRY(read_base(p, run, chunk, to, n, err));
        return check_sum(p, to, n, sum, err);
    default:
        return decode_planes(p, run, d, chunk, to, err);
    }
}

static enum quern_status decode(struct pack *p, const struct pack_run *run, uint32_t chunk,
                                uint8_t *to, struct quern_error *err)
{
    struct pack_decoder *d = take_decoder(p);
    if (!d)
        return fail_memory(err, pack_decoder_bytes());
    const enum quern_status s = decode_with(p, run, d, chunk, to, err);
    give_decoder(p, d);
    return in_run(p, run, s, err);
}

/* ---- the pool ------------------------------------------------------------------------------- */

/* Slots up to n; those that cannot be had are done without. */
static void add_slots(struct pack *p, uint32_t n)
{
    struct pack_slot **slots = n > p->nslots ? realloc(p->slots, n * sizeof *slots) : NULL;
    if (!slots)
        return;
    p->slots = slots;
    for (struct pack_slot *s; p->nslots < n && (s = calloc(1, sizeof *s)); p->nslots++) {
        s->chunk = NO_CHUNK;
        p->slots[p->nslots] = s;
    }
}

enum quern_status pack_pool_open(struct pack *p, uint32_t nslots, struct quern_error *err)
{
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    add_slots(p, nslots);
    return p->nslots ? QUERN_OK : fail_memory(err, nslots * sizeof **p->slots);
}

void pack_pool_close(struct pack *p)
{
    for (uint32_t i = 0; i < p->nslots; i++) {
        free(p->slots[i]->bytes);
        free(p->slots[i]);
    }
    free(p->slots);
    while (p->decoders) {
        struct pack_decoder *d = p->decoders;
        p->decoders = d->next;
        decoder_free(d);
    }
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
}

uint64_t pack_worker_bytes(const struct archive *a)
{
    const struct pack *p = (const struct pack *)a;
    const struct archive *base = p->base ? p->base->archive : NULL;
    return pack_decoder_bytes() + (uint64_t)PACK_WORKER_SLOTS * PACK_CHUNK +
           (base ? base->kind->worker_bytes(base) : 0);
}

/* There are never fewer again: another run may read from the pack as well. */
void pack_set_workers(struct archive *a, uint32_t nworkers)
{
    struct pack *p = (struct pack *)a;
    if (p->base && p->base->archive)
        p->base->archive->kind->set_workers(p->base->archive, nworkers);
    pthread_mutex_lock(&p->lock);
    add_slots(p, PACK_SPARE_SLOTS + nworkers * PACK_WORKER_SLOTS);
    pthread_mutex_unlock(&p->lock);
}

static struct pack_slot *find_slot(struct pack *p, uint32_t chunk)
{
    for (uint32_t i = 0; i < p->nslots; i++)
        if (p->slots[i]->chunk == chunk)
            return p->slots[i];
    return NULL;
}

/* The one that was not used for longest; NULL while all are in use. */
static struct pack_slot *oldest_slot(struct pack *p)
{
    struct pack_slot *oldest = NULL;
    for (uint32_t i = 0; i < p->nslots; i++) {
        struct pack_slot *s = p->slots[i];
        if (s->nusers == 0 && (!oldest || s->last_use < oldest->last_use))
            oldest = s;
    }
    return oldest;
}

/* Decodes into a slot that is ours alone meanwhile. */
static enum quern_status fill_slot(struct pack *p, struct pack_slot *s, const struct pack_run *run,
                                   uint32_t chunk, struct quern_error *err)
{
    s->chunk = run->first_chunk + chunk;
    s->nusers = 1;
    s->loading = true;
    pthread_mutex_unlock(&p->lock);
    if (!s->bytes)
        s->bytes = malloc(PACK_CHUNK);
    const enum quern_status status =
        s->bytes ? decode(p, run, chunk, s->bytes, err) : fail_memory(err, PACK_CHUNK);
    pthread_mutex_lock(&p->lock);
    s->loading = false;
    if (status != QUERN_OK) {
        s->chunk = NO_CHUNK;
        s->nusers = 0;
    }
    pthread_cond_broadcast(&p->changed);
    return status;
}

/* The chunk, decoded; slot stays as it is until it is given back. */
static enum quern_status take_slot(struct pack *p, const struct pack_run *run, uint32_t chunk,
                                   struct pack_slot **out, struct quern_error *err)
{
    enum quern_status status = QUERN_OK;
    *out = NULL;
    pthread_mutex_lock(&p->lock);
    while (status == QUERN_OK && !*out) {
        struct pack_slot *s = find_slot(p, run->first_chunk + chunk);
        if (s && !s->loading) {
            s->nusers++;
            *out = s;
        } else if (!s && (s = oldest_slot(p))) {
            status = fill_slot(p, s, run, chunk, err);
            *out = s;
        } else {
            pthread_cond_wait(&p->changed, &p->lock);
        }
    }
    if (status == QUERN_OK)
        (*out)->last_use = ++p->clock;
    pthread_mutex_unlock(&p->lock);
    return status;
}

static void give_slot(struct pack *p, struct pack_slot *s)
{
    pthread_mutex_lock(&p->lock);
    if (--s->nusers == 0)
        pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* The run of a file that has this byte. */
static const struct pack_run *run_at(const struct pack *p, const struct pack_file *f,
                                     uint64_t offset)
{
    uint32_t low = f->first_run, high = f->first_run + f->nruns;
    while (high - low > 1) {
        const uint32_t mid = low + (high - low) / 2;
        if (p->runs[mid].first <= offset)
            low = mid;
        else
            high = mid;
    }
    return &p->runs[low];
}

/* Up to n bytes from a chunk on; *got of them were there. */
static enum quern_status read_some(struct pack *p, const struct pack_run *run, uint64_t at,
                                   uint8_t *buf, size_t n, size_t *got, struct quern_error *err)
{
    const uint32_t chunk = (uint32_t)(at / PACK_CHUNK);
    const bool same = run->chunks[chunk] == CHUNK_SAME;
    const struct pack_run *own = same ? &p->runs[run->same] : run;
    const size_t skip = (size_t)(at % PACK_CHUNK), all = chunk_bytes(own, chunk);
    *got = n < all - skip ? n : all - skip;
    if (*got == all)
        return decode(p, own, chunk, buf, err);
    struct pack_slot *s;
    TRY(take_slot(p, own, chunk, &s, err));
    memcpy(buf, s->bytes + skip, *got);
    give_slot(p, s);
    return QUERN_OK;
}

enum quern_status pack_read(struct archive *a, uint32_t file, void *buf, size_t n, uint64_t offset,
                            struct quern_error *err)
{
    struct pack *p = (struct pack *)a;
    const struct pack_file *f = &p->files[file];
    uint8_t *to = buf;
    if (offset > f->nbytes || n > f->nbytes - offset)
        return in_file(err, p->archive.path,
                       fail(err, QUERN_EIO, "changed", "'%s' ends before byte %" PRIu64,
                            quoted(str_from(f->name)).text, offset + n));
    while (n > 0) {
        const struct pack_run *run = run_at(p, f, offset);
        size_t got;
        TRY(read_some(p, run, offset - run->first, to, n, &got, err));
        to += got;
        offset += got;
        n -= got;
    }
    return QUERN_OK;
}
