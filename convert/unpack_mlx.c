/* unpack_mlx.c - MLX: X.weight as words of small integers, X.scales and X.biases. */
#include "packed_ints.h"

static bool claims_mlx(const struct unpacking *u)
{
    return u->method.n == 0 && json_get(u->config, "bits") && json_get(u->config, "group_size");
}

/* Beside the numbers for all there are those of single modules, by their names. */
static enum quern_status check_keys(const struct unpacking *u, struct quern_error *err)
{
    for (const struct json *v = json_first(u->config); v; v = json_next(v)) {
        const struct str key = json_key_of(v);
        bool truth;
        if (json_is_object(v))
            TRY(unpack_known_keys(v, "group_size bits mode", err));
        else if (!json_bool(v, &truth) && !str_is(key, "group_size") && !str_is(key, "bits") &&
                 !str_is(key, "mode"))
            return unpack_unknown(key.p, v, "expected no such key: it is not known to be harmless",
                                  err);
    }
    return QUERN_OK;
}

/* A number of this module, or the one for all. */
static const struct json *setting(const struct unpacking *u, struct str stem, const char *key)
{
    for (const struct json *v = json_first(u->config); v; v = json_next(v))
        if (json_is_object(v) && str_eq(json_key_of(v), stem) && json_get(v, key))
            return json_get(v, key);
    return json_get(u->config, key);
}

static enum quern_status read_settings(const struct unpacking *u, struct str stem,
                                       struct packed_ints *p, struct quern_error *err)
{
    const struct json *bits = setting(u, stem, "bits"), *mode = setting(u, stem, "mode");
    const struct json *group = setting(u, stem, "group_size");
    struct str text;
    uint64_t n;
    if (mode && !(json_text(mode, &text) && str_is(text, "affine")))
        return unpack_unknown("mode", mode, "expected affine", err);
    if (!json_u64(bits, &n) || n < 2 || n > 8 || n == 7)
        return unpack_unknown("bits", bits, "expected 2, 3, 4, 5, 6 or 8", err);
    p->bits = (unsigned)n;
    if (!json_u64(group, &p->group) || p->group == 0)
        return unpack_unknown("group_size", group, "expected a number of columns", err);
    return QUERN_OK;
}

static enum quern_status unpack_weight(struct unpacking *u, struct str stem,
                                       struct quern_error *err)
{
    struct packed_ints *p = ARENA_NEW(u->arena, struct packed_ints, 1);
    if (!p)
        return fail_memory(err, sizeof *p);
    *p = (struct packed_ints){.layout = CODES_ALONG, .rule = VALUE_BIASED};
    TRY(read_settings(u, stem, p, err));
    TRY(unpack_part(u, stem, ".weight", true, &p->codes, err));
    TRY(unpack_part(u, stem, ".scales", true, &p->scales, err));
    TRY(unpack_part(u, stem, ".biases", true, &p->biases, err));
    const struct tensor *t = p->codes->tensor;
    uint64_t *dims = ARENA_NEW(u->arena, uint64_t, t->ndims + 1u);
    if (!dims)
        return fail_memory(err, t->ndims * sizeof *dims);
    if (t->ndims < 2 || t->nelems == 0 || t->dims[t->ndims - 1] > UINT32_MAX)
        return source_misfit(err, p->codes, "rows of packed integers");
    memcpy(dims, t->dims, t->ndims * sizeof *dims);
    p->cols = t->dims[t->ndims - 1] * 32 / p->bits;
    p->rows = t->nelems / t->dims[t->ndims - 1];
    p->round = p->scales->tensor->dtype;
    dims[t->ndims - 1] = p->cols;
    if (p->biases->tensor->dtype != p->round)
        return source_misfit(err, p->biases, "the type of the scales");
    return packed_ints_put(u, p->codes, stem, p, dims, t->ndims, err);
}

static enum quern_status unpack_mlx(struct unpacking *u, struct quern_error *err)
{
    struct str stem;
    TRY(check_keys(u, err));
    for (uint32_t i = 0; unpack_next(u, ".scales", &i, &stem);)
        TRY(unpack_weight(u, stem, err));
    return QUERN_OK;
}

const struct packing packing_mlx = {
    .name = "MLX", .parts = ".scales .biases", .claims = claims_mlx, .unpack = unpack_mlx};
