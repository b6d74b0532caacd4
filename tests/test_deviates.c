/* test_deviates.c - random numbers from bits: known values, symmetry, the right spread. */
#include "core/deviates.h"

#include <criterion/criterion.h>
#include <math.h>

#include "core/philox.h"

/* Values of Python's statistics.NormalDist().inv_cdf(). */
Test(deviates, known_values)
{
    static const struct {
        uint64_t bits;
        double uniform, normal;
    } known[] = {
        {UINT64_C(0x0),                0x1.0000000000000p-53, -8.209536151601386    },
        {UINT64_C(0xffffffffffffffff), 0x1.fffffffffffffp-1,  8.209536151601386     },
        {UINT64_C(0x8000000000000000), 0x1.0000000000001p-1,  2.7829164246717676e-16},
        {UINT64_C(0x1d6f34540000000),  0x1.d6f3454000080p-8,  -2.4478220515306734   },
        {UINT64_C(0x123456789abcdef),  0x1.23456789abc80p-8,  -2.6162982036439675   },
        {UINT64_C(0xfedcba9876543210), 0x1.fdb97530eca87p-1,  2.6162982036439675    },
        {UINT64_C(0x100000),           0x1.0080000000000p-44, -7.423681509652283    },
        {UINT64_C(0x2000000000000000), 0x1.0000000000004p-3,  -1.1503493803760076   },
        {UINT64_C(0x1000000000),       0x1.0000008000000p-28, -5.78043931946539     },
    };
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++) {
        cr_assert(deviate_uniform(known[i].bits) == known[i].uniform, "%u", i);
        const double z = deviate_normal(known[i].bits);
        cr_assert(fabs(z - known[i].normal) <= 4e-15 * fabs(known[i].normal), "%u: %.17g", i, z);
    }
}

Test(deviates, both_halves_are_mirrored)
{
    for (unsigned shift = 0; shift < 64; shift++) {
        const uint64_t bits = UINT64_C(0xb504f333f9de6484) >> shift;
        cr_assert(deviate_normal(bits) == -deviate_normal(~bits), "%u", shift);
        cr_assert(deviate_uniform(bits) > 0 && deviate_uniform(~bits) < 1);
    }
}

Test(deviates, moments_of_a_million)
{
    const unsigned n = 1000000;
    double sum = 0, squares = 0, fourth = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t out[4];
        philox4x32_10((const uint32_t[4]){i}, (const uint32_t[2]){7}, out);
        const double z = deviate_normal((uint64_t)out[1] << 32 | out[0]);
        sum += z;
        squares += z * z;
        fourth += z * z * z * z;
    }
    /* Five standard errors: 1, sqrt(2), sqrt(96) over sqrt(n). */
    cr_assert(fabs(sum / n) < 5e-3 && fabs(squares / n - 1) < 7.1e-3 &&
                  fabs(fourth / n - 3) < 49e-3,
              "%g %g %g", sum / n, squares / n, fourth / n);
}
