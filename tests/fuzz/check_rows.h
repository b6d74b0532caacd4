/* check_rows.h - one row of weights through the kernels. */
#ifndef QUERN_CHECK_ROWS_H
#define QUERN_CHECK_ROWS_H

#include "core/dtype.h"
#include "fuzz.h"

/* What to do with it is in the first two bytes. */
void check_row(enum dtype d, struct fuzz_bytes *b);

#endif
