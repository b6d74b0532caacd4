/* reference.c - the scalar table: what every other table must equal, written to be read. */
#include "reference.h"

#include <math.h>

#include "core/philox.h"
#include "core/smath.h"
#include "small_floats.h"

/* ---- plain types -------------------------------------------------------------------------- */

/* X(id, type in memory, its value v as f32) */
#define PLAIN_DECODE_LIST(X)               \
    X(F64, double, (float)v)               \
    X(F32, float, v)                       \
    X(F16, uint16_t, f16_to_f32(v))        \
    X(BF16, uint16_t, bf16_to_f32(v))      \
    X(F8_E4M3, uint8_t, f8_e4m3_to_f32(v)) \
    X(F8_E5M2, uint8_t, f8_e5m2_to_f32(v)) \
    X(I8, int8_t, (float)v)                \
    X(I16, int16_t, (float)v)              \
    X(I32, int32_t, (float)v)              \
    X(I64, int64_t, (float)v)              \
    X(U8, uint8_t, (float)v)               \
    X(U16, uint16_t, (float)v)             \
    X(U32, uint32_t, (float)v)             \
    X(U64, uint64_t, (float)v)             \
    X(BOOL, uint8_t, v ? 1.0f : 0.0f)

#define X(id, type, value)                                                 \
    static void decode_##id(const void *stored, float *out, size_t nelems) \
    {                                                                      \
        const char *p = stored;                                            \
        for (size_t i = 0; i < nelems; i++) {                              \
            type v;                                                        \
            memcpy(&v, p + i * sizeof v, sizeof v);                        \
            out[i] = (value);                                              \
        }                                                                  \
    }
PLAIN_DECODE_LIST(X)
#undef X

/* X(id, type in memory, what is stored for x) */
#define PLAIN_ENCODE_LIST(X)                 \
    X(F64, double, (double)x)                \
    X(F32, float, x)                         \
    X(F16, uint16_t, f16_from_f32(x))        \
    X(BF16, uint16_t, bf16_from_f32(x))      \
    X(F8_E4M3, uint8_t, f8_e4m3_from_f32(x)) \
    X(F8_E5M2, uint8_t, f8_e5m2_from_f32(x))

#define X(id, type, value)                                                \
    static void encode_##id(const float *xs, void *stored, size_t nelems) \
    {                                                                     \
        char *p = stored;                                                 \
        for (size_t i = 0; i < nelems; i++) {                             \
            const float x = xs[i];                                        \
            const type v = (value);                                       \
            memcpy(p + i * sizeof v, &v, sizeof v);                       \
        }                                                                 \
    }
PLAIN_ENCODE_LIST(X)
#undef X

/* ---- merging ------------------------------------------------------------------------------ */

static size_t first_beyond(const float *x, uint32_t bits, size_t n)
{
    size_t i = 0;
    while (i < n && (f32_bits(x[i]) & ~F32_SIGN) < bits)
        i++;
    return i;
}

static void weighted_sum(float *y, const float *const x[], const float w[], size_t nx, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float sum = nx > 0 ? w[0] * x[0][i] : 0.0f;
        for (size_t m = 1; m < nx; m++)
            sum += w[m] * x[m][i];
        y[i] = sum;
    }
}

static void product(const struct product *p)
{
    for (size_t i = 0; i < p->rows; i++)
        for (size_t j = 0; j < p->cols; j++) {
            float sum = 0;
            for (size_t k = 0; k < p->inner; k++)
                sum += p->l[i * p->l_row + k * p->l_col] * p->r[k * p->r_row + j];
            p->y[i * p->y_row + j] = sum;
        }
}

