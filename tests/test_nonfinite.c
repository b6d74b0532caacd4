/* test_nonfinite.c - NaN, Inf and values too large: refused with a count, kept, or taken for 0. */
#include <inttypes.h>
#include <math.h>
#include <quern.h>

#include "formats/safetensors.h"
#include "pipeline/identity.h"
#include "quant/codec.h"
#include "quant/small_floats.h"
#include "tests/checkpoint.h"

TestSuite(nonfinite, .init = scratch_begin, .fini = scratch_end);

#define ROWS    700u
#define COLUMNS 256u
#define N       (ROWS * COLUMNS) /* several chunks, and a rest */

static const size_t places[] = {3 * COLUMNS + 70, 65536, 65537, N - 1};
static const uint32_t specials[] = {0x7fc00001, 0x7f800000, 0xff800000, 0xffa00000};

/* ---- models --------------------------------------------------------------------------------- */

/* Weights of one F32 tensor "w.weight", with the special values in their places or something else.
 */
static void write_model(const char *name, unsigned seed, const uint32_t at_places[4])
{
    static uint64_t dims[] = {ROWS, COLUMNS};
    uint32_t *x = malloc(N * sizeof *x);
    for (uint32_t i = 0; i < N; i++) {
        const float v = (float)(int32_t)((i + seed) * 2654435761u >> 8 & 0xffff) / 65536 - 0.5f;
        memcpy(&x[i], &v, sizeof v);
    }
    for (size_t i = 0; at_places && i < 4; i++)
        x[places[i]] = at_places[i];
    struct blob b = {
        .t = {.name = STR("w.weight"),
              .dtype = DTYPE_F32,
              .dims = dims,
              .ndims = 2,
              .nbytes = N * 4},
        .data = (uint8_t *)x
    };
    write_blobs(scratch(name), &b, 1);
    free(x);
}

static const uint32_t zeros[4];

/* The data of tensor i. */
static uint8_t *data_of(const char *path, uint32_t i, uint64_t *nbytes)
{
    struct model *m;
    struct quern_error e;
    cr_assert(model_open(path, &m, &e) == QUERN_OK, "%s", e.text);
    const struct tensor *t = &m->tensors[i];
    uint8_t *p = malloc(t->nbytes + 1);
    cr_assert(model_pread(m, t->file, p, t->nbytes, t->offset, &e) == QUERN_OK);
    *nbytes = t->nbytes;
    model_close(m);
    return p;
}

static bool same_data(const char *a, const char *b)
{
    uint64_t n[2];
    uint8_t *x = data_of(a, 0, &n[0]), *y = data_of(b, 0, &n[1]);
    const bool same = n[0] == n[1] && memcmp(x, y, n[0]) == 0;
    free(x);
    free(y);
    return same;
}

/* ---- jobs ----------------------------------------------------------------------------------- */

static struct quern_error error;
static struct quern_zeroed zeroed[4];
static size_t nzeroed;
static unsigned threads = 2;
static uint64_t mem;

static enum quern_status finish(struct quern_plan *p)
{
    const enum quern_status s = quern_run(
        p, &(struct quern_run_options){.threads = threads, .mem_bytes = mem}, NULL, &error);
    for (nzeroed = 0; nzeroed < 4 && quern_plan_zeroed(p, nzeroed, &zeroed[nzeroed]);)
        nzeroed++;
    quern_plan_free(p);
    return s;
}

static enum quern_status quantize(const char *in, const char *out, const char *type,
                                  const char *nonfinite)
{
    struct quern_model *m;
    struct quern_plan *p;
    const bool gguf = str_ends(str_from(out), ".gguf");
    const struct quern_quantize q = {.type = type,
                                     .nonfinite = nonfinite,
                                     .keep_names = gguf,
                                     .arch = gguf ? "llama" : NULL,
                                     .force = true};
    cr_assert(quern_open(in, &m, &error) == QUERN_OK, "%s", error.text);
    enum quern_status s = quern_plan_quantize(m, out, &q, &p, &error);
    if (s == QUERN_OK)
        s = finish(p);
    quern_close(m);
    return s;
}

