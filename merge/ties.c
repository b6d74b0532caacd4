/* ties.c - TIES: trim the differences from a base, elect a sign, average what agrees.
 *
 * Trimming keeps exactly the k largest magnitudes of a model's differences, found by radix
 * counting: each pass counts 16 more bits of the magnitude's bit pattern, which orders like the
 * number. The last pass finds where, in a run of equal magnitudes, the cut falls: the lowest index
 * wins. Nothing is sorted and nothing is kept per element. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "merge/method.h"
#include "quant/codec.h"

enum { WEIGHT, DENSITY, NORMALIZE, LAMBDA, RESCALE, NPARAMS };

static const struct method_param ties_params[NPARAMS] = {
    [WEIGHT] = {.name = "weight",
                .per_model = true,
                .required = true,
                .about = "factor of a model's difference from the base"},
    [DENSITY] = {.name = "density",
                .per_model = true,
                .fallback = 1,
                .about = "share of a difference to keep, largest first; 1 keeps all"},
    [NORMALIZE] = {.name = "normalize",
                .fallback = 1,
                .flag = true,
                .about = "divide by the weights that took part"},
    [LAMBDA] = {.name = "lambda",                                                         .fallback = 1,                                                                    .about = "factor of the merged difference"                                                                                                                                      },
    [RESCALE] = {.name = "rescale",
                .flag = true,
                .about = "stretch what was kept to the L1 norm of the whole difference"},
};

#define SLOTS 65536u /* of a histogram: 16 bits */

struct ties {
    unsigned nmodels; /* without the base */
    unsigned ntrimmed;
    bool normalize, rescale;
    double lambda;
    double weight[MAX_SOURCES];
    double density[MAX_SOURCES];
    uint8_t trimmed[MAX_SOURCES]; /* indexes of the models that are trimmed */
};

/* The cut of one trimmed model. */
struct cut {
    uint64_t magnitude; /* its leading bits while they are being found */
    uint64_t rank;      /* how many elements of this magnitude (or these bits) are kept ... */
    uint64_t equals;    /* ... out of how many */
    uint64_t split;     /* chunks below keep all equals, chunks above none, this one ... */
    uint64_t quota;     /* ... its first few */
    double scale;
};

/* What a chunk tells of one trimmed model; doubles, so that fold_records() can add them. */
enum { EQUALS, ABS_ALL, ABS_ABOVE, RECORD_COLUMNS };

#define REAL         float
#define BITS         uint32_t
#define MAGNITUDE    magnitude_f32
#define TIES_SEGMENT ties_segment_f32
#include "merge/ties_loop.h"

#define REAL         double
#define BITS         uint64_t
#define MAGNITUDE    magnitude_f64
#define TIES_SEGMENT ties_segment_f64
#include "merge/ties_loop.h"

static enum quern_status ties_check(const struct merge_values *v, unsigned nmodels, int base,
                                    struct quern_error *err)
{
    for (unsigned m = 0; m < nmodels; m++)
        if ((int)m != base && v->model[m][DENSITY] <= 0)
            return fail(err, QUERN_EUSAGE, "range",
                        "density = %g" WANT "expected a number above 0, at most 1",
                        v->model[m][DENSITY]);
    return QUERN_OK;
}

/* ---- finding the cuts ------------------------------------------------------------------------ */

static unsigned radix_passes(const struct step *s)
{
    return s->wide ? 4 : 2;
}

/* Bits below the 16 that a pass counts. */
static unsigned pass_shift(const struct step *s, unsigned pass)
{
    return 16 * (radix_passes(s) - 1 - pass);
}

static size_t ties_state_bytes(const struct step *s)
{
    const struct ties *t = s->params;
    return t->ntrimmed * sizeof(struct cut);
}

