/* folder.h - the small files beside a model: those of a directory, or of one that is never written
 * and whose files are still in memory or elsewhere. */
#ifndef QUERN_FOLDER_H
#define QUERN_FOLDER_H

#include "pipeline/plan.h"

struct folder {
    const char *path; /* of the directory; of one that is not written: a name for messages */
    bool made;        /* it has the sides and nothing else */
    const struct side_file *sides; /* they come before files of a directory with these names */
    uint32_t nsides;
};

struct folder_file {
    const char *path;      /* for messages */
    const char *copy_from; /* where its bytes are, or NULL: ... */
    struct str text;       /* ... these */
};

/* Is there a regular file of this name? The name may have a directory in front. Memory is the
 * arena's. */
enum quern_status folder_find(const struct folder *f, const char *name, struct arena *arena,
                              bool *found, struct folder_file *out, struct quern_error *err);

/* All its bytes, which may be changed, with a zero behind them; EFORMAT when there are more than
 * max_bytes. */
enum quern_status folder_read(const struct folder_file *file, uint64_t max_bytes,
                              struct arena *arena, struct str *out, struct quern_error *err);

/* The names of the files with this ending in a directory of the folder, sorted by bytes; none when
 * it does not exist. names has room for most of them; EUNSUPPORTED when there are more. */
enum quern_status folder_list(const struct folder *f, const char *sub, const char *ending,
                              struct arena *arena, const char **names, size_t most, size_t *count,
                              struct quern_error *err);

/* The last part of its path, wherever the path starts from. */
enum quern_status folder_name(const struct folder *f, struct arena *arena, struct str *out,
                              struct quern_error *err);

#endif
