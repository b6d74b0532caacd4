/* scan.c - look at every value once. */
#include "scan.h"

#include <math.h>

#include "quant/codec.h"

/* Per chunk: 1 + the index of its first bad element, 0 when there is none. */
static struct measure_need scan_need(const struct step *s, unsigned pass)
{
    (void)s;
    (void)pass;
    return (struct measure_need){.ncounts = 1, .record_bytes = sizeof(uint64_t)};
}

static bool finite_at(const struct piece *p, const void *x, size_t i)
{
    return p->step->wide ? isfinite(((const double *)x)[i]) : isfinite(((const float *)x)[i]);
}

static void scan_measure(const struct piece *p, unsigned pass, const void *const x[],
                         uint64_t *counts, void *record)
{
    (void)pass;
    uint64_t *first = record;
    size_t i = p->step->wide ? 0 : codec_first_nonfinite_f32(x[0], p->n);
    for (; i < p->n; i++) {
        if (finite_at(p, x[0], i))
            continue;
        counts[0]++;
        if (*first == 0)
            *first = 1 + p->first + i;
    }
}

static enum quern_status scan_combine(const struct step *s, unsigned pass, void *state,
                                      const uint64_t *counts, void *records, uint64_t nrecords,
                                      struct quern_error *err)
{
    (void)pass;
    (void)state;
    (void)err;
    struct scan_result *result = (struct scan_result *)s->params;
    const uint64_t *first = records;
    result->nbad = counts[0];
    for (uint64_t i = 0; result->nbad && i < nrecords; i++)
        if (first[i]) {
            result->first = first[i] - 1;
            break;
        }
    return QUERN_OK;
}

static const struct op op_scan = {.name = "scan",
                                  .sees_nonfinite = true,
                                  .need = scan_need,
                                  .measure = scan_measure,
                                  .combine = scan_combine};

static enum quern_status build(struct plan *p, struct model *m, struct scan_result **results,
                               struct quern_error *err)
{
    const size_t n = m->ntensors ? m->ntensors : 1;
    struct source *sources = ARENA_NEW(&p->arena, struct source, n);
    p->steps = ARENA_NEW(&p->arena, struct step, n);
    *results = ARENA_NEW(&p->arena, struct scan_result, n);
    if (!sources || !p->steps || !*results)
        return fail_memory(err, n * sizeof *p->steps);
    for (uint32_t i = 0; i < m->ntensors; i++) {
        const struct tensor *t = &m->tensors[i];
        if (!codec_can_decode(t->dtype))
            continue;
        const uint32_t k = p->nsteps++;
        sources[k] = (struct source){.model = m, .tensor = t};
        (*results)[k].tensor = t;
        p->steps[k] = (struct step){.name = t->name,
                                    .dims = t->dims,
                                    .ndims = t->ndims,
                                    .dtype = t->dtype,
                                    .round_dtype = DTYPE_COUNT,
                                    .wide = t->dtype == DTYPE_F64,
                                    .nsources = 1,
                                    .npasses = 1,
                                    .sources = &sources[k],
                                    .op = &op_scan,
                                    .params = &(*results)[k],
                                    .nelems = t->nelems,
                                    .nbytes = t->nbytes};
    }
    return plan_add_model(p, m, err);
}

enum quern_status plan_scan(struct model *m, struct plan **out, struct scan_result **results,
                            uint32_t *n, struct quern_error *err)
{
    struct plan *p = plan_new("check", err);
    if (!p)
        return QUERN_EMEMORY;
    const enum quern_status s = build(p, m, results, err);
    if (s != QUERN_OK) {
        plan_free(p);
        return s;
    }
    *n = p->nsteps;
    *out = p;
    return QUERN_OK;
}
