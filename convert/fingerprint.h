/* fingerprint.h - sums over the values of tensors, by which they are known again in another file.
 *
 * Numbers made of every value are added up, modulo 2^64: once of the value alone, so that the sum
 * is the same in any order and those of parts add up to that of the whole; once of the value and
 * its place. Values are taken as the other file would store them. */
#ifndef QUERN_FINGERPRINT_H
#define QUERN_FINGERPRINT_H

#include "pipeline/plan.h"

/* What may have become of every value. */
enum change { CHANGE_NONE, CHANGE_ADD_ONE, CHANGE_NEG_EXP, NCHANGES };

struct fingerprint {
    uint64_t any_order, this_order;
};

#define MOST_TYPES 8u

/* Of one tensor, as each of some types and under each change. */
struct fingerprints {
    const struct tensor *tensor;
    bool exact;               /* the values were in blocks before, which are not made anew */
    bool known;               /* its values can be read */
    bool has[MOST_TYPES];     /* those of this type were made ... */
    bool changed[MOST_TYPES]; /* ... of changed values too */
    struct fingerprint of[MOST_TYPES * NCHANGES]; /* [type * NCHANGES + change] */
};

/* The sum in any order of n times the value v. */
uint64_t fingerprint_of_same(float v, uint64_t n);

/* The values of the tensor are looked at as these types; with one type that is its own, they are
 * as they are stored. */
struct fingerprint_ask {
    enum dtype types[MOST_TYPES];
    /* Of all tensors of the type together: larger ones cannot be parts of them. And of the largest:
     * larger ones are not changed, value by value, into one. */
    uint64_t nelems_of[MOST_TYPES], largest_of[MOST_TYPES];
    unsigned ntypes;
};

/* *s becomes a measuring step that fills *out. ask, out and source outlive the run. */
enum quern_status fingerprint_step(struct plan *p, struct step *s, const struct source *source,
                                   const struct fingerprint_ask *ask, bool changes,
                                   struct fingerprints *out, struct quern_error *err);

#endif
