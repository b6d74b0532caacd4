/* gguf.c - read the header of a GGUF file. Never touches tensor data. */
#include "formats/gguf.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/checked.h"

#define MAX_STRING    (64u << 20)
#define MAX_KEY       65535u
#define MAX_HEADER    (UINT64_C(1) << 30)
#define MIN_ALIGNMENT 8u
#define MAX_ALIGNMENT (1u << 20)
/* A string length, a type and one byte; a string length, no dimension, a type and an offset. */
#define MIN_KEY_BYTES    13u
#define MIN_TENSOR_BYTES 24u

/* A string of the header. The buffer moves when it grows, so there are no pointers into it before
 * the header is complete. */
struct span {
    uint64_t at, n;
};

struct raw_key {
    struct span name, value;
    uint64_t count;
    uint8_t type, item_type;
};

/* A cursor over the header, which is read piece by piece as the parsing asks for it: what a file
 * merely claims is never allocated. */
struct reader {
    struct model *m;
    uint32_t file;
    char *buf;
    uint64_t have, pos;
    uint64_t size; /* of the file */
    uint64_t ntensors, nkeys;
    uint64_t alignment;
    struct raw_key *keys;
    uint32_t key_count, key_capacity;
    struct name_table key_table;
    uint64_t *name_at; /* of the tensors of this file */
    uint32_t name_capacity;
};

static struct str text_of(const struct reader *r, struct span s)
{
    return (struct str){r->buf + s.at, (size_t)s.n};
}

/* ---- cursor --------------------------------------------------------------------------------- */

static enum quern_status truncated(const struct reader *r, uint64_t n, struct quern_error *err)
{
    return at_offset(err, r->pos,
                     fail(err, QUERN_EFORMAT, "truncated",
                          "the header needs %" PRIu64 " more bytes, the file has %" PRIu64
                          " left" WANT "expected a whole header (truncated download?)",
                          n, r->size - r->pos));
}

static enum quern_status read_more(struct reader *r, uint64_t n, struct quern_error *err)
{
    enum { STEP = 64 << 10, MAX_STEP = 8 << 20 };
    if (n > r->size - r->pos)
        return truncated(r, n, err);
    if (r->pos + n > MAX_HEADER)
        return at_offset(err, r->pos,
                         fail(err, QUERN_EFORMAT, "header-too-large",
                              "the header is larger than 1 GiB" WANT "expected at most that"));
    uint64_t step = r->have / 2 < MAX_STEP ? r->have / 2 : MAX_STEP;
    if (step < STEP)
        step = STEP;
    uint64_t goal = r->have + step > r->pos + n ? r->have + step : r->pos + n;
    if (goal > r->size)
        goal = r->size;
    char *buf = realloc(r->buf, (size_t)goal); /* MAX_HEADER and a step at most */
    if (!buf) {
        fail_memory(err, goal);
        return QUERN_EMEMORY;
    }
    r->buf = buf;
    TRY(model_pread(r->m, r->file, buf + r->have, (size_t)(goal - r->have), r->have, err));
    r->have = goal;
    return QUERN_OK;
}

/* Makes n bytes at pos readable. */
static inline enum quern_status need(struct reader *r, uint64_t n, struct quern_error *err)
{
    return n <= r->have - r->pos ? QUERN_OK : read_more(r, n, err);
}

static enum quern_status read_uint(struct reader *r, size_t nbytes, uint64_t *out,
                                   struct quern_error *err)
{
    TRY(need(r, nbytes, err));
    uint64_t v = 0;
    for (size_t i = 0; i < nbytes; i++)
        v |= (uint64_t)(uint8_t)r->buf[r->pos + i] << (8 * i);
    r->pos += nbytes;
    *out = v;
    return QUERN_OK;
}

/* A length that exceeds the whole file is a lie; one that exceeds its rest may be a cut file. */
static enum quern_status check_length(const struct reader *r, const char *kind, uint64_t nbytes,
                                      uint64_t max, struct quern_error *err)
{
    if (nbytes <= max && nbytes <= r->size - r->pos)
        return QUERN_OK;
    if (nbytes <= max && nbytes <= r->size)
        return truncated(r, nbytes, err);
    return at_offset(err, r->pos,
                     fail(err, QUERN_EFORMAT, kind,
                          "a length of %" PRIu64 " bytes is claimed, the file has %" PRIu64
                          " left" WANT "expected no more than that",
                          nbytes, r->size - r->pos));
}

