/* grids.h - points of the IQ types' grids.
 *
 * A code packs the levels of one grid point, weight 0 in the lowest bits: eight weights of 2 bits
 * (IQ1, IQ2) or four weights of 3 bits (IQ3). What a level is worth: see grid_levels in
 * reference_blocks.c. Codes ascend. */
#ifndef QUERN_GRIDS_H
#define QUERN_GRIDS_H

#include <stdint.h>

extern const uint16_t iq2xxs_codes[256];
extern const uint16_t iq2xs_codes[512];
extern const uint16_t iq2s_codes[1024];
extern const uint16_t iq3xxs_codes[256];
extern const uint16_t iq3s_codes[512];
extern const uint16_t iq1s_codes[2048];

#endif
