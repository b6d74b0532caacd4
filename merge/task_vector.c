/* task_vector.c - differences from a base: choose elements, let signs be elected, add. */
#include "merge/task_vector.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/philox.h"
#include "merge/arith.h"
#include "merge/cuts.h"
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

/* The step's state, for each trimmed model: elements above low but not above high are kept. */
struct choice_cuts {
    struct cut low, high;
    struct cut_window window[2];
    enum cut_found found[2]; /* of each cut; all: placed among equals, too */
    double scale;            /* of what is kept */
};

/* The equals of each cut that were met in this chunk: low, high. */
struct carry {
    uint64_t met[MAX_SOURCES][2];
};

/* What a chunk tells of a trimmed model; doubles, so that fold_records() can add them. KEPT: of
 * what is above the low cut, or was drawn; TOP: above the high cut. */
enum { EQUALS_LOW, EQUALS_HIGH, SIZE_ALL, SIZE_KEPT, SIZE_TOP, NCOLUMNS };

static const float zeros[PIECE];

static size_t state_bytes(const struct step *s)
{
    const struct task_vector *t = s->params;
    return t->ntrimmed * sizeof(struct choice_cuts);
}

/* Passes before those that count bits: for narrow cuts, a sample and a count around what it tells.
 * They can find all, and then those that count bits are skipped. */
enum { SAMPLE, WINDOW, GUESSING };

static unsigned guessing_passes(const struct step *s)
{
    const struct task_vector *t = s->params;
    return t->sparsifier->ncuts > 0 && !s->wide ? GUESSING : 0;
}

/* Those that find cuts. */
static unsigned counting_passes(const struct step *s)
{
    const struct task_vector *t = s->params;
    return t->sparsifier->ncuts > 0 ? guessing_passes(s) + cut_passes(s->wide) : 0;
}

static bool is_window(const struct step *s, unsigned pass)
{
    return guessing_passes(s) && pass == WINDOW;
}

static bool is_sample(const struct step *s, unsigned pass)
{
    return guessing_passes(s) && pass == SAMPLE;
}

/* Counts of one cut in a pass. */
static size_t table_size(const struct step *s, unsigned pass)
{
    return is_window(s, pass) ? CUT_WINDOW + 1 : is_sample(s, pass) ? CUT_SAMPLE : CUT_SLOTS;
}

/* All cuts of a model begin with the same bits: these are counted once. */
static bool counts_first_bits(const struct step *s, unsigned pass)
{
    return pass <= guessing_passes(s) && !is_window(s, pass);
}

/* Cut k still wants this pass. */
static bool wants_pass(const struct step *s, unsigned pass, const struct choice_cuts *c, unsigned k)
{
    return c->found[k] == CUT_NOTHING || (c->found[k] == CUT_LEADING && pass > guessing_passes(s));
}

/* ---- scores ---------------------------------------------------------------------------------- */

/* What is subtracted. With exact rounding the difference is made first, and 0 subtracted. */
struct operands {
    const void *x, *base;
};

static struct operands operands_of(const struct step *s, const void *x, const void *base, size_t n,
                                   float room[])
{
    const struct task_vector *t = s->params;
    if (s->wide || t->exact == DTYPE_COUNT) /* a wide step is never exact */
        return (struct operands){x, base};
    for (size_t i = 0; i < n; i++) {
        const float a = round_value(t->exact, ((const float *)x)[i]);
        const float b = round_value(t->exact, ((const float *)base)[i]);
        room[i] = round_value(t->exact, a - b);
    }
    return (struct operands){room, zeros};
}

static void magnitudes_f64(uint64_t *score, const double *x, const double *base, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const double delta = fabs(x[i] - base[i]);
        memcpy(&score[i], &delta, sizeof delta);
    }
}

union scores {
    uint32_t narrow[PIECE];
    uint64_t wide[PIECE];
};

