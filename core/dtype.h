/* dtype.h - every element type quern knows: one row each, all else derives from it.
 *
 * To add a type: add a row here, its scalar code in quant/reference.c and, when it should be fast,
 * a kernel in quant/kernels/. Nothing else lists types. */
#ifndef QUERN_DTYPE_H
#define QUERN_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "str.h"

#define NO_GGUF_ID (-1)

/* X(id, name, elements per block, bytes per block, GGUF type id, safetensors name or NULL, bits
 * kept for the weights in words). Sub-byte safetensors types count their smallest whole-byte group
 * as a block. Block layouts: quant/blocks.h, whose structs are checked against these sizes. */
#define DTYPE_LIST(X)                                                                            \
    X(F64, "F64", 1, 8, 28, "F64", "64-bit float")                                               \
    X(F32, "F32", 1, 4, 0, "F32", "32-bit float")                                                \
    X(F16, "F16", 1, 2, 1, "F16", "16-bit float")                                                \
    X(BF16, "BF16", 1, 2, 30, "BF16", "bfloat16: the upper half of an F32")                      \
    X(F8_E4M3, "F8_E4M3", 1, 1, NO_GGUF_ID, "F8_E4M3", "8-bit float, 4 exponent bits, no Inf")   \
    X(F8_E5M2, "F8_E5M2", 1, 1, NO_GGUF_ID, "F8_E5M2", "8-bit float, 5 exponent bits")           \
    X(I8, "I8", 1, 1, 24, "I8", "integer")                                                       \
    X(I16, "I16", 1, 2, 25, "I16", "integer")                                                    \
    X(I32, "I32", 1, 4, 26, "I32", "integer")                                                    \
    X(I64, "I64", 1, 8, 27, "I64", "integer")                                                    \
    X(U8, "U8", 1, 1, NO_GGUF_ID, "U8", "integer")                                               \
    X(U16, "U16", 1, 2, NO_GGUF_ID, "U16", "integer")                                            \
    X(U32, "U32", 1, 4, NO_GGUF_ID, "U32", "integer")                                            \
    X(U64, "U64", 1, 8, NO_GGUF_ID, "U64", "integer")                                            \
    X(BOOL, "BOOL", 1, 1, NO_GGUF_ID, "BOOL", "truth value, one byte")                           \
    X(C64, "C64", 1, 8, NO_GGUF_ID, "C64", "complex, two F32")                                   \
    X(F8_E8M0, "F8_E8M0", 1, 1, NO_GGUF_ID, "F8_E8M0", "8-bit power of two")                     \
    X(F8_E4M3FNUZ, "F8_E4M3FNUZ", 1, 1, NO_GGUF_ID, "F8_E4M3FNUZ", "8-bit float, no -0, no Inf") \
    X(F8_E5M2FNUZ, "F8_E5M2FNUZ", 1, 1, NO_GGUF_ID, "F8_E5M2FNUZ", "8-bit float, no -0, no Inf") \
    X(F4, "F4", 2, 1, NO_GGUF_ID, "F4", "4-bit float, two in a byte")                            \
    X(F6_E2M3, "F6_E2M3", 4, 3, NO_GGUF_ID, "F6_E2M3", "6-bit float, four in three bytes")       \
    X(F6_E3M2, "F6_E3M2", 4, 3, NO_GGUF_ID, "F6_E3M2", "6-bit float, four in three bytes")       \
    X(Q4_0, "Q4_0", 32, 18, 2, NULL, "4-bit, scale per 32")                                      \
    X(Q4_1, "Q4_1", 32, 20, 3, NULL, "4-bit, scale and minimum per 32")                          \
    X(Q5_0, "Q5_0", 32, 22, 6, NULL, "5-bit, scale per 32")                                      \
    X(Q5_1, "Q5_1", 32, 24, 7, NULL, "5-bit, scale and minimum per 32")                          \
    X(Q8_0, "Q8_0", 32, 34, 8, NULL, "8-bit, scale per 32")                                      \
    X(Q8_1, "Q8_1", 32, 36, 9, NULL, "8-bit, run-time only")                                     \
    X(Q2_K, "Q2_K", 256, 84, 10, NULL, "2-bit, super-blocks of 256")                             \
    X(Q3_K, "Q3_K", 256, 110, 11, NULL, "3-bit, super-blocks of 256")                            \
    X(Q4_K, "Q4_K", 256, 144, 12, NULL, "4-bit, super-blocks of 256")                            \
    X(Q5_K, "Q5_K", 256, 176, 13, NULL, "5-bit, super-blocks of 256")                            \
    X(Q6_K, "Q6_K", 256, 210, 14, NULL, "6-bit, super-blocks of 256")                            \
    X(Q8_K, "Q8_K", 256, 292, 15, NULL, "8-bit, run-time only")                                  \
    X(IQ2_XXS, "IQ2_XXS", 256, 66, 16, NULL, "2-bit grid")                                       \
    X(IQ2_XS, "IQ2_XS", 256, 74, 17, NULL, "2-bit grid")                                         \
    X(IQ3_XXS, "IQ3_XXS", 256, 98, 18, NULL, "3-bit grid")                                       \
    X(IQ1_S, "IQ1_S", 256, 50, 19, NULL, "1-bit grid")                                           \
    X(IQ4_NL, "IQ4_NL", 32, 18, 20, NULL, "4-bit, uneven levels")                                \
    X(IQ3_S, "IQ3_S", 256, 110, 21, NULL, "3-bit grid")                                          \
    X(IQ2_S, "IQ2_S", 256, 82, 22, NULL, "2-bit grid")                                           \
    X(IQ4_XS, "IQ4_XS", 256, 136, 23, NULL, "4-bit, uneven levels, super-blocks of 256")         \
    X(IQ1_M, "IQ1_M", 256, 56, 29, NULL, "1-bit grid")                                           \
    X(TQ1_0, "TQ1_0", 256, 54, 34, NULL, "ternary, five in a byte")                              \
    X(TQ2_0, "TQ2_0", 256, 66, 35, NULL, "ternary, four in a byte")                              \
    X(MXFP4, "MXFP4", 32, 17, 39, NULL, "4-bit float, power-of-two scale per 32")                \
    X(NVFP4, "NVFP4", 64, 36, 40, NULL, "4-bit float, 8-bit float scale per 16")                 \
    X(Q1_0, "Q1_0", 128, 18, 41, NULL, "1-bit, scale per 128")                                   \
    X(Q2_0, "Q2_0", 64, 18, 42, NULL, "ternary, scale per 64")

