/* statistics.c - divide what has to be measured; states as records and back. */
#include "statistics.h"

#include <inttypes.h>

#include "passes.h"

#define MAGIC        "QURNSTA1"
#define DIGEST_BYTES 64u
#define SUM_BYTES    32u

struct head {
    char magic[8];
    char digest[DIGEST_BYTES];
    uint32_t portion, nentries;
};

/* Followed by its bytes, and no padding. */
struct entry {
    uint32_t hidden; /* a step of plan.hidden, not of plan.steps */
    uint32_t index;
    uint64_t nbytes;
};

static uint64_t state_bytes(const struct step *s)
{
    return s->op->state_bytes ? s->op->state_bytes(s) : 0;
}

static bool has_state(const struct step *s)
{
    return s->npasses > 0 && state_bytes(s) > 0;
}

/* ---- portions ------------------------------------------------------------------------------- */

static bool measures(const struct step *s)
{
    return s->npasses > 0 || s->nneeds > 0;
}

/* Portion k begins where k shares of what is read are over. */
static void share_out(const struct plan *p, uint32_t n, uint32_t count, struct measuring *m)
{
    uint64_t total = 0, sum = 0;
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++)
        total += measured_bytes(&p->steps[m->steps[i]]);
    for (uint32_t i = 0; i < n && k < count; i++) {
        if (n - i <= count - k || (double)sum >= (double)total * k / count)
            m->first[k++] = i;
        sum += measured_bytes(&p->steps[m->steps[i]]);
    }
    m->count = k;
    m->first[k] = n;
}

enum quern_status measuring_divide(const struct plan *p, uint32_t count, struct arena *arena,
                                   struct measuring *out, struct quern_error *err)
{
    uint32_t n = 0;
    *out = (struct measuring){.steps = ARENA_NEW(arena, uint32_t, p->nsteps + 1u),
                              .first = ARENA_NEW(arena, uint32_t, (size_t)count + 1)};
    if (!out->steps || !out->first)
        return fail_memory(err, p->nsteps * sizeof *out->steps);
    for (uint32_t i = 0; i < p->nsteps; i++)
        if (measures(&p->steps[i]))
            out->steps[n++] = i;
    share_out(p, n, count < n ? count : n, out);
    return QUERN_OK;
}

/* The last of n ascending numbers that is not above v; 0 when all are. */
static uint32_t last_up_to(const uint32_t *numbers, uint32_t n, uint32_t v)
{
    uint32_t low = 0, high = n;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (numbers[middle] <= v)
            low = middle;
        else
            high = middle;
    }
    return low;
}

bool measuring_of(const struct measuring *m, uint32_t step, uint32_t *portion)
{
    if (m->count == 0)
        return false;
    const uint32_t i = last_up_to(m->steps, m->first[m->count], step);
    *portion = last_up_to(m->first, m->count, i);
    return m->steps[i] == step;
}

/* ---- measuring ------------------------------------------------------------------------------ */

static enum quern_status keep_state(struct plan *p, struct step *s, struct quern_error *err)
{
    if (!has_state(s) || s->keep)
        return QUERN_OK;
    s->keep = arena_array(&p->arena, state_bytes(s), 1);
    return s->keep ? QUERN_OK : fail_memory(err, state_bytes(s));
}

enum quern_status plan_keep_measuring(struct plan *p, const struct measuring *m, uint32_t portion,
                                      struct quern_error *err)
{
    const uint32_t first = m->first[portion], n = m->first[portion + 1] - first;
    struct step *steps = ARENA_NEW(&p->arena, struct step, n + 1u);
    if (!steps)
        return fail_memory(err, n * sizeof *steps);
    for (uint32_t i = 0; i < n; i++) {
        steps[i] = p->steps[m->steps[first + i]];
        TRY(keep_state(p, &steps[i], err));
        for (uint32_t k = 0; k < steps[i].nneeds; k++)
            TRY(keep_state(p, &steps[i].needs[k]->step, err));
    }
    p->steps = steps;
    p->nsteps = n;
    p->nfiles = 0;
    p->nsides = 0;
    p->dir = NULL;
    return QUERN_OK;
}

/* ---- records -------------------------------------------------------------------------------- */

struct writer {
    uint8_t *at;     /* NULL while bytes are only counted */
    uint64_t nbytes; /* so far */
    uint32_t nentries;
};

static void put(struct writer *w, const void *bytes, uint64_t n)
{
    if (w->at)
        memcpy(w->at + w->nbytes, bytes, n);
    w->nbytes += n;
}

