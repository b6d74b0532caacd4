/* json_edit.h - change one member of a JSON text and leave all its other bytes as they are. */
#ifndef QUERN_JSON_EDIT_H
#define QUERN_JSON_EDIT_H

#include "core/arena.h"
#include "core/error.h"

/* *out, the arena's, is the object text with its top-level member key replaced by value (JSON), or
 * added at the end. EFORMAT when text is no JSON object. NaN and infinities are let pass. */
enum quern_status json_set(struct arena *arena, struct str text, const char *key, const char *value,
                           struct str *out, struct quern_error *err);

#endif