static enum quern_status merge(const char *recipe, const char *out, const char *nonfinite)
{
    struct quern_plan *p;
    char a[600], b[600];
    const char *mapped[] = {b, a};
    snprintf(a, sizeof a, "a=%s", scratch("a.safetensors"));
    snprintf(b, sizeof b, "b=%s", scratch("b.safetensors"));
    const struct quern_merge options = {
        .recipe_text = recipe,
        .model_paths = mapped,
        .nmodel_paths = strstr(recipe, "base_model: a") || strstr(recipe, "model: a") ? 2 : 1,
        .nonfinite = nonfinite,
        .force = true};
    const enum quern_status s = quern_plan_merge(out, &options, &p, &error);
    return s == QUERN_OK ? finish(p) : s;
}

/* ---- stored values -------------------------------------------------------------------------- */

/* All bits set is NaN in every type that has one, and in every scale. */
Test(nonfinite, stored_ones_are_counted_and_zeroed)
{
    for (enum dtype d = 0; d < DTYPE_COUNT; d++) {
        const struct dtype_traits *t = &dtype_traits[d];
        if ((!dtype_is_float(d) && !dtype_is_quantized(d)) || !codec_can_decode(d) ||
            d == DTYPE_NVFP4)
            continue;
        uint8_t stored[2560 * 8] = {0}, clean[sizeof stored] = {0};
        const size_t unit = t->block_elems, at[] = {0, 1024 / unit * unit, 2560 - unit};
        size_t first = 99;
        for (size_t i = 0; i < 3; i++)
            memset(stored + dtype_stored(d, at[i]), 0xff, t->block_bytes);
        cr_assert_eq(codec_count_nonfinite(d, stored, 2560, &first), 3 * unit, "%s", t->name);
        cr_assert_eq(first, 0);
        cr_assert(codec_zero_nonfinite(d, stored, 2560));
        cr_assert(memcmp(stored, clean, sizeof stored) == 0, "%s", t->name);
        cr_assert_eq(codec_count_nonfinite(d, stored, 2560, &first), 0);
        cr_assert_not(codec_zero_nonfinite(d, stored, 2560));
        float x[2560];
        codec_kernels()->decode[d](stored, x, 2560);
        for (size_t i = 0; i < unit; i++)
            cr_assert(x[i] == 0.0f, "%s", t->name);
    }
}

/* ---- error ---------------------------------------------------------------------------------- */

Test(nonfinite, error_tells_how_many_and_where)
{
    static const char *const types[] = {"Q8_0", "Q4_K", "F16", "BF16", "F32", "COPY"};
    write_model("a.safetensors", 1, specials);
    for (size_t i = 0; i < 6; i++)
        for (threads = 1; threads <= 7; threads += 3) {
            cr_assert_eq(quantize(scratch("a.safetensors"), scratch("out.gguf"), types[i], NULL),
                         QUERN_EFORMAT, "%s", types[i]);
            cr_assert_str_eq(error.kind, "nonfinite");
            cr_assert_str_eq(error.tensor, "w.weight");
            cr_assert_str_eq(error.found,
                             "4 of 179200 values are NaN or Inf, the first is NaN in [3, 70]");
            cr_assert(error.offset != UINT64_MAX && strstr(error.text, "a.safetensors"));
            cr_assert(access(scratch("out.gguf"), F_OK) != 0);
        }
    CHECK_LEAKS();
}

Test(nonfinite, error_is_of_the_tensor_that_is_to_blame)
{
    write_model("a.safetensors", 1, NULL);
    write_model("b.safetensors", 2, specials);
    static const char *const methods[] = {"{merge_method: slerp, base_model: a, models: [{model: "
                                          "a}, {model: b}], parameters: {t: 0.5}}",
                                          "{merge_method: linear, models: [{model: a}, {model: b}],"
                                          " parameters: {weight: 0.5}}",
                                          "{merge_method: passthrough, models: [{model: b}]}"};
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(merge(methods[i], scratch("out.safetensors"), NULL), QUERN_EFORMAT, "%zu", i);
        cr_assert(strstr(error.file, "b.safetensors"), "%s", error.text);
        cr_assert(strstr(error.found, "4 of 179200 values"), "%s", error.text);
    }
    CHECK_LEAKS();
}

