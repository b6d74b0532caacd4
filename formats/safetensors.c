/* safetensors.c - read the header of a safetensors file. Never touches tensor data. */
#include "formats/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/checked.h"
#include "core/pull.h"

#define LENGTH_BYTES 8u

struct reader {
    struct model *m;
    uint32_t file;
    struct pull json;
};

static uint64_t at_of(size_t text_at)
{
    return LENGTH_BYTES + text_at;
}

/* A value of the wrong type: what is wrong inside it matters more, so look there first. */
static enum quern_status wrong_type(struct reader *r, enum pull_token token, const char *kind,
                                    const char *found, const char *expected,
                                    struct quern_error *err)
{
    const size_t at = r->json.token_at;
    if (!pull_skip(&r->json, token))
        return pull_fail(&r->json, LENGTH_BYTES, err);
    return at_offset(err, at_of(at),
                     fail(err, QUERN_EFORMAT, kind, "%s" WANT "expected %s", found, expected));
}

/* ---- one entry ------------------------------------------------------------------------------ */

enum field { FIELD_DTYPE = 1, FIELD_SHAPE = 2, FIELD_OFFSETS = 4, FIELD_ALL = 7 };

struct entry {
    unsigned fields; /* those seen so far */
    enum dtype dtype;
    uint64_t dims[MAX_DIMS];
    size_t ndims;
    uint64_t range[2];
};

static enum quern_status read_dtype(struct reader *r, struct entry *e, struct quern_error *err)
{
    const enum pull_token token = pull_next(&r->json);
    if (token != PULL_STRING)
        return wrong_type(r, token, "dtype", "dtype is not a string", "a type name", err);
    if (!dtype_from_safetensors(r->json.str, &e->dtype))
        return at_offset(err, at_of(r->json.token_at),
                         fail(err, QUERN_EFORMAT, "dtype",
                              "dtype is '%s'" WANT
                              "expected F32, BF16, F16, I64 or another type of "
                              "the safetensors format, in capitals",
                              quoted(r->json.str).text));
    return QUERN_OK;
}

static enum quern_status read_shape(struct reader *r, struct entry *e, struct quern_error *err)
{
    static const char *const found[] = {
        [PULL_INTS_NOT_ARRAY] = "shape is not an array",
        [PULL_INTS_BAD_ITEM] = "a dimension in shape is not an integer",
        [PULL_INTS_TOO_MANY] = "shape has too many dimensions",
    };
    const enum pull_ints got = pull_u64_array(&r->json, e->dims, MAX_DIMS, &e->ndims);
    if (got == PULL_INTS_OK)
        return QUERN_OK;
    if (got == PULL_INTS_ERROR)
        return pull_fail(&r->json, LENGTH_BYTES, err);
    if (got == PULL_INTS_NOT_ARRAY) {
        const enum pull_token token = pull_next(&r->json);
        return wrong_type(r, token, "shape", found[got], "an array of integers", err);
    }
    return at_offset(err, at_of(r->json.bad_at),
                     fail(err, QUERN_EFORMAT, "shape",
                          "%s" WANT "expected at most %d integers from 0 to 2^63-1", found[got],
                          MAX_DIMS));
}

static enum quern_status read_offsets(struct reader *r, struct entry *e, struct quern_error *err)
{
    size_t count;
    const enum pull_ints got = pull_u64_array(&r->json, e->range, 2, &count);
    if (got == PULL_INTS_OK && count == 2)
        return QUERN_OK;
    if (got == PULL_INTS_ERROR)
        return pull_fail(&r->json, LENGTH_BYTES, err);
    size_t at = r->json.token_at;
    if (got == PULL_INTS_NOT_ARRAY) {
        const enum pull_token token = pull_next(&r->json);
        return wrong_type(r, token, "offsets", "data_offsets is not an array", "[begin, end]", err);
    }
    if (got != PULL_INTS_OK)
        at = r->json.bad_at;
    return at_offset(err, at_of(at),
                     fail(err, QUERN_EFORMAT, "offsets",
                          "data_offsets is not a pair of integers" WANT
                          "expected [begin, end] from 0 to 2^64-1"));
}

