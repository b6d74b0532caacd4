/* agenda.h - the order in which a run begins the steps of a plan.
 *
 * Hidden steps come before those that need them, but with another step between where there is one:
 * workers have that to do while the statistics of the hidden ones are completed. They begin only
 * when the first step that needs them is among the next few: so what they keep is bounded, however
 * far ahead the workers are. */
#ifndef QUERN_AGENDA_H
#define QUERN_AGENDA_H

#include "pipeline/journal.h"

struct work {
    const struct step *step;
    struct hidden_step *hidden; /* NULL: a step of the plan, ... */
    uint32_t index;             /* ... this one; of a hidden one, the first that needs it */
    bool done;
};

struct agenda {
    struct work *items;
    uint32_t count;
    uint32_t first; /* the first step of the plan that is not done, among the items */
};

/* Free with agenda_close() whatever comes back. What the journal (or NULL) knows to be finished is
 * not in it, nor what only that needs; with complete no step of the plan is, but digests are taken
 * anew in any case. */
enum quern_status agenda_open(struct plan *p, const struct journal *j, bool complete,
                              struct agenda *a, struct quern_error *err);
void agenda_close(struct agenda *a);

/* Has everything been measured that item i needs, and is its time near? */
bool agenda_ready(const struct agenda *a, uint32_t i);

/* Item i is done: a hidden step keeps its state, which was malloc'ed, as long as it is needed. What
 * item i needed and nobody else does is freed. Takes the state; only of a hidden one. */
void agenda_done(struct agenda *a, uint32_t i, void *state);

/* Most memory that states kept for others take at a time. */
uint64_t agenda_state_bytes(const struct plan *p);

#endif
