/* sce_loop.h - the SCE formulas for one float width. No include guard: sce.c includes it once per
 * width, with REAL, BITS (its integer), SCE_SCORES, SCE_SQUARES and SCE_MERGE (names to define)
 * set. */

/* The bits of the variance of the differences over the models: 0 where they all agree. */
static void SCE_SCORES(const struct sce *s, const void *const x[], BITS *score, size_t n)
{
    const REAL *base = x[0];
    for (size_t i = 0; i < n; i++) {
        double delta[MAX_SOURCES], mean = 0, sum = 0;
        for (unsigned m = 0; m < s->nmodels; m++) {
            const REAL d = ((const REAL *)x[m + 1])[i] - base[i];
            delta[m] = (double)d;
            mean += delta[m];
        }
        mean /= s->nmodels;
        for (unsigned m = 0; m < s->nmodels; m++)
            sum += (delta[m] - mean) * (delta[m] - mean);
        const REAL variance = (REAL)(sum / s->nmodels);
        memcpy(&score[i], &variance, sizeof variance);
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
#undef SCE_SCORES
#undef SCE_SQUARES
#undef SCE_MERGE
