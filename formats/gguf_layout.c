/* gguf_layout.c - encode a GGUF header and give every tensor its place. */
#include <inttypes.h>
#include <stdio.h>

#include "core/checked.h"
#include "formats/gguf.h"
#include "formats/gguf_encode.h"

#define GGUF_VERSION 3u

/* ---- encoding ------------------------------------------------------------------------------- */

/* GGUF order is innermost first, so trailing ones are our leading ones. At least one dimension is
 * written, as llama.cpp does. */
static uint32_t leading_ones(const struct gguf_tensor *t)
{
    uint32_t n = 0;
    while (n + 1 < t->ndims && t->dims[n] == 1)
        n++;
    return n;
}

static void put_tensor(struct encoder *e, const struct gguf_tensor *t, bool whole)
{
    const uint32_t skip = whole ? 0 : leading_ones(t);
    put_string(e, t->name);
    put_uint(e, t->ndims ? t->ndims - skip : 1, 4);
    if (t->ndims == 0)
        put_uint(e, 1, 8);
    for (uint32_t i = t->ndims; i > skip; i--)
        put_uint(e, t->dims[i - 1], 8);
    put_uint(e, (uint64_t)dtype_traits[t->dtype].gguf_id, 4);
    put_uint(e, t->offset, 8);
}

/* The offsets of the tensors are relative to the data when this runs. */
static void put_header(struct encoder *e, const struct meta *metas, uint32_t nmetas,
                       const struct gguf_tensor *tensors, uint32_t ntensors, bool whole)
{
    put_bytes(e, "GGUF", 4);
    put_uint(e, GGUF_VERSION, 4);
    put_uint(e, ntensors, 8);
    put_uint(e, nmetas, 8);
    for (uint32_t i = 0; i < nmetas; i++)
        put_meta(e, &metas[i]);
    for (uint32_t i = 0; i < ntensors; i++)
        put_tensor(e, &tensors[i], whole);
}

/* ---- layout --------------------------------------------------------------------------------- */

static enum quern_status check_tensor(const struct gguf_tensor *t, bool whole,
                                      struct quern_error *err)
{
    if (t->name.n == 0 || t->name.n > GGUF_MAX_NAME)
        return fail(err, QUERN_EUSAGE, "name",
                    "the name has %zu bytes" WANT "expected 1 to %u in a GGUF file", t->name.n,
                    GGUF_MAX_NAME);
    if (t->ndims - (whole ? 0 : leading_ones(t)) > GGUF_MAX_DIMS)
        return fail(err, QUERN_EUNSUPPORTED, "dims",
                    "it has %u dimensions" WANT "expected at most 4 in a GGUF file", t->ndims);
    if (dtype_traits[t->dtype].gguf_id == NO_GGUF_ID)
        return fail(err, QUERN_EUNSUPPORTED, "tensor-type",
                    "GGUF has no type %s" WANT "expected a type that GGUF can store",
                    dtype_traits[t->dtype].name);
    return QUERN_OK;
}

/* Offsets relative to the start of the data; *end is behind the last padding. */
static enum quern_status place_tensors(struct gguf_tensor *tensors, uint32_t ntensors,
                                       uint64_t alignment, bool whole, uint64_t *end,
                                       struct quern_error *err)
{
    *end = 0;
    for (uint32_t i = 0; i < ntensors; i++) {
        struct gguf_tensor *t = &tensors[i];
        TRY(in_tensor(err, t->name, check_tensor(t, whole, err)));
        t->offset = *end;
        if (!checked_add(*end, t->nbytes, end) || !checked_align(*end, alignment, end) ||
            *end > INT64_MAX)
            return in_tensor(
                err, t->name,
                fail(err, QUERN_EUSAGE, "overflow", "the file would be larger than 2^63 bytes"));
    }
    return QUERN_OK;
}

static enum quern_status lay_out(struct arena *arena, const struct meta *metas, uint32_t nmetas,
                                 struct gguf_tensor *tensors, uint32_t ntensors, uint64_t alignment,
                                 bool whole, struct str *header, uint64_t *file_bytes,
                                 struct quern_error *err)
{
    uint64_t data_bytes;
    TRY(place_tensors(tensors, ntensors, alignment, whole, &data_bytes, err));
    struct encoder count = {0};
    put_header(&count, metas, nmetas, tensors, ntensors, whole);
    uint64_t header_bytes;
    if (!checked_align(count.n, alignment, &header_bytes) ||
        !checked_add(header_bytes, data_bytes, file_bytes))
        return fail(err, QUERN_EUSAGE, "overflow", "the file would be larger than 2^63 bytes");
    struct encoder e = {.p = arena_array(arena, header_bytes, 1)};
    if (!e.p)
        return fail_memory(err, header_bytes);
    put_header(&e, metas, nmetas, tensors, ntensors, whole);
    for (uint32_t i = 0; i < ntensors; i++)
        tensors[i].offset += header_bytes;
    *header = (struct str){e.p, (size_t)header_bytes};
    return QUERN_OK;
}

