/* plan.c - build plans: memory, notes, side files, sizes, and the op that copies. */
#include "plan.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/checked.h"
#include "core/safe_text.h"
#include "provenance.h"
#include "quant/codec.h"

struct plan *plan_new(const char *verb, struct quern_error *err)
{
    struct plan *p = calloc(1, sizeof *p);
    if (!p) {
        fail_memory(err, sizeof *p);
        return NULL;
    }
    p->verb = verb;
    sha256_start(&p->asked);
    return p;
}

void plan_asked(struct plan *p, const void *bytes, size_t n)
{
    const uint64_t length = n;
    sha256_add(&p->asked, &length, sizeof length);
    sha256_add(&p->asked, bytes, n);
}

void plan_free(struct plan *p)
{
    if (!p)
        return;
    if (p->sink && p->sink->end)
        p->sink->end(p->sink);
    /* An importance matrix is among the inputs, but closes its own file. */
    for (uint32_t i = 0; p->owns_models && i < p->nmodels; i++)
        if (!p->imatrix || p->models[i] != p->imatrix->model)
            model_close(p->models[i]);
    imatrix_close(p->imatrix);
    provenance_free(p->provenance);
    arena_free(&p->arena);
    free(p);
}

/* Room for one more item in an arena array that doubles: capacity is the next power of two, so it
 * need not be stored. */
static void *grow_array(struct arena *arena, void *items, uint32_t count, size_t item_bytes)
{
    if (count & (count - 1) || (count == 0 && items))
        return items;
    void *bigger = arena_array(arena, count ? (size_t)count * 2 : 1, item_bytes);
    if (bigger && count)
        memcpy(bigger, items, count * item_bytes);
    return bigger;
}

enum quern_status plan_add_model(struct plan *p, struct model *m, struct quern_error *err)
{
    struct model **models = grow_array(&p->arena, p->models, p->nmodels, sizeof(struct model *));
    if (!models)
        return fail_memory(err, sizeof *models);
    p->models = models;
    p->models[p->nmodels++] = m;
    return QUERN_OK;
}

enum quern_status plan_note(struct plan *p, struct quern_error *err, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    text[str_fit(text, sizeof text - 1)] = '\0';
    defuse(text);
    const char **notes = grow_array(&p->arena, p->notes, p->nnotes, sizeof(char *));
    char *copy = arena_printf(&p->arena, "%s", text);
    if (!notes || !copy)
        return fail_memory(err, sizeof text);
    p->notes = notes;
    p->notes[p->nnotes++] = copy;
    return QUERN_OK;
}

enum quern_status plan_in_file(struct plan *p, const char *path, enum quern_status status,
                               struct quern_error *err)
{
    if (err && status != QUERN_OK && (status != QUERN_EUSAGE || err->tensor[0]))
        in_file(err, path, status);
    if (status == QUERN_OK && p->refusal)
        in_file(p->refusal, path, p->refusal->status);
    return status;
}

enum quern_status plan_drop(struct plan *p, struct str tensor, const char *why,
                            struct quern_error *err)
{
    const char **dropped = grow_array(&p->arena, p->dropped, p->ndropped, sizeof(char *));
    char *text = arena_printf(&p->arena, "%s: %s", quoted(tensor).text, why);
    if (!dropped || !text)
        return fail_memory(err, tensor.n);
    p->dropped = dropped;
    p->dropped[p->ndropped++] = text;
    return QUERN_OK;
}

static enum quern_status add_side(struct plan *p, struct side_file side, struct quern_error *err)
{
    struct side_file *sides = grow_array(&p->arena, p->sides, p->nsides, sizeof *sides);
    side.name = arena_printf(&p->arena, "%s", side.name);
    if (!sides || !side.name)
        return fail_memory(err, sizeof *sides);
    p->sides = sides;
    p->sides[p->nsides++] = side;
    return QUERN_OK;
}

enum quern_status plan_add_side_text(struct plan *p, const char *name, struct str text,
                                     struct quern_error *err)
{
    const struct str copy = arena_str(&p->arena, text);
    if (!copy.p)
        return fail_memory(err, text.n);
    return add_side(p, (struct side_file){.name = name, .text = copy}, err);
}

