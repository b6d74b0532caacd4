/* test_kernels_wide.c - the kernels with sixteen lanes made of ordinary instructions, so that what
 * depends on the number of lanes is tested where there is no AVX-512. */
#define KERNELS_ISA wide
#define SIMD_LANES  16
/* Vectors this wide are never passed between functions that are not inlined. */
#pragma GCC diagnostic ignored "-Wpsabi"
#include "quant/kernels/kernels.c"
