/* reference.h - what the parts of the reference share: its block codecs and merge loops, and the
 * search behind Q6_K. */
#ifndef QUERN_REFERENCE_H
#define QUERN_REFERENCE_H

#include "quant/blocks.h"
#include "quant/kernels/kernels.h"

#define X(id, block) decode_fn reference_decode_##id;
BLOCK_LIST(X)
#undef X

/* Block types that can be written. */
#define BLOCK_ENCODE_LIST(X) \
    X(Q4_0, block_q4_0)      \
    X(Q4_1, block_q4_1)      \
    X(Q5_0, block_q5_0)      \
    X(Q5_1, block_q5_1)      \
    X(Q8_0, block_q8_0)      \
    X(Q6_K, block_q6_k)

#define X(id, block) encode_fn reference_encode_##id;
BLOCK_ENCODE_LIST(X)
#undef X

#endif
