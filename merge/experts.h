/* experts.h - experts that are stored one by one, beside models that store them stacked. */
#ifndef QUERN_EXPERTS_H
#define QUERN_EXPERTS_H

#include "merge/pairing.h"

/* Newer checkpoints stack the experts of a layer in mlp.experts.gate_up_proj and down_proj; older
 * ones have a tensor for each (mlp.experts.N.gate_proj, or block_sparse_moe.experts.N.w1 ...).
 * Shows every model of a set in the layout of its donor. Views grow in scratch, the rest is in
 * keep. */
enum quern_status match_experts(struct model_set *set, struct arena *keep, struct arena *scratch,
                                struct quern_error *err);

#endif
