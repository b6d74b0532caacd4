/* deviates.c - uniform and normal deviates from random bits. */
#include "deviates.h"

#include <math.h>
#include <stddef.h>

double deviate_uniform(uint64_t bits)
{
    return ((double)(bits >> 12) + 0.5) * 0x1p-52; /* exact */
}

/* Horner's rule, highest power first. */
static double polynomial(const double *c, size_t n, double x)
{
    double y = c[0];
    for (size_t i = 1; i < n; i++)
        y = y * x + c[i];
    return y;
}
#define POLYNOMIAL(c, x) polynomial((c), sizeof(c) / sizeof *(c), (x))

/* The logarithm of a normal number below 1: log 2^e m = e log 2 + 2 artanh((m - 1) / (m + 1)).
 * Right to a few ulps, which is all that the tails below ask for. */
static double logarithm(double x)
{
    int e;
    double m = frexp(x, &e);
    if (m < 0.70710678118654752) {
        m *= 2;
        e--;
    }
    const double z = (m - 1) / (m + 1), zz = z * z;
    double sum = 0;
    for (unsigned k = 23; k > 1; k -= 2)
        sum = (sum + 1.0 / k) * zz;
    return e * 0x1.62e42fefa39efp-1 + 2 * (z + z * sum);
}

/* M. J. Wichura, "The percentage points of the normal distribution" (Applied Statistics 37, 1988),
 * AS 241: rational approximations good to 16 digits. */
double deviate_normal(uint64_t bits)
{
    static const double a[] = {2.5090809287301226727e+3, 3.3430575583588128105e+4,
                               6.7265770927008700853e+4, 4.5921953931549871457e+4,
                               1.3731693765509461125e+4, 1.9715909503065514427e+3,
                               1.3314166789178437745e+2, 3.3871328727963666080e+0};
    static const double b[] = {5.2264952788528545610e+3, 2.8729085735721942674e+4,
                               3.9307895800092710610e+4, 2.1213794301586595867e+4,
                               5.3941960214247511077e+3, 6.8718700749205790830e+2,
                               4.2313330701600911252e+1, 1.0};
    static const double c[] = {7.74545014278341407640e-4, 2.27238449892691845833e-2,
                               2.41780725177450611770e-1, 1.27045825245236838258e+0,
                               3.64784832476320460504e+0, 5.76949722146069140550e+0,
                               4.63033784615654529590e+0, 1.42343711074968357734e+0};
    static const double d[] = {1.05075007164441684324e-9, 5.47593808499534494600e-4,
                               1.51986665636164571966e-2, 1.48103976427480074590e-1,
                               6.89767334985100004550e-1, 1.67638483018380384940e+0,
                               2.05319162663775882187e+0, 1.0};
    static const double e[] = {2.01033439929228813265e-7, 2.71155556874348757815e-5,
                               1.24266094738807843860e-3, 2.65321895265761230930e-2,
                               2.96560571828504891230e-1, 1.78482653991729133580e+0,
                               5.46378491116411436990e+0, 6.65790464350110377720e+0};
    static const double f[] = {2.04426310338993978564e-15, 1.42151175831644588870e-7,
                               1.84631831751005468180e-5,  7.86869131145613259100e-4,
                               1.48753612908506148525e-2,  1.36929880922735805310e-1,
                               5.99832206555887937690e-1,  1.0};
    const double p = deviate_uniform(bits), q = p - 0.5;
    if (fabs(q) <= 0.425) {
        const double r = 0.180625 - q * q;
        return q * POLYNOMIAL(a, r) / POLYNOMIAL(b, r);
    }
    const double r = sqrt(-logarithm(q < 0 ? p : 1 - p));
    const double size = r <= 5 ? POLYNOMIAL(c, r - 1.6) / POLYNOMIAL(d, r - 1.6)
                               : POLYNOMIAL(e, r - 5) / POLYNOMIAL(f, r - 5);
    return q < 0 ? -size : size;
}
