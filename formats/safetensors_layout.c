/* safetensors_layout.c - write safetensors headers and indexes as the reference library does. */
#include <inttypes.h>
#include <stdlib.h>

#include "core/checked.h"
#include "core/json.h"
#include "formats/safetensors.h"

/* The library's own order of types, smallest alignment first. Data are sorted by it, last first. */
static const uint8_t type_order[] = {
    DTYPE_BOOL,    DTYPE_F4,      DTYPE_F6_E2M3, DTYPE_F6_E3M2,     DTYPE_U8,          DTYPE_I8,
    DTYPE_F8_E5M2, DTYPE_F8_E4M3, DTYPE_F8_E8M0, DTYPE_F8_E4M3FNUZ, DTYPE_F8_E5M2FNUZ, DTYPE_I16,
    DTYPE_U16,     DTYPE_F16,     DTYPE_BF16,    DTYPE_I32,         DTYPE_U32,         DTYPE_F32,
    DTYPE_C64,     DTYPE_F64,     DTYPE_I64,     DTYPE_U64,
};

static unsigned type_rank(enum dtype d)
{
    for (unsigned i = 0; i < sizeof type_order; i++)
        if (type_order[i] == d)
            return i;
    return 0;
}

static int by_type_then_name(const void *a, const void *b)
{
    const struct st_tensor *x = *(struct st_tensor *const *)a, *y = *(struct st_tensor *const *)b;
    const unsigned rx = type_rank(x->dtype), ry = type_rank(y->dtype);
    if (rx != ry)
        return rx > ry ? -1 : 1;
    return str_cmp(x->name, y->name);
}

static enum quern_status check_tensor(const struct st_tensor *t, struct quern_error *err)
{
    if (!dtype_traits[t->dtype].st_name)
        return fail(err, QUERN_EUNSUPPORTED, "dtype",
                    "safetensors has no type %s" WANT "expected a type that safetensors can store",
                    dtype_traits[t->dtype].name);
    if (t->name.n == 0 || str_is(t->name, "__metadata__") || !utf8_valid(t->name, NULL))
        return fail(err, QUERN_EUSAGE, "name",
                    "a tensor of a safetensors file cannot have this name" WANT
                    "expected UTF-8, not empty, not __metadata__");
    return QUERN_OK;
}

/* ---- header --------------------------------------------------------------------------------- */

static void put_tensor(struct json_writer *w, const struct st_tensor *t)
{
    json_key_str(w, t->name);
    json_open(w, '{');
    json_key(w, "dtype");
    json_put_text(w, dtype_traits[t->dtype].st_name);
    json_key(w, "shape");
    json_open(w, '[');
    for (uint32_t i = 0; i < t->ndims; i++)
        json_put_u64(w, t->dims[i]);
    json_close(w, ']');
    json_key(w, "data_offsets");
    json_open(w, '[');
    json_put_u64(w, t->offset);
    json_put_u64(w, t->offset + t->nbytes);
    json_close(w, ']');
    json_close(w, '}');
}

static void put_header(struct json_writer *w, const struct meta *metadata, uint32_t nmetadata,
                       struct st_tensor *const *order, uint32_t ntensors)
{
    static const char blanks[] = "        ";
    json_raw(w, (struct str){blanks, 8}); /* the length, filled in below */
    json_open(w, '{');
    if (nmetadata > 0) {
        json_key(w, "__metadata__");
        json_open(w, '{');
        for (uint32_t i = 0; i < nmetadata; i++) {
            json_key_str(w, metadata[i].key);
            json_put_str(w, metadata[i].value);
        }
        json_close(w, '}');
    }
    for (uint32_t i = 0; i < ntensors; i++)
        put_tensor(w, order[i]);
    json_close(w, '}');
    json_raw(w, (struct str){blanks, 7 - (w->n + 7) % 8});
    for (unsigned i = 0; i < 8 && !w->failed; i++)
        w->p[i] = (char)((uint64_t)(w->n - 8) >> (8 * i));
}