static enum quern_status read_string(struct reader *r, struct span *out, struct quern_error *err)
{
    uint64_t n;
    TRY(read_uint(r, 8, &n, err));
    TRY(check_length(r, "string-length", n, MAX_STRING, err));
    TRY(need(r, n, err));
    *out = (struct span){r->pos, n};
    r->pos += n;
    return QUERN_OK;
}

/* Keys and tensor names: text of 1..max bytes. */
static enum quern_status check_name(const struct reader *r, struct span span, const char *kind,
                                    uint64_t max, struct quern_error *err)
{
    const struct str s = text_of(r, span);
    const char *what = NULL;
    if (s.n == 0)
        what = "is empty";
    else if (s.n > max)
        what = "is too long";
    else if (memchr(s.p, '\0', s.n))
        what = "holds a NUL byte";
    else if (!utf8_valid(s, NULL))
        what = "is not UTF-8";
    if (!what)
        return QUERN_OK;
    return at_offset(err, span.at,
                     fail(err, QUERN_EFORMAT, kind,
                          "the %s '%s' %s" WANT "expected 1 to %" PRIu64 " bytes of UTF-8",
                          strcmp(kind, "key") == 0 ? "key" : "tensor name", quoted(s).text, what,
                          max));
}

/* ---- keys ----------------------------------------------------------------------------------- */

static struct str key_name(const void *owner, uint32_t i)
{
    const struct reader *r = owner;
    return text_of(r, r->keys[i].name);
}

static enum quern_status kv_type_error(const struct reader *r, struct span key, uint64_t type,
                                       const char *expected, struct quern_error *err)
{
    return at_offset(err, r->pos - 4,
                     fail(err, QUERN_EFORMAT, "kv-type",
                          "key '%s' has value type %" PRIu64 WANT "expected %s",
                          quoted(text_of(r, key)).text, type, expected));
}

static enum quern_status check_bools(const struct reader *r, const struct raw_key *k,
                                     struct quern_error *err)
{
    const struct str v = text_of(r, k->value);
    for (size_t i = 0; i < v.n; i++)
        if ((uint8_t)v.p[i] > 1)
            return at_offset(err, k->value.at + i,
                             fail(err, QUERN_EFORMAT, "kv-value",
                                  "key '%s' has a bool of %d" WANT "expected 0 or 1",
                                  quoted(text_of(r, k->name)).text, (uint8_t)v.p[i]));
    return QUERN_OK;
}

static enum quern_status read_items(struct reader *r, struct raw_key *k, struct quern_error *err)
{
    const uint64_t start = r->pos;
    const bool strings = k->item_type == META_STRING;
    const uint64_t item_bytes = strings ? 8 : meta_item_bytes(k->item_type);
    uint64_t nbytes;
    if (!checked_mul(k->count, item_bytes, &nbytes))
        nbytes = UINT64_MAX;
    TRY(check_length(r, "array-length", nbytes, MAX_HEADER, err));
    if (strings) {
        struct span item;
        for (uint64_t i = 0; i < k->count; i++)
            TRY(read_string(r, &item, err));
    } else {
        TRY(need(r, nbytes, err));
        r->pos += nbytes;
    }
    k->value = (struct span){start, r->pos - start};
    return QUERN_OK;
}

static enum quern_status read_value(struct reader *r, struct raw_key *k, struct quern_error *err)
{
    if (k->type == META_STRING)
        return read_string(r, &k->value, err);
    if (k->type == META_ARRAY) {
        uint64_t type;
        TRY(read_uint(r, 4, &type, err));
        if (type >= META_COUNT || type == META_ARRAY)
            return kv_type_error(r, k->name, type, "an array of numbers, bools or strings", err);
        k->item_type = (uint8_t)type;
        TRY(read_uint(r, 8, &k->count, err));
        TRY(read_items(r, k, err));
    } else {
        const size_t n = meta_item_bytes(k->type);
        TRY(need(r, n, err));
        k->value = (struct span){r->pos, n};
        r->pos += n;
    }
    if (k->type == META_BOOL || (k->type == META_ARRAY && k->item_type == META_BOOL))
        return check_bools(r, k, err);
    return QUERN_OK;
}

