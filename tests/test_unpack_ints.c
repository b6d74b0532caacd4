/* test_unpack_ints.c - integers that other programs packed, read from any place. */
#include "convert/packed_ints.h"
#include "pipeline/as_blocks.h"

#include "tests/merge_fixture.h"

TestSuite(unpack_ints, .init = begin, .fini = end);

/* ---- matrices of many bands ------------------------------------------------------------------ */

#define ROWS   520u
#define COLS   4160u
#define GROUP  96u /* the last one is shorter */
#define GROUPS 44u

static uint8_t codes[ROWS][COLS], zeros[ROWS][GROUPS];
static float scales[ROWS][GROUPS];
static int32_t order[COLS];

static float half(float x)
{
    uint16_t stored;
    codec_kernels()->encode[DTYPE_F16](&x, &stored, 1);
    codec_kernels()->decode[DTYPE_F16](&stored, &x, 1);
    return x;
}

static void make_values(unsigned bits, bool mixed)
{
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t c = 0; c < COLS; c++)
            codes[r][c] = (uint8_t)(random_bits() >> 20 & ((1u << bits) - 1));
        for (size_t g = 0; g < GROUPS; g++) {
            zeros[r][g] = (uint8_t)(random_bits() >> 20 & ((1u << bits) - 1));
            scales[r][g] = half((float)(random_bits() >> 8) / (1 << 28));
        }
    }
    for (size_t c = 0; c < COLS; c++)
        order[c] = (int32_t)(mixed ? (random_bits() >> 8) % GROUPS : c / GROUP);
}

static void set_bits(uint32_t *words, uint64_t bit, unsigned bits, uint32_t value)
{
    for (unsigned i = 0; i < bits; i++, bit++)
        words[bit / 32] |= (value >> i & 1u) << (bit % 32);
}

/* Codes along rows, turned around or not, into words[nlines][nwords] or words[nwords][nlines]. */
static uint32_t *pack_lines(const uint8_t *from, size_t nlines, size_t n, unsigned bits, bool down)
{
    const size_t nwords = (n * bits + 31) / 32;
    uint32_t *words = ARENA_NEW(&arena, uint32_t, nlines * nwords);
    uint32_t *line = ARENA_NEW(&arena, uint32_t, nwords);
    for (size_t r = 0; r < nlines; r++) {
        memset(line, 0, nwords * sizeof *line);
        for (size_t c = 0; c < n; c++)
            set_bits(line, c * bits, bits, from[r * n + c]);
        for (size_t w = 0; w < nwords; w++)
            words[down ? w * nlines + r : r * nwords + w] = line[w];
    }
    return words;
}

/* words[n][nrows / 8] of from[nrows][n]. */
static uint32_t *pack_across(const uint8_t *from, size_t nrows, size_t n)
{
    static const unsigned place[8] = {0, 4, 1, 5, 2, 6, 3, 7}; /* of each row */
    uint32_t *words = ARENA_NEW(&arena, uint32_t, nrows / 8 * n);
    for (size_t r = 0; r < nrows; r++)
        for (size_t c = 0; c < n; c++)
            words[c * (nrows / 8) + r / 8] |= (uint32_t)from[r * n + c] << (4 * place[r % 8]);
    return words;
}

/* to[n][nrows] of from[nrows][n]. */
static uint8_t *turn(const uint8_t *from, size_t nrows, size_t n)
{
    uint8_t *to = ARENA_NEW(&arena, uint8_t, nrows * n);
    for (size_t r = 0; r < nrows; r++)
        for (size_t c = 0; c < n; c++)
            to[c * nrows + r] = from[r * n + c];
    return to;
}

static uint16_t *pack_scales(bool by_group)
{
    uint16_t *to = ARENA_NEW(&arena, uint16_t, ROWS * GROUPS);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t g = 0; g < GROUPS; g++)
            codec_kernels()->encode[DTYPE_F16](&scales[r][g],
                                               &to[by_group ? g * ROWS + r : r * GROUPS + g], 1);
    return to;
}

