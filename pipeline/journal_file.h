/* journal_file.h - the journal as a file: its head, and records that each vouch for all before. */
#ifndef QUERN_JOURNAL_FILE_H
#define QUERN_JOURNAL_FILE_H

#include <stdio.h>

#include "core/output.h"
#include "plan.h"

#define RECORD_MAX 4096u /* payload of a record */

struct journal_file {
    char *path;         /* malloc'ed */
    int fd;             /* locked; -1: not open */
    uint64_t old_bytes; /* when it was opened */
    uint64_t end;       /* of the last sound record */
    uint64_t nrecords;
    bool has_head;
    uint8_t identity[32]; /* of the plan as it was before the run: headers may be completed by it */
    uint8_t chain[32];    /* the digest of everything up to end */
    FILE *reader;         /* NULL but while it is read */
};

/* What an output in the making is, beside the plan. */
struct journal_head {
    uint64_t dir_ino; /* with plan->dir; else 0 */
    uint64_t *inos;   /* of the plan's files; malloc'ed */
};

/* RECORD_ENTRIES: of tiles that were appended, in their order, from number `first` on; n of them.
 */
enum journal_kind { RECORD_CHUNKS = 1, RECORD_REPORT, RECORD_ENTRIES };

struct journal_record {
    uint32_t kind;
    uint32_t nbytes; /* of the payload that follows */
    uint64_t first, n;
};

enum quern_status journal_file_open(struct journal_file *f, const char *output,
                                    struct quern_error *err);
/* remove: only while the name still leads to this file. */
void journal_file_close(struct journal_file *f, bool remove);

/* Reads the head and compares it with the plan. *sound is false when it was never finished. */
enum quern_status journal_file_head(struct journal_file *f, const struct plan *p,
                                    struct journal_head *h, bool *sound, struct quern_error *err);
void journal_head_free(struct journal_head *h);
/* The next sound record, payload and all; false when there is no more. */
bool journal_file_next(struct journal_file *f, struct journal_record *r,
                       uint8_t payload[RECORD_MAX]);

/* Goes on after the last sound record, or anew. */
enum quern_status journal_file_cut(struct journal_file *f, bool keep, struct quern_error *err);
/* The head, and entries of the output in its directory that outlast a crash. */
enum quern_status journal_file_begin(struct journal_file *f, const struct plan *p,
                                     const struct output *outs, struct quern_error *err);
enum quern_status journal_file_append(struct journal_file *f, const struct journal_record *r,
                                      const void *payload, struct quern_error *err);
enum quern_status journal_file_sync(struct journal_file *f, struct quern_error *err);

#endif
