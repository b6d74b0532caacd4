/* codec.c - choose the kernels for this CPU, once. */
#include "codec.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "quant/blocks.h"
#include "small_floats.h"

/* ---- which tables there are ----------------------------------------------------------------- */

static bool always(void)
{
    return true;
}

#if defined(__x86_64__)
/* Compilers differ in whether __builtin_cpu_supports() knows F16C. It needs the same registers as
 * AVX, so the operating system's support is settled by asking for AVX2 as well. */
static bool has_f16c(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && has_f16c();
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

/* Worst first. A slot that is NULL is taken from the table before. */
static const struct {
    const struct kernels *kernels;
    bool (*runs_here)(void);
} candidates[] = {
    {&kernels_reference, always    },
    {&kernels_portable,  always    },
#if defined(__x86_64__)
    {&kernels_avx2,      has_avx2  },
    {&kernels_avx512,    has_avx512},
#endif
};

#define NCANDIDATES (sizeof candidates / sizeof candidates[0])

static struct kernels tables[NCANDIDATES]; /* complete: no slot is NULL that any table fills */
static size_t ntables;
static _Atomic(const struct kernels *) current;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#define FALL_BACK(slot)            \
    do {                           \
        if (!t->slot)              \
            t->slot = worse->slot; \
    } while (0)

static void complete(struct kernels *t, const struct kernels *worse)
{
    for (size_t d = 0; d < DTYPE_COUNT; d++) {
        FALL_BACK(decode[d]);
        FALL_BACK(encode[d]);
        FALL_BACK(encode_im[d]);
    }
    FALL_BACK(q8_0_from_bf16);
    FALL_BACK(first_beyond);
    FALL_BACK(weighted_sum);
    FALL_BACK(product);
    FALL_BACK(pair_dots);
    FALL_BACK(gram);
    FALL_BACK(weighted_sum_bf16);
    FALL_BACK(gram_bf16);
    FALL_BACK(exp_sum);
    FALL_BACK(divergence);
    FALL_BACK(block_errors);
    FALL_BACK(weighted_errors);
    FALL_BACK(delta_magnitude);
    FALL_BACK(radix_count);
    FALL_BACK(count_equal);
    FALL_BACK(ties);
    FALL_BACK(random_bits);
    FALL_BACK(kept_deltas);
    FALL_BACK(kept_sums);
    FALL_BACK(random_kept);
    FALL_BACK(kept_sums_bf16);
    FALL_BACK(count_deltas_bf16);
    FALL_BACK(mix_bf16);
}

static void find_tables(void)
{
    for (size_t i = 0; i < NCANDIDATES; i++) {
        if (!candidates[i].runs_here())
            continue;
        tables[ntables] = *candidates[i].kernels;
        if (ntables > 0)
            complete(&tables[ntables], &tables[ntables - 1]);
        ntables++;
    }
    atomic_store(&current, &tables[ntables - 1]);
}

const struct kernels *codec_kernels(void)
{
    const struct kernels *k = atomic_load_explicit(&current, memory_order_acquire);
    if (k)
        return k;
    pthread_once(&once, find_tables);
    return atomic_load(&current);
}

const struct kernels *codec_table(size_t i)
{
    pthread_once(&once, find_tables);
    return i < ntables ? &tables[i] : NULL;
}

bool codec_set(const char *name)
{
    pthread_once(&once, find_tables);
    for (size_t i = ntables; i-- > 0;) {
        if (name == NULL || strcmp(tables[i].name, name) == 0) {
            atomic_store(&current, &tables[i]);
            return true;
        }
    }
    return false;
}

bool codec_can_decode(enum dtype d)
{
    return codec_kernels()->decode[d] != NULL;
}

bool codec_can_encode(enum dtype d)
{
    return codec_kernels()->encode[d] != NULL || codec_kernels()->encode_im[d] != NULL;
}

bool codec_uses_importance(enum dtype d)
{
    return codec_kernels()->encode_im[d] != NULL;
}

bool codec_needs_importance(enum dtype d)
{
    return codec_kernels()->encode[d] == NULL && codec_uses_importance(d);
}

void codec_encode(enum dtype d, const float *x, const float *importance, float row_sigma2,
                  void *stored, size_t nelems)
{
    const struct kernels *k = codec_kernels();
    if (importance && k->encode_im[d])
        k->encode_im[d](x, importance, row_sigma2, stored, nelems);
    else
        k->encode[d](x, stored, nelems);
}

recode_fn *codec_recode(enum dtype from, enum dtype to)
{
    return from == DTYPE_BF16 && to == DTYPE_Q8_0 ? codec_kernels()->q8_0_from_bf16 : NULL;
}

bool codec_uses_row_sigma2(enum dtype d)
{
    return d == DTYPE_Q4_0 || d == DTYPE_Q4_1 || d == DTYPE_Q5_0 || d == DTYPE_Q5_1;
}

/* llama.cpp does not move on in the block after a sub-block of 32 zeros: grid points and signs of
 * all later sub-blocks are written too early, and the end of the block stays 0. */
static void iq3_s_reference_bug(const float *x, struct block_iq3_s *b)
{
    struct block_iq3_s bad = *b;
    int to = 0;
    memset(bad.qs, 0, sizeof bad.qs);
    memset(bad.signs, 0, sizeof bad.signs);
    for (int s = 0; s < SUPER / 32; s++) {
        bool zero = true;
        for (int i = 32 * s; i < 32 * s + 32; i++)
            zero &= x[i] == 0.0f;
        if (zero)
            continue;
        memcpy(bad.qs + 8 * to, b->qs + 8 * s, 8);
        memcpy(bad.signs + 4 * to, b->signs + 4 * s, 4);
        to++;
    }
    *b = bad;
}

void codec_add_reference_bugs(enum dtype d, const float *x, void *stored, size_t nelems)
{
    char *p = stored;
    for (size_t i = 0; d == DTYPE_IQ3_S && i < nelems; i += SUPER, p += BYTES_IQ3_S) {
        struct block_iq3_s b;
        memcpy(&b, p, sizeof b);
        iq3_s_reference_bug(x + i, &b);
        memcpy(p, &b, sizeof b);
    }
}

/* ---- f64 ------------------------------------------------------------------------------------ */

/* Elements converted at a time: whole blocks of every type. */
#define SOME 1024u
_Static_assert(SOME % SUPER == 0, "SOME must be whole blocks");

static size_t at_most_some(size_t n)
{
    return n < SOME ? n : SOME;
}

void codec_decode_f64(enum dtype d, const void *stored, double *out, size_t nelems)
{
    if (d == DTYPE_F64) {
        memcpy(out, stored, nelems * sizeof *out);
        return;
    }
    decode_fn *decode = codec_kernels()->decode[d];
    const char *p = stored;
    for (size_t n; nelems > 0; nelems -= n, out += n, p += dtype_stored(d, n)) {
        float x[SOME];
        n = at_most_some(nelems);
        decode(p, x, n);
        for (size_t i = 0; i < n; i++)
            out[i] = x[i];
    }
}

void codec_encode_f64(enum dtype d, const double *x, void *stored, size_t nelems)
{
    if (d == DTYPE_F64) {
        memcpy(stored, x, nelems * sizeof *x);
        return;
    }
    encode_fn *encode = codec_kernels()->encode[d];
    char *p = stored;
    for (size_t n; nelems > 0; nelems -= n, x += n, p += dtype_stored(d, n)) {
        float narrow[SOME];
        n = at_most_some(nelems);
        for (size_t i = 0; i < n; i++)
            narrow[i] = (float)x[i];
        encode(narrow, p, n);
    }
}

/* ---- NaN and Inf in stored data ------------------------------------------------------------- */

/* Where a block keeps the F16 numbers its weights are made from: a scale, in some a minimum too.
 * Plus one, so that 0 means none: see block_is_finite() for those types. */
#define AT(block, field) (uint16_t)(offsetof(struct block, field) + 1)

static const uint16_t scale_at[DTYPE_COUNT] = {
    [DTYPE_Q4_0] = AT(block_q4_0, d),       [DTYPE_Q4_1] = AT(block_q4_1, d),
    [DTYPE_Q5_0] = AT(block_q5_0, d),       [DTYPE_Q5_1] = AT(block_q5_1, d),
    [DTYPE_Q8_0] = AT(block_q8_0, d),       [DTYPE_Q8_1] = AT(block_q8_1, d),
    [DTYPE_Q2_K] = AT(block_q2_k, d),       [DTYPE_Q3_K] = AT(block_q3_k, d),
    [DTYPE_Q4_K] = AT(block_q4_k, d),       [DTYPE_Q5_K] = AT(block_q5_k, d),
    [DTYPE_Q6_K] = AT(block_q6_k, d),       [DTYPE_IQ2_XXS] = AT(block_iq2_xxs, d),
    [DTYPE_IQ2_XS] = AT(block_iq2_xs, d),   [DTYPE_IQ2_S] = AT(block_iq2_s, d),
    [DTYPE_IQ3_XXS] = AT(block_iq3_xxs, d), [DTYPE_IQ3_S] = AT(block_iq3_s, d),
    [DTYPE_IQ1_S] = AT(block_iq1_s, d),     [DTYPE_IQ4_NL] = AT(block_iq4_nl, d),
    [DTYPE_IQ4_XS] = AT(block_iq4_xs, d),   [DTYPE_TQ1_0] = AT(block_tq1_0, d),
    [DTYPE_TQ2_0] = AT(block_tq2_0, d),     [DTYPE_Q1_0] = AT(block_q1_0, d),
    [DTYPE_Q2_0] = AT(block_q2_0, d),
};

static const uint16_t minimum_at[DTYPE_COUNT] = {
    [DTYPE_Q4_1] = AT(block_q4_1, m),    [DTYPE_Q5_1] = AT(block_q5_1, m),
    [DTYPE_Q2_K] = AT(block_q2_k, dmin), [DTYPE_Q4_K] = AT(block_q4_k, dmin),
    [DTYPE_Q5_K] = AT(block_q5_k, dmin),
};

static bool f16_is_finite(uint16_t h)
{
    return (h & 0x7c00) != 0x7c00;
}

static bool field_is_finite(const char *block, uint16_t at)
{
    uint16_t h = 0;
    if (at != 0)
        memcpy(&h, block + at - 1, sizeof h);
    return f16_is_finite(h);
}

static bool block_is_finite(enum dtype d, const char *block)
{
    if (d == DTYPE_MXFP4)
        return (uint8_t)block[0] != 0xff;
    if (d == DTYPE_Q8_K) {
        float scale;
        memcpy(&scale, block + offsetof(struct block_q8_k, d), sizeof scale);
        return isfinite(scale);
    }
    if (d == DTYPE_IQ1_M) {
        struct block_iq1_m b;
        memcpy(&b, block, sizeof b);
        return f16_is_finite(iq1_m_scale(&b));
    }
    return field_is_finite(block, scale_at[d]) && field_is_finite(block, minimum_at[d]);
}

/* Of n F16 numbers, each stride bytes after the other. */
static size_t first_nonfinite_scale(const char *p, size_t stride, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + i * stride, sizeof h);
        if (!f16_is_finite(h))
            return i;
    }
    return n;
}