static void check_all(const struct source *s, unsigned add)
{
    static const uint64_t firsts[] = {0,     1,      4159,   4160,           4161,
                                      65535, 524287, 999999, 503 * COLS + 9, ROWS * COLS - 8192};
    for (unsigned wide = 0; wide < 2; wide++)
        for (size_t k = 0; k < sizeof firsts / sizeof *firsts; k++) {
            void *scratch = ARENA_NEW(&arena, uint8_t, source_scratch_bytes(s, wide));
            double x[PIECE];
            uint64_t moved = 0;
            struct quern_error err;
            const size_t n = k % 2 ? PIECE : 5000;
            cr_assert(source_read(s, scratch, wide, firsts[k], n, x, &moved, &err) == QUERN_OK,
                      "%s", err.text);
            cr_assert(moved > 0);
            for (size_t i = 0; i < n; i++) {
                const uint64_t r = (firsts[k] + i) / COLS, c = (firsts[k] + i) % COLS;
                const float want =
                    (float)(codes[r][c] - (int)(zeros[r][order[c]] + add)) * scales[r][order[c]];
                cr_assert((wide ? x[i] : (double)((float *)x)[i]) == (double)want,
                          "row %lu column %lu", (unsigned long)r, (unsigned long)c);
            }
        }
}

/* Rows of two halves of 60 in turns, as attention heads are laid out anew, where a band ends. */
static void check_turns(const struct source *s, unsigned add)
{
    struct quern_error err;
    uint64_t moved = 0;
    float x[COLS];
    void *scratch = ARENA_NEW(&arena, uint8_t, source_scratch_bytes(s, false));
    for (size_t i = 0; i < ROWS; i++) {
        const size_t r = i < ROWS - 120 ? i : ROWS - 120 + (i % 2) * 60 + (i + 120 - ROWS) / 2;
        cr_assert(source_read(s, scratch, false, r * COLS, COLS, x, &moved, &err) == QUERN_OK);
        for (size_t c = 0; c < COLS; c++)
            cr_assert(x[c] ==
                      (float)(codes[r][c] - (int)(zeros[r][order[c]] + add)) * scales[r][order[c]]);
    }
    const struct packed_ints *p = s->params;
    const uint64_t stored =
        p->codes->tensor->nbytes + p->scales->tensor->nbytes + p->zeros->tensor->nbytes;
    cr_assert(moved < 3 * stored, "%lu bytes", (unsigned long)moved);
}

static struct model *open_parts(const struct blob *blobs, size_t n)
{
    struct model *m;
    struct quern_error err;
    write_model("m.safetensors", blobs, n);
    cr_assert(model_open(in_dir("m.safetensors"), &m, &err) == QUERN_OK, "%s", err.text);
    return m;
}

static struct source part(struct model *m, const char *name)
{
    return (struct source){.model = m, .tensor = model_find(m, str_from(name))};
}

static void check_matrix(struct packed_ints *p, const struct blob *blobs, size_t nblobs)
{
    static const uint64_t dims[] = {ROWS, COLS};
    struct quern_error err;
    struct model *m = open_parts(blobs, nblobs);
    const struct source q = part(m, "q"), z = part(m, "z"), s = part(m, "s"), o = part(m, "o");
    struct source out;
    p->rows = ROWS;
    p->cols = COLS;
    p->group = GROUP;
    p->round = DTYPE_F32;
    p->codes = &q;
    p->zeros = &z;
    p->scales = &s;
    p->order = o.tensor ? &o : NULL;
    cr_assert(packed_ints_source(&arena, p, STR("w"), DTYPE_F32, dims, 2, &out, &err) == QUERN_OK,
              "%s", err.text);
    cr_assert(p->band < ROWS || p->layout == CODES_ALONG);
    check_all(&out, p->zero);
    check_turns(&out, p->zero);
    model_close(m);
}

static void check_down(unsigned bits, bool mixed)
{
    make_values(bits, mixed);
    const uint8_t *by_group = turn(*zeros, ROWS, GROUPS);
    const struct blob blobs[] = {
        {.name = "q",
         .dtype = DTYPE_I32,
         .dims = {(COLS * bits + 31) / 32, ROWS},
         .bytes = pack_lines(*codes,           ROWS, COLS, bits, true)},
        {.name = "z",
         .dtype = DTYPE_I32,
         .dims = {GROUPS, (ROWS * bits + 31) / 32},
         .bytes = pack_lines(by_group,                 GROUPS, ROWS, bits, false)},
        {.name = "s", .dtype = DTYPE_F16, .dims = {GROUPS, ROWS},            .bytes = pack_scales(true)},
        {.name = "o",              .dtype = DTYPE_I32,                             .dims = {COLS},                         .bytes = order         }
    };
    struct packed_ints p = {.bits = bits,
                            .layout = CODES_DOWN,
                            .zero_layout = ZEROS_ALONG,
                            .zero = 1,
                            .scale_layout = SCALES_BY_GROUP};
    check_matrix(&p, blobs, 4);
}