static double fold_lanes(double lanes[DOT_LANES])
{
    for (size_t half = DOT_LANES / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
}

static void pair_dots(const float *a, const float *b, size_t n, double out[3])
{
    double lanes[3][DOT_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        const double u = a[i], v = b[i];
        lanes[0][i % DOT_LANES] += u * u;
        lanes[1][i % DOT_LANES] += u * v;
        lanes[2][i % DOT_LANES] += v * v;
    }
    for (size_t k = 0; k < 3; k++)
        out[k] = fold_lanes(lanes[k]);
}

static void gram(const float *const x[], const float *base, size_t nx, size_t n, double out[])
{
    for (size_t k = 0; k < nx; k++)
        for (size_t m = 0; m <= k; m++) {
            double lanes[DOT_LANES] = {0};
            for (size_t i = 0; i < n; i++) {
                const float a = base ? x[k][i] - base[i] : x[k][i];
                const float b = base ? x[m][i] - base[i] : x[m][i];
                lanes[i % DOT_LANES] += (double)a * (double)b;
            }
            *out++ = fold_lanes(lanes);
        }
}

static bool weighted_sum_bf16(uint16_t *y, const uint16_t *base, const uint16_t *const x[],
                              const float w[], size_t nx, size_t n)
{
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        const float origin = base ? bf16_to_f32(base[i]) : 0.0f;
        float sum = base ? 0.0f : w[0] * bf16_to_f32(x[0][i]);
        for (size_t m = base ? 0 : 1; m < nx; m++)
            sum += w[m] * (base ? bf16_to_f32(x[m][i]) - origin : bf16_to_f32(x[m][i]));
        y[i] = bf16_from_f32(base ? origin + sum : sum);
        finite &= (y[i] & 0x7f80) != 0x7f80;
    }
    return finite;
}

static bool gram_bf16(const uint16_t *const x[], const uint16_t *base, size_t nx, size_t n,
                      double out[])
{
    if (nx < 2 || nx > 3)
        return false;
    for (size_t k = 0; k < nx; k++)
        for (size_t m = 0; m <= k; m++) {
            double lanes[DOT_LANES] = {0};
            for (size_t i = 0; i < n; i++) {
                const float origin = base ? bf16_to_f32(base[i]) : 0.0f;
                const float a = bf16_to_f32(x[k][i]) - origin, b = bf16_to_f32(x[m][i]) - origin;
                lanes[i % DOT_LANES] += (double)a * (double)b;
            }
            *out++ = fold_lanes(lanes);
        }
    return true;
}

static double exp_sum(const float *x, size_t n, double most)
{
    double lanes[DOT_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        lanes[i % DOT_LANES] += strict_exp((double)x[i] - most);
    return fold_lanes(lanes);
}

static double divergence(const float *x, const float *y, size_t n, const double most[2],
                         const double scale[2])
{
    double lanes[DOT_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        const double p = strict_exp((double)x[i] - most[0]) * scale[0] + 1e-8;
        const double q = strict_exp((double)y[i] - most[1]) * scale[1] + 1e-8;
        lanes[i % DOT_LANES] += p * strict_log(p / q);
    }
    return fold_lanes(lanes);
}

static void block_errors(const float *a, const float *b, size_t n, size_t block, double *error_sq,
                         double *max)
{
    for (size_t at = 0; at < n; at += block, error_sq++, max++) {
        double lanes[DOT_LANES] = {0};
        *max = 0.0;
        for (size_t i = at; i < n && i < at + block; i++) {
            const double d = (double)a[i] - (double)b[i];
            lanes[i % DOT_LANES] += d * d;
            *max = fabs(d) > *max ? fabs(d) : *max;
        }
        *error_sq = fold_lanes(lanes);
    }
}

static void weighted_errors(const float *a, const float *b, const float *w, size_t n, double out[3])
{
    double lanes[3][DOT_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        const double u = a[i], d = u - (double)b[i], weight = w[i];
        lanes[0][i % DOT_LANES] += weight;
        lanes[1][i % DOT_LANES] += weight * (d * d);
        lanes[2][i % DOT_LANES] += weight * (u * u);
    }
    for (size_t k = 0; k < 3; k++)
        out[k] = fold_lanes(lanes[k]);
}

static void delta_magnitude(uint32_t *mag, const float *x, const float *base, size_t n)
{
    for (size_t i = 0; i < n; i++)
        mag[i] = f32_bits(x[i] - base[i]) & ~F32_SIGN;
}

static void radix_count(const uint32_t *mag, size_t n, unsigned high_shift, uint32_t high,
                        unsigned shift, uint32_t mask, uint64_t *histogram)
{
    for (size_t i = 0; i < n; i++)
        if (high_shift >= 32 || mag[i] >> high_shift == high)
            histogram[mag[i] >> shift & mask]++;
}

static size_t count_equal(const uint32_t *mag, size_t n, uint32_t cut)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += mag[i] == cut;
    return count;
}

/* One model's vote at one weight: its weighted difference from the base, 0 when it was cut off. */
static float task_value(float x, float base, float w, uint32_t cut)
{
    const float delta = x - base;
    return (f32_bits(delta) & ~F32_SIGN) >= cut ? delta * w : 0.0f;
}

