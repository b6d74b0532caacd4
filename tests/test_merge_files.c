/* test_merge_files.c - merges around the values: models that do not fit, where they lie, outputs.
 */
#include <math.h>

#include "pipeline/retype.h"
#include "tests/merge_fixture.h"

TestSuite(merge_files, .init = begin, .fini = end);

/* ---- models that do not fit -------------------------------------------------------------------
 */

Test(merge_files, shapes)
{
    const float x[12] = {0};
    struct blob blobs[] = {
        {.name = "model.embed_tokens.weight", .dtype = DTYPE_F32, .dims = {3, 2}, .bytes = x},
        {.name = "q",                         .dtype = DTYPE_F32, .dims = {2, 3}, .bytes = x},
        {.name = "r",                         .dtype = DTYPE_F32, .dims = {2, 3}, .bytes = x}
    };
    write_model("a.safetensors", blobs, 3);
    blobs[0].dims[0] = 4;
    write_model("b.safetensors", blobs, 3);
    REFUSED("a b", slerp_recipe(0.5), QUERN_EUSAGE, "b.safetensors", "a.safetensors", "[3, 2]",
            "[4, 2]", "vocabularies");
    blobs[0].dims[0] = 3;
    blobs[1].dims[0] = 3;
    blobs[1].dims[1] = 2;
    blobs[2].dims[1] = 0;
    write_model("b.safetensors", blobs, 3);
    REFUSED("a b", slerp_recipe(0.5), QUERN_EUSAGE, "tensor 'q'", "[2, 3]", "[3, 2]",
            "(and 1 more mistake)");
    CHECK_LEAKS();
}

Test(merge_files, missing_tensors)
{
    const float x[2] = {0};
    const struct blob blobs[] = {
        {.name = "lm_head.weight", .dtype = DTYPE_F32, .dims = {2, 0}, .bytes = x},
        {.name = "q",              .dtype = DTYPE_F32, .dims = {2, 0}, .bytes = x}
    };
    write_model("a.safetensors", blobs, 2);
    write_model("b.safetensors", blobs + 1, 1);
    REFUSED("a b", slerp_recipe(0.5), QUERN_EUSAGE, "tensor 'lm_head.weight'", "it is not in",
            "b.safetensors", "tie");
    REFUSED("a b",
            "merge_method: ties\nbase_model: b\nmodels: [{model: a}]\nparameters: {weight: 1}\n",
            QUERN_EUSAGE, "tensor 'lm_head.weight'", "it is not in", "b.safetensors");
    CHECK_LEAKS();
}

Test(merge_files, weights_with_scales)
{
    const float x[2] = {0};
    const struct blob blobs[] = {
        {.name = "q.weight",           .dtype = DTYPE_F32, .dims = {2, 0}, .bytes = x},
        {.name = "q.weight_scale_inv", .dtype = DTYPE_F32, .dims = {2, 0}, .bytes = x}
    };
    write_model("a.safetensors", blobs, 2);
    REFUSED("a", "merge_method: linear\nmodels: [{model: a}]\nparameters: {weight: 1}\n",
            QUERN_EUNSUPPORTED, "scales");
    CHECK_LEAKS();
}

