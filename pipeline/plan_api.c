/* plan_api.c - the public face of plans: summarize, run, free. */
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
    *out = (struct quern_plan *)p;
    return QUERN_OK;
}

void quern_plan_free(struct quern_plan *plan)
{
    plan_free(inner(plan));
}

void quern_plan_summarize(const struct quern_plan *plan, struct quern_plan_summary *out)
{
    const struct plan *p = inner_const(plan);
    *out = (struct quern_plan_summary){.nsteps = p->nsteps, .nfiles = p->nfiles};
    uint64_t stored = 0;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        const struct step *s = &p->steps[i];
        for (unsigned k = 0; k < s->nsources; k++)
            out->input_bytes += source_read_bytes(&s->sources[k]);
        out->nelems += s->nelems;
        stored += s->nbytes;
        out->nfallbacks += s->fallback;
        out->fallback_elems += s->fallback ? s->nelems : 0;
    }
    for (uint32_t i = 0; i < p->nfiles; i++)
        out->output_bytes += p->files[i].nbytes;
    out->bits_per_weight = out->nelems ? (double)stored * 8.0 / (double)out->nelems : 0.0;
}

const char *quern_plan_note(const struct quern_plan *plan, size_t i)
{
    const struct plan *p = inner_const(plan);
    return i < p->nnotes ? p->notes[i] : NULL;
}

enum quern_status quern_run(struct quern_plan *plan, const struct quern_run_options *options,
                            struct quern_result *result, struct quern_error *err)
{
    return plan_run(inner(plan), options, result, err);
}
