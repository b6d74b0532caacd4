/* sha256_x86.h - blocks of SHA-256 with the instructions that some x86 processors have for it.
 *
 * Written over three operations, so that a test can put plain C in place of the instructions and
 * run it on any processor: before including this, define SHA_ROUNDS2, SHA_MSG1 and SHA_MSG2, as
 * _mm_sha256rnds2_epu32() and its kin work. */
#ifndef QUERN_SHA256_X86_H
#define QUERN_SHA256_X86_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

/* The instructions want the state as (A, B, E, F) and (C, D, G, H), the first in the highest lane.
 * Two rounds turn the second into the first of two rounds later, so the two change places. */
__attribute__((target(SHA_TARGET))) static void sha256_x86(uint32_t h[8], const uint32_t k[64],
                                                           const uint8_t *p, size_t nblocks)
{
    const __m128i big_endian = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    __m128i abef = _mm_set_epi32((int)h[0], (int)h[1], (int)h[4], (int)h[5]);
    __m128i cdgh = _mm_set_epi32((int)h[2], (int)h[3], (int)h[6], (int)h[7]);
    for (; nblocks > 0; nblocks--, p += 64) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w[16];
        for (unsigned i = 0; i < 4; i++)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(p + 16 * i)), big_endian);
        for (unsigned i = 4; i < 16; i++) {
            const __m128i nine = _mm_alignr_epi8(w[i - 1], w[i - 2], 4);
            w[i] = SHA_MSG2(_mm_add_epi32(SHA_MSG1(w[i - 4], w[i - 3]), nine), w[i - 1]);
        }
        for (unsigned i = 0; i < 16; i++) {
            const __m128i wk =
                _mm_add_epi32(w[i], _mm_loadu_si128((const __m128i *)(k + (size_t)4 * i)));
            cdgh = SHA_ROUNDS2(cdgh, abef, wk);
            abef = SHA_ROUNDS2(abef, cdgh, _mm_shuffle_epi32(wk, 0x0E));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    uint32_t first[4], second[4]; /* from the lowest lane */
    _mm_storeu_si128((__m128i *)first, abef);
    _mm_storeu_si128((__m128i *)second, cdgh);
    for (unsigned i = 0; i < 2; i++) {
        h[i] = first[3 - i];
        h[2 + i] = second[3 - i];
        h[4 + i] = first[1 - i];
        h[6 + i] = second[1 - i];
    }
}

#endif
