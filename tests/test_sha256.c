/* test_sha256.c - the blocks with special instructions, which are played here in plain C, and those
 * in lanes: whether this processor has them or not, what is made of them is right. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "core/sha256.h"
#include "core/sha256_blocks.h"

#if defined(__x86_64__)

#include <immintrin.h>

static uint32_t turned(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

struct lanes {
    uint32_t v[4]; /* from the lowest */
};

static struct lanes of(__m128i x)
{
    struct lanes l;
    _mm_storeu_si128((__m128i *)l.v, x);
    return l;
}

static __m128i from(const struct lanes l)
{
    return _mm_loadu_si128((const __m128i *)l.v);
}

/* As the manual of the instructions states them. */
static __m128i rounds2(__m128i cdgh, __m128i abef, __m128i wk)
{
    const struct lanes x = of(abef), y = of(cdgh), w = of(wk);
    uint32_t a = x.v[3], b = x.v[2], e = x.v[1], f = x.v[0];
    uint32_t c = y.v[3], d = y.v[2], g = y.v[1], h = y.v[0];
    for (unsigned i = 0; i < 2; i++) {
        const uint32_t t1 =
            h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + w.v[i];
        const uint32_t t2 =
            (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    return from((struct lanes){
        {f, e, b, a}
    });
}

static __m128i msg1(__m128i x, __m128i y)
{
    const struct lanes a = of(x), b = of(y);
    struct lanes out;
    for (unsigned i = 0; i < 4; i++) {
        const uint32_t next = i < 3 ? a.v[i + 1] : b.v[0];
        out.v[i] = a.v[i] + (turned(next, 7) ^ turned(next, 18) ^ next >> 3);
    }
    return from(out);
}

static __m128i msg2(__m128i x, __m128i y)
{
    const struct lanes a = of(x), b = of(y);
    struct lanes out;
    for (unsigned i = 0; i < 4; i++) {
        const uint32_t old = i < 2 ? b.v[2 + i] : out.v[i - 2];
        out.v[i] = a.v[i] + (turned(old, 17) ^ turned(old, 19) ^ old >> 10);
    }
    return from(out);
}

#define SHA_TARGET  "ssse3,sse4.1"
#define SHA_ROUNDS2 rounds2
#define SHA_MSG1    msg1
#define SHA_MSG2    msg2

#include "core/sha256_x86.h"

#define LANES_TARGET

#include "core/sha256_lanes.h"

/* The constants are the fractions of the cube roots of the first primes; those of the scalar code
 * are checked by its known texts, and these by coming to the same. */
static void constants(uint32_t k[64])
{
    unsigned n = 0;
    for (uint64_t p = 2; n < 64; p++) {
        bool prime = true;
        for (uint64_t q = 2; q * q <= p; q++)
            prime &= p % q != 0;
        if (!prime)
            continue;
        /* The largest x with x^3 <= p * 2^96. */
        uint64_t x = 0;
        for (unsigned bit = 36; bit-- > 0;) {
            const uint64_t y = x | UINT64_C(1) << bit;
            const __uint128_t square = (__uint128_t)y * y;
            /* y^3 <= p * 2^96, without leaving 128 bits. */
            if (square <= (((__uint128_t)p << 96) / y))
                x = y;
        }
        k[n++] = (uint32_t)x;
    }
}

/* nblocks blocks, the last of which is the padding. */
static void check_blocks(sha256_blocks *blocks, unsigned nblocks)
{
    enum { MOST = 16 };
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t bytes[MOST * 64] = {0};
    const size_t nbytes = (size_t)64 * (nblocks - 1);
    uint32_t k[64];
    char want[65], got[65];
    struct sha256 s;
    cr_assert_leq(nblocks, MOST);
    constants(k);
    for (size_t i = 0; i < nbytes; i++)
        bytes[i] = (uint8_t)(i * i * 31 + nblocks);
    sha256_start(&s);
    /* Single blocks are not those that are checked. */
    for (size_t i = 0; i < nbytes; i += 64)
        sha256_add(&s, bytes + i, 64);
    sha256_hex(s, want);
    bytes[nbytes] = 0x80;
    bytes[nbytes + 62] = (uint8_t)(nbytes * 8 >> 8);
    bytes[nbytes + 63] = (uint8_t)(nbytes * 8);
    blocks(h, k, bytes, nblocks);
    for (unsigned i = 0; i < 8; i++)
        snprintf(got + (size_t)8 * i, 9, "%08x", h[i]);
    cr_assert_str_eq(got, want, "%u blocks", nblocks);
}

Test(sha256, blocks_with_special_instructions)
{
    for (unsigned n = 1; n < 10; n++)
        check_blocks(sha256_x86, n);
}

Test(sha256, blocks_in_lanes)
{
    check_blocks(sha256_lanes, SHA_LANES);
    check_blocks(sha256_lanes, 2 * SHA_LANES);
}

#endif

/* Where the processor has them, the digests must be the known ones through them, too: test_core.c
 * goes through whatever is chosen here. */
Test(sha256, a_million_letters)
{
    char hex[65];
    struct sha256 s;
    static char letters[1000];
    memset(letters, 'a', sizeof letters);
    sha256_start(&s);
    for (unsigned i = 0; i < 1000; i++)
        sha256_add(&s, letters, sizeof letters);
    sha256_hex(s, hex);
    cr_assert_str_eq(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}
