/* as_blocks.h - values that lie packed in blocks which a type of GGUF has too: move the blocks. */
#ifndef QUERN_AS_BLOCKS_H
#define QUERN_AS_BLOCKS_H

#include "pipeline/plan.h"

/* The form of part i of the source's blocks; NULL when it has no such part, or no blocks. */
const struct block_form *source_block_form(const struct source *s, uint32_t i);

/* A source of that type with the same shape, whose bytes are the blocks. */
enum quern_status source_as_blocks(struct arena *arena, const struct source *s, struct source *out,
                                   struct quern_error *err);

/* For kinds that have read_blocks and one part: their values, but for the factor. */
size_t block_values_scratch(const struct source *s);
enum quern_status block_values_read(const struct source *s, void *scratch, bool wide,
                                    uint64_t first, size_t n, void *x, uint64_t *moved,
                                    struct quern_error *err);

#endif
