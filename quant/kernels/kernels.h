/* kernels.h - the table of inner loops, one per instruction set, all giving the same bits.
 *
 * kernels.c is compiled once per instruction set and exports exactly one symbol, its table. A slot
 * that is NULL falls back to quant/reference.c. Kernels know nothing but element types: no I/O, no
 * malloc, no errors, no alignment asked of any pointer. */
#ifndef QUERN_KERNELS_H
#define QUERN_KERNELS_H

#include "core/dtype.h"

/* Decode nelems stored elements (whole blocks) to f32, exactly; F64 and integers round to nearest
 * even. Encode rounds to nearest even; blocks follow llama.cpp byte for byte. */
typedef void decode_fn(const void *stored, float *out, size_t nelems);
typedef void encode_fn(const float *x, void *stored, size_t nelems);
/* The same with an importance for every element (that of its column in the imatrix). row_sigma2 is
 * the mean of x*x over the whole row, summed in f32 in order; only types of 32 elements look at it.
 */
typedef void encode_im_fn(const float *x, const float *importance, float row_sigma2, void *stored,
                          size_t nelems);

/* Sums are kept in DOT_LANES f64 accumulators (element i goes to lane i % DOT_LANES) and folded as
 * a tree: lanes i and i+8, then i+4, i+2, i+1. That order is part of the contract. */
#define DOT_LANES 16

/* From one stored type to another, whole blocks, as decoding and encoding would. False when a
 * weight or a scale is NaN or Inf: then what is in out means nothing. */
typedef bool recode_fn(const void *stored, void *out, size_t nelems);

/* A product of matrices: y(i, j) = sum over k of l(i, k) * r(k, j), where y(i, j) is at
 * y[i * y_row + j], l(i, k) at l[i * l_row + k * l_col] and r(k, j) at r[k * r_row + j]. */
struct product {
    float *y;
    const float *l, *r;
    size_t y_row, l_row, l_col, r_row;
    size_t rows, inner, cols;
};

/* Task vectors that are mixed, straight from BF16: either a cut of each, as for kernels.ties, or
 * what was drawn of each and the factor of its difference. A word of `kept` has the bits of 32
 * elements: the even ones, then the odd ones. */
struct delta_mix {
    const uint16_t *base, *const *x;
    const float *w;
    const uint32_t *cut;         /* or NULL */
    const uint32_t *const *kept; /* or NULL */
    const float *scale;          /* with kept */
    size_t nx;
    bool consensus, normalize;
    float lambda;
};

struct kernels {
    const char *name;
    decode_fn *decode[DTYPE_COUNT];
    encode_fn *encode[DTYPE_COUNT];
    encode_im_fn *encode_im[DTYPE_COUNT]; /* NULL too where the type ignores importance */
    recode_fn *q8_0_from_bf16;

    /* Index of the first x whose magnitude has these bits, as an integer, or more; or n. From the
     * bits of Inf on: of the first NaN or Inf. */
    size_t (*first_beyond)(const float *x, uint32_t bits, size_t n);

    /* y = w[0]*x[0] + w[1]*x[1] + ... element by element: products and sums in f32, in this order,
     * each rounded once. */
    void (*weighted_sum)(float *y, const float *const x[], const float w[], size_t nx, size_t n);

    /* Products and sums in f32, each rounded once, from 0 and in the order of k. */
    void (*product)(const struct product *p);

    /* out[0] = a.a, out[1] = a.b, out[2] = b.b in f64 (see DOT_LANES), products exact in f64. */
    void (*pair_dots)(const float *a, const float *b, size_t n, double out[3]);

    /* The dot products of nx vectors, in f64 likewise: x[0].x[0], x[1].x[0], x[1].x[1], x[2].x[0]
     * ... With a base those of x[k] - base, each difference rounded to f32. */
    void (*gram)(const float *const x[], const float *base, size_t nx, size_t n, double out[]);

    /* Straight from BF16 to BF16. y = w[0]*x[0] + w[1]*x[1] + ... as above; with a base, y = base +
     * (w[0]*(x[0]-base) + w[1]*(x[1]-base) + ...), the sum from 0 on. nx is not 0. False when a
     * result is NaN or Inf: then what is in y means nothing. */
    bool (*weighted_sum_bf16)(uint16_t *y, const uint16_t *base, const uint16_t *const x[],
                              const float w[], size_t nx, size_t n);
    /* As gram, of two or three vectors; false for other numbers. */
    bool (*gram_bf16)(const uint16_t *const x[], const uint16_t *base, size_t nx, size_t n,
                      double out[]);

