/* check_model.h - what holds for every model that was taken, whatever its file looked like. */
#ifndef QUERN_FUZZ_CHECK_MODEL_H
#define QUERN_FUZZ_CHECK_MODEL_H

#include "formats/model.h"
#include "fuzz.h"

void check_model(const struct model *m);
/* What the library's callers are told is the same. */
void check_public(struct quern_model *q);

/* Read, laid out anew and read again it is the same model, and laid out once more the same bytes.
 */
struct round_trip {
    const char *name, *again; /* of the files */
    struct str (*lay_out)(const struct model *m, struct arena *a);
    void (*same)(const struct model *a, const struct model *b);
};
void check_round_trip(const struct round_trip *r, char *text, size_t n);

#endif