/* Of n elements of trimmed model j, `from` elements into the piece; u32, or u64 when wide. They are
 * kept where they lie in a window, see window_at(). */
static void scores(const struct piece *p, unsigned j, struct operands o, size_t from, size_t n,
                   void *score)
{
    const struct task_vector *t = p->step->params;
    const bool wide = p->step->wide;
    if (t->sparsifier->ncuts > 0 && wide) {
        magnitudes_f64(score, o.x, o.base, n);
        return;
    }
    if (t->sparsifier->ncuts > 0) {
        codec_kernels()->delta_magnitude(score, o.x, o.base, n);
        return;
    }
    uint32_t drawn[PIECE], *bits = wide ? drawn : score;
    t->draw(t, t->trimmed[j], p->first + from, n, bits);
    if (t->sparsifier->ranked) {
        const uint32_t *limits = row_limits(p, j) + from;
        for (size_t i = 0; i < n; i++)
            bits[i] = bits[i] < limits[i] ? 0 : UINT32_MAX;
    }
    for (size_t i = 0; wide && i < n; i++)
        ((uint64_t *)score)[i] = bits[i];
}

/* Kept is what has score - low < span. */
struct window {
    uint64_t low, span;
};

/* At element i of a piece, with the splits of this model's cuts. */
static struct window window_at(const struct piece *p, unsigned j, const size_t split[2], size_t i)
{
    const struct task_vector *t = p->step->params;
    const struct choice_cuts *c = (const struct choice_cuts *)p->state + j;
    if (t->sparsifier->ranked)
        return (struct window){0, 1};
    if (t->sparsifier->random)
        return (struct window){0, draw_limit(t->density[t->trimmed[j]])};
    const uint64_t low = cut_least(&c->low, split[0], i);
    const uint64_t high = t->sparsifier->ncuts == 2 ? cut_least(&c->high, split[1], i)
                          : p->step->wide           ? UINT64_MAX
                                                    : UINT32_MAX;
    return (struct window){low, high - low};
}

/* ---- measuring ------------------------------------------------------------------------------- */

static struct measure_need need(const struct step *s, unsigned pass)
{
    const struct task_vector *t = s->params;
    struct measure_need n = {0};
    const size_t ncuts = counts_first_bits(s, pass) ? 1 : t->sparsifier->ncuts;
    n.sample = is_sample(s, pass);
    if (pass < counting_passes(s))
        n.ncounts = t->ntrimmed * ncuts * table_size(s, pass);
    if (is_window(s, pass))
        n.record_bytes = t->ntrimmed * ncuts * CUT_GUESSES * sizeof(double);
    else if (pass + 1 >= counting_passes(s))
        n.record_bytes = t->ntrimmed * NCOLUMNS * sizeof(double);
    return n;
}

/* The counts of a cut (0: low, 1: high). */
static size_t counts_at(const struct step *s, unsigned pass, unsigned j, unsigned cut)
{
    const struct task_vector *t = s->params;
    const size_t size = table_size(s, pass);
    return (counts_first_bits(s, pass) ? j : j * t->sparsifier->ncuts + cut) * size;
}

static size_t guesses_at(const struct task_vector *t, unsigned j, unsigned cut)
{
    return ((size_t)j * t->sparsifier->ncuts + cut) * CUT_GUESSES;
}

static struct cut *cut_of(struct choice_cuts *c, unsigned cut)
{
    return cut == 0 ? &c->low : &c->high;
}

/* Sums of |x - base|: of all and of those in the window. */
static void size_sums(bool wide, struct operands o, const void *score, struct window w, size_t n,
                      double out[2])
{
    if (!wide) {
        codec_kernels()->kept_sums(o.x, o.base, score, (uint32_t)w.low, (uint32_t)w.span, n, out);
        return;
    }
    const double *x = o.x, *base = o.base;
    const uint64_t *s = score;
    out[0] = out[1] = 0;
    for (size_t i = 0; i < n; i++) {
        const double size = fabs(x[i] - base[i]);
        out[0] += size;
        out[1] += s[i] - w.low < w.span ? size : 0;
    }
}

