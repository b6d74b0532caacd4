/* test_slices.c - layers cut out of models and stacked: names, numbers, values, keys. */
#include "pipeline/config_edit.h"
#include "tests/merge_fixture.h"

TestSuite(slices, .init = begin, .fini = end);

#define D 4

static const float *values(float first)
{
    float *x = arena_alloc(&arena, D * sizeof *x);
    for (unsigned i = 0; i < D; i++)
        x[i] = first + (float)i;
    return x;
}

/* The next of some tensors. */
static void add(struct blob *b, size_t *n, const char *name, float first)
{
    b[(*n)++] = (struct blob){
        .name = name, .dtype = DTYPE_F32, .dims = {D, 0},
                .bytes = values(first)
    };
}

/* A model of so many layers: weights of layer i begin with base + i, embeddings with base + 50,
 * the final norm with base + 60, the head (if it has one) with base + 70. */
static size_t make_blobs(struct blob *b, float base, unsigned nlayers, bool head)
{
    size_t n = 0;
    add(b, &n, "model.embed_tokens.weight", base + 50);
    for (unsigned i = 0; i < nlayers; i++) {
        add(b, &n, text("model.layers.%u.mlp.experts.7.w1.weight", i), base + (float)i);
        add(b, &n, text("model.layers.%u.self_attn.q_proj.weight", i), base + (float)i + 0.5f);
    }
    add(b, &n, "model.norm.weight", base + 60);
    if (head)
        add(b, &n, "lm_head.weight", base + 70);
    return n;
}

static void write_llama(const char *name, float base, unsigned nlayers, bool head)
{
    struct blob b[64];
    char types[512] = "";
    for (unsigned i = 0; i < nlayers; i++)
        snprintf(types + strlen(types), sizeof types - strlen(types), "%s\"%s%u\"", i ? ", " : "",
                 name, i);
    const size_t n = make_blobs(b, base, nlayers, head);
    write_hf(name,
             text("{\n  \"model_type\": \"llama\",\n  \"hidden_size\": 4,\n"
                  "  \"layer_types\": [%s],\n  \"num_hidden_layers\": %u, \"x\": [1, 2]\n}\n",
                  types, nlayers),
             b, n);
}

/* Merges the directories named in words, into the directory "out". */
static enum quern_status stack(const char *words, const char *recipe, struct quern_error *err)
{
    static const char *mappings[8];
    struct merge_request req = {.recipe_text = recipe, .output = in_dir("out"), .force = true};
    char *copy = text("%s", words), *save = NULL;
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        mappings[req.places.nmappings++] = text("%s=%s/%s", w, dir, w);
    req.places.mappings = mappings;
    return run(&req, err);
}

static void stacked(const char *words, const char *recipe)
{
    struct quern_error err;
    cr_assert(stack(words, recipe, &err) == QUERN_OK, "%s\n%s", recipe, err.text);
}

static void not_stacked(const char *words, const char *recipe, const char *found)
{
    struct quern_error err;
    cr_assert(stack(words, recipe, &err) == QUERN_EUSAGE, "%s", recipe);
    cr_assert(strstr(err.text, found), "'%s' is not in\n%s", found, err.text);
}

static void expect(const char *tensor, float first)
{
    const float *x = load(in_dir("out/model.safetensors"), tensor, NULL);
    for (unsigned i = 0; i < D; i++)
        cr_assert(x[i] == first + (float)i, "%s[%u] = %g", tensor, i, (double)x[i]);
}

static void expect_count(uint32_t n)
{
    struct model *m;
    struct quern_error err;
    cr_assert(model_open(in_dir("out"), &m, &err) == QUERN_OK, "%s", err.text);
    cr_assert(m->ntensors == n, "%u tensors", m->ntensors);
    model_close(m);
}

#define LINEAR "merge_method: linear\nparameters: {weight: 1}\n"