Test(unpack_ints, down_columns)
{
    static const unsigned bits[] = {2, 3, 4, 8};
    for (size_t i = 0; i < 4; i++)
        check_down(bits[i], bits[i] == 4);
    CHECK_LEAKS();
}

Test(unpack_ints, across_columns)
{
    make_values(4, false);
    const struct blob blobs[] = {
        {.name = "q",
         .dtype = DTYPE_I32,
         .dims = {COLS, ROWS / 8},
         .bytes = pack_across(*codes,                  ROWS, COLS)},
        {.name = "z",
         .dtype = DTYPE_I32,
         .dims = {GROUPS, ROWS / 8},
         .bytes = pack_across(*zeros,                           ROWS, GROUPS)},
        {.name = "s", .dtype = DTYPE_F16, .dims = {GROUPS, ROWS}, .bytes = pack_scales(true)}
    };
    struct packed_ints p = {.bits = 4,
                            .layout = CODES_ACROSS,
                            .zero_layout = ZEROS_ACROSS,
                            .scale_layout = SCALES_BY_GROUP};
    check_matrix(&p, blobs, 3);
    CHECK_LEAKS();
}

/* So long that only eight rows are held: those of one word. */
Test(unpack_ints, across_columns_of_long_rows)
{
    enum { NROWS = 16, LONG = 131136 };
    static const uint64_t dims[] = {NROWS, LONG};
    static const uint8_t rows[] = {6, 9, 7, 10, 8, 5, 15, 0};
    uint8_t *from = ARENA_NEW(&arena, uint8_t, NROWS * LONG);
    uint32_t *none = ARENA_NEW(&arena, uint32_t, NROWS / 8);
    uint16_t *ones = ARENA_NEW(&arena, uint16_t, NROWS);
    struct quern_error err;
    struct source out;
    for (size_t r = 0; r < NROWS; r++) {
        memset(from + r * LONG, (int)r, LONG);
        ones[r] = 0x3c00;
    }
    const struct blob blobs[] = {
        {.name = "q",
         .dtype = DTYPE_I32,
         .dims = {LONG, NROWS / 8},
         .bytes = pack_across(from,                                NROWS, LONG)},
        {.name = "z",         .dtype = DTYPE_I32,           .dims = {1, NROWS / 8},         .bytes = none        },
        {.name = "s", .dtype = DTYPE_F16,   .dims = {1, NROWS},.bytes = ones}
    };
    struct model *m = open_parts(blobs, 3);
    const struct source q = part(m, "q"), z = part(m, "z"), s = part(m, "s");
    struct packed_ints p = {.rows = NROWS,
                            .cols = LONG,
                            .group = LONG,
                            .bits = 4,
                            .layout = CODES_ACROSS,
                            .zero_layout = ZEROS_ACROSS,
                            .scale_layout = SCALES_BY_GROUP,
                            .round = DTYPE_F32,
                            .codes = &q,
                            .zeros = &z,
                            .scales = &s};
    cr_assert(packed_ints_source(&arena, &p, STR("w"), DTYPE_F32, dims, 2, &out, &err) == QUERN_OK,
              "%s", err.text);
    cr_assert(p.band == 8);
    void *scratch = source_scratch_new(&out, false);
    for (size_t i = 0; i < sizeof rows; i++) {
        float x[3];
        uint64_t moved = 0;
        cr_assert(source_read(&out, scratch, false, rows[i] * (uint64_t)LONG + LONG - 3, 3, x,
                              &moved, &err) == QUERN_OK);
        cr_assert(x[0] == rows[i] && x[2] == rows[i], "row %u: %g", rows[i], (double)x[0]);
    }
    free(scratch);
    model_close(m);
    CHECK_LEAKS();
}

Test(unpack_ints, along_rows)
{
    for (unsigned bits = 1; bits <= 8; bits += 2 + bits / 5) {
        make_values(bits, false);
        const uint8_t *by_group = turn(*zeros, ROWS, GROUPS);
        const struct blob blobs[] = {
            {.name = "q",
             .dtype = DTYPE_I32,
             .dims = {ROWS, (COLS * bits + 31) / 32},
             .bytes = pack_lines(*codes,           ROWS, COLS, bits, false)},
            {.name = "z",
             .dtype = DTYPE_I32,
             .dims = {(ROWS * bits + 31) / 32, GROUPS},
             .bytes = pack_lines(by_group,                GROUPS, ROWS, bits, true)},
            {.name = "s", .dtype = DTYPE_F16, .dims = {ROWS, GROUPS},            .bytes = pack_scales(false)}
        };
        struct packed_ints p = {.bits = bits, .layout = CODES_ALONG, .zero_layout = ZEROS_DOWN};
        check_matrix(&p, blobs, 3);
    }
    CHECK_LEAKS();
}

