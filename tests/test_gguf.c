/* test_gguf.c - GGUF headers that are read, laid out and edited. */
#include "formats/gguf.h"

#include "scratch.h"

TestSuite(gguf, .init = scratch_begin, .fini = scratch_end);

static struct model *open_good(const char *path)
{
    struct model *m;
    struct quern_error err;
    cr_assert(model_open(path, &m, &err) == QUERN_OK, "%s", err.text);
    return m;
}

static struct str lay_out(struct arena *a, const struct meta_list *l, struct gguf_tensor *t,
                          uint32_t n, uint64_t alignment, uint64_t *file_bytes)
{
    struct str header;
    struct quern_error err;
    cr_assert(gguf_layout(a, l->items, l->count, t, n, alignment, &header, file_bytes, &err) ==
                  QUERN_OK,
              "%s", err.text);
    return header;
}

/* A file with zeros for data. */
static const char *write_file(const char *name, struct str header, uint64_t file_bytes)
{
    const char *path = scratch_file(name, header);
    cr_assert(truncate(path, (off_t)file_bytes) == 0);
    return path;
}

/* Byte by byte from the format's description; zeros up to the alignment. */
static const char small_file[224] =
    "GGUF\3\0\0\0"
    "\2\0\0\0\0\0\0\0"
    "\4\0\0\0\0\0\0\0"
    "\1\0\0\0\0\0\0\0a\4\0\0\0\x78\x56\x34\x12"             /* a: u32 */
    "\3\0\0\0\0\0\0\0s.t\x08\0\0\0\2\0\0\0\0\0\0\0hi"       /* s.t: string */
    "\1\0\0\0\0\0\0\0b\7\0\0\0\1"                           /* b: bool */
    "\1\0\0\0\0\0\0\0l\x09\0\0\0\x08\0\0\0\2\0\0\0\0\0\0\0" /* l: array of strings */
    "\0\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0xy"                    /* "", "xy" */
    /* t1: 32 x 2 of Q4_0, at 0 */
    "\2\0\0\0\0\0\0\0t1\2\0\0\0\x20\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0"
    /* u: 3 of F32, at 64 */
    "\1\0\0\0\0\0\0\0u\1\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0";

static void list_of_small_file(struct meta_list *l, struct arena *a)
{
    cr_assert(meta_list_copy(l, a, NULL, 0));
    cr_assert(meta_list_set_u32(l, "a", 0x12345678));
    cr_assert(meta_list_set_string(l, "s.t", STR("hi")));
    cr_assert(meta_list_set_bool(l, "b", true));
    cr_assert(meta_list_set(l, (struct meta){.key = STR("l"),
                                             .value = STR("\0\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0xy"),
                                             .count = 2,
                                             .type = META_ARRAY,
                                             .item_type = META_STRING}));
}

Test(gguf, layout_is_the_described_format_byte_by_byte)
{
    struct arena a = {0};
    struct meta_list l;
    list_of_small_file(&l, &a);
    /* Outermost first; the leading ones are GGUF's trailing ones and are dropped. */
    const uint64_t dims1[] = {1, 1, 2, 32}, dims2[] = {1, 3};
    struct gguf_tensor t[] = {
        {STR("t1"), dims1, 4, DTYPE_Q4_0, 36, 0},
        {STR("u"),  dims2, 2, DTYPE_F32,  12, 0}
    };
    uint64_t file_bytes;
    const struct str header = lay_out(&a, &l, t, 2, 32, &file_bytes);
    cr_assert(header.n == sizeof small_file);
    for (size_t i = 0; i < header.n; i++)
        cr_assert(header.p[i] == small_file[i], "byte %zu", i);
    cr_assert(t[0].offset == 224 && t[1].offset == 224 + 64 && file_bytes == 224 + 64 + 32);
    arena_free(&a);
}

