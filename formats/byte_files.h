/* byte_files.h - any files as a model: one tensor of bytes for each, whatever is in it. */
#ifndef QUERN_BYTE_FILES_H
#define QUERN_BYTE_FILES_H

#include "formats/model.h"

/* Tensor i is all of file i, under its path as name; paths are copied. Only for reading bytes: no
 * format is looked for. Takes the first *taken of n files, one at least: those that lie on the
 * disk, or all in the same archive. Free with model_close(). */
enum quern_status byte_files_open(const char *const *paths, uint32_t n, uint32_t *taken,
                                  struct model **out, struct quern_error *err);

/* The size of a regular file, on the disk or in an archive that is open; false when there is none.
 */
bool byte_file_size(const char *path, uint64_t *nbytes);
bool byte_file_has_size(const char *path, uint64_t nbytes);

#endif