Test(merge_files, nonfinite_inputs_and_results)
{
    const float good[2] = {60000, 1}, bad[2] = {0, NAN};
    struct blob b = {
        .name = "w", .dtype = DTYPE_F32, .dims = {2, 0},
                .bytes = good
    };
    write_model("a.safetensors", &b, 1);
    b.bytes = bad;
    write_model("b.safetensors", &b, 1);
    REFUSED("a b", slerp_recipe(0.5), QUERN_EFORMAT, "b.safetensors", "the first is NaN in [1]");
    REFUSED("a",
            "merge_method: linear\nmodels: [{model: a}]\nout_dtype: float16\n"
            "parameters: {weight: 2, normalize: false}\n",
            QUERN_EFORMAT, "F16 cannot store it");
    /* A NaN agrees with no sign; TIES must not lose it. */
    for (int i = 0; i < 2; i++)
        REFUSED("a b",
                text("merge_method: ties\nbase_model: a\nmodels: [{model: b}]\n"
                     "parameters: {weight: 1, density: %s}\n",
                     i ? "0.5" : "1"),
                QUERN_EFORMAT, "b.safetensors", "the first is NaN in [1]");
    const double wide[2] = {0, NAN};
    b = (struct blob){
        .name = "w", .dtype = DTYPE_F64, .dims = {2, 0},
                .bytes = wide
    };
    write_model("b.safetensors", &b, 1);
    REFUSED("a b",
            "merge_method: ties\nbase_model: a\nmodels: [{model: b}]\nparameters: {weight: 1}\n",
            QUERN_EFORMAT, "b.safetensors", "the first is NaN in [1]");
    CHECK_LEAKS();
}

/* Straight from BF16 to BF16, errors say the same. */
Test(merge_files, nonfinite_bf16)
{
    enum { COUNT = 70000, AT = 66000 }; /* in the second chunk */
    static uint16_t x[COUNT];
    struct blob b = {
        .name = "w", .dtype = DTYPE_BF16, .dims = {COUNT, 0},
                .bytes = x
    };
    for (size_t i = 0; i < COUNT; i++)
        x[i] = 0x3f80;
    write_model("a.safetensors", &b, 1);
    x[AT] = 0xffc0;
    write_model("b.safetensors", &b, 1);
    x[AT] = 0x7f00; /* 2^127 */
    write_model("c.safetensors", &b, 1);
    static const char *const recipes[] = {
        "merge_method: linear\nparameters: {weight: 0.5}\nmodels: [{model: a}, {model: b}]\n",
        "merge_method: slerp\nbase_model: a\nparameters: {t: 0.3}\nmodels: [{model: b}]\n",
        "merge_method: karcher\nmodels: [{model: a}, {model: b}]\n",
        "merge_method: model_stock\nbase_model: a\nmodels: [{model: b}, {model: c}]\n"};
    for (size_t i = 0; i < 4; i++)
        REFUSED(i < 3 ? "a b" : "a b c", recipes[i], QUERN_EFORMAT, "b.safetensors",
                "1 of 70000 values is NaN or Inf, the first is NaN in [66000]");
    REFUSED("a c",
            "merge_method: linear\nparameters: {weight: 2, normalize: false}\n"
            "models: [{model: a}, {model: c}]\n",
            QUERN_EFORMAT, "linear makes element 66000 Inf");
    CHECK_LEAKS();
}

/* ---- where models lie -------------------------------------------------------------------------
 */

static enum quern_status locate(const char *name, const char *const *mappings, size_t n,
                                struct location *at, struct quern_error *err)
{
    const struct places places = {.mappings = mappings, .nmappings = n, .hub_cache = in_dir("hub")};
    const struct model_ref ref = {.model = {.text = str_from(name)}, .whole = true};
    return locate_model(&ref, &places, &arena, at, err);
}