Test(gguf, reads_the_described_format)
{
    struct model *m =
        open_good(write_file("s.gguf", (struct str){small_file, sizeof small_file}, 224 + 64 + 12));
    cr_assert(m->format == MODEL_GGUF && m->gguf_version == 3 && m->alignment == 32);
    cr_assert(m->ntensors == 2 && m->nmetas == 4 && m->nnotes == 0);
    const struct tensor *t = model_find(m, STR("t1"));
    cr_assert(t && t->ndims == 2 && t->dims[0] == 2 && t->dims[1] == 32, "dims are flipped");
    cr_assert(t->dtype == DTYPE_Q4_0 && t->nelems == 64 && t->nbytes == 36 && t->offset == 224);
    t = model_find(m, STR("u"));
    cr_assert(t && t->ndims == 1 && t->offset == 224 + 64 && t->name.p[t->name.n] == '\0');

    uint64_t n;
    struct str s;
    cr_assert(meta_u64(model_meta(m, "a"), &n) && n == 0x12345678);
    cr_assert(meta_string(model_meta(m, "s.t"), &s) && str_is(s, "hi"));
    cr_assert(!meta_u64(model_meta(m, "b"), &n), "a bool is no number");
    const struct meta *k = model_meta(m, "l");
    cr_assert(k->type == META_ARRAY && k->item_type == META_STRING && k->count == 2);
    cr_assert(str_eq(k->value, STR("\0\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0xy")));
    cr_assert_str_eq(k->key.p, "l");
    model_close(m);
}

/* Everything that was read can be written again: the same header. */
Test(gguf, reading_and_layout_are_inverse)
{
    struct model *m =
        open_good(write_file("s.gguf", (struct str){small_file, sizeof small_file}, 224 + 64 + 12));
    struct arena a = {0};
    struct meta_list l;
    cr_assert(meta_list_copy(&l, &a, m->metas, m->nmetas));
    struct gguf_tensor t[2];
    for (uint32_t i = 0; i < 2; i++)
        t[i] = (struct gguf_tensor){.name = m->tensors[i].name,
                                    .dims = m->tensors[i].dims,
                                    .ndims = m->tensors[i].ndims,
                                    .dtype = m->tensors[i].dtype,
                                    .nbytes = m->tensors[i].nbytes};
    uint64_t file_bytes;
    const struct str header = lay_out(&a, &l, t, 2, 32, &file_bytes);
    cr_assert(str_eq(header, (struct str){small_file, sizeof small_file}));
    arena_free(&a);
    model_close(m);
}

Test(gguf, other_alignments_move_data_and_header)
{
    struct arena a = {0};
    for (uint32_t alignment = 8; alignment <= 1u << 20; alignment *= 2) {
        struct meta_list l;
        cr_assert(meta_list_copy(&l, &a, NULL, 0));
        cr_assert(meta_list_set_u32(&l, "general.alignment", alignment));
        const uint64_t dims[] = {3};
        struct gguf_tensor t[] = {
            {STR("a"), dims, 1, DTYPE_I8,  3,  0},
            {STR("b"), dims, 1, DTYPE_F64, 24, 0}
        };
        uint64_t file_bytes;
        const struct str header = lay_out(&a, &l, t, 2, alignment, &file_bytes);
        cr_assert(header.n % alignment == 0 && t[1].offset == header.n + alignment);
        struct model *m = open_good(write_file("a.gguf", header, file_bytes));
        cr_assert(m->alignment == alignment && m->tensors[1].offset == t[1].offset);
        model_close(m);
    }
    arena_free(&a);
}

Test(gguf, scalars_and_empty_tensors_keep_a_dimension)
{
    struct arena a = {0};
    struct meta_list l;
    cr_assert(meta_list_copy(&l, &a, NULL, 0));
    const uint64_t ones[] = {1, 1, 1}, none[] = {0, 32};
    struct gguf_tensor t[] = {
        {STR("scalar"), NULL, 0, DTYPE_F32, 4, 0},
        {STR("ones"),   ones, 3, DTYPE_F32, 4, 0},
        {STR("none"),   none, 2, DTYPE_F32, 0, 0}
    };
    uint64_t file_bytes;
    const struct str header = lay_out(&a, &l, t, 3, 32, &file_bytes);
    struct model *m = open_good(write_file("o.gguf", header, file_bytes));
    cr_assert(m->tensors[0].ndims == 1 && m->tensors[0].nelems == 1);
    cr_assert(m->tensors[1].ndims == 1 && m->tensors[1].nelems == 1);
    cr_assert(m->tensors[2].ndims == 2 && m->tensors[2].nelems == 0 && m->tensors[2].dims[1] == 32);
    model_close(m);
    arena_free(&a);
}

