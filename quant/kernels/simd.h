/* simd.h - vectors of the width this CPU likes, and the few operations C operators do not give.
 *
 * kernels.c is written over these types with plain operators (+ - * / & | ^ << >> work lane by
 * lane). What needs an instruction of its own is a one-liner per instruction set here, and nowhere
 * else. No fused multiply-add, but for exact products: its missing rounding changes the bytes.
 *
 *     vf  float        vi  int32_t    vu  uint32_t      LANES of each
 *     vd  double       vl  uint64_t   LANES / 2
 *     vm  mask         one truth value per lane, from comparisons, for m_*() and *_select()
 *
 * Stored data moves in sixteens, which is N16 vectors: one of AVX-512, two of AVX2, four of SSE2 or
 * NEON. SIMD_LANES asks for another width than the native one; tests use it. */
#ifndef QUERN_SIMD_H
#define QUERN_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "quant/levels.h"
#include "quant/small_floats.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(SIMD_LANES)
#define LANES SIMD_LANES
#elif defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && \
    defined(__AVX512VL__)
#define SIMD_AVX512
#define LANES 16
#elif defined(__AVX2__) && defined(__F16C__)
#define SIMD_AVX2
#define LANES 8
#else
#define LANES 4
#if defined(__SSE2__)
#define SIMD_SSE2
#endif
#endif

#define N16 (16 / LANES)

/* All bits that m_bits() can set. */
#define LANES_MASK ((1u << LANES) - 1)

/* Everything is inlined, so that constants reach the loops. Instrumented code is not: compilers
 * would take half an hour. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define INSTRUMENTED 1
#endif
#endif

#ifdef INSTRUMENTED
#define INLINE static inline __attribute__((unused))
#else
#define INLINE static inline __attribute__((always_inline, unused))
#endif

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
typedef double vd __attribute__((vector_size(4 * LANES)));
typedef uint64_t vl __attribute__((vector_size(4 * LANES)));
typedef float half_vf __attribute__((vector_size(2 * LANES)));
typedef uint16_t v_u16 __attribute__((vector_size(2 * LANES)));
typedef uint8_t v_u8 __attribute__((vector_size(LANES)));
typedef int8_t v_i8 __attribute__((vector_size(LANES)));

/* ---- the same everywhere -------------------------------------------------------------------- */

INLINE vf vf_load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void vf_store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

/* The first n lanes; the others are 0. With n = LANES, known at compile time, a plain load. */
INLINE vf vf_load_some(const float *p, size_t n)
{
    vf v = {0};
    memcpy(&v, p, n * sizeof *p);
    return v;
}

INLINE void vf_store_some(float *p, vf v, size_t n)
{
    memcpy(p, &v, n * sizeof *p);
}

