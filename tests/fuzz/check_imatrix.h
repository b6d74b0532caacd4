/* check_imatrix.h - open an importance matrix and read all of it. */
#ifndef QUERN_FUZZ_CHECK_IMATRIX_H
#define QUERN_FUZZ_CHECK_IMATRIX_H

#include "check_model.h"
#include "formats/imatrix.h"

void check_imatrix_file(const char *path);

#endif
