/* learn.h - find out from a known pair, a model and the GGUF made of it, what becomes of tensors.
 *
 * Tensors are known again by their values (fingerprint.h). Two plans are run for that: the first
 * measures all tensors of both, the second tries what may explain another order of values:
 *
 *     TRY(learn_new(hf, gguf, &l, err));
 *     while (TRY(learn_next(l, &plan, err)), plan)
 *         run it, free it
 *     learn_map(l), learn_note(l, 0) ... */
#ifndef QUERN_LEARN_H
#define QUERN_LEARN_H

#include "map.h"

struct learning;

/* Both models must stay open. EUNSUPPORTED for GGUFs of types that depend on an importance matrix,
 * or that have no values. */
enum quern_status learn_new(struct model *hf, struct model *gguf, struct learning **out,
                            struct quern_error *err);
void learn_free(struct learning *l);

/* The next plan to run, and to free before the next call; NULL when the map is complete. Errors:
 * EUSAGE "learn" for tensors that come from nowhere, or from more than one place. */
enum quern_status learn_next(struct learning *l, struct plan **plan, struct quern_error *err);

const struct tensor_map *learn_map(const struct learning *l);
/* What should be known of it, or NULL behind the last. */
const char *learn_note(const struct learning *l, uint32_t i);

#endif
