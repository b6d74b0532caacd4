/* sce_loop.h - the SCE formulas for one float width. No include guard: sce.c includes it once per
 * width, with REAL, BITS (its integer), SCE_ROUND, SCE_SCORES, SCE_SQUARES and SCE_MERGE (names to
 * define) set. */

/* The bits of the variance of the differences over the models, of ROUND_ELEMS elements: 0 where
 * they all agree. Loops of fixed length over one model each, so that -O2 makes vectors of them. */
static void SCE_ROUND(const struct sce *s, const REAL *base, const REAL *const x[], BITS *score)
{
    double delta[MAX_SOURCES][ROUND_ELEMS], mean[ROUND_ELEMS] = {0}, sum[ROUND_ELEMS] = {0};
    REAL variance[ROUND_ELEMS];
    for (unsigned m = 0; m < s->nmodels; m++)
        for (size_t i = 0; i < ROUND_ELEMS; i++) {
            const REAL d = x[m][i] - base[i];
            delta[m][i] = (double)d;
            mean[i] += delta[m][i];
        }
    for (size_t i = 0; i < ROUND_ELEMS; i++)
        mean[i] /= s->nmodels;
    for (unsigned m = 0; m < s->nmodels; m++)
        for (size_t i = 0; i < ROUND_ELEMS; i++)
            sum[i] += (delta[m][i] - mean[i]) * (delta[m][i] - mean[i]);
    for (size_t i = 0; i < ROUND_ELEMS; i++)
        variance[i] = (REAL)(sum[i] / s->nmodels);
    memcpy(score, variance, sizeof variance);
}

static void SCE_SCORES(const struct sce *s, const void *const x[], BITS *score, size_t n)
{
    REAL rest[MAX_SOURCES][ROUND_ELEMS];
    const REAL *at[MAX_SOURCES];
    for (size_t i = 0; i < n; i += ROUND_ELEMS) {
        const size_t some = n - i < ROUND_ELEMS ? n - i : ROUND_ELEMS;
        for (unsigned m = 0; m <= s->nmodels; m++) {
            at[m] = (const REAL *)x[m] + i;
            if (some < ROUND_ELEMS) {
                memset(rest[m], 0, sizeof rest[m]);
                memcpy(rest[m], at[m], some * sizeof *at[m]);
                at[m] = rest[m];
            }
        }
        BITS bits[ROUND_ELEMS];
        SCE_ROUND(s, at[0], at + 1, bits);
        memcpy(score + i, bits, some * sizeof *bits);
    }
}

/* Adds the squares of what is kept of each difference. */
static void SCE_SQUARES(const struct sce *s, const void *const x[], const bool *kept, double *sums,
                        size_t n)
{
    const REAL *base = x[0];
    for (unsigned m = 0; m < s->nmodels; m++) {
        double lanes[DOT_LANES] = {0};
        for (size_t i = 0; i < n; i++) {
            const REAL d = ((const REAL *)x[m + 1])[i] - base[i];
            lanes[i % DOT_LANES] += kept[i] ? (double)d * (double)d : 0;
        }
        for (size_t k = 0; k < DOT_LANES; k++)
            sums[m] += lanes[k];
    }
}

static void SCE_MERGE(const struct sce *s, const double weight[], const void *const x[],
                      const bool *kept, REAL *y, size_t n)
{
    const REAL *base = x[0];
    for (size_t i = 0; i < n; i++) {
        REAL delta[MAX_SOURCES], sum = 0, mix = 0, divisor = 0;
        for (unsigned m = 0; m < s->nmodels; m++) {
            delta[m] = kept[i] ? ((const REAL *)x[m + 1])[i] - base[i] : 0;
            sum += delta[m];
        }
        const bool plus = sum >= 0;
        for (unsigned m = 0; m < s->nmodels; m++) {
            const bool agrees = plus ? delta[m] > 0 : delta[m] < 0;
            mix += agrees ? delta[m] * (REAL)weight[m] : 0;
            divisor += agrees ? (REAL)weight[m] : 0;
        }
        y[i] = base[i] + mix / (divisor < (REAL)1e-6 ? (REAL)1e-6 : divisor);
    }
}

#undef REAL
#undef BITS
#undef SCE_ROUND
#undef SCE_SCORES
#undef SCE_SQUARES
#undef SCE_MERGE
