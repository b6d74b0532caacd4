/* packed_bits.h - integers of a few bits, taken out of the words they are packed in. */
#ifndef QUERN_PACKED_BITS_H
#define QUERN_PACKED_BITS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The code of so many bits that begins at this bit; bit 0 is the lowest of the first word. */
static inline uint8_t code_at(const uint8_t *words, uint64_t bit, unsigned bits)
{
    const uint8_t *p = words + bit / 8;
    const unsigned shift = bit % 8;
    unsigned v = p[0];
    if (shift + bits > 8)
        v |= (unsigned)p[1] << 8;
    return (uint8_t)(v >> shift & ((1u << bits) - 1));
}

/* Eight codes of four bits, lowest first, as eight bytes. */
static inline uint64_t spread_nibbles(uint32_t word)
{
    uint64_t x = word;
    x = (x | x << 16) & UINT64_C(0x0000ffff0000ffff);
    x = (x | x << 8) & UINT64_C(0x00ff00ff00ff00ff);
    return (x | x << 4) & UINT64_C(0x0f0f0f0f0f0f0f0f);
}

/* The first n codes of a stream. */
static inline void unpack_codes(const uint8_t *words, unsigned bits, uint8_t *codes, size_t n)
{
    size_t done = 0;
    if (bits == 8) {
        memcpy(codes, words, n);
        return;
    }
    for (; bits == 4 && n - done >= 8; done += 8) {
        uint32_t word;
        memcpy(&word, words + done / 2, sizeof word);
        const uint64_t eight = spread_nibbles(word);
        memcpy(codes + done, &eight, sizeof eight);
    }
    for (; done < n; done++)
        codes[done] = code_at(words, (uint64_t)done * bits, bits);
}

/* Bytes with a sign as codes that are 128 more. */
static inline void flip_signs(const uint8_t *from, uint8_t *codes, size_t n)
{
    size_t i = 0;
    for (uint64_t x; n - i >= sizeof x; i += sizeof x) {
        memcpy(&x, from + i, sizeof x);
        x ^= UINT64_C(0x8080808080808080);
        memcpy(codes + i, &x, sizeof x);
    }
    for (; i < n; i++)
        codes[i] = from[i] ^ 0x80u;
}

/* The two halves of every byte. */
static inline void swap_nibbles(uint8_t *bytes, size_t n)
{
    size_t i = 0;
    for (uint64_t x; n - i >= sizeof x; i += sizeof x) {
        memcpy(&x, bytes + i, sizeof x);
        x = (x & UINT64_C(0x0f0f0f0f0f0f0f0f)) << 4 | (x >> 4 & UINT64_C(0x0f0f0f0f0f0f0f0f));
        memcpy(bytes + i, &x, sizeof x);
    }
    for (; i < n; i++)
        bytes[i] = (uint8_t)(bytes[i] << 4 | bytes[i] >> 4);
}

#endif