/* The header is read in pieces: one of several MiB crosses many of them. */
Test(gguf, large_headers_are_read_whole)
{
    enum { COUNT = 20000, ITEMS = 100000 };
    struct arena a = {0};
    struct meta_list l;
    cr_assert(meta_list_copy(&l, &a, NULL, 0));
    for (uint32_t i = 0; i < 300; i++)
        cr_assert(meta_list_set_u32(&l, arena_printf(&a, "key.%u", i), i));
    char *items = ARENA_NEW(&a, char, ITEMS * 12);
    for (uint32_t i = 0; i < ITEMS; i++) {
        char digits[16];
        snprintf(digits, sizeof digits, "%04u", i % 10000);
        items[i * 12] = 4;
        memcpy(items + i * 12 + 8, digits, 4);
    }
    struct meta words = {
        .key = STR("words"), .value = {items, ITEMS * 12},
             .count = ITEMS
    };
    words.type = META_ARRAY;
    words.item_type = META_STRING;
    cr_assert(meta_list_set(&l, words));
    struct gguf_tensor *t = ARENA_NEW(&a, struct gguf_tensor, COUNT);
    const uint64_t dims[] = {8};
    for (uint32_t i = 0; i < COUNT; i++)
        t[i] =
            (struct gguf_tensor){str_from(arena_printf(&a, "t%u", i)), dims, 1, DTYPE_F32, 32, 0};
    uint64_t file_bytes;
    const struct str header = lay_out(&a, &l, t, COUNT, 32, &file_bytes);
    cr_assert(header.n > 1 << 20);
    struct model *m = open_good(write_file("l.gguf", header, file_bytes));
    cr_assert(m->nmetas == 301 && m->ntensors == COUNT);
    const struct meta *k = model_meta(m, "words");
    cr_assert(k && k->count == ITEMS && str_eq(k->value, words.value));
    for (uint32_t i = 0; i < COUNT; i++)
        cr_assert(str_eq(m->tensors[i].name, t[i].name) && m->tensors[i].offset == t[i].offset);
    cr_assert(model_bytes(m) < 8 * header.n);
    model_close(m);
    arena_free(&a);
}

/* ---- keys ----------------------------------------------------------------------------------- */

static void expect_keys(const struct meta_list *l, const char *const *keys, uint32_t n)
{
    cr_assert(l->count == n, "%u keys", l->count);
    for (uint32_t i = 0; i < n; i++)
        cr_assert_str_eq(l->items[i].key.p, keys[i]);
}

Test(gguf, setting_a_key_moves_it_to_the_end)
{
    struct arena a = {0};
    struct meta_list l;
    list_of_small_file(&l, &a);
    cr_assert(meta_list_set_f32(&l, "s.t", 1.5f));
    expect_keys(&l, (const char *[]){"a", "b", "l", "s.t"}, 4);
    cr_assert(l.items[3].type == META_F32 && str_eq(l.items[3].value, STR("\0\0\xc0\x3f")));
    meta_list_remove(&l, "b");
    meta_list_remove(&l, "nothing");
    expect_keys(&l, (const char *[]){"a", "l", "s.t"}, 3);
    cr_assert(meta_list_set(&l, l.items[0]), "a key may be set to itself");
    expect_keys(&l, (const char *[]){"l", "s.t", "a"}, 3);
    cr_assert(meta_list_set_u16(&l, "u", 0x1234) && meta_list_set_i32(&l, "i", -2));
    cr_assert(str_eq(l.items[3].value, STR("\x34\x12")) && l.items[3].type == META_U16);
    cr_assert(str_eq(l.items[4].value, STR("\xfe\xff\xff\xff")) && l.items[4].type == META_I32);
    arena_free(&a);
}

