/* test_unpack_floats.c - weights that other programs packed as small floats. */
#include <math.h>

#include "convert/gather.h"
#include "pipeline/as_blocks.h"
#include "pipeline/config_edit.h"
#include "tests/packed.h"

#define FP8      "\"quant_method\":\"fp8\",\"activation_scheme\":\"dynamic\""
#define QUANT(s) "\"quantization_config\":{" s "}"
#define PLAIN    "[\"e.weight\",\"BF16\",\"normal\",8,8]"
#define MODELOPT "\"quant_method\":\"modelopt\",\"quant_algo\":\"NVFP4\""
#define CT(format, weights)                                                                 \
    "\"quant_method\":\"compressed-tensors\",\"format\":\"" format "\",\"config_groups\":{" \
    "\"group_0\":{\"targets\":[\"Linear\"],\"weights\":{" weights "}}}"
#define CT_NVFP4                                                                                  \
    CT("nvfp4-pack-quantized", "\"type\":\"float\",\"strategy\":\"tensor_group\",\"group_size\":" \
                               "16")

/* ---- whole files --------------------------------------------------------------------------------
 */

Test(unpack_floats, writes_what_the_converter_writes)
{
    struct json *root = read_models("packed.json");
    for (const struct json *m = json_first(json_get(root, "models")); m; m = json_next(m)) {
        scratch_begin();
        const char *dir = write_checkpoint(m);
        for (const struct json *d = json_first(json_get(m, "sha256")); d; d = json_next(d)) {
            struct str want;
            char hex[65];
            struct quern_error err;
            const char *output = scratch("out.gguf"), *type = json_key_of(d).p;
            cr_assert(json_text(d, &want));
            cr_assert(convert_to(dir, output, type, &err) == QUERN_OK, "%s %s: %s",
                      text_of(m, "name"), type, err.text);
            cr_assert(sha256_file(output, hex, &err) == QUERN_OK, "%s", err.text);
            cr_expect(str_is(want, hex), "%s %s: other bytes: %s", text_of(m, "name"), type, hex);
        }
        scratch_end();
    }
    json_free(root);
    CHECK_LEAKS();
}

/* ---- values -------------------------------------------------------------------------------------
 */

static struct opened must_open(const char *config, const char *tensors)
{
    struct opened o;
    struct quern_error err;
    cr_assert(open_packed(write_packed(config, tensors), &o, &err) == QUERN_OK, "%s", err.text);
    return o;
}

struct scaled_case {
    const char *config, *scale_row, *scale;
    uint64_t nmats, rows, columns; /* of the weight, in blocks: how many share a scale */
    uint64_t row_block, column_block;
    bool per_matrix;
};

/* Weights 3 x 70 x 100 with scales of all shapes. */
static void check_scaled(const struct scaled_case *k)
{
    char tensors[512];
    scratch_begin();
    snprintf(tensors, sizeof tensors, PLAIN ",[\"w.weight\",\"F8_E4M3\",\"normal\",3,70,100],%s",
             k->scale_row);
    struct opened o = must_open(k->config, tensors);
    const float *w = stored_floats(&o, "w.weight"), *s = stored_floats(&o, k->scale);
    const float *x = read_unpacked(&o, "w.weight");
    const uint64_t down = (70 + k->row_block - 1) / k->row_block;
    const uint64_t across = (100 + k->column_block - 1) / k->column_block;
    for (uint64_t i = 0; i < 3 * 70 * 100; i++) {
        const uint64_t m = k->per_matrix ? i / 7000 : 0, r = i / 100 % 70, c = i % 100;
        const float want = w[i] * s[(m * down + r / k->row_block) * across + c / k->column_block];
        cr_assert(memcmp(&x[i], &want, sizeof want) == 0, "%s: element %d is %g, not %g", k->scale,
                  (int)i, (double)x[i], (double)want);
    }
    cr_assert_eq(unpacked_source(&o, "w.weight")->tensor->dtype, DTYPE_BF16);
    cr_assert(!view_find(&o.view, str_from(k->scale)));
    cr_assert_eq(o.result.nweights, 1);
    close_packed(&o);
    scratch_end();
}

