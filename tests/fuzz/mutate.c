/* mutate.c - what all mutators share: chance, numbers that hurt, and room made in the middle. */
#include <string.h>

#include "fuzz.h"

uint32_t chance_below(struct mutation *m, uint32_t n)
{
    m->chance += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = m->chance;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return n ? (uint32_t)((z ^ (z >> 31)) >> 32) % n : 0;
}

uint64_t odd_number(struct mutation *m)
{
    static const uint64_t numbers[] = {
        0,
        1,
        7,
        31,
        63,
        0x80,
        0x100,
        0x8000,
        0x10000,
        0x7FFFFFFF,
        0x80000000,
        0xFFFFFFFF,
        UINT64_C(1) << 32,
        (UINT64_C(1) << 53) + 1,
        UINT64_C(1) << 61,
        UINT64_C(1) << 62,
        INT64_MAX,
        UINT64_C(1) << 63,
        UINT64_MAX,
    };
    const uint32_t i = chance_below(m, sizeof numbers / sizeof *numbers + 4);
    if (i >= sizeof numbers / sizeof *numbers)
        return chance_below(m, 4 + (uint32_t)m->n);
    return numbers[i] + chance_below(m, 5) / 3 - chance_below(m, 5) / 3;
}

bool mutation_splice(struct mutation *m, size_t at, size_t was, const void *bytes, size_t n)
{
    if (at > m->n || was > m->n - at || m->n - was + n > m->room)
        return false;
    memmove(m->p + at + n, m->p + at + was, m->n - at - was);
    if (n)
        memcpy(m->p + at, bytes, n);
    m->n = m->n - was + n;
    return true;
}

void mutate_bytes(struct mutation *m)
{
    m->n = m->any_change(m->p, m->n, m->room);
}
