/* sha256_special.c - SHA-256 by the processor's own instructions for it, or by its vectors. */
#include "sha256_blocks.h"

#if defined(__x86_64__)

#include <cpuid.h>

#define SHA_TARGET  "sha,ssse3,sse4.1"
#define SHA_ROUNDS2 _mm_sha256rnds2_epu32
#define SHA_MSG1    _mm_sha256msg1_epu32
#define SHA_MSG2    _mm_sha256msg2_epu32

#include "sha256_x86.h"

#define LANES_TARGET __attribute__((target("avx2,bmi,bmi2")))

#include "sha256_lanes.h"

static int has_sha(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1))
        return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

sha256_blocks *sha256_blocks_special(size_t *at_once)
{
    *at_once = 1;
    if (has_sha())
        return sha256_x86;
    *at_once = SHA_LANES;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
        __builtin_cpu_supports("bmi2"))
        return sha256_lanes;
    return NULL;
}

#else

sha256_blocks *sha256_blocks_special(size_t *at_once)
{
    *at_once = 1;
    return NULL;
}

#endif