Test(unpack_floats, scales_of_tensors_rows_and_blocks)
{
    static const struct scaled_case cases[] = {
        {.config = QUANT(FP8 ",\"weight_block_size\":[32,48]"),
         .scale_row = "[\"w.weight_scale_inv\",\"F32\",\"normal\",3,3,3]",
         .scale = "w.weight_scale_inv",
         .row_block = 32,
         .column_block = 48,
         .per_matrix = true                                                                                                                       },
        {.config = QUANT(FP8 ",\"weight_block_size\":null"),
         .scale_row = "[\"w.weight_scale_inv\",\"F32\",\"normal\"]",
         .scale = "w.weight_scale_inv",
         .row_block = 70,
         .column_block = 100                                    },
        {.config = QUANT(FP8),
         .scale_row = "[\"w.weight_scale\",\"BF16\",\"normal\",3]",
         .scale = "w.weight_scale",
         .row_block = 70,
         .column_block = 100,
         .per_matrix = true                                                                                },
        {.config = QUANT(FP8),
         .scale_row = "[\"w.qscale_weight\",\"F16\",\"normal\",1]",
         .scale = "w.qscale_weight",
         .row_block = 70,
         .column_block = 100                                  },
        {.config = QUANT("\"quant_method\":\"fbgemm_fp8\",\"activation_scale_ub\":1200.0"),
         .scale_row = "[\"w.weight_scale\",\"F32\",\"normal\",1,70,1]",
         .scale = "w.weight_scale",
         .row_block = 1,
         .column_block = 100},
        {.config = QUANT(
             CT("float-quantized",
         "\"type\":\"float\",\"num_bits\":8,\"strategy\":\"group\",\"group_size\":25")),
         .scale_row = "[\"w.weight_scale\",\"F32\",\"normal\",3,70,4]",
         .scale = "w.weight_scale",
         .row_block = 1,
         .column_block = 25,
         .per_matrix = true},
        {.config =
             QUANT(CT("float-quantized",
         "\"type\":\"float\",\"strategy\":\"block\",\"block_structure\":[64,64]")),
         .scale_row = "[\"w.weight_scale\",\"BF16\",\"normal\",3,2,2]",
         .scale = "w.weight_scale",
         .row_block = 64,
         .column_block = 64,
         .per_matrix = true},
        {.config = QUANT("\"quant_method\":\"modelopt\",\"quant_algo\":\"FP8\""),
         .scale_row =
             "[\"w.weight_scale\",\"F32\",\"normal\",1],[\"w.input_scale\",\"F32\",\"norm1\"]", .scale = "w.weight_scale",
         .row_block = 70,
         .column_block = 100                                  },
        {.config = "\"text_config\":{" QUANT(FP8) "}",
         .scale_row = "[\"w.weight_scale\",\"F32\",\"normal\",3,70]",
         .scale = "w.weight_scale",
         .row_block = 1,
         .column_block = 100,
         .per_matrix = true                                                           },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_scaled(&cases[i]);
    CHECK_LEAKS();
}

static const float codes[16] = {0,     0.5f,  1,     1.5f,  2,     3,     4,     6,
                                -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

static float code_at(const uint8_t *packed, uint64_t i)
{
    return codes[packed[i / 2] >> (i % 2 * 4) & 15];
}

/* The blocks give the values too, but for the factor. */
static void check_blocks(struct opened *o, const struct source *s, const float *x, enum dtype d)
{
    const struct block_form *form = source_block_form(s, 0);
    struct source blocks;
    struct quern_error err;
    cr_assert(form && form->dtype == d && !source_block_form(s, 1));
    cr_assert(source_as_blocks(&o->arena, s, &blocks, &err) == QUERN_OK, "%s", err.text);
    cr_assert_eq(blocks.tensor->dtype, d);
    const float *y = read_source(o, &blocks, 100);
    for (uint64_t i = 0; i < s->tensor->nelems; i++) {
        const double want = (double)y[i] * (double)form->factor;
        cr_assert(fabs((double)x[i] - want) <= 1e-6 * fabs(want), "%g %g", (double)x[i], want);
    }
}

static void check_nvfp4(const char *config, const char *tensors, const char *packed,
                        const char *global, bool divides)
{
    scratch_begin();
    struct opened o = must_open(config, tensors);
    const float *scales = stored_floats(&o, "w.weight_scale"), g = stored_floats(&o, global)[0];
    const uint8_t *bytes = stored_bytes(&o, packed);
    const float *x = read_unpacked(&o, "w.weight");
    for (uint64_t i = 0; i < 24 * 128; i++) {
        const float scale = divides ? scales[i / 16] / g : scales[i / 16] * g;
        const float want = code_at(bytes, i) * scale;
        cr_assert(memcmp(&x[i], &want, sizeof want) == 0, "%d", (int)i);
    }
    const struct source *s = unpacked_source(&o, "w.weight");
    cr_assert(s->tensor->ndims == 2 && s->tensor->dims[0] == 24 && s->tensor->dims[1] == 128);
    cr_assert_eq(source_block_form(s, 0)->factor, divides ? 1.0f / g : g);
    check_blocks(&o, s, x, DTYPE_NVFP4);
    close_packed(&o);
    scratch_end();
}

Test(unpack_floats, nvfp4_of_both_conventions)
{
    check_nvfp4(
        QUANT(MODELOPT),
        "[\"w.weight\",\"U8\",\"normal\",24,64],[\"w.weight_scale\",\"F8_E4M3\",\"norm1\",24,8],"
        "[\"w.weight_scale_2\",\"F32\",\"norm1\"]",
        "w.weight", "w.weight_scale_2", false);
    check_nvfp4(QUANT(CT_NVFP4),
                "[\"w.weight_packed\",\"U8\",\"normal\",24,64],"
                "[\"w.weight_scale\",\"F8_E4M3\",\"norm1\",24,8],"
                "[\"w.weight_global_scale\",\"F32\",\"norm1\",1]",
                "w.weight_packed", "w.weight_global_scale", true);
    CHECK_LEAKS();
}

/* Rows that are no whole blocks of GGUF are values only; a stack has a factor for each matrix. */
Test(unpack_floats, nvfp4_in_other_shapes)
{
    scratch_begin();
    struct opened o = must_open(
        QUANT(MODELOPT),
        "[\"w.weight\",\"U8\",\"normal\",8,16],[\"w.weight_scale\",\"F8_E4M3\",\"norm1\",8,2],"
        "[\"w.weight_scale_2\",\"F32\",\"norm1\"],"
        "[\"s.weight\",\"U8\",\"normal\",3,4,32],[\"s.weight_scale\",\"F8_E4M3\",\"norm1\",3,4,4],"
        "[\"s.weight_scale_2\",\"F32\",\"norm1\",3,1,1]");
    cr_assert(!source_block_form(unpacked_source(&o, "w.weight"), 0));
    read_unpacked(&o, "w.weight");
    const struct source *s = unpacked_source(&o, "s.weight");
    const float *g = stored_floats(&o, "s.weight_scale_2"), *x = read_unpacked(&o, "s.weight");
    const float *scales = stored_floats(&o, "s.weight_scale");
    const uint8_t *bytes = stored_bytes(&o, "s.weight");
    for (uint32_t i = 0; i < 3; i++)
        cr_assert_eq(source_block_form(s, i)->factor, g[i]);
    cr_assert(!source_block_form(s, 3));
    for (uint64_t i = 0; i < 3 * 4 * 64; i++) {
        const float scale = scales[i / 16] * g[i / 256], want = code_at(bytes, i) * scale;
        cr_assert(memcmp(&x[i], &want, sizeof want) == 0, "%d", (int)i);
    }
    close_packed(&o);
    scratch_end();
    CHECK_LEAKS();
}

Test(unpack_floats, mxfp4)
{
    scratch_begin();
    struct opened o = must_open(
        QUANT(CT("mxfp4-pack-quantized",
                 "\"type\":\"float\",\"strategy\":\"group\",\"group_size\":32")),
        PLAIN
        ",[\"w.weight_packed\",\"U8\",\"normal\",6,48],[\"w.weight_scale\",\"U8\",\"e8m0\",6,3]");
    const uint8_t *bytes = stored_bytes(&o, "w.weight_packed");
    const uint8_t *scales = stored_bytes(&o, "w.weight_scale");
    const float *x = read_unpacked(&o, "w.weight");
    for (uint64_t i = 0; i < 6 * 96; i++)
        cr_assert(x[i] == ldexpf(code_at(bytes, i), scales[i / 32] - 127), "%d", (int)i);
    check_blocks(&o, unpacked_source(&o, "w.weight"), x, DTYPE_MXFP4);
    close_packed(&o);
    scratch_end();
    CHECK_LEAKS();
}

/* gpt-oss packs along the inputs; the plain weight has the outputs as columns. Turned back, the
 * blocks are there again. */
Test(unpack_floats, experts_of_gpt_oss)
{
    scratch_begin();
    struct opened o = must_open(
        QUANT("\"quant_method\":\"mxfp4\",\"modules_to_not_convert\":[\"x\"]"),
        "[\"x_blocks\",\"U8\",\"normal\",2,10,3,16],[\"x_scales\",\"U8\",\"e8m0\",2,10,3]");
    const struct source *s = unpacked_source(&o, "x");
    const uint64_t *dims = s->tensor->dims;
    cr_assert(s->tensor->ndims == 3 && dims[0] == 2 && dims[1] == 96 && dims[2] == 10);
    const uint8_t *bytes = stored_bytes(&o, "x_blocks"), *scales = stored_bytes(&o, "x_scales");
    const float *x = read_unpacked(&o, "x");
    for (uint64_t i = 0; i < 2 * 96 * 10; i++) {
        const uint64_t at = (i / 960 * 10 + i % 10) * 96 + i / 10 % 96;
        cr_assert(x[i] == ldexpf(code_at(bytes, at), scales[at / 32] - 127), "%d", (int)i);
    }
    struct source back;
    struct quern_error err;
    cr_assert(!source_block_form(s, 0));
    cr_assert(turned_source(&o.arena, s, &back, &err) == QUERN_OK);
    cr_assert_eq(source_block_form(&back, 0)->dtype, DTYPE_MXFP4);
    close_packed(&o);
    scratch_end();
    CHECK_LEAKS();
}

/* Powers of two alone, as DeepSeek's later models store their scales. */
Test(unpack_floats, scales_that_are_powers_of_two)
{
    static const uint8_t exponents[3] = {0, 1, 130};
    static const float powers[3] = {0x1p-127f, 0x1p-126f, 8.0f};
    struct opened o;
    struct quern_error err;
    scratch_begin();
    const char *dir = scratch_folder("packed");
    const uint64_t w_dims[2] = {3, 2}, s_dims[2] = {3, 1};
    uint8_t ones[6], raw[3];
    memset(ones, 0x38, sizeof ones);
    memcpy(raw, exponents, sizeof raw);
    struct blob blobs[2] = {
        {{.name = STR("w.weight"), .dims = w_dims, .ndims = 2, .dtype = DTYPE_F8_E4M3, .nbytes = 6},
         ones},
        {{.name = STR("w.weight_scale_inv"),
          .dims = s_dims,
          .ndims = 2,
          .dtype = DTYPE_F8_E8M0,
          .nbytes = 3},
         raw }
    };
    char path[600];
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    write_blobs(path, blobs, 2);
    put_file(dir, "config.json", str_from("{" QUANT(FP8 ",\"scale_fmt\":\"ue8m0\"") "}"));
    cr_assert(open_packed(dir, &o, &err) == QUERN_OK, "%s", err.text);
    const float *x = read_unpacked(&o, "w.weight");
    for (size_t i = 0; i < 6; i++)
        cr_assert(x[i] == powers[i / 2]);
    cr_assert_eq(unpacked_source(&o, "w.weight")->tensor->dtype, DTYPE_F32, "no 16-bit floats");
    close_packed(&o);
    scratch_end();
    CHECK_LEAKS();
}

/* ---- what is asked of files ---------------------------------------------------------------------
 */

struct mistake {
    const char *config, *tensors;
    enum quern_status status;
    const char *says;
};

Test(unpack_floats, mistakes_are_named)
{
#define W8 "[\"w.weight\",\"F8_E4M3\",\"normal\",8,8],"
#define N4 "[\"w.weight\",\"U8\",\"normal\",8,32],[\"w.weight_scale\",\"F8_E4M3\",\"norm1\",8,4]"
    static const struct mistake all[] = {
        {QUANT(FP8),                                                                                 "[\"w.weight_scale_inv\",\"F32\",\"norm1\"]",          QUERN_EFORMAT,
         "there is no tensor 'w.weight'"                                                                                                                                                                                                                                                                                                                                                   },
        {QUANT(FP8),                                                                                 W8 PLAIN,                                              QUERN_EFORMAT,
         "its values are F8_E4M3 and nothing says what they count"                                                                                                                                                                                                                                                                                                                         },
        {QUANT(FP8),
         W8 "[\"w.weight_scale_inv\",\"F32\",\"norm1\"],[\"w.weight_scale\",\"F32\",\"norm1\"]",
         QUERN_EFORMAT,                                                                                                                                                                                                                                                              "parts of two packed forms"                                                                           },
        {QUANT(FP8),                                                                                 W8 "[\"w.weight_scale_inv\",\"F32\",\"norm1\",3]",     QUERN_EFORMAT,
         "it is F32 [3], expected scales for the weight"                                                                                                                                                                                                                                                                                                                                   },
        {QUANT(FP8),                                                                                 W8 "[\"w.weight_scale_inv\",\"F32\",\"norm1\",8,8,8]", QUERN_EFORMAT,
         "it is F32 [8, 8, 8]"                                                                                                                                                                                                                                                                                                                                                             },
        {QUANT(FP8),                                                                                 W8 "[\"w.weight_scale_inv\",\"F32\",\"norm1\",0]",     QUERN_EFORMAT,
         "it is F32 [0]"                                                                                                                                                                                                                                                                                                                                                                   },
        {QUANT(FP8 ",\"weight_block_size\":[4,4]"),
         W8 "[\"w.weight_scale_inv\",\"F32\",\"norm1\",3,2]",                                                                                               QUERN_EFORMAT,                                                                                                           "it is F32 [3, 2]"                                                                                    },
        {QUANT(FP8),                                                                                 W8 "[\"w.weight_scale_inv\",\"I32\",\"normal\",1]",    QUERN_EFORMAT,
         "expected scales in F32"                                                                                                                                                                                                                                                                                                                                                          },
        {QUANT(FP8),
         "[\"w.weight\",\"I8\",\"normal\",8,8],[\"w.weight_scale_inv\",\"F32\",\"norm1\"]",                                                                 QUERN_EFORMAT,                                                                                                           "expected 8-bit floats"                                                                               },
        {QUANT(FP8 ",\"weight_block_size\":[0,4]"),                                                  W8 PLAIN,                                              QUERN_EUNSUPPORTED,
         "weight_block_size"                                                                                                                                                                                                                                                                                                                                                               },
        {QUANT(FP8 ",\"weight_block_size\":\"x\""),                                                  W8 PLAIN,                                              QUERN_EUNSUPPORTED,
         "packed with weight_block_size 'x', expected two numbers"                                                                                                                                                                                                                                                                                                                         },
        {QUANT(FP8 ",\"rotation\":3"),                                                               PLAIN,                                                 QUERN_EUNSUPPORTED,
         "packed with rotation = 3, expected no such key"                                                                                                                                                                                                                                                                                                                                  },
        {QUANT("\"quant_method\":\"qqq\",\"bits\":3"),                                               PLAIN,                                                 QUERN_EUNSUPPORTED,
         "quantized already (quant_method 'qqq')"                                                                                                                                                                                                                                                                                                                                          },
        {QUANT("\"quant_method\":\"modelopt\",\"quant_algo\":\"W4A8_AWQ\""),                         PLAIN,
         QUERN_EUNSUPPORTED,                                                                                                                                                                                                                                                         "packed with quant_algo 'W4A8_AWQ'"                                                                   },
        {QUANT(MODELOPT),                                                                            N4 ",[\"w.pre_quant_scale\",\"F32\",\"norm1\",64]",    QUERN_EFORMAT,
         "pre_quant_scale': it is part of no weight"                                                                                                                                                                                                                                                                                                                                       },
        {QUANT(MODELOPT),                                                                            N4 ",[\"w.weight_scale_2\",\"F32\",\"norm1\",2]",      QUERN_EFORMAT,
         "expected one number"                                                                                                                                                                                                                                                                                                                                                             },
        {QUANT(MODELOPT),
         "[\"w.weight\",\"U8\",\"normal\",8,31],[\"w.weight_scale\",\"F8_E4M3\",\"norm1\",8,4]",                                                            QUERN_EFORMAT,                                                                                                           "it is U8 [8, 31], expected 8 bytes for each of its scales"                                           },
        {QUANT(MODELOPT),
         "[\"w.weight\",\"U8\",\"normal\",4,64],[\"w.weight_scale\",\"F8_E4M3\",\"norm1\",8,4]",                                                            QUERN_EFORMAT,                                                                                                           "it is U8 [4, 64]"                                                                                    },
        {QUANT(CT_NVFP4),
         "[\"w.weight_packed\",\"U8\",\"normal\",8,32],[\"w.weight_scale\",\"F8_E4M3\",\"norm1\",8,"
         "4]",                                                                                                                                              QUERN_EFORMAT,                                                                                                           "there is no tensor 'w.weight_global_scale'"                                                          },
        {QUANT(CT_NVFP4),                                                                            "[\"w.weight_packed\",\"U8\",\"normal\",8,32]",        QUERN_EFORMAT,
         "it is part of no weight"                                                                                                                                                                                                                                                                                                                                                         },
        {QUANT(CT_NVFP4),
         "[\"w.weight\",\"BF16\",\"normal\",8,64],[\"w.weight_packed\",\"U8\",\"normal\",8,32],"
         "[\"w.weight_scale\",\"F8_E4M3\",\"norm1\",8,4],[\"w.weight_global_scale\",\"F32\","
         "\"norm1\",1]",                                                                                                                                    QUERN_EFORMAT,                                                                                                           "the weight is there packed and plain"                                                                },
        {QUANT(CT_NVFP4 ",\"transform_config\":{\"R1\":{}}"),                                        PLAIN,                                                 QUERN_EUNSUPPORTED,
         "transform_config"                                                                                                                                                                                                                                                                                                                                                                },
        {QUANT(CT_NVFP4 ",\"sparsity_config\":{\"format\":\"sparse-24-bitmask\"}"),                  PLAIN,
         QUERN_EUNSUPPORTED,                                                                                                                                                                                                                                                         "sparse-24-bitmask"                                                                                   },
        {QUANT(CT("marlin-24",                                                                       "\"type\":\"float\"")),                                PLAIN,                                                                                                                   QUERN_EUNSUPPORTED,
         "format marlin-24"},
        {QUANT(CT("float-quantized",                                                                                          "\"type\":\"float\",\"strategy\":\"x\"")),                                                                                                                      PLAIN,
         QUERN_EUNSUPPORTED,                                                                                       "packed with strategy 'x'"},
        {QUANT(CT("float-quantized",
         "\"type\":\"float\",\"group_size\":true,\"strategy\":\"group\"")),
         PLAIN,                                                                                                                                                                                                                   QUERN_EUNSUPPORTED,                                                                                                                                                                                                                                                                                                                  "packed with group_size = true"},
        {QUANT(CT("float-quantized",                                                                        "\"type\":\"float\",\"strategy\":\"tensor\"")),
         W8
         "[\"w.weight_scale\",\"F32\",\"norm1\"],[\"w.weight_zero_point\",\"F8_E4M3\",\"norm1\",1]",   QUERN_EUNSUPPORTED,"its zero points are not all zero"},
        {QUANT("\"quant_method\":\"mxfp4\""), "[\"x_blocks\",\"U8\",\"normal\",10,3,16]",
         QUERN_EFORMAT,                                                                                                                       "there is no tensor 'x_scales'"                                                                                                                                                                                                                                                                                                                                                                                                                                                              },
        {QUANT("\"quant_method\":\"mxfp4\""),
         "[\"x_blocks\",\"U8\",\"normal\",10,3,8],[\"x_scales\",\"U8\",\"e8m0\",10,3]",                                                                                                                                     QUERN_EFORMAT,                                                                                                       "it is U8 [10, 3, 8], expected 16 bytes"},
        {QUANT("\"quant_method\":\"mxfp4\""),
         "[\"x_blocks\",\"U8\",\"normal\",3,16],[\"x_scales\",\"U8\",\"e8m0\",3]",QUERN_EFORMAT,
         "it is U8 [3, 16], expected 16 bytes"                                                                                                                                                                                                                                                  },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct opened o;
        struct quern_error err = {0};
        scratch_begin();
        const enum quern_status s =
            open_packed(write_packed(all[i].config, all[i].tensors), &o, &err);
        cr_expect(s == all[i].status && strstr(err.text, all[i].says), "%s, not %s (%d)", err.text,
                  all[i].says, (int)s);
        close_packed(&o);
        scratch_end();
    }
    CHECK_LEAKS();
}

/* Scales that GGUF has no place for are found when their blocks are moved. */
Test(unpack_floats, scales_that_are_no_numbers)
{
    static const struct {
        uint8_t scale;
        const char *says;
    } bad[] = {
        {0x7f, "scale 5 is NaN"     },
        {0xb8, "scale 5 is negative"},
        {0x80, NULL                 }
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        scratch_begin();
        const char *dir = write_packed(
            QUANT(MODELOPT),
            "[\"w.weight\",\"U8\",\"normal\",2,32],[\"w.weight_scale\",\"F8_E4M3\",\"norm1\",2,4]");
        struct opened o;
        struct quern_error err = {0};
        struct source blocks;
        uint8_t raw[72];
        uint64_t moved = 0;
        cr_assert(open_packed(dir, &o, &err) == QUERN_OK, "%s", err.text);
        const struct tensor *t = model_find(o.model, str_from("w.weight_scale"));
        const off_t at = (off_t)t->offset + 5;
        close_packed(&o);
        char path[600];
        snprintf(path, sizeof path, "%s/model.safetensors", dir);
        FILE *f = fopen(path, "r+");
        cr_assert(f && fseek(f, at, SEEK_SET) == 0 && fputc(bad[i].scale, f) != EOF &&
                  fclose(f) == 0);
        cr_assert(open_packed(dir, &o, &err) == QUERN_OK, "%s", err.text);
        cr_assert(source_as_blocks(&o.arena, unpacked_source(&o, "w.weight"), &blocks, &err) ==
                  QUERN_OK);
        const enum quern_status s = source_read_raw(&blocks, 0, 128, raw, &moved, &err);
        cr_expect(bad[i].says ? s == QUERN_EFORMAT && strstr(err.text, bad[i].says) : s == QUERN_OK,
                  "%s", err.text);
        close_packed(&o);
        scratch_end();
    }
    CHECK_LEAKS();
}

/* ---- config.json --------------------------------------------------------------------------------
 */

Test(unpack_floats, config_is_left_without_its_words_on_packing)
{
    static const struct {
        const char *before, *after;
    } all[] = {
        {"{\"a\": 1, \"q\": {\"x\": [1]}, \"b\": 2}", "{\"a\": 1, \"b\": 2}"},
        {"{\"q\": {},\n  \"b\": 2\n}",                "{\"b\": 2\n}"        },
        {"{\n  \"a\": 1,\n  \"q\": {}\n}",            "{\n  \"a\": 1\n}"    },
        {"{ \"q\" : {} }",                            "{ }"                 },
        {"{\"a\": 1}",                                "{\"a\": 1}"          },
    };
    const struct config_edit edit = {.path = "q", .remove = true};
    struct arena arena = {0};
    struct quern_error err;
    struct str out;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        cr_assert(config_apply(&arena, str_from(all[i].before), &edit, 1, &out, &err) == QUERN_OK);
        cr_expect(str_is(out, all[i].after), "%s", out.p);
    }
    arena_free(&arena);
    scratch_begin();
    struct opened o = must_open("\"a\":1," QUANT(FP8) ",\"text_config\":{\"b\":2}", PLAIN);
    cr_expect(str_is(o.result.config, "{\"a\":1,\"text_config\":{\"b\":2}}"), "%s",
              o.result.config.p);
    cr_expect_str_eq(o.result.by, "FP8");
    close_packed(&o);
    scratch_end();
    scratch_begin();
    o = must_open("\"a\":1,\"quantization_config\":{}", PLAIN);
    cr_expect(!o.result.by);
    close_packed(&o);
    scratch_end();
    CHECK_LEAKS();
}

/* Older exports have only the other file. */
Test(unpack_floats, model_optimizer_says_it_elsewhere)
{
    scratch_begin();
    const char *dir = write_packed("\"a\":1", "[\"w.weight\",\"F8_E4M3\",\"normal\",8,8],"
                                              "[\"w.weight_scale\",\"F32\",\"norm1\"]");
    struct opened o;
    struct quern_error err;
    put_file(
        dir, "hf_quant_config.json",
        str_from("{\"producer\":{\"name\":\"modelopt\"},\"quantization\":{\"quant_algo\":\"FP8\","
                 "\"exclude_modules\":[\"lm_head\"]}}"));
    cr_assert(open_packed(dir, &o, &err) == QUERN_OK, "%s", err.text);
    cr_assert_eq(o.result.nweights, 1);
    close_packed(&o);
    scratch_end();
    CHECK_LEAKS();
}

/* ---- quantizing ---------------------------------------------------------------------------------
 */

static uint8_t *bytes_in(const char *path, const char *name, struct arena *arena, uint64_t *nbytes)
{
    struct model *m;
    struct quern_error err;
    cr_assert(model_open(path, &m, &err) == QUERN_OK, "%s", err.text);
    const struct tensor *t = model_find(m, str_from(name));
    cr_assert(t && t->dtype == DTYPE_MXFP4, "%s", name);
    uint8_t *p = arena_alloc(arena, t->nbytes);
    cr_assert(model_pread(m, t->file, p, t->nbytes, t->offset, &err) == QUERN_OK);
    *nbytes = t->nbytes;
    model_close(m);
    return p;
}

/* Tensors that are given the type they are packed in are not quantized again. */
Test(unpack_floats, quantizing_to_the_packed_type_moves_blocks)
{
    static const char name[] = "blk.1.ffn_up_exps.weight";
    struct json *root = read_models("golden.json");
    struct arena arena = {0};
    struct quern_error err;
    uint64_t na, nb;
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "gpt-oss"));
    const char *a = scratch("a.gguf"), *b = scratch("b.gguf");
    const struct convert_request r = {
        .output = b, .type = "MXFP4_MOE", .like_quantize = true, .force = true};
    cr_assert(convert_to(dir, a, "auto", &err) == QUERN_OK, "%s", err.text);
    cr_assert(convert_with(dir, &r, NULL, &err) == QUERN_OK, "%s", err.text);
    const uint8_t *x = bytes_in(a, name, &arena, &na), *y = bytes_in(b, name, &arena, &nb);
    cr_assert(na == nb && memcmp(x, y, na) == 0);
    scratch_end();
    arena_free(&arena);
    json_free(root);
    CHECK_LEAKS();
}
