/* smath.c - angle functions in double-double arithmetic, exponential and logarithm in double. */
#include "smath.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The unevaluated sum hi + lo, |lo| <= ulp(hi) / 2. */
struct dd {
    double hi, lo;
};

/* Exact when |a| >= |b|. */
static struct dd quick_sum(double a, double b)
{
    const double s = a + b;
    return (struct dd){s, b - (s - a)};
}

static struct dd exact_sum(double a, double b)
{
    const double s = a + b;
    const double bb = s - a;
    return (struct dd){s, (a - (s - bb)) + (b - bb)};
}

/* Exact: both factors are split into halves whose products fit. fma() would do, but it is a library
 * call where the CPU has none. */
static struct dd exact_product(double a, double b)
{
    const double splitter = 134217729.0; /* 2^27 + 1 */
    const double as = splitter * a, bs = splitter * b;
    const double ah = as - (as - a), bh = bs - (bs - b);
    const double al = a - ah, bl = b - bh;
    const double p = a * b;
    return (struct dd){p, ((ah * bh - p) + ah * bl + al * bh) + al * bl};
}

static struct dd add(struct dd a, struct dd b)
{
    struct dd s = exact_sum(a.hi, b.hi);
    const struct dd t = exact_sum(a.lo, b.lo);
    s = quick_sum(s.hi, s.lo + t.hi);
    return quick_sum(s.hi, s.lo + t.lo);
}

static struct dd negate(struct dd a)
{
    return (struct dd){-a.hi, -a.lo};
}

static struct dd multiply(struct dd a, struct dd b)
{
    const struct dd p = exact_product(a.hi, b.hi);
    return quick_sum(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi));
}

static struct dd divide(struct dd a, struct dd b)
{
    const double q1 = a.hi / b.hi;
    const struct dd r = add(a, negate(multiply(b, (struct dd){q1, 0})));
    return quick_sum(q1, r.hi / b.hi);
}

/* pi/2 as the sum of three doubles. */
static const double half_pi[3] = {0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54,
                                  -0x1.f1976b7ed8fbcp-110};

/* x = r + quadrant * pi/2 with |r| <= pi/4 (and a trace more). */
static struct dd reduce(double x, unsigned *quadrant)
{
    const double two_over_pi = 0x1.45f306dc9c883p-1;
    const int64_t n = (int64_t)(x * two_over_pi + (x < 0 ? -0.5 : 0.5));
    struct dd r = {x, 0};
    for (unsigned i = 0; i < 3; i++)
        r = add(r, negate(exact_product((double)n, half_pi[i])));
    *quadrant = (unsigned)(n & 3);
    return r;
}

/* The Taylor series of sine or cosine. For |r| <= pi/4 the first term left out, r^30 / 30!, is
 * below 2^-117. */
static struct dd series(struct dd r, bool sine)
{
    const struct dd square = multiply(r, r);
    struct dd term = sine ? r : (struct dd){1, 0};
    struct dd sum = term;
    for (unsigned k = sine ? 1 : 0; k < 28; k += 2) {
        term = multiply(term, square);
        term = negate(divide(term, (struct dd){(double)((k + 1) * (k + 2)), 0}));
        sum = add(sum, term);
    }
    return sum;
}

/* The sine of x + shift * pi/2. */
static double shifted_sine(double x, unsigned shift)
{
    if (!(fabs(x) <= SMATH_MAX_ANGLE))
        return NAN;
    unsigned quadrant;
    const struct dd r = reduce(x, &quadrant);
    quadrant += shift;
    const struct dd s = series(r, quadrant % 2 == 0);
    return quadrant & 2 ? -s.hi : s.hi;
}

double strict_sin(double x)
{
    return x == 0 ? x : shifted_sine(x, 0);
}

double strict_cos(double x)
{
    return shifted_sine(x, 1);
}

/* The sine of |r| <= pi/6 to about an ulp. */
static double quick_sine(double r)
{
    double term = r, sum = r;
    for (unsigned k = 1; k < 19; k += 2) {
        term *= -r * r / (double)((k + 1) * (k + 2));
        sum += term;
    }
    return sum;
}

/* The angle in [-pi/6, pi/6] whose sine is s: Newton's iteration doubles the good bits each time,
 * from 11 at the start. Three times in double come as far as double can, once in pairs all the
 * way; the last step is so short that a double holds what matters of it. */