Test(slices, stacking)
{
    write_llama("a", 100, 4, true);
    write_llama("b", 200, 6, true);
    stacked("a b", LINEAR "dtype: float32\nslices:\n"
                          "  - sources: [{model: a, layer_range: [0, 3]}]\n"
                          "  - sources: [{model: b, layer_range: [4, 6]}]\n"
                          "  - sources: [{model: b, layer_range: [4, 5]}]\n");
    expect_count(2 * 6 + 3);
    static const float first[] = {100, 101, 102, 204, 205, 204};
    for (unsigned i = 0; i < 6; i++) {
        expect(text("model.layers.%u.mlp.experts.7.w1.weight", i), first[i]);
        expect(text("model.layers.%u.self_attn.q_proj.weight", i), first[i] + 0.5f);
    }
    expect("model.embed_tokens.weight", 150);
    expect("model.norm.weight", 260);
    expect("lm_head.weight", 270);
    cr_assert_str_eq(read_text("out/config.json"),
                     "{\n  \"torch_dtype\": \"float32\",\n  \"model_type\": \"llama\",\n"
                     "  \"hidden_size\": 4,\n"
                     "  \"layer_types\": [\"a0\", \"a1\", \"a2\", \"b4\", \"b5\", \"b4\"],\n"
                     "  \"num_hidden_layers\": 6, \"x\": [1, 2]\n}\n");
    CHECK_LEAKS();
}

/* Lists by layer take time and memory for each: there is an end to it. */
Test(slices, too_many_lists_in_the_configuration)
{
    static const char recipe[] = LINEAR "slices: [{sources: [{model: a, layer_range: [1, 3]}]}]\n";
    char *lists = text("%s", "");
    struct quern_error err;
    struct blob b[64];
    const size_t n = make_blobs(b, 100, 3, true);
    for (unsigned i = 0; i < 256; i++)
        lists = text("%s, \"l%u\": [%u, 1, 2]", lists, i, i);
    write_hf("a", text("{\"num_hidden_layers\": 3%s}", lists), b, n);
    stacked("a", recipe);
    cr_assert(strstr(read_text("out/config.json"), "\"l255\": [1, 2]}"));
    write_hf("b", text("{\"num_hidden_layers\": 3%s, \"x\": [1, 2, 3]}", lists), b, n);
    cr_assert(stack("b", LINEAR "slices: [{sources: [{model: b, layer_range: [1, 3]}]}]\n", &err) ==
              QUERN_EUNSUPPORTED);
    cr_assert(strstr(err.text, "b/config.json: it has more than 256 lists"), "%s", err.text);
    CHECK_LEAKS();
}

Test(slices, what_is_left_out_is_listed)
{
    write_llama("a", 100, 4, true);
    write_llama("b", 200, 6, true);
    const char *const mappings[] = {text("a=%s", in_dir("a")), text("b=%s", in_dir("b"))};
    const struct merge_request req = {
        .recipe_text = LINEAR "slices:\n  - sources: [{model: a, layer_range: [0, 3]}]\n"
                              "  - sources: [{model: b, layer_range: [3, 5]}]\n",
        .places = {.mappings = mappings, .nmappings = 2},
        .output = in_dir("out")
    };
    struct plan *p;
    struct quern_error err;
    cr_assert(merge_plan(&req, &p, &err) == QUERN_OK, "%s", err.text);
    static const char *const want[] = {
        "model.layers.3: of ",      "lm_head.weight: of ", "model.norm.weight: of ",
        "model.layers.0 to 2: of ", "model.layers.5: of ", "model.embed_tokens.weight: of ",
    };
    cr_assert(p->ndropped == 6, "%u", p->ndropped);
    for (uint32_t i = 0; i < 6; i++) {
        cr_assert(strncmp(p->dropped[i], want[i], strlen(want[i])) == 0, "%s", p->dropped[i]);
        cr_assert(strstr(p->dropped[i], i < 3 ? ": of a, " : ": of b, "), "%s", p->dropped[i]);
    }
    plan_free(p);
    CHECK_LEAKS();
}

