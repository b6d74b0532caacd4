/* back_kinds.c - sources that undo what was done to single values, or are stored in another type.
 */
#include <stdlib.h>

#include "back_class.h"
#include "core/smath.h"
#include "quant/codec.h"

static size_t inner_scratch(const struct source *s, bool wide)
{
    return source_scratch_bytes(s->params, wide);
}

static enum quern_status read_inner(const struct source *s, void *scratch, bool wide,
                                    uint64_t first, size_t n, void *x, uint64_t *moved,
                                    struct quern_error *err)
{
    return source_read(s->params, scratch, wide, first, n, x, moved, err);
}

static enum quern_status read_less_one(const struct source *s, void *scratch, bool wide,
                                       uint64_t first, size_t n, void *x, uint64_t *moved,
                                       struct quern_error *err)
{
    TRY(read_inner(s, scratch, wide, first, n, x, moved, err));
    for (size_t i = 0; i < n; i++)
        if (wide)
            ((double *)x)[i] -= 1.0;
        else
            ((float *)x)[i] -= 1.0f;
    return QUERN_OK;
}

static enum quern_status read_log_minus(const struct source *s, void *scratch, bool wide,
                                        uint64_t first, size_t n, void *x, uint64_t *moved,
                                        struct quern_error *err)
{
    TRY(read_inner(s, scratch, wide, first, n, x, moved, err));
    for (size_t i = 0; i < n; i++) {
        const double v = wide ? ((double *)x)[i] : (double)((float *)x)[i];
        const double log = strict_log(-v);
        if (wide)
            ((double *)x)[i] = log;
        else
            ((float *)x)[i] = (float)log;
    }
    return QUERN_OK;
}

static const struct source *inner_of(const struct source *s, uint32_t i)
{
    return i == 0 ? s->params : NULL;
}

static const struct source_kind less_one = {
    .name = "less one", .scratch_bytes = inner_scratch, .read = read_less_one, .inner = inner_of};
static const struct source_kind log_minus = {
    .name = "log(-x)", .scratch_bytes = inner_scratch, .read = read_log_minus, .inner = inner_of};
static const struct source_kind retyped = {
    .name = "decoded", .scratch_bytes = inner_scratch, .read = read_inner, .inner = inner_of};

/* Values that are computed: of 32 bits, whatever they are computed from. */
static enum quern_status around(struct arena *arena, const struct source *from,
                                const struct source_kind *kind, struct str name, enum dtype dtype,
                                struct source *out, struct quern_error *err)
{
    struct tensor *t = ARENA_NEW(arena, struct tensor, 1);
    struct source *inner = ARENA_NEW(arena, struct source, 1);
    if (!t || !inner)
        return fail_memory(err, sizeof *t);
    *inner = *from;
    *t = *from->tensor;
    t->name = name;
    t->dtype = (uint8_t)dtype;
    if (!dtype_bytes(dtype, t->nelems, &t->nbytes))
        return fail(err, QUERN_EINTERNAL, "internal", "no plain type");
    *out = (struct source){.model = from->model, .tensor = t, .kind = kind, .params = inner};
    return QUERN_OK;
}

enum quern_status less_one_source(struct arena *arena, const struct source *from,
                                  struct source *out, struct quern_error *err)
{
    return around(arena, from, &less_one, from->tensor->name, DTYPE_F32, out, err);
}

enum quern_status log_minus_source(struct arena *arena, const struct source *from,
                                   struct source *out, struct quern_error *err)
{
    return around(arena, from, &log_minus, from->tensor->name, DTYPE_F32, out, err);
}

enum quern_status typed_source(struct arena *arena, const struct source *from, struct str name,
                               enum dtype dtype, struct source *out, struct quern_error *err)
{
    if (from->tensor->dtype != dtype)
        return around(arena, from, &retyped, name, dtype, out, err);
    struct tensor *t = ARENA_NEW(arena, struct tensor, 1);
    if (!t)
        return fail_memory(err, sizeof *t);
    *t = *from->tensor;
    t->name = name;
    *out = *from;
    out->tensor = t;
    return QUERN_OK;
}

/* ---- looking inside ------------------------------------------------------------------------- */

struct look {
    float x[PIECE], back[PIECE];
    uint8_t raw[PIECE * sizeof(float)];
};

static enum quern_status look_at(const struct source *s, enum dtype dtype, struct look *l,
                                 void *scratch, bool *fits, struct quern_error *err)
{
    uint64_t moved = 0;
    *fits = true;
    for (uint64_t at = 0; at < s->tensor->nelems && *fits;) {
        const uint64_t rest = s->tensor->nelems - at;
        const size_t n = rest < PIECE ? (size_t)rest : PIECE;
        TRY(source_read(s, scratch, false, at, n, l->x, &moved, err));
        codec_kernels()->encode[dtype](l->x, l->raw, n);
        codec_kernels()->decode[dtype](l->raw, l->back, n);
        *fits = memcmp(l->x, l->back, n * sizeof *l->x) == 0;
        at += n;
    }
    return QUERN_OK;
}

enum quern_status fits_type(const struct source *s, enum dtype dtype, bool *fits,
                            struct quern_error *err)
{
    struct look *l = malloc(sizeof *l);
    void *scratch = source_scratch_new(s, false);
    const enum quern_status status =
        l && scratch ? look_at(s, dtype, l, scratch, fits, err) : fail_memory(err, sizeof *l);
    free(scratch);
    free(l);
    return status;
}
