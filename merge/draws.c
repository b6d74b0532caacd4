/* draws.c - the random bits of a choice: nothing but seed, model, tensor and element decide. */
#include "core/philox.h"
#include "merge/task_vector.h"
#include "quant/codec.h"

uint32_t draw_limit(double p)
{
    return (uint32_t)(p * 0x1p32);
}

/* The counter: element / 4 (bits 0 to 55), model (56 to 63), the name's hash; the key: the seed. */
void draw_random(const struct task_vector *t, unsigned model, uint64_t first, size_t n,
                 uint32_t *bits)
{
    const uint64_t at_element = first / 4 | (uint64_t)model << 56;
    const uint32_t key[2] = {(uint32_t)t->seed, (uint32_t)(t->seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)at_element, (uint32_t)(at_element >> 32),
                                 (uint32_t)t->name_hash, (uint32_t)(t->name_hash >> 32)};
    codec_kernels()->random_bits(bits, key, counter, n);
}
