/* made.h - the result of a step of an earlier stage as a source of a later one.
 *
 * fuse.h turns a step with such sources into one that makes everything on the way. Read on its own,
 * by a kind of source around it or by an op that fetches, a made source can only be what needs no
 * statistics of the whole tensor: see made_alone(). */
#ifndef QUERN_MADE_H
#define QUERN_MADE_H

#include "pipeline/plan.h"

/* What a step makes, rounded to its type. The step and all that belongs to it must outlive the
 * source; memory is the arena's. A step that only copies gives its own source under its name. */
enum quern_status made_source(const struct step *s, struct arena *arena, struct source *out,
                              struct quern_error *err);

/* The step that makes this source, or NULL when nothing does. */
const struct step *made_by(const struct source *s);

/* Can it be read on its own? True for sources that are not made. */
bool made_alone(const struct source *s);

/* Rounds a piece to the type its step stores. room: PIECE doubles. */
void made_round(const struct step *s, void *y, uint8_t *room, size_t n);

#endif
