/* grid_neighbours.h - where each combination of levels finds its grid point.
 *
 * Eight weights rounded to three levels each (IQ1, IQ2), or four to eight levels (IQ3), rarely are
 * a point of the grid. For every other combination there is a list of the points around it, from
 * which the encoder takes the best. */
#ifndef QUERN_GRID_NEIGHBOURS_H
#define QUERN_GRID_NEIGHBOURS_H

#include <stdbool.h>
#include <stdint.h>

enum grid_id {
    GRID_IQ2_XXS,
    GRID_IQ2_XS,
    GRID_IQ2_S,
    GRID_IQ3_XXS,
    GRID_IQ3_S,
    GRID_IQ1,
    GRID_COUNT,
};

struct grid {
    const uint16_t *codes; /* the points: see grids.h */
    int npoints;
    int ndims;   /* weights of a point: 8 or 4 */
    int nbits;   /* of a level in a code: 2 or 3 */
    int nlevels; /* in use: 3 or 8 */
    int nrings;  /* different distances whose points count as neighbours */

    /* By grid_key(): what to do with a combination of levels. Only grid_neighbours.c writes here.
     */
    uint32_t *places;
    /* Codes of neighbours, by distance and then in the order of codes. Vectors may be loaded that
     * reach past the end of a list. */
    uint16_t *neighbours;
};

/* A place is index << 16 | code of a grid point, or says where the list of neighbours is. */
#define PLACE_IS_LIST 0x80000000u

static inline bool place_is_list(uint32_t place)
{
    return place & PLACE_IS_LIST;
}

static inline unsigned place_count(uint32_t place)
{
    return place >> 20 & 0x3ff;
}

static inline unsigned place_start(uint32_t place)
{
    return place & 0xfffff;
}

static inline unsigned place_index(uint32_t place)
{
    return place >> 16 & 0x7fff;
}

/* The tables of a grid are made when it is first asked for; any number of threads may ask. */
const struct grid *grid_of(enum grid_id id);

/* Four levels of two bits as a number in base 3. */
extern const uint8_t grid_half_keys[256];

/* The levels as a number in base nlevels, the first one least significant. Levels that are not in
 * use count as the highest that is. */
static inline unsigned grid_key(const struct grid *g, unsigned code)
{
    if (g->nbits == 3)
        return code & 4095;
    return grid_half_keys[code & 255] + 81u * grid_half_keys[code >> 8 & 255];
}

#endif