INLINE vu vu_load(const uint32_t *p)
{
    vu v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE vu vu_load_bytes(const uint8_t *p)
{
    vu v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* x - 0 rather than x + 0, which would lose the sign of -0. */
INLINE vf vf_set(float x)
{
    return x - (vf){0};
}

INLINE vi vi_set(int32_t x)
{
    return x + (vi){0};
}

INLINE vu vu_set(uint32_t x)
{
    return x + (vu){0};
}

INLINE vl vl_set(uint64_t x)
{
    return x + (vl){0};
}

INLINE vi vi_load32(const int32_t *p)
{
    vi v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void vi_store32(int32_t *p, vi v)
{
    memcpy(p, &v, sizeof v);
}

INLINE vf vf_abs(vf x)
{
    return (vf)((vu)x & ~F32_SIGN);
}

INLINE vd vd_abs(vd x)
{
    return (vd)((vl)x & ~(UINT64_C(1) << 63));
}

INLINE vf vf_from_vi(vi x)
{
    return __builtin_convertvector(x, vf);
}

/* Interleave: a0 b0 a1 b1 ... from the lower and upper halves; lanes of 32 and of 64 bits. */
#if LANES == 16
#define ZIP_LO   0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ZIP64_LO 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP64_HI 4, 12, 5, 13, 6, 14, 7, 15
#define ZIP_HI   8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif LANES == 8
#define ZIP_LO   0, 8, 1, 9, 2, 10, 3, 11
#define ZIP64_LO 0, 4, 1, 5
#define ZIP64_HI 2, 6, 3, 7
#define ZIP_HI   4, 12, 5, 13, 6, 14, 7, 15
#else
#define ZIP64_LO 0, 2
#define ZIP64_HI 1, 3
#define ZIP_LO   0, 4, 1, 5
#define ZIP_HI   2, 6, 3, 7
#endif

/* rows[i] lane j becomes rows[j] lane i. Every round interleaves the upper rows into the lower. */
INLINE void vf_transpose(vf rows[LANES])
{
    for (int round = 1; round < LANES; round *= 2) {
        vf next[LANES];
        for (int i = 0; i < LANES / 2; i++) {
            next[2 * i] = __builtin_shufflevector(rows[i], rows[i + LANES / 2], ZIP_LO);
            next[2 * i + 1] = __builtin_shufflevector(rows[i], rows[i + LANES / 2], ZIP_HI);
        }
        memcpy(rows, next, sizeof next);
    }
}

/* ---- one instruction each ------------------------------------------------------------------- */
/* A table, one operation a line. min and max are a < b ? a : b and a > b ? a : b: when either is
 * NaN, the answer is b. A rough reciprocal has eleven good bits or more, not the same everywhere.
 * vl_mul32 multiplies the lower halves of 64-bit lanes. vd_load_delta is a - b, rounded to float;
 * vd_add_exact is sum + a * b for factors that have been floats: rounded once either way. vd_half
 * is the lower (0) or the upper half of a vector. */
/* clang-format off */

#if defined(SIMD_AVX512)

/* Masks are registers of their own. */
typedef __mmask16 vm;

INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vi vi_min(vi a, vi b) { return (vi)_mm512_min_epi32((__m512i)a, (__m512i)b); }
INLINE vi vi_max(vi a, vi b) { return (vi)_mm512_max_epi32((__m512i)a, (__m512i)b); }
INLINE vf vf_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }
INLINE vi vi_trunc(vf a) { return (vi)_mm512_cvttps_epi32(a); }
INLINE vi vi_nearest(vf a) { return (vi)_mm512_cvtps_epi32(a); }

INLINE vf vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }
INLINE vf vf_rough_reciprocal(vf a) { return _mm512_rcp14_ps(a); }

INLINE vm vf_gt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
INLINE vm vf_ge(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
INLINE vm vf_eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
INLINE vm vf_ne(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
INLINE vm vi_gt(vi a, vi b) { return _mm512_cmpgt_epi32_mask((__m512i)a, (__m512i)b); }
INLINE vm vi_eq(vi a, vi b) { return _mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b); }
INLINE vm m_and(vm a, vm b) { return a & b; }
INLINE vm m_or(vm a, vm b) { return a | b; }
INLINE vm m_not(vm a) { return (vm)~a; }
INLINE unsigned m_bits(vm m) { return m; }
INLINE vm m_from_bits(unsigned bits) { return (vm)bits; }
INLINE vm vu_less(vu a, vu b) { return _mm512_cmplt_epu32_mask((__m512i)a, (__m512i)b); }
INLINE vf vf_select(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
INLINE vi vi_select(vm m, vi a, vi b) { return (vi)_mm512_mask_blend_epi32(m, (__m512i)b, (__m512i)a); }

INLINE vd vd_load_f32(const float *p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
INLINE vd vd_half(vf v, int half) { return _mm512_cvtps_pd(half ? _mm512_extractf32x8_ps(v, 1) : _mm512_castps512_ps256(v)); }
INLINE vd vd_load_delta(const float *a, const float *b) { return _mm512_cvtps_pd(_mm256_sub_ps(_mm256_loadu_ps(a), _mm256_loadu_ps(b))); }
INLINE vd vd_add_exact(vd sum, vd a, vd b) { return _mm512_fmadd_pd(a, b, sum); }
INLINE vd vd_max(vd a, vd b) { return _mm512_max_pd(a, b); }
INLINE vl vl_mul32(vl a, vl b) { return (vl)_mm512_mul_epu32((__m512i)a, (__m512i)b); }
INLINE vu vu_load_u16(const uint8_t *p) { return (vu)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)); }
INLINE vi vi_load_u8(const uint8_t *p) { return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p)); }
INLINE vi vi_load_i8(const uint8_t *p) { return (vi)_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p)); }
INLINE void store_u16(uint8_t *p, vu v) { _mm256_storeu_si256((void *)p, _mm512_cvtepi32_epi16((__m512i)v)); }
INLINE void store_u8(uint8_t *p, vi v) { _mm_storeu_si128((void *)p, _mm512_cvtepi32_epi8((__m512i)v)); }
INLINE void store16_u8(uint8_t *p, const vi v[N16]) { store_u8(p, v[0]); }
INLINE void store16_i8(uint8_t *p, const vi v[N16]) { store_u8(p, v[0]); }