Test(merge_files, hub_cache)
{
    static const char *const dirs[] = {"hub",
                                       "hub/models--org--name",
                                       "hub/models--org--name/refs",
                                       "hub/models--org--name/refs/pr",
                                       "hub/models--org--name/snapshots",
                                       "hub/models--org--name/snapshots/0123abcd",
                                       "hub/models--org--name/snapshots/feed",
                                       "plain+dir@x"};
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
        cr_assert(mkdir(in_dir(dirs[i]), 0700) == 0);
    write_text("hub/models--org--name/refs/main", "0123abcd");
    write_text("hub/models--org--name/refs/pr/1", "feed\n");
    write_text("hub/models--org--name/refs/bad", "../../../etc");
    struct quern_error err;
    struct location at;
    cr_assert(locate("org/name", NULL, 0, &at, &err) == QUERN_OK, "%s", err.text);
    cr_assert_str_eq(at.path, in_dir("hub/models--org--name/snapshots/0123abcd"));
    cr_assert(locate("org/name@pr/1", NULL, 0, &at, &err) == QUERN_OK);
    cr_assert_str_eq(at.path, in_dir("hub/models--org--name/snapshots/feed"));
    cr_assert(locate("org/name@feed", NULL, 0, &at, &err) == QUERN_OK);
    /* A mapping or an existing path of this very name comes first. */
    const char *const mapping[] = {"org/name=/elsewhere"};
    cr_assert(locate("org/name", mapping, 1, &at, &err) == QUERN_OK);
    cr_assert_str_eq(at.path, "/elsewhere");
    cr_assert(locate("org/name@v2", mapping, 1, &at, &err) == QUERN_OK);
    cr_assert_str_eq(at.path, "/elsewhere");
    cr_assert(locate(in_dir("plain+dir@x"), NULL, 0, &at, &err) == QUERN_OK);

    cr_assert(locate("org/other@v3", NULL, 0, &at, &err) == QUERN_EIO);
    cr_assert(strstr(err.text, "hf download org/other --revision v3"), "%s", err.text);
    cr_assert(strstr(err.text, "org/other=PATH"), "%s", err.text);
    cr_assert(locate("org/name@bad", NULL, 0, &at, &err) == QUERN_EFORMAT);
    cr_assert(locate("org/name@../../x", NULL, 0, &at, &err) == QUERN_EUSAGE);
    cr_assert(locate("a@b@c", NULL, 0, &at, &err) == QUERN_EUSAGE);
    cr_assert(locate("/no/such/model", NULL, 0, &at, &err) == QUERN_EIO);
    cr_assert(!strstr(err.text, "download"), "%s", err.text);
    const char *const both[] = {"org/lora=/adapter", "org/name=/elsewhere"};
    cr_assert(locate("org/name@v2+org/lora@v3", both, 2, &at, &err) == QUERN_OK && at.hub);
    cr_assert_str_eq(at.path, "/elsewhere");
    cr_assert_str_eq(at.loras[0], "/adapter");
    cr_assert(locate("org/name+org/lora", NULL, 0, &at, &err) == QUERN_EIO);
    cr_assert(strstr(err.text, "hf download org/lora"), "%s", err.text);
    CHECK_LEAKS();
}

Test(merge_files, what_is_not_followed_is_refused)
{
    const float x[2] = {0};
    const struct blob b = {
        .name = "q", .dtype = DTYPE_F32, .dims = {2, 0},
                .bytes = x
    };
    write_model("a.safetensors", &b, 1);
    write_model("b.safetensors", &b, 1);
    static const char *const models[] = {"[{model: {model: a, override_architecture: X}}]"};
    static const char *const words[] = {"override_architecture"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        REFUSED("a", text("merge_method: linear\nparameters: {weight: 1}\nmodels: %s\n", models[i]),
                QUERN_EUNSUPPORTED, words[i], "not supported");
    struct merge_request req = {.recipe_text = slerp_recipe(0.5),
                                .output = in_dir("out.safetensors"),
                                .mergekit_exact = true};
    struct quern_error err;
    place(&req, "a b");
    cr_assert(run(&req, &err) == QUERN_EUNSUPPORTED && strstr(err.text, "'slerp' cannot") &&
                  strstr(err.text, "linear, "),
              "%s", err.text);
    req.recipe_text = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}]\n"
                      "dtype: float64\n";
    place(&req, "a");
    cr_assert(run(&req, &err) == QUERN_EUNSUPPORTED && strstr(err.text, "F64"), "%s", err.text);
    CHECK_LEAKS();
}

