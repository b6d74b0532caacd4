/* blocks.h - byte layouts of the block types, checked against the sizes in DTYPE_LIST.
 *
 * Fields named d, dmin, m and s are F16 bits unless said otherwise. Stored blocks have no
 * alignment: copy one out before looking inside. Which bit of which byte belongs to which weight is
 * told by the decoders in reference_blocks.c. */
#ifndef QUERN_BLOCKS_H
#define QUERN_BLOCKS_H

#include "core/dtype.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensor data is little endian and is used in place: big-endian machines are not supported"
#endif

#define SUPER 256 /* weights in a super-block */

struct block_q4_0 {
    uint16_t d;
    uint8_t qs[16];
};

struct block_q4_1 {
    uint16_t d, m;
    uint8_t qs[16];
};

struct block_q5_0 {
    uint16_t d;
    uint8_t qh[4]; /* one u32: bit j is the fifth bit of weight j */
    uint8_t qs[16];
};

struct block_q5_1 {
    uint16_t d, m;
    uint8_t qh[4];
    uint8_t qs[16];
};

struct block_q8_0 {
    uint16_t d;
    int8_t qs[32];
};

struct block_q8_1 {
    uint16_t d, s; /* s: d times the sum of the codes */
    int8_t qs[32];
};

struct block_q2_k {
    uint8_t scales[SUPER / 16]; /* low nibble scale, high nibble minimum */
    uint8_t qs[SUPER / 4];
    uint16_t d, dmin;
};

struct block_q3_k {
    uint8_t hmask[SUPER / 8];
    uint8_t qs[SUPER / 4];
    uint8_t scales[12];
    uint16_t d;
};

struct block_q4_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qs[SUPER / 2];
};

struct block_q5_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[SUPER / 8];
    uint8_t qs[SUPER / 2];
};

struct block_q6_k {
    uint8_t ql[SUPER / 2];
    uint8_t qh[SUPER / 4];
    int8_t scales[SUPER / 16];
    uint16_t d;
};

struct block_q8_k {
    float d; /* F32 */
    int8_t qs[SUPER];
    int16_t bsums[SUPER / 16];
};

struct block_iq2_xxs {
    uint16_t d;
    uint16_t qs[SUPER / 8]; /* per 32 weights: four grid bytes, then 4 x 7 signs and a scale */
};

struct block_iq2_xs {
    uint16_t d;
    uint16_t qs[SUPER / 8]; /* 9 bits grid, 7 bits signs */
    uint8_t scales[SUPER / 32];
};

struct block_iq2_s {
    uint16_t d;
    uint8_t qs[SUPER / 8];
    uint8_t signs[SUPER / 8];
    uint8_t qh[SUPER / 32];
    uint8_t scales[SUPER / 32];
};

struct block_iq3_xxs {
    uint16_t d;
    uint8_t qs[SUPER / 4];
    uint8_t signs_scales[SUPER / 8]; /* a u32 per 32 weights: 4 x 7 signs and a scale */
};

struct block_iq3_s {
    uint16_t d;
    uint8_t qs[SUPER / 4];
    uint8_t qh[SUPER / 32];
    uint8_t signs[SUPER / 8];
    uint8_t scales[SUPER / 64];
};

struct block_iq1_s {
    uint16_t d;
    uint8_t qs[SUPER / 8];
    uint16_t qh[SUPER / 32];
};

struct block_iq1_m {
    uint8_t qs[SUPER / 8];
    uint8_t qh[SUPER / 16];
    uint16_t scales[SUPER / 64]; /* the top nibbles together are d */
};

static inline uint16_t iq1_m_scale(const struct block_iq1_m *b)
{
    const uint16_t *s = b->scales;
    return (uint16_t)(s[0] >> 12 | (s[1] >> 8 & 0xf0) | (s[2] >> 4 & 0xf00) | (s[3] & 0xf000));
}

struct block_iq4_nl {
    uint16_t d;
    uint8_t qs[16];
};

struct block_iq4_xs {
    uint16_t d;
    uint16_t scales_h;
    uint8_t scales_l[SUPER / 64];
    uint8_t qs[SUPER / 2];
};

struct block_tq1_0 {
    uint8_t qs[48]; /* five trits each */
    uint8_t qh[4];  /* four trits each */
    uint16_t d;
};

struct block_tq2_0 {
    uint8_t qs[SUPER / 4];
    uint16_t d;
};

struct block_mxfp4 {
    uint8_t e; /* power of two, biased by 127 */
    uint8_t qs[16];
};

struct block_nvfp4 {
    uint8_t d[4]; /* one E4M3 without sign per 16 weights */
    uint8_t qs[32];
};

struct block_q1_0 {
    uint16_t d;
    uint8_t qs[16];
};

struct block_q2_0 {
    uint16_t d;
    uint8_t qs[16];
};

/* X(id, struct) for every block type. */
#define BLOCK_LIST(X)         \
    X(Q4_0, block_q4_0)       \
    X(Q4_1, block_q4_1)       \
    X(Q5_0, block_q5_0)       \
    X(Q5_1, block_q5_1)       \
    X(Q8_0, block_q8_0)       \
    X(Q8_1, block_q8_1)       \
    X(Q2_K, block_q2_k)       \
    X(Q3_K, block_q3_k)       \
    X(Q4_K, block_q4_k)       \
    X(Q5_K, block_q5_k)       \
    X(Q6_K, block_q6_k)       \
    X(Q8_K, block_q8_k)       \
    X(IQ2_XXS, block_iq2_xxs) \
    X(IQ2_XS, block_iq2_xs)   \
    X(IQ3_XXS, block_iq3_xxs) \
    X(IQ1_S, block_iq1_s)     \
    X(IQ4_NL, block_iq4_nl)   \
    X(IQ3_S, block_iq3_s)     \
    X(IQ2_S, block_iq2_s)     \
    X(IQ4_XS, block_iq4_xs)   \
    X(IQ1_M, block_iq1_m)     \
    X(TQ1_0, block_tq1_0)     \
    X(TQ2_0, block_tq2_0)     \
    X(MXFP4, block_mxfp4)     \
    X(NVFP4, block_nvfp4)     \
    X(Q1_0, block_q1_0)       \
    X(Q2_0, block_q2_0)

enum {
#define X(id, name, block, bytes, gguf, st, about) ELEMS_##id = block, BYTES_##id = bytes,
    DTYPE_LIST(X)
#undef X
};

#define X(id, block) _Static_assert(sizeof(struct block) == BYTES_##id, "size of " #id);
BLOCK_LIST(X)
#undef X

#endif