static void record_sizes(const struct piece *p, unsigned j, struct operands o, const void *score,
                         double *record)
{
    const struct task_vector *t = p->step->params;
    const struct choice_cuts *c = (const struct choice_cuts *)p->state + j;
    const bool wide = p->step->wide;
    double sums[2];
    if (t->sparsifier->ncuts == 0) {
        const size_t nowhere[2] = {0};
        const struct window w = window_at(p, j, nowhere, 0);
        size_sums(wide, o, score, w, p->n, sums);
        record[SIZE_ALL] += sums[0];
        record[SIZE_KEPT] += sums[1];
        return;
    }
    const uint64_t top = wide ? UINT64_MAX : UINT32_MAX;
    size_sums(wide, o, score, (struct window){c->low.score + 1, top - c->low.score}, p->n, sums);
    record[SIZE_ALL] += sums[0];
    record[SIZE_KEPT] += sums[1];
    if (t->sparsifier->ncuts == 1)
        return;
    size_sums(wide, o, score, (struct window){c->high.score + 1, top - c->high.score}, p->n, sums);
    record[SIZE_TOP] += sums[1];
}

/* One cut (0: low, 1: high) of trimmed model j, which wants this pass. */
static void measure_cut(const struct piece *p, unsigned pass, unsigned j, unsigned k,
                        const union scores *score, uint64_t *counts, double *record)
{
    const struct step *s = p->step;
    struct choice_cuts *state = (struct choice_cuts *)p->state + j;
    const struct cut *c = cut_of(state, k);
    const bool counts_on = pass < counting_passes(s), wide = s->wide;
    uint64_t *own = counts_on ? counts + counts_at(s, pass, j, k) : NULL;
    if (is_window(s, pass)) {
        cut_count_window(&state->window[k], score->narrow, p->n, own,
                         record + guesses_at(s->params, j, k));
        return;
    }
    const bool counted = counts_first_bits(s, pass) && k > 0 && wants_pass(s, pass, state, 0);
    if (is_sample(s, pass) && !counted)
        cut_count_sample(score->narrow, p->n, own);
    else if (counts_on && !counted)
        cut_count(c, wide, pass - guessing_passes(s), score, p->n, own);
    if (pass + 1 >= counting_passes(s))
        record[j * NCOLUMNS + EQUALS_LOW + k] +=
            (double)cut_count_score(wide, score, p->n, counts_on ? cut_guess(c) : c->score);
}

static void measure(const struct piece *p, unsigned pass, const void *const x[], uint64_t *counts,
                    void *record)
{
    const struct task_vector *t = p->step->params;
    for (unsigned j = 0; j < t->ntrimmed; j++) {
        union scores score;
        float room[PIECE];
        const struct operands o = operands_of(p->step, x[t->trimmed[j] + 1], x[0], p->n, room);
        scores(p, j, o, 0, p->n, &score);
        for (unsigned k = 0; k < t->sparsifier->ncuts; k++)
            if (wants_pass(p->step, pass, (const struct choice_cuts *)p->state + j, k))
                measure_cut(p, pass, j, k, &score, counts, record);
        if (pass == counting_passes(p->step) && t->rescale)
            record_sizes(p, j, o, &score, (double *)record + j * NCOLUMNS);
    }
}

/* How many elements of a difference are above each cut. At least one is kept, as otherwise the
 * model would do nothing. */
static void set_ranks(const struct task_vector *t, unsigned model, uint64_t nelems,
                      struct choice_cuts *c)
{
    uint64_t kept = (uint64_t)(t->density[model] * (double)nelems), top = 0;
    kept = kept > 0 ? kept : 1;
    if (t->sparsifier->ncuts == 2)
        top = (uint64_t)(t->spread[model] * (double)nelems);
    /* When so many cannot be left out at the top, the density counts more. */
    top = top < nelems - kept ? top : nelems - kept;
    c->low.rank = top + kept;
    c->high.rank = top;
}

