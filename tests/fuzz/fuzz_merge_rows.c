/* fuzz_merge_rows.c - any weights through the inner loops of merges: all kernels give the same
 * bits. */
#include <math.h>
#include <string.h>

#include "fuzz.h"
#include "quant/codec.h"

#define MOST    96u /* elements */
#define NMODELS 5u
#define NDOTS   (NMODELS * (NMODELS + 1) / 2)

struct job {
    float base[MOST], models[NMODELS][MOST], weights[NMODELS], scale;
    const float *x[NMODELS];
    uint32_t cuts[NMODELS], score[MOST], low, span;
    size_t n, nx;
    uint8_t flags;
};

/* All that the loops give, side by side. */
struct result {
    float sum[MOST], ties[MOST], deltas[MOST];
    uint32_t magnitudes[MOST], bits[MOST];
    double dots[3], gram[2][NDOTS], kept[2], error_sq[MOST / 32 + 1], max[MOST / 32 + 1],
        weighted[3];
    uint64_t histogram[256];
    size_t equal, beyond;
};

/* No sum of products of these overflows. */
static float moderate(uint32_t bits)
{
    float x;
    const uint32_t exponent = bits >> 23 & 0xFF;
    if (exponent > 0x8F)
        bits = (bits & 0x807FFFFF) | (0x60u + exponent % 0x30) << 23;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void run_loops(const struct kernels *k, const struct job *j, struct result *r)
{
    const size_t n = j->n;
    memset(r, 0, sizeof *r);
    k->weighted_sum(r->sum, j->x, j->weights, j->nx, n);
    k->ties(r->ties, j->base, j->x, j->weights, j->cuts, j->nx, j->flags & 1, j->flags & 2,
            j->scale, n);
    k->kept_deltas(r->deltas, j->x[0], j->base, j->score, j->low, j->span, j->scale, n);
    k->kept_sums(j->x[0], j->base, j->score, j->low, j->span, n, r->kept);
    k->delta_magnitude(r->magnitudes, j->x[0], j->base, n);
    k->random_bits(r->bits, j->cuts, j->score, n);
    k->pair_dots(j->x[0], j->base, n, r->dots);
    k->gram(j->x, NULL, j->nx, n, r->gram[0]);
    k->gram(j->x, j->base, j->nx, n, r->gram[1]);
    k->block_errors(j->x[0], j->base, n, 32, r->error_sq, r->max);
    k->weighted_errors(j->x[0], j->base, j->models[1], n, r->weighted);
    k->radix_count(r->magnitudes, n, 32, 0, 24, 0xff, r->histogram);
    r->equal = k->count_equal(r->magnitudes, n, j->cuts[0]);
    r->beyond = k->first_beyond(j->base, j->low & 0x7FFFFFFF, n);
}

static void run(char *text, size_t n)
{
    static struct job j;
    static struct result want, got;
    struct fuzz_bytes b = {text, n};
    memset(&j, 0, sizeof j);
    j.flags = take_byte(&b);
    j.n = take_byte(&b) % (MOST + 1);
    j.nx = 1 + take_byte(&b) % NMODELS;
    j.scale = moderate(take_u32(&b));
    j.low = take_u32(&b);
    j.span = take_u32(&b);
    for (size_t i = 0; i < j.n; i++)
        j.base[i] = moderate(take_u32(&b));
    for (size_t m = 0; m < NMODELS; m++) {
        j.x[m] = j.models[m];
        j.weights[m] = moderate(take_u32(&b));
        j.cuts[m] = take_u32(&b);
        /* Where the input has ended, models are what there was already, and the base. */
        for (size_t i = 0; i < j.n; i++)
            j.models[m][i] = b.n ? moderate(take_u32(&b)) : j.base[(i + m) % j.n];
    }
    for (size_t i = 0; i < MOST; i++)
        j.score[i] = b.n ? take_u32(&b) : (uint32_t)i * 0x9E3779B9u;
    run_loops(&kernels_reference, &j, &want);
    for (size_t i = 0; codec_table(i); i++) {
        run_loops(codec_table(i), &j, &got);
        FUZZ_CHECK(memcmp(&got, &want, sizeof got) == 0);
    }
}

const struct fuzz_target fuzz_merge_rows = {
    .name = "merge_rows",
    .max_len = 3072,
    .run = run,
    .bytes_besides = 4096,
};
