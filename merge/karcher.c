/* karcher.c - the Karcher mean: the point of a sphere nearest to all models' directions.
 *
 * The mean is a weighted sum of the directions at every step of the iteration, so the iteration
 * runs on the weights: all lengths and angles follow from the directions' dot products. */
#include <math.h>
#include <string.h>

#include "core/smath.h"
#include "merge/gram.h"

enum { MAX_ITER, TOL, NPARAMS };

static const struct method_param karcher_params[NPARAMS] = {
    [MAX_ITER] = {.name = "max_iter", .fallback = 10,   .about = "steps at most"                      },
    [TOL] = {.name = "tol",      .fallback = 1e-5, .about = "a step as short as this is the last"},
};

#define MOST_ITER 100000

/* A direction whose cosine to the mean is this near to -1 pulls everywhere and so nowhere. */
#define OPPOSITE 1e-12

/* The models that have a direction, by number, and those directions' dot products. */
struct directions {
    unsigned count;
    unsigned model[MAX_SOURCES];
    double dots[MAX_SOURCES][MAX_SOURCES];
};

static enum quern_status karcher_check(const struct merge_values *v, unsigned nmodels, int base,
                                       struct quern_error *err)
{
    (void)nmodels;
    (void)base;
    const double n = v->global[MAX_ITER];
    if (!(n >= 0 && n <= MOST_ITER) || n != (double)(unsigned)n)
        return fail(err, QUERN_EUSAGE, "range",
                    "max_iter = %g" WANT "expected 0 ... %d, a whole number", n, MOST_ITER);
    if (!(v->global[TOL] >= 0))
        return fail(err, QUERN_EUSAGE, "range", "tol = %g" WANT "expected at least 0",
                    v->global[TOL]);
    return QUERN_OK;
}

static void find_directions(const double *dots, unsigned nmodels, double tol, struct directions *d)
{
    d->count = 0;
    for (unsigned m = 0; m < nmodels; m++)
        if (sqrt(gram_at(dots, m, m)) > tol)
            d->model[d->count++] = m;
    for (unsigned i = 0; i < d->count; i++)
        for (unsigned k = 0; k < d->count; k++) {
            const unsigned a = d->model[i], b = d->model[k];
            d->dots[i][k] =
                gram_at(dots, a, b) / (sqrt(gram_at(dots, a, a)) * sqrt(gram_at(dots, b, b)));
        }
}

/* The sum of the directions with weights a, times direction i. */
static double along(const struct directions *d, const double a[], unsigned i)
{
    double sum = 0;
    for (unsigned k = 0; k < d->count; k++)
        sum += a[k] * d->dots[k][i];
    return sum;
}

/* The length of that sum. */
static double length(const struct directions *d, const double a[])
{
    double square = 0;
    for (unsigned i = 0; i < d->count; i++)
        square += a[i] * along(d, a, i);
    return square > 0 ? sqrt(square) : 0;
}

static void scale(const struct directions *d, double a[], double by)
{
    for (unsigned i = 0; i < d->count; i++)
        a[i] *= by;
}

static void first_guess(const struct directions *d, double tol, double u[])
{
    for (unsigned i = 0; i < d->count; i++)
        u[i] = 1.0 / d->count;
    const double size = length(d, u);
    if (size >= tol && size > 0) {
        scale(d, u, 1 / size);
        return;
    }
    memset(u, 0, d->count * sizeof *u);
    u[0] = 1;
}

/* The mean of the tangents at u towards all directions, each as long as its angle. */
static void mean_tangent(const struct directions *d, double tol, const double u[], double t[])
{
    memset(t, 0, d->count * sizeof *t);
    for (unsigned i = 0; i < d->count; i++) {
        const double exact = along(d, u, i);
        const double cosine = exact > 1 ? 1 : exact < -1 ? -1 : exact;
        const double angle = strict_acos(cosine);
        const double sine = strict_sin(angle);
        if (angle < tol || sine == 0 || 1 + cosine < OPPOSITE)
            continue;
        const double pull = angle / sine / d->count;
        t[i] += pull;
        for (unsigned k = 0; k < d->count; k++)
            t[k] -= pull * cosine * u[k];
    }
}

/* Goes along the tangent; false when the way is so short that u is the mean. */
static bool move(const struct directions *d, double tol, double u[])
{
    double t[MAX_SOURCES];
    mean_tangent(d, tol, u, t);
    const double way = length(d, t);
    if (way < tol || way == 0)
        return false;
    const double cosine = strict_cos(way), sine = strict_sin(way);
    for (unsigned i = 0; i < d->count; i++)
        u[i] = cosine * u[i] + sine * t[i] / way;
    const double size = length(d, u);
    if (size > tol && size > 0)
        scale(d, u, 1 / size);
    return true;
}

static enum quern_status karcher_solve(const struct blend *b, const double *dots, double weights[],
                                       struct quern_error *err)
{
    struct directions d;
    double u[MAX_SOURCES], mean_length = 0;
    (void)err;
    memset(weights, 0, b->count * sizeof *weights);
    find_directions(dots, b->count, b->params[TOL], &d);
    if (d.count == 0)
        return QUERN_OK;
    first_guess(&d, b->params[TOL], u);
    for (unsigned n = (unsigned)b->params[MAX_ITER]; n > 0 && move(&d, b->params[TOL], u); n--)
        continue;
    for (unsigned m = 0; m < b->count; m++)
        mean_length += sqrt(gram_at(dots, m, m)) / b->count;
    for (unsigned i = 0; i < d.count; i++) {
        const unsigned m = d.model[i];
        weights[m] = u[i] * mean_length / sqrt(gram_at(dots, m, m));
    }
    return QUERN_OK;
}

static const struct op op_karcher = BLEND_OP("karcher");

static enum quern_status karcher_prepare(const struct merge_job *job, struct step *s,
                                         struct quern_error *err)
{
    struct blend b = {.solve = karcher_solve};
    for (unsigned i = 0; i < NPARAMS; i++)
        b.params[i] = job->values->global[i];
    return job->nmodels == 1 ? blend_single(job, s, err)
                             : blend_prepare(job, s, &b, &op_karcher, err);
}

const struct method method_karcher = {
    .name = "karcher",
    .title = "Karcher Mean",
    .paper = "https://en.wikipedia.org/wiki/Karcher_mean",
    .base = BASE_INPUT,
    .min_models = 1,
    .max_models = MAX_SOURCES,
    .params = karcher_params,
    .nparams = NPARAMS,
    .check = karcher_check,
    .prepare = karcher_prepare,
};
