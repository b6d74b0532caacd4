/* unpack_compressed_ints.c - compressed-tensors with integers: X.weight_packed of words, or
 * X.weight of bytes, and X.weight_scale. */
#include <inttypes.h>

#include "packed_ints.h"

#define MOST_SCHEMES 64u

/* How the weights of some modules are stored. */
struct scheme {
    unsigned bits;
    uint64_t group; /* 0: all columns of a row */
    bool one_scale; /* for the whole tensor */
};

struct schemes {
    struct scheme of[MOST_SCHEMES];
    unsigned count;
};

static bool is_text(const struct json *v, const char *text)
{
    struct str s;
    return json_text(v, &s) && str_is(s, text);
}

static bool is_format(const struct json *v)
{
    return is_text(v, "pack-quantized") || is_text(v, "int-quantized") ||
           is_text(v, "naive-quantized");
}

/* A group may have a format of its own. */
static bool is_ints(const struct json *group, const struct json *format)
{
    const struct json *own = json_get(group, "format"), *weights = json_get(group, "weights");
    if (!is_format(own && !json_is_null(own) ? own : format))
        return false;
    return !json_get(weights, "type") || is_text(json_get(weights, "type"), "int");
}

static bool claims_compressed_ints(const struct unpacking *u)
{
    const struct json *groups = json_get(u->config, "config_groups");
    if (u->method.n && !str_is(u->method, "compressed-tensors"))
        return false;
    for (const struct json *g = json_first(groups); g; g = json_next(g))
        if (!is_ints(g, json_get(u->config, "format")))
            return false;
    return json_first(groups) != NULL;
}

static bool claims_compressed_words(const struct unpacking *u)
{
    return claims_compressed_ints(u) && is_text(json_get(u->config, "format"), "pack-quantized");
}

/* ---- config.json ------------------------------------------------------------------------------
 */

static enum quern_status read_scheme(const struct json *weights, struct scheme *s,
                                     struct quern_error *err)
{
    const struct json *strategy = json_get(weights, "strategy"), *bits;
    uint64_t n;
    TRY(unpack_known_keys(weights,
                          "num_bits type symmetric group_size strategy actorder observer "
                          "observer_kwargs scale_dtype zp_dtype",
                          err));
    bits = json_get(weights, "num_bits");
    if (!json_u64(bits, &n) || n < 1 || n > 8)
        return unpack_unknown("num_bits", bits, "expected 1 to 8", err);
    TRY(packed_group_size(weights, "group_size", &s->group, err));
    s->bits = (unsigned)n;
    s->one_scale = is_text(strategy, "tensor") ||
                   ((!strategy || json_is_null(strategy)) && !json_get(weights, "group_size"));
    if (s->one_scale || is_text(strategy, "channel") || !strategy || json_is_null(strategy))
        return QUERN_OK;
    if (is_text(strategy, "group") && s->group)
        return QUERN_OK;
    return unpack_unknown("strategy", strategy, "expected tensor, channel or group with its size",
                          err);
}

static bool same_scheme(const struct scheme *a, const struct scheme *b)
{
    return a->bits == b->bits && a->group == b->group && a->one_scale == b->one_scale;
}

static enum quern_status add_scheme(const struct json *weights, struct schemes *all,
                                    struct quern_error *err)
{
    struct scheme s = {.bits = 0};
    TRY(read_scheme(weights, &s, err));
    for (unsigned i = 0; i < all->count; i++)
        if (same_scheme(&s, &all->of[i]))
            return QUERN_OK;
    if (all->count == MOST_SCHEMES)
        return fail(err, QUERN_EUNSUPPORTED, "packing",
                    "its weights are packed in more than %u ways" WANT "expected fewer",
                    MOST_SCHEMES);
    all->of[all->count++] = s;
    return QUERN_OK;
}

