/* svd.c - Gram-Schmidt, twice, and one-sided Jacobi rotations. */
#include "merge/svd.h"

#include <math.h>
#include <string.h>

#define LANES      8
#define MAX_SWEEPS 40

static double dot(const double *a, const double *b, size_t n)
{
    double lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            lanes[k] += a[i + k] * b[i + k];
    for (size_t k = 0; i < n; i++, k++)
        lanes[k] += a[i] * b[i];
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

static void add_scaled(double *y, double factor, const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += factor * x[i];
}

static void scale(double *x, double factor, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= factor;
}

void orthonormalize(double *q, size_t n, size_t ncols, double *r)
{
    if (r)
        memset(r, 0, ncols * ncols * sizeof *r);
    for (size_t k = 0; k < ncols; k++) {
        double *column = q + k * n;
        const double before = sqrt(dot(column, column, n));
        /* The second time takes away what rounding left of the first. */
        for (unsigned round = 0; round < 2; round++)
            for (size_t p = 0; p < k; p++) {
                const double c = dot(q + p * n, column, n);
                add_scaled(column, -c, q + p * n, n);
                if (r)
                    r[k * ncols + p] += c;
            }
        const double length = sqrt(dot(column, column, n));
        const bool dependent = !(length > 1e-12 * before);
        scale(column, dependent ? 0 : 1 / length, n);
        if (r)
            r[k * ncols + k] = dependent ? 0 : length;
    }
}

/* Turns two columns by the angle of cosine c and sine s. */
static void rotate(double *a, double *b, double c, double s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const double x = a[i], y = b[i];
        a[i] = c * x - s * y;
        b[i] = s * x + c * y;
    }
}

/* Makes columns p and q orthogonal. False when they are so already. */
static bool make_orthogonal(double *m, double *v, size_t p, size_t q, size_t n)
{
    double *a = m + p * n, *b = m + q * n;
    const double aa = dot(a, a, n), bb = dot(b, b, n), ab = dot(a, b, n);
    if (fabs(ab) <= 1e-15 * sqrt(aa) * sqrt(bb))
        return false;
    const double zeta = (bb - aa) / (2 * ab);
    const double tangent = (zeta >= 0 ? 1 : -1) / (fabs(zeta) + sqrt(1 + zeta * zeta));
    const double c = 1 / sqrt(1 + tangent * tangent), s = c * tangent;
    rotate(a, b, c, s, n);
    rotate(v + p * n, v + q * n, c, s, n);
    return true;
}

static void swap_columns(double *m, size_t a, size_t b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const double x = m[a * n + i];
        m[a * n + i] = m[b * n + i];
        m[b * n + i] = x;
    }
}

static void sort_by_sigma(double *m, double *v, double *sigma, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        size_t best = k;
        for (size_t i = k + 1; i < n; i++)
            if (sigma[i] > sigma[best])
                best = i;
        if (best == k)
            continue;
        swap_columns(m, k, best, n);
        swap_columns(v, k, best, n);
        const double x = sigma[k];
        sigma[k] = sigma[best];
        sigma[best] = x;
    }
}

void small_svd(double *m, double *v, double *sigma, size_t n)
{
    memset(v, 0, n * n * sizeof *v);
    for (size_t k = 0; k < n; k++)
        v[k * n + k] = 1;
    bool turned = true;
    for (unsigned sweep = 0; turned && sweep < MAX_SWEEPS; sweep++) {
        turned = false;
        for (size_t p = 0; p + 1 < n; p++)
            for (size_t q = p + 1; q < n; q++)
                turned |= make_orthogonal(m, v, p, q, n);
    }
    for (size_t k = 0; k < n; k++) {
        sigma[k] = sqrt(dot(m + k * n, m + k * n, n));
        scale(m + k * n, sigma[k] > 0 ? 1 / sigma[k] : 0, n);
    }
    sort_by_sigma(m, v, sigma, n);
}