Test(nonfinite, unknown_words_are_refused)
{
    write_model("a.safetensors", 1, NULL);
    cr_assert_eq(quantize(scratch("a.safetensors"), scratch("out.gguf"), "F16", "skip"),
                 QUERN_EUSAGE);
    cr_assert(strstr(error.text, "expected error, keep or zero"), "%s", error.text);
    CHECK_LEAKS();
}

/* ---- zero ----------------------------------------------------------------------------------- */

static void check_zeroed(void)
{
    cr_assert_eq(nzeroed, 1);
    cr_assert_eq(zeroed[0].count, 4);
    cr_assert_eq(zeroed[0].nelems, N);
    cr_assert_eq(zeroed[0].first, places[0]);
}

Test(nonfinite, zero_gives_what_a_model_with_zeros_gives)
{
    static const char *const types[] = {"Q8_0", "Q4_K", "IQ4_XS", "F16", "F32", "COPY"};
    write_model("a.safetensors", 1, specials);
    write_model("clean.safetensors", 1, zeros);
    for (size_t i = 0; i < 6; i++)
        for (threads = 1; threads <= 5; threads += 4) {
            mem = threads == 1 ? 4u << 20 : 0;
            cr_assert_eq(
                quantize(scratch("clean.safetensors"), scratch("want.gguf"), types[i], NULL),
                QUERN_OK, "%s", error.text);
            cr_assert_eq(quantize(scratch("a.safetensors"), scratch("got.gguf"), types[i], "zero"),
                         QUERN_OK, "%s", error.text);
            cr_assert(same_data(scratch("want.gguf"), scratch("got.gguf")), "%s", types[i]);
            check_zeroed();
        }
    cr_assert_eq(quantize(scratch("clean.safetensors"), scratch("got.gguf"), "F16", "zero"),
                 QUERN_OK);
    cr_assert_eq(nzeroed, 0);
    CHECK_LEAKS();
}

Test(nonfinite, zero_comes_before_measuring)
{
    static const char *const recipes[] = {
        "{merge_method: slerp, base_model: a, models: [{model: a}, {model: b}], parameters: {t: "
        "0.3}}",
        "{merge_method: ties, base_model: a, models: [{model: b}], parameters: {weight: 1, "
        "density: "
        "0.5}}",
        "{merge_method: model_stock, base_model: a, models: [{model: b}, {model: b}]}",
        "{merge_method: della, base_model: a, models: [{model: b}], parameters: {weight: 1, "
        "density: 0.5}}",
        "{merge_method: passthrough, models: [{model: b}]}"};
    write_model("a.safetensors", 1, NULL);
    for (size_t i = 0; i < 5; i++) {
        write_model("b.safetensors", 2, zeros);
        cr_assert_eq(merge(recipes[i], scratch("want.safetensors"), NULL), QUERN_OK, "%s",
                     error.text);
        write_model("b.safetensors", 2, specials);
        cr_assert_eq(merge(recipes[i], scratch("got.safetensors"), "zero"), QUERN_OK, "%s",
                     error.text);
        cr_assert(same_data(scratch("want.safetensors"), scratch("got.safetensors")), "%s",
                  recipes[i]);
        check_zeroed();
        cr_assert_eq(merge(recipes[i], scratch("got.safetensors"), "keep"),
                     i == 4 ? QUERN_OK : QUERN_EFORMAT, "%s", recipes[i]);
    }
    CHECK_LEAKS();
}

