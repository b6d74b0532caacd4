/* pack_chunks.c - decode chunks of a pack when they are read, and keep a few. */
#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/xxh64.h"
#include "formats/pack_inside.h"

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
    return sizeof(struct pack_decoder) + frame_reader_bytes() +
           frame_bound(PACK_CHUNK + PACK_SUM_BYTES) + PACK_PLANES_MAX;
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
    d->stored = malloc(frame_bound(PACK_CHUNK + PACK_SUM_BYTES));
    d->planes = malloc(PACK_PLANES_MAX);
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

/* ---- frames --------------------------------------------------------------------------------- */

static enum quern_status damaged(const struct pack *p, uint32_t frame, const char *what,
                                 struct quern_error *err)
{
    return at_offset(
        err, p->frame_at[frame],
        fail(err, QUERN_EFORMAT, "pack-frame", "%s" WANT "expected an undamaged pack", what));
}

static size_t frame_bytes(const struct pack *p, uint32_t frame)
{
    return (size_t)(p->frame_at[frame + 1] - p->frame_at[frame]);
}

static enum quern_status decode_frame(const struct pack *p, struct pack_decoder *d, uint32_t frame,
                                      uint8_t *to, size_t n, struct quern_error *err)
{
    const char *wrong = frame_read(d->frames, d->stored, frame_bytes(p, frame), to, n);
    return wrong ? damaged(p, frame, wrong, err) : QUERN_OK;
}

