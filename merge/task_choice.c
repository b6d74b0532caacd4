/* task_choice.c - choose elements of differences: by magnitude, counted in passes, or drawn. */
#include "merge/task_choice.h"

#include <math.h>
#include <string.h>

#include "merge/arith.h"
#include "quant/codec.h"

/* What a chunk tells of a trimmed model; doubles, so that fold_records() can add them. KEPT: of
 * what is above the low cut, or was drawn; TOP: above the high cut. */
enum { EQUALS_LOW, EQUALS_HIGH, SIZE_ALL, SIZE_KEPT, SIZE_TOP, NCOLUMNS };

static const float zeros[PIECE];

size_t task_state_bytes(const struct step *s)
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

unsigned task_counting_passes(const struct step *s)
{
    const struct task_vector *t = s->params;
    return t->sparsifier->ncuts > 0 ? guessing_passes(s) + cut_passes(s->wide) : 0;
}

bool task_is_window(const struct step *s, unsigned pass)
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
    return task_is_window(s, pass) ? CUT_WINDOW + 1 : is_sample(s, pass) ? CUT_SAMPLE : CUT_SLOTS;
}

/* All cuts of a model begin with the same bits: these are counted once. */
static bool counts_first_bits(const struct step *s, unsigned pass)
{
    return pass <= guessing_passes(s) && !task_is_window(s, pass);
}

/* Cut k still wants this pass. */
static bool wants_pass(const struct step *s, unsigned pass, const struct choice_cuts *c, unsigned k)
{
    return c->found[k] == CUT_NOTHING || (c->found[k] == CUT_LEADING && pass > guessing_passes(s));
}

/* ---- scores ---------------------------------------------------------------------------------- */