/* A block with such a scale is zeros, whether it is decoded or moved. */
Test(nonfinite, zero_in_blocks)
{
    write_model("clean.safetensors", 1, zeros);
    cr_assert_eq(quantize(scratch("clean.safetensors"), scratch("q.gguf"), "Q8_0", NULL), QUERN_OK);
    struct model *m;
    cr_assert(model_open(scratch("q.gguf"), &m, &error) == QUERN_OK);
    const uint64_t at = m->tensors[0].offset + 34 * 9;
    model_close(m);
    FILE *f = fopen(scratch("q.gguf"), "r+");
    cr_assert(f && fseek(f, (long)at, SEEK_SET) == 0 && fwrite("\x00\x7c", 1, 2, f) == 2);
    cr_assert(fclose(f) == 0);
    static const char *const types[] = {"COPY", "F32"};
    for (size_t i = 0; i < 2; i++) {
        struct quern_model *q;
        struct quern_plan *p;
        struct quern_quantize options = {
            .type = types[i], .allow_requantize = true, .force = true, .nonfinite = NULL};
        cr_assert(quern_open(scratch("q.gguf"), &q, &error) == QUERN_OK);
        cr_assert(quern_plan_quantize(q, scratch("out.gguf"), &options, &p, &error) == QUERN_OK);
        cr_assert_eq(finish(p), QUERN_EFORMAT);
        cr_assert(strstr(error.found, "32 of 179200 values"), "%s", error.text);
        cr_assert(strstr(error.found, "in [1, 32]"), "%s", error.text);
        options.nonfinite = "zero";
        cr_assert(quern_plan_quantize(q, scratch("out.gguf"), &options, &p, &error) == QUERN_OK);
        cr_assert_eq(finish(p), QUERN_OK, "%s", error.text);
        cr_assert(nzeroed == 1 && zeroed[0].count == 32 && zeroed[0].first == 288);
        quern_close(q);
        uint64_t n;
        uint8_t *got = data_of(scratch("out.gguf"), 0, &n);
        float x[64];
        codec_kernels()->decode[i == 0 ? DTYPE_Q8_0 : DTYPE_F32](got + (i == 0 ? 34 * 8 : 1024), x,
                                                                 64);
        for (size_t k = 32; k < 64; k++)
            cr_assert(x[k] == 0.0f);
        cr_assert(x[0] != 0.0f);
        free(got);
    }
    CHECK_LEAKS();
}

/* What an interrupted run has made another way is of no use. */
Test(nonfinite, the_way_is_part_of_what_a_plan_is)
{
    static const char *const ways[] = {"error", "keep", "zero"};
    uint8_t digests[3][32];
    struct quern_model *m;
    write_model("a.safetensors", 1, specials);
    cr_assert(quern_open(scratch("a.safetensors"), &m, &error) == QUERN_OK);
    for (size_t i = 0; i < 3; i++) {
        struct quern_plan *p;
        const struct quern_quantize q = {.type = "F32", .nonfinite = ways[i]};
        cr_assert(quern_plan_quantize(m, scratch("out.safetensors"), &q, &p, &error) == QUERN_OK);
        plan_identity((const struct plan *)p, digests[i]);
        quern_plan_free(p);
        for (size_t k = 0; k < i; k++)
            cr_assert(memcmp(digests[i], digests[k], 32) != 0);
    }
    quern_close(m);
    CHECK_LEAKS();
}

/* ---- keep ----------------------------------------------------------------------------------- */

static uint32_t stored_at(const uint8_t *p, size_t width, size_t i)
{
    uint32_t bits = 0;
    memcpy(&bits, p + i * width, width);
    return bits;
}

