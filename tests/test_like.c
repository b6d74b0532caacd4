/* test_like.c - GGUFs made like a template: whole files, differences, maps. */
#include "convert/gather.h"
#include "convert/like.h"
#include "tests/like_fixture.h"

/* ---- an unknown class ---------------------------------------------------------------------------
 */

static void make_like(const char *dir, const char *template, const char *type, const char *name,
                      const char *want)
{
    char hex[65];
    struct quern_error err;
    const struct convert_request r = {
        .output = scratch("like.gguf"), .type = type, .like = template, .force = true};
    cr_assert(convert_with(dir, &r, NULL, &err) == QUERN_OK, "%s: %s", name, err.text);
    digest_of(r.output, hex);
    cr_expect_str_eq(hex, want, "%s %s", name, type);
}

static void check_all(const char *file, const char *type)
{
    char want[65];
    struct quern_error err;
    struct json *root = read_models(file);
    for (const struct json *m = json_first(json_get(root, "models")); m; m = json_next(m)) {
        scratch_begin();
        const char *dir = write_checkpoint(m), *whole = scratch("whole.gguf");
        cr_assert(convert_to(dir, whole, type, &err) == QUERN_OK, "%s", err.text);
        digest_of(whole, want);
        make_like(dir, whole, type, text_of(m, "name"), want);
        write_config(m, dir, nobody);
        make_like(dir, whole, type, text_of(m, "name"), want);
        scratch_end();
    }
    json_free(root);
}

/* The same bytes as with a class that is known, without it. */
Test(like, the_class_does_not_matter)
{
    check_all("golden.json", "auto");
    check_all("architectures.json", "q8_0");
    CHECK_LEAKS();
}

/* ---- templates that do not fit ------------------------------------------------------------------
 */

static void check_unlike(const char *dir, const char *template, const char *says)
{
    struct quern_error err = {0};
    const struct convert_request r = {
        .output = scratch("no.gguf"), .type = "auto", .like = template};
    const enum quern_status s = convert_with(dir, &r, NULL, &err);
    cr_expect(s != QUERN_OK && strstr(err.text, says), "%d %s", s, err.text);
    cr_expect(access(r.output, F_OK) != 0);
}

Test(like, templates_that_do_not_fit)
{
    struct quern_error err;
    struct json *root = read_models("golden.json");
    scratch_begin();
    const char *other = strdup(write_checkpoint(model_named(root, "qwen2-bpe")));
    const char *dir = write_checkpoint(model_named(root, "llama-spm"));
    const char *gguf = scratch("t.gguf"), *qwen = scratch("qwen.gguf");
    cr_assert(convert_to(other, qwen, "auto", &err) == QUERN_OK, "%s", err.text);
    check_unlike(dir, qwen, "its architecture 'LlamaForCausalLM' is llama, that of");
    cr_assert(convert_to(dir, gguf, "auto", &err) == QUERN_OK, "%s", err.text);
    rename_in_file(gguf, "blk.1.attn_v.weight", "blk.1.attn_w.weight");
    check_unlike(dir, gguf, "1 tensor is not in");
    cr_assert(convert_to(dir, gguf, "auto", &err) == QUERN_OK, "%s", err.text);
    rename_in_file(weights_in(dir), "model.layers.1.self_attn.v_proj.weight",
                   "model.layers.1.rotary_emb.inv_frequency");
    check_unlike(dir, gguf, "1 tensor is not known in llama: model.layers.1.rotary_emb.inv_freq");
    cr_assert(convert_to(other, gguf, "auto", &err) == QUERN_OK, "%s", err.text);
    rename_in_file(gguf, "general.architecture", "general.architectura");
    check_unlike(dir, gguf, "general.architecture");
    free((void *)other);
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

/* ---- lists of tensors ---------------------------------------------------------------------------
 */

static const struct architecture *architecture_named(const char *name)
{
    for (const struct architecture *const *a = architectures; *a; a++)
        if (strcmp((*a)->name, name) == 0)
            return *a;
    cr_assert(0, "%s", name);
    return NULL;
}

/* The table of an architecture as a map; through its text and back. */
static void map_of_table(const struct architecture *a, struct tensor_map *m)
{
    struct tensor_map table = {0};
    struct quern_error err;
    size_t n;
    for (size_t k = 0; k < 8 && a->tensors[k]; k++)
        for (const struct tensor_rule *r = a->tensors[k]; r->from; r++) {
            const bool named = r->transform == STACK_NAMED;
            cr_assert(map_add(&table, r, named ? a->named_members : 0, 0, &err) == QUERN_OK, "%s",
                      err.text);
        }
    char *text = map_text(&table, &n);
    cr_assert(text != NULL);
    cr_assert(map_read(scratch_file("map.yml", (struct str){text, n}), m, &err) == QUERN_OK, "%s",
              err.text);
    cr_assert(m->nrules == table.nrules);
    for (uint32_t i = 0; i < m->nrules; i++)
        cr_expect(strcmp(m->rules[i].from, table.rules[i].from) == 0 &&
                  strcmp(m->rules[i].to, table.rules[i].to) == 0 &&
                  m->rules[i].transform == table.rules[i].transform &&
                  m->rules[i].rank == table.rules[i].rank && m->members[i] == table.members[i]);
    free(text);
    map_free(&table);
}

/* RWKV stacks six vectors of different names. */
Test(like, a_map_stacks_tensors_by_name)
{
    char want[65], got[65];
    struct tensor_map map;
    struct quern_error err;
    struct json *root = read_models("architectures.json");
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "arch-rwkv7"));
    const char *whole = scratch("whole.gguf"), *like = scratch("like.gguf");
    cr_assert(convert_to(dir, whole, "bf16", &err) == QUERN_OK, "%s", err.text);
    map_of_table(architecture_named("rwkv7"), &map);
    const struct convert_request r = {
        .output = like, .type = "bf16", .like = whole, .map = &map, .force = true};
    cr_assert(convert_with(dir, &r, NULL, &err) == QUERN_OK, "%s", err.text);
    digest_of(whole, want);
    digest_of(like, got);
    cr_expect_str_eq(got, want);
    map_free(&map);
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

