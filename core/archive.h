/* archive.h - archives that are open stand in the tree of files like directories.
 *
 * Who opens one mounts it under its path; then ARCHIVE/NAME is a file to everyone who reads small
 * files or asks what is there, until the last user is done with it. */
#ifndef QUERN_ARCHIVE_H
#define QUERN_ARCHIVE_H

#include "arena.h"
#include "error.h"
#include "io.h"

struct archive;

struct archive_kind {
    /* Entry i has a name with slashes between its parts; NULL behind the last. */
    const char *(*name)(const struct archive *a, uint32_t i, uint64_t *nbytes);
    /* From any thread. */
    enum quern_status (*read)(struct archive *a, uint32_t entry, void *buf, size_t n,
                              uint64_t offset, struct quern_error *err);
    /* EIO "changed" when the archive is not what it was, or anything that it reads from. */
    enum quern_status (*unchanged)(struct archive *a, struct quern_error *err);
    /* Memory: what it holds, and what each worker adds that reads from it. */
    uint64_t (*held_bytes)(const struct archive *a);
    uint64_t (*worker_bytes)(const struct archive *a);
    void (*set_workers)(struct archive *a, uint32_t nworkers);
    void (*close)(struct archive *a);
};

/* The first member of a struct that has the rest. */
struct archive {
    const struct archive_kind *kind;
    const char *path;
    struct file_id id;    /* of the file it lies in */
    struct archive *next; /* of those that are mounted */
    uint32_t nusers;
};

/* Mounts a with one user, or closes it and takes the one of this path that is there already. */
struct archive *archive_mount(struct archive *a);
/* One user more of the archive at this path, or NULL. */
struct archive *archive_use(const char *path);
/* One user less; the last one closes it. NULL is allowed. */
void archive_leave(struct archive *a);

/* The mounted archive that path leads to, and what of the path lies in it: nothing when it is the
 * archive itself. NULL when there is none. Its user keeps it there. */
struct archive *archive_at(const char *path, const char **rest);
/* Its entry of this name. */
bool archive_find(const struct archive *a, const char *name, uint32_t *entry, uint64_t *nbytes);

/* ---- on the disk or in an archive ----------------------------------------------------------- */

/* An open file. */
struct any_file {
    const char *path; /* as given, not copied */
    int fd;           /* -1: in an archive, whose user keeps it there */
    struct archive *archive;
    uint32_t entry;
    uint64_t nbytes;
};
enum quern_status any_open(const char *path, struct any_file *f, struct quern_error *err);
enum quern_status any_read(const struct any_file *f, void *buf, size_t n, uint64_t offset,
                           struct quern_error *err);
void any_close(struct any_file *f);

bool path_is_file(const char *path);
bool path_exists(const char *path); /* else errno says why */
bool path_is_dir(const char *path);
/* What a directory has but "." and "..", sorted by bytes. */
enum quern_status path_list(const char *dir, struct arena *arena, const char ***names,
                            uint32_t *count, struct quern_error *err);

#endif