#else

/* A mask is a vector of 0 and -1. */
typedef vi vm;

INLINE vm vf_gt(vf a, vf b) { return (vm)(a > b); }
INLINE vm vf_ge(vf a, vf b) { return (vm)(a >= b); }
INLINE vm vf_eq(vf a, vf b) { return (vm)(a == b); }
INLINE vm vf_ne(vf a, vf b) { return (vm)(a != b); }
INLINE vm vi_gt(vi a, vi b) { return (vm)(a > b); }
INLINE vm vi_eq(vi a, vi b) { return (vm)(a == b); }
INLINE vm m_and(vm a, vm b) { return a & b; }
INLINE vm m_or(vm a, vm b) { return a | b; }
INLINE vm m_not(vm a) { return ~a; }
INLINE vm m_from_bits(unsigned bits) { vi bit; for (int i = 0; i < LANES; i++) bit[i] = 1 << i; return (vm)((vi_set((int32_t)bits) & bit) != 0); }
INLINE vm vu_less(vu a, vu b) { return (vm)((vi)(a ^ F32_SIGN) < (vi)(b ^ F32_SIGN)); }

#if defined(SIMD_AVX2)

INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vi vi_min(vi a, vi b) { return (vi)_mm256_min_epi32((__m256i)a, (__m256i)b); }
INLINE vi vi_max(vi a, vi b) { return (vi)_mm256_max_epi32((__m256i)a, (__m256i)b); }
INLINE vf vf_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vi vi_trunc(vf a) { return (vi)_mm256_cvttps_epi32(a); }
INLINE vi vi_nearest(vf a) { return (vi)_mm256_cvtps_epi32(a); }
INLINE vf vf_sqrt(vf a) { return _mm256_sqrt_ps(a); }
INLINE vf vf_rough_reciprocal(vf a) { return _mm256_rcp_ps(a); }

INLINE unsigned m_bits(vm m) { return (unsigned)_mm256_movemask_ps((__m256)m); }
INLINE vf vf_select(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, (__m256)m); }
INLINE vi vi_select(vm m, vi a, vi b) { return (vi)vf_select(m, (vf)a, (vf)b); }

INLINE vd vd_load_f32(const float *p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
INLINE vd vd_half(vf v, int half) { return _mm256_cvtps_pd(half ? _mm256_extractf128_ps(v, 1) : _mm256_castps256_ps128(v)); }
INLINE vd vd_load_delta(const float *a, const float *b) { return _mm256_cvtps_pd(_mm_sub_ps(_mm_loadu_ps(a), _mm_loadu_ps(b))); }
INLINE vd vd_add_exact(vd sum, vd a, vd b) { return sum + a * b; }
INLINE vd vd_max(vd a, vd b) { return _mm256_max_pd(a, b); }
INLINE vl vl_mul32(vl a, vl b) { return (vl)_mm256_mul_epu32((__m256i)a, (__m256i)b); }
INLINE vu vu_load_u16(const uint8_t *p) { return (vu)_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)); }
INLINE vi vi_load_u8(const uint8_t *p) { return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p)); }
INLINE vi vi_load_i8(const uint8_t *p) { return (vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p)); }
INLINE __m128i lower(__m256i v) { return _mm256_castsi256_si128(v); }
INLINE __m128i upper(__m256i v) { return _mm256_extracti128_si256(v, 1); }
INLINE void store_u16(uint8_t *p, vu v) { _mm_storeu_si128((void *)p, _mm_packus_epi32(lower((__m256i)v), upper((__m256i)v))); }
INLINE void store_u8(uint8_t *p, vi v) { const __m128i w = _mm_packs_epi32(lower((__m256i)v), upper((__m256i)v)); _mm_storel_epi64((void *)p, _mm_packus_epi16(w, w)); }
/* Packing works within halves of 128 bits, so the last step puts four bytes each in their place. */
INLINE __m256i pack_i16(const vi v[N16]) { return _mm256_packs_epi32((__m256i)v[0], (__m256i)v[1]); }
INLINE void store_4x4(uint8_t *p, __m128i v) { _mm_storeu_si128((void *)p, _mm_shuffle_epi32(v, 0xd8)); }
INLINE void store16_u8(uint8_t *p, const vi v[N16]) { const __m256i w = pack_i16(v); store_4x4(p, _mm_packus_epi16(lower(w), upper(w))); }
INLINE void store16_i8(uint8_t *p, const vi v[N16]) { const __m256i w = pack_i16(v); store_4x4(p, _mm_packs_epi16(lower(w), upper(w))); }

