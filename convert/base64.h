/* base64.h - bytes in JSON texts. */
#ifndef QUERN_BASE64_H
#define QUERN_BASE64_H

#include "core/arena.h"
#include "core/error.h"

/* The bytes are the arena's. EFORMAT "base64". */
enum quern_status base64_decode(struct arena *arena, struct str text, struct str *out,
                                struct quern_error *err);

#endif