static enum quern_status read_field(struct reader *r, struct entry *e, struct quern_error *err)
{
    static const struct {
        const char *key;
        unsigned bit;
        enum quern_status (*read)(struct reader *, struct entry *, struct quern_error *);
    } fields[] = {
        {"dtype",        FIELD_DTYPE,   read_dtype  },
        {"shape",        FIELD_SHAPE,   read_shape  },
        {"data_offsets", FIELD_OFFSETS, read_offsets},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (!str_is(r->json.str, fields[i].key))
            continue;
        if (e->fields & fields[i].bit)
            return at_offset(err, at_of(r->json.token_at),
                             fail(err, QUERN_EFORMAT, "duplicate",
                                  "%s is given twice" WANT "expected it once", fields[i].key));
        e->fields |= fields[i].bit;
        return fields[i].read(r, e, err);
    }
    /* Unknown fields are for later versions of the format. */
    const enum pull_token token = pull_next(&r->json);
    return pull_skip(&r->json, token) ? QUERN_OK : pull_fail(&r->json, LENGTH_BYTES, err);
}

static enum quern_status check_size(const struct entry *e, uint64_t nelems, struct quern_error *err)
{
    const struct dtype_traits *type = &dtype_traits[e->dtype];
    const unsigned bits_per_elem = type->block_bytes * 8u / type->block_elems;
    uint64_t nbits;
    if (!checked_mul(nelems, bits_per_elem, &nbits))
        return fail(err, QUERN_EFORMAT, "overflow",
                    "%" PRIu64 " elements of %s are more bits than 64-bit numbers count" WANT
                    "expected a tensor that fits in a file",
                    nelems, type->name);
    if (nbits % 8 != 0)
        return fail(err, QUERN_EFORMAT, "misaligned",
                    "%" PRIu64 " elements of %s end inside a byte" WANT "expected whole bytes",
                    nelems, type->name);
    if (e->range[1] - e->range[0] != nbits / 8)
        return fail(err, QUERN_EFORMAT, "size-mismatch",
                    "data_offsets span %" PRIu64 " bytes" WANT "expected %" PRIu64 " for %" PRIu64
                    " elements of %s",
                    e->range[1] - e->range[0], nbits / 8, nelems, type->name);
    return QUERN_OK;
}

static enum quern_status check_entry(const struct entry *e, uint64_t *nelems,
                                     struct quern_error *err)
{
    if (e->fields != FIELD_ALL)
        return fail(err, QUERN_EFORMAT, "entry",
                    "%s is missing" WANT "expected dtype, shape and data_offsets",
                    !(e->fields & FIELD_DTYPE)   ? "dtype"
                    : !(e->fields & FIELD_SHAPE) ? "shape"
                                                 : "data_offsets");
    if (e->range[0] > e->range[1])
        return fail(err, QUERN_EFORMAT, "offsets",
                    "data_offsets begin at %" PRIu64 " and end at %" PRIu64 WANT
                    "expected begin <= end",
                    e->range[0], e->range[1]);
    if (!dims_product(e->dims, (uint32_t)e->ndims, nelems))
        return fail(err, QUERN_EFORMAT, "overflow",
                    "the product of the dimensions exceeds 64 bits" WANT
                    "expected a tensor that fits in a file");
    TRY(check_size(e, *nelems, err));
    /* Such a dimension can only stand beside a zero by now. */
    for (size_t i = 0; i < e->ndims; i++)
        if (e->dims[i] > INT64_MAX)
            return fail(err, QUERN_EFORMAT, "shape",
                        "a dimension is %" PRIu64 WANT "expected at most 2^63-1", e->dims[i]);
    return QUERN_OK;
}

static enum quern_status add_tensor(struct reader *r, struct str name, const struct entry *e,
                                    uint64_t nelems, struct quern_error *err)
{
    struct model *m = r->m;
    if (m->ntensors == MAX_TENSORS)
        return fail(err, QUERN_EFORMAT, "count",
                    "there are too many tensors" WANT "expected at most %u", MAX_TENSORS);
    uint64_t *dims = arena_alloc(&m->arena, (e->ndims ? e->ndims : 1) * sizeof *dims);
    struct tensor *t = dims ? model_new_tensor(m) : NULL;
    if (!t)
        return fail_memory(err, sizeof *t);
    memcpy(dims, e->dims, e->ndims * sizeof *dims);
    t->name = name;
    t->dims = dims;
    t->offset = e->range[0]; /* relative until the layout is known to be sound */
    t->nbytes = e->range[1] - e->range[0];
    t->nelems = nelems;
    t->file = r->file;
    t->dtype = (uint8_t)e->dtype;
    t->ndims = (uint8_t)e->ndims;
    r->m->files[r->file].ntensors++;
    return QUERN_OK;
}