static enum quern_status read_schemes(const struct unpacking *u, struct schemes *all,
                                      struct quern_error *err)
{
    const struct json *groups = json_get(u->config, "config_groups");
    TRY(unpack_known_keys(u->config,
                          "quant_method config_groups format global_compression_ratio ignore "
                          "kv_cache_scheme quantization_status version",
                          err));
    for (const struct json *g = json_first(groups); g; g = json_next(g)) {
        TRY(unpack_known_keys(g, "targets weights input_activations output_activations format",
                              err));
        if (json_is_object(json_get(g, "weights")))
            TRY(add_scheme(json_get(g, "weights"), all, err));
    }
    if (all->count == 0)
        return unpack_unknown("config_groups", groups, "expected how weights are stored", err);
    return QUERN_OK;
}

/* ---- weights ----------------------------------------------------------------------------------
 */

/* Does a matrix of this shape stored so have these parts? */
static bool fits(const struct scheme *s, const struct packed_ints *p)
{
    const struct tensor *codes = p->codes->tensor, *scales = p->scales->tensor;
    const uint64_t group = s->group ? s->group : p->cols;
    const uint64_t ngroups = p->cols / group + (p->cols % group != 0);
    if (p->layout == CODES_SIGNED ? s->bits > 8
                                  : codes->dims[codes->ndims - 1] != (p->cols * s->bits + 31) / 32)
        return false;
    return s->one_scale ? scales->nelems == 1
                        : scales->nelems / p->rows == ngroups && scales->nelems % p->rows == 0;
}

/* config.json tells by the names of modules which scheme is whose, in expressions; shapes tell it
 * too. */
static enum quern_status choose_scheme(const struct schemes *all, struct packed_ints *p,
                                       struct quern_error *err)
{
    const struct scheme *found = NULL;
    for (unsigned i = 0; i < all->count; i++) {
        if (!fits(&all->of[i], p))
            continue;
        if (found)
            return in_source(err, p->codes,
                             fail(err, QUERN_EUNSUPPORTED, "packing",
                                  "its shape fits several of config_groups" WANT
                                  "expected one that it fits"));
        found = &all->of[i];
    }
    if (!found)
        return source_misfit(err, p->codes, "a shape that fits its scales and config_groups");
    p->bits = found->bits;
    p->group = found->group ? found->group : p->cols;
    p->scale_layout = found->one_scale ? SCALES_ONE : SCALES_BY_ROW;
    return QUERN_OK;
}

/* Zeros are words that run down the rows, or bytes; a single one is looked up now. */
static enum quern_status choose_zeros(struct packed_ints *p, unsigned middle,
                                      struct quern_error *err)
{
    const struct tensor *t = p->zeros ? p->zeros->tensor : NULL;
    int8_t one = 0;
    p->zero = middle;
    p->zero_layout = ZEROS_FIXED;
    if (!t)
        return QUERN_OK;
    if (p->scale_layout == SCALES_ONE) {
        TRY(packed_values(p->zeros, DTYPE_I8, &one, 1, err));
        if (one < -(int)middle)
            return source_misfit(err, p->zeros, "one of the codes");
        p->zero = (unsigned)((int)middle + one);
        p->zeros = NULL;
    } else if (t->dtype == DTYPE_I8) {
        p->zero_layout = ZEROS_SIGNED;
    } else {
        p->zero_layout = ZEROS_DOWN;
        p->zero = 0;
    }
    return QUERN_OK;
}

static enum quern_status read_shape(struct unpacking *u, const struct source *shape,
                                    uint64_t **dims, uint8_t *ndims, struct quern_error *err)
{
    const uint64_t n = shape->tensor->nelems;
    const bool narrow = shape->tensor->dtype == DTYPE_I32;
    int64_t *values = ARENA_NEW(u->arena, int64_t, MAX_DIMS);
    if (!values)
        return fail_memory(err, MAX_DIMS * sizeof *values);
    if (n < 2 || n > MAX_DIMS)
        return source_misfit(err, shape, "the dimensions of a matrix");
    TRY(packed_values(shape, narrow ? DTYPE_I32 : DTYPE_I64, values, n, err));
    for (uint64_t i = n; i-- > 0;) {
        int32_t v;
        memcpy(&v, (const uint8_t *)values + i * sizeof v, sizeof v);
        values[i] = narrow ? v : values[i];
        if (values[i] <= 0)
            return source_misfit(err, shape, "dimensions that are not empty");
    }
    *dims = (uint64_t *)values;
    *ndims = (uint8_t)n;
    return QUERN_OK;
}

