/* nonfinite.c - weights that are NaN or Inf: choose what becomes of them, count them. */
#include "nonfinite.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "quant/codec.h"
#include "quant/small_floats.h"

#define AT_ONCE (UINT64_C(1) << 16)

enum quern_status plan_set_nonfinite(struct plan *p, const char *word, struct quern_error *err)
{
    static const char *const words[] = {
        [NONFINITE_ERROR] = "error", [NONFINITE_KEEP] = "keep", [NONFINITE_ZERO] = "zero"};
    if (!word)
        return QUERN_OK;
    for (unsigned i = NONFINITE_ERROR; i < sizeof words / sizeof *words; i++)
        if (strcmp(word, words[i]) == 0) {
            p->nonfinite = (enum nonfinite)i;
            return QUERN_OK;
        }
    return fail(err, QUERN_EUSAGE, "usage",
                "'%s' is no way to treat NaN and Inf" WANT "expected error, keep or zero",
                quoted(str_from(word)).text);
}

bool nonfinite_fits(enum dtype d, double v)
{
    switch (d) {
    case DTYPE_F64:
    case DTYPE_F32:
    case DTYPE_F16:
    case DTYPE_BF16:
    case DTYPE_F8_E5M2:
        return true;
    case DTYPE_F8_E4M3:
        return isnan(v);
    default:
        return false;
    }
}

uint32_t dtype_limit_bits(enum dtype d)
{
    return d == DTYPE_F16 ? 0x477ff000 : d == DTYPE_BF16 ? 0x7f7f8000 : F32_INF;
}

/* ---- stored tensors ------------------------------------------------------------------------- */

/* The stored tensors that some steps read in the end, each once, in the order of models and files.
 */
struct leaves {
    const struct plan *plan;
    struct nonfinite_values *items;
    size_t count, capacity;
    bool failed;
};

/* A leaf may have another name, or be some rows of a tensor. */
static const struct tensor *stored_tensor(const struct source *leaf)
{
    const struct model *m = leaf->model;
    const struct tensor *t = leaf->tensor, *found = NULL;
    const struct model_file *f = &m->files[t->file];
    uint32_t low = f->first_tensor, high = f->first_tensor + f->ntensors;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (m->tensors[middle].offset > t->offset) {
            high = middle;
        } else {
            found = &m->tensors[middle];
            low = middle + 1;
        }
    }
    return found;
}

static void see_leaf(const struct source *leaf, void *more)
{
    struct leaves *l = more;
    if (leaf->kind || !leaf->model || leaf->model->nfiles == 0)
        return;
    const struct tensor *t = stored_tensor(leaf);
    if (!t || (!dtype_is_float(t->dtype) && !dtype_is_quantized(t->dtype)) ||
        !codec_can_decode(t->dtype))
        return;
    if (l->count == l->capacity) {
        const size_t capacity = l->capacity ? 2 * l->capacity : 64;
        struct nonfinite_values *items = realloc(l->items, capacity * sizeof *items);
        if (!items) {
            l->failed = true;
            return;
        }
        l->items = items;
        l->capacity = capacity;
    }
    l->items[l->count++] = (struct nonfinite_values){.model = leaf->model, .tensor = t};
}

static void see_leaves_of(const struct step *s, struct leaves *l)
{
    for (unsigned k = 0; k < s->nsources; k++)
        source_leaves(&s->sources[k], see_leaf, l);
}

/* Reads all of it. */
static enum quern_status count_stored(struct nonfinite_values *v, const volatile int *cancel,
                                      struct quern_error *err)
{
    const struct tensor *t = v->tensor;
    struct model *m = v->model;
    uint8_t *bytes = malloc(dtype_stored(t->dtype, AT_ONCE));
    if (!bytes)
        return fail_memory(err, dtype_stored(t->dtype, AT_ONCE));
    enum quern_status s = QUERN_OK;
    v->count = 0;
    for (uint64_t done = 0, n; s == QUERN_OK && done < t->nelems; done += n) {
        size_t first;
        n = t->nelems - done < AT_ONCE ? t->nelems - done : AT_ONCE;
        s = asked_to_stop(cancel) ? fail(err, QUERN_ECANCELLED, "cancelled", "stopped on request")
                                  : model_pread(m, t->file, bytes, dtype_stored(t->dtype, n),
                                                t->offset + dtype_stored(t->dtype, done), err);
        if (s != QUERN_OK)
            break;
        const uint64_t bad = codec_count_nonfinite(t->dtype, bytes, (size_t)n, &first);
        if (v->count == 0 && bad)
            v->first = done + first;
        v->count += bad;
    }
    free(bytes);
    return s;
}

