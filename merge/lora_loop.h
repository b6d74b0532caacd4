/* lora_loop.h - the arithmetic of a low-rank product for one float width. No include guard:
 * lora_source.c includes it once per width, with REAL and LORA(name) set. */

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