Test(gguf, numbers_of_every_type_are_read)
{
    static const struct {
        enum meta_type type;
        struct str value;
        bool ok;
        uint64_t want;
    } cases[] = {
        {META_U8,     STR("\xff"),                             true,  255       },
        {META_I8,     STR("\x7f"),                             true,  127       },
        {META_I8,     STR("\x80"),                             false, 0         },
        {META_U16,    STR("\1\2"),                             true,  0x201     },
        {META_I16,    STR("\xff\xff"),                         false, 0         },
        {META_U32,    STR("\xff\xff\xff\xff"),                 true,  UINT32_MAX},
        {META_I32,    STR("\0\0\0\x80"),                       false, 0         },
        {META_U64,    STR("\xff\xff\xff\xff\xff\xff\xff\xff"), true,  UINT64_MAX},
        {META_I64,    STR("\0\0\0\0\0\0\0\x80"),               false, 0         },
        {META_I64,    STR("\1\0\0\0\0\0\0\0"),                 true,  1         },
        {META_F32,    STR("\0\0\x80\x3f"),                     false, 0         },
        {META_BOOL,   STR("\1"),                               false, 0         },
        {META_STRING, STR("1"),                                false, 0         },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct meta k = {.value = cases[i].value, .type = (uint8_t)cases[i].type};
        uint64_t v = 0;
        cr_assert(meta_u64(&k, &v) == cases[i].ok && v == cases[i].want, "case %zu", i);
    }
}

/* ---- refusals ------------------------------------------------------------------------------- */

static void expect_no_layout(struct gguf_tensor t, enum quern_status status, const char *kind)
{
    struct arena a = {0};
    struct str header;
    uint64_t file_bytes;
    struct quern_error err;
    cr_assert(gguf_layout(&a, NULL, 0, &t, 1, 32, &header, &file_bytes, &err) == status);
    cr_assert_str_eq(err.kind, kind, "%s", err.text);
    arena_free(&a);
}

Test(gguf, refuses_to_write_what_gguf_cannot_hold)
{
    static const char letters[] =
        "0123456789012345678901234567890123456789012345678901234567890123";
    static const uint64_t five[] = {2, 1, 1, 1, 1}, one[] = {1, 1, 1, 1, 1, 1, 2};
    expect_no_layout(
        (struct gguf_tensor){
            {letters, 64},
            one, 1, DTYPE_F32, 4, 0
    },
        QUERN_EUSAGE, "name");
    expect_no_layout((struct gguf_tensor){STR(""), one, 1, DTYPE_F32, 4, 0}, QUERN_EUSAGE, "name");
    expect_no_layout((struct gguf_tensor){STR("a"), five, 5, DTYPE_F32, 8, 0}, QUERN_EUNSUPPORTED,
                     "dims");
    expect_no_layout((struct gguf_tensor){STR("a"), one, 1, DTYPE_U8, 1, 0}, QUERN_EUNSUPPORTED,
                     "tensor-type");
    /* Seven dimensions of which one counts are fine, and so are 63 bytes. */
    struct arena a = {0};
    struct meta_list l = {.arena = &a};
    struct gguf_tensor t = {
        {letters, 63},
        one, 7, DTYPE_F32, 8, 0
    };
    uint64_t file_bytes;
    lay_out(&a, &l, &t, 1, 32, &file_bytes);
    arena_free(&a);
}

Test(gguf, names_of_split_files)
{
    static const struct {
        const char *name;
        bool ok;
        const char *prefix;
        uint32_t no, count;
    } cases[] = {
        {"m-00001-of-00002.gguf",                  true,  "m",                  1,  2 },
        {"a-b-00001-of-00001-00012-of-00012.gguf", true,  "a-b-00001-of-00001", 12, 12},
        {"-00001-of-00002.gguf",                   true,  "",                   1,  2 },
        {"m-00003-of-00002.gguf",                  false, NULL,                 0,  0 },
        {"m-00000-of-00002.gguf",                  false, NULL,                 0,  0 },
        {"m-0001-of-00002.gguf",                   false, NULL,                 0,  0 },
        {"m-00001-of-00002.GGUF",                  false, NULL,                 0,  0 },
        {"m-0000a-of-99999.gguf",                  false, NULL,                 0,  0 },
        {"m.gguf",                                 false, NULL,                 0,  0 },
        {"",                                       false, NULL,                 0,  0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str prefix;
        uint32_t no, count;
        const bool ok = gguf_split_name_parse(str_from(cases[i].name), &prefix, &no, &count);
        cr_assert(ok == cases[i].ok, "%s", cases[i].name);
        if (ok)
            cr_assert(str_is(prefix, cases[i].prefix) && no == cases[i].no &&
                      count == cases[i].count);
    }
}
