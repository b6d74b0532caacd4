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
bool codec_can_encode(enum dtype d);       /* perhaps with importance only */
bool codec_uses_importance(enum dtype d);  /* other bytes with it than without */
bool codec_needs_importance(enum dtype d); /* without it codec_encode() must not be called */

/* Encodes with importance when there is any (NULL: none; ignored by types without use for it). x,
 * importance and row_sigma2 are as in kernels.h. */
void codec_encode(enum dtype d, const float *x, const float *importance, float row_sigma2,
                  void *stored, size_t nelems);

/* One go from this type to that, or NULL: then decode and encode. */
recode_fn *codec_recode(enum dtype from, enum dtype to);

/* This type's encoder with importance looks at row_sigma2. */
bool codec_uses_row_sigma2(enum dtype d);

/* Turns the right blocks just made from x into those llama.cpp makes where it errs: IQ3_S with a
 * sub-block of zeros. Leaves all other types alone. docs/compatibility.md. */
void codec_add_reference_bugs(enum dtype d, const float *x, void *stored, size_t nelems);

/* f64 forms for merges of F64 tensors: F64 itself is copied, everything else goes through f32. */
void codec_decode_f64(enum dtype d, const void *stored, double *out, size_t nelems);
void codec_encode_f64(enum dtype d, const double *x, void *stored, size_t nelems);

/* First element (for blocks: first element of the block) whose stored value or scale is NaN or Inf,
 * or nelems. Types that have no such value always give nelems. */
size_t codec_first_nonfinite(enum dtype d, const void *stored, size_t nelems);

/* How many elements are spoilt so, all of a block when its scale is; *first is then the first of
 * them. */
uint64_t codec_count_nonfinite(enum dtype d, const void *stored, size_t nelems, size_t *first);
/* Makes zeros of them, whole blocks of zeros; true when there were any. */
bool codec_zero_nonfinite(enum dtype d, void *stored, size_t nelems);

static inline size_t codec_first_nonfinite_f32(const float *x, size_t nelems)
{
    return codec_kernels()->first_beyond(x, 0x7f800000, nelems);
}

#endif