Test(merge_files, mappings_must_be_used)
{
    const char *const mappings[] = {"x=/y"};
    struct merge_request req = {.recipe_text = slerp_recipe(0.5), .output = in_dir("out")};
    struct quern_error err;
    req.places = (struct places){.mappings = mappings, .nmappings = 1};
    cr_assert(run(&req, &err) == QUERN_EUSAGE && strstr(err.text, "names no model"), "%s",
              err.text);
    const char *const twice[] = {text("%s=/x", in_dir("a")), text("%s=/y", in_dir("a"))};
    struct merge_request two = {
        .recipe_text = text("merge_method: passthrough\nmodels: [{model: "
                            "%s}]\n",
                            in_dir("a")),
        .output = in_dir("out"),
        .places = {.mappings = twice, .nmappings = 2}
    };
    cr_assert(run(&two, &err) == QUERN_EUSAGE && strstr(err.text, "has two places"), "%s",
              err.text);
    const char *const bad[] = {"=x"};
    req.places.mappings = bad;
    cr_assert(run(&req, &err) == QUERN_EUSAGE && strstr(err.text, "ID=PATH"), "%s", err.text);
    CHECK_LEAKS();
}

/* ---- flags ------------------------------------------------------------------------------------
 */

Test(merge_files, flags)
{
    one_tensor("a.safetensors", load(DATA "inputs_f32.safetensors", "w2d.base", NULL));
    one_tensor("b \"q\".safetensors", load(DATA "inputs_f32.safetensors", "w2d.ft1x", NULL));
    const char *const models[] = {in_dir("a.safetensors"), in_dir("b \"q\".safetensors")};
    const char *const t[] = {"t=0.3"}, *const weights[] = {"weight=0.3,0.7", "normalize=false"};
    struct merge_request req = {.output = in_dir("out.safetensors"), .force = true};
    struct quern_error err;
    req.flags = (struct merge_flags){.method = "slerp",
                                     .base = models[0],
                                     .models = models + 1,
                                     .nmodels = 1,
                                     .params = t,
                                     .nparams = 1,
                                     .dtype = "float32"};
    cr_assert(run(&req, &err) == QUERN_OK, "%s", err.text);
    req.flags = (struct merge_flags){
        .method = "linear", .models = models, .nmodels = 2, .params = weights, .nparams = 2};
    cr_assert(run(&req, &err) == QUERN_OK, "%s", err.text);
    const float *a = load(models[0], "w", NULL), *b = load(models[1], "w", NULL);
    const float *y = load(in_dir("out.safetensors"), "w", NULL);
    for (size_t i = 0; i < N2D; i++)
        cr_assert(y[i] == 0.3f * a[i] + 0.7f * b[i]);
    static const struct {
        const char *param, *words;
    } bad[] = {
        {"weight=1,2,3", "3 values for 2 models" },
        {"wieght=1",     "did you mean 'weight'?"},
        {"weight",       "NAME=VALUE"            },
        {"weight=x",     "'x'"                   },
        {"weight=1,,2",  "''"                    },
        {"weight=1: 2",  "'1: 2'"                }
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        req.flags.params = &bad[i].param;
        req.flags.nparams = 1;
        cr_assert(run(&req, &err) == QUERN_EUSAGE && strstr(err.text, bad[i].words), "%s: %s",
                  bad[i].param, err.text);
    }
    static const char *const twice[] = {"weight=1", "normalize=false", "weight=2"};
    req.flags.params = twice;
    req.flags.nparams = 3;
    cr_assert(run(&req, &err) == QUERN_EUSAGE && strstr(err.text, "'weight' is there twice"), "%s",
              err.text);
    req.recipe_text = slerp_recipe(0.5);
    cr_assert(run(&req, &err) == QUERN_EUSAGE && strstr(err.text, "one of them"), "%s", err.text);
    CHECK_LEAKS();
}

/* ---- outputs ----------------------------------------------------------------------------------
 */

