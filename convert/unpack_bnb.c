/* unpack_bnb.c - bitsandbytes: X.weight of bytes with X.SCB, or of pairs of 4-bit codes whose
 * scales and table are beside it. */
#include <inttypes.h>

#include "packed_ints.h"

#define MOST_STATE  65536u /* bytes of JSON */
#define MOST_NDIMS  8u
#define NESTED_ONES 256u

static bool claims_bnb(const struct unpacking *u)
{
    return str_is(u->method, "bitsandbytes") ||
           (u->method.n == 0 &&
            (json_get(u->config, "load_in_4bit") || json_get(u->config, "load_in_8bit")));
}

/* ---- 8 bits -----------------------------------------------------------------------------------
 */

static enum quern_status check_format(const struct source *format, struct quern_error *err)
{
    uint8_t value = 0;
    if (format)
        TRY(packed_values(format, DTYPE_U8, &value, 1, err));
    if (value == 0)
        return QUERN_OK;
    return in_source(err, format,
                     fail(err, QUERN_EUNSUPPORTED, "packing",
                          "weight_format is %u" WANT "expected 0: rows as they are", value));
}

static enum quern_status unpack_bytes(struct unpacking *u, struct str stem, struct quern_error *err)
{
    struct packed_ints *p = ARENA_NEW(u->arena, struct packed_ints, 1);
    const struct source *format;
    if (!p)
        return fail_memory(err, sizeof *p);
    *p = (struct packed_ints){.bits = 8,
                              .layout = CODES_SIGNED,
                              .rule = VALUE_TWICE,
                              .round = DTYPE_F32,
                              .zero = 128,
                              .factor = 7.874015718698502e-3f}; /* 1 / 127 as it is written there */
    TRY(unpack_part(u, stem, ".weight", true, &p->codes, err));
    TRY(unpack_part(u, stem, ".SCB", true, &p->scales, err));
    TRY(unpack_part(u, stem, ".weight_format", false, &format, err));
    TRY(check_format(format, err));
    const struct tensor *t = p->codes->tensor;
    if (t->ndims != 2 || t->nelems == 0)
        return source_misfit(err, p->codes, "a matrix");
    p->rows = t->dims[0];
    p->cols = p->group = t->dims[1];
    return packed_ints_put(u, p->codes, stem, p, t->dims, t->ndims, err);
}

/* ---- 4 bits -----------------------------------------------------------------------------------
 */

/* What the state of a weight says: JSON as the bytes of a tensor. */
struct state {
    uint64_t dims[MOST_NDIMS];
    uint8_t ndims;
    uint64_t block, outer_block;
    double offset;
    enum dtype dtype;
    bool is_fp4;
};

static bool read_dtype(const struct json *v, enum dtype *out)
{
    struct str text;
    if (!json_text(v, &text))
        return false;
    *out = str_is(text, "float16") ? DTYPE_F16 : str_is(text, "bfloat16") ? DTYPE_BF16 : DTYPE_F32;
    return *out != DTYPE_F32 || str_is(text, "float32");
}

static bool read_shape(const struct json *v, struct state *s)
{
    for (const struct json *d = json_first(v); d; d = json_next(d))
        if (s->ndims == MOST_NDIMS || !json_u64(d, &s->dims[s->ndims++]))
            return false;
    return s->ndims > 0;
}

static enum quern_status read_state(const struct json *root, bool nested, struct state *s,
                                    struct quern_error *err)
{
    *s = (struct state){.ndims = 0};
    TRY(unpack_known_keys(root,
                          "quant_type blocksize dtype shape nested_blocksize nested_dtype "
                          "nested_offset",
                          err));
    if (!json_u64(json_get(root, "blocksize"), &s->block) || s->block < 2 || s->block % 2)
        return unpack_unknown("blocksize", json_get(root, "blocksize"), "expected a power of two",
                              err);
    if (!read_dtype(json_get(root, "dtype"), &s->dtype))
        return unpack_unknown("dtype", json_get(root, "dtype"),
                              "expected float16, bfloat16 or float32", err);
    if (!read_shape(json_get(root, "shape"), s))
        return unpack_unknown("shape", json_get(root, "shape"), "expected dimensions", err);
    if (!nested)
        return QUERN_OK;
    enum dtype outer;
    if (!read_dtype(json_get(root, "nested_dtype"), &outer) || outer != DTYPE_F32)
        return unpack_unknown("nested_dtype", json_get(root, "nested_dtype"), "expected float32",
                              err);
    if (!json_u64(json_get(root, "nested_blocksize"), &s->outer_block) || s->outer_block == 0)
        return unpack_unknown("nested_blocksize", json_get(root, "nested_blocksize"),
                              "expected a number of scales", err);
    if (!json_f64(json_get(root, "nested_offset"), &s->offset))
        return unpack_unknown("nested_offset", json_get(root, "nested_offset"), "expected a number",
                              err);
    return QUERN_OK;
}