static float sum_of_weights(const float w[], size_t nx)
{
    float sum = 0.0f;
    for (size_t m = 0; m < nx; m++)
        sum += w[m];
    return sum;
}

static void ties(float *y, const float *base, const float *const x[], const float w[],
                 const uint32_t cut[], size_t nx, bool consensus, bool normalize, float lambda,
                 size_t n)
{
    const float total = sum_of_weights(w, nx);
    const float total_divisor = total > -1e-8f && total < 1e-8f ? 1.0f : total;

    for (size_t i = 0; i < n; i++) {
        float sum = 0.0f;
        for (size_t m = 0; m < nx; m++)
            sum += task_value(x[m][i], base[i], w[m], cut[m]);

        float mix = sum, divisor = total_divisor;
        if (consensus) {
            const bool plus = sum >= 0.0f; /* zero counts as plus */
            float weights = 0.0f;
            mix = 0.0f;
            for (size_t m = 0; m < nx; m++) {
                const float v = task_value(x[m][i], base[i], w[m], cut[m]);
                if (plus ? v > 0.0f : v < 0.0f) {
                    mix += v;
                    weights += w[m];
                }
            }
            divisor = weights == 0.0f ? 1.0f : weights;
        }
        if (normalize)
            mix /= divisor;
        if (lambda != 1.0f)
            mix *= lambda;
        y[i] = base[i] + mix;
    }
}

static void random_bits(uint32_t *out, const uint32_t key[2], const uint32_t counter[4], size_t n)
{
    for (size_t i = 0; i < n; i += 4) {
        const uint32_t at[4] = {counter[0] + (uint32_t)(i / 4), counter[1], counter[2], counter[3]};
        uint32_t words[4];
        philox4x32_10(at, key, words);
        for (size_t k = 0; k < 4 && i + k < n; k++)
            out[i + k] = words[k];
    }
}

static void kept_deltas(float *d, const float *x, const float *base, const uint32_t *score,
                        uint32_t low, uint32_t span, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++)
        d[i] = score[i] - low < span ? (x[i] - base[i]) * scale : 0.0f;
}

static void kept_sums(const float *x, const float *base, const uint32_t *score, uint32_t low,
                      uint32_t span, size_t n, double out[2])
{
    double lanes[2][DOT_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        const double size = fabs((double)(x[i] - base[i]));
        lanes[0][i % DOT_LANES] += size;
        lanes[1][i % DOT_LANES] += score[i] - low < span ? size : 0.0;
    }
    for (size_t k = 0; k < 2; k++)
        out[k] = fold_lanes(lanes[k]);
}

static void random_kept(uint32_t *kept, const uint32_t key[2], const uint32_t counter[4],
                        uint32_t limit, size_t n)
{
    for (size_t i = 0; i < n; i += 32) {
        const uint32_t at[4] = {counter[0] + (uint32_t)(i / 4), counter[1], counter[2], counter[3]};
        uint32_t words[32], bits = 0;
        random_bits(words, key, at, 32);
        for (unsigned k = 0; k < 32; k++)
            bits |= (uint32_t)(words[k] < limit) << (k / 2 + 16 * (k % 2));
        kept[i / 32] = bits;
    }
}

static bool is_kept(const uint32_t *kept, size_t i)
{
    return kept[i / 32] >> (i % 32 / 2 + 16 * (i % 2)) & 1;
}

static float delta_bf16(const uint16_t *x, const uint16_t *base, size_t i)
{
    return bf16_to_f32(x[i]) - bf16_to_f32(base[i]);
}

#define WHOLE_TASK 64

static bool kept_sums_bf16(const uint16_t *x, const uint16_t *base, const uint32_t *kept, size_t n,
                           double out[2])
{
    double lanes[2][DOT_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        const double size = fabs((double)delta_bf16(x, base, i));
        lanes[0][i % DOT_LANES] += size;
        lanes[1][i % DOT_LANES] += is_kept(kept, i) ? size : 0.0;
    }
    for (size_t k = 0; k < 2; k++)
        out[k] = fold_lanes(lanes[k]);
    return n % WHOLE_TASK == 0 && isfinite(out[0]);
}