static struct raw_key *new_key(struct reader *r)
{
    if (r->key_count == r->key_capacity) {
        const uint32_t capacity = r->key_capacity ? r->key_capacity * 2 : 32;
        struct raw_key *keys = realloc(r->keys, capacity * sizeof *keys);
        if (!keys)
            return NULL;
        r->keys = keys;
        r->key_capacity = capacity;
    }
    r->keys[r->key_count] = (struct raw_key){0};
    return &r->keys[r->key_count++];
}

static enum quern_status read_key(struct reader *r, struct quern_error *err)
{
    struct raw_key *k = new_key(r);
    if (!k)
        return fail_memory(err, r->key_capacity * 2 * sizeof *k);
    TRY(read_string(r, &k->name, err));
    TRY(check_name(r, k->name, "key", MAX_KEY, err));
    bool fresh;
    if (!name_table_add(&r->key_table, text_of(r, k->name), r->key_count - 1, key_name, r, &fresh,
                        NULL))
        return fail_memory(err, name_table_bytes(&r->key_table) * 2);
    if (!fresh)
        return at_offset(err, k->name.at,
                         fail(err, QUERN_EFORMAT, "duplicate",
                              "key '%s' is there twice" WANT "expected different keys",
                              quoted(text_of(r, k->name)).text));
    uint64_t type;
    TRY(read_uint(r, 4, &type, err));
    if (type >= META_COUNT)
        return kv_type_error(r, k->name, type, "a type from 0 to 12", err);
    k->type = (uint8_t)type;
    return read_value(r, k, err);
}

/* The key as the model will have it; good until the buffer moves. */
static struct meta as_meta(const struct reader *r, const struct raw_key *k)
{
    return (struct meta){.key = text_of(r, k->name),
                         .value = text_of(r, k->value),
                         .count = k->count,
                         .type = k->type,
                         .item_type = k->item_type};
}

static const struct raw_key *find_key(const struct reader *r, const char *key)
{
    uint32_t i;
    return name_table_find(&r->key_table, str_from(key), key_name, r, &i) ? &r->keys[i] : NULL;
}

/* Keys that a reader of the container itself relies on. */
static enum quern_status check_key_types(const struct reader *r, struct quern_error *err)
{
    static const struct {
        const char *key;
        enum meta_type type;
    } known[] = {
        {"general.architecture", META_STRING},
        {"general.alignment",    META_U32   },
        {"split.no",             META_U16   },
        {"split.count",          META_U16   },
        {"split.tensors.count",  META_I32   },
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const struct raw_key *k = find_key(r, known[i].key);
        if (k && k->type != known[i].type)
            return fail(err, QUERN_EFORMAT, "kv-type", "key '%s' is of type %s" WANT "expected %s",
                        known[i].key, meta_type_name(k->type), meta_type_name(known[i].type));
    }
    return QUERN_OK;
}

static enum quern_status read_alignment(struct reader *r, struct quern_error *err)
{
    r->alignment = GGUF_DEFAULT_ALIGNMENT;
    const struct raw_key *k = find_key(r, "general.alignment");
    if (!k)
        return QUERN_OK;
    const struct meta value = as_meta(r, k);
    meta_u64(&value, &r->alignment);
    const uint64_t a = r->alignment;
    if (a < MIN_ALIGNMENT || a > MAX_ALIGNMENT || (a & (a - 1)) != 0)
        return at_offset(err, k->value.at,
                         fail(err, QUERN_EFORMAT, "alignment",
                              "general.alignment is %" PRIu64 WANT
                              "expected a power of two from 8 to 1048576",
                              a));
    return QUERN_OK;
}

/* ---- tensors -------------------------------------------------------------------------------- */