/* Offsets relative to the start of the data. */
static enum quern_status place_tensors(struct st_tensor *const *order, uint32_t ntensors,
                                       uint64_t *end, struct quern_error *err)
{
    *end = 0;
    for (uint32_t i = 0; i < ntensors; i++) {
        struct st_tensor *t = order[i];
        TRY(in_tensor(err, t->name, check_tensor(t, err)));
        t->offset = *end;
        if (!checked_add(*end, t->nbytes, end) || *end > INT64_MAX)
            return in_tensor(
                err, t->name,
                fail(err, QUERN_EUSAGE, "overflow", "the file would be larger than 2^63 bytes"));
    }
    return QUERN_OK;
}

static enum quern_status finish(struct arena *arena, struct json_writer *w, struct str *out,
                                struct quern_error *err)
{
    const struct str text = json_written(w);
    *out = text.p ? arena_str(arena, text) : text;
    json_writer_free(w);
    return out->p ? QUERN_OK : fail_memory(err, text.n);
}

enum quern_status safetensors_layout(struct arena *arena, const struct meta *metadata,
                                     uint32_t nmetadata, struct st_tensor *tensors,
                                     uint32_t ntensors, struct str *header, uint64_t *file_bytes,
                                     struct quern_error *err)
{
    struct st_tensor **order = ARENA_NEW(arena, struct st_tensor *, ntensors);
    if (!order)
        return fail_memory(err, ntensors * sizeof *order);
    for (uint32_t i = 0; i < ntensors; i++)
        order[i] = &tensors[i];
    qsort(order, ntensors, sizeof *order, by_type_then_name);
    uint64_t data_bytes = 0;
    TRY(place_tensors(order, ntensors, &data_bytes, err));

    struct json_writer w = {0};
    put_header(&w, metadata, nmetadata, order, ntensors);
    TRY(finish(arena, &w, header, err));
    if (header->n - 8 > ST_MAX_HEADER)
        return fail(err, QUERN_EUSAGE, "header-too-large",
                    "the header would have %zu bytes" WANT
                    "expected at most %u; write several files",
                    header->n - 8, ST_MAX_HEADER);
    for (uint32_t i = 0; i < ntensors; i++)
        tensors[i].offset += header->n;
    *file_bytes = header->n + data_bytes;
    return QUERN_OK;
}

/* ---- index ---------------------------------------------------------------------------------- */

struct home {
    struct str name;
    const char *file;
};

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct home *)a)->name, ((const struct home *)b)->name);
}

/* json.dumps(index, indent=2, sort_keys=True) + "\n" */
static void put_index(struct json_writer *w, const struct home *homes, uint32_t n,
                      uint64_t total_size)
{
    json_raw(w, STR("{\n  \"metadata\": {\n    \"total_size\": "));
    json_put_u64(w, total_size);
    json_raw(w, n ? STR("\n  },\n  \"weight_map\": {") : STR("\n  },\n  \"weight_map\": {}\n}\n"));
    for (uint32_t i = 0; i < n; i++) {
        json_raw(w, i ? STR(",\n    ") : STR("\n    "));
        w->comma = false;
        json_put_str(w, homes[i].name);
        json_raw(w, STR(": "));
        w->comma = false;
        json_put_text(w, homes[i].file);
    }
    if (n)
        json_raw(w, STR("\n  }\n}\n"));
}

enum quern_status safetensors_index_text(struct arena *arena, const struct str *names,
                                         const char *const *files, uint32_t n, uint64_t total_size,
                                         struct str *out, struct quern_error *err)
{
    struct home *homes = ARENA_NEW(arena, struct home, n);
    if (!homes)
        return fail_memory(err, n * sizeof *homes);
    for (uint32_t i = 0; i < n; i++)
        homes[i] = (struct home){names[i], files[i]};
    qsort(homes, n, sizeof *homes, by_name);
    struct json_writer w = {.ascii = true};
    put_index(&w, homes, n, total_size);
    return finish(arena, &w, out, err);
}