#else

INLINE vf vf_select(vm m, vf a, vf b) { return (vf)((m & (vi)a) | (~m & (vi)b)); }
INLINE vi vi_select(vm m, vi a, vi b) { return (m & a) | (~m & b); }
INLINE vi vi_min(vi a, vi b) { return vi_select(vi_gt(b, a), a, b); }
INLINE vi vi_max(vi a, vi b) { return vi_select(vi_gt(a, b), a, b); }
/* Where only whole numbers are left of the mantissa; for |a| <= 2^22. */
INLINE vf vf_round(vf a) { return (a + 12582912.0f) - 12582912.0f; }

#if defined(SIMD_SSE2)

INLINE vf vf_min(vf a, vf b) { return _mm_min_ps(a, b); }
INLINE vf vf_max(vf a, vf b) { return _mm_max_ps(a, b); }
INLINE vi vi_trunc(vf a) { return (vi)_mm_cvttps_epi32(a); }
INLINE vi vi_nearest(vf a) { return (vi)_mm_cvtps_epi32(a); }
INLINE vf vf_sqrt(vf a) { return _mm_sqrt_ps(a); }
INLINE vf vf_rough_reciprocal(vf a) { return _mm_rcp_ps(a); }
INLINE unsigned m_bits(vm m) { return (unsigned)_mm_movemask_ps((__m128)m); }

INLINE __m128 load_two(const float *p) { return _mm_castsi128_ps(_mm_loadl_epi64((const void *)p)); }
INLINE vd vd_load_f32(const float *p) { return _mm_cvtps_pd(load_two(p)); }
INLINE vd vd_half(vf v, int half) { return _mm_cvtps_pd(half ? _mm_movehl_ps(v, v) : (__m128)v); }
INLINE vd vd_load_delta(const float *a, const float *b) { return _mm_cvtps_pd(_mm_sub_ps(load_two(a), load_two(b))); }
INLINE vd vd_add_exact(vd sum, vd a, vd b) { return sum + a * b; }
INLINE vd vd_max(vd a, vd b) { return _mm_max_pd(a, b); }
INLINE vl vl_mul32(vl a, vl b) { return (vl)_mm_mul_epu32((__m128i)a, (__m128i)b); }
INLINE vu vu_load_u16(const uint8_t *p) { return (vu)_mm_unpacklo_epi16(_mm_loadl_epi64((const void *)p), _mm_setzero_si128()); }
INLINE __m128i load_4_bytes(const uint8_t *p) { int32_t v; memcpy(&v, p, sizeof v); return _mm_cvtsi32_si128(v); }
INLINE __m128i four_fold(__m128i v) { v = _mm_unpacklo_epi8(v, v); return _mm_unpacklo_epi16(v, v); }
INLINE vi vi_load_u8(const uint8_t *p) { return (vi)_mm_srli_epi32(four_fold(load_4_bytes(p)), 24); }
INLINE vi vi_load_i8(const uint8_t *p) { return (vi)_mm_srai_epi32(four_fold(load_4_bytes(p)), 24); }
/* There is no unsigned packing of 32 bits: make the halves look signed. */
INLINE __m128i pack_i16(vi a, vi b) { return _mm_packs_epi32((__m128i)a, (__m128i)b); }
INLINE void store_u16(uint8_t *p, vu v) { const vi s = (vi)(v << 16) >> 16; _mm_storel_epi64((void *)p, pack_i16(s, s)); }
INLINE void store_u8(uint8_t *p, vi v) { const __m128i w = pack_i16(v, v); const int32_t b = _mm_cvtsi128_si32(_mm_packus_epi16(w, w)); memcpy(p, &b, sizeof b); }
INLINE void store16_u8(uint8_t *p, const vi v[N16]) { _mm_storeu_si128((void *)p, _mm_packus_epi16(pack_i16(v[0], v[1]), pack_i16(v[2], v[3]))); }
INLINE void store16_i8(uint8_t *p, const vi v[N16]) { _mm_storeu_si128((void *)p, _mm_packs_epi16(pack_i16(v[0], v[1]), pack_i16(v[2], v[3]))); }

