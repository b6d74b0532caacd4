/* imatrix_lint.c - look at every value of an importance matrix, and for what is missing. */
#include "imatrix_lint.h"

#include <math.h>

#include "quant/mix.h"

/* ---- values --------------------------------------------------------------------------------- */

/* What a step looks at, and what it found. */
struct look {
    float least; /* what is below is as good as 0: counts are rounded */
    uint64_t nbad, first_bad, nzero, first_zero;
};

enum { BAD, ZERO, NKINDS };

/* Per chunk: 1 + the index of the first of each kind, 0 when there is none. */
static struct measure_need look_need(const struct step *s, unsigned pass)
{
    (void)s;
    (void)pass;
    return (struct measure_need){.ncounts = NKINDS, .record_bytes = NKINDS * sizeof(uint64_t)};
}

static void look_measure(const struct piece *p, unsigned pass, const void *const x[],
                         uint64_t *counts, void *record)
{
    (void)pass;
    const struct look *l = p->step->params;
    const float *v = x[0];
    uint64_t *first = record;
    for (size_t i = 0; i < p->n; i++) {
        const bool bad = !(v[i] >= 0 && isfinite(v[i]));
        if (!bad && v[i] >= l->least && v[i] > 0)
            continue;
        const unsigned kind = bad ? BAD : ZERO;
        counts[kind]++;
        if (first[kind] == 0)
            first[kind] = 1 + p->first + i;
    }
}

static uint64_t first_of(const uint64_t *records, uint64_t n, unsigned kind)
{
    for (uint64_t i = 0; i < n; i++)
        if (records[i * NKINDS + kind])
            return records[i * NKINDS + kind] - 1;
    return 0;
}

static enum quern_status look_combine(const struct step *s, unsigned pass, void *state,
                                      const uint64_t *counts, void *records, uint64_t nrecords,
                                      struct quern_error *err)
{
    (void)pass;
    (void)state;
    (void)err;
    struct look *l = (struct look *)s->params;
    l->nbad = counts[BAD];
    l->first_bad = first_of(records, nrecords, BAD);
    l->nzero = counts[ZERO];
    l->first_zero = first_of(records, nrecords, ZERO);
    return QUERN_OK;
}

static const struct op op_look = {.name = "look",
                                  .sees_nonfinite = true,
                                  .need = look_need,
                                  .measure = look_measure,
                                  .combine = look_combine};

