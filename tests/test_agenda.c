/* test_agenda.c - hidden steps are ready when they are needed, and what they keep is bounded. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "pipeline/agenda.h"
#include "tests/leaks.h"

enum { NSTEPS = 60, NHIDDEN = 90, MOST_NEEDS = 4, MOST_JOBS = 40 };

static uint64_t seed;

static unsigned below(unsigned n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(seed >> 33) % n;
}

/* The size of a state is its step's number of elements. */
static size_t state_bytes(const struct step *s)
{
    return s->nelems;
}

static const struct op op_measures = {.name = "measures", .state_bytes = state_bytes};

static struct step steps[NSTEPS];
static struct hidden_step hidden[NHIDDEN];
static struct hidden_step *all[NHIDDEN], *needs[NSTEPS][MOST_NEEDS];

static void need(uint32_t step, struct hidden_step *h)
{
    struct step *s = &steps[step];
    for (uint32_t k = 0; k < s->nneeds; k++)
        if (needs[step][k] == h)
            return;
    needs[step][s->nneeds++] = h;
}

/* Steps need hidden ones that lie near, and now and then one from far away. */
static void make_plan(struct plan *p)
{
    *p = (struct plan){
        .steps = steps, .nsteps = NSTEPS, .hidden = all, .nhidden = NHIDDEN, .nfiles = 1};
    for (uint32_t i = 0; i < NHIDDEN; i++) {
        all[i] = &hidden[i];
        hidden[i] = (struct hidden_step){
            .step = {.op = &op_measures, .nelems = 1 + below(1000)},
        };
    }
    for (uint32_t i = 0; i < NSTEPS; i++) {
        steps[i] = (struct step){.op = &op_measures, .needs = needs[i]};
        for (unsigned k = below(MOST_NEEDS + 1); k > 0; k--)
            need(i, &hidden[below(12) ? i + below(NHIDDEN - NSTEPS) : below(NHIDDEN)]);
    }
}

static uint64_t kept_bytes(void)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < NHIDDEN; i++)
        total += hidden[i].state ? hidden[i].step.nelems : 0;
    return total;
}

/* As a run does: items begin in their order, when they are ready, and end in any order. */
static void work_through(struct agenda *a, unsigned most_jobs, uint64_t bound)
{
    uint32_t open[MOST_JOBS], nopen = 0, next = 0;
    while (next < a->count || nopen > 0) {
        while (nopen < most_jobs && next < a->count && agenda_ready(a, next)) {
            const struct step *s = a->items[next].step;
            for (uint32_t k = 0; k < s->nneeds; k++)
                cr_assert(s->needs[k]->state);
            open[nopen++] = next++;
        }
        cr_assert(nopen > 0, "nothing is ready after %u of %u", next, a->count);
        const uint32_t k = below(3) ? nopen - 1 : below(nopen), item = open[k];
        const struct hidden_step *h = a->items[item].hidden;
        open[k] = open[--nopen];
        agenda_done(a, item, h ? malloc(h->step.nelems) : NULL);
        cr_assert(kept_bytes() <= bound, "%llu of %llu", (unsigned long long)kept_bytes(),
                  (unsigned long long)bound);
    }
}

Test(agenda, states_are_there_and_bounded)
{
    for (seed = 1; seed < 400; seed += 1) {
        const uint64_t start = seed;
        struct plan p;
        struct agenda a;
        struct quern_error err;
        make_plan(&p);
        cr_assert(agenda_open(&p, NULL, false, &a, &err) == QUERN_OK);
        work_through(&a, 1 + below(MOST_JOBS), agenda_state_bytes(&p));
        cr_assert(kept_bytes() == 0);
        agenda_close(&a);
        seed = start;
    }
    CHECK_LEAKS();
}

/* All states together are more than what is kept at a time. */
Test(agenda, few_states_at_a_time)
{
    struct plan p;
    seed = 7;
    make_plan(&p);
    for (uint32_t i = 0; i < NSTEPS; i++)
        steps[i].nneeds = 0;
    for (uint32_t i = 0; i < NHIDDEN; i++) {
        hidden[i].step.nelems = 100;
        hidden[i].first_user = UINT32_MAX;
        hidden[i].last_user = 0;
    }
    for (uint32_t i = 0; i < NSTEPS; i++)
        need(i, &hidden[i]);
    cr_assert_eq(agenda_state_bytes(&p), 900);
    need(NSTEPS - 1, &hidden[0]); /* kept from the first step to the last */
    cr_assert_eq(agenda_state_bytes(&p), 1000);
    need(3, &hidden[4]);
    cr_assert_eq(agenda_state_bytes(&p), 1000);
}
