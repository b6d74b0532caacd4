/* test_smath.c - strict elementary functions against long double. */
#include "core/smath.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>

static uint64_t seed = UINT64_C(0x5EED5EED5EED);

static double random_unit(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) * 0x1p-53;
}

static double ulps(double got, long double want)
{
    const double size = fabs((double)want);
    const double ulp = nextafter(size, INFINITY) - size;
    return (double)(fabsl((long double)got - want) / ulp);
}

/* x87's long double has 11 bits more than double: enough to see half an ulp. */
#define BOUND 0.501

Test(smath, sine_and_cosine)
{
    const double ranges[] = {1e-8, 1, 4, 100, 1e6};
    for (unsigned r = 0; r < sizeof ranges / sizeof *ranges; r++)
        for (unsigned i = 0; i < 20000; i++) {
            const double x = (random_unit() * 2 - 1) * ranges[r];
            const double s = ulps(strict_sin(x), sinl(x)), c = ulps(strict_cos(x), cosl(x));
            cr_assert(s < BOUND && c < BOUND, "x = %a: %g and %g ulp", x, s, c);
        }
}

/* Near its zeros the sine is all rounding error of the reduction. */
Test(smath, sine_near_multiples_of_pi)
{
    for (int k = 1; k < 300000; k += 7) {
        const double x = k * M_PI;
        cr_assert(ulps(strict_sin(x), sinl(x)) < BOUND, "x = %a", x);
    }
}

Test(smath, arc_cosine)
{
    for (unsigned i = 0; i < 60000; i++) {
        const double u = random_unit();
        const double tries[] = {2 * u - 1, 1 - u * 1e-9, u * 1e-9 - 1, u * 1e-5, 0.5 + u * 1e-9};
        for (unsigned k = 0; k < sizeof tries / sizeof *tries; k++)
            cr_assert(ulps(strict_acos(tries[k]), acosl(tries[k])) < BOUND, "x = %a", tries[k]);
    }
}

Test(smath, exact_and_odd_values)
{
    cr_assert(strict_acos(1) == 0 && strict_acos(-1) == M_PI && strict_acos(0) == M_PI_2);
    cr_assert(strict_cos(0) == 1 && strict_sin(0) == 0 && signbit(strict_sin(-0.0)));
    cr_assert(isnan(strict_acos(1.0000001)) && isnan(strict_acos(NAN)));
    cr_assert(isnan(strict_sin(2e6)) && isnan(strict_cos(INFINITY)) && isnan(strict_sin(NAN)));
}

/* These two promise one ulp. */
Test(smath, exponential_and_logarithm)
{
    const double ranges[] = {1e-9, 1e-3, 1, 20, 707};
    for (unsigned r = 0; r < sizeof ranges / sizeof *ranges; r++)
        for (unsigned i = 0; i < 20000; i++) {
            const double x = (random_unit() * 2 - 1) * ranges[r], y = exp(x), z = 1 + x / 1000;
            cr_assert(ulps(strict_exp(x), expl(x)) < 1, "exp(%a)", x);
            cr_assert(y == 1 || ulps(strict_log(y), logl(y)) < 1, "log(%a)", y);
            cr_assert(z == 1 || ulps(strict_log(z), logl(z)) < 1, "log(%a)", z);
        }
}

Test(smath, exponential_and_logarithm_at_the_ends)
{
    cr_assert(strict_exp(0) == 1 && strict_exp(-0.0) == 1 && strict_exp(-709) == 0);
    cr_assert(strict_exp(-INFINITY) == 0 && strict_exp(INFINITY) == INFINITY);
    cr_assert(strict_exp(710) == INFINITY && isfinite(strict_exp(709.7)) && isnan(strict_exp(NAN)));
    cr_assert(strict_log(1) == 0 && strict_log(INFINITY) == INFINITY && isnan(strict_log(NAN)));
    cr_assert(isnan(strict_log(-1)) && isnan(strict_log(0)) && isnan(strict_log(-INFINITY)));
    cr_assert(ulps(strict_log(0x1p-1022), logl(0x1p-1022)) < 1);
    cr_assert(ulps(strict_log(0x1.fffffffffffffp+1023), logl(0x1.fffffffffffffp+1023)) < 1);
}

/* The bits are a promise: these were computed once and must not move on any machine. */
Test(smath, recorded_bits)
{
    cr_assert(strict_sin(1) == 0x1.aed548f090ceep-1);
    cr_assert(strict_cos(1) == 0x1.14a280fb5068cp-1);
    cr_assert(strict_acos(0.9) == 0x1.cdd9f8f922e98p-2);
    cr_assert(strict_acos(-0.25) == 0x1.d2cf5c7c70f0cp+0);
    cr_assert(strict_sin(12345.678) == -0x1.687d5890974a5p-1);
    cr_assert(strict_exp(1) == 0x1.5bf0a8b14576ap+1);
    cr_assert(strict_exp(-12.5) == 0x1.f42ed3f68e69p-19);
    cr_assert(strict_log(10) == 0x1.26bb1bbb55516p+1);
    cr_assert(strict_log(0.999) == -0x1.064670d979b73p-10);
}