static int by_place(const void *a, const void *b)
{
    const struct nonfinite_values *x = a, *y = b;
    if (x->count != y->count) /* place of the model among the inputs */
        return x->count < y->count ? -1 : 1;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

/* Each once, in the order of the inputs and of their tensors. */
static void sort_leaves(struct leaves *l)
{
    size_t n = 0;
    for (size_t i = 0; i < l->count; i++)
        for (l->items[i].count = 0; l->items[i].count < l->plan->nmodels; l->items[i].count++)
            if (l->plan->models[l->items[i].count] == l->items[i].model)
                break;
    if (l->count)
        qsort(l->items, l->count, sizeof *l->items, by_place);
    for (size_t i = 0; i < l->count; i++)
        if (i == 0 || by_place(&l->items[i], &l->items[i - 1]) != 0)
            l->items[n++] = l->items[i];
    l->count = n;
}

static enum quern_status keep_those_with_some(struct plan *p, struct leaves *l, bool all,
                                              const volatile int *cancel, struct quern_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < l->count; i++) {
        if (!all && !l->items[i].model->saw_nonfinite)
            continue;
        TRY(count_stored(&l->items[i], cancel, err));
        if (l->items[i].count)
            l->items[n++] = l->items[i];
    }
    p->nzeroed = 0;
    p->zeroed = ARENA_NEW(&p->arena, struct nonfinite_values, n + 1);
    if (!p->zeroed)
        return fail_memory(err, n * sizeof *p->zeroed);
    if (n)
        memcpy(p->zeroed, l->items, n * sizeof *p->zeroed);
    p->nzeroed = (uint32_t)n;
    return QUERN_OK;
}

enum quern_status nonfinite_survey(struct plan *p, bool all, const volatile int *cancel,
                                   struct quern_error *err)
{
    struct leaves l = {.plan = p};
    for (uint32_t i = 0; i < p->nhidden; i++)
        see_leaves_of(&p->hidden[i]->step, &l);
    for (uint32_t i = 0; i < p->nsteps; i++)
        see_leaves_of(&p->steps[i], &l);
    sort_leaves(&l);
    const enum quern_status s =
        l.failed ? fail_memory(err, l.capacity) : keep_those_with_some(p, &l, all, cancel, err);
    free(l.items);
    return s;
}

/* ---- errors --------------------------------------------------------------------------------- */

/* "[3, 70]" */
static void index_text(const uint64_t *dims, unsigned ndims, uint64_t at, char *buf, size_t n)
{
    uint64_t index[MAX_DIMS] = {0};
    size_t used = 0;
    for (unsigned d = ndims; d-- > 0;) {
        index[d] = at % dims[d];
        at /= dims[d];
    }
    for (unsigned d = 0; d < ndims && used + 24 < n; d++)
        used += (size_t)snprintf(buf + used, n - used, "%s%" PRIu64, d ? ", " : "[", index[d]);
    snprintf(buf + used, n - used, "%s", ndims ? "]" : "[0]");
}

/* "3 of 4096 values are": what is wrong with them follows. */
static void count_text(uint64_t count, uint64_t nelems, char buf[80])
{
    snprintf(buf, 80, "%" PRIu64 " of %" PRIu64 " value%s %s", count, nelems,
             nelems == 1 ? "" : "s", count == 1 ? "is" : "are");
}

static const char *name_of(double v)
{
    return isnan(v) ? "NaN" : v > 0 ? "Inf" : "-Inf";
}

/* The value of an element; of a block that is spoilt, what its first element comes to. */
static double value_of(const struct nonfinite_values *v)
{
    const struct tensor *t = v->tensor;
    struct model *m = v->model;
    const size_t block = dtype_traits[t->dtype].block_elems;
    uint8_t raw[512];
    double x[256];
    if (model_pread(m, t->file, raw, dtype_traits[t->dtype].block_bytes,
                    t->offset + dtype_stored(t->dtype, v->first), NULL) != QUERN_OK)
        return (double)NAN;
    codec_decode_f64(t->dtype, raw, x, block);
    return x[0];
}

/* What could be done about it. */
static void remedy(const struct plan *p, const struct step *s, char *buf, size_t n)
{
    if (p->nonfinite == NONFINITE_KEEP && s->op == &op_copy)
        snprintf(buf, n, "%s cannot keep that", dtype_traits[s->dtype].name);
    else if (p->nonfinite == NONFINITE_KEEP)
        snprintf(buf, n, "%s of that means nothing", s->op->name);
    else
        snprintf(buf, n, "expected finite weights");
    if (p->nonfinite != NONFINITE_MOVED)
        snprintf(buf + strlen(buf), n - strlen(buf), " (--nonfinite zero takes them for 0)");
}

