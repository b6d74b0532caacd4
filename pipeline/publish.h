/* publish.h - the output side of a run: part files at the start, final names at the end. */
#ifndef QUERN_PUBLISH_H
#define QUERN_PUBLISH_H

#include "journal.h"

struct publication {
    struct parts parts;
    struct output_dir dir;
    struct journal *journal; /* NULL for plans that write nothing */
    bool begun;              /* from here on the part files are ours */
    bool naming;             /* an earlier run ended while its files got their names */
    bool complete;           /* an earlier run ended after it had made everything */
};

/* Is there room, may the names be taken? Then create all part files, their space reserved; with
 * options->resume, go on with those of an interrupted run. */
enum quern_status publish_begin(const struct plan *p, const struct quern_run_options *options,
                                struct publication *pub, struct quern_error *err);
/* Headers and side files, sync, rename; the record last. */
enum quern_status publish_commit(const struct plan *p, const struct quern_run_options *options,
                                 struct publication *pub, uint64_t *bytes_moved,
                                 struct quern_error *err);
/* Ends what is not committed, frees the rest; fine after a commit and on a zeroed object. keep:
 * what is finished stays for a run that resumes; true when there is anything to stay. */
bool publish_end(const struct plan *p, const struct quern_run_options *options,
                 struct publication *pub, bool keep);

/* May the outputs of this plan be made at all? For dry runs too. */
enum quern_status publish_check(const struct plan *p, struct quern_error *err);

#endif