static struct measure_need ties_need(const struct step *s, unsigned pass)
{
    const struct ties *t = s->params;
    if (pass < radix_passes(s))
        return (struct measure_need){.ncounts = (size_t)t->ntrimmed * SLOTS};
    return (struct measure_need){.record_bytes = t->ntrimmed * RECORD_COLUMNS * sizeof(double)};
}

static void count_f32(const struct piece *p, unsigned pass, const float *x, const float *base,
                      const struct cut *c, uint64_t *histogram)
{
    uint32_t magnitude[PIECE];
    const unsigned shift = pass_shift(p->step, pass);
    codec_kernels()->delta_magnitude(magnitude, x, base, p->n);
    codec_kernels()->radix_count(magnitude, p->n, shift + 16, (uint32_t)c->magnitude, shift,
                                 SLOTS - 1, histogram);
}

static void count_f64(const struct piece *p, unsigned pass, const double *x, const double *base,
                      const struct cut *c, uint64_t *histogram)
{
    const unsigned shift = pass_shift(p->step, pass);
    for (size_t i = 0; i < p->n; i++) {
        const uint64_t bits = magnitude_f64(x[i], base[i]) >> shift;
        if (pass == 0 || bits >> 16 == c->magnitude)
            histogram[bits & (SLOTS - 1)]++;
    }
}

static uint64_t magnitude_at(bool wide, const void *x, const void *base, size_t i)
{
    return wide ? magnitude_f64(((const double *)x)[i], ((const double *)base)[i])
                : magnitude_f32(((const float *)x)[i], ((const float *)base)[i]);
}

static size_t count_equals(const struct piece *p, const void *x, const void *base, uint64_t cut)
{
    if (!p->step->wide) {
        uint32_t magnitude[PIECE];
        codec_kernels()->delta_magnitude(magnitude, x, base, p->n);
        return codec_kernels()->count_equal(magnitude, p->n, (uint32_t)cut);
    }
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        n += magnitude_at(true, x, base, i) == cut;
    return n;
}

/* The f32 or f64 number with this magnitude. */
static double magnitude_value(bool wide, uint64_t bits)
{
    double d;
    float f;
    const uint32_t low = (uint32_t)bits;
    memcpy(&d, &bits, sizeof d);
    memcpy(&f, &low, sizeof f);
    return wide ? d : (double)f;
}

static void add_norms(const struct piece *p, const void *x, const void *base, uint64_t cut,
                      double *record)
{
    const bool wide = p->step->wide;
    for (size_t i = 0; i < p->n; i++) {
        const uint64_t bits = magnitude_at(wide, x, base, i);
        const double size = magnitude_value(wide, bits);
        record[ABS_ALL] += size;
        record[ABS_ABOVE] += bits > cut ? size : 0;
    }
}

static void ties_measure(const struct piece *p, unsigned pass, const void *const x[],
                         uint64_t *counts, void *record)
{
    const struct ties *t = p->step->params;
    const struct cut *cuts = p->state;
    for (unsigned j = 0; j < t->ntrimmed; j++) {
        const void *model = x[t->trimmed[j] + 1];
        if (pass == radix_passes(p->step)) {
            double *columns = (double *)record + j * RECORD_COLUMNS;
            columns[EQUALS] += (double)count_equals(p, model, x[0], cuts[j].magnitude);
            if (t->rescale)
                add_norms(p, model, x[0], cuts[j].magnitude, columns);
        } else if (p->step->wide) {
            count_f64(p, pass, model, x[0], &cuts[j], counts + j * SLOTS);
        } else {
            count_f32(p, pass, model, x[0], &cuts[j], counts + j * SLOTS);
        }
    }
}

/* How many differences density keeps: at least one, as otherwise the model would do nothing. */
static uint64_t kept_count(double density, uint64_t nelems)
{
    const uint64_t k = (uint64_t)(density * (double)nelems);
    return k > 0 ? k : 1;
}

