/* merge_steps.c - one step for every tensor of the output. */
#include <stdlib.h>

#include "merge/crop.h"
#include "merge/fuse.h"
#include "merge/params.h"
#include "merge/planner.h"

/* Passes the bytes on after comparing them with those of every other model. */
static enum quern_status equal_raw(const struct step *s, const uint8_t *const src[], uint8_t *dst,
                                   size_t nbytes, uint64_t at, struct quern_error *err)
{
    (void)at;
    for (unsigned k = 1; k < s->nsources; k++)
        if (memcmp(src[0], src[k], nbytes) != 0)
            return in_tensor(
                err, s->name,
                fail(err, QUERN_EUSAGE, "values",
                     "these are no weights, and their values in '%s' and '%s' differ" WANT
                     "name a base_model to take them from",
                     quoted(str_from(s->sources[0].model->path)).text,
                     quoted(str_from(s->sources[k].model->path)).text));
    memcpy(dst, src[0], nbytes);
    return QUERN_OK;
}

const struct op op_equal = {.name = "equal", .raw = equal_raw};

/* The type that merged values are rounded to. */
static enum dtype merged_dtype(const struct planner *pl, const struct tensor *t)
{
    const enum dtype wanted = recipe_out_dtype(&pl->recipe);
    /* llama.cpp needs vectors (norms, biases) in F32. */
    if (pl->to_gguf && t->ndims < 2 && t->dtype == DTYPE_F32)
        return DTYPE_F32;
    if (wanted != DTYPE_COUNT)
        return wanted;
    return dtype_is_quantized(t->dtype) ? DTYPE_BF16 : t->dtype;
}

/* The type that mergekit computes in: the recipe's, else the base's, else the models' own, F32
 * where they differ. */
static enum quern_status exact_dtype(const struct planner *pl, const struct target *t,
                                     enum dtype *out, struct quern_error *err)
{
    const enum dtype own = t->inputs[t->lead].tensor->dtype;
    *out = pl->recipe.dtype;
    if (*out == DTYPE_COUNT)
        *out = dtype_is_quantized(own) ? DTYPE_BF16 : own;
    for (unsigned k = 0; k < t->slice->nsources && pl->recipe.dtype == DTYPE_COUNT; k++)
        if (t->slice->base < 0 && t->inputs[k].tensor->dtype != own)
            *out = DTYPE_F32;
    if (*out == DTYPE_F32 || *out == DTYPE_F16 || *out == DTYPE_BF16)
        return QUERN_OK;
    return in_source(err, &t->inputs[t->lead],
                     fail(err, QUERN_EUNSUPPORTED, "mergekit-exact",
                          "the type is %s" WANT "rounding as mergekit does is for float32, float16 "
                          "and bfloat16; set dtype in the recipe",
                          dtype_traits[*out].name));
}

static void plan_bytes(struct step *s, const struct target *t)
{
    const bool has_base = t->slice->base >= 0;
    s->dtype = t->inputs[t->lead].tensor->dtype;
    s->sources = has_base ? &t->inputs[t->lead] : t->inputs;
    s->nsources = (uint8_t)(has_base ? 1 : t->slice->nsources);
    s->op = has_base ? &op_copy : &op_equal;
}

/* The parameters of a target, and whether its method can work with them. */
static void find_values(const struct recipe *r, const struct target *t, struct merge_values *values,
                        struct mistakes *m)
{
    struct str names[MAX_SOURCES];
    const uint32_t before = m->count;
    for (unsigned k = 0; k < t->slice->nsources; k++)
        names[k] = t->inputs[k].tensor->name;
    const struct param_place at = {.module = t->module,
                                   .slice = t->slice,
                                   .output = t->name,
                                   .inputs = names,
                                   .position = t->position};
    params_of(r, &at, values, m);
    struct quern_error e;
    const enum quern_status status =
        r->method->check(values, t->slice->nsources, t->slice->base, &e);
    if (m->count > before || status == QUERN_OK)
        return;
    struct quern_error *slot = mistake(m);
    if (!slot)
        return;
    *slot = e;
    in_tensor(slot, t->name, status);
    in_file(slot, r->path, status);
}

/* A tensor that is only passed on moves as bytes, blocks and all, unless another type is asked for.
 */
static void keep_stored(const struct planner *pl, struct step *s)
{
    if (s->op != &op_copy || s->sources[0].kind || recipe_out_dtype(&pl->recipe) != DTYPE_COUNT)
        return;
    s->dtype = s->sources[0].tensor->dtype;
    s->round_dtype = DTYPE_COUNT;
}