/* q, k and v of a model that has them in one: three tensors, each with its part of the rows. */
static void write_split(const char *dir, const char *to)
{
    struct model *m;
    struct quern_error err;
    static const uint64_t rows[] = {64, 32, 32};
    static const char *const parts = "qkv";
    struct arena arena = {0};
    cr_assert(model_open(dir, &m, &err) == QUERN_OK, "%s", err.text);
    struct blob *blobs = calloc(m->ntensors * 3, sizeof *blobs);
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->ntensors; i++) {
        const struct tensor *t = &m->tensors[i];
        const bool fused = str_ends(t->name, "qkv_proj.weight");
        const uint64_t width = t->nbytes / t->dims[0];
        uint64_t first = 0;
        for (unsigned k = 0; k < (fused ? 3 : 1); k++) {
            struct blob *b = &blobs[n++];
            uint64_t *dims = ARENA_NEW(&arena, uint64_t, t->ndims);
            memcpy(dims, t->dims, t->ndims * sizeof *dims);
            dims[0] = fused ? rows[k] : t->dims[0];
            const char *name = fused ? arena_printf(&arena, "%.*s%c_proj.weight",
                                                    (int)(t->name.n - strlen("qkv_proj.weight")),
                                                    t->name.p, parts[k])
                                     : t->name.p;
            b->t = (struct st_tensor){.name = str_from(name),
                                      .dims = dims,
                                      .ndims = t->ndims,
                                      .dtype = t->dtype,
                                      .nbytes = dims[0] * width};
            b->data = malloc(b->t.nbytes);
            cr_assert(model_pread(m, t->file, b->data, b->t.nbytes, t->offset + first * width,
                                  &err) == QUERN_OK);
            first += dims[0];
        }
    }
    write_blobs(to, blobs, n);
    for (uint32_t i = 0; i < n; i++)
        free(blobs[i].data);
    free(blobs);
    model_close(m);
    arena_free(&arena);
}

static const char phi_rules[] =
    "tensors:\n"
    "  - {from: model.embed_tokens.weight, to: token_embd.weight}\n"
    "  - {from: model.norm.weight, to: output_norm.weight}\n"
    "  - {from: lm_head.weight, to: output.weight}\n"
    "  - from: [%s]\n"
    "    to: 'blk.{i}.attn_qkv.weight'\n"
    "    how: %s\n"
    "  - {from: 'model.layers.{i}.self_attn.o_proj', to: 'blk.{i}.attn_output'}\n"
    "  - {from: 'model.layers.{i}.mlp.gate_up_proj', to: 'blk.{i}.ffn_up'}\n"
    "  - {from: 'model.layers.{i}.mlp.down_proj', to: 'blk.{i}.ffn_down'}\n"
    "  - {from: 'model.layers.{i}.input_layernorm', to: 'blk.{i}.attn_norm'}\n"
    "  - {from: 'model.layers.{i}.post_attention_layernorm', to: 'blk.{i}.ffn_norm'}\n";