#else

INLINE vf vf_min(vf a, vf b) { return vf_select(vf_gt(b, a), a, b); }
INLINE vf vf_max(vf a, vf b) { return vf_select(vf_gt(a, b), a, b); }
INLINE vi vi_trunc(vf a) { return __builtin_convertvector(a, vi); }
INLINE vi vi_nearest(vf a) { return vi_trunc(vf_round(a)); }
INLINE vf vf_rough_reciprocal(vf a) { return 1.0f / a; }
INLINE vf vf_sqrt(vf a) { for (int i = 0; i < LANES; i++) a[i] = __builtin_sqrtf(a[i]); return a; }
INLINE unsigned m_bits(vm m) { unsigned b = 0; for (int i = 0; i < LANES; i++) b |= (unsigned)(m[i] & 1) << i; return b; }

INLINE vd vd_half(vf x, int half) { half_vf v; memcpy(&v, (const char *)&x + half * (int)sizeof v, sizeof v); return __builtin_convertvector(v, vd); }
INLINE vd vd_load_f32(const float *p) { half_vf v; memcpy(&v, p, sizeof v); return __builtin_convertvector(v, vd); }
INLINE vd vd_load_delta(const float *a, const float *b) { half_vf v, w; memcpy(&v, a, sizeof v); memcpy(&w, b, sizeof w); return __builtin_convertvector(v - w, vd); }
INLINE vd vd_add_exact(vd sum, vd a, vd b) { return sum + a * b; }
INLINE vd vd_max(vd a, vd b) { const vl m = (vl)(a > b); return (vd)((m & (vl)a) | (~m & (vl)b)); }
INLINE vl vl_mul32(vl a, vl b) { return (a & UINT32_MAX) * (b & UINT32_MAX); }
INLINE vu vu_load_u16(const uint8_t *p) { v_u16 v; memcpy(&v, p, sizeof v); return __builtin_convertvector(v, vu); }
INLINE vi vi_load_u8(const uint8_t *p) { v_u8 v; memcpy(&v, p, sizeof v); return __builtin_convertvector(v, vi); }
INLINE vi vi_load_i8(const uint8_t *p) { v_i8 v; memcpy(&v, p, sizeof v); return __builtin_convertvector(v, vi); }
INLINE void store_u16(uint8_t *p, vu v) { const v_u16 w = __builtin_convertvector(v, v_u16); memcpy(p, &w, sizeof w); }
INLINE void store_u8(uint8_t *p, vi v) { const v_u8 w = __builtin_convertvector(v, v_u8); memcpy(p, &w, sizeof w); }
INLINE void store16_u8(uint8_t *p, const vi v[N16]) { for (int i = 0; i < N16; i++) store_u8(p + i * LANES, v[i]); }
INLINE void store16_i8(uint8_t *p, const vi v[N16]) { store16_u8(p, v); }

#endif
#endif
#endif
/* clang-format on */

/* ---- small floats: the vector twins of small_floats.h --------------------------------------- */

INLINE vu vu_small_from_magnitude(vu magnitude, unsigned man, unsigned bias)
{
    const unsigned shift = 23 - man;
    const uint32_t rebias = 127 - bias, anchor = (rebias + 24 - man) << 23;
    const vu half = (magnitude >> shift & 1) + ((1u << (shift - 1)) - 1);
    const vu normal = ((magnitude + half) >> shift) - (rebias << man);
    const vu subnormal = (vu)((vf)magnitude + (vf)vu_set(anchor)) - anchor;
    const vm is_small = vi_gt(vi_set((int32_t)((rebias + 1) << 23)), (vi)magnitude);
    return (vu)vi_select(is_small, (vi)subnormal, (vi)normal);
}

/* The subnormals without a product, which would have denormal operands: slow on some CPUs. */
INLINE vu vu_magnitude_from_small(vu code, unsigned man, unsigned bias)
{
    const uint32_t rebias = 127 - bias, smallest_normal = (rebias + 1) << 23;
    const vu wide = code << (23 - man);
    const vu normal = wide + (rebias << 23);
    const vu subnormal = (vu)((vf)(wide + smallest_normal) - (vf)vu_set(smallest_normal));
    const vm is_small = vi_gt(vi_set(1 << man), (vi)code);
    return (vu)vi_select(is_small, (vi)subnormal, (vi)normal);
}

