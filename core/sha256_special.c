/* sha256_special.c - SHA-256 by the processor's own instructions, where it has them. */
#include "sha256_blocks.h"

#if defined(__x86_64__)

#include <cpuid.h>

#define SHA_TARGET  "sha,ssse3,sse4.1"
#define SHA_ROUNDS2 _mm_sha256rnds2_epu32
#define SHA_MSG1    _mm_sha256msg1_epu32
#define SHA_MSG2    _mm_sha256msg2_epu32

#include "sha256_x86.h"

sha256_blocks *sha256_blocks_special(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1))
        return NULL;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_SHA))
        return NULL;
    return sha256_x86;
}

#else

sha256_blocks *sha256_blocks_special(void)
{
    return NULL;
}

#endif
