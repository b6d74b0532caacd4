/* sequence.h - tiles that were made in any order, taken in theirs.
 *
 * A window of as many tiles as there is memory for: a worker begins the next one only while it fits
 * in. All functions but open and close are called with the run's lock held. */
#ifndef QUERN_SEQUENCE_H
#define QUERN_SEQUENCE_H

#include "plan.h"

/* Tiles in the window: so many, and so many for every worker. */
#define SEQUENCE_SPARE 1u
#define SEQUENCE_SHARE 2u

struct sequence_slot {
    struct sink_tile tile;
    uint32_t item; /* of the agenda, and the tile's number there: for errors */
    uint64_t number;
    bool ready;
};

struct sequence {
    struct sequence_slot *slots; /* NULL: the plan has no sink */
    uint8_t *memory;
    uint32_t nslots;
    uint64_t given, taken;
    bool taking;
};

/* Nothing when the plan has no sink. Close it whatever comes back. */
enum quern_status sequence_open(struct sequence *q, const struct sink *sink, uint32_t nworkers,
                                struct quern_error *err);
void sequence_close(struct sequence *q);

/* The window has no room. */
bool sequence_full(const struct sequence *q);
/* The next place in the order, empty but for its memory. */
struct sequence_slot *sequence_next(struct sequence *q);
/* Its turn: the first tile that was not taken, when it is ready and none is being taken; or NULL.
 * sequence_end() then makes room for another. */
struct sequence_slot *sequence_begin(struct sequence *q);
void sequence_end(struct sequence *q);

#endif
