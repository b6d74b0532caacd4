/* arith.c - f32 work goes to the kernels, f64 work is plain C in the same order of operations. */
#include "merge/arith.h"

#include "pipeline/plan.h"
#include "quant/codec.h"

static void sum_weighted_f64(double *y, const void *const x[], const double w[], size_t nx,
                             size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double sum = w[0] * ((const double *)x[0])[i];
        for (size_t k = 1; k < nx; k++)
            sum += w[k] * ((const double *)x[k])[i];
        y[i] = sum;
    }
}

void sum_weighted(bool wide, void *y, const void *const x[], const double w[], size_t nx, size_t n)
{
    if (wide) {
        sum_weighted_f64(y, x, w, nx, n);
        return;
    }
    const float *narrow[MAX_SOURCES];
    float weights[MAX_SOURCES];
    for (size_t k = 0; k < nx; k++) {
        narrow[k] = x[k];
        weights[k] = (float)w[k];
    }
    codec_kernels()->weighted_sum(y, narrow, weights, nx, n);
}

void divide_all(bool wide, void *y, double divisor, size_t n)
{
    if (wide) {
        double *d = y;
        for (size_t i = 0; i < n; i++)
            d[i] /= divisor;
        return;
    }
    /* Blocks of fixed length, so that -O2 makes vectors of them. */
    float *f = y;
    const float by = (float)divisor;
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t k = 0; k < 16; k++)
            f[i + k] /= by;
    for (; i < n; i++)
        f[i] /= by;
}

double dot_f64(const double *a, const double *b, size_t n)
{
    double lanes[DOT_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        lanes[i % DOT_LANES] += a[i] * b[i];
    for (size_t half = DOT_LANES / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
}

void round_values(enum dtype d, float *x, size_t n)
{
    uint16_t half[PIECE];
    if (d != DTYPE_BF16 && d != DTYPE_F16)
        return;
    for (size_t i = 0, some; i < n; i += some) {
        some = n - i < PIECE ? n - i : PIECE;
        codec_kernels()->encode[d](x + i, half, some);
        codec_kernels()->decode[d](half, x + i, some);
    }
}

void subtract_f32(float *d, const float *x, const float *base, size_t n)
{
    const float *const both[] = {x, base};
    codec_kernels()->weighted_sum(d, both, (const float[]){1, -1}, 2, n);
}

static void sum_differences_f64(double *y, const double *base, const void *const x[],
                                const double w[], size_t nx, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t k = 0; k < nx; k++)
            sum += w[k] * (((const double *)x[k])[i] - base[i]);
        y[i] = base[i] + sum;
    }
}

void sum_differences(bool wide, void *y, const void *base, const void *const x[], const double w[],
                     size_t nx, size_t n)
{
    if (wide) {
        sum_differences_f64(y, base, x, w, nx, n);
        return;
    }
    const float *narrow[MAX_SOURCES];
    float weights[MAX_SOURCES];
    const uint32_t none[MAX_SOURCES] = {0};
    for (size_t k = 0; k < nx; k++) {
        narrow[k] = x[k];
        weights[k] = (float)w[k];
    }
    /* TIES that cuts off nothing and asks for no agreement. */
    codec_kernels()->ties(y, base, narrow, weights, none, nx, false, false, 1.0f, n);
}

bool sum_bf16(uint16_t *y, const uint16_t *base, const uint16_t *const x[], const double w[],
              size_t nx, size_t n)
{
    float weights[MAX_SOURCES];
    for (size_t k = 0; k < nx; k++)
        weights[k] = (float)w[k];
    return codec_kernels()->weighted_sum_bf16(y, base, x, weights, nx, n);
}