/* File order is innermost first; ours is outermost first. */
static enum quern_status read_dims(struct reader *r, struct tensor *t, struct quern_error *err)
{
    uint64_t ndims;
    const uint64_t at = r->pos;
    TRY(read_uint(r, 4, &ndims, err));
    if (ndims > GGUF_MAX_DIMS)
        return at_offset(err, at,
                         fail(err, QUERN_EFORMAT, "dims",
                              "it has %" PRIu64 " dimensions" WANT "expected at most 4", ndims));
    uint64_t *dims = arena_alloc(&r->m->arena, (ndims ? ndims : 1) * sizeof *dims);
    if (!dims)
        return fail_memory(err, ndims * sizeof *dims);
    t->dims = dims;
    t->ndims = (uint8_t)ndims;
    for (uint64_t i = 0; i < ndims; i++) {
        uint64_t *d = &dims[ndims - 1 - i];
        TRY(read_uint(r, 8, d, err));
        if (*d > INT64_MAX)
            return at_offset(err, r->pos - 8,
                             fail(err, QUERN_EFORMAT, "dims",
                                  "a dimension is %" PRIu64 WANT "expected at most 2^63-1", *d));
    }
    if (!dims_product(dims, t->ndims, &t->nelems) || t->nelems > INT64_MAX)
        return at_offset(err, at,
                         fail(err, QUERN_EFORMAT, "overflow",
                              "the product of its dimensions exceeds 2^63-1" WANT
                              "expected a tensor that fits in a file"));
    return QUERN_OK;
}

static enum quern_status read_type(struct reader *r, struct tensor *t, struct quern_error *err)
{
    uint64_t id;
    TRY(read_uint(r, 4, &id, err));
    enum dtype dtype;
    if (!dtype_from_gguf((uint32_t)id, &dtype))
        return at_offset(err, r->pos - 4,
                         fail(err, QUERN_EFORMAT, "tensor-type",
                              "its type number is %" PRIu64 WANT
                              "expected a type that GGUF knows and has not removed",
                              id));
    t->dtype = (uint8_t)dtype;
    const struct dtype_traits *type = &dtype_traits[dtype];
    const uint64_t row = t->ndims ? t->dims[t->ndims - 1] : 1;
    if (row % type->block_elems != 0)
        return at_offset(err, r->pos - 4,
                         fail(err, QUERN_EFORMAT, "block",
                              "rows of %" PRIu64 " elements are not whole blocks of %s" WANT
                              "expected a multiple of %u",
                              row, type->name, type->block_elems));
    /* Multiplied first and divided then: no size near the edge of 64 bits gets through. */
    uint64_t nbytes;
    const bool fits = checked_mul(t->nelems, type->block_bytes, &nbytes);
    t->nbytes = nbytes / type->block_elems;
    if (!fits || t->nbytes > INT64_MAX)
        return at_offset(err, r->pos - 4,
                         fail(err, QUERN_EFORMAT, "overflow",
                              "%" PRIu64 " elements of %s are more bytes than a file can have" WANT
                              "expected a tensor that fits in a file",
                              t->nelems, type->name));
    return QUERN_OK;
}

/* *end is where the data of the tensors so far end, padding included, relative to the data. */
static enum quern_status read_tensor(struct reader *r, struct tensor *t, uint64_t *end,
                                     struct quern_error *err)
{
    TRY(read_dims(r, t, err));
    TRY(read_type(r, t, err));
    TRY(read_uint(r, 8, &t->offset, err));
    if (t->offset != *end)
        return at_offset(err, r->pos - 8,
                         fail(err, QUERN_EFORMAT, "offset",
                              "its data begin at %" PRIu64 WANT "expected %" PRIu64
                              ", right after the tensor before it",
                              t->offset, *end));
    if (!checked_add(*end, t->nbytes, end) || !checked_align(*end, r->alignment, end) ||
        *end > INT64_MAX)
        return at_offset(err, r->pos - 8,
                         fail(err, QUERN_EFORMAT, "overflow",
                              "the tensors so far are more bytes than a file can have" WANT
                              "expected them to fit in a file"));
    return QUERN_OK;
}

static struct tensor *new_tensor(struct reader *r, struct span name)
{
    struct model_file *f = &r->m->files[r->file];
    if (f->ntensors == r->name_capacity) {
        const uint32_t capacity = r->name_capacity ? r->name_capacity * 2 : 32;
        uint64_t *name_at = realloc(r->name_at, capacity * sizeof *name_at);
        if (!name_at)
            return NULL;
        r->name_at = name_at;
        r->name_capacity = capacity;
    }
    struct tensor *t = model_new_tensor(r->m);
    if (!t)
        return NULL;
    r->name_at[f->ntensors++] = name.at;
    t->name.n = (size_t)name.n;
    t->file = r->file;
    return t;
}