INLINE vu vu_min(vu a, uint32_t b)
{
    return (vu)vi_min((vi)a, vi_set((int32_t)b)); /* both below 2^31 */
}

#if defined(SIMD_AVX2) || defined(SIMD_AVX512)
/* The hardware keeps some bits of a NaN; ours are all alike. */
INLINE vf vf_plain_nan(vf x)
{
    const vu nan = ((vu)x & F32_SIGN) | F32_QNAN;
    return vf_select(vf_ne(x, x), (vf)nan, x);
}
#endif

#if defined(SIMD_AVX512)

INLINE vf vf_load_f16(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}

INLINE void store_f16(uint8_t *p, vf x)
{
    _mm256_storeu_si256((void *)p, _mm512_cvtps_ph(vf_plain_nan(x), _MM_FROUND_TO_NEAREST_INT));
}

#elif defined(SIMD_AVX2)

INLINE vf vf_load_f16(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
}

INLINE void store_f16(uint8_t *p, vf x)
{
    _mm_storeu_si128((void *)p, _mm256_cvtps_ph(vf_plain_nan(x), _MM_FROUND_TO_NEAREST_INT));
}

#else

INLINE vf vf_load_f16(const uint8_t *p)
{
    const vu h = vu_load_u16(p), code = h & 0x7fff;
    const vu special = (code << 13) | F32_INF; /* Inf, or NaN once it is made quiet */
    const vu quiet = (vu)vi_select(vi_gt((vi)code, vi_set(0x7c00)), vi_set(0x00400000), vi_set(0));
    const vm is_special = vi_gt((vi)code, vi_set(0x7bff));
    const vu finite = vu_magnitude_from_small(code, 10, 15);
    const vi magnitude = vi_select(is_special, (vi)(special | quiet), (vi)finite);
    return (vf)((h & 0x8000) << 16 | (vu)magnitude);
}

INLINE void store_f16(uint8_t *p, vf x)
{
    const vu sign = (vu)x >> 16 & 0x8000, magnitude = (vu)x & ~F32_SIGN;
    const vu code = vu_min(vu_small_from_magnitude(magnitude, 10, 15), 0x7c00);
    const vm is_nan = vi_gt((vi)magnitude, vi_set((int32_t)F32_INF));
    store_u16(p, sign | (vu)vi_select(is_nan, vi_set(0x7e00), (vi)code));
}

#endif

/* One float of a block's header. */
INLINE uint16_t f16_bits(float x)
{
#if defined(SIMD_AVX2) || defined(SIMD_AVX512)
    return _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT);
#else
    return f16_from_f32(x);
#endif
}

INLINE float f16_value(uint16_t h)
{
#if defined(SIMD_AVX2) || defined(SIMD_AVX512)
    return _cvtsh_ss(h);
#else
    return f16_to_f32(h);
#endif
}

/* ---- small tables --------------------------------------------------------------------------- */
/* Of four or eight floats, those whose numbers are in the lowest bits of each lane; the table of
 * eight has them twice over where there are more lanes. And: each of LANES / 4 floats four times.
 */

#if defined(SIMD_AVX512)

INLINE vf vf_pick4(const float *t, vi at)
{
    return _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(t)), (__m512i)at);
}

INLINE vf vf_pick8(const float *t, vi at)
{
    return _mm512_permutexvar_ps((__m512i)at, _mm512_loadu_ps(t));
}

INLINE vf vf_spread4(const float *p)
{
    const __m512i at = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    return _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(p)), at);
}

#elif defined(SIMD_AVX2)

INLINE vf vf_pick4(const float *t, vi at)
{
    return _mm256_permutevar_ps(_mm256_broadcast_ps((const __m128 *)(const void *)t), (__m256i)at);
}

INLINE vf vf_pick8(const float *t, vi at)
{
    return _mm256_permutevar8x32_ps(_mm256_loadu_ps(t), (__m256i)at);
}

INLINE vf vf_spread4(const float *p)
{
    double two;
    memcpy(&two, p, sizeof two);
    return _mm256_permutevar_ps(_mm256_castpd_ps(_mm256_set1_pd(two)),
                                _mm256_set_epi32(1, 1, 1, 1, 0, 0, 0, 0));
}

#else

INLINE vf vf_pick4(const float *t, vi at)
{
    vf r = {0};
    for (int i = 0; i < LANES; i++)
        r[i] = t[at[i] & 3];
    return r;
}

