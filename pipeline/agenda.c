/* agenda.c - put hidden steps before those that need them, and keep what they have measured. */
#include "agenda.h"

#include <stdlib.h>

#include "hashing.h"

#define AHEAD 8u /* a hidden step begins when one of so many steps needs it */

static void add(struct agenda *a, struct work w)
{
    a->items[a->count++] = w;
}

/* Any time is right for a digest: its state is small. */
static void add_hash(struct hash_step *h, void *agenda)
{
    add(agenda, (struct work){&h->work.step, &h->work, 0, false});
}

static void add_hashes(struct agenda *a, const struct plan *p, const struct step *s)
{
    for (unsigned k = 0; k < s->nsources; k++)
        hashes_before(p->hashes, &s->sources[k], add_hash, a);
}

static void add_needs(struct agenda *a, const struct plan *p, uint32_t i)
{
    const struct step *s = &p->steps[i];
    for (uint32_t k = 0; k < s->nneeds; k++) {
        struct hidden_step *h = s->needs[k];
        if (h->listed)
            continue;
        h->listed = true;
        add_hashes(a, p, &h->step);
        add(a, (struct work){&h->step, h, i, false});
    }
}

static void count_users(const struct step *s)
{
    for (uint32_t k = 0; k < s->nneeds; k++)
        s->needs[k]->nusers++;
}

/* The first step from i on that an earlier run has not finished. */
static uint32_t unfinished(const struct plan *p, const struct journal *j, uint32_t i)
{
    while (i < p->nsteps && journal_skips_step(j, i))
        i++;
    return i;
}

static void find_first(struct agenda *a)
{
    while (a->first < a->count && (a->items[a->first].hidden || a->items[a->first].done))
        a->first++;
}

static void add_steps(struct agenda *a, const struct plan *p, const struct journal *j)
{
    uint32_t i = unfinished(p, j, 0);
    if (i < p->nsteps)
        add_needs(a, p, i);
    while (i < p->nsteps) {
        const uint32_t next = unfinished(p, j, i + 1);
        const bool near = next < p->nsteps && next - i <= AHEAD;
        if (near)
            add_needs(a, p, next);
        add_hashes(a, p, &p->steps[i]);
        add(a, (struct work){&p->steps[i], NULL, i, false});
        if (!near && next < p->nsteps)
            add_needs(a, p, next);
        i = next;
    }
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
    find_first(a);
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
    const struct work *w = &a->items[i];
    for (uint32_t k = 0; k < w->step->nneeds; k++)
        if (!w->step->needs[k]->measured)
            return false;
    return !w->hidden || a->items[a->first].index + AHEAD >= w->index;
}

void agenda_done(struct agenda *a, uint32_t i, void *state)
{
    const struct step *s = a->items[i].step;
    struct hidden_step *own = a->items[i].hidden;
    if (own) {
        own->state = state;
        own->measured = true;
    }
    a->items[i].done = true;
    find_first(a);
    for (uint32_t k = 0; k < s->nneeds; k++) {
        struct hidden_step *h = s->needs[k];
        if (--h->nusers > 0)
            continue;
        free(h->state);
        h->state = NULL;
    }
}

static uint64_t state_bytes(const struct hidden_step *h)
{
    const struct step *s = &h->step;
    return s->op->state_bytes ? s->op->state_bytes(s) : 0;
}

/* States that are kept from step i of the plan on, when steps are made one after the other. */
static uint64_t first_needed_by(const struct plan *p, uint32_t i)
{
    uint64_t total = 0;
    for (uint32_t k = 0; i < p->nsteps && k < p->steps[i].nneeds; k++)
        if (p->steps[i].needs[k]->first_user == i)
            total += state_bytes(p->steps[i].needs[k]);
    return total;
}

static uint64_t last_needed_by(const struct plan *p, uint32_t i)
{
    uint64_t total = 0;
    for (uint32_t k = 0; k < p->steps[i].nneeds; k++)
        if (p->steps[i].needs[k]->last_user == i)
            total += state_bytes(p->steps[i].needs[k]);
    return total;
}

static void number_users(const struct plan *p)
{
    for (uint32_t i = p->nsteps; i-- > 0;)
        for (uint32_t k = 0; k < p->steps[i].nneeds; k++)
            p->steps[i].needs[k]->first_user = i;
    for (uint32_t i = 0; i < p->nsteps; i++)
        for (uint32_t k = 0; k < p->steps[i].nneeds; k++)
            p->steps[i].needs[k]->last_user = i;
}

uint64_t agenda_state_bytes(const struct plan *p)
{
    uint64_t most = 0, kept = 0;
    number_users(p);
    for (uint32_t i = 0; i < AHEAD; i++)
        kept += first_needed_by(p, i);
    for (uint32_t i = 0; i < p->nsteps; i++) {
        kept += first_needed_by(p, i + AHEAD);
        most = kept > most ? kept : most;
        kept -= last_needed_by(p, i);
    }
    return most;
}
