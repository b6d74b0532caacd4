/* fingerprint.c - measure tensors so that they are known again. */
#include "fingerprint.h"

#include "core/smath.h"
#include "quant/codec.h"

/* A worker's: values on their way to a type and back. */
struct workplace {
    float y[PIECE];
    uint8_t raw[PIECE * sizeof(float)];
};

struct look {
    const struct fingerprint_ask *ask;
    struct fingerprints *out;
};

/* -exp would take its time on the matrices of a model in 32 bits, which are never changed. */
#define MOST_CHANGED (UINT64_C(1) << 22)

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)
#define FACTOR UINT64_C(0xbf58476d1ce4e5b9)
#define OTHER  UINT64_C(0x94d049bb133111eb)

/* All bits of a value move all bits of the result; zeros have no sign, for some blocks have none
 * either. */
static inline uint64_t mix_value(float v)
{
    uint32_t bits;
    v += 0.0f;
    memcpy(&bits, &v, sizeof bits);
    uint64_t z = ((uint64_t)bits + 1) * GOLDEN;
    z = (z ^ (z >> 32)) * FACTOR;
    return z ^ (z >> 29);
}

static inline uint64_t mix_place(uint64_t value, uint64_t place)
{
    const uint64_t z = (value ^ place) * OTHER;
    return z ^ (z >> 32);
}

uint64_t fingerprint_of_same(float v, uint64_t n)
{
    return mix_value(v) * n;
}

static void add_values(const float *x, size_t n, uint64_t first, uint64_t *sums)
{
    uint64_t any = 0, here = 0, place = first * GOLDEN;
    for (size_t i = 0; i < n; i++, place += GOLDEN) {
        const uint64_t value = mix_value(x[i]);
        any += value;
        here += mix_place(value, place);
    }
    sums[0] += any;
    sums[1] += here;
}

static void change_values(enum change how, const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = how == CHANGE_ADD_ONE   ? x[i] + 1.0f
               : how == CHANGE_NEG_EXP ? -(float)strict_exp((double)x[i])
                                       : x[i];
}

static struct measure_need look_need(const struct step *s, unsigned pass)
{
    const struct look *l = s->params;
    (void)pass;
    return (struct measure_need){.ncounts = (size_t)l->ask->ntypes * NCHANGES * 2};
}

static void look_measure(const struct piece *p, unsigned pass, const void *const x[],
                         uint64_t *counts, void *record)
{
    const struct look *l = p->step->params;
    struct workplace *w = p->carry;
    (void)pass;
    (void)record;
    for (unsigned t = 0; t < l->ask->ntypes; t++) {
        const enum dtype d = l->ask->types[t];
        const unsigned nchanges = l->out->changed[t] ? NCHANGES : 1;
        for (unsigned c = 0; l->out->has[t] && c < nchanges; c++) {
            uint64_t *sums = counts + (t * NCHANGES + c) * 2;
            if (c == CHANGE_NONE && (p->step->sources[0].tensor->dtype == d ||
                                     (l->out->exact && dtype_is_quantized(d)))) {
                add_values(x[0], p->n, p->first, sums);
                continue;
            }
            change_values((enum change)c, x[0], w->y, p->n);
            codec_encode(d, w->y, NULL, 0.0f, w->raw, p->n);
            codec_kernels()->decode[d](w->raw, w->y, p->n);
            add_values(w->y, p->n, p->first, sums);
        }
    }
}

static enum quern_status look_combine(const struct step *s, unsigned pass, void *state,
                                      const uint64_t *counts, void *records, uint64_t nrecords,
                                      struct quern_error *err)
{
    const struct look *l = s->params;
    (void)pass;
    (void)state;
    (void)records;
    (void)nrecords;
    (void)err;
    for (unsigned k = 0; k < l->ask->ntypes * NCHANGES; k++)
        l->out->of[k] = (struct fingerprint){counts[2 * k], counts[2 * k + 1]};
    return QUERN_OK;
}

static const struct op op_look = {.name = "fingerprint",
                                  .sees_nonfinite = true,
                                  .carry_bytes = sizeof(struct workplace),
                                  .need = look_need,
                                  .measure = look_measure,
                                  .combine = look_combine};

/* Rows must be whole blocks, if blocks are to be made. */
static bool can_be(const struct tensor *t, enum dtype d, uint64_t nelems_of, bool exact)
{
    const uint64_t row = t->ndims ? t->dims[t->ndims - 1] : 1;
    return t->nelems <= nelems_of && (exact || row % dtype_traits[d].block_elems == 0);
}

enum quern_status fingerprint_step(struct plan *p, struct step *s, const struct source *source,
                                   const struct fingerprint_ask *ask, bool changes,
                                   struct fingerprints *out, struct quern_error *err)
{
    const struct tensor *t = source->tensor;
    struct look *l = ARENA_NEW(&p->arena, struct look, 1);
    if (!l)
        return fail_memory(err, sizeof *l);
    out->tensor = t;
    out->exact = source->kind != NULL;
    *l = (struct look){ask, out};
    out->known = true;
    for (unsigned k = 0; k < ask->ntypes; k++) {
        out->has[k] = can_be(t, ask->types[k], ask->nelems_of[k], out->exact);
        /* Norms and the like are changed, and stored in 32 bits. */
        out->changed[k] =
            changes && out->has[k] && ask->types[k] == DTYPE_F32 && t->nelems <= ask->largest_of[k];
    }
    *s = (struct step){.name = t->name,
                       .dims = t->dims,
                       .ndims = t->ndims,
                       .dtype = t->dtype,
                       .round_dtype = DTYPE_COUNT,
                       .nsources = 1,
                       .npasses = 1,
                       .sources = source,
                       .op = &op_look,
                       .params = l,
                       .nelems = t->nelems,
                       .nbytes = t->nbytes};
    return QUERN_OK;
}
