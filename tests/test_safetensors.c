/* test_safetensors.c - headers that are read, and headers and indexes that are written. */
#include "formats/safetensors.h"

#include "core/json.h"
#include "scratch.h"

TestSuite(safetensors, .init = scratch_begin, .fini = scratch_end);

/* A file with this header text and data_bytes zeros. */
static const char *file_of(const char *header, size_t data_bytes)
{
    static char bytes[1 << 16];
    const size_t n = strlen(header);
    cr_assert(8 + n + data_bytes <= sizeof bytes);
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (char)((uint64_t)n >> (8 * i));
    memcpy(bytes + 8, header, n);
    memset(bytes + 8 + n, 0, data_bytes);
    return scratch_file("t.safetensors", (struct str){bytes, 8 + n + data_bytes});
}

static struct model *open_good(const char *path)
{
    struct model *m;
    struct quern_error err;
    cr_assert(model_open(path, &m, &err) == QUERN_OK, "%s", err.text);
    return m;
}

static struct quern_error open_bad(const char *path, const char *kind)
{
    struct model *m = NULL;
    struct quern_error err;
    cr_assert(model_open(path, &m, &err) != QUERN_OK, "%s was taken", path);
    cr_assert_str_eq(err.kind, kind, "%s", err.text);
    cr_assert(m == NULL && model_open(path, &m, NULL) == err.status, "err may be NULL");
    return err;
}

Test(safetensors, tensors_come_in_the_order_of_their_data)
{
    struct model *m = open_good(file_of(
        "{\"__metadata__\": {\"format\": \"pt\", \"\": \"x\"},"
        "\"z\\u00e9\": {\"dtype\": \"BF16\", \"shape\": [2, 3], \"data_offsets\": [0, 12]},"
        "\"a\": {\"data_offsets\": [28, 32], \"dtype\": \"F32\", \"shape\": []},"
        "\"m\": {\"dtype\": \"I64\", \"later\": [{}], \"shape\": [2], \"data_offsets\": [12, 28]},"
        "\"e\": {\"dtype\": \"F16\", \"shape\": [4, 0], \"data_offsets\": [28, 28]}}   ",
        32));
    cr_assert(m->format == MODEL_SAFETENSORS && m->nfiles == 1 && m->ntensors == 4);
    static const char *const order[] = {"z\xc3\xa9", "m", "e", "a"};
    for (uint32_t i = 0; i < 4; i++)
        cr_assert_str_eq(m->tensors[i].name.p, order[i]);
    const struct tensor *t = model_find(m, STR("z\xc3\xa9"));
    cr_assert(t && t->dtype == DTYPE_BF16 && t->ndims == 2 && t->dims[0] == 2 && t->dims[1] == 3);
    cr_assert(t->nelems == 6 && t->nbytes == 12 && t->offset == m->files[0].data_start);
    t = model_find(m, STR("a"));
    cr_assert(t->ndims == 0 && t->nelems == 1 && t->offset == m->files[0].data_start + 28);
    cr_assert(model_find(m, STR("b")) == NULL);

    struct str s;
    cr_assert(m->nmetas == 2 && meta_string(model_meta(m, "format"), &s) && str_is(s, "pt"));
    cr_assert(meta_string(model_meta(m, ""), &s) && str_is(s, "x"));
    uint64_t n;
    cr_assert(!meta_u64(model_meta(m, "format"), &n) && model_meta(m, "none") == NULL);
    cr_assert(model_bytes(m) > 0);
    model_close(m);
}

Test(safetensors, errors_name_file_tensor_place_and_both_values)
{
    struct quern_error e = open_bad(
        file_of("{\"a'\\n\": {\"dtype\": \"F32\", \"shape\": [2, 2], \"data_offsets\": [0, 12]}}",
                12),
        "size-mismatch");
    cr_assert(e.status == QUERN_EFORMAT);
    cr_assert(strstr(e.file, "t.safetensors") && strcmp(e.tensor, "a\\'\\x0a") == 0, "%s", e.text);
    cr_assert(strstr(e.found, "12 bytes") && strstr(e.expected, "16 for 4 elements of F32"));
    cr_assert(e.offset == 9, "the entry's place in the file: %lu", (unsigned long)e.offset);

    e = open_bad(file_of("{\"a\": {\"dtype\": \"F32\", \"shape\": [2, \"2\"]}}", 0), "shape");
    cr_assert(e.offset == 8 + 36, "%lu", (unsigned long)e.offset);
    e = open_bad(file_of("{\"a\": {\"dtype\": \"F32\",, }}", 0), "json");
    cr_assert(e.offset == 8 + 22, "%lu", (unsigned long)e.offset);
    e = open_bad(file_of("{}", 3), "trailing-data");
    cr_assert(strstr(e.found, "3 bytes"));
}

