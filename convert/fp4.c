/* fp4.c - put scales and codes of 4-bit floats together, as values and in the blocks GGUF has. */
#include "fp4.h"

#include "scaled.h"

#define MX_ELEMS  32u
#define MX_BYTES  17u
#define NV_ELEMS  64u
#define NV_BYTES  36u
#define NV_SCALES 4u
#define AT_ONCE   256u /* blocks of MXFP4 */

/* A tensor like t with the last dimension replaced. */
static struct tensor *with_row(struct arena *arena, const struct tensor *t, unsigned ndims,
                               uint64_t row, enum dtype dtype)
{
    struct tensor *own = ARENA_NEW(arena, struct tensor, 1);
    uint64_t *dims = ARENA_NEW(arena, uint64_t, ndims);
    if (!own || !dims)
        return NULL;
    memcpy(dims, t->dims, (ndims - 1) * sizeof *dims);
    dims[ndims - 1] = row;
    *own = *t;
    own->dims = dims;
    own->ndims = (uint8_t)ndims;
    own->dtype = (uint8_t)dtype;
    /* Sizes follow those of stored bytes, but may be several times as large. */
    return dims_product(dims, ndims, &own->nelems) && dtype_bytes(dtype, own->nelems, &own->nbytes)
               ? own
               : NULL;
}

/* ---- codes ---------------------------------------------------------------------------------- */