Test(merge_files, directory)
{
    const float x[4] = {1, 2, 3, 4};
    const struct blob blobs[] = {
        {.name = "layers.10.w", .dtype = DTYPE_F32, .dims = {4, 0}, .bytes = x},
        {.name = "layers.2.w",  .dtype = DTYPE_F32, .dims = {4, 0}, .bytes = x},
        {.name = "norm",        .dtype = DTYPE_F32, .dims = {4, 0}, .bytes = x}
    };
    write_hf("a", "{\"model_type\": \"x\", \"torch_dtype\":\"float32\",  \"n\": 1e3}\n", blobs, 3);
    write_hf("b", "{}", blobs, 3);
    const char *const mappings[] = {text("org/a=%s", in_dir("a")), text("b=%s", in_dir("b"))};
    const char *recipe = "# my merge\nmerge_method: ties\nbase_model: b\nmodels: [{model: org/a}]\n"
                         "parameters: {weight: 1}\n";
    struct merge_request req = {
        .recipe_text = recipe,
        .places = {.mappings = mappings, .nmappings = 2},
        .shard_bytes = 40,
        .output = in_dir("merged/")
    };
    struct quern_error err;
    cr_assert(run(&req, &err) == QUERN_OK, "%s", err.text);
    cr_assert_str_eq(read_text("merged/config.json"), "{}");
    cr_assert_str_eq(read_text("merged/tokenizer.json"), "{\"tokens\": []}");
    cr_assert_str_eq(read_text("merged/mergekit_config.yml"), recipe);
    const char *card = read_text("merged/README.md");
    cr_assert(strstr(card, "base_model:\n- org/a\n") && strstr(card, "# my merge\n") &&
                  strstr(card, "# merged\n") && strstr(card, "`b` as the base"),
              "%s", card);
    const char *index = read_text("merged/model.safetensors.index.json");
    cr_assert(strstr(index, "\"layers.10.w\": \"model-00001-of-00002.safetensors\"") &&
                  strstr(index, "\"norm\": \"model-00002-of-00002.safetensors\""),
              "%s", index);
    /* Again: the output is there. */
    cr_assert(run(&req, &err) == QUERN_EEXIST);
    req.force = true;
    req.no_model_card = true;
    req.shard_bytes = 0;
    req.recipe_text = "merge_method: linear\nout_dtype: bfloat16\nmodels: [{model: org/a}, "
                      "{model: b}]\nparameters: {weight: 1}\n";
    cr_assert(run(&req, &err) == QUERN_OK, "%s", err.text);
    cr_assert_str_eq(read_text("merged/config.json"),
                     "{\"model_type\": \"x\", \"torch_dtype\":\"bfloat16\",  \"n\": 1e3}\n");
    cr_assert(access(in_dir("merged/README.md"), F_OK) != 0);
    cr_assert(access(in_dir("merged/model.safetensors"), F_OK) == 0);
    struct model *m;
    cr_assert(model_open(in_dir("merged"), &m, &err) == QUERN_OK, "%s", err.text);
    cr_assert(m->nmetas == 1 && str_is(m->metas[0].value, "pt"));
    model_close(m);
    CHECK_LEAKS();
}

Test(merge_files, quantization_config_is_refused)
{
    const float x[1] = {1};
    const struct blob blob = {
        .name = "w", .dtype = DTYPE_F32, .dims = {1, 0},
                .bytes = x
    };
    write_hf("a", "{\"a\": {\"quantization_config\": {}}, \"quantization_config\": {\"b\": 1}}",
             &blob, 1);
    write_hf("b", "{\"a\": {\"quantization_config\": {}}, \"quantization_config\": null}", &blob,
             1);
    struct merge_request req = {.recipe_text = "merge_method: linear\nmodels: [{model: m}]\n"
                                               "parameters: {weight: 1}\n",
                                .output = in_dir("out")};
    const char *const a[] = {text("m=%s", in_dir("a"))}, *const b[] = {text("m=%s", in_dir("b"))};
    struct quern_error err;
    req.places = (struct places){.mappings = a, .nmappings = 1};
    cr_assert(run(&req, &err) == QUERN_EUNSUPPORTED && strstr(err.text, "quantized already"), "%s",
              err.text);
    req.places.mappings = b;
    cr_assert(run(&req, &err) == QUERN_OK, "%s", err.text);
    CHECK_LEAKS();
}