/* Every tensor in the order given; returns the header. */
static struct str lay_out(struct arena *a, struct st_tensor *t, uint32_t n,
                          const struct meta *metas, uint32_t nmetas, uint64_t *file_bytes)
{
    struct str header;
    struct quern_error err;
    cr_assert(safetensors_layout(a, metas, nmetas, t, n, &header, file_bytes, &err) == QUERN_OK,
              "%s", err.text);
    return header;
}

/* The header is what the safetensors library (0.8.0) writes for the same tensors. */
Test(safetensors, writes_the_bytes_of_the_library)
{
    static const char want[] =
        "\0\3\0\0\0\0\0\0"
        "{\"__metadata__\":{\"format\":\"pt\\t\\\"\xc3\xa9\"},"
        "\"i64\":{\"dtype\":\"I64\",\"shape\":[1,2],\"data_offsets\":[0,16]},"
        "\"f64\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[16,24]},"
        "\"c64\":{\"dtype\":\"C64\",\"shape\":[1],\"data_offsets\":[24,32]},"
        "\"a.f32\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[32,48]},"
        "\"z.f32\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[48,52]},"
        "\"q\\\"\\\\/\\n\xc3\xa9\xf0\x9f\x98\x80\x7f\\u0001\":"
        "{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[52,56]},"
        "\"b.bf16\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[56,68]},"
        "\"f16\":{\"dtype\":\"F16\",\"shape\":[0,7],\"data_offsets\":[68,68]},"
        "\"f8\":{\"dtype\":\"F8_E4M3\",\"shape\":[2],\"data_offsets\":[68,70]},"
        "\"f8b\":{\"dtype\":\"F8_E5M2\",\"shape\":[2],\"data_offsets\":[70,72]},"
        "\"u8\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[72,75]},"
        "\"bool\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[75,76]}}       ";
    static const uint64_t d12[] = {1, 2}, d1[] = {1}, d22[] = {2, 2}, d23[] = {2, 3},
                          d07[] = {0, 7}, d2[] = {2}, d3[] = {3};
    struct st_tensor t[] = {
        {STR("b.bf16"),                                   d23,  2, DTYPE_BF16,    12, 0},
        {STR("a.f32"),                                    d22,  2, DTYPE_F32,     16, 0},
        {STR("z.f32"),                                    NULL, 0, DTYPE_F32,     4,  0},
        {STR("u8"),                                       d3,   1, DTYPE_U8,      3,  0},
        {STR("bool"),                                     d1,   1, DTYPE_BOOL,    1,  0},
        {STR("i64"),                                      d12,  2, DTYPE_I64,     16, 0},
        {STR("f16"),                                      d07,  2, DTYPE_F16,     0,  0},
        {STR("q\"\\/\n\xc3\xa9\xf0\x9f\x98\x80\x7f\x01"), d1,   1, DTYPE_I32,     4,  0},
        {STR("f8"),                                       d2,   1, DTYPE_F8_E4M3, 2,  0},
        {STR("f8b"),                                      d2,   1, DTYPE_F8_E5M2, 2,  0},
        {STR("f64"),                                      d1,   1, DTYPE_F64,     8,  0},
        {STR("c64"),                                      d1,   1, DTYPE_C64,     8,  0},
    };
    const struct meta format = {
        .key = STR("format"), .value = STR("pt\t\"\xc3\xa9"), .type = META_STRING};
    struct arena a = {0};
    uint64_t file_bytes;
    const uint32_t n = sizeof t / sizeof *t;
    const struct str header = lay_out(&a, t, n, &format, 1, &file_bytes);
    cr_assert(str_eq(header, STR(want)), "%.*s", STR_ARG(header));
    cr_assert(file_bytes == sizeof want - 1 + 76);
    /* The array keeps its order; offsets are absolute. */
    cr_assert(t[0].offset == header.n + 56 && t[5].offset == header.n &&
              t[4].offset == header.n + 75);
    arena_free(&a);
}

Test(safetensors, an_empty_file_is_written_and_read)
{
    struct arena a = {0};
    uint64_t file_bytes;
    const struct str header = lay_out(&a, NULL, 0, NULL, 0, &file_bytes);
    cr_assert(str_eq(header, STR("\10\0\0\0\0\0\0\0{}      ")) && file_bytes == 16);
    struct model *m = open_good(scratch_file("e.safetensors", header));
    cr_assert(m->ntensors == 0);
    model_close(m);
    arena_free(&a);
}