/* What is computed has one NaN, whatever the processor makes of it. */
Test(nonfinite, keep_gives_the_same_bits_everywhere)
{
    static const struct {
        const char *type;
        size_t width;
        uint32_t nan, inf;
    } cases[] = {
        {"F16",     2, 0x7e00, 0x7c00},
        {"BF16",    2, 0x7fc0, 0x7f80},
        {"F8_E5M2", 1, 0x7f,   0x7c  },
    };
    write_model("a.safetensors", 1, specials);
    for (size_t table = 0; codec_table(table); table++) {
        codec_set(codec_table(table)->name);
        for (size_t i = 0; i < 3; i++) {
            uint64_t n;
            cr_assert_eq(quantize(scratch("a.safetensors"), scratch("out.safetensors"),
                                  cases[i].type, "keep"),
                         QUERN_OK, "%s", error.text);
            uint8_t *p = data_of(scratch("out.safetensors"), 0, &n);
            const uint32_t sign = 1u << (8 * cases[i].width - 1);
            const uint32_t want[] = {cases[i].nan, cases[i].inf, cases[i].inf | sign, cases[i].nan};
            for (size_t k = 0; k < 4; k++)
                cr_assert_eq(stored_at(p, cases[i].width, places[k]), want[k], "%s %s %zu: %x",
                             codec_table(table)->name, cases[i].type, k,
                             stored_at(p, cases[i].width, places[k]));
            free(p);
        }
    }
    codec_set(NULL);
    CHECK_LEAKS();
}

Test(nonfinite, keep_moves_bytes_as_they_are)
{
    write_model("a.safetensors", 1, specials);
    cr_assert_eq(quantize(scratch("a.safetensors"), scratch("out.safetensors"), "COPY", "keep"),
                 QUERN_OK, "%s", error.text);
    cr_assert(same_data(scratch("a.safetensors"), scratch("out.safetensors")));
    CHECK_LEAKS();
}

Test(nonfinite, keep_needs_a_type_that_has_them)
{
    static const uint32_t only_nan[] = {0x7fc00000, 0x7fc00000, 0x7fc00000, 0x7fc00000};
    static const char *const types[] = {"Q8_0", "Q4_K", "IQ4_XS"};
    write_model("a.safetensors", 1, specials);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(quantize(scratch("a.safetensors"), scratch("out.gguf"), types[i], "keep"),
                     QUERN_EFORMAT);
        cr_assert(strstr(error.text, "4 of 179200 values") &&
                      strstr(error.expected, "cannot keep that"),
                  "%s", error.text);
    }
    /* This type has NaN and no Inf. */
    cr_assert_eq(quantize(scratch("a.safetensors"), scratch("out.safetensors"), "F8_E4M3", "keep"),
                 QUERN_EFORMAT);
    write_model("a.safetensors", 1, only_nan);
    cr_assert_eq(quantize(scratch("a.safetensors"), scratch("out.safetensors"), "F8_E4M3", "keep"),
                 QUERN_OK, "%s", error.text);
    uint64_t n;
    uint8_t *p = data_of(scratch("out.safetensors"), 0, &n);
    cr_assert_eq(p[places[1]], 0x7f);
    free(p);
    CHECK_LEAKS();
}

/* ---- too large ------------------------------------------------------------------------------ */

Test(nonfinite, values_too_large_are_counted)
{
    static const uint32_t large[] = {0x47800000, 0xc7800000, 0x477ff000, 0x477fefff};
    static const char *const ways[] = {"error", "keep", "zero"};
    write_model("a.safetensors", 1, large);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(quantize(scratch("a.safetensors"), scratch("out.gguf"), "F16", ways[i]),
                     QUERN_EFORMAT);
        cr_assert_str_eq(error.kind, "value-range");
        cr_assert_str_eq(error.text,
                         "tensor 'w.weight': 3 of 179200 values are too large for F16, the "
                         "first is 65536 in [3, 70], choose BF16 or F32");
    }
    static const uint32_t largest[] = {0x7f7fffff, 0x7f7f8000, 0x7f7f7fff, 0};
    write_model("a.safetensors", 1, largest);
    cr_assert_eq(quantize(scratch("a.safetensors"), scratch("out.gguf"), "BF16", NULL),
                 QUERN_EFORMAT);
    cr_assert(strstr(error.text, "2 of 179200 values are too large for BF16"), "%s", error.text);
    cr_assert(strstr(error.text, "choose F32"), "%s", error.text);
    CHECK_LEAKS();
}
