/* moe_values.c - routers of a mixture, and noise on its experts.
 *
 * Element i of the tensor called NAME draws from Philox4x32-10 with the seed as key and the counter
 * (i, fnv1a_64(NAME)), each 64 bits as two words, the lower first. */
#include <math.h>

#include "core/deviates.h"
#include "core/philox.h"
#include "merge/moe.h"

static uint64_t draw(uint64_t seed, uint64_t name_hash, uint64_t i)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)i, (uint32_t)(i >> 32), (uint32_t)name_hash,
                                 (uint32_t)(name_hash >> 32)};
    uint32_t out[4];
    philox4x32_10(counter, key, out);
    return (uint64_t)out[1] << 32 | out[0];
}

static void put(bool wide, void *x, size_t i, double value)
{
    if (wide)
        ((double *)x)[i] = value;
    else
        ((float *)x)[i] = (float)value;
}

/* ---- routers --------------------------------------------------------------------------------- */

/* The row of an expert, made when the first of its elements is read. */
struct gate_scratch {
    uint64_t row; /* which one is there, plus one */
    double *values, *sums;
    void *embedding; /* of its source */
    double piece[PIECE];
};

static size_t gate_scratch_bytes(const struct source *s, bool wide)
{
    (void)wide;
    const struct gate *g = s->params;
    if (g->mode != GATE_EMBEDDING)
        return 0;
    return sizeof(struct gate_scratch) + 2 * g->width * sizeof(double) +
           source_scratch_bytes(&g->embedding, true);
}

/* Adds the embedding of a token to sums. */
static enum quern_status add_token(const struct gate *g, struct gate_scratch *w, uint32_t token,
                                   uint64_t *moved, struct quern_error *err)
{
    for (uint64_t at = 0; at < g->width; at += PIECE) {
        const size_t n = g->width - at < PIECE ? (size_t)(g->width - at) : PIECE;
        TRY(source_read(&g->embedding, w->embedding, true, token * g->width + at, n, w->piece,
                        moved, err));
        for (size_t i = 0; i < n; i++)
            w->sums[at + i] += w->piece[i];
    }
    return QUERN_OK;
}

static void normalize(double *x, uint64_t n)
{
    double squares = 0;
    for (uint64_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    const double norm = sqrt(squares), divisor = norm < 1e-8 ? 1e-8 : norm;
    for (uint64_t i = 0; i < n; i++)
        x[i] /= divisor;
}

/* The direction of all these tokens together, in sums. */
static enum quern_status direction(const struct gate *g, struct gate_scratch *w,
                                   const struct token_list *tokens, uint64_t *moved,
                                   struct quern_error *err)
{
    memset(w->sums, 0, g->width * sizeof(double));
    for (uint32_t i = 0; i < tokens->count; i++)
        TRY(add_token(g, w, tokens->ids[i], moved, err));
    normalize(w->sums, g->width);
    return QUERN_OK;
}

static enum quern_status make_row(const struct gate *g, struct gate_scratch *w, uint64_t row,
                                  uint64_t *moved, struct quern_error *err)
{
    w->values = (double *)(w + 1);
    w->sums = w->values + g->width;
    w->embedding = w->sums + g->width;
    w->row = 0;
    TRY(direction(g, w, &g->prompts[row].positive, moved, err));
    memcpy(w->values, w->sums, g->width * sizeof(double));
    if (g->prompts[row].negative.count) {
        TRY(direction(g, w, &g->prompts[row].negative, moved, err));
        for (uint64_t i = 0; i < g->width; i++)
            w->values[i] -= w->sums[i];
    }
    normalize(w->values, g->width);
    w->row = row + 1;
    return QUERN_OK;
}

static enum quern_status read_gate(const struct source *s, void *scratch, bool wide, uint64_t first,
                                   size_t n, void *x, uint64_t *moved, struct quern_error *err)
{
    const struct gate *g = s->params;
    const double reach = g->mode == GATE_UNIFORM ? sqrt(1.0 / (double)g->width) : 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t at = first + i, bits = draw(g->seed, g->name_hash, at);
        if (g->mode == GATE_RANDOM)
            put(wide, x, i, deviate_normal(bits));
        else if (g->mode == GATE_UNIFORM)
            put(wide, x, i, (2 * deviate_uniform(bits) - 1) * reach);
    }
    struct gate_scratch *w = scratch;
    for (size_t i = 0; g->mode == GATE_EMBEDDING && i < n; i++) {
        const uint64_t row = (first + i) / g->width;
        if (w->row != row + 1)
            TRY(make_row(g, w, row, moved, err));
        put(wide, x, i, w->values[(first + i) % g->width]);
    }
    return QUERN_OK;
}

const struct source_kind source_gate = {
    .name = "router", .scratch_bytes = gate_scratch_bytes, .read = read_gate};

static size_t no_scratch(const struct source *s, bool wide)
{
    (void)s;
    (void)wide;
    return 0;
}

static enum quern_status read_zeros(const struct source *s, void *scratch, bool wide,
                                    uint64_t first, size_t n, void *x, uint64_t *moved,
                                    struct quern_error *err)
{
    (void)s;
    (void)scratch;
    (void)first;
    (void)moved;
    (void)err;
    memset(x, 0, n * (wide ? sizeof(double) : sizeof(float)));
    return QUERN_OK;
}

const struct source_kind source_zeros = {
    .name = "zeros", .scratch_bytes = no_scratch, .read = read_zeros};

/* ---- experts --------------------------------------------------------------------------------- */

static void expert_apply(const struct piece *p, const void *const x[], void *y)
{
    const struct expert_change *c = p->step->params;
    const bool wide = p->step->wide;
    for (size_t i = 0; i < p->n; i++) {
        double value = wide ? ((const double *)x[0])[i] : (double)((const float *)x[0])[i];
        if (c->noise != 0)
            value += c->noise * deviate_normal(draw(c->seed, c->name_hash, p->first + i));
        put(wide, y, i, value * c->scale);
    }
}

const struct op op_expert = {.name = "expert", .apply = expert_apply};