/* Random tensors of every type: what is laid out is read back as it was. */
Test(safetensors, layout_and_reader_agree)
{
    enum { MAX = 24 };
    uint64_t seed = 7;
    for (int round = 0; round < 200; round++) {
        struct arena a = {0};
        struct st_tensor t[MAX];
        const uint32_t n = (uint32_t)round % (MAX + 1);
        for (uint32_t i = 0; i < n; i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1;
            const enum dtype d = (enum dtype)((seed >> 33) % (DTYPE_F6_E3M2 + 1));
            uint64_t *dims = ARENA_NEW(&a, uint64_t, 2);
            dims[0] = seed >> 40 & 3;
            dims[1] = dtype_traits[d].block_elems * (1 + (seed >> 50 & 7));
            t[i] = (struct st_tensor){.dims = dims, .ndims = 2, .dtype = d};
            t[i].name =
                str_from(arena_printf(&a, "%c\xc3\xa9\n\"%u", (char)('a' + (seed >> 60)), i));
            cr_assert(dtype_bytes(d, dims[0] * dims[1], &t[i].nbytes));
        }
        uint64_t file_bytes;
        const struct str header = lay_out(&a, t, n, NULL, 0, &file_bytes);
        cr_assert(header.n % 8 == 0);
        const char *path = scratch_file("r.safetensors", header);
        cr_assert(truncate(path, (off_t)file_bytes) == 0);
        struct model *m = open_good(path);
        cr_assert(m->ntensors == n);
        for (uint32_t i = 0; i < n; i++) {
            const struct tensor *got = model_find(m, t[i].name);
            cr_assert(got && got->offset == t[i].offset && got->nbytes == t[i].nbytes);
            cr_assert(got->dtype == t[i].dtype && got->dims[1] == t[i].dims[1]);
        }
        model_close(m);
        arena_free(&a);
    }
}

static void expect_no_layout(struct st_tensor t, enum quern_status status, const char *kind)
{
    struct arena a = {0};
    struct str header;
    uint64_t file_bytes;
    struct quern_error err;
    cr_assert(safetensors_layout(&a, NULL, 0, &t, 1, &header, &file_bytes, &err) == status);
    cr_assert_str_eq(err.kind, kind, "%s", err.text);
    arena_free(&a);
}

Test(safetensors, refuses_to_write_what_it_would_not_read)
{
    static const uint64_t d[] = {32};
    expect_no_layout((struct st_tensor){STR("a"), d, 1, DTYPE_Q4_0, 18, 0}, QUERN_EUNSUPPORTED,
                     "dtype");
    expect_no_layout((struct st_tensor){STR(""), d, 1, DTYPE_U8, 32, 0}, QUERN_EUSAGE, "name");
    expect_no_layout((struct st_tensor){STR("\xff"), d, 1, DTYPE_U8, 32, 0}, QUERN_EUSAGE, "name");
    expect_no_layout((struct st_tensor){STR("__metadata__"), d, 1, DTYPE_U8, 32, 0}, QUERN_EUSAGE,
                     "name");
}

/* json.dumps(index, indent=2, sort_keys=True) of Python, and a line end. */
Test(safetensors, writes_an_index_as_python_does)
{
    static const char want[] =
        "{\n  \"metadata\": {\n    \"total_size\": 9223372036854775808\n  },\n"
        "  \"weight_map\": {\n    \"a\\\"\": \"m-2.safetensors\",\n"
        "    \"b\\u00e9\\ud83d\\ude00\\u007f\": \"m-1.safetensors\"\n  }\n}\n";
    const struct str names[] = {STR("b\xc3\xa9\xf0\x9f\x98\x80\x7f"), STR("a\"")};
    const char *const files[] = {"m-1.safetensors", "m-2.safetensors"};
    struct arena a = {0};
    struct str text;
    cr_assert(safetensors_index_text(&a, names, files, 2, UINT64_C(1) << 63, &text, NULL) ==
              QUERN_OK);
    cr_assert(str_is(text, want), "%.*s", STR_ARG(text));

    struct shard_index x;
    cr_assert(safetensors_read_index(scratch_file("x.json", text), &a, &x, NULL) == QUERN_OK);
    cr_assert(x.count == 2 && x.has_total_size && x.total_size == UINT64_C(1) << 63);
    cr_assert(str_eq(x.entries[1].tensor, names[0]) && str_is(x.entries[1].file, files[0]));

    cr_assert(safetensors_index_text(&a, NULL, NULL, 0, 0, &text, NULL) == QUERN_OK);
    cr_assert(str_is(text, "{\n  \"metadata\": {\n    \"total_size\": 0\n  },\n"
                           "  \"weight_map\": {}\n}\n"));
    arena_free(&a);
}