enum dtype {
#define X(id, name, block, bytes, gguf, st, about) DTYPE_##id,
    DTYPE_LIST(X)
#undef X
        DTYPE_COUNT
};

struct dtype_traits {
    const char *name;
    uint16_t block_elems; /* elements per block, 1 for plain types */
    uint16_t block_bytes;
    int16_t gguf_id;     /* NO_GGUF_ID when GGUF cannot store it */
    const char *st_name; /* NULL when safetensors cannot store it */
    const char *about;
};

extern const struct dtype_traits dtype_traits[DTYPE_COUNT];

/* A type whose values share a scale: everything only GGUF can hold. */
bool dtype_is_quantized(enum dtype d);
/* F64 F32 F16 BF16 and the two common F8: what merging and converting treat as weights. */
bool dtype_is_float(enum dtype d);

/* Bytes of nelems elements. False when they are no whole blocks or the number leaves 64 bits. */
bool dtype_bytes(enum dtype d, uint64_t nelems, uint64_t *nbytes);

/* The same for elements that are in memory already; a short last block counts as a whole one. */
static inline size_t dtype_stored(enum dtype d, uint64_t nelems)
{
    const struct dtype_traits *t = &dtype_traits[d];
    return (size_t)((nelems + t->block_elems - 1) / t->block_elems * t->block_bytes);
}

/* Look-ups return false when there is no such type. Names for users are matched in any case. */
bool dtype_from_gguf(uint32_t gguf_id, enum dtype *out);
bool dtype_from_safetensors(struct str name, enum dtype *out);
bool dtype_from_name(struct str name, enum dtype *out);

#endif