static const float code_values[16] = {0,     0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                      -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

/* The codes alone, as the numbers they stand for. */
struct code_scratch {
    uint8_t raw[PIECE / 2 + 1];
    float values[PIECE]; /* when double is asked for */
};

static size_t codes_scratch(const struct source *s, bool wide)
{
    (void)s;
    (void)wide;
    return sizeof(struct code_scratch);
}

/* The first code is in the upper half of its byte when odd. */
static void decode_codes(const uint8_t *raw, bool odd, size_t n, float *x)
{
    size_t i = 0;
    if (odd && n > 0)
        x[i++] = code_values[*raw++ >> 4];
    for (; i + 1 < n; i += 2, raw++) {
        x[i] = code_values[*raw & 15];
        x[i + 1] = code_values[*raw >> 4];
    }
    if (i < n)
        x[i] = code_values[*raw & 15];
}

static enum quern_status codes_read(const struct source *s, void *scratch, bool wide,
                                    uint64_t first, size_t n, void *x, uint64_t *moved,
                                    struct quern_error *err)
{
    struct code_scratch *room = scratch;
    TRY(source_read_raw(s->params, first / 2, (first + n + 1) / 2 - first / 2, room->raw, moved,
                        err));
    decode_codes(room->raw, first % 2, n, wide ? room->values : x);
    for (size_t i = 0; wide && i < n; i++)
        ((double *)x)[i] = (double)room->values[i];
    return QUERN_OK;
}

static const struct source *codes_inner(const struct source *s, uint32_t i)
{
    return i == 0 ? s->params : NULL;
}

static const struct source_kind codes_kind = {.name = "4-bit floats",
                                              .scratch_bytes = codes_scratch,
                                              .read = codes_read,
                                              .inner = codes_inner};

/* ---- MXFP4 ---------------------------------------------------------------------------------- */

struct mxfp4 {
    struct source packed, scales, values;
};

/* Bytes with values 0 1, 2 3, ... of one scale become 0 n/2, 1 n/2+1, ... */
static void reorder(const uint8_t *packed, unsigned nbytes, uint8_t *to)
{
    for (unsigned j = 0; j < nbytes; j++) {
        const unsigned shift = j % 2 * 4;
        const unsigned low = packed[j / 2] >> shift & 15u;
        const unsigned high = packed[(j + nbytes) / 2] >> shift & 15u;
        to[j] = (uint8_t)(low | high << 4);
    }
}

static enum quern_status mxfp4_read_blocks(const struct source *s, uint64_t first, uint64_t n,
                                           uint8_t *to, uint64_t *moved, struct quern_error *err)
{
    const struct mxfp4 *m = s->params;
    uint8_t packed[AT_ONCE * MX_ELEMS / 2], scales[AT_ONCE];
    const uint64_t nblocks = n / MX_ELEMS;
    for (uint64_t done = 0; done < nblocks;) {
        const size_t some = nblocks - done < AT_ONCE ? (size_t)(nblocks - done) : AT_ONCE;
        const uint64_t at = first / MX_ELEMS + done;
        TRY(source_read_raw(&m->packed, at * (MX_ELEMS / 2), some * (MX_ELEMS / 2), packed, moved,
                            err));
        TRY(source_read_raw(&m->scales, at, some, scales, moved, err));
        for (size_t i = 0; i < some; i++, to += MX_BYTES) {
            to[0] = scales[i];
            reorder(packed + i * (MX_ELEMS / 2), MX_ELEMS / 2, to + 1);
        }
        done += some;
    }
    return QUERN_OK;
}

static const struct block_form *mxfp4_form(const struct source *s, uint32_t i)
{
    static const struct block_form form = {DTYPE_MXFP4, 1.0f, 1.0f};
    (void)s;
    return i == 0 ? &form : NULL;
}

static size_t mxfp4_scratch(const struct source *s, bool wide)
{
    return source_scratch_bytes(&((const struct mxfp4 *)s->params)->values, wide);
}

static enum quern_status mxfp4_read(const struct source *s, void *scratch, bool wide,
                                    uint64_t first, size_t n, void *x, uint64_t *moved,
                                    struct quern_error *err)
{
    const struct mxfp4 *m = s->params;
    return source_read(&m->values, scratch, wide, first, n, x, moved, err);
}

static const struct source *mxfp4_inner(const struct source *s, uint32_t i)
{
    const struct mxfp4 *m = s->params;
    return i == 0 ? &m->packed : i == 1 ? &m->scales : NULL;
}

static const struct source_kind mxfp4_kind = {.name = "MXFP4",
                                              .scratch_bytes = mxfp4_scratch,
                                              .read = mxfp4_read,
                                              .inner = mxfp4_inner,
                                              .block_form = mxfp4_form,
                                              .read_blocks = mxfp4_read_blocks};

static bool mxfp4_fit(const struct tensor *packed, const struct tensor *scales)
{
    const unsigned n = scales->ndims;
    if (packed->dtype != DTYPE_U8 || (scales->dtype != DTYPE_U8 && scales->dtype != DTYPE_F8_E8M0))
        return false;
    if (n < 2 || scales->nelems == 0 || packed->nelems != scales->nelems * (MX_ELEMS / 2))
        return false;
    if (packed->ndims == n + 1)
        return packed->dims[n] == MX_ELEMS / 2 &&
               memcmp(packed->dims, scales->dims, n * sizeof *scales->dims) == 0;
    return packed->ndims == n &&
           memcmp(packed->dims, scales->dims, (n - 1) * sizeof *scales->dims) == 0;
}

enum quern_status mxfp4_source(struct arena *arena, const struct source *packed,
                               const struct source *scales, enum dtype dtype, struct source *out,
                               struct quern_error *err)
{
    static const uint64_t block[2] = {1, MX_ELEMS};
    struct mxfp4 *own = ARENA_NEW(arena, struct mxfp4, 1);
    struct tensor *powers = ARENA_NEW(arena, struct tensor, 1);
    const struct tensor *t = scales->tensor;
    if (!own || !powers)
        return fail_memory(err, sizeof *own);
    if (!mxfp4_fit(packed->tensor, t))
        return source_misfit(err, packed, "16 bytes for each of its scales");
    own->packed = *packed;
    own->scales = *scales;
    struct tensor *made = with_row(arena, t, t->ndims, t->dims[t->ndims - 1] * MX_ELEMS, dtype);
    if (!made)
        return fail_memory(err, sizeof *made);
    made->name = packed->tensor->name;
    made->file = packed->tensor->file;
    *powers = *t;
    powers->dtype = DTYPE_F8_E8M0;
    own->scales.tensor = powers;
    const struct source codes = {
        .model = packed->model, .tensor = made, .kind = &codes_kind, .params = &own->packed};
    TRY(scaled_source(arena, &codes, &own->scales, block, dtype, &own->values, err));
    *out =
        (struct source){.model = packed->model, .tensor = made, .kind = &mxfp4_kind, .params = own};
    return QUERN_OK;
}

/* ---- NVFP4: values -------------------------------------------------------------------------- */

/* The scales of blocks with the number above them. */
struct global_scales {
    struct source scales;
    struct nvfp4_globals globals;
};

static size_t global_scratch(const struct source *s, bool wide)
{
    const struct global_scales *g = s->params;
    return source_scratch_bytes(&g->scales, wide);
}

static enum quern_status global_read(const struct source *s, void *scratch, bool wide,
                                     uint64_t first, size_t n, void *x, uint64_t *moved,
                                     struct quern_error *err)
{
    const struct global_scales *g = s->params;
    const uint64_t each = g->scales.tensor->nelems / g->globals.count;
    TRY(source_read(&g->scales, scratch, wide, first, n, x, moved, err));
    for (size_t i = 0; i < n; i++) {
        const uint64_t k = (first + i) / each;
        const float scale = wide ? (float)((double *)x)[i] : ((float *)x)[i];
        const float y =
            g->globals.inverse ? scale / g->globals.divisors[k] : scale * g->globals.factors[k];
        if (wide)
            ((double *)x)[i] = (double)y;
        else
            ((float *)x)[i] = y;
    }
    return QUERN_OK;
}

static const struct source *global_inner(const struct source *s, uint32_t i)
{
    return i == 0 ? &((const struct global_scales *)s->params)->scales : NULL;
}

static const struct source_kind global_kind = {.name = "scales of scales",
                                               .scratch_bytes = global_scratch,
                                               .read = global_read,
                                               .inner = global_inner};

/* ---- NVFP4: blocks -------------------------------------------------------------------------- */

struct nvfp4 {
    struct source packed, scales, values;
    const struct block_form *forms;
    uint64_t nforms; /* 0: rows are no whole blocks */
};

static size_t nvfp4_scratch(const struct source *s, bool wide)
{
    const struct nvfp4 *m = s->params;
    return source_scratch_bytes(&m->values, wide);
}

static enum quern_status nvfp4_read(const struct source *s, void *scratch, bool wide,
                                    uint64_t first, size_t n, void *x, uint64_t *moved,
                                    struct quern_error *err)
{
    const struct nvfp4 *m = s->params;
    return source_read(&m->values, scratch, wide, first, n, x, moved, err);
}

static const struct block_form *nvfp4_form(const struct source *s, uint32_t i)
{
    const struct nvfp4 *m = s->params;
    return i < m->nforms ? &m->forms[i] : NULL;
}

/* The scale without its sign, which GGUF has no place for. */
static enum quern_status take_scale(const struct nvfp4 *m, uint8_t code, uint64_t at, uint8_t *to,
                                    struct quern_error *err)
{
    *to = code & 0x7f;
    if (code > 0x80 || code == 0x7f)
        return in_source(err, &m->scales,
                         fail(err, QUERN_EFORMAT, "scale",
                              "scale %llu is %s" WANT "expected numbers that are not negative",
                              (unsigned long long)at, *to == 0x7f ? "NaN" : "negative"));
    return QUERN_OK;
}

static enum quern_status nvfp4_read_blocks(const struct source *s, uint64_t first, uint64_t n,
                                           uint8_t *to, uint64_t *moved, struct quern_error *err)
{
    const struct nvfp4 *m = s->params;
    uint8_t packed[AT_ONCE / 2 * NV_ELEMS / 2], scales[AT_ONCE / 2 * NV_SCALES];
    const uint64_t nblocks = n / NV_ELEMS;
    for (uint64_t done = 0; done < nblocks;) {
        const size_t some = nblocks - done < AT_ONCE / 2 ? (size_t)(nblocks - done) : AT_ONCE / 2;
        const uint64_t at = first / NV_ELEMS + done;
        TRY(source_read_raw(&m->packed, at * (NV_ELEMS / 2), some * (NV_ELEMS / 2), packed, moved,
                            err));
        TRY(source_read_raw(&m->scales, at * NV_SCALES, some * NV_SCALES, scales, moved, err));
        for (size_t i = 0; i < some * NV_SCALES; i++) {
            uint8_t *block = to + i / NV_SCALES * NV_BYTES;
            const size_t k = i % NV_SCALES;
            TRY(take_scale(m, scales[i], at * NV_SCALES + i, block + k, err));
            reorder(packed + i * 8, 8, block + NV_SCALES + k * 8);
        }
        to += some * NV_BYTES;
        done += some;
    }
    return QUERN_OK;
}

static const struct source *nvfp4_inner(const struct source *s, uint32_t i)
{
    const struct nvfp4 *m = s->params;
    return i == 0 ? &m->packed : i == 1 ? &m->scales : NULL;
}

static const struct source_kind nvfp4_kind = {.name = "NVFP4",
                                              .scratch_bytes = nvfp4_scratch,
                                              .read = nvfp4_read,
                                              .inner = nvfp4_inner,
                                              .block_form = nvfp4_form,
                                              .read_blocks = nvfp4_read_blocks};

static enum quern_status make_forms(struct arena *arena, struct nvfp4 *m,
                                    const struct nvfp4_globals *g, uint64_t row,
                                    struct quern_error *err)
{
    if (row % NV_ELEMS != 0)
        return QUERN_OK;
    struct block_form *forms = ARENA_NEW(arena, struct block_form, g->count);
    if (!forms)
        return fail_memory(err, g->count * sizeof *forms);
    for (uint64_t i = 0; i < g->count; i++)
        forms[i] = (struct block_form){DTYPE_NVFP4, g->factors[i], g->inputs ? g->inputs[i] : 1.0f};
    m->forms = forms;
    m->nforms = g->count;
    return QUERN_OK;
}

/* Codes times scales, block by block. */
static enum quern_status make_values(struct arena *arena, struct nvfp4 *m,
                                     const struct nvfp4_globals *globals, const struct tensor *t,
                                     struct quern_error *err)
{
    static const uint64_t block[2] = {1, 16};
    struct global_scales *g = ARENA_NEW(arena, struct global_scales, 1);
    if (!g)
        return fail_memory(err, sizeof *g);
    *g = (struct global_scales){m->scales, *globals};
    const struct source codes = {
        .model = m->packed.model, .tensor = t, .kind = &codes_kind, .params = &m->packed};
    const struct source scales = {
        .model = m->scales.model, .tensor = m->scales.tensor, .kind = &global_kind, .params = g};
    return scaled_source(arena, &codes, &scales, block, (enum dtype)t->dtype, &m->values, err);
}

static bool nvfp4_fit(const struct tensor *packed, const struct tensor *scales,
                      const struct nvfp4_globals *globals)
{
    const unsigned n = packed->ndims;
    uint64_t nmats = 1;
    if (packed->dtype != DTYPE_U8 || scales->dtype != DTYPE_F8_E4M3 || n < 2 || scales->ndims != n)
        return false;
    for (unsigned i = 0; i + 2 < n; i++)
        nmats *= packed->dims[i];
    return scales->nelems > 0 && packed->nelems / 8 == scales->nelems &&
           packed->dims[n - 1] % 8 == 0 &&
           memcmp(packed->dims, scales->dims, (n - 1) * sizeof *packed->dims) == 0 &&
           (globals->count == 1 || globals->count == nmats);
}

enum quern_status nvfp4_source(struct arena *arena, const struct source *packed,
                               const struct source *scales, const struct nvfp4_globals *globals,
                               enum dtype dtype, struct source *out, struct quern_error *err)
{
    struct nvfp4 *own = ARENA_NEW(arena, struct nvfp4, 1);
    const struct tensor *t = packed->tensor;
    if (!own)
        return fail_memory(err, sizeof *own);
    if (!nvfp4_fit(t, scales->tensor, globals))
        return source_misfit(err, packed, "8 bytes for each of its scales");
    const uint64_t row = t->dims[t->ndims - 1] * 2;
    const struct tensor *made = with_row(arena, t, t->ndims, row, dtype);
    if (!made)
        return fail_memory(err, sizeof *made);
    own->packed = *packed;
    own->scales = *scales;
    TRY(make_forms(arena, own, globals, row, err));
    TRY(make_values(arena, own, globals, made, err));
    *out =
        (struct source){.model = packed->model, .tensor = made, .kind = &nvfp4_kind, .params = own};
    return QUERN_OK;
}