static size_t first_nonfinite_block(enum dtype d, const char *p, size_t nelems)
{
    const struct dtype_traits *t = &dtype_traits[d];
    if (scale_at[d] != 0 && minimum_at[d] == 0) { /* most types, and worth it */
        const size_t n = nelems / t->block_elems;
        return t->block_elems * first_nonfinite_scale(p + scale_at[d] - 1, t->block_bytes, n);
    }
    for (size_t i = 0; i < nelems; i += t->block_elems, p += t->block_bytes)
        if (!block_is_finite(d, p))
            return i;
    return nelems;
}

/* Not by way of f32, where a large f64 would become Inf. */
static size_t first_nonfinite_f64(const char *p, size_t nelems)
{
    for (size_t i = 0; i < nelems; i++) {
        double x;
        memcpy(&x, p + i * sizeof x, sizeof x);
        if (!isfinite(x))
            return i;
    }
    return nelems;
}

size_t codec_first_nonfinite(enum dtype d, const void *stored, size_t nelems)
{
    if (dtype_is_quantized(d))
        return first_nonfinite_block(d, stored, nelems);
    if (!dtype_is_float(d))
        return nelems;
    if (d == DTYPE_F64)
        return first_nonfinite_f64(stored, nelems);

    const struct kernels *k = codec_kernels();
    const char *p = stored;
    for (size_t done = 0, n; done < nelems; done += n, p += dtype_stored(d, n)) {
        float x[SOME];
        n = at_most_some(nelems - done);
        k->decode[d](p, x, n);
        const size_t at = codec_first_nonfinite_f32(x, n);
        if (at < n)
            return done + at;
    }
    return nelems;
}

