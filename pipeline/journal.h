/* journal.h - what of an output lies on the disk already, so that an interrupted run can go on.
 *
 * .NAME.quern-journal beside the part files. It is the lock of a run from its start, and empty
 * until there is work worth keeping. A thread of its own syncs the part files now and then and
 * appends what they are known to hold since: ranges of chunks, numbered through all steps in their
 * order. Chunks do not depend on threads or memory, so those may change from run to run. Every
 * record has a checksum over it and all before it: a torn tail, or what is left of an older
 * journal, is not taken. Numbers are in the order of the machine: the journal does not outlive the
 * run. */
#ifndef QUERN_JOURNAL_H
#define QUERN_JOURNAL_H

#include "parts.h"
#include "plan.h"

struct journal;

/* Memory it takes: what --mem counts. */
uint64_t journal_bytes(const struct plan *p);

/* EEXIST "locked" when another run is making the same output. */
enum quern_status journal_open(const struct plan *p, struct journal **out, struct quern_error *err);

/* Where what the journal is about was found. */
enum journal_place { PLACE_GONE, PLACE_PART, PLACE_FINAL };

/* Reads what an earlier run left. *fits: there is something to go on with, and then place_of() each
 * file is PART or FINAL, with plan->dir all the same; else *why says what is missing, or is NULL
 * when nothing is there at all. EUSAGE "resume" when it is about another plan or of another
 * version, EIO "changed" when an input is not what it was. */
enum quern_status journal_load(struct journal *j, bool *fits, const char **why,
                               struct quern_error *err);
enum journal_place journal_place_of(const struct journal *j, uint32_t file);
/* There is something in it, whether it fits or not. */
bool journal_holds_work(const struct journal *j);

/* What is in it must not be believed any more, not even after a crash. */
enum quern_status journal_forget(struct journal *j, struct quern_error *err);
/* From here on it is about these files, and the directory they lie in. seconds: the longest time
 * between two syncs, nearly. */
enum quern_status journal_start(struct journal *j, struct parts *parts, double seconds,
                                struct quern_error *err);
/* Elements [first, first + n) of a step have been written. Fails when a sync has failed. */
enum quern_status journal_done(struct journal *j, uint32_t step, uint64_t first, uint64_t n,
                               struct quern_error *err);
/* ... were written by an earlier run. */
bool journal_skips(const struct journal *j, uint32_t step, uint64_t first, uint64_t n);
/* All of a step was, and nothing needs to be known about it: its report is restored. */
bool journal_skips_step(const struct journal *j, uint32_t step);
/* The next tile of a sink, one of this step, has been appended to the output. */
enum quern_status journal_append(struct journal *j, uint32_t step, const void *entry,
                                 struct quern_error *err);
/* The step's ops has its report. */
void journal_report(struct journal *j, uint32_t step);

/* Of the output's bytes, those that an earlier run has written. */
uint64_t journal_kept_bytes(const struct journal *j);

/* Ends the thread; with flush all that is done is synced and recorded. *trouble: why the journal
 * could not be kept, which is no error, or NULL. */
enum quern_status journal_stop(struct journal *j, bool flush, const char **trouble,
                               struct quern_error *err);
/* Some work is recorded. */
bool journal_can_resume(const struct journal *j);
/* Frees it. remove: the file goes, too. NULL is allowed. */
void journal_close(struct journal *j, bool remove);

#endif