enum quern_status gguf_layout(struct arena *arena, const struct meta *metas, uint32_t nmetas,
                              struct gguf_tensor *tensors, uint32_t ntensors, uint64_t alignment,
                              struct str *header, uint64_t *file_bytes, struct quern_error *err)
{
    return lay_out(arena, metas, nmetas, tensors, ntensors, alignment, false, header, file_bytes,
                   err);
}

enum quern_status gguf_layout_whole(struct arena *arena, const struct meta *metas, uint32_t nmetas,
                                    struct gguf_tensor *tensors, uint32_t ntensors,
                                    uint64_t alignment, struct str *header, uint64_t *file_bytes,
                                    struct quern_error *err)
{
    return lay_out(arena, metas, nmetas, tensors, ntensors, alignment, true, header, file_bytes,
                   err);
}

/* ---- editing keys --------------------------------------------------------------------------- */

static bool meta_list_append(struct meta_list *l, struct meta k)
{
    if (l->count == l->capacity) {
        const uint32_t capacity = l->capacity ? l->capacity * 2 : 32;
        struct meta *items =
            capacity > l->capacity ? ARENA_NEW(l->arena, struct meta, capacity) : NULL;
        if (!items)
            return false;
        if (l->count)
            memcpy(items, l->items, l->count * sizeof *items);
        l->items = items;
        l->capacity = capacity;
    }
    l->items[l->count++] = k;
    return true;
}

bool meta_list_copy(struct meta_list *l, struct arena *arena, const struct meta *metas,
                    uint32_t nmetas)
{
    *l = (struct meta_list){.arena = arena};
    for (uint32_t i = 0; i < nmetas; i++)
        if (!meta_list_append(l, metas[i]))
            return false;
    return true;
}

void meta_list_remove(struct meta_list *l, const char *key)
{
    for (uint32_t i = 0; i < l->count; i++) {
        if (!str_is(l->items[i].key, key))
            continue;
        memmove(&l->items[i], &l->items[i + 1], (l->count - i - 1) * sizeof *l->items);
        l->count--;
        return;
    }
}

bool meta_list_set(struct meta_list *l, struct meta value)
{
    /* Copied first: value may be the very entry that is removed. */
    value.key = arena_str(l->arena, value.key);
    value.value = arena_str(l->arena, value.value);
    if (!value.key.p || !value.value.p)
        return false;
    meta_list_remove(l, value.key.p);
    return meta_list_append(l, value);
}

static bool set_bytes(struct meta_list *l, const char *key, enum meta_type type, struct str value)
{
    return meta_list_set(
        l, (struct meta){.key = str_from(key), .value = value, .type = (uint8_t)type});
}

static bool set_uint(struct meta_list *l, const char *key, enum meta_type type, uint64_t v)
{
    char b[8];
    struct encoder e = {.p = b};
    put_uint(&e, v, meta_item_bytes(type));
    return set_bytes(l, key, type, (struct str){b, (size_t)e.n});
}

bool meta_list_set_u16(struct meta_list *l, const char *key, uint16_t v)
{
    return set_uint(l, key, META_U16, v);
}

bool meta_list_set_u32(struct meta_list *l, const char *key, uint32_t v)
{
    return set_uint(l, key, META_U32, v);
}

bool meta_list_set_i32(struct meta_list *l, const char *key, int32_t v)
{
    return set_uint(l, key, META_I32, (uint32_t)v);
}

bool meta_list_set_f32(struct meta_list *l, const char *key, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return set_uint(l, key, META_F32, bits);
}

bool meta_list_set_bool(struct meta_list *l, const char *key, bool v)
{
    return set_uint(l, key, META_BOOL, v);
}

bool meta_list_set_string(struct meta_list *l, const char *key, struct str v)
{
    return set_bytes(l, key, META_STRING, v);
}

/* ---- names of split files ------------------------------------------------------------------- */

static bool five_digits(const char *p, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 5; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        *out = *out * 10 + (uint32_t)(p[i] - '0');
    }
    return true;
}

bool gguf_split_name_parse(struct str name, struct str *prefix, uint32_t *no, uint32_t *count)
{
    static const char pattern[] = "-00001-of-00001.gguf";
    const size_t n = sizeof pattern - 1;
    if (name.n < n)
        return false;
    const char *tail = name.p + (name.n - n);
    if (tail[0] != '-' || memcmp(tail + 6, "-of-", 4) != 0 || memcmp(tail + 15, ".gguf", 5) != 0 ||
        !five_digits(tail + 1, no) || !five_digits(tail + 10, count))
        return false;
    *prefix = (struct str){name.p, name.n - n};
    return *no >= 1 && *no <= *count;
}
