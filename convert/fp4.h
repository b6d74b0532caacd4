/* fp4.h - weights in 4-bit floats, two in a byte (the low half first), scales in another tensor. */
#ifndef QUERN_FP4_H
#define QUERN_FP4_H

#include "pipeline/as_blocks.h"

/* Both make a source of the shape [..., rows, 2 * bytes of a row] which counts as being of `dtype`
 * and has its blocks at hand. The name is that of packed. EFORMAT "shape" when the parts do not
 * fit. All memory is the arena's. */

/* MXFP4. packed: U8 [..., rows, 16 * n] or [..., rows, n, 16]; scales: U8 or F8_E8M0 [..., rows,
 * n].
 */
enum quern_status mxfp4_source(struct arena *arena, const struct source *packed,
                               const struct source *scales, enum dtype dtype, struct source *out,
                               struct quern_error *err);

/* What NVFP4 has above the scales of its blocks: one number for all, or one for each matrix. */
struct nvfp4_globals {
    const float *factors; /* values are codes times scales times this ... */
    const float *inputs;  /* for activations; NULL: not given */
    uint64_t count;
    bool inverse; /* ... where it is 1 / factor: scales are divided by what is in divisors */
    const float *divisors;
};

/* NVFP4. packed: U8 [..., rows, 8 * n]; scales: F8_E4M3 [..., rows, n]. */
enum quern_status nvfp4_source(struct arena *arena, const struct source *packed,
                               const struct source *scales, const struct nvfp4_globals *globals,
                               enum dtype dtype, struct source *out, struct quern_error *err);

#endif