Test(slices, gradients_run_over_the_slice)
{
    write_llama("a", 0, 6, true);
    write_llama("b", 1000, 6, true);
    /* Layers 1 ... 4: a and b are 1000 apart, so the value shows t. */
    stacked("a b", "merge_method: linear\nslices:\n  - sources:\n"
                   "      - {model: a, layer_range: [1, 5], parameters: {weight: [1, 0]}}\n"
                   "      - {model: b, layer_range: [1, 5], parameters: {weight: [0, 1]}}\n"
                   "  - sources:\n"
                   "      - {model: a, layer_range: [5, 6], parameters: {weight: [1, 0]}}\n"
                   "      - {model: b, layer_range: [5, 6], parameters: {weight: [0, 1]}}\n");
    for (unsigned i = 0; i < 4; i++) {
        const float *x = load(in_dir("out/model.safetensors"),
                              text("model.layers.%u.self_attn.q_proj.weight", i), NULL);
        const double want = (double)i + 1.5 + 1000.0 / 3.0 * i;
        cr_assert(x[0] > want - 0.01 && x[0] < want + 0.01, "%g", (double)x[0]);
    }
    expect("model.layers.4.self_attn.q_proj.weight", 1005.5f); /* one layer: t = 1 */
    expect("model.embed_tokens.weight", 50);                   /* no layer: t = 0 */
    expect("model.norm.weight", 60);
    CHECK_LEAKS();
}

Test(slices, precedence_and_base_of_a_slice)
{
    write_llama("a", 0, 2, true);
    write_llama("b", 10, 2, true);
    stacked("a b",
            "merge_method: slerp\nbase_model: a\nparameters: {t: 0}\nslices:\n"
            "  - sources: [{model: a, layer_range: [0, 1]}, {model: b, layer_range: [1, 2]}]\n"
            "  - sources: [{model: a, layer_range: [1, 2]}, {model: b, layer_range: [0, 1]}]\n"
            "    parameters: {t: 1}\n"
            "  - sources: [{model: a, layer_range: [1, 2]}, {model: b, layer_range: [1, 2]}]\n"
            "    base_model: b\n");
    const float *x =
        load(in_dir("out/model.safetensors"), "model.layers.0.self_attn.q_proj.weight", NULL);
    cr_assert_float_eq(x[0], 0.5f, 1e-5f);
    x = load(in_dir("out/model.safetensors"), "model.layers.1.self_attn.q_proj.weight", NULL);
    cr_assert_float_eq(x[0], 10.5f, 1e-5f);
    x = load(in_dir("out/model.safetensors"), "model.layers.2.self_attn.q_proj.weight", NULL);
    cr_assert_float_eq(x[0], 11.5f, 1e-5f);
    CHECK_LEAKS();
}

Test(slices, mistakes)
{
    write_llama("a", 0, 2, true);
    write_llama("b", 10, 3, true);
    not_stacked("a", LINEAR "slices: [{sources: [{model: a, layer_range: [1, 3]}]}]\n",
                "layer_range [1, 3] of 'a', it has 2 layers");
    not_stacked("a b", LINEAR "models: [{model: a}, {model: b}]\n", "model.layers.2");
    not_stacked("a",
                "merge_method: linear\nparameters: {weight: [{filter: layers.9, value: 1}, "
                "{value: 1}]}\nslices: [{sources: [{model: a, layer_range: [1, 2]}]}]\n",
                "filter 'layers.9' is part of no tensor name");
    struct blob b[64];
    size_t n = make_blobs(b, 0, 1, false);
    add(b, &n, "model.layers.0.extra", 0);
    write_hf("c", "{}", b, n);
    not_stacked("a c",
                LINEAR "slices:\n  - sources:\n      - {model: a, layer_range: [1, 2]}\n"
                       "      - {model: c, layer_range: [0, 1]}\n",
                "'model.layers.0.extra'");
    n = 0;
    add(b, &n, "w", 0);
    write_hf("d", "{}", b, n);
    not_stacked("d", LINEAR "slices: [{sources: [{model: d, layer_range: [0, 1]}]}]\n",
                "the layers of the model are in no stack");
    write_hf("e", "{\"model_type\": \"qwen2\"}", b, n);
    not_stacked("a e", LINEAR "models: [{model: a}, {model: e}]\n",
                "architecture is 'qwen2' and that of");
    CHECK_LEAKS();
}

