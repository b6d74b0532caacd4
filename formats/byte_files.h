/* byte_files.h - any files as a model: one tensor of bytes for each, whatever is in it. */
#ifndef QUERN_BYTE_FILES_H
#define QUERN_BYTE_FILES_H

#include "formats/model.h"

/* Tensor i is all of file i, under its path as name; paths are copied. Only for reading bytes: no
 * format is looked for. Free with model_close(). */
enum quern_status byte_files_open(const char *const *paths, uint32_t n, struct model **out,
                                  struct quern_error *err);

#endif
