/* nearswap_loop.h - the NearSwap formula for one float width. No include guard: nearswap.c includes
 * it with REAL, ABS, ROUND(s, x) and NEARSWAP (a name to define) set. */

static void NEARSWAP(const struct nearswap *s, const REAL *base, const REAL *x, REAL *y, size_t n)
{
    const REAL t = (REAL)s->t, least = (REAL)s->least;
    for (size_t i = 0; i < n; i++) {
        const REAL a = ROUND(s, base[i]), b = ROUND(s, x[i]);
        REAL distance = ABS(ROUND(s, a - b));
        distance = distance < least ? least : distance;
        REAL share = ROUND(s, ROUND(s, 1 / distance) * t);
        share = share < 0 ? 0 : share;
        share = share > 1 ? 1 : share;
        y[i] = ROUND(s, ROUND(s, share * b) + ROUND(s, ROUND(s, 1 - share) * a));
    }
}

#undef REAL
#undef ABS
#undef ROUND
#undef NEARSWAP