static struct step look_at(const struct tensor *t, const struct source *source, struct look *l)
{
    return (struct step){.name = t->name,
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
}

/* Per entry a step for the sums and, where there are counts, one for these. */
static enum quern_status build(struct plan *p, const struct imatrix *im, struct quern_error *err)
{
    const size_t n = 2 * (size_t)im->nentries;
    p->held_bytes = im->arena.nbytes;
    struct source *sources = ARENA_NEW(&p->arena, struct source, n);
    struct look *looks = ARENA_NEW(&p->arena, struct look, n);
    p->steps = ARENA_NEW(&p->arena, struct step, n);
    if (!sources || !looks || !p->steps)
        return fail_memory(err, n * sizeof *p->steps);
    for (uint32_t i = 0; i < im->nentries; i++) {
        const struct tensor *both[] = {im->entries[i].sums, im->entries[i].counts};
        for (unsigned k = 0; k < 2 && both[k]; k++) {
            const uint32_t at = p->nsteps++;
            sources[at] = (struct source){.model = im->model, .tensor = both[k]};
            looks[at].least = k == 1 ? 0.5f : 0;
            p->steps[at] = look_at(both[k], &sources[at], &looks[at]);
        }
    }
    return plan_add_model(p, im->model, err);
}

enum quern_status imatrix_lint_plan(struct imatrix *im, struct plan **out, struct quern_error *err)
{
    struct plan *p = plan_new("imatrix", err);
    if (!p)
        return QUERN_EMEMORY;
    const enum quern_status s = build(p, im, err);
    if (s == QUERN_OK)
        *out = p;
    else
        plan_free(p);
    return s;
}

/* ---- findings ------------------------------------------------------------------------------- */

static void add(struct lint_report *r, struct lint_finding f)
{
    r->findings[r->nfindings++] = f;
}

static void judge_values(struct lint_report *r, const struct imatrix_entry *e,
                         const struct look *sums, const struct look *counts)
{
    if (sums->nbad)
        add(r, (struct lint_finding){LINT_VALUE, e->name, sums->nbad, e->sums->nelems,
                                     sums->first_bad});
    if (counts && counts->nbad)
        add(r, (struct lint_finding){LINT_COUNT, e->name, counts->nbad, e->counts->nelems,
                                     counts->first_bad});
    if (counts && counts->nzero)
        add(r, (struct lint_finding){counts->nzero == e->nmats ? LINT_NO_DATA : LINT_UNSEEN,
                                     e->name, counts->nzero, e->nmats, counts->first_zero});
    else if (sums->nzero == e->sums->nelems)
        add(r, (struct lint_finding){.kind = LINT_ALL_ZERO, .name = e->name});
}

static bool is_stray(const struct imatrix *im, const struct tensor *t)
{
    static const char *const suffixes[] = {".in_sum2", ".counts"};
    for (size_t i = 0; i < 2; i++)
        if (im->legacy || str_ends(t->name, suffixes[i]))
            return false;
    return true;
}

/* Values that llama-quantize wants for a weight: a row for each matrix. */
static uint64_t values_for(const struct tensor *t)
{
    const uint64_t rows = t->ndims > 1 ? t->dims[t->ndims - 2] : 1;
    return rows ? t->nelems / rows : 0;
}

static void judge_entry(struct lint_report *r, const struct imatrix_entry *e,
                        const struct model *model)
{
    const struct tensor *t = model_find(model, e->name);
    if (!t)
        add(r, (struct lint_finding){.kind = LINT_NO_WEIGHT, .name = e->name});
    else if (e->sums->nelems != values_for(t))
        add(r, (struct lint_finding){LINT_SIZE, e->name, e->sums->nelems, values_for(t), 0});
}

/* llama-imatrix collects for the matrices of the layers; embedding and output are not among them.
 */
static bool wants_entry(const struct tensor *t)
{
    const struct mix any = {.type = file_type_find(STR("Q8_0"))};
    unsigned ndims = t->ndims;
    for (unsigned i = 0; i < t->ndims && t->dims[i] == 1; i++)
        ndims--;
    return str_starts(t->name, "blk.") && !mix_keeps(&any, t->name, ndims);
}

static void judge_weights(struct lint_report *r, const struct imatrix *im,
                          const struct model *model)
{
    for (uint32_t i = 0; i < model->ntensors; i++) {
        const struct tensor *t = &model->tensors[i];
        if (!wants_entry(t))
            continue;
        r->nweights++;
        if (imatrix_find(im, t->name))
            r->ncovered++;
        else
            add(r, (struct lint_finding){.kind = LINT_NO_ENTRY, .name = t->name});
    }
}

enum quern_status imatrix_lint_report(struct plan *p, const struct imatrix *im,
                                      const struct model *model, struct lint_report *out,
                                      struct quern_error *err)
{
    const size_t most =
        4 * (size_t)im->nentries + im->model->ntensors + (model ? model->ntensors : 0);
    *out = (struct lint_report){.findings = ARENA_NEW(&p->arena, struct lint_finding, most)};
    if (!out->findings)
        return fail_memory(err, most * sizeof *out->findings);
    uint32_t step = 0;
    for (uint32_t i = 0; i < im->nentries; i++) {
        const struct look *sums = p->steps[step++].params;
        const struct look *counts = im->entries[i].counts ? p->steps[step++].params : NULL;
        judge_values(out, &im->entries[i], sums, counts);
    }
    for (uint32_t i = 0; i < im->model->ntensors; i++)
        if (is_stray(im, &im->model->tensors[i]))
            add(out, (struct lint_finding){.kind = LINT_STRAY, .name = im->model->tensors[i].name});
    if (!model)
        return QUERN_OK;
    for (uint32_t i = 0; i < im->nentries; i++)
        judge_entry(out, &im->entries[i], model);
    judge_weights(out, im, model);
    return QUERN_OK;
}
