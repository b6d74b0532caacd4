/* check_model.h - what holds for every model that was taken, whatever its file looked like. */
#ifndef QUERN_FUZZ_CHECK_MODEL_H
#define QUERN_FUZZ_CHECK_MODEL_H

#include "formats/model.h"
#include "fuzz.h"

void check_model(const struct model *m);

#endif
