/* sha256.h - SHA-256 (FIPS 180-4), for telling files apart. */
#ifndef QUERN_SHA256_H
#define QUERN_SHA256_H

#include "error.h"

struct sha256 {
    uint32_t h[8];
    uint64_t nbytes;
    uint8_t block[64];
};

void sha256_start(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t n);
void sha256_end(struct sha256 *s, uint8_t digest[32]);
/* As 64 hexadecimal digits. */
void digest_hex(const uint8_t digest[32], char hex[65]);
/* Are these 64 such digits? */
bool is_digest_hex(struct str s);
/* Of what has been added so far, as 64 hexadecimal digits; more may be added to the original. */
void sha256_hex(struct sha256 s, char hex[65]);

/* Of a whole file, as 64 hexadecimal digits. */
enum quern_status sha256_file(const char *path, char hex[65], struct quern_error *err);

#endif
