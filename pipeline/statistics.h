/* statistics.h - measure what a plan needs to know of whole tensors in a stage before it is run.
 *
 * A step that measures leaves a state: cuts, factors, sums. With it any stretch of its output can
 * be made without reading the rest. The stage makes a record of each of its portions, the states of
 * some steps and of the hidden ones that they need; a plan takes from the records what its steps
 * need and measures nothing. The same plan gives the same record, byte for byte, whatever the
 * threads or the memory; it holds structs as they lie in memory. */
#ifndef QUERN_STATISTICS_H
#define QUERN_STATISTICS_H

#include "pipeline/plan.h"

struct measuring {
    uint32_t *steps; /* that need a state, or something hidden that has one; ascending */
    uint32_t *first; /* of a portion, among them; first[count] is their number */
    uint32_t count;  /* of portions: 0 when nothing is to be measured */
};

/* Portions that read nearly as much as each other, as many as asked for or as there are such steps.
 * In the arena. */
enum quern_status measuring_divide(const struct plan *p, uint32_t count, struct arena *arena,
                                   struct measuring *out, struct quern_error *err);
/* Which portion measures this step; false when it needs nothing. */
bool measuring_of(const struct measuring *m, uint32_t step, uint32_t *portion);

/* The plan becomes one that measures what the portion has, and writes nothing. */
enum quern_status plan_keep_measuring(struct plan *p, const struct measuring *m, uint32_t portion,
                                      struct quern_error *err);
/* After its run: the record, in the plan's memory. digest: of what it is about, 64 characters. */
enum quern_status statistics_record(struct plan *p, const struct measuring *m, uint32_t portion,
                                    const char *digest, struct str *out, struct quern_error *err);

/* Of that digest and portion, and whole. */
bool statistics_fit(struct str record, uint32_t portion, const char *digest);
/* The plan's steps take their states from such a record. EFORMAT "statistics" when it has other
 * states than these steps need. */
enum quern_status statistics_take(struct plan *p, struct str record, struct quern_error *err);

#endif
