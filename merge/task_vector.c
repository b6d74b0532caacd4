/* task_vector.c - differences from a base: let signs be elected, add. */
#include "merge/task_vector.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/philox.h"
#include "merge/arith.h"
#include "merge/task_choice.h"
#include "quant/codec.h"

const struct sparsifier keep_all = {0};
const struct sparsifier keep_largest = {.ncuts = 1};
const struct sparsifier keep_middle = {.ncuts = 2};
const struct sparsifier keep_random = {.random = true};
const struct sparsifier keep_ranked = {.random = true, .ranked = true};

#define BLOCK 512u /* elements of all models that are worked on at a time */

#define REAL        float
#define ROUND(t, x) round_value((t)->exact, x)
#define MIX         mix_f32
#include "merge/task_mix.h"

#define REAL        double
#define ROUND(t, x) (x)
#define MIX         mix_f64
#include "merge/task_mix.h"

/* The equals of each cut that were met in this chunk: low, high. */
struct carry {
    uint64_t met[MAX_SOURCES][2];
};

static const float zeros[BLOCK];

/* ---- applying -------------------------------------------------------------------------------- */

/* Where in this piece the cuts of trimmed model j change: low, high. */
static void find_splits(const struct piece *p, unsigned j, const void *const x[], size_t split[2])
{
    const struct task_vector *t = p->step->params;
    struct choice_cuts *state = p->state;
    struct carry *carry = p->carry;
    for (unsigned k = 0; k < t->sparsifier->ncuts; k++) {
        const struct cut *c = task_cut(&state[j], k);
        union scores score;
        float room[PIECE];
        if (p->chunk == c->split)
            task_scores(p, j, task_operands(p->step, x[t->trimmed[j] + 1], x[0], p->n, room), 0,
                        p->n, &score);
        split[k] = cut_split(c, p->step->wide, p->chunk, &score, p->n, &carry->met[j][k]);
    }
}

/* Elements [from, from + n) of the piece to d, in which no cut changes. */
static void keep_segment(const struct piece *p, unsigned j, struct operands o, const void *score,
                         struct window w, void *d, size_t n)
{
    const struct task_vector *t = p->step->params;
    const double scale = t->rescale ? ((const struct choice_cuts *)p->state)[j].scale : 1;
    if (!p->step->wide) {
        codec_kernels()->kept_deltas(d, o.x, o.base, score, (uint32_t)w.low, (uint32_t)w.span,
                                     (float)scale, n);
        if (t->exact != DTYPE_COUNT)
            round_values(t->exact, d, n);
        return;
    }
    const double *x = o.x, *base = o.base;
    const uint64_t *s = score;
    for (size_t i = 0; i < n; i++)
        ((double *)d)[i] = s[i] - w.low < w.span ? (x[i] - base[i]) * scale : 0;
}

static const void *at(const struct step *s, const void *x, size_t i)
{
    return (const char *)x + i * (s->wide ? sizeof(double) : sizeof(float));
}

/* What counts of trimmed model j in elements [from, from + n) of the piece. */
static void keep_block(const struct piece *p, unsigned j, const void *x, const void *base,
                       const size_t split[2], size_t from, size_t n, void *d)
{
    const struct step *s = p->step;
    union scores score;
    float room[BLOCK];
    const struct operands o = task_operands(s, at(s, x, from), at(s, base, from), n, room);
    task_scores(p, j, o, from, n, &score);
    const size_t score_bytes = s->wide ? sizeof(uint64_t) : sizeof(uint32_t);
    const unsigned ncuts = ((const struct task_vector *)s->params)->sparsifier->ncuts;
    for (size_t i = 0, to; i < n; i = to) {
        to = n;
        for (unsigned k = 0; k < ncuts; k++)
            if (split[k] > from + i && split[k] < from + to)
                to = split[k] - from;
        const struct operands here = {at(s, o.x, i), at(s, o.base, i)};
        keep_segment(p, j, here, (const char *)&score + i * score_bytes,
                     task_window(p, j, split, from + i), (void *)at(s, d, i), to - i);
    }
}

/* Everything counts. */
static void whole_block(const struct step *s, const void *x, const void *base, size_t from,
                        size_t n, void *d)
{
    float room[BLOCK];
    const struct operands o = task_operands(s, at(s, x, from), at(s, base, from), n, room);
    for (size_t i = 0; s->wide && i < n; i++)
        ((double *)d)[i] = ((const double *)o.x)[i] - ((const double *)o.base)[i];
    for (size_t i = 0; !s->wide && i < n; i++)
        ((float *)d)[i] = ((const float *)o.x)[i] - ((const float *)o.base)[i];
}