/* Takes 16 more bits: those of the slot where, counted from the top, the rank-th element lies. */
static void narrow_cut(struct cut *c, const uint64_t *histogram)
{
    unsigned slot = SLOTS - 1;
    while (slot > 0 && histogram[slot] < c->rank) {
        c->rank -= histogram[slot];
        slot--;
    }
    c->magnitude = c->magnitude << 16 | slot;
    c->equals = histogram[slot];
}

/* Finds the chunk in which the quota of equal magnitudes is used up. */
static void place_split(struct cut *c, const double *record, uint64_t nrecords, size_t stride)
{
    c->split = UINT64_MAX;
    /* Differences of 0 do nothing, kept or not. */
    if (c->rank >= c->equals || c->magnitude == 0)
        return;
    uint64_t before = 0;
    for (uint64_t i = 0; i < nrecords; i++) {
        const uint64_t here = (uint64_t)record[i * stride];
        if (before + here > c->rank) {
            c->split = i;
            c->quota = c->rank - before;
            return;
        }
        before += here;
    }
}

static double kept_scale(const struct cut *c, double all, double above, double equal_value)
{
    const double kept = above + (double)c->rank * equal_value;
    return all < 1e-7 || kept < 1e-7 ? 1 : all / kept;
}

static enum quern_status ties_combine(const struct step *s, unsigned pass, void *state,
                                      const uint64_t *counts, void *records, uint64_t nrecords,
                                      struct quern_error *err)
{
    (void)err;
    const struct ties *t = s->params;
    const size_t stride = (size_t)t->ntrimmed * RECORD_COLUMNS;
    struct cut *cuts = state;
    for (unsigned j = 0; j < t->ntrimmed; j++) {
        struct cut *c = &cuts[j];
        if (pass == 0)
            c->rank = kept_count(t->density[t->trimmed[j]], s->nelems);
        if (pass < radix_passes(s)) {
            narrow_cut(c, counts + j * SLOTS);
            continue;
        }
        const size_t first = j * RECORD_COLUMNS;
        place_split(c, (const double *)records + first + EQUALS, nrecords, stride);
        c->scale = 1;
        if (t->rescale)
            c->scale = kept_scale(c, fold_records(records, nrecords, stride, first + ABS_ALL),
                                  fold_records(records, nrecords, stride, first + ABS_ABOVE),
                                  magnitude_value(s->wide, c->magnitude));
    }
    return QUERN_OK;
}

/* ---- applying them --------------------------------------------------------------------------- */

/* The equals that each model has met in this chunk. */
struct carry {
    uint64_t met[MAX_SOURCES];
};

/* First element of the piece whose equals are no longer kept: 0 ... n. */
static size_t split_in_piece(const struct piece *p, const struct cut *c, const void *x,
                             const void *base, uint64_t *met)
{
    if (p->chunk != c->split)
        return p->chunk < c->split ? p->n : 0;
    const uint64_t left = c->quota > *met ? c->quota - *met : 0;
    const size_t here = count_equals(p, x, base, c->magnitude);
    *met += here;
    if (here <= left)
        return p->n;
    uint64_t seen = 0;
    for (size_t i = 0; i < p->n; i++)
        if (magnitude_at(p->step->wide, x, base, i) == c->magnitude && seen++ == left)
            return i;
    return p->n;
}

/* Elements [from, to), in which no model's cut changes. */
static void apply_segment(const struct step *s, const void *const x[], void *y,
                          const uint64_t cut[], const double scale[], size_t from, size_t to)
{
    const struct ties *t = s->params;
    if (s->wide) {
        ties_segment_f64(t, x, y, cut, scale, from, to);
        return;
    }
    if (t->rescale) {
        ties_segment_f32(t, x, y, cut, scale, from, to);
        return;
    }
    const float *models[MAX_SOURCES];
    float weights[MAX_SOURCES];
    uint32_t cuts[MAX_SOURCES];
    for (unsigned m = 0; m < t->nmodels; m++) {
        models[m] = (const float *)x[m + 1] + from;
        weights[m] = (float)t->weight[m];
        cuts[m] = (uint32_t)cut[m];
    }
    codec_kernels()->ties((float *)y + from, (const float *)x[0] + from, models, weights, cuts,
                          t->nmodels, true, t->normalize, (float)t->lambda, to - from);
}

