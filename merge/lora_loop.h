/* lora_loop.h - the arithmetic of a low-rank product for one float width. No include guard:
 * lora_source.c includes it once per width, with REAL and LORA(name) set.
 *
 * Every sum is over k in its order, for each column by itself: the blocks of columns are for speed
 * and do not show in the bits. */

#define BLOCK 32

/* out[j] = l[0] * r[0][j] + l[1] * r[1][j] + ..., nk rows of r that lie `stride` apart. */
static void LORA(product)(const REAL *l, const REAL *r, size_t stride, size_t nk, REAL *out,
                          size_t n)
{
    size_t j = 0;
    for (; j + BLOCK <= n; j += BLOCK) {
        REAL sum[BLOCK] = {0};
        for (size_t k = 0; k < nk; k++)
            for (size_t i = 0; i < BLOCK; i++)
                sum[i] += l[k] * r[k * stride + j + i];
        memcpy(out + j, sum, sizeof sum);
    }
    for (; j < n; j++) {
        REAL sum = 0;
        for (size_t k = 0; k < nk; k++)
            sum += l[k] * r[k * stride + j];
        out[j] = sum;
    }
}

/* out[j] += l * r[j]. */
static void LORA(add_row)(REAL l, const REAL *r, REAL *out, size_t n)
{
    for (size_t j = 0; j < n; j++)
        out[j] += l * r[j];
}

/* x[j] = factor * (x[j] + scale * delta[j]); a factor of 1 changes nothing. */
static void LORA(add)(REAL *x, const REAL *delta, double scale, double factor, size_t n)
{
    const REAL s = (REAL)scale, f = (REAL)factor;
    for (size_t j = 0; j < n; j++)
        x[j] = f * (x[j] + s * delta[j]);
}

/* Adds the squares of x[j] + scale * delta[j] to eight sums, by column. */
static void LORA(add_squares)(const REAL *x, const REAL *delta, double scale, uint64_t column,
                              size_t n, double sums[8])
{
    const REAL s = (REAL)scale;
    for (size_t j = 0; j < n; j++) {
        const REAL v = x[j] + s * delta[j];
        sums[(column + j) % 8] += (double)v * (double)v;
    }
}

#undef BLOCK