/* The f32 or f64 number of this magnitude. */
static double magnitude_value(bool wide, uint64_t bits)
{
    double d;
    float f;
    const uint32_t low = (uint32_t)bits;
    memcpy(&d, &bits, sizeof d);
    memcpy(&f, &low, sizeof f);
    return wide ? d : (double)f;
}

/* Sum of what is above a cut: of what has larger scores, and of the equals that count. */
static double size_above(const struct step *s, const struct cut *c, double larger)
{
    return c->rank == 0 ? larger : larger + (double)c->rank * magnitude_value(s->wide, c->score);
}

static double kept_scale(const struct step *s, const struct choice_cuts *c, const void *records,
                         uint64_t nrecords, unsigned j)
{
    const struct task_vector *t = s->params;
    const size_t stride = (size_t)t->ntrimmed * NCOLUMNS, first = (size_t)j * NCOLUMNS;
    double all = fold_records(records, nrecords, stride, first + SIZE_ALL);
    double kept = fold_records(records, nrecords, stride, first + SIZE_KEPT);
    if (t->sparsifier->ncuts > 0)
        kept = size_above(s, &c->low, kept);
    if (t->sparsifier->ncuts == 2)
        kept -= size_above(s, &c->high, fold_records(records, nrecords, stride, first + SIZE_TOP));
    if (t->exact != DTYPE_COUNT) {
        all = (double)round_value(t->exact, (float)all);
        kept = (double)round_value(t->exact, (float)kept);
    }
    if (all < 1e-7 || kept < 1e-7)
        return 1;
    return t->exact == DTYPE_COUNT ? all / kept
                                   : (double)round_value(t->exact, (float)all / (float)kept);
}

/* One more pass is known of cut k of trimmed model j, which wanted it. */
static enum cut_found advance_cut(const struct step *s, unsigned pass, unsigned j, unsigned k,
                                  struct choice_cuts *state, const uint64_t *counts,
                                  const double *records, uint64_t nrecords)
{
    const struct task_vector *t = s->params;
    struct cut *c = cut_of(state, k);
    const uint64_t guess = cut_guess(c);
    if (is_sample(s, pass)) {
        cut_guess_window(c, s->nelems, counts + counts_at(s, pass, j, k), &state->window[k]);
        return CUT_NOTHING;
    }
    if (is_window(s, pass))
        return cut_take_window(c, &state->window[k], counts + counts_at(s, pass, j, k),
                               records + guesses_at(t, j, k), nrecords,
                               guesses_at(t, t->ntrimmed, 0));
    if (pass < counting_passes(s))
        cut_narrow(c, counts + counts_at(s, pass, j, k));
    if (pass + 1 < counting_passes(s))
        return s->wide ? CUT_NOTHING : CUT_LEADING;
    if (pass < counting_passes(s) && c->score != guess && c->rank < c->equals)
        return CUT_LEADING;
    cut_place(c, records + (size_t)j * NCOLUMNS + EQUALS_LOW + k, nrecords,
              (size_t)t->ntrimmed * NCOLUMNS);
    return CUT_ALL;
}

static enum quern_status combine(const struct step *s, unsigned pass, void *state,
                                 const uint64_t *counts, void *records, uint64_t nrecords,
                                 struct quern_error *err)
{
    (void)err;
    const struct task_vector *t = s->params;
    for (unsigned j = 0; j < t->ntrimmed; j++) {
        struct choice_cuts *c = (struct choice_cuts *)state + j;
        c->scale = 1;
        if (pass == 0)
            set_ranks(t, t->trimmed[j], s->nelems, c);
        for (unsigned k = 0; k < t->sparsifier->ncuts; k++)
            if (wants_pass(s, pass, c, k))
                c->found[k] = advance_cut(s, pass, j, k, c, counts, records, nrecords);
        if (pass == counting_passes(s) && t->rescale)
            c->scale = kept_scale(s, c, records, nrecords, j);
    }
    return QUERN_OK;
}