static enum quern_status read_fields(struct reader *r, struct entry *e, struct quern_error *err)
{
    const enum pull_token first = pull_next(&r->json);
    if (first != PULL_OBJECT)
        return wrong_type(r, first, "entry", "the entry is not an object",
                          "{\"dtype\": ..., \"shape\": ..., \"data_offsets\": ...}", err);
    enum pull_token token;
    while ((token = pull_next(&r->json)) == PULL_KEY)
        TRY(read_field(r, e, err));
    return token == PULL_OBJECT_END ? QUERN_OK : pull_fail(&r->json, LENGTH_BYTES, err);
}

static enum quern_status read_entry(struct reader *r, struct quern_error *err)
{
    const struct str name = r->json.str;
    const uint64_t at = at_of(r->json.token_at);
    if (name.n == 0 || memchr(name.p, '\0', name.n))
        return at_offset(err, at,
                         in_tensor(err, name,
                                   fail(err, QUERN_EFORMAT, "name",
                                        "the name %s" WANT "expected a name without U+0000",
                                        name.n ? "holds U+0000" : "is empty")));
    /* The dimensions are left as they are: clearing 256 bytes for each of a million tensors shows.
     */
    struct entry e;
    e.fields = 0;
    e.dtype = DTYPE_F32;
    e.ndims = 0;
    e.range[0] = e.range[1] = 0;
    uint64_t nelems = 0;
    enum quern_status s = read_fields(r, &e, err);
    if (s == QUERN_OK)
        s = at_offset(err, at, check_entry(&e, &nelems, err));
    if (s == QUERN_OK)
        s = add_tensor(r, name, &e, nelems, err);
    return in_tensor(err, name, s);
}

/* ---- __metadata__ --------------------------------------------------------------------------- */

static enum quern_status add_metadata(struct reader *r, struct str key, struct key_set *keys,
                                      struct quern_error *err)
{
    bool fresh;
    if (!key_set_add(keys, key, &fresh))
        return fail_memory(err, keys->count * sizeof key);
    if (!fresh)
        return at_offset(err, at_of(r->json.token_at),
                         fail(err, QUERN_EFORMAT, "duplicate",
                              "__metadata__ key '%s' is there twice" WANT "expected different keys",
                              quoted(key).text));
    if (r->file != 0)
        return QUERN_OK;
    struct meta *k = model_new_meta(r->m);
    if (!k)
        return fail_memory(err, sizeof *k);
    *k = (struct meta){.key = key, .value = r->json.str, .type = META_STRING};
    return QUERN_OK;
}

static enum quern_status read_metadata_pairs(struct reader *r, struct key_set *keys,
                                             struct quern_error *err)
{
    enum pull_token token;
    while ((token = pull_next(&r->json)) == PULL_KEY) {
        const struct str key = r->json.str;
        token = pull_next(&r->json);
        if (token != PULL_STRING)
            return wrong_type(r, token, "metadata", "a value in __metadata__ is not a string",
                              "strings only", err);
        TRY(add_metadata(r, key, keys, err));
    }
    return token == PULL_OBJECT_END ? QUERN_OK : pull_fail(&r->json, LENGTH_BYTES, err);
}

static enum quern_status read_metadata(struct reader *r, struct quern_error *err)
{
    const enum pull_token token = pull_next(&r->json);
    if (token == PULL_NULL)
        return QUERN_OK;
    if (token != PULL_OBJECT)
        return wrong_type(r, token, "metadata", "__metadata__ is not an object",
                          "an object of strings, or null", err);
    struct key_set keys = {0};
    const enum quern_status s = read_metadata_pairs(r, &keys, err);
    key_set_free(&keys);
    return s;
}

/* ---- the whole header ----------------------------------------------------------------------- */

static enum quern_status read_header_text(struct reader *r, struct quern_error *err)
{
    const enum pull_token first = pull_next(&r->json);
    if (first != PULL_OBJECT)
        return wrong_type(r, first, "json", "the header is not an object", "a JSON object", err);
    bool metadata_seen = false;
    enum pull_token token;
    while ((token = pull_next(&r->json)) == PULL_KEY) {
        if (!str_is(r->json.str, "__metadata__")) {
            TRY(read_entry(r, err));
            continue;
        }
        if (metadata_seen)
            return at_offset(err, at_of(r->json.token_at),
                             fail(err, QUERN_EFORMAT, "duplicate",
                                  "__metadata__ is there twice" WANT "expected it once"));
        metadata_seen = true;
        TRY(read_metadata(r, err));
    }
    if (token == PULL_ERROR || pull_next(&r->json) != PULL_END)
        return pull_fail(&r->json, LENGTH_BYTES, err);
    return QUERN_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->nbytes != y->nbytes)
        return x->nbytes < y->nbytes ? -1 : 1;
    return str_cmp(x->name, y->name);
}