static enum quern_status load_state(struct unpacking *u, struct str stem, bool nested,
                                    struct state *s, struct quern_error *err)
{
    const struct source *nf4, *fp4;
    struct json *root = NULL;
    TRY(unpack_part(u, stem, ".weight.quant_state.bitsandbytes__fp4", false, &fp4, err));
    TRY(unpack_part(u, stem, ".weight.quant_state.bitsandbytes__nf4", !fp4, &nf4, err));
    const struct source *from = nf4 ? nf4 : fp4;
    const uint64_t n = from->tensor->nelems;
    char *text = n <= MOST_STATE ? arena_alloc(u->arena, (size_t)n + 1) : NULL;
    if (n > MOST_STATE)
        return source_misfit(err, from, "a few bytes of JSON");
    if (!text)
        return fail_memory(err, n);
    TRY(packed_values(from, DTYPE_U8, text, n, err));
    enum quern_status status = json_parse((struct str){text, (size_t)n}, &root, err);
    if (status == QUERN_OK)
        status = read_state(root, nested, s, err);
    json_free(root);
    s->is_fp4 = fp4 != NULL;
    return in_source(err, from, status);
}

static enum quern_status load_map(struct unpacking *u, const struct source *from, uint64_t n,
                                  float **out, struct quern_error *err)
{
    float *map = ARENA_NEW(u->arena, float, n);
    if (!map)
        return fail_memory(err, n * sizeof *map);
    TRY(packed_values(from, DTYPE_F32, map, n, err));
    *out = map;
    return QUERN_OK;
}

static enum quern_status load_outer(struct unpacking *u, struct str stem,
                                    const struct source *outer, const struct state *s,
                                    struct packed_ints *p, struct quern_error *err)
{
    struct packed_scales *o = ARENA_NEW(u->arena, struct packed_scales, 1);
    const struct source *map;
    float *values = NULL;
    if (!o)
        return fail_memory(err, sizeof *o);
    TRY(unpack_part(u, stem, ".weight.nested_quant_map", true, &map, err));
    o->outer = outer;
    o->block = s->outer_block;
    o->offset = (float)s->offset;
    TRY(load_map(u, map, NESTED_ONES, &values, err));
    o->map = values;
    p->outer = o;
    return QUERN_OK;
}

static enum quern_status unpack_pairs(struct unpacking *u, struct str stem, struct quern_error *err)
{
    struct packed_ints *p = ARENA_NEW(u->arena, struct packed_ints, 1);
    uint64_t *dims = ARENA_NEW(u->arena, uint64_t, MOST_NDIMS), nelems;
    const struct source *map, *outer;
    struct state s = {.ndims = 0};
    float *values = NULL;
    if (!p || !dims)
        return fail_memory(err, sizeof *p);
    *p = (struct packed_ints){.bits = 4, .layout = CODES_NIBBLES, .rule = VALUE_LOOK_UP};
    TRY(unpack_part(u, stem, ".weight", true, &p->codes, err));
    TRY(unpack_part(u, stem, ".weight.absmax", true, &p->scales, err));
    TRY(unpack_part(u, stem, ".weight.quant_map", true, &map, err));
    TRY(unpack_part(u, stem, ".weight.nested_absmax", false, &outer, err));
    TRY(load_state(u, stem, outer != NULL, &s, err));
    TRY(load_map(u, map, 16, &values, err));
    if (s.is_fp4 && values[8] == 0.0f)
        values[8] = -0.0f; /* its upper half is the lower with a sign */
    p->map = values;
    if (outer)
        TRY(load_outer(u, stem, outer, &s, p, err));
    if (s.block == 0 || !dims_product(s.dims, s.ndims, &nelems) || nelems == 0)
        return source_misfit(err, p->codes, "the shape its state tells");
    memcpy(dims, s.dims, sizeof s.dims);
    p->cols = p->group = s.block; /* a row is what shares a scale */
    p->rows = nelems / s.block + (nelems % s.block != 0);
    p->round = s.dtype;
    return packed_ints_put(u, p->codes, stem, p, dims, s.ndims, err);
}

static enum quern_status unpack_bnb(struct unpacking *u, struct quern_error *err)
{
    struct str stem;
    TRY(unpack_known_keys(
        u->config,
        "quant_method load_in_4bit load_in_8bit _load_in_4bit _load_in_8bit bnb_4bit_compute_dtype "
        "bnb_4bit_quant_storage bnb_4bit_quant_type bnb_4bit_use_double_quant "
        "llm_int8_enable_fp32_cpu_offload llm_int8_has_fp16_weight llm_int8_skip_modules "
        "llm_int8_threshold",
        err));
    for (uint32_t i = 0; unpack_next(u, ".SCB", &i, &stem);)
        TRY(unpack_bytes(u, stem, err));
    for (uint32_t i = 0; unpack_next(u, ".weight.absmax", &i, &stem);)
        TRY(unpack_pairs(u, stem, err));
    return QUERN_OK;
}

const struct packing packing_bnb = {
    .name = "bitsandbytes",
    .parts = ".SCB .weight_format .absmax .quant_map .nested_absmax .nested_quant_map "
             ".quant_state.bitsandbytes__nf4 .quant_state.bitsandbytes__fp4",
    .claims = claims_bnb,
    .unpack = unpack_bnb};