static bool count_deltas_bf16(const uint16_t *x, const uint16_t *base, const uint32_t guesses[],
                              size_t nguesses, size_t n, uint32_t above[], uint32_t equal[])
{
    bool finite = n % WHOLE_TASK == 0 && nguesses > 0;
    for (size_t g = 0; g < nguesses; g++)
        above[g] = equal[g] = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t magnitude = f32_bits(delta_bf16(x, base, i)) & ~F32_SIGN;
        finite &= magnitude < F32_INF;
        for (size_t g = 0; g < nguesses; g++) {
            above[g] += magnitude > guesses[g];
            equal[g] += magnitude == guesses[g];
        }
    }
    return finite;
}

/* Elements of a model and of the base as the loops on f32 want them, and a cut for them: of what
 * was drawn, the difference, from 0. */
static void operands_of_mix(const struct delta_mix *t, size_t m, size_t i, float *x, uint32_t *cut)
{
    *x = bf16_to_f32(t->x[m][i]);
    *cut = t->kept ? 0 : t->cut[m];
    if (t->kept)
        *x = is_kept(t->kept[m], i) ? (*x - bf16_to_f32(t->base[i])) * t->scale[m] : 0.0f;
}

static bool mix_bf16(const struct delta_mix *t, uint16_t *y, size_t n)
{
    enum { MOST = 64, BF16_BEYOND = 0x7f7f8000 }; /* that is Inf once it is rounded */
    bool finite = n % WHOLE_TASK == 0 && t->nx <= MOST;
    for (size_t i = 0; finite && i < n; i++) {
        float x[MOST], made;
        const float *rows[MOST], base = bf16_to_f32(t->base[i]), origin = t->kept ? 0.0f : base;
        uint32_t cut[MOST];
        for (size_t m = 0; m < t->nx; m++) {
            rows[m] = &x[m];
            operands_of_mix(t, m, i, &x[m], &cut[m]);
            finite &= (f32_bits(delta_bf16(t->x[m], t->base, i)) & ~F32_SIGN) < BF16_BEYOND;
        }
        ties(&made, &origin, rows, t->w, cut, t->nx, t->consensus, t->normalize, t->lambda, 1);
        y[i] = bf16_from_f32(t->kept ? base + made : made);
        finite &= (y[i] & 0x7f80) != 0x7f80;
    }
    return finite;
}

static bool q8_0_from_bf16(const void *stored, void *out, size_t n)
{
    const uint8_t *from = stored;
    uint8_t *to = out;
    bool finite = true;
    for (size_t i = 0; i < n; i += 32, from += 64, to += BYTES_Q8_0) {
        float x[32], back[32];
        decode_BF16(from, x, 32);
        reference_encode_Q8_0(x, to, 32);
        reference_decode_Q8_0(to, back, 32);
        finite &= first_beyond(x, F32_INF, 32) == 32 && first_beyond(back, F32_INF, 32) == 32;
    }
    return finite;
}

const struct kernels kernels_reference = {
    .name = "reference",
    .decode =
        {
#define X(id, type, value) [DTYPE_##id] = decode_##id,
            PLAIN_DECODE_LIST(X)
#undef X
#define X(id, block) [DTYPE_##id] = reference_decode_##id,
                BLOCK_LIST(X)
#undef X
        },
    .encode =
        {
#define X(id, type, value) [DTYPE_##id] = encode_##id,
            PLAIN_ENCODE_LIST(X)
#undef X
#define X(id, block) [DTYPE_##id] = reference_encode_##id,
                BLOCK_ENCODE_LIST(X)
#undef X
        },
    .encode_im =
        {
#define X(id, block) [DTYPE_##id] = reference_encode_im_##id,
            BLOCK_ENCODE_IM_LIST(X)
#undef X
        },
    .q8_0_from_bf16 = q8_0_from_bf16,
    .first_beyond = first_beyond,
    .weighted_sum = weighted_sum,
    .product = product,
    .pair_dots = pair_dots,
    .gram = gram,
    .weighted_sum_bf16 = weighted_sum_bf16,
    .gram_bf16 = gram_bf16,
    .exp_sum = exp_sum,
    .divergence = divergence,
    .block_errors = block_errors,
    .weighted_errors = weighted_errors,
    .delta_magnitude = delta_magnitude,
    .radix_count = radix_count,
    .count_equal = count_equal,
    .ties = ties,
    .random_bits = random_bits,
    .kept_deltas = kept_deltas,
    .kept_sums = kept_sums,
    .random_kept = random_kept,
    .kept_sums_bf16 = kept_sums_bf16,
    .count_deltas_bf16 = count_deltas_bf16,
    .mix_bf16 = mix_bf16,
};
