/* relayer.h - tell the keys of a model that its layers are others now. */
#ifndef QUERN_RELAYER_H
#define QUERN_RELAYER_H

#include "merge/planner.h"

/* config.json: the layer count of every module made of slices, and every list with one item per
 * layer, whose items come from the models that the layers come from. */
enum quern_status relayer_config(struct planner *pl, struct str *config, struct quern_error *err);

/* The same for the keys of a GGUF: block_count, and arrays of its length. */
enum quern_status relayer_metas(struct planner *pl, struct meta_list *metas,
                                struct quern_error *err);

#endif
