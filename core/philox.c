/* philox.c - Philox4x32-10 for one counter; quant/kernels/sparse.inc does many at a time. */
#include "core/philox.h"

void philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]};
    for (int r = 0; r < PHILOX_ROUNDS; r++) {
        const uint64_t p0 = (uint64_t)c[0] * PHILOX_MUL0, p1 = (uint64_t)c[2] * PHILOX_MUL1;
        c[0] = (uint32_t)(p1 >> 32) ^ c[1] ^ k0;
        c[1] = (uint32_t)p1;
        c[2] = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
        c[3] = (uint32_t)p0;
        k0 += PHILOX_KEY0;
        k1 += PHILOX_KEY1;
    }
    for (int i = 0; i < 4; i++)
        out[i] = c[i];
}

uint64_t fnv1a_64(struct str name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < name.n; i++)
        hash = (hash ^ (uint8_t)name.p[i]) * 0x100000001b3u;
    return hash;
}