INLINE vf vf_pick8(const float *t, vi at)
{
    vf r = {0};
    for (int i = 0; i < LANES; i++)
        r[i] = t[at[i] & 7];
    return r;
}

INLINE vf vf_spread4(const float *p)
{
    vf r = {0};
    for (int i = 0; i < LANES; i++)
        r[i] = p[i / 4];
    return r;
}

#endif

/* a + c in the lanes of m. */
INLINE vi vi_add_where(vi a, vm m, int32_t c)
{
    return vi_select(m, a + c, a);
}

/* The vector with its halves exchanged, then the halves of these, and so on. */
INLINE vf vf_exchange(vf v, int round)
{
#if LANES == 16
    if (round == 0)
        return __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    if (round == 1)
        return __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    if (round == 2)
        return __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    return __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
#elif LANES == 8
    if (round == 0)
        return __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
    if (round == 1)
        return __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5);
    return __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
#else
    if (round == 0)
        return __builtin_shufflevector(v, v, 2, 3, 0, 1);
    return __builtin_shufflevector(v, v, 1, 0, 3, 2);
#endif
}

/* The largest lane, in all lanes. */
INLINE vf vf_max_across(vf v)
{
    for (int round = 0; 1 << round < LANES; round++)
        v = vf_max(v, vf_exchange(v, round));
    return v;
}

/* The smallest lane, in all lanes. */
INLINE vf vf_min_across(vf v)
{
    for (int round = 0; 1 << round < LANES; round++)
        v = vf_min(v, vf_exchange(v, round));
    return v;
}

/* ---- the levels of IQ4 ---------------------------------------------------------------------- */

/* The nearest of sixteen levels, or its code; of two equally near the upper one. The steps between
 * them are at the midpoints, exactly: where it matters, differences of floats are exact too.
 *
 * iq4_level() wants |x| < 140; iq4_code() takes anything, NaN as something large. */
INLINE float iq4_edge(int step)
{
    return 0.5f * (float)(iq4_levels[step] + iq4_levels[step + 1]);
}

INLINE vf iq4_within(vf x)
{
    return vf_max(vf_min(x, vf_set(113.0f)), vf_set(-127.0f));
}

#if defined(SIMD_AVX512)

/* One of 32 stretches, eight long, from the lower bits of what is left of a number next to a large
 * one. Steps are further apart than that: one comparison settles it. The stretches around 128 and
 * -128 share places, and there the sign tells. */
struct iq4_tables {
    vf edge[2], below[2], above[2];
    vi code[2];
};

INLINE struct iq4_tables iq4_tables(void)
{
    float edge[32], below[32], above[32];
    int32_t codes[32];
    int code = 0;
    for (int k = -16; k < 16; k++) {
        while (code < 15 && iq4_edge(code) < (float)(8 * k - 4))
            code++;
        const bool both_ends = k < -14 || k > 14;
        codes[k & 31] = code;
        edge[k & 31] = both_ends ? 0.0f : code < 15 ? iq4_edge(code) : 256.0f;
        below[k & 31] = (float)iq4_levels[both_ends ? 0 : code];
        above[k & 31] = (float)iq4_levels[both_ends || code == 15 ? 15 : code + 1];
    }
    struct iq4_tables t;
    memcpy(t.edge, edge, sizeof edge);
    memcpy(t.below, below, sizeof below);
    memcpy(t.above, above, sizeof above);
    memcpy(t.code, codes, sizeof codes);
    return t;
}

INLINE vf vf_lookup32(const vf table[2], vi i)
{
    return _mm512_permutex2var_ps(table[0], (__m512i)i, table[1]);
}

INLINE vf iq4_level(const struct iq4_tables *t, vf x)
{
    const vi stretch = (vi)(x + 100663296.0f); /* 1.5 * 2^26 */
    const vm up = vf_ge(x, vf_lookup32(t->edge, stretch));
    return vf_select(up, vf_lookup32(t->above, stretch), vf_lookup32(t->below, stretch));
}

INLINE vi iq4_code(const struct iq4_tables *t, vf any)
{
    const vf x = iq4_within(any);
    const vi stretch = (vi)(x + 100663296.0f);
    const vi code =
        (vi)_mm512_permutex2var_epi32((__m512i)t->code[0], (__m512i)stretch, (__m512i)t->code[1]);
    return vi_select(vf_ge(x, vf_lookup32(t->edge, stretch)), code + 1, code);
}