/* ---- what other programs wrote and read -------------------------------------------------------
 */

#define GPTQ(bits, group, rest)                                           \
    "{\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":" #bits \
    ",\"group_size\":" #group ",\"desc_act\":true,\"sym\":false,\"damp_percent\":0.1" rest "}}"
#define SYMMETRIC(rest)                                                                 \
    "{\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32," \
    "\"sym\":true" rest "}}"
#define AWQ                                                                            \
    "{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":32," \
    "\"version\":\"gemm\",\"zero_point\":true,\"modules_to_not_convert\":null}}"
#define COMPRESSED(format, bits, rest)                                                             \
    "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"" format       \
    "\",\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":" #bits \
    ",\"type\":\"int\",\"dynamic\":false" rest "}}},\"ignore\":[\"lm_head\"]}}"
#define BNB(rest)                                                                          \
    "{\"quantization_config\":{\"quant_method\":\"bitsandbytes\",\"_load_in_8bit\":false," \
    "\"llm_int8_threshold\":6.0" rest "}}"
#define MLX(bits, group, rest) \
    "{\"quantization\":{\"group_size\":" #group ",\"bits\":" #bits rest "}}"

/* Names, each with its config.json. */
static const char *const known[] = {
    "gptq-2",
    GPTQ(2, 32, ""),
    "gptq-3",
    GPTQ(3, 32, ""),
    "gptq-4",
    GPTQ(4, 32, ",\"checkpoint_format\":\"gptq\""),
    "gptq-8",
    GPTQ(8, 32, ""),
    "gptq-8",
    GPTQ(4, 128, ",\"dynamic\":{\"+:m\":{\"bits\":8,\"group_size\":32}}"),
    "gptq-order",
    GPTQ(4, 64, ""),
    "gptq-v2",
    GPTQ(4, -1, ",\"checkpoint_format\":\"gptq_v2\""),
    "gptq-plain",
    GPTQ(4, 32, ""),
    "awq",
    AWQ,
    "ct-4-group",
    COMPRESSED("pack-quantized", 4, ",\"strategy\":\"group\",\"group_size\":32"),
    "ct-4-half",
    COMPRESSED("pack-quantized", 4, ",\"strategy\":\"group\",\"group_size\":32"),
    "ct-int-half",
    COMPRESSED("int-quantized", 8, ",\"strategy\":\"group\",\"group_size\":32"),
    "ct-4-zero",
    COMPRESSED("pack-quantized", 4,
               ",\"strategy\":\"group\",\"group_size\":32,\"symmetric\":false"),
    "ct-3-zero",
    COMPRESSED("pack-quantized", 3,
               ",\"strategy\":\"group\",\"group_size\":16,\"symmetric\":false"),
    "ct-8-channel",
    COMPRESSED("pack-quantized", 8, ",\"strategy\":\"channel\""),
    "ct-int-channel",
    COMPRESSED("int-quantized", 8, ",\"strategy\":\"channel\""),
    "ct-int-tensor",
    COMPRESSED("int-quantized", 8, ",\"strategy\":\"tensor\""),
    "ct-int-group",
    COMPRESSED("naive-quantized", 8, ",\"strategy\":\"group\",\"group_size\":32"),
    "bnb-nf4",
    BNB(",\"load_in_4bit\":true"),
    "bnb-fp4",
    BNB(",\"load_in_4bit\":true"),
    "bnb-nested",
    BNB(",\"bnb_4bit_use_double_quant\":true"),
    "bnb-f32",
    BNB(""),
    "bnb-8",
    BNB(",\"load_in_8bit\":true"),
    "mlx-2",
    MLX(2, 32, ""),
    "mlx-3",
    MLX(3, 64, ",\"mode\":\"affine\""),
    "mlx-4",
    MLX(4, 64, ""),
    "mlx-5",
    MLX(5, 32, ""),
    "mlx-6",
    MLX(4, 64, ",\"m\":{\"group_size\":128,\"bits\":6},\"lm_head\":false"),
    "mlx-8",
    MLX(8, 64, ""),
};

struct opened {
    struct model *model;
    struct view view;
};