#define Q "'model.layers.{i}.self_attn.q_proj.weight'"
#define K "'model.layers.{i}.self_attn.k_proj.weight'"
#define V "'model.layers.{i}.self_attn.v_proj.weight'"

static enum quern_status convert_joined(const char *dir, const char *names, const char *how,
                                        struct quern_error *err)
{
    char text[2000];
    const int n = snprintf(text, sizeof text, phi_rules, names, how);
    const struct convert_request r = {.output = scratch("joined.gguf"),
                                      .type = "auto",
                                      .like = scratch("whole.gguf"),
                                      .map_path =
                                          scratch_file("map.yml", (struct str){text, (size_t)n}),
                                      .force = true};
    return convert_with(dir, &r, NULL, err);
}

Test(like, a_map_joins_rows)
{
    static const struct {
        const char *names, *how, *says;
    } wrong[] = {
        {Q ", " K,        "join",      "v_proj"                                    },
        {Q,               "join",      "a list has 1 names, expected 2 to 64"      },
        {Q ", " K ", " V, "stack",     "its shape or type is not that of the first"},
        {Q ", " K ", " V, "permute-q", "permute-q has a list of names"             },
    };
    char want[65], got[65];
    struct quern_error err;
    struct json *root = read_models("golden.json");
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "phi3")), *whole = scratch("whole.gguf");
    cr_assert(convert_to(dir, whole, "auto", &err) == QUERN_OK, "%s", err.text);
    const char *parts = scratch("parts.safetensors");
    write_split(dir, parts);
    cr_assert(rename(parts, weights_in(dir)) == 0);
    cr_assert(convert_joined(dir, Q ", " K ", " V, "join", &err) == QUERN_OK, "%s", err.text);
    digest_of(whole, want);
    digest_of(scratch("joined.gguf"), got);
    cr_expect_str_eq(got, want);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const enum quern_status s = convert_joined(dir, wrong[i].names, wrong[i].how, &err);
        cr_expect(s != QUERN_OK && strstr(err.text, wrong[i].says), "%zu: %s", i, err.text);
    }
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

/* ---- numbers of a template ----------------------------------------------------------------------
 */

static void add_meta(struct model *m, const char *key, const void *value, size_t n, uint64_t count)
{
    bool fresh;
    struct meta *k = model_new_meta(m);
    cr_assert(k != NULL);
    *k = (struct meta){
        .key = str_from(key),
        .value = {value, n},
        .count = count,
        .type = count ? META_ARRAY : META_U32,
        .item_type = META_U32
    };
    cr_assert(
        name_table_add(&m->meta_index, k->key, m->nmetas - 1, model_meta_key, m, &fresh, NULL));
}

/* Where layers have different numbers of heads, the size of a head says how many there are. */
Test(like, heads_counted_for_every_layer)
{
    static const uint32_t kv[2] = {1, 2}, dim = 8;
    struct architecture arch = {.name = "x", .classes = ""};
    struct quern_error err;
    struct conversion c = {.arch = &arch, .nkv_heads = 1, .plan = plan_new("convert", &err)};
    struct source from;
    float values[16], got[16];
    uint64_t moved = 0;
    cr_assert(model_new("t.gguf", 0, &c.like, &err) == QUERN_OK);
    add_meta(c.like, "x.attention.head_count_kv", kv, sizeof kv, 2);
    add_meta(c.like, "x.attention.key_length", &dim, sizeof dim, 0);
    like_numbers(&c);
    cr_expect(c.nkv_heads == 0 && c.head_dim == 8);
    for (unsigned i = 0; i < 16; i++)
        values[i] = (float)i;
    cr_assert(fixed_source(&c.plan->arena, STR("k"), values, 16, &from, &err) == QUERN_OK);
    const struct tensor_rule rule = {.transform = PERMUTE_K};
    cr_assert(convert_transform(&c, &rule, &from, "y", (struct str){"", 0}, &err) == QUERN_OK, "%s",
              err.text);
    const struct source *to = &c.steps[0].sources[0];
    void *scratch = source_scratch_new(to, false);
    cr_assert(source_read(to, scratch, false, 0, 16, got, &moved, &err) == QUERN_OK);
    free(scratch);
    for (unsigned i = 0; i < 16; i++)
        cr_expect(got[i] == (float)(i / 8 * 8 + i % 2 * 4 + i % 8 / 2), "%u: %g", i,
                  (double)got[i]);
    free(c.steps);
    model_close(c.like);
    plan_free(c.plan);
    CHECK_LEAKS();
}