#elif defined(SIMD_AVX2)

/* Eight stretches, 27 long, with two steps in each: at the ends of stretch k, -4 to 3, are no
 * steps, and twice k and the steps passed make the code. The levels are bytes. */
struct iq4_tables {
    vf first, second;
    vi level;
};

INLINE struct iq4_tables iq4_tables(void)
{
    struct iq4_tables t;
    uint8_t level[16];
    for (int k = -4; k < 4; k++) {
        t.first[k & 7] = k < -3 ? -256.0f : iq4_edge(2 * k + 7);
        t.second[k & 7] = iq4_edge(2 * k + 8);
    }
    for (int i = 0; i < 16; i++)
        level[i] = (uint8_t)(iq4_levels[(i + 7) & 15] + 127);
    memcpy(&t.level, level, sizeof level);
    memcpy((char *)&t.level + 16, level, sizeof level);
    return t;
}

/* In the lowest byte 32 + the code - 7; in the others bit 7, for which the look-up gives 0. */
INLINE vi iq4_step(const struct iq4_tables *t, vf x)
{
    const vf k = vf_min(vf_max(x * (1.0f / 27.0f), vf_set(-4.0f)), vf_set(3.0f));
    const __m256i stretch = (__m256i)(k + 12599312.0f); /* 0x4b404010 + k */
    const vm first = vf_ge(x, _mm256_permutevar8x32_ps(t->first, stretch));
    const vm second = vf_ge(x, _mm256_permutevar8x32_ps(t->second, stretch));
    return (vi)((vu)stretch + (vu)stretch - (vu)first - (vu)second); /* wraps above */
}

INLINE vf iq4_level(const struct iq4_tables *t, vf x)
{
    const vi level = (vi)_mm256_shuffle_epi8((__m256i)t->level, (__m256i)iq4_step(t, x));
    return vf_from_vi(level) - 127.0f;
}

INLINE vi iq4_code(const struct iq4_tables *t, vf x)
{
    return (iq4_step(t, iq4_within(x)) + 7) & 15;
}

#else

struct iq4_tables {
    int none;
};

INLINE struct iq4_tables iq4_tables(void)
{
    return (struct iq4_tables){0};
}

INLINE vf iq4_level(const struct iq4_tables *t, vf x)
{
    vi level = vi_set(iq4_levels[0]);
    (void)t;
    for (int i = 0; i < 15; i++)
        level += vi_select(vf_ge(x, vf_set(iq4_edge(i))), vi_set(iq4_levels[i + 1] - iq4_levels[i]),
                           vi_set(0));
    return vf_from_vi(level);
}

INLINE vi iq4_code(const struct iq4_tables *t, vf any)
{
    const vf x = iq4_within(any);
    vi code = vi_set(0);
    (void)t;
    for (int i = 0; i < 15; i++)
        code += vi_select(vf_ge(x, vf_set(iq4_edge(i))), vi_set(1), vi_set(0));
    return code;
}

#endif

/* ---- any sixteen levels, by code ------------------------------------------------------------ */

#if defined(SIMD_AVX512)

typedef vf level_table;

INLINE level_table levels_of(const int8_t levels[16])
{
    return vf_from_vi(vi_load_i8((const uint8_t *)levels));
}

INLINE vf vf_levels(level_table t, vi code)
{
    return _mm512_permutexvar_ps((__m512i)code, t);
}

#elif defined(SIMD_AVX2)

typedef __m256i level_table;

/* As bytes, moved up so that they need no sign. */
INLINE level_table levels_of(const int8_t levels[16])
{
    const __m128i bytes = _mm_loadu_si128((const void *)levels);
    return _mm256_broadcastsi128_si256(_mm_xor_si128(bytes, _mm_set1_epi8(-128)));
}

INLINE vf vf_levels(level_table t, vi code)
{
    const vi only_lowest = code | (vi)vu_set(0x80808000);
    return vf_from_vi((vi)_mm256_shuffle_epi8(t, (__m256i)only_lowest)) - 128.0f;
}

#else

typedef const int8_t *level_table;

INLINE level_table levels_of(const int8_t levels[16])
{
    return levels;
}

INLINE vf vf_levels(level_table t, vi code)
{
    vf level;
    for (int i = 0; i < LANES; i++)
        level[i] = (float)t[code[i]];
    return level;
}

#endif

#endif