static enum quern_status open_packed(struct opened *o, const char *path, const char *config,
                                     struct quern_error *err)
{
    struct unpacked unpacked;
    const struct side_file side = {.name = "config.json", .text = str_from(config)};
    const struct folder folder = {.path = "packed", .made = true, .sides = &side, .nsides = 1};
    *o = (struct opened){.model = NULL};
    TRY(model_open(path, &o->model, err));
    TRY(view_of_model(o->model, &arena, &o->view, err));
    TRY(unpack_view(&o->view, &folder, &arena, &unpacked, err));
    cr_assert(unpacked.by && unpacked.nweights == 1 && str_is(unpacked.config, "{}"), "%s",
              unpacked.config.p);
    return QUERN_OK;
}

static void close_packed(struct opened *o)
{
    view_free(&o->view);
    if (o->model)
        model_close(o->model);
}

/* All values, in reads of n elements from one scratch. */
static float *read_all(const struct source *s, size_t n)
{
    const uint64_t total = s->tensor->nelems;
    float *x = ARENA_NEW(&arena, float, total);
    void *scratch = ARENA_NEW(&arena, uint8_t, source_scratch_bytes(s, false));
    uint64_t moved = 0;
    struct quern_error err;
    for (uint64_t at = 0; at < total; at += n)
        cr_assert(source_read(s, scratch, false, at, total - at < n ? (size_t)(total - at) : n,
                              x + at, &moved, &err) == QUERN_OK,
                  "%s", err.text);
    return x;
}

Test(unpack_ints, values_of_other_programs)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i += 2) {
        struct opened o;
        struct quern_error err;
        const char *path = text("tests/data/packed/%s.safetensors", known[i]);
        cr_assert(open_packed(&o, path, known[i + 1], &err) == QUERN_OK, "%s: %s", known[i],
                  err.text);
        const struct source *got = view_find(&o.view, STR("m.weight"));
        const struct source *want = view_find(&o.view, STR("m.expected"));
        cr_assert(got && want && o.view.count == 2 && got->tensor->ndims == 2 &&
                  got->tensor->dims[0] == want->tensor->dims[0] &&
                  got->tensor->dims[1] == want->tensor->dims[1]);
        const float *y = read_all(want, PIECE);
        for (size_t n = 1; n <= PIECE; n = n * 11 + 2) {
            const float *x = read_all(got, n);
            for (uint64_t k = 0; k < got->tensor->nelems; k++)
                cr_assert(memcmp(&x[k], &y[k], sizeof *x) == 0, "%s: element %lu is %a, not %a",
                          known[i], (unsigned long)k, (double)x[k], (double)y[k]);
        }
        close_packed(&o);
    }
    CHECK_LEAKS();
}

/* ---- blocks that are moved --------------------------------------------------------------------
 */

static void check_blocks(const char *name, const char *config, enum dtype type)
{
    struct opened o;
    struct quern_error err;
    struct source blocks;
    uint64_t moved = 0;
    const char *path = text("tests/data/packed/%s.safetensors", name);
    cr_assert(open_packed(&o, path, config, &err) == QUERN_OK, "%s", err.text);
    const struct source *s = view_find(&o.view, STR("m.weight"));
    cr_assert(source_block_form(s, 0)->dtype == type && !source_block_form(s, 1));
    cr_assert(source_as_blocks(&arena, s, &blocks, &err) == QUERN_OK);
    const uint64_t n = s->tensor->nelems;
    uint8_t *raw = ARENA_NEW(&arena, uint8_t, dtype_stored(type, n));
    float *x = ARENA_NEW(&arena, float, n);
    cr_assert(blocks.kind->read_raw(&blocks, 0, 32, raw, &moved, &err) == QUERN_OK);
    cr_assert(blocks.kind->read_raw(&blocks, 32, n - 32, raw + dtype_stored(type, 32), &moved,
                                    &err) == QUERN_OK);
    codec_kernels()->decode[type](raw, x, n);
    cr_assert(memcmp(x, read_all(s, PIECE), n * sizeof *x) == 0, "%s", name);
    close_packed(&o);
}

