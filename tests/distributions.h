/* distributions.h - weights of all kinds to try kernels on, the same on every run, and the tables
 * of kernels to try. */
#ifndef QUERN_DISTRIBUTIONS_H
#define QUERN_DISTRIBUTIONS_H

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "quant/codec.h"
#include "quant/levels.h"
#include "quant/small_floats.h"

/* Defined in test_kernels_wide.c: what AVX-512 would run, lane for lane. */
extern const struct kernels kernels_wide;

/* All tables this CPU can run but the reference itself, and one it can always run. */
static const struct kernels *table_under_test(size_t i)
{
    if (codec_table(i + 1))
        return codec_table(i + 1);
    return codec_table(i) ? &kernels_wide : NULL;
}

/* ---- random numbers: the same on every run -------------------------------------------------- */

static uint64_t seed;

static uint64_t random_u64(void)
{
    uint64_t z = seed += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static float uniform(void)
{
    return (float)(random_u64() >> 40) * 0x1p-24f;
}

static float gauss(void)
{
    float sum = -6;
    for (int i = 0; i < 12; i++)
        sum += uniform();
    return sum;
}

static unsigned below(unsigned n)
{
    return (unsigned)(random_u64() >> 33) % n;
}

/* ---- distributions -------------------------------------------------------------------------- */

static float d_gauss(size_t i)
{
    (void)i;
    return gauss() * 0.02f;
}

static float d_gauss_bf16(size_t i)
{
    return bf16_to_f32(bf16_from_f32(d_gauss(i)));
}

static float d_outliers(size_t i)
{
    return gauss() * (i % 97 == 5 ? 8.0f : 0.01f);
}

static float d_ties(size_t i)
{
    (void)i;
    return (float)((int)below(9) - 4) * 0.125f;
}

static float d_sparse(size_t i)
{
    return below(8) || i % 512 < 70 ? 0.0f : gauss() * 0.05f;
}

static float d_six_decades(size_t i)
{
    (void)i;
    return gauss() * powf(10, -6 * uniform());
}

static float d_block_scales(size_t i)
{
    return gauss() * ldexpf(1, (int)(i / 16 * 7 % 41) - 20);
}

static float d_constant(size_t i)
{
    return i / 256 % 2 ? -0.25f : 0.5f;
}

static float d_constant_blocks(size_t i)
{
    return (float)(i / 16 % 5) * 0.1f - 0.2f;
}

static float d_zeros(size_t i)
{
    (void)i;
    return below(2) ? 0.0f : -0.0f;
}

static float d_zeros_and_positive(size_t i)
{
    return below(2) ? d_zeros(i) : uniform();
}

static float d_zeros_and_negative(size_t i)
{
    return below(2) ? d_zeros(i) : -uniform();
}

static float d_denormal(size_t i)
{
    (void)i;
    return gauss() * 1e-39f;
}

static float d_reciprocal_overflows(size_t i)
{
    return i % 32 == below(32) ? 0.0f : gauss() * ldexpf(1, -120 - (int)(i / 32 % 12));
}

static float d_positive(size_t i)
{
    (void)i;
    return fabsf(gauss()) * 0.02f + 0.01f;
}

static float d_negative(size_t i)
{
    return -d_positive(i);
}

static float d_1e17(size_t i)
{
    (void)i;
    return gauss() * 1e17f;
}

static float d_huge(size_t i)
{
    static const float some[] = {FLT_MAX, -FLT_MAX, 1e38f, -3e38f, 1, 0};
    return i % 7 ? gauss() * 1e37f : some[below(6)];
}

static float d_any_finite(size_t i)
{
    (void)i;
    for (;;) {
        const float x = f32_from_bits((uint32_t)random_u64());
        if (isfinite(x))
            return x;
    }
}

static float d_one_spike(size_t i)
{
    return i % 256 == 100 ? 50.0f : gauss() * 1e-4f;
}

static float d_near_one(size_t i)
{
    (void)i;
    return 1 + (float)((int)below(3) - 1) * 0x1p-23f;
}

static float d_half_codes(size_t i) /* where rounding has to choose */
{
    return i % 32 == 0 ? -8.0f : (float)((int)below(31) - 15) * 0.5f;
}

static float d_tiny_groups(size_t i) /* around the threshold below which Q6_K sees zeros */
{
    static const float scales[] = {1, 1e-12f, 1e-15f, 3e-16f, 1e-17f, 0};
    return gauss() * scales[i / 16 % 6];
}

static const struct {
    const char *name;
    float (*draw)(size_t i);
} distributions[] = {
    {"gauss",               d_gauss               },
    {"gauss bf16",          d_gauss_bf16          },
    {"outliers",            d_outliers            },
    {"ties",                d_ties                },
    {"sparse",              d_sparse              },
    {"six decades",         d_six_decades         },
    {"block scales",        d_block_scales        },
    {"constant",            d_constant            },
    {"constant blocks",     d_constant_blocks     },
    {"zeros",               d_zeros               },
    {"zeros and positive",  d_zeros_and_positive  },
    {"zeros and negative",  d_zeros_and_negative  },
    {"denormal",            d_denormal            },
    {"reciprocal overflow", d_reciprocal_overflows},
    {"positive",            d_positive            },
    {"negative",            d_negative            },
    {"1e17",                d_1e17                },
    {"huge",                d_huge                },
    {"any finite",          d_any_finite          },
    {"one spike",           d_one_spike           },
    {"near one",            d_near_one            },
    {"half codes",          d_half_codes          },
    {"tiny groups",         d_tiny_groups         },
};

#define NDISTRIBUTIONS (sizeof distributions / sizeof distributions[0])

static void fill(float *x, size_t n, size_t distribution)
{
    for (size_t i = 0; i < n; i++)
        x[i] = distributions[distribution].draw(i);
}

#endif