/* When all cuts are placed, only sums are left to make. */
static unsigned next_pass(const struct step *s, unsigned pass, const void *state)
{
    const struct task_vector *t = s->params;
    const struct choice_cuts *c = state;
    const unsigned sums = counting_passes(s);
    enum cut_found least = CUT_ALL;
    for (unsigned j = 0; j < t->ntrimmed; j++)
        for (unsigned k = 0; k < t->sparsifier->ncuts; k++)
            least = c[j].found[k] < least ? c[j].found[k] : least;
    if (pass >= sums)
        return pass + 1;
    if (least == CUT_ALL)
        return t->rescale ? sums : s->npasses;
    return is_window(s, pass) && least == CUT_LEADING ? pass + 2 : pass + 1;
}

/* ---- applying -------------------------------------------------------------------------------- */

/* Where in this piece the cuts of trimmed model j change: low, high. */
static void find_splits(const struct piece *p, unsigned j, const void *const x[], size_t split[2])
{
    const struct task_vector *t = p->step->params;
    struct choice_cuts *state = p->state;
    struct carry *carry = p->carry;
    for (unsigned k = 0; k < t->sparsifier->ncuts; k++) {
        const struct cut *c = cut_of(&state[j], k);
        union scores score;
        float room[PIECE];
        if (p->chunk == c->split)
            scores(p, j, operands_of(p->step, x[t->trimmed[j] + 1], x[0], p->n, room), 0, p->n,
                   &score);
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
    const struct operands o = operands_of(s, at(s, x, from), at(s, base, from), n, room);
    scores(p, j, o, from, n, &score);
    const size_t score_bytes = s->wide ? sizeof(uint64_t) : sizeof(uint32_t);
    const unsigned ncuts = ((const struct task_vector *)s->params)->sparsifier->ncuts;
    for (size_t i = 0, to; i < n; i = to) {
        to = n;
        for (unsigned k = 0; k < ncuts; k++)
            if (split[k] > from + i && split[k] < from + to)
                to = split[k] - from;
        const struct operands here = {at(s, o.x, i), at(s, o.base, i)};
        keep_segment(p, j, here, (const char *)&score + i * score_bytes,
                     window_at(p, j, split, from + i), (void *)at(s, d, i), to - i);
    }
}

/* Everything counts. */
static void whole_block(const struct step *s, const void *x, const void *base, size_t from,
                        size_t n, void *d)
{
    float room[BLOCK];
    const struct operands o = operands_of(s, at(s, x, from), at(s, base, from), n, room);
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
        cuts[t->trimmed[j]] = (uint32_t)window_at(p, j, split[j], from).low;
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
    const bool one_kernel = t->ntrimmed == 0 || (t->sparsifier->ncuts == 1 && !t->rescale);
    if (one_kernel && !s->wide && t->exact == DTYPE_COUNT)
        apply_segments(p, x, split, y);
    else
        apply_blocks(p, x, split, y);
    for (unsigned m = 0; m < t->nmodels && s->npasses == 0; m++)
        keep_nan(s, x[m + 1], y, p->n);
}

static const struct op op_task_vector = {
    .state_bytes = state_bytes,
    .carry_bytes = sizeof(struct carry),
    .need = need,
    .measure = measure,
    .combine = combine,
    .next_pass = next_pass,
    .apply = apply,
};

static const struct op op_ranked_task_vector = {
    .state_bytes = state_bytes,
    .carry_bytes = sizeof(struct carry),
    .fetch_bytes = row_ranks_bytes,
    .fetch = row_ranks_fetch,
    .need = need,
    .measure = measure,
    .combine = combine,
    .next_pass = next_pass,
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
    s->npasses = (uint8_t)(t->ntrimmed ? counting_passes(s) + sums : 0);
    return QUERN_OK;
}
