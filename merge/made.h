/* made.h - the result of a step as a source of another one.
 *
 * fuse.h turns a step with such sources into one that makes everything on the way. A made source
 * can also be read on its own, by a kind of source around it or by an op that fetches, see
 * made_alone(): what measures is a hidden step then. */
#ifndef QUERN_MADE_H
#define QUERN_MADE_H

#include "pipeline/plan.h"

/* What a step makes, rounded to its type. The step and all that belongs to it must outlive the
 * source; memory is the arena's. A step that only copies gives its own source under its name. */
enum quern_status made_source(const struct step *s, struct arena *arena, struct source *out,
                              struct quern_error *err);

/* The same of a hidden step, which must be measured before the source is read. */
enum quern_status made_measured(struct hidden_step *h, struct arena *arena, struct source *out,
                                struct quern_error *err);

/* The hidden step that the source itself needs, not those that it reads from need; or NULL. */
struct hidden_step *made_needs(const struct source *s);

/* The step that makes this source, or NULL when nothing does. */
const struct step *made_by(const struct source *s);

/* Can it be read on its own? True for sources that are not made, and for those that are unless they
 * are no numbers, or too many others are read for them. */
bool made_alone(const struct source *s);
/* EUNSUPPORTED when not; the error names the tensor. */
enum quern_status made_check_alone(const struct source *s, struct str name,
                                   struct quern_error *err);
/* EUNSUPPORTED for what several stages at once cannot do. */
enum quern_status made_fail(struct quern_error *err, struct str tensor, const char *why);

/* Rounds a piece to the type its step stores. room: PIECE doubles. */
void made_round(const struct step *s, void *y, uint8_t *room, size_t n);

#endif
