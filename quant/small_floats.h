/* small_floats.h - one F32 to a smaller float and back, in integer arithmetic.
 *
 * Encoding rounds to nearest even. These are the definitions; kernels may use hardware conversions
 * where those give the same bits. */
#ifndef QUERN_SMALL_FLOATS_H
#define QUERN_SMALL_FLOATS_H

#include <stdint.h>
#include <string.h>

#define F32_SIGN 0x80000000u
#define F32_INF  0x7f800000u
#define F32_QNAN 0x7fc00000u

static inline uint32_t f32_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float f32_from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Rounds a magnitude (F32 bits without the sign) to a float with man mantissa bits and this
 * exponent bias. The result may lie above the format's largest number: the caller knows what that
 * means. */
static inline uint32_t small_from_magnitude(uint32_t magnitude, unsigned man, unsigned bias)
{
    const unsigned shift = 23 - man;
    const uint32_t rebias = 127 - bias;
    if (magnitude >= (rebias + 1) << 23) {
        const uint32_t half = (1u << (shift - 1)) - 1 + (magnitude >> shift & 1);
        return ((magnitude + half) >> shift) - (rebias << man);
    }
    /* Subnormal: next to a number whose last place is the smallest step, the sum rounds for us. */
    const uint32_t anchor = (rebias + 24 - man) << 23;
    return f32_bits(f32_from_bits(magnitude) + f32_from_bits(anchor)) - anchor;
}

/* The other way; exact. Inf and NaN are the caller's. */
static inline uint32_t magnitude_from_small(uint32_t code, unsigned man, unsigned bias)
{
    const unsigned shift = 23 - man;
    const uint32_t rebias = 127 - bias;
    if (code >> man != 0)
        return (code << shift) + (rebias << 23);
    const float smallest = f32_from_bits((rebias + 1 - man) << 23);
    return f32_bits((float)code * smallest);
}

static inline uint16_t f16_from_f32(float x)
{
    const uint32_t sign = f32_bits(x) >> 16 & 0x8000, magnitude = f32_bits(x) & ~F32_SIGN;
    if (magnitude > F32_INF)
        return (uint16_t)(sign | 0x7e00);
    const uint32_t code = small_from_magnitude(magnitude, 10, 15);
    return (uint16_t)(sign | (code < 0x7c00 ? code : 0x7c00));
}

/* A signalling NaN comes out quiet, as it does from every CPU's own conversion. */
static inline float f16_to_f32(uint16_t h)
{
    const uint32_t sign = (h & 0x8000u) << 16, code = h & 0x7fff;
    if (code > 0x7c00)
        return f32_from_bits(sign | F32_QNAN | code << 13);
    if (code == 0x7c00)
        return f32_from_bits(sign | F32_INF);
    return f32_from_bits(sign | magnitude_from_small(code, 10, 15));
}

static inline uint16_t bf16_from_f32(float x)
{
    const uint32_t bits = f32_bits(x);
    if ((bits & ~F32_SIGN) > F32_INF)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float bf16_to_f32(uint16_t h)
{
    return f32_from_bits((uint32_t)h << 16);
}

/* Too large becomes Inf, as in PyTorch. */
static inline uint8_t f8_e5m2_from_f32(float x)
{
    const uint32_t sign = f32_bits(x) >> 24 & 0x80, magnitude = f32_bits(x) & ~F32_SIGN;
    if (magnitude > F32_INF)
        return (uint8_t)(sign | 0x7f);
    const uint32_t code = small_from_magnitude(magnitude, 2, 15);
    return (uint8_t)(sign | (code < 0x7c ? code : 0x7c));
}

/* The upper half of an F16. */
static inline float f8_e5m2_to_f32(uint8_t b)
{
    return f16_to_f32((uint16_t)(b << 8));
}

/* There is no Inf: too large becomes NaN, as in PyTorch. */
static inline uint8_t f8_e4m3_from_f32(float x)
{
    const uint32_t sign = f32_bits(x) >> 24 & 0x80, magnitude = f32_bits(x) & ~F32_SIGN;
    if (magnitude >= F32_INF)
        return (uint8_t)(sign | 0x7f);
    const uint32_t code = small_from_magnitude(magnitude, 3, 7);
    return (uint8_t)(sign | (code < 0x7f ? code : 0x7f));
}

static inline float f8_e4m3_to_f32(uint8_t b)
{
    const uint32_t sign = (b & 0x80u) << 24, code = b & 0x7f;
    if (code == 0x7f)
        return f32_from_bits(sign | F32_QNAN);
    return f32_from_bits(sign | magnitude_from_small(code, 3, 7));
}

#endif
