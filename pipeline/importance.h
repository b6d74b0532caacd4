/* importance.h - give the steps of a plan their entries of an importance matrix. */
#ifndef QUERN_IMPORTANCE_H
#define QUERN_IMPORTANCE_H

#include "name_list.h"
#include "plan.h"

struct importance {
    struct plan *plan;
    const struct quern_quantize *q;
    bool *left_out;  /* per entry, by --include-weights or --exclude-weights */
    uint32_t nkept;  /* entries that are not; 0: as if there were no matrix */
    uint32_t nneeds; /* steps that cannot go without an entry and have none */
    struct name_list missing;
};

/* Opens q->imatrix for the plan, if there is one, and applies its filters. Errors: EUSAGE (a filter
 * that matches nothing, or both kinds), those of imatrix_open(). */
enum quern_status importance_open(struct importance *im, struct plan *p,
                                  const struct quern_quantize *q, struct quern_error *err);

/* The keys quantize.imatrix.* in llama-quantize's order; nothing without entries. */
enum quern_status importance_keys(const struct importance *im, struct meta_list *metas,
                                  struct quern_error *err);

/* Sets s->importance of a step that is going to be encoded as s->dtype. name: of its entry.
 * required: without one the result would be garbage. A lack makes the plan one that cannot be run;
 * an entry of another size is EUSAGE, but for embeddings. */
enum quern_status importance_give(struct importance *im, struct step *s, struct str name,
                                  bool required, struct quern_error *err);

/* Sets s->importance to e when that has a value for every column of every matrix of the step, else
 * says that it does not fit. Which values belong to one matrix is told by the step: a .dat does not
 * know, and one count may serve several. EMEMORY. */
enum quern_status importance_attach(struct plan *p, struct step *s, const struct imatrix_entry *e,
                                    bool *fits, struct quern_error *err);

/* Notes on tensors without entry and on entries without tensor in m. */
enum quern_status importance_notes(const struct importance *im, const struct model *m,
                                   struct quern_error *err);

#endif