struct operands task_operands(const struct step *s, const void *x, const void *base, size_t n,
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

void task_scores(const struct piece *p, unsigned j, struct operands o, size_t from, size_t n,
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

struct window task_window(const struct piece *p, unsigned j, const size_t split[2], size_t i)
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

struct measure_need task_need(const struct step *s, unsigned pass)
{
    const struct task_vector *t = s->params;
    struct measure_need n = {0};
    const size_t ncuts = counts_first_bits(s, pass) ? 1 : t->sparsifier->ncuts;
    n.sample = is_sample(s, pass);
    if (pass < task_counting_passes(s))
        n.ncounts = t->ntrimmed * ncuts * table_size(s, pass);
    if (task_is_window(s, pass))
        n.record_bytes = t->ntrimmed * ncuts * CUT_GUESSES * sizeof(double);
    else if (pass + 1 >= task_counting_passes(s))
        n.record_bytes = t->ntrimmed * NCOLUMNS * sizeof(double);
    return n;
}

size_t task_counts_at(const struct step *s, unsigned pass, unsigned j, unsigned cut)
{
    const struct task_vector *t = s->params;
    const size_t size = table_size(s, pass);
    return (counts_first_bits(s, pass) ? j : j * t->sparsifier->ncuts + cut) * size;
}

size_t task_guesses_at(const struct task_vector *t, unsigned j, unsigned cut)
{
    return ((size_t)j * t->sparsifier->ncuts + cut) * CUT_GUESSES;
}

struct cut *task_cut(struct choice_cuts *c, unsigned cut)
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

void task_add_sums(double *record, unsigned j, const double sums[2])
{
    record[j * NCOLUMNS + SIZE_ALL] += sums[0];
    record[j * NCOLUMNS + SIZE_KEPT] += sums[1];
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
        const struct window w = task_window(p, j, nowhere, 0);
        size_sums(wide, o, score, w, p->n, sums);
        task_add_sums(record, j, sums);
        return;
    }
    const uint64_t top = wide ? UINT64_MAX : UINT32_MAX;
    size_sums(wide, o, score, (struct window){c->low.score + 1, top - c->low.score}, p->n, sums);
    task_add_sums(record, j, sums);
    if (t->sparsifier->ncuts == 1)
        return;
    size_sums(wide, o, score, (struct window){c->high.score + 1, top - c->high.score}, p->n, sums);
    record[j * NCOLUMNS + SIZE_TOP] += sums[1];
}

/* One cut (0: low, 1: high) of trimmed model j, which wants this pass. */
static void measure_cut(const struct piece *p, unsigned pass, unsigned j, unsigned k,
                        const union scores *score, uint64_t *counts, double *record)
{
    const struct step *s = p->step;
    struct choice_cuts *state = (struct choice_cuts *)p->state + j;
    const struct cut *c = task_cut(state, k);
    const bool counts_on = pass < task_counting_passes(s), wide = s->wide;
    uint64_t *own = counts_on ? counts + task_counts_at(s, pass, j, k) : NULL;
    if (task_is_window(s, pass)) {
        cut_count_window(&state->window[k], score->narrow, p->n, own,
                         record + task_guesses_at(s->params, j, k));
        return;
    }
    const bool counted = counts_first_bits(s, pass) && k > 0 && wants_pass(s, pass, state, 0);
    if (is_sample(s, pass) && !counted)
        cut_count_sample(score->narrow, p->n, own);
    else if (counts_on && !counted)
        cut_count(c, wide, pass - guessing_passes(s), score, p->n, own);
    if (pass + 1 >= task_counting_passes(s))
        record[j * NCOLUMNS + EQUALS_LOW + k] +=
            (double)cut_count_score(wide, score, p->n, counts_on ? cut_guess(c) : c->score);
}

void task_measure(const struct piece *p, unsigned pass, const void *const x[], uint64_t *counts,
                  void *record)
{
    const struct task_vector *t = p->step->params;
    for (unsigned j = 0; j < t->ntrimmed; j++) {
        union scores score;
        float room[PIECE];
        const struct operands o = task_operands(p->step, x[t->trimmed[j] + 1], x[0], p->n, room);
        task_scores(p, j, o, 0, p->n, &score);
        for (unsigned k = 0; k < t->sparsifier->ncuts; k++)
            if (wants_pass(p->step, pass, (const struct choice_cuts *)p->state + j, k))
                measure_cut(p, pass, j, k, &score, counts, record);
        if (pass == task_counting_passes(p->step) && t->rescale)
            record_sizes(p, j, o, &score, record);
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
    struct cut *c = task_cut(state, k);
    const uint64_t guess = cut_guess(c);
    if (is_sample(s, pass)) {
        cut_guess_window(c, s->nelems, counts + task_counts_at(s, pass, j, k), &state->window[k]);
        return CUT_NOTHING;
    }
    if (task_is_window(s, pass))
        return cut_take_window(c, &state->window[k], counts + task_counts_at(s, pass, j, k),
                               records + task_guesses_at(t, j, k), nrecords,
                               task_guesses_at(t, t->ntrimmed, 0));
    if (pass < task_counting_passes(s))
        cut_narrow(c, counts + task_counts_at(s, pass, j, k));
    if (pass + 1 < task_counting_passes(s))
        return s->wide ? CUT_NOTHING : CUT_LEADING;
    if (pass < task_counting_passes(s) && c->score != guess && c->rank < c->equals)
        return CUT_LEADING;
    cut_place(c, records + (size_t)j * NCOLUMNS + EQUALS_LOW + k, nrecords,
              (size_t)t->ntrimmed * NCOLUMNS);
    return CUT_ALL;
}

enum quern_status task_combine(const struct step *s, unsigned pass, void *state,
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
        if (pass == task_counting_passes(s) && t->rescale)
            c->scale = kept_scale(s, c, records, nrecords, j);
    }
    return QUERN_OK;
}

/* When all cuts are placed, only sums are left to make. */
unsigned task_next_pass(const struct step *s, unsigned pass, const void *state)
{
    const struct task_vector *t = s->params;
    const struct choice_cuts *c = state;
    const unsigned sums = task_counting_passes(s);
    enum cut_found least = CUT_ALL;
    for (unsigned j = 0; j < t->ntrimmed; j++)
        for (unsigned k = 0; k < t->sparsifier->ncuts; k++)
            least = c[j].found[k] < least ? c[j].found[k] : least;
    if (pass >= sums)
        return pass + 1;
    if (least == CUT_ALL)
        return t->rescale ? sums : s->npasses;
    return task_is_window(s, pass) && least == CUT_LEADING ? pass + 2 : pass + 1;
}
