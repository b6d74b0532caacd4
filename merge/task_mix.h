/* task_mix.h - how task vectors are mixed, for one float width. No include guard: task_vector.c
 * includes it once per width, with REAL, ROUND(t, x) and MIX (a name to define) set. */

/* d[m] has what counts of the difference of model m. The order of operations is the contract: see
 * docs/merging.md. */
static void MIX(const struct task_vector *t, const REAL *base, REAL d[][BLOCK], REAL *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        REAL part[MAX_SOURCES], sum = 0;
        for (unsigned m = 0; m < t->nmodels; m++) {
            part[m] = ROUND(t, d[m][i] * (REAL)t->weight[m]);
            sum += part[m];
        }
        REAL mix = ROUND(t, sum), divisor = (REAL)t->total;
        if (t->consensus) {
            const bool plus = mix >= 0;
            REAL agreed = 0, weights = 0;
            for (unsigned m = 0; m < t->nmodels; m++) {
                const bool agrees = plus ? part[m] > 0 : part[m] < 0;
                agreed += agrees ? part[m] : 0;
                weights += agrees ? (REAL)t->weight[m] : 0;
            }
            mix = ROUND(t, agreed);
            divisor = ROUND(t, weights);
            divisor = divisor == 0 ? 1 : divisor;
        }
        if (t->normalize)
            mix = ROUND(t, mix / divisor);
        if (t->lambda != 1)
            mix = ROUND(t, mix * (REAL)t->lambda);
        y[i] = ROUND(t, base[i] + mix);
    }
}

#undef REAL
#undef ROUND
#undef MIX