Test(unpack_ints, blocks_are_moved_where_they_are_the_same)
{
    struct opened o;
    struct quern_error err;
    check_blocks("ct-4-half",
                 COMPRESSED("pack-quantized", 4, ",\"strategy\":\"group\",\"group_size\":32"),
                 DTYPE_Q4_0);
    check_blocks("ct-int-half",
                 COMPRESSED("int-quantized", 8, ",\"strategy\":\"group\",\"group_size\":32"),
                 DTYPE_Q8_0);
    check_blocks("gptq-plain", SYMMETRIC(""), DTYPE_Q4_0);
    check_blocks("gptq-sym", SYMMETRIC(",\"checkpoint_format\":\"gptq_v2\""), DTYPE_Q4_0);
    /* It says so, but has zeros that are not in the middle. */
    const char *mixed = "tests/data/packed/gptq-4.safetensors";
    cr_assert(open_packed(&o, mixed, SYMMETRIC(""), &err) == QUERN_OK, "%s", err.text);
    cr_assert(!source_block_form(view_find(&o.view, STR("m.weight")), 0));
    close_packed(&o);
    /* Scales in BF16 are no scales of Q4_0, nor are groups with zeros of their own. */
    for (size_t i = 0; i < sizeof known / sizeof *known; i += 2) {
        const char *path = text("tests/data/packed/%s.safetensors", known[i]);
        cr_assert(open_packed(&o, path, known[i + 1], &err) == QUERN_OK, "%s", err.text);
        const bool has = source_block_form(view_find(&o.view, STR("m.weight")), 0) != NULL;
        cr_assert(has == (str_ends(str_from(known[i]), "-half")), "%s", known[i]);
        close_packed(&o);
    }
    CHECK_LEAKS();
}

/* ---- order ------------------------------------------------------------------------------------
 */

static void check_order(const char *config, const struct blob *blobs, size_t n, bool last)
{
    struct opened o;
    struct quern_error err;
    write_model("m.safetensors", blobs, n);
    cr_assert(open_packed(&o, in_dir("m.safetensors"), config, &err) == QUERN_OK, "%s", err.text);
    cr_assert(o.view.count == 2);
    cr_assert(str_is(o.view.sources[last].tensor->name, "m.weight"));
    cr_assert(str_is(o.view.sources[!last].tensor->name, "n.weight"));
    close_packed(&o);
}

/* As convert_hf_to_gguf.py puts them. */
Test(unpack_ints, what_was_unpacked_comes_last_where_it_does_in_llama_cpp)
{
    static const uint8_t zero[256];
    const struct blob plain = {
        .name = "n.weight", .dtype = DTYPE_F16, .dims = {8, 8},
                .bytes = zero
    };
    const struct blob gptq[] = {
        {.name = "m.qweight", .dtype = DTYPE_I32, .dims = {4, 8}, .bytes = zero},
        {.name = "m.qzeros",  .dtype = DTYPE_I32, .dims = {1, 1}, .bytes = zero},
        {.name = "m.scales",  .dtype = DTYPE_F16, .dims = {1, 8}, .bytes = zero},
        plain
    };
    const struct blob bytes[] = {
        {.name = "m.weight",       .dtype = DTYPE_I8,  .dims = {8, 8}, .bytes = zero},
        {.name = "m.weight_scale", .dtype = DTYPE_F16, .dims = {8, 1}, .bytes = zero},
        plain
    };
    check_order(GPTQ(4, -1, ""), gptq, 4, true);
    check_order(COMPRESSED("int-quantized", 8, ",\"strategy\":\"channel\""), bytes, 3, false);
    CHECK_LEAKS();
}

/* ---- mistakes ---------------------------------------------------------------------------------
 */

static void refuses(const char *path, const char *config, enum quern_status status,
                    const char *needle)
{
    struct opened o;
    struct quern_error err = {.text = ""};
    const enum quern_status got = open_packed(&o, path, config, &err);
    cr_expect(got == status && strstr(err.text, needle), "%s: status %d, not %d: '%s' is not in %s",
              config, got, status, needle, err.text);
    close_packed(&o);
}

static void refuses_in(const char *name, const char *config, enum quern_status status,
                       const char *needle)
{
    refuses(text("tests/data/packed/%s.safetensors", name), config, status, needle);
}

