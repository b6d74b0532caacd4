/* grid_neighbours.c - makes the tables of grid_neighbours.h, in some hundredths of a second. */
#include "grid_neighbours.h"

#include <pthread.h>
#include <string.h>

#include "grids.h"

/* Lists end to end. The sizes are facts of the grids; the unit test counts them anew. */
enum {
    KEYS_2_BITS = 6561, /* 3^8 */
    KEYS_3_BITS = 4096, /* 8^4 */
    SLACK = 16,         /* for vectors that reach past the last list */
};

#define ROOM(n) [(n) + SLACK]

static uint32_t places_2_bits[4][KEYS_2_BITS], places_3_bits[2][KEYS_3_BITS];
static uint16_t near_iq2_xxs ROOM(113157), near_iq2_xs ROOM(181721),
    near_iq2_s ROOM(44716), near_iq1 ROOM(327721), near_iq3_xxs ROOM(18985), near_iq3_s ROOM(24733);

#define GRID_2_BITS(points, rings, n, lists)                                              \
    {                                                                                     \
        points, sizeof points / sizeof points[0], 8, 2, 3, rings, places_2_bits[n], lists \
    }
#define GRID_3_BITS(points, rings, n, lists)                                              \
    {                                                                                     \
        points, sizeof points / sizeof points[0], 4, 3, 8, rings, places_3_bits[n], lists \
    }

static const struct grid grids[GRID_COUNT] = {
    [GRID_IQ2_XXS] = GRID_2_BITS(iq2xxs_codes, 2, 0, near_iq2_xxs),
    [GRID_IQ2_XS] = GRID_2_BITS(iq2xs_codes, 2, 1, near_iq2_xs),
    [GRID_IQ2_S] = GRID_2_BITS(iq2s_codes, 1, 2, near_iq2_s),
    [GRID_IQ1] = GRID_2_BITS(iq1s_codes, 3, 3, near_iq1),
    [GRID_IQ3_XXS] = GRID_3_BITS(iq3xxs_codes, 2, 0, near_iq3_xxs),
    [GRID_IQ3_S] = GRID_3_BITS(iq3s_codes, 3, 1, near_iq3_s),
};

#define LEVELS_1(k) k, k + 1, k + 2, k + 2
#define LEVELS_2(k) LEVELS_1(k), LEVELS_1(k + 3), LEVELS_1(k + 6), LEVELS_1(k + 6)
#define LEVELS_3(k) LEVELS_2(k), LEVELS_2(k + 9), LEVELS_2(k + 18), LEVELS_2(k + 18)

const uint8_t grid_half_keys[256] = {LEVELS_3(0), LEVELS_3(27), LEVELS_3(54), LEVELS_3(54)};

/* ---- distances: a point's two halves add up ------------------------------------------------- */

enum { HALF_KEYS = 81, HALF_CODES = 256, MAX_POINTS = 2048, MAX_DISTANCE = 4 * 7 * 7 };

static int nhalf_keys(const struct grid *g)
{
    return g->ndims == 8 ? HALF_KEYS : 64;
}

static int half_bits(const struct grid *g)
{
    return g->ndims / 2 * g->nbits;
}

/* Squared distance between half a key and half a code, in levels. */
static uint8_t half_distance(const struct grid *g, int key, int code)
{
    int sum = 0;
    for (int i = 0; i < g->ndims / 2; i++) {
        const int level = code >> i * g->nbits & ((1 << g->nbits) - 1);
        const int d = key % g->nlevels - level;
        sum += d * d;
        key /= g->nlevels;
    }
    return (uint8_t)sum;
}

struct distances {
    uint8_t half[HALF_KEYS][HALF_CODES]; /* [half a key][half a code] */
    uint8_t low[MAX_POINTS];             /* half a code of each point */
    uint8_t high[MAX_POINTS];            /* distance of each point's upper half */
};

/* How many points there are at each distance, and the distance of each. */
static void measure(const struct grid *g, const struct distances *d, int low_key,
                    uint8_t distance[MAX_POINTS], uint16_t count[MAX_DISTANCE + 1])
{
    const uint8_t *to = d->half[low_key];
    memset(count, 0, (MAX_DISTANCE + 1) * sizeof *count);
    for (int i = 0; i < g->npoints; i++) {
        distance[i] = (uint8_t)(d->high[i] + to[d->low[i]]);
        count[distance[i]]++;
    }
}

/* Appends the points of the nearest rings, ring by ring; returns how many. A point at distance 0 is
 * alone. */
static int gather(const struct grid *g, const uint8_t *distance, const uint16_t *count,
                  uint16_t *list)
{
    uint16_t next[MAX_DISTANCE + 1];
    int total = 0, last = -1;
    for (int rings = 0; rings < g->nrings && last < MAX_DISTANCE;) {
        last++;
        next[last] = (uint16_t)total;
        total += count[last];
        rings += count[last] != 0;
    }
    for (int i = 0; i < g->npoints; i++)
        if (distance[i] <= last)
            list[next[distance[i]]++] = g->codes[i];
    return total;
}

static void make_tables(enum grid_id id)
{
    const struct grid *g = &grids[id];
    struct distances d;
    const int nhalf = nhalf_keys(g), bits = half_bits(g);
    for (int key = 0; key < nhalf; key++)
        for (int code = 0; code < 1 << bits; code++)
            d.half[key][code] = half_distance(g, key, code);
    for (int i = 0; i < g->npoints; i++)
        d.low[i] = (uint8_t)(g->codes[i] & ((1 << bits) - 1));

    int start = 0;
    for (int key = 0; key < nhalf * nhalf; key++) {
        uint8_t distance[MAX_POINTS];
        uint16_t count[MAX_DISTANCE + 1];
        if (key % nhalf == 0)
            for (int i = 0; i < g->npoints; i++)
                d.high[i] = d.half[key / nhalf][g->codes[i] >> bits];
        measure(g, &d, key % nhalf, distance, count);
        if (count[0] != 0)
            continue; /* a point; its place is set below */
        const int n = gather(g, distance, count, g->neighbours + start);
        g->places[key] = PLACE_IS_LIST | (uint32_t)n << 20 | (uint32_t)start;
        start += n;
    }
    for (int i = 0; i < g->npoints; i++)
        g->places[grid_key(g, g->codes[i])] = (uint32_t)i << 16 | g->codes[i];
}

/* ---- once each ------------------------------------------------------------------------------ */

/* X(id) */
#define GRID_LIST(X) \
    X(GRID_IQ2_XXS) X(GRID_IQ2_XS) X(GRID_IQ2_S) X(GRID_IQ3_XXS) X(GRID_IQ3_S) X(GRID_IQ1)

#define X(id)                   \
    static void make_##id(void) \
    {                           \
        make_tables(id);        \
    }
GRID_LIST(X)
#undef X

const struct grid *grid_of(enum grid_id id)
{
    static pthread_once_t once[GRID_COUNT] = {
#define X(id) [id] = PTHREAD_ONCE_INIT,
        GRID_LIST(X)
#undef X
    };
    static void (*const make[GRID_COUNT])(void) = {
#define X(id) [id] = make_##id,
        GRID_LIST(X)
#undef X
    };
    pthread_once(&once[id], make[id]);
    return &grids[id];
}