static enum quern_status read_tensors(struct reader *r, uint64_t *end, struct quern_error *err)
{
    *end = 0;
    for (uint64_t i = 0; i < r->ntensors; i++) {
        struct span name;
        TRY(read_string(r, &name, err));
        TRY(check_name(r, name, "name", GGUF_MAX_NAME, err));
        if (r->m->ntensors == MAX_TENSORS)
            return fail(err, QUERN_EFORMAT, "count",
                        "there are too many tensors" WANT "expected at most %u", MAX_TENSORS);
        struct tensor *t = new_tensor(r, name);
        if (!t)
            return fail_memory(err, sizeof *t);
        const enum quern_status s = read_tensor(r, t, end, err);
        if (s != QUERN_OK)
            return in_tensor(err, text_of(r, name), s);
    }
    return QUERN_OK;
}

/* ---- the whole header ----------------------------------------------------------------------- */

static enum quern_status read_magic(struct reader *r, struct quern_error *err)
{
    const size_t n = r->size < 4 ? (size_t)r->size : 4;
    TRY(need(r, n, err));
    if (memcmp(r->buf ? r->buf : "", "GGUF", n) != 0)
        return fail(err, QUERN_EFORMAT, "magic", "it begins with '%s'" WANT "expected 'GGUF'%s",
                    quoted((struct str){r->buf, n}).text,
                    n == 4 && memcmp(r->buf, "\0\0\0\0", 4) == 0
                        ? "; a file of zeros is what an interrupted writer leaves"
                        : "");
    TRY(need(r, 4, err));
    r->pos = 4;
    uint64_t version;
    TRY(read_uint(r, 4, &version, err));
    if (version != 2 && version != 3)
        return at_offset(
            err, 4,
            fail(err, QUERN_EFORMAT, "version",
                 "the version is %" PRIu64 "%s" WANT "expected 2 or 3", version,
                 version && (version & 0xFFFF) == 0 ? ": a file for big-endian machines" : ""));
    if (r->file == 0)
        r->m->gguf_version = (uint32_t)version;
    return QUERN_OK;
}

static enum quern_status check_count(const struct reader *r, uint64_t count, uint64_t max,
                                     uint64_t min_bytes, const char *what, struct quern_error *err)
{
    if (count > max)
        return fail(err, QUERN_EFORMAT, "count",
                    "the header claims %" PRIu64 " %s" WANT "expected at most %" PRIu64, count,
                    what, max);
    return count * min_bytes <= r->size - r->pos ? QUERN_OK : truncated(r, count * min_bytes, err);
}

static enum quern_status read_keys(struct reader *r, struct quern_error *err)
{
    TRY(read_uint(r, 8, &r->ntensors, err));
    TRY(read_uint(r, 8, &r->nkeys, err));
    TRY(check_count(r, r->nkeys, MAX_KEYS, MIN_KEY_BYTES, "keys", err));
    TRY(check_count(r, r->ntensors, MAX_TENSORS, MIN_TENSOR_BYTES, "tensors", err));
    for (uint64_t i = 0; i < r->nkeys; i++)
        TRY(read_key(r, err));
    TRY(check_count(r, r->ntensors, MAX_TENSORS, MIN_TENSOR_BYTES, "tensors", err));
    TRY(check_key_types(r, err));
    return read_alignment(r, err);
}

static enum quern_status note_trailing(struct reader *r, uint64_t end, struct quern_error *err)
{
    if (r->size <= end)
        return QUERN_OK;
    return model_note(r->m,
                      arena_printf(&r->m->arena,
                                   "%s: %" PRIu64 " bytes after the last tensor are ignored",
                                   quoted(str_from(r->m->files[r->file].name)).text, r->size - end),
                      err);
}

/* split.* are kept for the one who opens the whole set. */
static enum quern_status read_split(const struct reader *r, struct quern_error *err)
{
    static const char *const names[] = {"split.no", "split.count", "split.tensors.count"};
    uint64_t values[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        const struct raw_key *k = find_key(r, names[i]);
        if (!k)
            continue;
        const struct meta value = as_meta(r, k);
        if (!meta_u64(&value, &values[i]))
            return fail(err, QUERN_EFORMAT, "split", "%s is negative" WANT "expected a count",
                        names[i]);
    }
    if (values[1] > 0 && values[0] >= values[1])
        return fail(err, QUERN_EFORMAT, "split",
                    "split.no is %" PRIu64 " and split.count %" PRIu64 WANT
                    "expected numbers from 0 to split.count - 1",
                    values[0], values[1]);
    struct model_file *f = &r->m->files[r->file];
    f->split_no = (uint32_t)values[0];
    f->split_count = (uint32_t)values[1];
    f->split_ntensors = values[2];
    return QUERN_OK;
}

