/* sha256_lanes.h - blocks of SHA-256 whose words are prepared for eight blocks at once.
 *
 * The rounds of a block wait for those of the block before, but what they take from its bytes does
 * not: vectors prepare it, one block to a lane. Plain C: before including this, define
 * LANES_TARGET, a function attribute or nothing, which decides what instructions it becomes. */
#ifndef QUERN_SHA256_LANES_H
#define QUERN_SHA256_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SHA_LANES 8u

typedef uint32_t lanes_words __attribute__((vector_size(4 * SHA_LANES)));

LANES_TARGET static inline uint32_t lanes_rotated(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

/* What blocks add to their rounds: their words, extended, and the constants. */
LANES_TARGET static inline void lanes_prepare(lanes_words w[64], const uint32_t k[64],
                                              const uint8_t *p)
{
    for (unsigned l = 0; l < SHA_LANES; l++)
        for (unsigned t = 0; t < 16; t++) {
            uint32_t x;
            memcpy(&x, p + (size_t)64 * l + (size_t)4 * t, sizeof x);
            w[t][l] = __builtin_bswap32(x);
        }
    for (unsigned t = 16; t < 64; t++) {
        const lanes_words a = w[t - 15], b = w[t - 2];
        w[t] = w[t - 16] + ((a >> 7 | a << 25) ^ (a >> 18 | a << 14) ^ a >> 3) + w[t - 7] +
               ((b >> 17 | b << 15) ^ (b >> 19 | b << 13) ^ b >> 10);
    }
    for (unsigned t = 0; t < 64; t++)
        w[t] += k[t];
}

/* One round; the next one gets the eight words by other names. bc is b ^ c, and a ^ b afterwards:
 * the majority of three needs what was computed for the round before. */
LANES_TARGET static inline void lanes_turn(uint32_t a, uint32_t b, uint32_t *bc, uint32_t *d,
                                           uint32_t e, uint32_t f, uint32_t g, uint32_t *h,
                                           uint32_t kw)
{
    const uint32_t ab = a ^ b;
    uint32_t x = *h + kw + ((e & f) + (~e & g));
    x += lanes_rotated(e, 6) ^ lanes_rotated(e, 11) ^ lanes_rotated(e, 25);
    *d += x;
    x += (ab & *bc) ^ b;
    *bc = ab;
    *h = x + (lanes_rotated(a, 2) ^ lanes_rotated(a, 13) ^ lanes_rotated(a, 22));
}

/* Of the block in a lane. Not for inlining: eight copies would be no faster. */
LANES_TARGET __attribute__((noinline)) static void lanes_rounds(uint32_t h[8],
                                                                const lanes_words w[64], unsigned l)
{
    uint32_t v0 = h[0], v1 = h[1], v2 = h[2], v3 = h[3], v4 = h[4], v5 = h[5], v6 = h[6], v7 = h[7];
    uint32_t bc = v1 ^ v2;
    for (unsigned t = 0; t < 64; t += 8) {
        lanes_turn(v0, v1, &bc, &v3, v4, v5, v6, &v7, w[t][l]);
        lanes_turn(v7, v0, &bc, &v2, v3, v4, v5, &v6, w[t + 1][l]);
        lanes_turn(v6, v7, &bc, &v1, v2, v3, v4, &v5, w[t + 2][l]);
        lanes_turn(v5, v6, &bc, &v0, v1, v2, v3, &v4, w[t + 3][l]);
        lanes_turn(v4, v5, &bc, &v7, v0, v1, v2, &v3, w[t + 4][l]);
        lanes_turn(v3, v4, &bc, &v6, v7, v0, v1, &v2, w[t + 5][l]);
        lanes_turn(v2, v3, &bc, &v5, v6, v7, v0, &v1, w[t + 6][l]);
        lanes_turn(v1, v2, &bc, &v4, v5, v6, v7, &v0, w[t + 7][l]);
    }
    h[0] += v0;
    h[1] += v1;
    h[2] += v2;
    h[3] += v3;
    h[4] += v4;
    h[5] += v5;
    h[6] += v6;
    h[7] += v7;
}

/* Whole groups of SHA_LANES blocks. */
LANES_TARGET static void sha256_lanes(uint32_t h[8], const uint32_t k[64], const uint8_t *p,
                                      size_t nblocks)
{
    lanes_words w[64];
    for (; nblocks >= SHA_LANES; nblocks -= SHA_LANES, p += (size_t)64 * SHA_LANES) {
        lanes_prepare(w, k, p);
        for (unsigned l = 0; l < SHA_LANES; l++)
            lanes_rounds(h, w, l);
    }
}

#endif