Test(merge_files, requests)
{
    const float x[1] = {1};
    const struct blob blob = {
        .name = "w", .dtype = DTYPE_F32, .dims = {1, 0},
                .bytes = x
    };
    write_model("a.safetensors", &blob, 1);
    write_gguf("a.gguf", "llama", &blob, 1);
    write_gguf("b.gguf", "qwen2", &blob, 1);
    const char *gguf = text("a=%s", in_dir("a.gguf")), *other = text("b=%s", in_dir("b.gguf"));
    const char *st = text("a=%s", in_dir("a.safetensors"));
    static const char one[] =
        "merge_method: linear\nmodels: [{model: a}]\nparameters: {weight: 1}\n";
    const char *two = slerp_recipe(0.5);
    const struct {
        const char *recipe, *mappings[2];
        size_t nmappings;
        const char *output, *type;
        uint64_t shard_bytes;
        enum quern_status status;
        const char *words;
    } cases[] = {
        {one,  {gguf},        1, "out",           NULL,   0, QUERN_EFORMAT,      "token_embd.weight"  },
        {one,  {gguf},        1, "o.safetensors", NULL,   0, QUERN_EFORMAT,      "token_embd.weight"  },
        {one,  {st},          1, "out.gguf",      NULL,   0, QUERN_EUNSUPPORTED, "without config.json"},
        {two,  {st, other},   2, "out",           NULL,   0, QUERN_EFORMAT,      "token_embd.weight"  },
        {two,  {gguf, other}, 2, "o.gguf",        NULL,   0, QUERN_EUSAGE,       "'qwen2'"            },
        {one,  {st},          1, "out",           "Q8_0", 0, QUERN_EUSAGE,       "no .gguf"           },
        {one,  {st},          1, "o.safetensors", NULL,   9, QUERN_EUSAGE,       "shard size"         },
        {one,  {st},          1, "a.safetensors", NULL,   0, QUERN_EUSAGE,       "one of the inputs"  },
        {one,  {gguf},        1, "o.gguf",        "Q9",   0, QUERN_EUSAGE,       "Q9"                 },
        {NULL, {NULL},        0, "out",           NULL,   0, QUERN_EUSAGE,       "no recipe"          },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct merge_request req = {
            .recipe_text = cases[i].recipe,
            .places = {.mappings = cases[i].mappings, .nmappings = cases[i].nmappings},
            .output = in_dir(cases[i].output),
            .type = cases[i].type,
            .shard_bytes = cases[i].shard_bytes
        };
        struct quern_error err;
        const enum quern_status got = run(&req, &err);
        cr_assert(got == cases[i].status && strstr(err.text, cases[i].words), "%zu: status %d: %s",
                  i, got, err.text);
    }
    const struct merge_request no_output = {.recipe_text = one, .output = ""};
    struct quern_error err;
    cr_assert(run(&no_output, &err) == QUERN_EUSAGE);
    CHECK_LEAKS();
}

/* ---- GGUF --------------------------------------------------------------------------------------
 */

static char *bytes_of(const char *name, size_t *n)
{
    struct str s;
    struct quern_error err;
    cr_assert(read_small_file(in_dir(name), 1 << 24, &arena, &s, &err) == QUERN_OK, "%s", err.text);
    *n = s.n;
    return (char *)s.p;
}