Test(unpack_ints, what_a_config_may_not_say)
{
    const enum quern_status no = QUERN_EUNSUPPORTED, bad = QUERN_EFORMAT;
    refuses_in("gptq-4", GPTQ(5, 32, ""), no, "bits = 5");
    refuses_in("gptq-4", GPTQ(8, 32, ""), bad, "m.qweight");
    refuses_in("gptq-4", GPTQ(4, 0, ""), no, "group_size = 0");
    refuses_in("gptq-4", GPTQ(4, 64, ""), bad, "m.qzeros");
    refuses_in("gptq-4", GPTQ(4, 32, ",\"checkpoint_format\":\"marlin\""), no, "'marlin'");
    refuses_in("gptq-4", GPTQ(4, 32, ",\"rotation\":\"hadamard\""), no, "rotation 'hadamard'");
    refuses_in("gptq-4", GPTQ(4, 32, ",\"pack_dtype\":\"int64\""), no, "'int64'");
    refuses_in("gptq-plain", GPTQ(4, 32, ",\"dynamic\":{\"m\":{\"bits\":4}}"), bad, "m.g_idx");
    refuses_in("gptq-4", AWQ, bad, "m.");
    refuses_in("awq", "{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":8}}", no,
               "bits = 8");
    refuses_in("awq",
               "{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4,"
               "\"version\":\"gemv_fast\"}}",
               no, "version 'gemv_fast'");
    refuses_in("awq",
               "{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4,"
               "\"zero_point\":false}}",
               no, "zero_point = false");
    refuses_in("awq",
               "{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4,"
               "\"backend\":\"llm-awq\"}}",
               no, "backend 'llm-awq'");
    refuses_in("ct-4-group", COMPRESSED("pack-quantized", 4, ",\"strategy\":\"block\""), no,
               "strategy 'block'");
    refuses_in("ct-4-group", COMPRESSED("pack-quantized", 9, ",\"strategy\":\"channel\""), no,
               "num_bits = 9");
    refuses_in("ct-4-group", COMPRESSED("pack-quantized", 4, ",\"strategy\":\"channel\""), bad,
               "m.weight_packed");
    refuses_in("ct-4-group", COMPRESSED("pack-quantized", 4, ",\"spin\":1"), no, "spin = 1");
    refuses_in("ct-int-group", COMPRESSED("int-quantized", 8, ",\"strategy\":\"tensor\""), bad,
               "m.weight");
    refuses_in("bnb-nf4", BNB(",\"bnb_4bit_twist\":7"), no, "bnb_4bit_twist = 7");
    refuses_in("bnb-nf4", MLX(4, 64, ""), bad, "m.weight");
    refuses_in("mlx-4", MLX(4, 64, ",\"mode\":\"nvfp4\""), no, "mode 'nvfp4'");
    refuses_in("mlx-4", MLX(7, 64, ""), no, "bits = 7");
    refuses_in("mlx-4", MLX(4, 128, ""), bad, "m.scales");
    refuses_in("mlx-4", MLX(4, 64, ",\"speed\":1"), no, "speed = 1");
    refuses_in("bnb-8", GPTQ(4, 32, ""), bad, "m.weight");
    CHECK_LEAKS();
}

static void write_words(const int64_t shape[2], const char *path)
{
    static const uint8_t zero[256];
    const struct blob b[] = {
        {.name = "m.weight_packed", .dtype = DTYPE_I32, .dims = {8, 4}, .bytes = zero },
        {.name = "m.weight_scale",  .dtype = DTYPE_F16, .dims = {8, 1}, .bytes = zero },
        {.name = "m.weight_shape",  .dtype = DTYPE_I64, .dims = {2},    .bytes = shape}
    };
    write_model(path, b, 3);
}

Test(unpack_ints, shapes_that_lie)
{
    static const int64_t shapes[][2] = {
        {8,                -32             },
        {0,                32              },
        {8,                64              },
        {INT64_MAX,        32              },
        {8,                INT64_C(1) << 40},
        {INT64_C(1) << 40, INT64_C(1) << 40}
    };
    const char *config = COMPRESSED("pack-quantized", 4, ",\"strategy\":\"channel\"");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        write_words(shapes[i], "m.safetensors");
        refuses(in_dir("m.safetensors"), config, QUERN_EFORMAT, "m.weight");
    }
    CHECK_LEAKS();
}

#define STATE(rest) "{\"quant_type\":\"nf4\",\"dtype\":\"float16\"," rest "}"

static void refuses_state(const char *state, uint64_t nmap, enum quern_status status,
                          const char *needle)
{
    static const float zero[64];
    const struct blob b[] = {
        {.name = "m.weight",                               .dtype = DTYPE_U8,  .dims = {64, 1}, .bytes = zero},
        {.name = "m.weight.absmax",                        .dtype = DTYPE_F32, .dims = {2},     .bytes = zero},
        {.name = "m.weight.quant_map",                     .dtype = DTYPE_F32, .dims = {nmap},  .bytes = zero},
        {.name = "m.weight.quant_state.bitsandbytes__nf4",
         .dtype = DTYPE_U8,
         .dims = {strlen(state)},
         .bytes = state                                                                                      }
    };
    write_model("m.safetensors", b, 4);
    refuses(in_dir("m.safetensors"), BNB(""), status, needle);
}

