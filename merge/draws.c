/* draws.c - the random bits of a choice: nothing but seed, model, tensor and element decide. */
#include "core/philox.h"
#include "merge/task_vector.h"
#include "quant/codec.h"

uint32_t draw_limit(double p)
{
    return (uint32_t)(p * 0x1p32);
}

struct draw_counter draw_counter(const struct task_vector *t, unsigned model, uint64_t first)
{
    const uint64_t at_element = first / 4 | (uint64_t)model << 56;
    return (struct draw_counter){
        {(uint32_t)t->seed,       (uint32_t)(t->seed >> 32)},
        { (uint32_t)at_element, (uint32_t)(at_element >> 32),                     (uint32_t)t->name_hash,
         (uint32_t)(t->name_hash >> 32)}
    };
}

void draw_random(const struct task_vector *t, unsigned model, uint64_t first, size_t n,
                 uint32_t *bits)
{
    const struct draw_counter c = draw_counter(t, model, first);
    codec_kernels()->random_bits(bits, c.key, c.counter, n);
}