enum quern_status plan_add_side_copy(struct plan *p, const char *name, const char *from,
                                     struct quern_error *err)
{
    const char *copy = arena_printf(&p->arena, "%s", from);
    if (!copy)
        return fail_memory(err, strlen(from));
    return add_side(p, (struct side_file){.name = name, .copy_from = copy}, err);
}

enum quern_status plan_size_steps(struct plan *p, struct quern_error *err)
{
    for (uint32_t i = 0; i < p->nsteps; i++) {
        struct step *s = &p->steps[i];
        s->nelems = 1;
        for (unsigned d = 0; d < s->ndims; d++)
            if (!checked_mul(s->nelems, s->dims[d], &s->nelems))
                return in_tensor(err, s->name,
                                 fail(err, QUERN_EFORMAT, "overflow",
                                      "the product of the dimensions leaves 64 bits"));
        const struct dtype_traits *t = &dtype_traits[s->dtype];
        const uint64_t row = s->ndims ? s->dims[s->ndims - 1] : 1;
        if ((dtype_is_quantized(s->dtype) && row % t->block_elems != 0) ||
            !dtype_bytes(s->dtype, s->nelems, &s->nbytes))
            return in_tensor(err, s->name,
                             fail(err, QUERN_EUSAGE, "block",
                                  "rows of %" PRIu64 " elements" WANT
                                  "%s needs a multiple of %u; choose another type for this tensor",
                                  row, t->name, t->block_elems));
    }
    return QUERN_OK;
}

static double fold(const double *column, uint64_t n, size_t stride)
{
    if (n == 1)
        return *column;
    /* The left half is the largest power of two below n: the tree depends on n alone. */
    const uint64_t half = UINT64_C(1) << (63 - __builtin_clzll(n - 1));
    return fold(column, half, stride) + fold(column + half * stride, n - half, stride);
}

double fold_records(const double *records, uint64_t nrecords, size_t ncolumns, size_t column)
{
    return nrecords ? fold(records + column, nrecords, ncolumns) : 0.0;
}

void fold_errors(const struct error_sums *records, uint64_t nrecords, struct error_sums *out)
{
    *out = (struct error_sums){0};
    for (uint64_t i = 0; i < nrecords; i++)
        error_sums_join(out, &records[i]);
    for (size_t k = 0; nrecords && k < NERROR_SUMS; k++)
        out->sum[k] = fold_records(records[0].sum, nrecords, sizeof *records / sizeof(double), k);
}

static enum quern_status copy_raw(const struct step *s, const uint8_t *const src[], uint8_t *dst,
                                  size_t nbytes, uint64_t at, struct quern_error *err)
{
    (void)s;
    (void)at;
    (void)err;
    memcpy(dst, src[0], nbytes);
    return QUERN_OK;
}

static void copy_apply(const struct piece *p, const void *const x[], void *y)
{
    memcpy(y, x[0], p->n * (p->step->wide ? sizeof(double) : sizeof(float)));
}

const struct op op_copy = {.name = "copy", .raw = copy_raw, .apply = copy_apply};

enum quern_status plan_copy_model(struct plan *p, struct model *m, struct quern_error *err)
{
    const uint32_t n = m->ntensors;
    struct source *sources = ARENA_NEW(&p->arena, struct source, n ? n : 1);
    p->steps = ARENA_NEW(&p->arena, struct step, n ? n : 1);
    if (!sources || !p->steps)
        return fail_memory(err, n * sizeof *p->steps);
    for (uint32_t i = 0; i < n; i++) {
        const struct tensor *t = &m->tensors[i];
        sources[i] = (struct source){.model = m, .tensor = t};
        p->steps[i] = (struct step){.name = t->name,
                                    .dims = t->dims,
                                    .ndims = t->ndims,
                                    .dtype = t->dtype,
                                    .round_dtype = DTYPE_COUNT,
                                    .nsources = 1,
                                    .sources = &sources[i],
                                    .op = &op_copy};
    }
    p->nsteps = n;
    return plan_add_model(p, m, err);
}
