/* as_blocks.h - values that lie packed in blocks which a type of GGUF has too: move the blocks. */
#ifndef QUERN_AS_BLOCKS_H
#define QUERN_AS_BLOCKS_H

#include "pipeline/plan.h"

/* The form of part i of the source's blocks; NULL when it has no such part, or no blocks. */
const struct block_form *source_block_form(const struct source *s, uint32_t i);

/* A source of that type with the same shape, whose bytes are the blocks. */
enum quern_status source_as_blocks(struct arena *arena, const struct source *s, struct source *out,
                                   struct quern_error *err);

#endif
