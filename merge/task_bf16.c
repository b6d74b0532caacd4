/* task_bf16.c - task vectors straight from BF16 to BF16, where nothing but differences by their
 * magnitude or at random is asked for. Whatever is out of the ordinary goes through numbers. */
#include <string.h>

#include "merge/task_choice.h"
#include "quant/codec.h"

static bool is_drawn(const struct task_vector *t)
{
    return t->ntrimmed > 0 && t->sparsifier->random;
}

/* Draws of a strip that are kept, as struct delta_mix has them. */
static void draw_kept(const struct piece *p, unsigned model, uint32_t *kept)
{
    const struct task_vector *t = p->step->params;
    const struct draw_counter c = draw_counter(t, model, p->first);
    codec_kernels()->random_kept(kept, c.key, c.counter, draw_limit(t->density[model]), p->n);
}

/* ---- measuring ------------------------------------------------------------------------------- */

/* What is above the guesses at a cut, and what equals them. */
struct around_cut {
    uint32_t above[CUT_GUESSES], equal[CUT_GUESSES];
};

static bool count_guesses(const struct piece *p, const uint16_t *const x[], unsigned j, unsigned k,
                          struct around_cut *found)
{
    const struct task_vector *t = p->step->params;
    const struct choice_cuts *c = (const struct choice_cuts *)p->state + j;
    const struct cut_window *w = &c->window[k];
    return w->plain && w->nguesses > 0 &&
           codec_kernels()->count_deltas_bf16(x[t->trimmed[j] + 1], x[0], w->guess, w->nguesses,
                                              p->n, found->above, found->equal);
}

static bool measure_windows(const struct piece *p, unsigned pass, const uint16_t *const x[],
                            uint64_t *counts, double *record)
{
    const struct task_vector *t = p->step->params;
    struct around_cut found[MAX_SOURCES][2];
    for (unsigned j = 0; j < t->ntrimmed; j++)
        for (unsigned k = 0; k < t->sparsifier->ncuts; k++)
            if (!count_guesses(p, x, j, k, &found[j][k]))
                return false;
    for (unsigned j = 0; j < t->ntrimmed; j++)
        for (unsigned k = 0; k < t->sparsifier->ncuts; k++) {
            const struct choice_cuts *c = (const struct choice_cuts *)p->state + j;
            uint64_t *above = counts + task_counts_at(p->step, pass, j, k);
            double *equal = record + task_guesses_at(t, j, k);
            for (unsigned g = 0; g < c->window[k].nguesses; g++) {
                above[g] += found[j][k].above[g];
                equal[g] += found[j][k].equal[g];
            }
        }
    return true;
}

static bool measure_drawn(const struct piece *p, const uint16_t *const x[], double *record)
{
    const struct task_vector *t = p->step->params;
    double sums[MAX_SOURCES][2];
    for (unsigned j = 0; j < t->ntrimmed; j++) {
        const unsigned m = t->trimmed[j];
        uint32_t kept[STRIP / 32];
        draw_kept(p, m, kept);
        if (!codec_kernels()->kept_sums_bf16(x[m + 1], x[0], kept, p->n, sums[j]))
            return false;
    }
    for (unsigned j = 0; j < t->ntrimmed; j++)
        task_add_sums(record, j, sums[j]);
    return true;
}

bool task_measure_bf16(const struct piece *p, unsigned pass, const uint16_t *const x[],
                       uint64_t *counts, void *record)
{
    const struct task_vector *t = p->step->params;
    if (t->exact != DTYPE_COUNT || p->n > STRIP)
        return false;
    if (task_is_window(p->step, pass))
        return measure_windows(p, pass, x, counts, record);
    return is_drawn(t) && t->draw == draw_random && measure_drawn(p, x, record);
}

/* ---- applying -------------------------------------------------------------------------------- */

/* False where a cut falls among equals of this chunk. */
static bool find_cuts(const struct piece *p, uint32_t cut[])
{
    const struct task_vector *t = p->step->params;
    const struct choice_cuts *state = p->state;
    for (unsigned m = 0; m < t->nmodels; m++)
        cut[m] = 0;
    for (unsigned j = 0; j < t->ntrimmed; j++) {
        const struct cut *c = &state[j].low;
        if (p->chunk == c->split)
            return false;
        cut[t->trimmed[j]] = (uint32_t)cut_least(c, p->chunk < c->split ? p->n : 0, 0);
    }
    return true;
}

static bool mix_cut(const struct piece *p, struct delta_mix *mix, uint16_t *y)
{
    uint32_t cut[MAX_SOURCES];
    if (!find_cuts(p, cut))
        return false;
    mix->cut = cut;
    return codec_kernels()->mix_bf16(mix, y, p->n);
}

static bool mix_drawn(const struct piece *p, struct delta_mix *mix, uint16_t *y)
{
    const struct task_vector *t = p->step->params;
    const struct choice_cuts *state = p->state;
    uint32_t drawn[MAX_SOURCES][STRIP / 32];
    const uint32_t *kept[MAX_SOURCES];
    float scale[MAX_SOURCES];
    for (unsigned m = 0, j = 0; m < t->nmodels; m++) {
        const bool trimmed = j < t->ntrimmed && t->trimmed[j] == m;
        scale[m] = trimmed && t->rescale ? (float)state[j].scale : 1;
        kept[m] = drawn[m];
        if (trimmed)
            draw_kept(p, m, drawn[m]);
        else
            memset(drawn[m], 0xff, sizeof drawn[m]);
        j += trimmed;
    }
    mix->kept = kept;
    mix->scale = scale;
    return codec_kernels()->mix_bf16(mix, y, p->n);
}

bool task_apply_bf16(const struct piece *p, const uint16_t *const x[], uint16_t *y)
{
    const struct task_vector *t = p->step->params;
    float weights[MAX_SOURCES];
    for (unsigned m = 0; m < t->nmodels; m++)
        weights[m] = (float)t->weight[m];
    struct delta_mix mix = {.base = x[0],
                            .x = x + 1,
                            .w = weights,
                            .nx = t->nmodels,
                            .consensus = t->consensus,
                            .normalize = t->normalize,
                            .lambda = (float)t->lambda};
    if (t->exact != DTYPE_COUNT || p->n > STRIP)
        return false;
    if (is_drawn(t))
        return t->draw == draw_random && mix_drawn(p, &mix, y);
    return task_one_kernel(t) && mix_cut(p, &mix, y);
}