static enum quern_status put(struct unpacking *u, const struct schemes *all, struct str stem,
                             struct packed_ints *p, const uint64_t *dims, uint8_t ndims,
                             struct quern_error *err)
{
    uint64_t nelems;
    if (!dims_product(dims, ndims, &nelems) || nelems == 0 || ndims < 2 ||
        p->codes->tensor->ndims == 0 || dims[ndims - 1] > UINT32_MAX)
        return source_misfit(err, p->codes, "a matrix that is not empty");
    p->cols = dims[ndims - 1];
    p->rows = nelems / p->cols;
    p->round = DTYPE_F32;
    TRY(choose_scheme(all, p, err));
    TRY(choose_zeros(p, p->layout == CODES_SIGNED ? 128u : 1u << (p->bits - 1), err));
    if (p->layout == CODES_SIGNED)
        p->bits = 8;
    return packed_ints_put(u, p->codes, stem, p, dims, ndims, err);
}

static enum quern_status unpack_words(struct unpacking *u, const struct schemes *all,
                                      struct str stem, struct quern_error *err)
{
    struct packed_ints *p = ARENA_NEW(u->arena, struct packed_ints, 1);
    const struct source *shape;
    uint64_t *dims = NULL;
    uint8_t ndims = 0;
    if (!p)
        return fail_memory(err, sizeof *p);
    p->layout = CODES_ALONG;
    TRY(unpack_part(u, stem, ".weight_packed", true, &p->codes, err));
    TRY(unpack_part(u, stem, ".weight_scale", true, &p->scales, err));
    TRY(unpack_part(u, stem, ".weight_shape", true, &shape, err));
    TRY(unpack_part(u, stem, ".weight_zero_point", false, &p->zeros, err));
    TRY(unpack_part(u, stem, ".weight_g_idx", false, &p->order, err));
    TRY(read_shape(u, shape, &dims, &ndims, err));
    return put(u, all, stem, p, dims, ndims, err);
}

static enum quern_status unpack_bytes(struct unpacking *u, const struct schemes *all,
                                      struct str stem, struct quern_error *err)
{
    struct packed_ints *p = ARENA_NEW(u->arena, struct packed_ints, 1);
    if (!p)
        return fail_memory(err, sizeof *p);
    p->layout = CODES_SIGNED;
    TRY(unpack_part(u, stem, ".weight", true, &p->codes, err));
    TRY(unpack_part(u, stem, ".weight_scale", true, &p->scales, err));
    TRY(unpack_part(u, stem, ".weight_zero_point", false, &p->zeros, err));
    TRY(unpack_part(u, stem, ".weight_g_idx", false, &p->order, err));
    return put(u, all, stem, p, p->codes->tensor->dims, p->codes->tensor->ndims, err);
}

static enum quern_status unpack_compressed_ints(struct unpacking *u, struct quern_error *err)
{
    struct schemes all = {.count = 0};
    struct str stem;
    TRY(read_schemes(u, &all, err));
    for (uint32_t i = 0; unpack_next(u, ".weight_packed", &i, &stem);)
        TRY(unpack_words(u, &all, stem, err));
    for (uint32_t i = 0; unpack_next(u, ".weight", &i, &stem);)
        if (u->from->sources[i - 1].tensor->dtype == DTYPE_I8)
            TRY(unpack_bytes(u, &all, stem, err));
    unpack_ignore(u, ".input_scale .input_zero_point .output_scale .output_zero_point .k_scale "
                     ".k_zero_point .v_scale .v_zero_point .q_scale");
    return QUERN_OK;
}

#define PARTS ".weight_packed .weight_scale .weight_shape .weight_zero_point .weight_g_idx"

const struct packing packing_compressed_ints = {.name = "compressed-tensors",
                                                .parts = PARTS,
                                                .claims = claims_compressed_ints,
                                                .unpack = unpack_compressed_ints};
const struct packing packing_compressed_words = {.name = "compressed-tensors",
                                                 .parts = PARTS,
                                                 .claims = claims_compressed_words,
                                                 .comes_last = true,
                                                 .unpack = unpack_compressed_ints};
