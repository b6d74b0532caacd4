/* check_plan.h - what holds for every plan, whatever it was made of. */
#ifndef QUERN_FUZZ_CHECK_PLAN_H
#define QUERN_FUZZ_CHECK_PLAN_H

#include "fuzz.h"
#include "pipeline/plan.h"

void check_plan(const struct plan *p);

#endif
