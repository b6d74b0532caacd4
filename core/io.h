/* io.h - files: whole reads and writes, part files that appear only when complete. */
#ifndef QUERN_IO_H
#define QUERN_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "arena.h"
#include "error.h"

/* What tells one file (and one state of it) from another. */
struct file_id {
    uint64_t dev, ino, nbytes;
    int64_t mtime_ns;
};

/* An input: opened O_NONBLOCK so that a FIFO cannot hang us, then checked to be a regular file. */
enum quern_status input_open(const char *path, int *fd, struct file_id *id,
                             struct quern_error *err);

/* All n bytes or an error; a short file is EIO ("shrank while reading"). */
enum quern_status pread_full(int fd, void *buf, size_t n, uint64_t offset, const char *path,
                             struct quern_error *err);
enum quern_status pwrite_full(int fd, const void *buf, size_t n, uint64_t offset, const char *path,
                              struct quern_error *err);

/* A whole small file, NUL-terminated, in the arena. Larger than max is EFORMAT "too-large". */
enum quern_status read_small_file(const char *path, uint64_t max, struct arena *arena,
                                  struct str *out, struct quern_error *err);

/* "dir/name" in the arena; dir may be NULL or empty. NULL when memory ran out. */
char *path_join(struct arena *arena, const char *dir, const char *name);
/* Where path is now that some have moved: pairs are "OLD=NEW", OLD a path or the directories that
 * one begins with. path itself when none fits, else the arena's; NULL when memory ran out. */
const char *path_moved(struct arena *arena, const char *const *pairs, size_t npairs,
                       const char *path);
/* The part of path after the last slash. */
const char *path_base(const char *path);

#endif