static enum quern_status read_frame(const struct pack *p, struct pack_decoder *d, uint32_t frame,
                                    uint8_t *to, size_t n, struct quern_error *err)
{
    TRY(pread_full(p->fd, d->stored, frame_bytes(p, frame), p->frame_at[frame], p->archive.path,
                   err));
    return decode_frame(p, d, frame, to, n, err);
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

/* ---- planes --------------------------------------------------------------------------------- */

/* A plane to a place of n bytes and PLANE_ROOM. What was not compressed stays in its frame. */
static enum quern_status read_plane(const struct pack *p, struct pack_decoder *d, uint32_t frame,
                                    uint8_t *to, size_t n, unsigned k, struct pack_planes *planes,
                                    struct quern_error *err)
{
    const size_t nbytes = frame_bytes(p, frame);
    planes->at[k] = to;
    planes->framed[k] = false;
    if (nbytes != frame_stored_bytes(n))
        return read_frame(p, d, frame, to, n, err);
    TRY(pread_full(p->fd, to, nbytes, p->frame_at[frame], p->archive.path, err));
    if (frame_is_stored(to, nbytes, n)) {
        planes->at[k] = to + frame_stored_head(n);
        planes->framed[k] = true;
        return QUERN_OK;
    }
    memcpy(d->stored, to, nbytes);
    return decode_frame(p, d, frame, to, n, err);
}

static enum quern_status read_planes(const struct pack *p, const struct pack_run *run,
                                     struct pack_decoder *d, uint32_t chunk, uint8_t *to,
                                     struct pack_planes *planes, struct quern_error *err)
{
    const enum chunk_form form = (enum chunk_form)run->chunks[chunk];
    const unsigned width = chunk_width(run->dtype);
    const size_t n = chunk_bytes(run, chunk);
    const uint32_t first = p->chunk_frame[run->first_chunk + chunk];
    for (unsigned k = 0; k < width; k++) {
        const size_t room = n / width + PLANE_ROOM, content = chunk_content(form, width, n, k);
        assert(frame_stored_bytes(content) <= room);
        TRY(read_plane(p, d, first + k, to + k * room, content, k, planes, err));
    }
    return QUERN_OK;
}

/* Where byte i of a plane is. */
static const uint8_t *plane_at(const struct pack_planes *planes, unsigned k, size_t i)
{
    return planes->at[k] + i + (planes->framed[k] ? i / FRAME_BLOCK * FRAME_GAP : 0);
}

/* Numbers [first, first + n); between blocks of frames anew. */
static void join_numbers(const struct pack_planes *planes, unsigned width, bool delta, size_t first,
                         size_t n, uint8_t *to)
{
    while (n > 0) {
        const size_t block = FRAME_BLOCK - first % FRAME_BLOCK, some = n < block ? n : block;
        const uint8_t *at[MAX_PLANES];
        for (unsigned k = 0; k < width; k++)
            at[k] = plane_at(planes, k, first);
        if (delta)
            planes_join_delta(at, width, some, to);
        else
            planes_join(at, width, some, to);
        to += some * width;
        first += some;
        n -= some;
    }
}

/* n bytes from skip on of numbers: parts of numbers at both ends. */
static void join_bytes(const struct pack_planes *planes, unsigned width, size_t skip, size_t n,
                       uint8_t *to)
{
    uint8_t number[MAX_PLANES];
    size_t i = skip / width;
    if (skip % width) {
        const size_t rest = width - skip % width, some = n < rest ? n : rest;
        join_numbers(planes, width, false, i++, 1, number);
        memcpy(to, number + skip % width, some);
        to += some;
        n -= some;
    }
    join_numbers(planes, width, false, i, n / width, to);
    if (n % width) {
        join_numbers(planes, width, false, i + n / width, 1, number);
        memcpy(to + n - n % width, number, n % width);
    }
}

static enum quern_status decode_numbers(const struct pack *p, const struct pack_run *run,
                                        struct pack_decoder *d, uint32_t chunk, uint8_t *to,
                                        struct quern_error *err)
{
    const unsigned width = chunk_width(run->dtype);
    const size_t n = chunk_bytes(run, chunk), nelems = n / width;
    const bool delta = run->chunks[chunk] == CHUNK_DELTA;
    struct pack_planes planes;
    uint8_t sum[PACK_SUM_BYTES];
    TRY(read_planes(p, run, d, chunk, d->planes, &planes, err));
    if (delta)
        TRY(read_base(p, run, chunk, to, n, err));
    join_numbers(&planes, width, delta, 0, nelems, to);
    for (unsigned i = 0; delta && i < sizeof sum; i++)
        sum[i] = *plane_at(&planes, 0, nelems + i);
    return delta ? check_sum(p, to, n, sum, err) : QUERN_OK;
}

/* ---- one chunk ------------------------------------------------------------------------------ */

static enum quern_status decode_with(const struct pack *p, const struct pack_run *run,
                                     struct pack_decoder *d, uint32_t chunk, uint8_t *to,
                                     struct quern_error *err)
{
    const size_t n = chunk_bytes(run, chunk);
    const uint32_t first = p->chunk_frame[run->first_chunk + chunk];
    uint8_t sum[PACK_SUM_BYTES];
    switch ((enum chunk_form)run->chunks[chunk]) {
    case CHUNK_RAW:
        return read_frame(p, d, first, to, n, err);
    case CHUNK_BASE:
        TRY(read_frame(p, d, first, sum, sizeof sum, err));
        TRY(read_base(p, run, chunk, to, n, err));
        return check_sum(p, to, n, sum, err);
    default:
        return decode_numbers(p, run, d, chunk, to, err);
    }
}

/* The bytes of a chunk; or, when there is a place for them, its planes, which lie at to. */
static enum quern_status decode(struct pack *p, const struct pack_run *run, uint32_t chunk,
                                uint8_t *to, struct pack_planes *planes, struct quern_error *err)
{
    struct pack_decoder *d = take_decoder(p);
    if (!d)
        return fail_memory(err, pack_decoder_bytes());
    const enum quern_status s = planes ? read_planes(p, run, d, chunk, to, planes, err)
                                       : decode_with(p, run, d, chunk, to, err);
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
    return pack_decoder_bytes() + (uint64_t)PACK_WORKER_SLOTS * PACK_PLANES_MAX +
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
    s->in_planes = run->chunks[chunk] == CHUNK_FLOAT;
    pthread_mutex_unlock(&p->lock);
    if (!s->bytes)
        s->bytes = malloc(PACK_PLANES_MAX);
    const enum quern_status status =
        s->bytes ? decode(p, run, chunk, s->bytes, s->in_planes ? &s->planes : NULL, err)
                 : fail_memory(err, PACK_PLANES_MAX);
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
        return decode(p, own, chunk, buf, NULL, err);
    struct pack_slot *s;
    TRY(take_slot(p, own, chunk, &s, err));
    if (s->in_planes)
        join_bytes(&s->planes, chunk_width(own->dtype), skip, *got, buf);
    else
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
