/* sequence.c - the window of tiles that wait for their turn. */
#include "sequence.h"

#include <stdlib.h>

enum quern_status sequence_open(struct sequence *q, const struct sink *sink, uint32_t nworkers,
                                struct quern_error *err)
{
    *q = (struct sequence){0};
    if (!sink)
        return QUERN_OK;
    q->nslots = SEQUENCE_SPARE + SEQUENCE_SHARE * nworkers;
    q->slots = calloc(q->nslots, sizeof *q->slots);
    q->memory = malloc(q->nslots * sink->kept_bytes);
    if (!q->slots || !q->memory)
        return fail_memory(err, q->nslots * sink->kept_bytes);
    for (uint32_t i = 0; i < q->nslots; i++)
        q->slots[i].tile.kept = q->memory + i * sink->kept_bytes;
    return QUERN_OK;
}

void sequence_close(struct sequence *q)
{
    free(q->slots);
    free(q->memory);
    *q = (struct sequence){0};
}

bool sequence_full(const struct sequence *q)
{
    return q->slots && q->given - q->taken >= q->nslots;
}

struct sequence_slot *sequence_next(struct sequence *q)
{
    struct sequence_slot *s = &q->slots[q->given++ % q->nslots];
    *s = (struct sequence_slot){.tile = {.kept = s->tile.kept}};
    return s;
}

struct sequence_slot *sequence_begin(struct sequence *q)
{
    struct sequence_slot *s = &q->slots[q->taken % q->nslots];
    if (q->taking || q->taken == q->given || !s->ready)
        return NULL;
    q->taking = true;
    return s;
}

void sequence_end(struct sequence *q)
{
    q->slots[q->taken++ % q->nslots].ready = false;
    q->taking = false;
}