static void mix_block_f32(const struct task_vector *t, const float *base, float d[][BLOCK],
                          float *y, size_t n)
{
    float rounded[BLOCK];
    if (t->exact != DTYPE_COUNT) {
        memcpy(rounded, base, n * sizeof *base);
        round_values(t->exact, rounded, n);
        mix_f32(t, rounded, d, y, n);
        return;
    }
    const float *models[MAX_SOURCES];
    float weights[MAX_SOURCES];
    const uint32_t none[MAX_SOURCES] = {0};
    for (unsigned m = 0; m < t->nmodels; m++) {
        models[m] = d[m];
        weights[m] = (float)t->weight[m];
    }
    codec_kernels()->ties(y, zeros, models, weights, none, t->nmodels, t->consensus, t->normalize,
                          (float)t->lambda, n);
    const float *const terms[] = {base, y};
    const float ones[] = {1, 1};
    codec_kernels()->weighted_sum(y, terms, ones, 2, n);
}

static void apply_blocks(const struct piece *p, const void *const x[], size_t split[][2], void *y)
{
    const struct step *s = p->step;
    const struct task_vector *t = s->params;
    for (size_t from = 0, n; from < p->n; from += n) {
        union {
            float narrow[MAX_SOURCES][BLOCK];
            double wide[MAX_SOURCES][BLOCK];
        } d;
        n = p->n - from < BLOCK ? p->n - from : BLOCK;
        for (unsigned m = 0, j = 0; m < t->nmodels; m++) {
            void *to = s->wide ? (void *)d.wide[m] : (void *)d.narrow[m];
            if (j < t->ntrimmed && t->trimmed[j] == m) {
                keep_block(p, j, x[m + 1], x[0], split[j], from, n, to);
                j++;
            } else {
                whole_block(s, x[m + 1], x[0], from, n, to);
            }
        }
        if (s->wide)
            mix_f64(t, at(s, x[0], from), d.wide, (double *)y + from, n);
        else
            mix_block_f32(t, at(s, x[0], from), d.narrow, (float *)y + from, n);
    }
}

/* Elements [from, to), in which no cut changes, of a step that one kernel does. */
static void apply_segment(const struct piece *p, const void *const x[], size_t split[][2], void *y,
                          size_t from, size_t to)
{
    const struct task_vector *t = p->step->params;
    const float *models[MAX_SOURCES];
    float weights[MAX_SOURCES];
    uint32_t cuts[MAX_SOURCES] = {0};
    for (unsigned m = 0; m < t->nmodels; m++) {
        models[m] = (const float *)x[m + 1] + from;
        weights[m] = (float)t->weight[m];
    }
    for (unsigned j = 0; j < t->ntrimmed; j++)
        cuts[t->trimmed[j]] = (uint32_t)task_window(p, j, split[j], from).low;
    codec_kernels()->ties((float *)y + from, (const float *)x[0] + from, models, weights, cuts,
                          t->nmodels, t->consensus, t->normalize, (float)t->lambda, to - from);
}

static void apply_segments(const struct piece *p, const void *const x[], size_t split[][2], void *y)
{
    const struct task_vector *t = p->step->params;
    for (size_t from = 0, to; from < p->n; from = to) {
        to = p->n;
        for (unsigned j = 0; j < t->ntrimmed; j++)
            if (split[j][0] > from && split[j][0] < to)
                to = split[j][0];
        apply_segment(p, x, split, y, from, to);
    }
}

/* A NaN never agrees with a sign and may not be drawn, so it would vanish: show it in the result.
 * The first measuring pass looks for them, but there may be none. */
static void keep_nan(const struct step *s, const void *x, void *y, size_t n)
{
    const size_t i = s->wide ? n : codec_first_nonfinite_f32(x, n);
    if (i < n)
        ((float *)y)[i] = NAN;
    for (size_t k = 0; s->wide && k < n; k++)
        if (!isfinite(((const double *)x)[k]))
            ((double *)y)[k] = NAN;
}

