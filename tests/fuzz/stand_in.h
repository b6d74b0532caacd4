/* stand_in.h - a model of a few kilobytes, for targets that need one beside what they read. */
#ifndef QUERN_FUZZ_STAND_IN_H
#define QUERN_FUZZ_STAND_IN_H

#include "fuzz.h"

/* A Llama of two layers as safetensors; other seeds give other weights. The arena's. */
struct str stand_in_weights(struct arena *a, uint32_t seed);
/* Its config.json and tokenizer.json. */
extern const char stand_in_config[], stand_in_tokenizer[];

#endif
