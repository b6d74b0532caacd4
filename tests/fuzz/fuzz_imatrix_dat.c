/* fuzz_imatrix_dat.c - any bytes as an importance matrix of the older form. */
#include <string.h>

#include "check_imatrix.h"

static void run(char *text, size_t n)
{
    check_imatrix_file(fuzz_file("imatrix.dat", text, n));
}

/* Entries are a length, a name, two numbers and values: lengths are made to fit again. */
static void mutate(struct mutation *m)
{
    int32_t v;
    size_t at = 4, starts[64], nstarts = 0;
    while (nstarts < 64 && at + 4 <= m->n) {
        memcpy(&v, m->p + at, 4);
        if (v < 0 || (size_t)v > m->n - at - 4 || m->n - at - 4 - (size_t)v < 8)
            break;
        starts[nstarts++] = at;
        at += 4 + (size_t)v + 8;
        memcpy(&v, m->p + at - 4, 4);
        if (v < 0 || (size_t)v > (m->n - at) / 4)
            break;
        at += (size_t)v * 4;
    }
    if (nstarts < 2 || chance_below(m, 3) == 0) {
        mutate_bytes(m);
        return;
    }
    const uint32_t i = chance_below(m, (uint32_t)nstarts - 1);
    const size_t n = starts[i + 1] - starts[i];
    uint8_t copy[512];
    uint32_t count; /* of entries; it may wrap */
    memcpy(&count, m->p, 4);
    switch (chance_below(m, 4)) {
    case 0: /* another of it */
        if (n > sizeof copy)
            return;
        memcpy(copy, m->p + starts[i], n);
        mutation_splice(m, starts[chance_below(m, (uint32_t)nstarts)], 0, copy, n);
        count++;
        break;
    case 1:
        mutation_splice(m, starts[i], n, NULL, 0);
        count--;
        break;
    case 2: { /* one of its numbers */
        memcpy(&v, m->p + starts[i], 4);
        const size_t places[] = {starts[i], starts[i] + 4 + (size_t)v, starts[i] + 8 + (size_t)v};
        const uint64_t number = odd_number(m);
        memcpy(m->p + places[chance_below(m, 3)], &number, 4);
        return;
    }
    default: { /* one of its values */
        const uint32_t value = (uint32_t)odd_number(m) << chance_below(m, 24);
        memcpy(m->p + starts[i + 1] - 4, &value, 4);
        return;
    }
    }
    memcpy(m->p, &count, 4);
}

const struct fuzz_target fuzz_imatrix_dat = {
    .name = "imatrix_dat",
    .max_len = 2048,
    .run = run,
    .mutate = mutate,
    .bytes_per_byte = 32,
    .bytes_besides = 16384,
};
