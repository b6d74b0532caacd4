/* hidden.h - steps that only measure, behind sources that read what they make.
 *
 * hide_step() puts them there while steps are planned; when all steps are, hidden_needs() finds
 * which of them each step needs. */
#ifndef QUERN_HIDDEN_H
#define QUERN_HIDDEN_H

#include "merge/made.h"

/* What a step makes, as a source: of a hidden copy of it when it measures, see made.h. */
enum quern_status hide_step(const struct step *s, struct arena *arena, struct source *out,
                            struct quern_error *err);

/* Steps of a GGUF whose encoder looks at whole rows copy what a hidden step makes. */
enum quern_status hide_row_makers(struct plan *p, struct quern_error *err);

/* Sets the needs of all steps, hidden ones too, and the plan's list of those. */
enum quern_status hidden_needs(struct plan *p, struct quern_error *err);

#endif
