/* prune.h - leave out layers of a GGUF plan and number the others anew. */
#ifndef QUERN_PRUNE_H
#define QUERN_PRUNE_H

#include "plan.h"

/* Takes the layers of q->prune_layers out of the steps, renames the rest, and rewrites
 * ARCH.block_count and (but for q->reference_bugs) the keys that have one value for each layer.
 * nlayers is the model's block_count. Errors: EUSAGE (no list of layers, or one the model does not
 * have). */
enum quern_status plan_prune(struct plan *p, const struct quern_quantize *q, struct str arch,
                             uint32_t nlayers, struct meta_list *metas, struct quern_error *err);

/* llama-quantize looks up the data of a renamed tensor under its new name, and so writes layers
 * that should be gone. Does the same to a plan that is laid out. Errors: EUNSUPPORTED where there
 * is no tensor of that name, type and size, and llama-quantize fails or reads beyond it. */
enum quern_status plan_misplace_pruned(struct plan *p, struct model *m, struct quern_error *err);

#endif