static enum quern_status plan_weights(struct planner *pl, struct step *s, const struct target *t,
                                      struct mistakes *m, struct quern_error *err)
{
    const struct recipe *r = &pl->recipe;
    const struct tensor *lead = t->inputs[t->lead].tensor;
    const enum dtype out = merged_dtype(pl, lead);
    struct merge_values values;
    find_values(r, t, &values, m);
    if (m->count > 0)
        return QUERN_OK;
    enum dtype exact = DTYPE_COUNT;
    if (pl->req->mergekit_exact)
        TRY(exact_dtype(pl, t, &exact, err));
    if (pl->req->explain && !(s->detail = explain_target(pl, t, &values)))
        return fail_memory(err, 256);
    s->dtype = s->round_dtype = (uint8_t)out;
    s->wide = out == DTYPE_F64;
    for (unsigned k = 0; k < t->slice->nsources; k++)
        s->wide |= t->inputs[k].tensor->dtype == DTYPE_F64;
    s->wide &= exact == DTYPE_COUNT;
    const struct merge_job job = {.method = r->method,
                                  .values = &values,
                                  .models = t->inputs,
                                  .nmodels = t->slice->nsources,
                                  .base = t->slice->base,
                                  .exact = exact,
                                  .seed = pl->req->seed,
                                  .arena = &pl->plan->arena};
    TRY(r->method->prepare(&job, s, err));
    keep_stored(pl, s);
    return QUERN_OK;
}

static enum quern_status plan_step(struct planner *pl, struct step *s, const struct target *t,
                                   struct mistakes *m, struct quern_error *err)
{
    const struct tensor *lead = t->inputs[t->lead].tensor;
    *s = (struct step){.name = t->name,
                       .dims = lead->dims,
                       .ndims = lead->ndims,
                       .nelems = lead->nelems,
                       .round_dtype = DTYPE_COUNT};
    if (is_weights(lead))
        return plan_weights(pl, s, t, m, err);
    plan_bytes(s, t);
    if (pl->req->explain && !(s->detail = explain_target(pl, t, NULL)))
        return fail_memory(err, 256);
    return QUERN_OK;
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct target *)a)->name, ((const struct target *)b)->name);
}

static enum quern_status check_filters(struct planner *pl, struct mistakes *m,
                                       struct quern_error *err)
{
    const struct targets *t = &pl->targets;
    uint32_t n = 0, room = 0;
    for (uint32_t i = 0; i < t->count; i++)
        room += t->items[i].slice->nsources + 1;
    struct str *names = ARENA_NEW(&pl->scratch, struct str, (size_t)room + 1);
    if (!names)
        return fail_memory(err, room * sizeof *names);
    for (uint32_t i = 0; i < t->count; i++) {
        names[n++] = t->items[i].name;
        for (unsigned k = 0; k < t->items[i].slice->nsources; k++) {
            const struct tensor *input = t->items[i].inputs[k].tensor;
            if (!str_eq(input->name, t->items[i].name))
                names[n++] = input->name;
        }
    }
    params_unused_filters(&pl->recipe, names, n, m);
    return QUERN_OK;
}

static enum quern_status note_passed(struct planner *pl, struct quern_error *err)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < pl->targets.count; i++) {
        const struct target *t = &pl->targets.items[i];
        n += t->slice->base >= 0 && !is_weights(t->inputs[t->lead].tensor);
    }
    if (n == 0)
        return QUERN_OK;
    return plan_note(pl->plan, err, "%u tensor%s without weights taken from the base", n,
                     n == 1 ? "" : "s");
}

enum quern_status plan_steps(struct planner *pl, struct quern_error *err)
{
    struct plan *p = pl->plan;
    struct targets *t = &pl->targets;
    struct mistakes m = {.sink = pl->req->sink};
    TRY(targets_list(&pl->recipe, &pl->set, &p->arena, &pl->scratch, t, &m, err));
    for (uint32_t i = 0; i < t->count; i++) {
        TRY(crop_target(pl, &t->items[i], &m, err));
        check_target(&t->items[i], &m);
    }
    if (t->relaid && !pl->req->allow_crimes)
        TRY(check_widths(&pl->set, &pl->scratch, err));
    TRY(mistakes_end(&m, err));
    if (!pl->to_gguf && t->count)
        qsort(t->items, t->count, sizeof *t->items, by_name);
    TRY(check_filters(pl, &m, err));
    pl->steps = ARENA_NEW(&p->arena, struct step, t->count + 1);
    if (!pl->steps)
        return fail_memory(err, t->count * sizeof *pl->steps);
    for (uint32_t i = 0; i < t->count; i++)
        TRY(plan_step(pl, &pl->steps[i], &t->items[i], &m, err));
    TRY(mistakes_end(&m, err));
    return note_passed(pl, err);
}