static enum quern_status check_same_architecture(const struct reader *r, struct quern_error *err)
{
    const struct meta *first = model_meta(r->m, "general.architecture");
    const struct raw_key *k = find_key(r, "general.architecture");
    if (r->file == 0 || !first || !k || str_eq(first->value, text_of(r, k->value)))
        return QUERN_OK;
    return fail(err, QUERN_EFORMAT, "split",
                "its architecture is '%s'" WANT "expected '%s' as in the first file of the set",
                quoted(text_of(r, k->value)).text, quoted(first->value).text);
}

static enum quern_status read_header(struct reader *r, struct quern_error *err)
{
    TRY(read_magic(r, err));
    TRY(read_keys(r, err));
    TRY(read_split(r, err));
    TRY(check_same_architecture(r, err));
    uint64_t data_bytes;
    TRY(read_tensors(r, &data_bytes, err));

    uint64_t data_start;
    if (!checked_align(r->pos, r->alignment, &data_start))
        return truncated(r, r->alignment, err);
    /* A file without tensors may end right after its keys, so the place itself is not checked here.
     */
    r->m->files[r->file].data_start = data_start;
    return note_trailing(r, data_start + data_bytes, err);
}

/* ---- into the model ------------------------------------------------------------------------- */

/* The header is read and stays where it is: the model gets it, without what was read beyond. */
static void settle_header(struct reader *r)
{
    char *buf = realloc(r->buf, (size_t)r->pos);
    if (buf)
        r->buf = buf;
    r->m->files[r->file].header = r->buf;
    r->m->files[r->file].header_bytes = r->pos;
    model_seal_header(r->m, r->file, 0);
}

/* Only the first file's keys count. */
static enum quern_status settle_keys(struct reader *r, struct quern_error *err)
{
    struct model *m = r->m;
    if (r->file > 0)
        return QUERN_OK;
    for (uint32_t i = 0; i < r->key_count; i++) {
        struct meta *k = model_new_meta(m);
        if (!k)
            return fail_memory(err, m->meta_capacity * sizeof *k);
        *k = as_meta(r, &r->keys[i]);
        r->buf[r->keys[i].name.at + k->key.n] = '\0'; /* over its type, which is known by now */
    }
    m->meta_index = r->key_table;
    r->key_table = (struct name_table){0};
    m->alignment = r->alignment;
    return QUERN_OK;
}

static enum quern_status settle_tensors(const struct reader *r, struct quern_error *err)
{
    const struct model_file *f = &r->m->files[r->file];
    for (uint32_t i = 0; i < f->ntensors; i++) {
        struct tensor *t = &r->m->tensors[f->first_tensor + i];
        t->name.p = r->buf + r->name_at[i];
        r->buf[r->name_at[i] + t->name.n] = '\0'; /* over the number of dimensions */
        t->offset += f->data_start;
        if (t->offset + t->nbytes > r->size)
            return in_tensor(err, t->name,
                             fail(err, QUERN_EFORMAT, "truncated",
                                  "its data end at byte %" PRIu64 ", the file has %" PRIu64 WANT
                                  "expected a whole file (truncated download?)",
                                  t->offset + t->nbytes, r->size));
    }
    return model_index_tensors(r->m, r->file, err);
}

static enum quern_status read_file(struct reader *r, struct quern_error *err)
{
    const enum quern_status s = read_header(r, err);
    if (s != QUERN_OK) {
        free(r->buf);
        return s;
    }
    settle_header(r);
    TRY(settle_keys(r, err));
    return settle_tensors(r, err);
}

enum quern_status gguf_read(struct model *m, uint32_t file, struct quern_error *err)
{
    struct reader r = {.m = m, .file = file, .size = m->files[file].id.nbytes};
    const enum quern_status s = in_file(err, m->files[file].path, read_file(&r, err));
    free(r.keys);
    free(r.name_at);
    name_table_free(&r.key_table);
    return s;
}