static void tell_stored(const struct plan *p, const struct step *s,
                        const struct nonfinite_values *v, struct quern_error *err)
{
    const struct tensor *t = v->tensor;
    char index[256], count[80], what[160];
    const uint64_t at = t->offset + dtype_stored(t->dtype, v->first);
    index_text(t->dims, t->ndims, v->first, index, sizeof index);
    count_text(v->count, t->nelems, count);
    remedy(p, s, what, sizeof what);
    fail(err, QUERN_EFORMAT, "nonfinite", "%s NaN or Inf, the first is %s in %s" WANT "%s", count,
         name_of(value_of(v)), index, what);
    in_tensor(err, t->name, QUERN_EFORMAT);
    in_file(err, v->model->files[t->file].path, QUERN_EFORMAT);
    at_offset(err, at, QUERN_EFORMAT);
}

static void explain_nonfinite(const struct plan *p, const struct step *s,
                              const volatile int *cancel, struct quern_error *err)
{
    struct leaves l = {.plan = p};
    see_leaves_of(s, &l);
    for (size_t i = 0; i < l.count; i++) {
        if (count_stored(&l.items[i], cancel, NULL) != QUERN_OK)
            break; /* what is known must do */
        if (l.items[i].count) {
            tell_stored(p, s, &l.items[i], err);
            break;
        }
    }
    free(l.items);
}

/* Values that round to Inf in type d, of a source that is copied. */
struct too_large {
    enum dtype d;
    uint64_t count, first;
    double value;
};

static enum quern_status count_large(const struct step *s, struct too_large *l,
                                     const volatile int *cancel)
{
    const struct source *src = &s->sources[0];
    float x[STRIP];
    uint64_t moved = 0;
    void *scratch = source_scratch_new(src, false);
    enum quern_status status = scratch ? QUERN_OK : QUERN_EMEMORY;
    for (uint64_t done = 0, n; status == QUERN_OK && done < s->nelems; done += n) {
        n = s->nelems - done < STRIP ? s->nelems - done : STRIP;
        status = asked_to_stop(cancel)
                     ? QUERN_ECANCELLED
                     : source_read(src, scratch, false, done, (size_t)n, x, &moved, NULL);
        for (size_t i = 0; status == QUERN_OK && i < n; i++) {
            uint32_t bits;
            memcpy(&bits, &x[i], sizeof bits);
            if ((bits & 0x7fffffff) < dtype_limit_bits(l->d) || !isfinite(x[i]))
                continue;
            if (l->count++ == 0) {
                l->first = done + i;
                l->value = (double)x[i];
            }
        }
    }
    free(scratch);
    return status;
}

/* The first type that a value is rounded to and that has a bound of its own. */
static enum dtype narrow_type(const struct step *s)
{
    if (s->round_dtype != DTYPE_COUNT && dtype_limit_bits(s->round_dtype) != F32_INF)
        return s->round_dtype;
    return s->dtype;
}

static void explain_large(const struct step *s, const volatile int *cancel, struct quern_error *err)
{
    struct too_large l = {.d = narrow_type(s)};
    char index[256], count[80];
    if (s->op != &op_copy || s->nsources != 1 || s->wide || dtype_limit_bits(l.d) == F32_INF ||
        count_large(s, &l, cancel) != QUERN_OK || l.count == 0)
        return;
    index_text(s->dims, s->ndims, l.first, index, sizeof index);
    count_text(l.count, s->nelems, count);
    fail(err, QUERN_EFORMAT, "value-range",
         "%s too large for %s, the first is %g in %s" WANT "choose %s", count,
         dtype_traits[l.d].name, l.value, index, l.d == DTYPE_F16 ? "BF16 or F32" : "F32");
    in_tensor(err, s->name, QUERN_EFORMAT);
}

void nonfinite_explain(const struct plan *p, const struct step *s, const volatile int *cancel,
                       struct quern_error *err)
{
    if (!err || p->nonfinite == NONFINITE_MOVED || err->status != QUERN_EFORMAT)
        return;
    if (strcmp(err->kind, "nonfinite") == 0 && p->nonfinite != NONFINITE_ZERO)
        explain_nonfinite(p, s, cancel, err);
    else if (strcmp(err->kind, "value-range") == 0)
        explain_large(s, cancel, err);
}
