/* plan_api.c - the public face of plans: summarize, run, free. */
#include <stdlib.h>

#include "core/json.h"
#include "nonfinite.h"
#include "provenance.h"
#include "retype.h"

static struct plan *inner(struct quern_plan *p)
{
    return (struct plan *)p;
}

static const struct plan *inner_const(const struct quern_plan *p)
{
    return (const struct plan *)p;
}

enum quern_status quern_plan_quantize(struct quern_model *model, const char *output,
                                      const struct quern_quantize *options, struct quern_plan **out,
                                      struct quern_error *err)
{
    struct plan *p;
    TRY(plan_quantize((struct model *)model, output, options, &p, err));
    return plan_hand_out(p, options->nonfinite, out, err);
}

enum quern_status plan_hand_out(struct plan *p, const char *nonfinite, struct quern_plan **out,
                                struct quern_error *err)
{
    const enum quern_status s = plan_set_nonfinite(p, nonfinite, err);
    if (s == QUERN_OK)
        *out = (struct quern_plan *)p;
    else
        plan_free(p);
    return s;
}

void quern_plan_free(struct quern_plan *plan)
{
    plan_free(inner(plan));
}

struct leaves {
    struct tensor_place {
        const struct model *model;
        uint64_t file, offset, nbytes;
    } * places; /* NULL: they are only counted */
    size_t n;
    uint64_t nbytes;
};

static void see_leaf(const struct source *s, void *more)
{
    struct leaves *l = more;
    const struct tensor *t = s->tensor;
    if (l->places) /* values that are made have no offset that tells them apart */
        l->places[l->n] = (struct tensor_place){
            s->model, t->file, s->kind ? (uint64_t)(uintptr_t)t : t->offset, t->nbytes};
    l->n++;
    l->nbytes += t->nbytes;
}

static void see_leaves(const struct plan *p, struct leaves *l)
{
    l->n = 0;
    l->nbytes = 0;
    for (uint32_t i = 0; i < p->nsteps; i++)
        for (unsigned k = 0; k < p->steps[i].nsources; k++)
            source_leaves(&p->steps[i].sources[k], see_leaf, l);
}

static int by_place(const void *a, const void *b)
{
    const struct tensor_place *x = a, *y = b;
    if (x->model != y->model)
        return x->model < y->model ? -1 : 1;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Every stored tensor once; without memory to tell them apart, as often as it is read. */
static uint64_t input_bytes(const struct plan *p)
{
    struct leaves l = {NULL, 0, 0};
    see_leaves(p, &l);
    l.places = l.n ? malloc(l.n * sizeof *l.places) : NULL;
    if (!l.places)
        return l.nbytes;
    see_leaves(p, &l);
    qsort(l.places, l.n, sizeof *l.places, by_place);
    uint64_t total = 0;
    for (size_t i = 0; i < l.n; i++)
        if (i == 0 || by_place(&l.places[i - 1], &l.places[i]) != 0)
            total += l.places[i].nbytes;
    free(l.places);
    return total;
}

void quern_plan_summarize(const struct quern_plan *plan, struct quern_plan_summary *out)
{
    const struct plan *p = inner_const(plan);
    *out = (struct quern_plan_summary){.nsteps = p->nsteps, .nfiles = p->nfiles};
    uint64_t stored = 0;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        const struct step *s = &p->steps[i];
        out->nelems += s->nelems;
        stored += s->nbytes;
        out->nfallbacks += s->fallback;
        out->fallback_elems += s->fallback ? s->nelems : 0;
    }
    out->input_bytes = input_bytes(p);
    for (uint32_t i = 0; i < p->nfiles; i++)
        out->output_bytes += p->files[i].nbytes;
    out->bits_per_weight = out->nelems ? (double)stored * 8.0 / (double)out->nelems : 0.0;
}

const char *quern_plan_note(const struct quern_plan *plan, size_t i)
{
    const struct plan *p = inner_const(plan);
    return i < p->nnotes ? p->notes[i] : NULL;
}

bool quern_plan_zeroed(const struct quern_plan *plan, size_t i, struct quern_zeroed *out)
{
    const struct plan *p = inner_const(plan);
    if (i >= p->nzeroed)
        return false;
    const struct nonfinite_values *v = &p->zeroed[i];
    *out = (struct quern_zeroed){.tensor = v->tensor->name.p,
                                 .name_bytes = v->tensor->name.n,
                                 .file = v->model->files[v->tensor->file].path,
                                 .count = v->count,
                                 .nelems = v->tensor->nelems,
                                 .first = v->first};
    return true;
}

enum quern_status quern_plan_provenance(struct quern_plan *plan,
                                        const struct quern_provenance *options,
                                        struct quern_error *err)
{
    static const struct quern_provenance none;
    const struct quern_provenance *o = options ? options : &none;
    struct json_writer w = {0};
    json_put_text(&w, o->command ? o->command : "");
    const struct provenance_request r = {
        .job = json_written(&w),
        .recipe = o->recipe ? str_from(o->recipe) : (struct str){NULL, 0},
        .files = o->files,
        .nfiles = (uint32_t)o->nfiles
    };
    const enum quern_status s = r.job.p ? plan_record(inner(plan), &r, err) : fail_memory(err, w.n);
    json_writer_free(&w);
    return s;
}

enum quern_status quern_run(struct quern_plan *plan, const struct quern_run_options *options,
                            struct quern_result *result, struct quern_error *err)
{
    return plan_run(inner(plan), options, result, err);
}
