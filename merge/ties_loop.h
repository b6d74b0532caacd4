/* ties_loop.h - the TIES formula for one float width. No include guard: ties.c includes it once per
 * width, with REAL, BITS (its integer), MAGNITUDE and TIES_SEGMENT (names to define) set. */

static inline BITS MAGNITUDE(REAL x, REAL base)
{
    const REAL delta = x - base;
    BITS bits;
    memcpy(&bits, &delta, sizeof bits);
    return bits & ((BITS)-1 >> 1);
}

/* Elements [from, to). cut[m] is the least magnitude that model m keeps, scale[m] what stretches
 * its kept differences. The order of operations is the contract: see docs/merging.md. */
static void TIES_SEGMENT(const struct ties *t, const void *const x[], void *out,
                         const uint64_t cut[], const double scale[], size_t from, size_t to)
{
    const REAL *base = x[0];
    REAL *y = out;
    for (size_t i = from; i < to; i++) {
        REAL part[MAX_SOURCES], sum = 0;
        for (unsigned m = 0; m < t->nmodels; m++) {
            const REAL value = ((const REAL *)x[m + 1])[i];
            const bool kept = MAGNITUDE(value, base[i]) >= cut[m];
            part[m] = kept ? (value - base[i]) * (REAL)scale[m] * (REAL)t->weight[m] : 0;
            sum += part[m];
        }
        const bool plus = sum >= 0;
        REAL mix = 0, divisor = 0;
        for (unsigned m = 0; m < t->nmodels; m++) {
            const bool agrees = plus ? part[m] > 0 : part[m] < 0;
            mix += agrees ? part[m] : 0;
            divisor += agrees ? (REAL)t->weight[m] : 0;
        }
        if (t->normalize)
            mix /= divisor == 0 ? 1 : divisor;
        y[i] = base[i] + mix * (REAL)t->lambda;
    }
}

#undef REAL
#undef BITS
#undef MAGNITUDE
#undef TIES_SEGMENT