    /* The sum of strict_exp(x - most), in f64 likewise; no x is above most. */
    double (*exp_sum)(const float *x, size_t n, double most);

    /* The sum of p strict_log(p / q), in f64 likewise, with p = strict_exp(x - most[0]) * scale[0]
     * + 1e-8 and q = strict_exp(y - most[1]) * scale[1] + 1e-8. */
    double (*divergence)(const float *x, const float *y, size_t n, const double most[2],
                         const double scale[2]);

    /* For each block of `block` elements (a multiple of DOT_LANES; the last may be shorter): the
     * sum of (a-b)^2 in f64 (see DOT_LANES) and the largest |a-b|. */
    void (*block_errors)(const float *a, const float *b, size_t n, size_t block, double *error_sq,
                         double *max);

    /* out[0] = w, out[1] = w * (a-b)^2, out[2] = w * a^2, summed in f64 (see DOT_LANES). */
    void (*weighted_errors)(const float *a, const float *b, const float *w, size_t n,
                            double out[3]);

    /* Task vectors. magnitude: the bits of |x-base| as an integer, which orders like the number. */
    void (*delta_magnitude)(uint32_t *mag, const float *x, const float *base, size_t n);

    /* histogram[mag >> shift] += 1 for every mag with (mag >> high_shift) == high; high_shift 32
     * (or more) takes all. Slots counted: (mag >> shift) & mask. */
    void (*radix_count)(const uint32_t *mag, size_t n, unsigned high_shift, uint32_t high,
                        unsigned shift, uint32_t mask, uint64_t *histogram);

    /* Number of magnitudes equal to cut. */
    size_t (*count_equal)(const uint32_t *mag, size_t n, uint32_t cut);

    /* One TIES tile; see docs/merging.md for the formula. x[m] against base, weight w[m]; element
     * kept when its magnitude is >= cut[m] (cut 0 keeps all). consensus: majority sign of the
     * weighted sum, zero counts as plus. normalize: divide by the sum of the weights that took
     * part, 1 when that is 0. out = base + lambda * mix. */
    void (*ties)(float *y, const float *base, const float *const x[], const float w[],
                 const uint32_t cut[], size_t nx, bool consensus, bool normalize, float lambda,
                 size_t n);

    /* n words of Philox4x32-10: those of counter, then of counter[0] + 1 (which wraps alone). */
    void (*random_bits)(uint32_t *out, const uint32_t key[2], const uint32_t counter[4], size_t n);

    /* d = (x-base) * scale where score - low < span (all unsigned), else 0. */
    void (*kept_deltas)(float *d, const float *x, const float *base, const uint32_t *score,
                        uint32_t low, uint32_t span, float scale, size_t n);

    /* out[0] = sum of |x-base|, out[1] = of those with score - low < span; in f64 (see DOT_LANES).
     */
    void (*kept_sums)(const float *x, const float *base, const uint32_t *score, uint32_t low,
                      uint32_t span, size_t n, double out[2]);

    /* The same straight from BF16, of whole 64 elements: false for other numbers, and when what is
     * made may be NaN or Inf; then the results mean nothing. */

    /* Which of n words of random_bits are below the limit: whole words of delta_mix.kept. */
    void (*random_kept)(uint32_t *kept, const uint32_t key[2], const uint32_t counter[4],
                        uint32_t limit, size_t n);
    bool (*kept_sums_bf16)(const uint16_t *x, const uint16_t *base, const uint32_t *kept, size_t n,
                           double out[2]);
    /* How many magnitudes are above each guess, and how many are equal. */
    bool (*count_deltas_bf16)(const uint16_t *x, const uint16_t *base, const uint32_t guesses[],
                              size_t nguesses, size_t n, uint32_t above[], uint32_t equal[]);
    /* y as ties would have it from the models, with cuts; from what kept_deltas makes of them, and
     * then added to the base, with what was drawn. */
    bool (*mix_bf16)(const struct delta_mix *t, uint16_t *y, size_t n);
};

extern const struct kernels kernels_reference; /* scalar, quant/reference.c: every slot set */
extern const struct kernels kernels_portable;
#if defined(__x86_64__)
extern const struct kernels kernels_avx2;
extern const struct kernels kernels_avx512;
#endif

#endif
