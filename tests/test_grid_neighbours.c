/* test_grid_neighbours.c - the lists of neighbours against their definition. */
#include <criterion/criterion.h>

#include "quant/grid_neighbours.h"

static int level(const struct grid *g, unsigned code, int i)
{
    return (int)(code >> i * g->nbits) & ((1 << g->nbits) - 1);
}

static int distance(const struct grid *g, unsigned a, unsigned b)
{
    int sum = 0;
    for (int i = 0; i < g->ndims; i++)
        sum += (level(g, a, i) - level(g, b, i)) * (level(g, a, i) - level(g, b, i));
    return sum;
}

/* The code with this key. */
static unsigned code_of(const struct grid *g, unsigned key)
{
    unsigned code = 0;
    for (int i = 0; i < g->ndims; i++, key /= (unsigned)g->nlevels)
        code |= key % (unsigned)g->nlevels << i * g->nbits;
    return code;
}

/* Ring by ring of points at the same distance, each in the order of points. */
static void check_list(const struct grid *g, unsigned code, uint32_t place)
{
    const uint16_t *list = g->neighbours + place_start(place);
    unsigned n = 0;
    int d[2048];
    for (int i = 0; i < g->npoints; i++)
        d[i] = distance(g, code, g->codes[i]);
    for (int rings = 0, at = 1; rings < g->nrings; at++) {
        bool any = false;
        for (int i = 0; i < g->npoints; i++) {
            if (d[i] != at)
                continue;
            cr_assert(n < place_count(place) && list[n] == g->codes[i]);
            any = true;
            n++;
        }
        rings += any;
    }
    cr_assert_eq(n, place_count(place));
}

static void check_grid(enum grid_id id)
{
    const struct grid *g = grid_of(id);
    const unsigned nkeys = g->ndims == 8 ? 6561 : 4096;
    unsigned start = 0;
    int npoints = 0;
    for (unsigned key = 0; key < nkeys; key++) {
        const unsigned code = code_of(g, key);
        const uint32_t place = g->places[key];
        cr_assert_eq(grid_key(g, code), key);
        if (!place_is_list(place)) {
            cr_assert_eq(g->codes[place_index(place)], code);
            cr_assert_eq(place & 0xffff, code);
            npoints++;
            continue;
        }
        cr_assert_eq(place_start(place), start, "lists lie end to end");
        check_list(g, code, place);
        start += place_count(place);
    }
    cr_assert_eq(npoints, g->npoints);
}

Test(grid_neighbours, lists_have_the_nearest_points)
{
    for (int id = 0; id < GRID_COUNT; id++)
        check_grid((enum grid_id)id);
}

/* Codes from elsewhere may have levels that are not in use. */
Test(grid_neighbours, any_code_has_a_key)
{
    for (unsigned code = 0; code < 65536; code++) {
        cr_assert_lt(grid_key(grid_of(GRID_IQ1), code), 6561);
        cr_assert_lt(grid_key(grid_of(GRID_IQ3_S), code), 4096);
    }
}
