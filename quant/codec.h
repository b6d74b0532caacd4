/* codec.h - stored elements to f32 and back, with the best kernels this CPU has. */
#ifndef QUERN_CODEC_H
#define QUERN_CODEC_H

#include "quant/kernels/kernels.h"

/* The table in use: every slot that any table fills is set. */
const struct kernels *codec_kernels(void);

/* All tables this CPU can run, reference first: for tests and benchmarks. NULL past the end. */
const struct kernels *codec_table(size_t i);
/* Use one table by name; NULL for the best. False when there is none of this name or the CPU cannot
 * run it. */
bool codec_set(const char *name);

bool codec_can_decode(enum dtype d);
bool codec_can_encode(enum dtype d);

/* f64 forms for merges of F64 tensors: F64 itself is copied, everything else goes through f32. */
void codec_decode_f64(enum dtype d, const void *stored, double *out, size_t nelems);
void codec_encode_f64(enum dtype d, const double *x, void *stored, size_t nelems);

/* First element (for blocks: first element of the block) whose stored value or scale is NaN or Inf,
 * or nelems. Types that have no such value always give nelems. */
size_t codec_first_nonfinite(enum dtype d, const void *stored, size_t nelems);

#endif