static void gguf_pair(enum dtype dtype)
{
    float *x = ARENA_NEW(&arena, float, 64 * 256);
    for (int m = 0; m < 2; m++) {
        struct blob b[] = {
            {.name = "blk.1.w.weight",     .dtype = dtype,     .dims = {64, 256}},
            {.name = "output.weight",      .dtype = DTYPE_F16, .dims = {64, 256}},
            {.name = "blk.0.w.weight",     .dtype = dtype,     .dims = {32, 64} },
            {.name = "output_norm.weight", .dtype = DTYPE_F32, .dims = {256, 0} }
        };
        for (size_t k = 0; k < 4; k++) {
            const size_t n = b[k].dims[0] * (b[k].dims[1] ? b[k].dims[1] : 1);
            for (size_t i = 0; i < n; i++)
                x[i] = (float)(int)(random_bits() % 2001) * 1e-3f - 1;
            void *raw = arena_alloc(&arena, nbytes_of(&b[k]));
            codec_kernels()->encode[b[k].dtype](x, raw, n);
            b[k].bytes = raw;
        }
        write_gguf(m ? "b.gguf" : "a.gguf", "llama", b, 4);
    }
}

static void gguf_merge(const char *more, const char *output, const char *type)
{
    const char *const mappings[] = {text("a=%s", in_dir("a.gguf")), text("b=%s", in_dir("b.gguf"))};
    const struct merge_request req = {
        .recipe_text = text("%s%s", slerp_recipe(0.3), more),
        .places = {.mappings = mappings, .nmappings = 2},
        .output = in_dir(output),
        .type = type
    };
    struct quern_error err;
    cr_assert(run(&req, &err) == QUERN_OK, "%s", err.text);
}

/* Merging and quantizing at once gives the bytes of doing one after the other. */
Test(merge_files, gguf_in_one_pass)
{
    static const char *const types[] = {"Q8_0", "Q4_0", "F16", "COPY"};
    gguf_pair(DTYPE_F16);
    gguf_merge("dtype: bfloat16\n", "merged.gguf", NULL);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const char *one = text("one-%s.gguf", types[i]), *two = text("two-%s.gguf", types[i]);
        struct quern_error err;
        struct model *m;
        struct plan *p;
        gguf_merge("dtype: bfloat16\n", one, types[i]);
        cr_assert(model_open(in_dir("merged.gguf"), &m, &err) == QUERN_OK, "%s", err.text);
        const struct quern_quantize q = {.type = types[i]};
        cr_assert(plan_quantize(m, in_dir(two), &q, &p, &err) == QUERN_OK, "%s", err.text);
        cr_assert(plan_run(p, NULL, NULL, &err) == QUERN_OK, "%s", err.text);
        plan_free(p);
        model_close(m);
        size_t n, k;
        const char *a = bytes_of(one, &n), *b = bytes_of(two, &k);
        if (strcmp(types[i], "COPY") != 0)
            cr_assert(n == k && memcmp(a, b, n) == 0, "%s", types[i]);
    }
    CHECK_LEAKS();
}

Test(merge_files, gguf_types_and_keys)
{
    gguf_pair(DTYPE_Q4_0);
    gguf_merge("", "merged.gguf", NULL);
    struct model *m;
    struct quern_error err;
    cr_assert(model_open(in_dir("merged.gguf"), &m, &err) == QUERN_OK, "%s", err.text);
    /* In the order of the base; quantized becomes BF16, vectors stay F32. */
    cr_assert(str_is(m->tensors[0].name, "blk.1.w.weight") && m->tensors[0].dtype == DTYPE_BF16);
    cr_assert(m->tensors[1].dtype == DTYPE_F16 && m->tensors[3].dtype == DTYPE_F32);
    uint64_t type = 0;
    cr_assert(meta_u64(model_meta(m, "general.file_type"), &type) && type == 32, "%lu",
              (unsigned long)type);
    model_close(m);
    gguf_merge("out_dtype: float16\n", "f16.gguf", NULL);
    cr_assert(model_open(in_dir("f16.gguf"), &m, &err) == QUERN_OK, "%s", err.text);
    cr_assert(m->tensors[0].dtype == DTYPE_F16 && m->tensors[3].dtype == DTYPE_F32);
    model_close(m);
    CHECK_LEAKS();
}