/* A NaN never agrees with a sign, so it would vanish: show it in the result. The first measuring
 * pass looks for them, but without trimming there is none. */
static void keep_nan(const struct step *s, const void *x, void *y, size_t n)
{
    const size_t i = s->wide ? n : codec_kernels()->first_nonfinite(x, n);
    if (i < n)
        ((float *)y)[i] = NAN;
    for (size_t k = 0; s->wide && k < n; k++)
        if (!isfinite(((const double *)x)[k]))
            ((double *)y)[k] = NAN;
}

static void ties_apply(const struct piece *p, const void *const x[], void *y)
{
    const struct ties *t = p->step->params;
    const struct cut *cuts = p->state;
    struct carry *carry = p->carry;
    uint64_t cut[MAX_SOURCES] = {0};
    double scale[MAX_SOURCES];
    size_t split[MAX_SOURCES] = {0}; /* of each trimmed model */
    for (unsigned m = 0; m < t->nmodels; m++)
        scale[m] = 1;
    for (unsigned j = 0; j < t->ntrimmed; j++) {
        scale[t->trimmed[j]] = cuts[j].scale;
        split[j] = split_in_piece(p, &cuts[j], x[t->trimmed[j] + 1], x[0], &carry->met[j]);
    }
    for (size_t from = 0; from < p->n;) {
        size_t to = p->n;
        for (unsigned j = 0; j < t->ntrimmed; j++) {
            cut[t->trimmed[j]] = cuts[j].magnitude + (from >= split[j]);
            if (split[j] > from && split[j] < to)
                to = split[j];
        }
        apply_segment(p->step, x, y, cut, scale, from, to);
        from = to;
    }
    for (unsigned m = 0; m < t->nmodels && t->ntrimmed == 0; m++)
        keep_nan(p->step, x[m + 1], y, p->n);
}

static const struct op op_ties = {
    .name = "ties",
    .state_bytes = ties_state_bytes,
    .carry_bytes = sizeof(struct carry),
    .need = ties_need,
    .measure = ties_measure,
    .combine = ties_combine,
    .apply = ties_apply,
};

static enum quern_status ties_prepare(const struct merge_job *job, struct step *s,
                                      struct quern_error *err)
{
    const struct merge_values *v = job->values;
    struct ties *t = ARENA_NEW(job->arena, struct ties, 1);
    s->sources = sources_base_first(job);
    if (!t || !s->sources)
        return fail_memory(err, sizeof *t);
    t->normalize = v->global[NORMALIZE] != 0;
    t->rescale = v->global[RESCALE] != 0;
    t->lambda = v->global[LAMBDA];
    for (unsigned m = 0; m < job->nmodels; m++) {
        if ((int)m == job->base)
            continue;
        t->weight[t->nmodels] = v->model[m][WEIGHT];
        t->density[t->nmodels] = v->model[m][DENSITY];
        if (v->model[m][DENSITY] < 1)
            t->trimmed[t->ntrimmed++] = (uint8_t)t->nmodels;
        t->nmodels++;
    }
    s->op = &op_ties;
    s->params = t;
    s->nsources = (uint8_t)job->nmodels;
    s->npasses = (uint8_t)(t->ntrimmed ? radix_passes(s) + 1 : 0);
    return QUERN_OK;
}

const struct method method_ties = {
    .name = "ties",
    .title = "TIES",
    .paper = "https://arxiv.org/abs/2306.01708",
    .base = BASE_ORIGIN,
    .crop = CROP_TO_BASE,
    .min_models = 2,
    .max_models = MAX_SOURCES,
    .params = ties_params,
    .nparams = NPARAMS,
    .check = ties_check,
    .prepare = ties_prepare,
};
