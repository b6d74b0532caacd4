/* output.h - files and directories that appear under their name only when complete. */
#ifndef QUERN_OUTPUT_H
#define QUERN_OUTPUT_H

#include "error.h"

/* May path be made? QUERN_EEXIST when it is there (an empty directory does not count when as_dir)
 * and replace is false or it holds what quern must not delete; EIO when its directory is missing.
 */
enum quern_status output_check(const char *path, bool as_dir, bool replace,
                               struct quern_error *err);
/* A directory, if it is not there. */
enum quern_status output_make_dir(const char *path, struct quern_error *err);
/* Bytes a user may still write on the file system that will hold path. */
enum quern_status output_free_space(const char *path, uint64_t *nbytes, struct quern_error *err);

#define PART_SUFFIX    ".quern-part"
#define JOURNAL_SUFFIX ".quern-journal"

/* .NAME + suffix beside path; malloc'ed, NULL when memory ran out. A name that becomes too long is
 * cut, the same way in every run. Slashes at the end of path do not count. */
char *output_beside(const char *path, const char *suffix);
/* Opens lock_path, which is created when it is not there, and locks it until *fd is closed. EEXIST
 * "locked" when another run of path holds it. */
enum quern_status output_lock(const char *lock_path, const char *path, int *fd,
                              struct quern_error *err);
/* Makes the entry of path in its directory last. */
enum quern_status output_sync_dir(const char *path, struct quern_error *err);

/* A file that is being made: .NAME.quern-part beside its final place, locked, with all its disk
 * space reserved. All zero is valid for output_abort(). */
struct output {
    char *final_path; /* malloc'ed, both */
    char *part_path;
    int fd;    /* -1 while it is closed for a time */
    bool open; /* the part file is there and ours */
    bool inside;
    bool shared;
    uint32_t nusers; /* of fd: for whoever closes it for a time */
    uint64_t ino;
};
enum {
    OUTPUT_KEEP = 1,  /* what a part file holds is wanted: it is not made anew */
    OUTPUT_INSIDE = 2 /* in a directory that is itself being made: it has its name from the start */
};
/* EEXIST "locked" when another run is making the same file; EIO "disk-full" before any work. */
enum quern_status output_begin(struct output *o, const char *path, uint64_t nbytes, unsigned flags,
                               struct quern_error *err);
/* The file made becomes this one: by a second name, or as a copy where that cannot be. It stays
 * what it is under its own name. flags: OUTPUT_INSIDE. */
enum quern_status output_adopt(struct output *o, const char *path, const char *made, unsigned flags,
                               struct quern_error *err);
/* A file that several runs write to, each its own places, perhaps on several machines: it has its
 * name from the start, and its size whoever comes first. Nobody holds a lock; a commit syncs it,
 * and nothing ever removes it. EIO "changed" when a longer one is there. */
enum quern_status output_share(struct output *o, const char *path, uint64_t nbytes,
                               struct quern_error *err);
/* What tells such a file from another under its name, were it even in the place of the one before:
 * its inode and, where the system knows, when it was made. 0: it is not there. */
uint64_t output_mark(const char *path);
/* For a time: sync and close it, open it again. */
enum quern_status output_close(struct output *o, struct quern_error *err);
enum quern_status output_reopen(struct output *o, struct quern_error *err);
/* A whole small file. */
enum quern_status output_write(const char *path, struct str text, unsigned flags, bool replace,
                               struct quern_error *err);
/* Sync it, give it its name, sync the directory. replace: an existing file may go. */
enum quern_status output_commit(struct output *o, bool replace, struct quern_error *err);
/* Close and remove the part file; nothing happens once it is committed. */
void output_abort(struct output *o);
/* Close it and leave it for a run that goes on with it. */
void output_leave(struct output *o);

/* A directory that is being made: .NAME.quern-part/ filled with files, then renamed or, when it
 * replaces another, exchanged with it. */
struct output_dir {
    char *final_path;
    char *part_path;
    int fd;
    bool open;
};
/* keep: files that are there stay. */
enum quern_status output_dir_begin(struct output_dir *d, const char *path, bool keep,
                                   struct quern_error *err);
enum quern_status output_dir_commit(struct output_dir *d, bool replace, struct quern_error *err);
void output_dir_abort(struct output_dir *d);
void output_dir_leave(struct output_dir *d);

#endif
