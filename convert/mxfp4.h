/* mxfp4.h - weights in MXFP4 as gpt-oss stores them: blocks in one tensor, scales in another. */
#ifndef QUERN_MXFP4_H
#define QUERN_MXFP4_H

#include "pipeline/plan.h"

/* blocks: U8 [..., n, 16], 32 values of 4 bits each, low half first; scales: U8 [..., n]. *out is
 * an MXFP4 source of shape [..., 32 n], named like blocks. EFORMAT when they do not fit. */
enum quern_status mxfp4_source(struct arena *arena, const struct source *blocks,
                               const struct source *scales, struct source *out,
                               struct quern_error *err);

#endif