static void put_state(struct writer *w, const struct step *s, bool hidden, uint32_t index)
{
    const struct entry e = {.hidden = hidden, .index = index, .nbytes = state_bytes(s)};
    if (!s->keep)
        return;
    put(w, &e, sizeof e);
    put(w, s->keep, e.nbytes);
    w->nentries++;
}

static void put_states(struct writer *w, const struct plan *p, const struct measuring *m,
                       uint32_t portion)
{
    for (uint32_t i = 0; i < p->nhidden; i++)
        put_state(w, &p->hidden[i]->step, true, i);
    for (uint32_t i = 0; i < p->nsteps; i++)
        put_state(w, &p->steps[i], false, m->steps[m->first[portion] + i]);
}

static void sum_of(const void *bytes, size_t n, uint8_t sum[SUM_BYTES])
{
    struct sha256 s;
    sha256_start(&s);
    sha256_add(&s, bytes, n);
    sha256_end(&s, sum);
}

enum quern_status statistics_record(struct plan *p, const struct measuring *m, uint32_t portion,
                                    const char *digest, struct str *out, struct quern_error *err)
{
    struct head h = {.portion = portion};
    struct writer w = {0};
    uint8_t sum[SUM_BYTES];
    memcpy(h.magic, MAGIC, sizeof h.magic);
    memcpy(h.digest, digest, sizeof h.digest);
    put_states(&w, p, m, portion);
    h.nentries = w.nentries;
    const uint64_t n = sizeof h + w.nbytes + sizeof sum;
    w = (struct writer){.at = arena_array(&p->arena, n, 1)};
    if (!w.at)
        return fail_memory(err, n);
    put(&w, &h, sizeof h);
    put_states(&w, p, m, portion);
    sum_of(w.at, w.nbytes, sum);
    put(&w, sum, sizeof sum);
    *out = (struct str){(const char *)w.at, n};
    return QUERN_OK;
}

bool statistics_fit(struct str record, uint32_t portion, const char *digest)
{
    struct head h;
    uint8_t sum[SUM_BYTES];
    if (record.n < sizeof h + sizeof sum)
        return false;
    memcpy(&h, record.p, sizeof h);
    if (memcmp(h.magic, MAGIC, sizeof h.magic) != 0 || h.portion != portion ||
        memcmp(h.digest, digest, sizeof h.digest) != 0)
        return false;
    sum_of(record.p, record.n - sizeof sum, sum);
    return memcmp(sum, record.p + record.n - sizeof sum, sizeof sum) == 0;
}

static enum quern_status take_state(struct plan *p, const struct entry *e, const char *bytes,
                                    struct quern_error *err)
{
    if (e->index >= (e->hidden ? p->nhidden : p->nsteps))
        return fail(err, QUERN_EFORMAT, "statistics",
                    "they are of step %" PRIu32 WANT "expected one of the plan", e->index);
    struct step *s = e->hidden ? &p->hidden[e->index]->step : &p->steps[e->index];
    if (!has_state(s) || e->nbytes != state_bytes(s))
        return in_tensor(err, s->name,
                         fail(err, QUERN_EFORMAT, "statistics",
                              "they have %" PRIu64 " bytes" WANT "expected %" PRIu64 " of %s",
                              e->nbytes, state_bytes(s), s->op->name));
    if (s->known)
        return QUERN_OK;
    void *copy = arena_array(&p->arena, e->nbytes, 1);
    if (!copy)
        return fail_memory(err, e->nbytes);
    memcpy(copy, bytes, e->nbytes);
    s->known = copy;
    return QUERN_OK;
}

static enum quern_status take_states(struct plan *p, struct str record, uint32_t nentries,
                                     struct quern_error *err)
{
    struct entry e;
    size_t at = sizeof(struct head);
    const size_t end = record.n - SUM_BYTES;
    for (uint32_t i = 0; i < nentries; i++) {
        if (end - at < sizeof e)
            return fail(err, QUERN_EFORMAT, "statistics",
                        "the record ends after %" PRIu32 " of %" PRIu32 " states", i, nentries);
        memcpy(&e, record.p + at, sizeof e);
        at += sizeof e;
        if (e.nbytes > end - at)
            return fail(err, QUERN_EFORMAT, "statistics",
                        "the record ends in state %" PRIu32 " of %" PRIu32, i, nentries);
        TRY(take_state(p, &e, record.p + at, err));
        at += e.nbytes;
    }
    return QUERN_OK;
}

enum quern_status statistics_take(struct plan *p, struct str record, struct quern_error *err)
{
    struct head h;
    if (record.n < sizeof h + SUM_BYTES)
        return fail(err, QUERN_EFORMAT, "statistics", "the record is too short");
    memcpy(&h, record.p, sizeof h);
    return take_states(p, record, h.nentries, err);
}
