/* levels.h - the levels of the 4-bit types that have a table of them, and their odd scales. */
#ifndef QUERN_LEVELS_H
#define QUERN_LEVELS_H

#include "quant/small_floats.h"

/* E2M1 times two. */
static const int8_t fp4_levels[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static const int8_t iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};

/* ---- MXFP4: a power of two ------------------------------------------------------------------ */

/* floorf(log2f(x)) of a positive x, as libm has it. Just below a power of two the logarithm rounds
 * up to a whole number: within ln 2 halves of the step between floats around that number. Counted
 * in mantissa steps of x that is 0.69 times the power of two not above the logarithm. */
static inline int floor_of_log2f(float x)
{
    const uint32_t bits = f32_bits(x);
    int exponent = (int)(bits >> 23) - 127;
    uint32_t mantissa = (bits & 0x007fffff) | 0x00800000;
    if (bits < 0x00800000) {
        const int shift = __builtin_clz(bits) - 8;
        exponent = -126 - shift;
        mantissa = bits << shift;
    }
    const unsigned size = (unsigned)(exponent < 0 ? -1 - exponent : exponent);
    const unsigned octave = 31 - (unsigned)__builtin_clz(size | 1);
    return exponent + (0x01000000 - mantissa <= (88u << octave) >> 7);
}

/* The scale byte for a block whose largest magnitude is amax. Below 2^-125 it wraps to a scale so
 * large that all codes become 0, as in llama.cpp. */
static inline uint8_t mxfp4_exponent(float amax)
{
    return amax > 0.0f ? (uint8_t)(floor_of_log2f(amax) - 2 + 127) : 0;
}

/* 2^(e-128): half the scale, since the levels are doubled. e = 255 means NaN and is refused before
 * it comes here. */
static inline float mxfp4_scale(uint8_t e)
{
    return f32_from_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

/* ---- NVFP4: an E4M3 without sign ------------------------------------------------------------ */

/* Rounds halves up; all from 248 on becomes 448, the largest number. */
static inline uint8_t nvfp4_code(float x)
{
    if (!(x > 0.0f))
        return 0;
    if (x < 0x1p-6f) {
        const int man = (int)(x * 512.0f + 0.5f);
        return (uint8_t)(man < 7 ? man : 7);
    }
    /* Three mantissa bits and one more to round with; from there a carry goes into the exponent. */
    const uint32_t code = ((f32_bits(x) >> 19) + 1) / 2 - ((127 - 7) << 3);
    return (uint8_t)(code < 0x78 ? code : 0x7e);
}

/* Halved since the levels are doubled. */
static inline float nvfp4_scale(uint8_t code)
{
    if (code == 0x7f)
        return 0.0f;
    return f32_from_bits(magnitude_from_small(code & 0x7f, 3, 7)) * 0.5f;
}

#endif
