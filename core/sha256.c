/* sha256.c - SHA-256 as FIPS 180-4 states it. */
#include "sha256.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "archive.h"
#include "sha256_blocks.h"

static const uint32_t k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

static uint32_t load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* One round. Instead of moving the eight words along, the next round gets them by other names. */
static inline void turn(uint32_t a, uint32_t b, uint32_t c, uint32_t *d, uint32_t e, uint32_t f,
                        uint32_t g, uint32_t *h, uint32_t kw)
{
    *h += (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + (g ^ (e & (f ^ g))) + kw;
    *d += *h;
    *h += (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) | (c & (a | b)));
}

static void compress_one(uint32_t h[8], const uint8_t *block)
{
    uint32_t w[64];
    for (unsigned t = 0; t < 16; t++)
        w[t] = load_be32(block + 4 * t);
    for (unsigned t = 16; t < 64; t++) {
        const uint32_t a = w[t - 15], b = w[t - 2];
        w[t] = w[t - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[t - 7] +
               (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    uint32_t v0 = h[0], v1 = h[1], v2 = h[2], v3 = h[3], v4 = h[4], v5 = h[5], v6 = h[6], v7 = h[7];
    for (unsigned t = 0; t < 64; t += 8) {
        turn(v0, v1, v2, &v3, v4, v5, v6, &v7, k[t] + w[t]);
        turn(v7, v0, v1, &v2, v3, v4, v5, &v6, k[t + 1] + w[t + 1]);
        turn(v6, v7, v0, &v1, v2, v3, v4, &v5, k[t + 2] + w[t + 2]);
        turn(v5, v6, v7, &v0, v1, v2, v3, &v4, k[t + 3] + w[t + 3]);
        turn(v4, v5, v6, &v7, v0, v1, v2, &v3, k[t + 4] + w[t + 4]);
        turn(v3, v4, v5, &v6, v7, v0, v1, &v2, k[t + 5] + w[t + 5]);
        turn(v2, v3, v4, &v5, v6, v7, v0, &v1, k[t + 6] + w[t + 6]);
        turn(v1, v2, v3, &v4, v5, v6, v7, &v0, k[t + 7] + w[t + 7]);
    }
    const uint32_t v[8] = {v0, v1, v2, v3, v4, v5, v6, v7};
    for (unsigned i = 0; i < 8; i++)
        h[i] += v[i];
}

static void compress_plain(uint32_t h[8], const uint32_t constants[64], const uint8_t *p, size_t n)
{
    (void)constants;
    for (; n > 0; n--, p += 64)
        compress_one(h, p);
}

/* Special instructions are used once they have given what plain arithmetic gives. */
static bool special_is_right(sha256_blocks *special, size_t nblocks)
{
    uint32_t a[8], b[8];
    uint8_t blocks[16 * 64];
    assert(nblocks * 64 <= sizeof blocks);
    for (unsigned i = 0; i < sizeof blocks; i++)
        blocks[i] = (uint8_t)(i * 73 + 11);
    for (unsigned i = 0; i < 8; i++)
        a[i] = b[i] = k[i];
    compress_plain(a, k, blocks, nblocks);
    special(b, k, blocks, nblocks);
    return memcmp(a, b, sizeof a) == 0;
}

static struct {
    pthread_once_t once;
    sha256_blocks *blocks; /* NULL: none */
    size_t at_once;
} special = {.once = PTHREAD_ONCE_INIT};

static void choose(void)
{
    special.blocks = sha256_blocks_special(&special.at_once);
    if (special.blocks && !special_is_right(special.blocks, 2 * special.at_once))
        special.blocks = NULL;
}

static void compress(uint32_t h[8], const uint8_t *p, size_t n)
{
    pthread_once(&special.once, choose);
    if (special.blocks && n >= special.at_once) {
        const size_t many = n - n % special.at_once;
        special.blocks(h, k, p, many);
        p += 64 * many;
        n -= many;
    }
    compress_plain(h, k, p, n);
}

void sha256_start(struct sha256 *s)
{
    *s = (struct sha256){
        .h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
              0x5be0cd19}
    };
}

void sha256_add(struct sha256 *s, const void *data, size_t n)
{
    const uint8_t *p = data;
    size_t used = s->nbytes % 64;
    s->nbytes += n;
    while (n > 0) {
        if (used == 0 && n >= 64) {
            compress(s->h, p, n / 64);
            p += n / 64 * 64;
            n %= 64;
            continue;
        }
        const size_t take = n < 64 - used ? n : 64 - used;
        memcpy(s->block + used, p, take);
        used += take;
        p += take;
        n -= take;
        if (used == 64) {
            compress(s->h, s->block, 1);
            used = 0;
        }
    }
}

void sha256_end(struct sha256 *s, uint8_t digest[32])
{
    const uint64_t nbits = s->nbytes * 8;
    uint8_t tail[72] = {0x80};
    const size_t zeros = (119 - s->nbytes % 64) % 64;
    for (unsigned i = 0; i < 8; i++)
        tail[1 + zeros + i] = (uint8_t)(nbits >> (56 - 8 * i));
    sha256_add(s, tail, 1 + zeros + 8);
    for (unsigned i = 0; i < 32; i++)
        digest[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}

void digest_hex(const uint8_t digest[32], char hex[65])
{
    static const char digits[] = "0123456789abcdef";
    for (unsigned i = 0; i < 32; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[64] = '\0';
}

bool is_digest_hex(struct str s)
{
    size_t n = 0;
    while (n < s.n && s.p[n] && strchr("0123456789abcdef", s.p[n]))
        n++;
    return n == 64 && s.n == 64;
}

void sha256_hex(struct sha256 s, char hex[65])
{
    uint8_t digest[32];
    sha256_end(&s, digest);
    digest_hex(digest, hex);
}

enum quern_status sha256_file(const char *path, char hex[65], struct quern_error *err)
{
    enum { BUFFER = 1 << 20 };
    struct any_file f;
    TRY(any_open(path, &f, err));
    uint8_t *buf = malloc(BUFFER);
    enum quern_status status = buf ? QUERN_OK : fail_memory(err, BUFFER);
    struct sha256 s;
    sha256_start(&s);
    for (uint64_t at = 0; status == QUERN_OK && at < f.nbytes;) {
        const size_t n = f.nbytes - at < BUFFER ? (size_t)(f.nbytes - at) : BUFFER;
        status = any_read(&f, buf, n, at, err);
        if (status == QUERN_OK)
            sha256_add(&s, buf, n);
        at += n;
    }
    sha256_hex(s, hex);
    free(buf);
    any_close(&f);
    return status;
}