static void apply(const struct piece *p, const void *const x[], void *y)
{
    const struct step *s = p->step;
    const struct task_vector *t = s->params;
    size_t split[MAX_SOURCES][2] = {{0}};
    for (unsigned j = 0; j < t->ntrimmed; j++)
        find_splits(p, j, x, split[j]);
    if (task_one_kernel(t) && !s->wide && t->exact == DTYPE_COUNT)
        apply_segments(p, x, split, y);
    else
        apply_blocks(p, x, split, y);
    for (unsigned m = 0; m < t->nmodels && s->npasses == 0; m++)
        keep_nan(s, x[m + 1], y, p->n);
}

static const struct op op_task_vector = {
    .state_bytes = task_state_bytes,
    .carry_bytes = sizeof(struct carry),
    .need = task_need,
    .measure = task_measure,
    .combine = task_combine,
    .next_pass = task_next_pass,
    .apply = apply,
    .measure_bf16 = task_measure_bf16,
    .apply_bf16 = task_apply_bf16,
};

static const struct op op_ranked_task_vector = {
    .state_bytes = task_state_bytes,
    .carry_bytes = sizeof(struct carry),
    .fetch_bytes = row_ranks_bytes,
    .fetch = row_ranks_fetch,
    .need = task_need,
    .measure = task_measure,
    .combine = task_combine,
    .next_pass = task_next_pass,
    .apply = apply,
};

/* ---- planning -------------------------------------------------------------------------------- */

/* Weights and lambda as the arithmetic sees them. */
static void round_scalars(struct task_vector *t, bool wide)
{
    float narrow = 0;
    double sum = 0;
    if (t->exact != DTYPE_COUNT)
        t->lambda = (double)round_value(t->exact, (float)t->lambda);
    for (unsigned m = 0; m < t->nmodels; m++) {
        if (t->exact != DTYPE_COUNT)
            t->weight[m] = (double)round_value(t->exact, (float)t->weight[m]);
        narrow += (float)t->weight[m];
        sum += t->weight[m];
    }
    t->total = wide ? sum : (double)round_value(t->exact, narrow);
    if (fabs(t->total) < 1e-8)
        t->total = 1;
}

enum quern_status task_vector_prepare(const struct merge_job *job, struct step *s,
                                      const struct sparsifier *how, bool consensus,
                                      struct quern_error *err)
{
    const struct merge_values *v = job->values;
    struct task_vector *t = ARENA_NEW(job->arena, struct task_vector, 1);
    struct op *op = ARENA_NEW(job->arena, struct op, 1);
    s->sources = sources_base_first(job);
    if (!t || !op || !s->sources)
        return fail_memory(err, sizeof *t + sizeof *op);
    *op = how->ranked ? op_ranked_task_vector : op_task_vector;
    op->name = job->method->name;
    t->sparsifier = how;
    t->consensus = consensus;
    t->normalize = v->global[TV_NORMALIZE] != 0;
    t->lambda = v->global[TV_LAMBDA];
    t->exact = job->exact == DTYPE_F32 ? DTYPE_COUNT : job->exact;
    t->seed = job->seed;
    t->name_hash = fnv1a_64(s->name);
    t->draw = draw_random;
    const bool sparse = how != &keep_all;
    for (unsigned m = 0; m < job->nmodels; m++) {
        if ((int)m == job->base)
            continue;
        const double *values = v->model[m];
        t->weight[t->nmodels] = values[TV_WEIGHT];
        t->density[t->nmodels] = sparse ? values[TV_DENSITY] : 1;
        t->spread[t->nmodels] = sparse ? values[TV_SPREAD] : 0;
        if (t->density[t->nmodels] < 1)
            t->trimmed[t->ntrimmed++] = (uint8_t)t->nmodels;
        t->nmodels++;
    }
    t->rescale = sparse && v->global[TV_RESCALE] != 0;
    round_scalars(t, s->wide);
    if (how->ranked && row_length(s) > UINT32_MAX)
        return in_tensor(err, s->name,
                         fail(err, QUERN_EUNSUPPORTED, "rows",
                              "rows of %" PRIu64 " elements" WANT "at most 4294967295 to rank",
                              row_length(s)));
    s->op = op;
    s->params = t;
    s->nsources = (uint8_t)job->nmodels;
    const unsigned sums = how->ncuts > 0 || t->rescale;
    s->npasses = (uint8_t)(t->ntrimmed ? task_counting_passes(s) + sums : 0);
    return QUERN_OK;
}