static struct dd arc_sine(struct dd s)
{
    const double x = s.hi, xx = x * x;
    double angle = x * (1 + xx * (1.0 / 6 + xx * (3.0 / 40 + xx * (15.0 / 336))));
    for (unsigned i = 0; i < 3; i++) {
        const double sine = quick_sine(angle);
        angle += (x - sine) / sqrt(1 - sine * sine);
    }
    const struct dd sine = series((struct dd){angle, 0}, true);
    const struct dd error = add(s, negate(sine));
    return quick_sum(angle, error.hi / sqrt(1 - sine.hi * sine.hi));
}

double strict_acos(double x)
{
    if (!(fabs(x) <= 1))
        return NAN;
    const struct dd right_angle = {half_pi[0], half_pi[1]};
    if (fabs(x) <= 0.5)
        return add(right_angle, negate(arc_sine((struct dd){x, 0}))).hi;
    /* acos x = 2 asin sqrt((1 - x) / 2) keeps its relative precision where acos nears 0. */
    const double half = (1 - fabs(x)) / 2;
    if (half == 0)
        return x > 0 ? 0 : 2 * half_pi[0];
    const double root = sqrt(half);
    const struct dd left = exact_sum(half, -exact_product(root, root).hi);
    const double rest = (left.hi - exact_product(root, root).lo) / (2 * root);
    const struct dd a = arc_sine(quick_sum(root, rest));
    const struct dd angle = {2 * a.hi, 2 * a.lo};
    if (x > 0)
        return angle.hi;
    return add((struct dd){2 * half_pi[0], 2 * half_pi[1]}, negate(angle)).hi;
}

/* ---- exponential and logarithm ----------------------------------------------------------------
 */

/* ln 2 in two parts; any exponent times the first is exact. */
static const double ln2_hi = 0x1.62e42feep-1, ln2_lo = 0x1.a39ef35793c76p-33;

static double from_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* 2^n for -1022 <= n <= 1023. */
static double power_of_2(int64_t n)
{
    return from_bits((uint64_t)(n + 1023) << 52);
}

double strict_exp(double x)
{
    if (!(x > -708.0))
        return x != x ? x : 0;
    if (x > 709.8)
        return INFINITY;
    /* x = n ln 2 + r, |r| <= ln 2 / 2: the first term of the series left out, r^14 / 14!, is below
     * 2^-57. Adding and taking away 1.5 * 2^52 rounds to an integer. */
    const double n = (x * 0x1.71547652b82fep+0 + 0x1.8p52) - 0x1.8p52;
    const double r = (x - n * ln2_hi) - n * ln2_lo;
    double sum = 1.0 / 6227020800;
    sum = sum * r + 1.0 / 479001600;
    sum = sum * r + 1.0 / 39916800;
    sum = sum * r + 1.0 / 3628800;
    sum = sum * r + 1.0 / 362880;
    sum = sum * r + 1.0 / 40320;
    sum = sum * r + 1.0 / 5040;
    sum = sum * r + 1.0 / 720;
    sum = sum * r + 1.0 / 120;
    sum = sum * r + 1.0 / 24;
    sum = sum * r + 1.0 / 6;
    sum = sum * r + 0.5;
    /* 2^1024 is no double. */
    return (1 + (r + r * r * sum)) * 2 * power_of_2((int64_t)n - 1);
}

double strict_log(double x)
{
    if (!(x >= 0x1p-1022 && x < INFINITY))
        return x > 0 && !(x < INFINITY) ? x : NAN;
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    /* x = 2^n m with m in sqrt(1/2) ... sqrt(2). */
    int64_t n = (int64_t)(bits >> 52) - 1023;
    double m = from_bits((bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1023) << 52);
    if (m > 0x1.6a09e667f3bcdp+0) {
        m *= 0.5;
        n++;
    }
    /* log(1 + f) = 2 s + 2 s^3 / 3 + 2 s^5 / 5 ..., s = f / (2 + f), |s| < 0.172, and
     * 2 s = f - s f: so most of the result is f, which is exact. */
    const double f = m - 1, s = f / (2 + f), z = s * s, half_square = 0.5 * f * f;
    double sum = 2.0 / 21;
    sum = sum * z + 2.0 / 19;
    sum = sum * z + 2.0 / 17;
    sum = sum * z + 2.0 / 15;
    sum = sum * z + 2.0 / 13;
    sum = sum * z + 2.0 / 11;
    sum = sum * z + 2.0 / 9;
    sum = sum * z + 2.0 / 7;
    sum = sum * z + 2.0 / 5;
    sum = sum * z + 2.0 / 3;
    sum *= z;
    const double e = (double)n;
    return e * ln2_hi - ((half_square - (s * (half_square + sum) + e * ln2_lo)) - f);
}
