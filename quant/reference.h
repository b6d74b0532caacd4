/* reference.h - what the parts of the reference share: lists of its block codecs, and the packing
 * and conversions several of them need. */
#ifndef QUERN_REFERENCE_H
#define QUERN_REFERENCE_H

#include "quant/blocks.h"
#include "quant/kernels/kernels.h"

#define X(id, block) decode_fn reference_decode_##id;
BLOCK_LIST(X)
#undef X

/* Block types that can be written: without importance, and with. A type that needs it has no row in
 * the first list, one that ignores it none in the second. One list per file. */
#define SIMPLE_ENCODE_LIST(X) \
    X(Q4_0, block_q4_0)       \
    X(Q4_1, block_q4_1)       \
    X(Q5_0, block_q5_0)       \
    X(Q5_1, block_q5_1)       \
    X(Q8_0, block_q8_0)
#define K_ENCODE_LIST(X) \
    X(Q2_K, block_q2_k)  \
    X(Q3_K, block_q3_k)  \
    X(Q4_K, block_q4_k)  \
    X(Q5_K, block_q5_k)  \
    X(Q6_K, block_q6_k)
#define K_ENCODE_IM_LIST(X) K_ENCODE_LIST(X)
#define LEVEL_ENCODE_LIST(X) \
    X(IQ4_NL, block_iq4_nl)  \
    X(IQ4_XS, block_iq4_xs)  \
    X(TQ1_0, block_tq1_0)    \
    X(TQ2_0, block_tq2_0)    \
    X(Q1_0, block_q1_0)      \
    X(Q2_0, block_q2_0)      \
    X(MXFP4, block_mxfp4)    \
    X(NVFP4, block_nvfp4)
#define LEVEL_ENCODE_IM_LIST(X) \
    X(Q4_0, block_q4_0)         \
    X(Q4_1, block_q4_1)         \
    X(Q5_0, block_q5_0)         \
    X(Q5_1, block_q5_1)         \
    X(IQ4_NL, block_iq4_nl)     \
    X(IQ4_XS, block_iq4_xs)
#define GRID_ENCODE_LIST(X)   \
    X(IQ2_S, block_iq2_s)     \
    X(IQ3_XXS, block_iq3_xxs) \
    X(IQ3_S, block_iq3_s)     \
    X(IQ1_M, block_iq1_m)
#define GRID_ENCODE_IM_LIST(X) \
    GRID_ENCODE_LIST(X)        \
    X(IQ2_XXS, block_iq2_xxs)  \
    X(IQ2_XS, block_iq2_xs)    \
    X(IQ1_S, block_iq1_s)

#define BLOCK_ENCODE_LIST(X) \
    SIMPLE_ENCODE_LIST(X)    \
    K_ENCODE_LIST(X)         \
    LEVEL_ENCODE_LIST(X)     \
    GRID_ENCODE_LIST(X)
#define BLOCK_ENCODE_IM_LIST(X) \
    K_ENCODE_IM_LIST(X)         \
    LEVEL_ENCODE_IM_LIST(X)     \
    GRID_ENCODE_IM_LIST(X)

#define X(id, block) encode_fn reference_encode_##id;
BLOCK_ENCODE_LIST(X)
#undef X

#define X(id, block) encode_im_fn reference_encode_im_##id;
BLOCK_ENCODE_IM_LIST(X)
#undef X

/* Defines reference_encode_ID from encode_ID, which does one block. */
#define DEFINE_ENCODE(id, block)                                            \
    static void encode_##id(const float *x, struct block *b);               \
    void reference_encode_##id(const float *x, void *stored, size_t nelems) \
    {                                                                       \
        char *p = stored;                                                   \
        for (size_t i = 0; i < nelems / ELEMS_##id; i++) {                  \
            struct block b;                                                 \
            encode_##id(x + i * ELEMS_##id, &b);                            \
            memcpy(p + i * sizeof b, &b, sizeof b);                         \
        }                                                                   \
    }

/* The same with importance: qw has one value for every element of the block, row_sigma2 is the mean
 * of x*x over the row. */
#define DEFINE_ENCODE_IM(id, block)                                                          \
    static void encode_im_##id(const float *x, const float *qw, float row_sigma2,            \
                               struct block *b);                                             \
    void reference_encode_im_##id(const float *x, const float *importance, float row_sigma2, \
                                  void *stored, size_t nelems)                               \
    {                                                                                        \
        char *p = stored;                                                                    \
        for (size_t i = 0; i < nelems / ELEMS_##id; i++) {                                   \
            struct block b;                                                                  \
            encode_im_##id(x + i * ELEMS_##id, importance + i * ELEMS_##id, row_sigma2, &b); \
            memcpy(p + i * sizeof b, &b, sizeof b);                                          \
        }                                                                                    \
    }

/* ---- shared by decoders and encoders -------------------------------------------------------- */

/* Scale and minimum s of the eight 6-bit pairs in 12 bytes. */
static inline void scale_and_min(const uint8_t *scales, int s, int *scale, int *min)
{
    if (s < 4) {
        *scale = scales[s] & 63;
        *min = scales[s + 4] & 63;
    } else {
        *scale = (scales[s + 4] & 15) | scales[s - 4] >> 6 << 4;
        *min = scales[s + 4] >> 4 | scales[s] >> 6 << 4;
    }
}

/* A scale so small that its reciprocal is infinite sends every quotient out of range. llama.cpp
 * then converts an impossible float to an integer, which C leaves open; its x86-64 builds get
 * INT_MIN, and 0 in the bytes kept of it. */
static inline int to_int(float x)
{
    return x >= -2147483648.0f && x < 2147483648.0f ? (int)x : INT32_MIN;
}

static inline float reciprocal(float d)
{
    return d != 0.0f ? 1.0f / d : 0.0f;
}

/* Codes of 4 bits: sixteen low nibbles, then sixteen high ones. */
static inline void pack_4_bits(const uint8_t codes[32], uint8_t qs[16])
{
    for (int j = 0; j < 16; j++)
        qs[j] = (uint8_t)((codes[j] & 15) | (codes[j + 16] & 15) << 4);
}

/* Codes of 5 bits: nibbles as above, the fifth bits together. */
static inline void pack_5_bits(const uint8_t codes[32], uint8_t qs[16], uint8_t qh[4])
{
    uint32_t fifth = 0;
    for (int j = 0; j < 32; j++)
        fifth |= (uint32_t)(codes[j] >> 4 & 1) << j;
    memcpy(qh, &fifth, sizeof fifth);
    pack_4_bits(codes, qs);
}

#endif
