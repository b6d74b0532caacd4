/* imatrix.c - read importance matrices. */
#include "imatrix.h"

void imatrix_close(struct imatrix *im)
{
    (void)im;
}
