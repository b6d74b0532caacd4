/* ram_loop.h - the RAM formulas for one float width. No include guard: ram.c includes it once per
 * width, with REAL, ABS, ROUND(s, x), RAM_COUNT and RAM_MERGE (names to define) set. */

/* Adds, for each model, the elements that it changes alone and together with others. */
static void RAM_COUNT(const struct ram *s, const void *const x[], uint64_t *counts, size_t n)
{
    const REAL *base = x[0];
    for (size_t i = 0; i < n; i++) {
        bool active[MAX_SOURCES];
        unsigned nactive = 0;
        for (unsigned m = 0; m < s->nmodels; m++) {
            active[m] = ABS(((const REAL *)x[m + 1])[i] - base[i]) > (REAL)s->epsilon;
            nactive += active[m];
        }
        for (unsigned m = 0; m < s->nmodels; m++)
            counts[2 * m + (nactive > 1)] += active[m];
    }
}

static void RAM_MERGE(const struct ram *s, const double factor[], const void *const x[], REAL *y,
                      size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const REAL base = ROUND(s, ((const REAL *)x[0])[i]);
        REAL delta[MAX_SOURCES], sum = 0;
        unsigned nactive = 0, last = 0;
        for (unsigned m = 0; m < s->nmodels; m++) {
            delta[m] = ROUND(s, ROUND(s, ((const REAL *)x[m + 1])[i]) - base);
            const bool active = ABS(delta[m]) > (REAL)s->epsilon;
            delta[m] = active ? delta[m] : 0;
            nactive += active;
            last = active ? m : last;
        }
        if (nactive == 1)
            sum = delta[last] * (REAL)factor[last];
        for (unsigned m = 0; m < s->nmodels && nactive > 1; m++)
            sum += ROUND(s, delta[m] / (REAL)nactive);
        y[i] = ROUND(s, base + ROUND(s, sum));
    }
}

#undef REAL
#undef ABS
#undef ROUND
#undef RAM_COUNT
#undef RAM_MERGE
