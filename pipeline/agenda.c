/* agenda.c - put hidden steps before those that need them, and keep what they have measured. */
#include "agenda.h"

#include <stdlib.h>

#include "hashing.h"

static void add(struct agenda *a, struct work w)
{
    a->items[a->count++] = w;
}

static void add_hash(struct hash_step *h, void *agenda)
{
    add(agenda, (struct work){&h->work.step, &h->work, 0});
}

static void add_hashes(struct agenda *a, const struct plan *p, const struct step *s)
{
    for (unsigned k = 0; k < s->nsources; k++)
        hashes_before(p->hashes, &s->sources[k], add_hash, a);
}

static void add_needs(struct agenda *a, const struct plan *p, const struct step *s)
{
    for (uint32_t k = 0; k < s->nneeds; k++) {
        struct hidden_step *h = s->needs[k];
        if (h->listed)
            continue;
        h->listed = true;
        add_hashes(a, p, &h->step);
        add(a, (struct work){&h->step, h, 0});
    }
}

/* The first step from i on that an earlier run has not finished. */
static uint32_t unfinished(const struct plan *p, const struct journal *j, uint32_t i)
{
    while (i < p->nsteps && journal_skips_step(j, i))
        i++;
    return i;
}

static void add_steps(struct agenda *a, const struct plan *p, const struct journal *j)
{
    uint32_t i = unfinished(p, j, 0);
    if (i < p->nsteps)
        add_needs(a, p, &p->steps[i]);
    while (i < p->nsteps) {
        const uint32_t next = unfinished(p, j, i + 1);
        if (next < p->nsteps)
            add_needs(a, p, &p->steps[next]);
        add_hashes(a, p, &p->steps[i]);
        add(a, (struct work){&p->steps[i], NULL, i});
        i = next;
    }
}

static void count_users(const struct step *s)
{
    for (uint32_t k = 0; k < s->nneeds; k++)
        s->needs[k]->nusers++;
}

enum quern_status agenda_open(struct plan *p, const struct journal *j, bool complete,
                              struct agenda *a, struct quern_error *err)
{
    const size_t most = (size_t)p->nsteps + p->nhidden + (p->hashes ? p->hashes->nsteps : 0);
    *a = (struct agenda){.items = calloc(most + 1, sizeof *a->items)};
    if (!a->items)
        return fail_memory(err, most * sizeof *a->items);
    for (uint32_t i = 0; i < p->nhidden; i++) {
        p->hidden[i]->listed = p->hidden[i]->measured = false;
        p->hidden[i]->nusers = 0;
    }
    hashes_restart(p->hashes);
    if (!complete)
        add_steps(a, p, j);
    hashes_left(p->hashes, add_hash, a);
    for (uint32_t k = 0; k < a->count; k++)
        count_users(a->items[k].step);
    return QUERN_OK;
}

void agenda_close(struct agenda *a)
{
    for (uint32_t i = 0; i < a->count; i++) {
        struct hidden_step *h = a->items[i].hidden;
        if (!h)
            continue;
        free(h->state);
        h->state = NULL;
        h->measured = false;
    }
    free(a->items);
    *a = (struct agenda){0};
}

bool agenda_ready(const struct agenda *a, uint32_t i)
{
    const struct step *s = a->items[i].step;
    for (uint32_t k = 0; k < s->nneeds; k++)
        if (!s->needs[k]->measured)
            return false;
    return true;
}

void agenda_done(struct agenda *a, uint32_t i, void *state)
{
    const struct step *s = a->items[i].step;
    struct hidden_step *own = a->items[i].hidden;
    if (own) {
        own->state = state;
        own->measured = true;
    }
    for (uint32_t k = 0; k < s->nneeds; k++) {
        struct hidden_step *h = s->needs[k];
        if (--h->nusers > 0)
            continue;
        free(h->state);
        h->state = NULL;
    }
}

static uint64_t needed_bytes(const struct step *s)
{
    uint64_t total = 0;
    for (uint32_t k = 0; k < s->nneeds; k++) {
        const struct step *h = &s->needs[k]->step;
        total += h->op->state_bytes ? h->op->state_bytes(h) : 0;
    }
    return total;
}

uint64_t agenda_state_bytes(const struct plan *p)
{
    uint64_t most = 0, before = 0;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        const uint64_t now = needed_bytes(&p->steps[i]);
        most = before + now > most ? before + now : most;
        before = now;
    }
    return most;
}
