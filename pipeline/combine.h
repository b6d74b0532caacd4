/* combine.h - the plan that adds up importance matrices, or writes one in the other format. */
#ifndef QUERN_COMBINE_H
#define QUERN_COMBINE_H

#include "plan.h"

struct combine_request {
    struct imatrix *const *inputs; /* 1 to MAX_SOURCES; one is converted */
    size_t ninputs;
    const char *output;
    bool legacy;         /* write a .dat, else GGUF */
    uint32_t chunk_size; /* tokens of a chunk; 0: as the first input that tells it says, else 512 */
    bool force;          /* replace an existing output */
};

/* Sums and counts add up in the order of the inputs, in 32-bit floats, and the file has the bytes
 * of llama-imatrix --in-file A,B,... -c CHUNK_SIZE: a .dat counts as chunk_size times its rows.
 * Reads the counts of the inputs to know the header. The inputs must stay open until the plan is
 * freed. Errors: EUSAGE when rows of one weight differ in length, or a number does not fit a .dat;
 * EFORMAT for bad counts; EIO, EMEMORY. */
enum quern_status combine_plan(const struct combine_request *r, struct plan **out,
                               struct quern_error *err);

#endif
