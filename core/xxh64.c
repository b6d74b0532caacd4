/* xxh64.c - XXH64 as its specification states it. */
#include "xxh64.h"

#include <assert.h>

#include "load.h"

static const uint64_t prime[5] = {UINT64_C(0x9E3779B185EBCA87), UINT64_C(0xC2B2AE3D27D4EB4F),
                                  UINT64_C(0x165667B19E3779F9), UINT64_C(0x85EBCA77C2B2AE63),
                                  UINT64_C(0x27D4EB2F165667C5)};

static uint64_t rotate(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static uint64_t round_of(uint64_t lane, uint64_t input)
{
    return rotate(lane + input * prime[1], 31) * prime[0];
}

void xxh64_start(struct xxh64 *x)
{
    *x = (struct xxh64){
        .lane = {prime[0] + prime[1], prime[1], 0, 0 - prime[0]}
    };
}

/* Four lanes over whole stripes of 32 bytes. */
void xxh64_add(struct xxh64 *x, const void *piece, size_t n)
{
    const uint8_t *p = piece;
    uint64_t a = x->lane[0], b = x->lane[1], c = x->lane[2], d = x->lane[3];
    assert(n % 32 == 0);
    for (const uint8_t *end = p + n; p < end; p += 32) {
        a = round_of(a, load_u64(p));
        b = round_of(b, load_u64(p + 8));
        c = round_of(c, load_u64(p + 16));
        d = round_of(d, load_u64(p + 24));
    }
    x->lane[0] = a;
    x->lane[1] = b;
    x->lane[2] = c;
    x->lane[3] = d;
    x->nbytes += n;
}

static uint64_t fold(const uint64_t lane[4])
{
    uint64_t h =
        rotate(lane[0], 1) + rotate(lane[1], 7) + rotate(lane[2], 12) + rotate(lane[3], 18);
    for (unsigned i = 0; i < 4; i++)
        h = (h ^ round_of(0, lane[i])) * prime[0] + prime[3];
    return h;
}

uint64_t xxh64_end(struct xxh64 *x, const void *last, size_t n)
{
    const uint8_t *p = last, *end = p + n;
    xxh64_add(x, p, n - n % 32);
    p += n - n % 32;
    uint64_t h = x->nbytes > 0 ? fold(x->lane) : prime[4];
    h += x->nbytes + n % 32;
    for (; end - p >= 8; p += 8)
        h = rotate(h ^ round_of(0, load_u64(p)), 27) * prime[0] + prime[3];
    if (end - p >= 4) {
        h = rotate(h ^ load_u32(p) * prime[0], 23) * prime[1] + prime[2];
        p += 4;
    }
    for (; p < end; p++)
        h = rotate(h ^ *p * prime[4], 11) * prime[0];
    h = (h ^ h >> 33) * prime[1];
    h = (h ^ h >> 29) * prime[2];
    return h ^ h >> 32;
}

uint64_t xxh64(const void *data, size_t n)
{
    struct xxh64 x;
    xxh64_start(&x);
    return xxh64_end(&x, data, n);
}
