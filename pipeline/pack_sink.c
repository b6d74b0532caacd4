/* pack_sink.c - make frames of chunks, append them in order. */
#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/io.h"
#include "core/xxh64.h"
#include "formats/planes.h"
#include "packing.h"

/* What a sample of a plane has, and by how much matches must beat entropy coding on it. */
#define SAMPLE_BYTES 32768u
#define SAMPLE_GAIN  64u
#define SAMPLE_LEAD  16u /* far ahead */

#define TEXT_LEVEL 3 /* for what is no tensor */

/* Memory of a tile from make to take. */
struct kept {
    struct pack_entry entry;
    size_t nbytes;
    uint8_t bytes[]; /* the chunk, then its frames */
};

static uint8_t *frames_of(struct kept *t)
{
    return t->bytes + PACK_CHUNK;
}

/* Of a worker. */
struct bench {
    struct frame_writer *frames;
    uint8_t *base;   /* the base's bytes */
    uint8_t *planes; /* with room for a checksum */
    uint8_t *trial;  /* a frame that may not be used */
    uint8_t *other;  /* frames of another form */
    int level;
    bool thorough;
};

static size_t aligned(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static size_t bench_bytes(void)
{
    return aligned(PACK_CHUNK) + aligned(PACK_CHUNK + PACK_SUM_BYTES) +
           aligned(frame_bound(PACK_CHUNK)) + aligned(chunk_bound());
}

/* ---- writers -------------------------------------------------------------------------------- */

static struct packing_writer *take_writer(struct packing *k)
{
    pthread_mutex_lock(&k->lock);
    struct packing_writer *w = k->writers;
    if (w)
        k->writers = w->next;
    pthread_mutex_unlock(&k->lock);
    if (w || !(w = calloc(1, sizeof *w)))
        return w;
    w->frames = frame_writer_new();
    if (w->frames)
        return w;
    free(w);
    return NULL;
}

static void give_writer(struct packing *k, struct packing_writer *w)
{
    pthread_mutex_lock(&k->lock);
    w->next = k->writers;
    k->writers = w;
    pthread_mutex_unlock(&k->lock);
}

void packing_end(struct packing *k)
{
    while (k->writers) {
        struct packing_writer *w = k->writers;
        k->writers = w->next;
        frame_writer_free(w->frames);
        free(w);
    }
    pthread_mutex_destroy(&k->lock);
}

/* ---- frames --------------------------------------------------------------------------------- */

enum coder { ENTROPY = 1, MATCHES = 2 };

/* Which coders are worth their time? A small part of the content tells. Differences are given to
 * both unless one is far ahead; what else there is to entropy coding, and to matches where they
 * gain something. */
static unsigned coders_for(const struct bench *b, bool difference, const uint8_t *content, size_t n)
{
    if (b->level == FRAME_ENTROPY_ONLY)
        return ENTROPY;
    if (b->thorough || n <= 2 * SAMPLE_BYTES)
        return ENTROPY | MATCHES;
    const uint8_t *part = content + (n - SAMPLE_BYTES) / 2;
    const size_t plain = frame_write(b->frames, FRAME_ENTROPY_ONLY, part, SAMPLE_BYTES, b->trial);
    const size_t matched = frame_write(b->frames, b->level, part, SAMPLE_BYTES, b->trial);
    if (difference && matched + plain / SAMPLE_LEAD < plain)
        return MATCHES;
    if (difference && plain + matched / SAMPLE_LEAD >= matched)
        return ENTROPY | MATCHES;
    return matched + plain / SAMPLE_GAIN < plain ? ENTROPY | MATCHES : ENTROPY;
}

/* The smallest frame of a content; its bytes, or 0 when memory ran out. What cannot be compressed
 * is stored by zstd as it is. */
static size_t best_frame(const struct bench *b, bool difference, const uint8_t *content, size_t n,
                         uint8_t *to)
{
    const unsigned coders = coders_for(b, difference, content, n);
    if (coders == MATCHES)
        return frame_write(b->frames, b->level, content, n, to);
    const size_t plain = frame_write(b->frames, FRAME_ENTROPY_ONLY, content, n, to);
    if (plain == 0 || coders == ENTROPY)
        return plain;
    const size_t matched = frame_write(b->frames, b->level, content, n, b->trial);
    if (matched == 0 || matched >= plain)
        return matched ? plain : 0;
    memcpy(to, b->trial, matched);
    return matched;
}

static bool put_frame(const struct bench *b, bool difference, const uint8_t *content, size_t n,
                      struct pack_entry *e, uint8_t **to)
{
    const size_t nbytes = best_frame(b, difference, content, n, *to);
    e->nbytes[e->nframes++] = (uint32_t)nbytes;
    *to += nbytes;
    return nbytes > 0;
}

static size_t entry_bytes(const struct pack_entry *e)
{
    size_t n = 0;
    for (uint32_t i = 0; i < e->nframes; i++)
        n += e->nbytes[i];
    return n;
}

static void put_sum(const uint8_t *chunk, size_t n, uint8_t *to)
{
    const uint64_t sum = xxh64(chunk, n);
    for (unsigned i = 0; i < PACK_SUM_BYTES; i++)
        to[i] = (uint8_t)(sum >> 8 * i);
}

/* ---- forms ---------------------------------------------------------------------------------- */

static bool make_raw(const struct bench *b, const uint8_t *chunk, size_t n, struct pack_entry *e,
                     uint8_t *to)
{
    *e = (struct pack_entry){.form = CHUNK_RAW};
    return put_frame(b, false, chunk, n, e, &to);
}

static bool make_base(const struct bench *b, const uint8_t *chunk, size_t n, struct pack_entry *e,
                      uint8_t *to)
{
    uint8_t sum[PACK_SUM_BYTES];
    *e = (struct pack_entry){.form = CHUNK_BASE};
    put_sum(chunk, n, sum);
    return put_frame(b, false, sum, sizeof sum, e, &to);
}

static bool make_float(const struct bench *b, const uint8_t *chunk, unsigned width, size_t n,
                       struct pack_entry *e, uint8_t *to)
{
    bool ok = true;
    *e = (struct pack_entry){.form = CHUNK_FLOAT};
    planes_split(chunk, width, n / width, b->planes);
    for (unsigned k = 0; ok && k < width; k++)
        ok = put_frame(b, false, b->planes + k * (n / width), n / width, e, &to);
    return ok;
}

static bool make_delta(const struct bench *b, const uint8_t *chunk, unsigned width, size_t n,
                       struct pack_entry *e, uint8_t *to)
{
    const size_t nelems = n / width;
    uint8_t next[PACK_SUM_BYTES];
    *e = (struct pack_entry){.form = CHUNK_DELTA};
    planes_split_delta(chunk, b->base, width, nelems, b->planes);
    /* The checksum follows the first plane, where the second one lies. */
    memcpy(next, b->planes + nelems, sizeof next);
    put_sum(chunk, n, b->planes + nelems);
    bool ok = put_frame(b, true, b->planes, nelems + PACK_SUM_BYTES, e, &to);
    if (width > 1)
        memcpy(b->planes + nelems, next, sizeof next);
    for (unsigned k = 1; ok && k < width; k++)
        ok = put_frame(b, true, b->planes + k * nelems, nelems, e, &to);
    return ok;
}

/* Another form, if it is smaller than the one in t. */
static bool try_form(const struct bench *b,
                     bool (*make)(const struct bench *, const uint8_t *, unsigned, size_t,
                                  struct pack_entry *, uint8_t *),
                     unsigned width, size_t n, struct kept *t)
{
    struct pack_entry e;
    if (!make(b, t->bytes, width, n, &e, b->other))
        return false;
    if (entry_bytes(&e) < entry_bytes(&t->entry)) {
        t->entry = e;
        memcpy(frames_of(t), b->other, entry_bytes(&e));
    }
    return true;
}

/* A difference that is not clearly smaller is weighed against the numbers alone. */
static bool clearly_smaller(const struct pack_entry *e, size_t n)
{
    return entry_bytes(e) * 2 < n;
}

static bool make_forms(const struct bench *b, const struct packed_run *run, size_t n,
                       struct kept *t)
{
    const unsigned width = run->tensor ? chunk_width(run->tensor->dtype) : 0;
    const unsigned planes = width > 1 && n % width == 0 ? width : 0;
    if (run->base && memcmp(t->bytes, b->base, n) == 0)
        return make_base(b, t->bytes, n, &t->entry, frames_of(t));
    if (run->base && width && n % width == 0) {
        if (!make_delta(b, t->bytes, width, n, &t->entry, frames_of(t)))
            return false;
        if (clearly_smaller(&t->entry, n))
            return true;
        return !planes || try_form(b, make_float, planes, n, t);
    }
    return planes ? make_float(b, t->bytes, planes, n, &t->entry, frames_of(t))
                  : make_raw(b, t->bytes, n, &t->entry, frames_of(t));
}

/* ---- the sink ------------------------------------------------------------------------------- */

static enum quern_status read_source(struct sink_tile *t, unsigned number, uint8_t *to,
                                     struct quern_error *err)
{
    const struct source *s = &t->step->sources[number];
    t->moved += t->n;
    return in_source(err, s,
                     model_pread(s->model, s->tensor->file, to, (size_t)t->n,
                                 s->tensor->offset + t->first, err));
}

static enum quern_status make_frames(struct packing *k, const struct packed_run *run,
                                     struct bench *b, struct sink_tile *t, struct quern_error *err)
{
    struct kept *kept = (struct kept *)t->kept;
    struct packing_writer *w = take_writer(k);
    if (!w)
        return fail_memory(err, k->sink.worker_bytes);
    b->frames = w->frames;
    const bool ok = make_forms(b, run, (size_t)t->n, kept);
    give_writer(k, w);
    kept->nbytes = ok ? entry_bytes(&kept->entry) : 0;
    return ok ? QUERN_OK : fail_memory(err, k->sink.worker_bytes);
}

static enum quern_status make(struct sink *sink, struct sink_tile *t, struct quern_error *err)
{
    struct packing *k = (struct packing *)sink;
    struct kept *kept = (struct kept *)t->kept;
    const size_t index = (size_t)(t->step - k->plan->steps);
    const struct packed_run *run = &k->runs[index];
    struct bench b = {.level = k->level, .thorough = k->thorough, .base = t->scratch};
    b.planes = b.base + aligned(PACK_CHUNK);
    b.trial = b.planes + aligned(PACK_CHUNK + PACK_SUM_BYTES);
    b.other = b.trial + aligned(frame_bound(PACK_CHUNK));
    if (!run->tensor && b.level != FRAME_ENTROPY_ONLY && b.level < TEXT_LEVEL)
        b.level = TEXT_LEVEL;
    TRY(read_source(t, 0, kept->bytes, err));
    if (run->same != index) {
        TRY(read_source(t, 1, b.base, err));
        if (memcmp(kept->bytes, b.base, (size_t)t->n) == 0) {
            kept->entry = (struct pack_entry){.form = CHUNK_SAME};
            kept->nbytes = 0;
            return QUERN_OK;
        }
    }
    if (run->base)
        TRY(read_source(t, t->step->nsources - 1u, b.base, err));
    return make_frames(k, run, &b, t, err);
}

/* The entry of the next tile goes into the tables. */
static void note_entry(struct packing *k, struct packed_run *run, uint64_t first, uint64_t n,
                       const struct pack_entry *e)
{
    struct packed_file *f = &k->files[run->file];
    assert(k->nframes + e->nframes <= k->frame_capacity);
    k->letters[k->nchunks++] = (char)e->form;
    for (uint32_t i = 0; i < e->nframes; i++)
        k->frames[k->nframes++] = e->nbytes[i];
    k->end += entry_bytes(e);
    run->stored += entry_bytes(e);
    if (run->first + first + n == f->nbytes) {
        struct sha256 s = e->sha;
        sha256_end(&s, f->sha256);
    }
}

static enum quern_status take(struct sink *sink, struct sink_tile *t, struct quern_error *err)
{
    struct packing *k = (struct packing *)sink;
    struct kept *kept = (struct kept *)t->kept;
    struct packed_run *run = &k->runs[t->step - k->plan->steps];
    int fd;
    if (run->first + t->first == 0)
        sha256_start(&k->sha);
    sha256_add(&k->sha, kept->bytes, (size_t)t->n);
    kept->entry.sha = k->sha;
    TRY(parts_take(t->parts, 0, &fd, err));
    const enum quern_status s =
        pwrite_full(fd, frames_of(kept), kept->nbytes, k->end, t->parts->outs[0].final_path, err);
    parts_give(t->parts, 0);
    TRY(s);
    t->moved += kept->nbytes;
    note_entry(k, run, t->first, t->n, &kept->entry);
    return QUERN_OK;
}

static bool resume(struct sink *sink, const struct step *s, uint64_t first, uint64_t n,
                   const void *entry)
{
    struct packing *k = (struct packing *)sink;
    struct pack_entry e;
    memcpy(&e, entry, sizeof e);
    if (e.nframes > CHUNK_PLANES || e.nframes > k->frame_capacity - k->nframes)
        return false;
    k->sha = e.sha;
    note_entry(k, &k->runs[s - k->plan->steps], first, n, &e);
    return true;
}

/* What an earlier run had written behind the last tile goes. */
static enum quern_status finish(struct sink *sink, struct parts *parts, struct quern_error *err)
{
    struct packing *k = (struct packing *)sink;
    const char *path = parts->outs[0].final_path;
    uint8_t *tail = NULL;
    size_t n = 0;
    int fd;
    TRY(packing_tail(k, &tail, &n, err));
    enum quern_status s = parts_take(parts, 0, &fd, err);
    if (s == QUERN_OK) {
        s = pwrite_full(fd, PACK_HEAD, PACK_HEAD_BYTES, 0, path, err);
        if (s == QUERN_OK)
            s = pwrite_full(fd, tail, n, k->end, path, err);
        if (s == QUERN_OK && ftruncate(fd, (off_t)(k->end + n)) != 0)
            s = fail_errno(err, path, "truncate");
        parts_give(parts, 0);
    }
    free(tail);
    k->plan->files[0].nbytes = k->end + n;
    return s;
}

void packing_fill_sink(struct packing *k)
{
    pthread_mutex_init(&k->lock, NULL);
    k->sink = (struct sink){.tile_bytes = PACK_CHUNK,
                            .kept_bytes = aligned(sizeof(struct kept) + PACK_CHUNK + chunk_bound()),
                            .scratch_bytes = bench_bytes(),
                            .worker_bytes = frame_writer_bytes(
                                k->level < TEXT_LEVEL ? TEXT_LEVEL : k->level, PACK_CHUNK),
                            .entry_bytes = sizeof(struct pack_entry),
                            .make = make,
                            .take = take,
                            .resume = resume,
                            .finish = finish};
    k->end = PACK_HEAD_BYTES;
}
