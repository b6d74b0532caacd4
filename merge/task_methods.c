/* task_methods.c - the members of the task vector family: their names, parameters and rules. */
#include "merge/task_vector.h"

#define WEIGHT_PARAM                  \
    [TV_WEIGHT] = {.name = "weight",  \
                   .per_model = true, \
                   .required = true,  \
                   .about = "factor of a model's difference from the base"}
#define NORMALIZE_PARAM(value)             \
    [TV_NORMALIZE] = {.name = "normalize", \
                      .fallback = (value), \
                      .flag = true,        \
                      .about = "divide by the weights that took part"}
#define LAMBDA_PARAM \
    [TV_LAMBDA] = {.name = "lambda", .fallback = 1, .about = "factor of the merged difference"}
#define DENSITY_PARAM                  \
    [TV_DENSITY] = {.name = "density", \
                    .per_model = true, \
                    .fallback = 1,     \
                    .about = "share of a difference to keep; 1 keeps all"}
#define RESCALE_PARAM(value)             \
    [TV_RESCALE] = {.name = "rescale",   \
                    .fallback = (value), \
                    .flag = true,        \
                    .about = "stretch what was kept to the L1 norm of the whole difference"}
#define SPARSE_PARAMS(normalize, rescale) \
    WEIGHT_PARAM, NORMALIZE_PARAM(normalize), LAMBDA_PARAM, DENSITY_PARAM, RESCALE_PARAM(rescale)
#define GAMMA_PARAM                   \
    [TV_SPREAD] = {.name = "gamma",   \
                   .per_model = true, \
                   .fallback = 0.01,  \
                   .about = "share of a difference to drop, largest first"}
#define EPSILON_PARAM                                                                              \
    [TV_SPREAD] = {.name = "epsilon",                                                              \
                   .per_model = true,                                                              \
                   .fallback = 0.15,                                                               \
                   .about = "how far chances lie below and above density, from the smallest of a " \
                            "row to the largest"}

static const struct method_param plain_params[] = {WEIGHT_PARAM, NORMALIZE_PARAM(0), LAMBDA_PARAM};
static const struct method_param ties_params[] = {SPARSE_PARAMS(1, 0)};
static const struct method_param dare_params[] = {SPARSE_PARAMS(0, 1)};
static const struct method_param della_params[] = {SPARSE_PARAMS(1, 1), EPSILON_PARAM};
static const struct method_param della_linear_params[] = {SPARSE_PARAMS(0, 1), EPSILON_PARAM};
static const struct method_param breadcrumbs_params[] = {SPARSE_PARAMS(0, 0), GAMMA_PARAM};
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* ---- rules ----------------------------------------------------------------------------------- */

static enum quern_status check_plain(const struct merge_values *v, unsigned nmodels, int base,
                                     struct quern_error *err)
{
    (void)v;
    (void)nmodels;
    (void)base;
    (void)err;
    return QUERN_OK;
}

static enum quern_status check_density(const struct merge_values *v, unsigned nmodels, int base,
                                       struct quern_error *err)
{
    for (unsigned m = 0; m < nmodels; m++)
        if ((int)m != base && v->model[m][TV_DENSITY] <= 0)
            return fail(err, QUERN_EUSAGE, "range",
                        "density = %g" WANT "expected a number above 0; 1 keeps all",
                        v->model[m][TV_DENSITY]);
    return QUERN_OK;
}

static enum quern_status check_gamma(const struct merge_values *v, unsigned nmodels, int base,
                                     struct quern_error *err)
{
    TRY(check_density(v, nmodels, base, err));
    for (unsigned m = 0; m < nmodels; m++)
        if ((int)m != base && (v->model[m][TV_SPREAD] < 0 || v->model[m][TV_SPREAD] > 1))
            return fail(err, QUERN_EUSAGE, "range",
                        "gamma = %g" WANT "expected a number from 0 to 1", v->model[m][TV_SPREAD]);
    return QUERN_OK;
}

/* Every chance must lie between 0 and 1. */
static enum quern_status check_epsilon(const struct merge_values *v, unsigned nmodels, int base,
                                       struct quern_error *err)
{
    TRY(check_density(v, nmodels, base, err));
    for (unsigned m = 0; m < nmodels; m++) {
        const double density = v->model[m][TV_DENSITY], epsilon = v->model[m][TV_SPREAD];
        if ((int)m == base || density >= 1)
            continue;
        if (epsilon < 0 || density - epsilon <= 0 || density + epsilon >= 1)
            return fail(err, QUERN_EUSAGE, "range",
                        "density = %g and epsilon = %g" WANT
                        "expected density - epsilon above 0 and density + epsilon below 1",
                        density, epsilon);
    }
    return QUERN_OK;
}

/* ---- the members ----------------------------------------------------------------------------- */

/* X(name, title, paper, sparsifier, consensus, parameters, check, exact) */
#define MEMBERS(X)                                                                                \
    X(task_arithmetic, "Task Arithmetic", "2212.04089", keep_all, false, plain_params,            \
      check_plain, true)                                                                          \
    X(ties, "TIES", "2306.01708", keep_largest, true, ties_params, check_density, true)           \
    X(dare_linear, "Linear DARE", "2311.03099", keep_random, false, dare_params, check_density,   \
      false)                                                                                      \
    X(dare_ties, "DARE TIES", "2311.03099", keep_random, true, dare_params, check_density, false) \
    X(della, "DELLA", "2406.11617", keep_ranked, true, della_params, check_epsilon, false)        \
    X(della_linear, "Linear DELLA", "2406.11617", keep_ranked, false, della_linear_params,        \
      check_epsilon, false)                                                                       \
    X(breadcrumbs, "Model Breadcrumbs", "2312.06795", keep_middle, false, breadcrumbs_params,     \
      check_gamma, true)                                                                          \
    X(breadcrumbs_ties, "Model Breadcrumbs with TIES", "2312.06795", keep_middle, true,           \
      breadcrumbs_params, check_gamma, true)

#define X(id, heading, number, how, agree, table, rule, can_be_exact)                  \
    static enum quern_status prepare_##id(const struct merge_job *job, struct step *s, \
                                          struct quern_error *err)                     \
    {                                                                                  \
        return task_vector_prepare(job, s, &(how), agree, err);                        \
    }                                                                                  \
    const struct method method_##id = {.name = #id,                                    \
                                       .title = heading,                               \
                                       .paper = "https://arxiv.org/abs/" number,       \
                                       .base = BASE_ORIGIN,                            \
                                       .crop = CROP_TO_BASE,                           \
                                       .min_models = 2,                                \
                                       .max_models = MAX_SOURCES,                      \
                                       .params = table,                                \
                                       .nparams = COUNT(table),                        \
                                       .exact = can_be_exact,                          \
                                       .check = rule,                                  \
                                       .prepare = prepare_##id};
MEMBERS(X)
#undef X