static bool unit_is_finite(enum dtype d, const char *p)
{
    float x;
    if (dtype_is_quantized(d))
        return block_is_finite(d, p);
    if (d == DTYPE_F64)
        return first_nonfinite_f64(p, 1) == 1;
    codec_kernels()->decode[d](p, &x, 1);
    return isfinite(x);
}

/* Of at most SOME elements: where there are any, one by one. zero: the same bytes to make zeros
 * of them, or NULL. */
static size_t bad_units(enum dtype d, const char *p, size_t nelems, size_t *first, char *zero)
{
    const struct dtype_traits *t = &dtype_traits[d];
    size_t n = 0;
    *first = codec_first_nonfinite(d, p, nelems);
    for (size_t i = *first; i < nelems; i += t->block_elems) {
        const size_t at = i / t->block_elems * t->block_bytes;
        if (unit_is_finite(d, p + at))
            continue;
        n += t->block_elems;
        if (zero)
            memset(zero + at, 0, t->block_bytes);
    }
    return n;
}

uint64_t codec_count_nonfinite(enum dtype d, const void *stored, size_t nelems, size_t *first)
{
    uint64_t count = 0;
    const char *p = stored;
    const size_t nbytes = dtype_stored(d, SOME);
    for (size_t done = 0, n, at; done < nelems; done += n) {
        n = at_most_some(nelems - done);
        const size_t bad = bad_units(d, p + done / SOME * nbytes, n, &at, NULL);
        if (count == 0 && bad)
            *first = done + at;
        count += bad;
    }
    return count;
}

bool codec_zero_nonfinite(enum dtype d, void *stored, size_t nelems)
{
    bool any = false;
    const size_t from = codec_first_nonfinite(d, stored, nelems);
    char *p = (char *)stored + dtype_stored(d, from);
    const size_t nbytes = dtype_stored(d, SOME);
    for (size_t done = 0, n, at; from + done < nelems; done += n) {
        char *some = p + done / SOME * nbytes;
        n = at_most_some(nelems - from - done);
        any |= bad_units(d, some, n, &at, some) > 0;
    }
    return any;
}