static void sort_by_place(struct tensor *tensors, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        if (by_place(&tensors[i - 1], &tensors[i]) > 0) {
            qsort(tensors, n, sizeof *tensors, by_place);
            return;
        }
    }
}

/* The tensors of a file, sorted, must cover its data without holes and without overlaps. */
static enum quern_status check_layout(struct tensor *tensors, uint32_t n, uint64_t data_start,
                                      uint64_t *end, struct quern_error *err)
{
    *end = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct tensor *t = &tensors[i];
        if (t->offset != *end) {
            const bool hole = t->offset > *end;
            return in_tensor(err, t->name,
                             fail(err, QUERN_EFORMAT, hole ? "hole" : "overlap",
                                  "its data begin at %" PRIu64 ", %s" WANT "expected %" PRIu64
                                  ", where the tensor before it ends",
                                  t->offset,
                                  hole ? "leaving a hole" : "inside the tensor before it", *end));
        }
        *end += t->nbytes;
        t->offset += data_start;
    }
    return QUERN_OK;
}

static enum quern_status check_end(const struct model_file *f, uint64_t end,
                                   struct quern_error *err)
{
    const uint64_t data_bytes = f->id.nbytes - f->data_start;
    if (end == data_bytes)
        return QUERN_OK;
    return fail(err, QUERN_EFORMAT, end > data_bytes ? "truncated" : "trailing-data",
                "the file holds %" PRIu64 " bytes of tensor data" WANT "expected %" PRIu64 "%s",
                data_bytes, end, end > data_bytes ? " (truncated download?)" : "");
}

static enum quern_status read_length(struct model *m, uint32_t file, uint64_t *nbytes,
                                     struct quern_error *err)
{
    const uint64_t size = m->files[file].id.nbytes;
    if (size < LENGTH_BYTES)
        return fail(err, QUERN_EFORMAT, "truncated",
                    "the file has %" PRIu64 " bytes" WANT "expected a header of at least 10", size);
    uint8_t b[LENGTH_BYTES];
    TRY(model_pread(m, file, b, sizeof b, 0, err));
    uint64_t n = 0;
    for (unsigned i = 0; i < LENGTH_BYTES; i++)
        n |= (uint64_t)b[i] << (8 * i);
    *nbytes = n;
    if (n > ST_MAX_HEADER)
        return fail(err, QUERN_EFORMAT, "header-too-large",
                    "the header claims %" PRIu64 " bytes" WANT
                    "expected at most %u, as in every safetensors file",
                    n, ST_MAX_HEADER);
    if (n > size - LENGTH_BYTES)
        return fail(err, QUERN_EFORMAT, "header-length",
                    "the header claims %" PRIu64 " bytes, the file has %" PRIu64
                    " after its length" WANT "expected a whole header (truncated download?)",
                    n, size - LENGTH_BYTES);
    return QUERN_OK;
}

static enum quern_status read_file(struct reader *r, struct quern_error *err)
{
    struct model *m = r->m;
    struct model_file *f = &m->files[r->file];
    uint64_t nbytes = 0;
    TRY(read_length(m, r->file, &nbytes, err));
    f->header = malloc(nbytes ? (size_t)nbytes : 1);
    if (!f->header)
        return fail_memory(err, nbytes);
    f->header_bytes = nbytes;
    f->data_start = LENGTH_BYTES + nbytes;
    TRY(model_pread(m, r->file, f->header, (size_t)nbytes, LENGTH_BYTES, err));
    model_seal_header(m, r->file, LENGTH_BYTES);

    pull_start(&r->json, f->header, (size_t)nbytes);
    TRY(read_header_text(r, err));
    uint64_t end = 0;
    if (f->ntensors > 0) {
        struct tensor *tensors = m->tensors + f->first_tensor;
        sort_by_place(tensors, f->ntensors);
        TRY(model_index_tensors(m, r->file, err));
        TRY(check_layout(tensors, f->ntensors, f->data_start, &end, err));
    }
    return check_end(f, end, err);
}

enum quern_status safetensors_read(struct model *m, uint32_t file, struct quern_error *err)
{
    struct reader r = {.m = m, .file = file};
    TRY(in_file(err, m->files[file].path, read_file(&r, err)));
    for (uint32_t i = 0; file == 0 && i < m->nmetas; i++) {
        bool fresh;
        if (!name_table_add(&m->meta_index, m->metas[i].key, i, model_meta_key, m, &fresh, NULL))
            return fail_memory(err, name_table_bytes(&m->meta_index) * 2);
    }
    return QUERN_OK;
}