Test(slices, heads_are_shared)
{
    write_llama("a", 100, 1, false);
    write_llama("b", 200, 1, true);
    stacked("a b", LINEAR "models: [{model: a}, {model: b}]\n");
    expect("lm_head.weight", (150 + 270) / 2);
    expect("model.embed_tokens.weight", 200);
    cr_assert(strstr(read_text("out/config.json"), "\n  \"tie_word_embeddings\": false,\n"));
    stacked("a b", LINEAR "models: [{model: b}, {model: a}]\n");
    expect("lm_head.weight", (150 + 270) / 2);
    cr_assert(!strstr(read_text("out/config.json"), "tie_word"));
    stacked("a", LINEAR "models: [{model: a}]\n");
    expect_count(4);
    CHECK_LEAKS();
}

/* Two towers, of which one is cut. */
static void write_towers(const char *name, float base)
{
    struct blob b[16];
    size_t n = 0;
    add(b, &n, "model.visual.patch_embed.proj.weight", base + 1);
    add(b, &n, "model.visual.blocks.0.w", base + 2);
    add(b, &n, "model.visual.blocks.1.w", base + 3);
    add(b, &n, "model.visual.merger.mlp.0.weight", base + 4);
    add(b, &n, "model.language_model.embed_tokens.weight", base + 5);
    add(b, &n, "model.language_model.layers.0.w", base + 6);
    add(b, &n, "model.language_model.layers.1.w", base + 7);
    add(b, &n, "model.language_model.norm.weight", base + 8);
    add(b, &n, "lm_head.weight", base + 9);
    write_hf(name,
             "{\"text_config\": {\"num_hidden_layers\": 2, \"layer_types\": [\"x\", \"y\"]}, "
             "\"vision_config\": {\"depth\": 2}}",
             b, n);
}

Test(slices, modules)
{
    write_towers("a", 100);
    write_towers("b", 200);
    stacked("a b", LINEAR "modules:\n  text_decoder:\n    slices:\n"
                          "      - sources: [{model: a, layer_range: [1, 2]}]\n"
                          "      - sources: [{model: b, layer_range: [0, 2]}]\n"
                          "  vision_tower:\n    models: [{model: b}]\n");
    expect_count(10);
    expect("model.language_model.layers.0.w", 107);
    expect("model.language_model.layers.2.w", 207);
    expect("model.language_model.embed_tokens.weight", 105);
    expect("model.language_model.norm.weight", 208);
    expect("lm_head.weight", 209);
    expect("model.visual.blocks.1.w", 203);
    expect("model.visual.patch_embed.proj.weight", 201);
    expect("model.visual.merger.mlp.0.weight", 204);
    cr_assert_str_eq(read_text("out/config.json"),
                     "{\"text_config\": {\"num_hidden_layers\": 3, \"layer_types\": [\"y\", "
                     "\"x\", \"y\"]}, \"vision_config\": {\"depth\": 2}}");
    /* Without modules, slices are of the language model; the rest comes from the first slice. */
    stacked("a b", LINEAR "slices:\n  - sources: [{model: b, layer_range: [1, 2]}]\n"
                          "  - sources: [{model: a, layer_range: [1, 2]}]\n");
    expect("model.language_model.layers.0.w", 207);
    expect("model.visual.blocks.1.w", 203);
    expect("lm_head.weight", 109);
    not_stacked("a",
                LINEAR "modules:\n  audio:\n    slices:\n"
                       "      - sources: [{model: a, layer_range: [0, 1]}]\n",
                "slices of module 'audio'");
    CHECK_LEAKS();
}

