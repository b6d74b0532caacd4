/* load.h - numbers of files, which are little-endian, from any address. */
#ifndef QUERN_LOAD_H
#define QUERN_LOAD_H

#include <stdint.h>
#include <string.h>

/* Of up to 4 bytes. */
static inline uint32_t load_le(const uint8_t *p, unsigned nbytes)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < nbytes; i++)
        v |= (uint32_t)p[i] << 8 * i;
    return v;
}

static inline uint32_t load_u32(const uint8_t *p)
{
    return load_le(p, 4);
}

static inline uint64_t load_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

#endif