Test(unpack_ints, states_that_lie)
{
    const enum quern_status no = QUERN_EUNSUPPORTED, bad = QUERN_EFORMAT;
    refuses_state("{", 16, bad, "quant_state");
    refuses_state(STATE("\"blocksize\":0,\"shape\":[2,64]"), 16, no, "blocksize = 0");
    refuses_state(STATE("\"blocksize\":64,\"shape\":\"2\""), 16, no, "shape '2'");
    refuses_state(STATE("\"blocksize\":64,\"shape\":[2,64],\"x\":1"), 16, no, "x = 1");
    refuses_state(STATE("\"blocksize\":64,\"shape\":[0,64]"), 16, bad, "m.weight");
    refuses_state(STATE("\"blocksize\":64,\"shape\":[4,64]"), 16, bad, "64 bytes");
    refuses_state(STATE("\"blocksize\":32,\"shape\":[2,64]"), 16, bad, "absmax");
    refuses_state(STATE("\"blocksize\":64,\"shape\":[4503599627370496,4503599627370496]"), 16, bad,
                  "m.weight");
    refuses_state(STATE("\"blocksize\":64,\"shape\":[2,64]"), 15, bad, "quant_map");
    CHECK_LEAKS();
}

/* Groups are only known when they are read. */
Test(unpack_ints, groups_that_do_not_exist)
{
    static const uint8_t zero[256];
    static const int32_t places[] = {7, 1, -2, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int32_t groups[32] = {0};
        struct opened o;
        struct quern_error err;
        float x[8 * 32];
        uint64_t moved = 0;
        groups[3] = places[i];
        const struct blob b[] = {
            {.name = "m.qweight", .dtype = DTYPE_I32, .dims = {4, 8}, .bytes = zero  },
            {.name = "m.qzeros",  .dtype = DTYPE_I32, .dims = {1, 1}, .bytes = zero  },
            {.name = "m.scales",  .dtype = DTYPE_F16, .dims = {1, 8}, .bytes = zero  },
            {.name = "m.g_idx",   .dtype = DTYPE_I32, .dims = {32},   .bytes = groups}
        };
        write_model("m.safetensors", b, 4);
        cr_assert(open_packed(&o, in_dir("m.safetensors"), GPTQ(4, -1, ""), &err) == QUERN_OK, "%s",
                  err.text);
        const struct source *s = view_find(&o.view, STR("m.weight"));
        void *scratch = ARENA_NEW(&arena, uint8_t, source_scratch_bytes(s, false));
        cr_assert(source_read(s, scratch, false, 0, 256, x, &moved, &err) == QUERN_EFORMAT);
        cr_assert(strstr(err.text, "m.g_idx") && strstr(err.text, "column 3"), "%s", err.text);
        close_packed(&o);
    }
    CHECK_LEAKS();
}

/* ---- merging ----------------------------------------------------------------------------------
 */

Test(unpack_ints, a_packed_model_is_merged_like_any_other)
{
    float other[40 * 160];
    uint64_t n;
    struct opened o;
    struct quern_error err;
    for (size_t i = 0; i < 40 * 160; i++)
        other[i] = (float)((int32_t)random_bits() >> 8) / (1 << 26);
    const char *from = "tests/data/packed/awq.safetensors";
    const char *names[] = {"m.qweight", "m.qzeros", "m.scales"};
    static const uint64_t lines[] = {160, 5, 5};
    struct blob parts[3];
    for (size_t i = 0; i < 3; i++) {
        parts[i] = (struct blob){.name = names[i]};
        parts[i].bytes = load_raw(from, names[i], &n, &parts[i].dtype);
        parts[i].dims[0] = lines[i];
        parts[i].dims[1] = n / lines[i];
    }
    const struct blob plain = {
        .name = "m.weight", .dtype = DTYPE_F32, .dims = {40, 160},
                .bytes = other
    };
    write_hf("packed", AWQ, parts, 3);
    write_hf("plain", "{}", &plain, 1);
    merge("", text("models: [{model: %s}, {model: %s}]\nmerge_method: linear\n"
                   "parameters: {weight: 0.5, normalize: false}\ndtype: float32\n",
                   in_dir("packed"), in_dir("plain")));
    cr_assert(open_packed(&o, from, AWQ, &err) == QUERN_OK);
    const float *x = read_all(view_find(&o.view, STR("m.weight")), PIECE);
    const float *y = load(in_dir("out.safetensors"), "m.weight", &n);
    cr_assert(n == 40 * 160);
    for (size_t i = 0; i < n; i++)
        cr_assert(y[i] == 0.5f * x[i] + 0.5f * other[i], "[%zu]", i);
    close_packed(&o);
    CHECK_LEAKS();
}