Test(slices, gguf)
{
    struct blob b[16];
    size_t n = 0;
    add(b, &n, "token_embd.weight", 1);
    add(b, &n, "blk.0.ffn_up.weight", 2);
    add(b, &n, "blk.1.ffn_up.weight", 3);
    add(b, &n, "blk.2.ffn_up.weight", 4);
    add(b, &n, "output_norm.weight", 5);
    write_gguf("a.gguf", "llama", b, n);
    const char *const mappings[] = {text("a=%s", in_dir("a.gguf"))};
    const struct merge_request req = {
        .recipe_text = LINEAR "slices:\n  - sources: [{model: a, layer_range: [1, 3]}]\n"
                              "  - sources: [{model: a, layer_range: [1, 3]}]\n",
        .places = {.mappings = mappings, .nmappings = 1},
        .output = in_dir("out.gguf")
    };
    struct quern_error err;
    cr_assert(run(&req, &err) == QUERN_OK, "%s", err.text);
    struct model *m;
    cr_assert(model_open(in_dir("out.gguf"), &m, &err) == QUERN_OK, "%s", err.text);
    uint64_t blocks;
    cr_assert(meta_u64(model_meta(m, "llama.block_count"), &blocks) && blocks == 4);
    cr_assert(m->ntensors == 6 && str_is(m->tensors[0].name, "token_embd.weight") &&
              str_is(m->tensors[4].name, "blk.3.ffn_up.weight"));
    model_close(m);
    cr_assert(load(in_dir("out.gguf"), "blk.2.ffn_up.weight", NULL)[0] == 3);
    cr_assert(load(in_dir("out.gguf"), "blk.3.ffn_up.weight", NULL)[0] == 4);
    CHECK_LEAKS();
}

/* ---- config.json ------------------------------------------------------------------------------
 */

static const char *edited(const char *config, const char *path, const char *value, bool add)
{
    const struct config_edit edit = {.path = path, .value = str_from(value), .add = add};
    struct quern_error err;
    struct str out;
    cr_assert(config_apply(&arena, str_from(config), &edit, 1, &out, &err) == QUERN_OK, "%s",
              err.text);
    return text("%.*s", STR_ARG(out));
}

Test(slices, editing_json_in_place)
{
    cr_assert_str_eq(edited("{\"a\" : [1,2] ,\"b\":{\"a\":3}}", "a", "4", false),
                     "{\"a\" : 4 ,\"b\":{\"a\":3}}");
    cr_assert_str_eq(edited("{\"a\":1,\"b\":{\"c\":{},\"a\":\"\\u0041\"}}\n", "b.a", "[]", false),
                     "{\"a\":1,\"b\":{\"c\":{},\"a\":[]}}\n");
    cr_assert_str_eq(edited("{\"a\":1}", "b", "2", false), "{\"a\":1}");
    cr_assert_str_eq(edited("{\"a\":1}", "b.c", "2", true), "{\"a\":1}");
    cr_assert_str_eq(edited("{\"a\":1}", "a.c", "2", true), "{\"a\":1}");
    cr_assert_str_eq(edited("{\"a\":1}", "b", "2", true), "{\n  \"b\": 2,\"a\":1}");
    cr_assert_str_eq(edited("{ }", "b", "2", true), "{\n  \"b\": 2 }");
    cr_assert_str_eq(edited("{\"a\":{\"b\":1}}", "a.c", "2", true),
                     "{\"a\":{\n    \"c\": 2,\"b\":1}}");
    static const char *const broken[] = {
        "[]", "", "{\"a\":1", "{\"a\":{\"b\":1}", "{\"a\":1}}", "{\"a\":{\"b\":}}"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        const struct config_edit edit = {.path = "a.b", .value = STR("2"), .add = true};
        struct quern_error err;
        struct str out;
        cr_assert(config_apply(&arena, str_from(broken[i]), &edit, 1, &out, &err) == QUERN_EFORMAT,
                  "%s", broken[i]);
    }
    CHECK_LEAKS();
}
