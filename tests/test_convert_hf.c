/* test_convert_hf.c - Hugging Face directories to GGUF: whole files against recorded digests. */
#include "convert/gather.h"
#include "convert/model_id.h"
#include "pipeline/retype.h"
#include "tests/checkpoint.h"

/* ---- whole files --------------------------------------------------------------------------------
 */

static void check_digest(const char *dir, const struct json *want, const char *name)
{
    const char *type = json_key_of(want).p;
    struct str digest;
    char hex[65];
    struct quern_error err;
    const char *output = scratch("out.gguf");
    cr_assert(json_text(want, &digest));
    cr_assert(convert_to(dir, output, type, &err) == QUERN_OK, "%s %s: %s", name, type, err.text);
    cr_assert(sha256_file(output, hex, &err) == QUERN_OK, "%s", err.text);
    cr_expect(str_is(digest, hex), "%s %s: other bytes: %s", name, type, hex);
}

static void check_models(const char *file)
{
    struct json *root = read_models(file);
    for (const struct json *m = json_first(json_get(root, "models")); m; m = json_next(m)) {
        scratch_begin();
        const char *dir = write_checkpoint(m);
        for (const struct json *d = json_first(json_get(m, "sha256")); d; d = json_next(d))
            check_digest(dir, d, text_of(m, "name"));
        scratch_end();
    }
    json_free(root);
}

/* Whole files: keys, their order, types, tensors, places. */
Test(convert_hf, writes_what_the_converter_writes)
{
    check_models("golden.json");
    CHECK_LEAKS();
}

Test(convert_hf, other_architectures)
{
    check_models("architectures.json");
    CHECK_LEAKS();
}

/* Settings, classes and heads that models of these architectures may have. */
Test(convert_hf, variants)
{
    check_models("variants.json");
    CHECK_LEAKS();
}

/* ---- one pass
 * ------------------------------------------------------------------------------------ */

static void quantize_file(const char *input, const char *output, const char *type)
{
    const struct quern_quantize q = {.type = type, .force = true};
    struct model *m;
    struct plan *p;
    struct quern_error err;
    cr_assert(model_open(input, &m, &err) == QUERN_OK, "%s", err.text);
    cr_assert(plan_quantize(m, output, &q, &p, &err) == QUERN_OK, "%s", err.text);
    cr_assert(plan_run(p, NULL, NULL, &err) == QUERN_OK, "%s", err.text);
    plan_free(p);
    model_close(m);
}

static void digest_of(const char *path, char hex[65])
{
    struct quern_error err;
    cr_assert(sha256_file(path, hex, &err) == QUERN_OK, "%s", err.text);
}

static void check_one_pass(const char *dir, const char *between, const char *type)
{
    char chained[65], direct[65];
    struct quern_error err;
    const char *middle = scratch("middle.gguf"), *a = scratch("a.gguf"), *b = scratch("b.gguf");
    const struct convert_request r = {
        .output = b, .type = type, .like_quantize = true, .force = true};
    cr_assert(convert_to(dir, middle, between, &err) == QUERN_OK, "%s", err.text);
    quantize_file(middle, a, type);
    cr_assert(convert_with(dir, &r, NULL, &err) == QUERN_OK, "%s", err.text);
    digest_of(a, chained);
    digest_of(b, direct);
    cr_expect_str_eq(direct, chained, "%s %s", dir, type);
}

/* Weights of 32 bits are quantized as they are; rounding them to 16 first would only lose. */
Test(convert_hf, quantizing_a_directory_is_converting_and_quantizing)
{
    static const struct {
        const char *model, *between;
    } models[] = {
        {"llama3-bpe", "auto"},
        {"qwen3moe",   "auto"},
        {"deepseek2",  "auto"},
        {"llama-spm",  "f16" },
        {"gpt2",       "f32" },
    };
    struct json *root = read_models("golden.json");
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        scratch_begin();
        const char *dir = write_checkpoint(model_named(root, models[i].model));
        check_one_pass(dir, models[i].between, "Q4_K_M");
        check_one_pass(dir, models[i].between, "Q8_0");
        check_one_pass(dir, models[i].between, "F16");
        scratch_end();
    }
    json_free(root);
    CHECK_LEAKS();
}

/* ---- the same bytes, whatever the run is like
 * ----------------------------------------------------- */

Test(convert_hf, threads_and_memory_do_not_show)
{
    static const char *const names[] = {"gpt2", "deepseek2", "gpt-oss"};
    const struct quern_run_options small = {.threads = 1, .mem_bytes = UINT64_C(8) << 20};
    const struct quern_run_options many = {.threads = 7};
    struct json *root = read_models("golden.json");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char a[65], b[65];
        struct quern_error err;
        scratch_begin();
        const char *dir = write_checkpoint(model_named(root, names[i]));
        struct convert_request r = {.output = scratch("a.gguf"), .type = "bf16"};
        cr_assert(convert_with(dir, &r, &small, &err) == QUERN_OK, "%s", err.text);
        digest_of(r.output, a);
        r.output = scratch("b.gguf");
        cr_assert(convert_with(dir, &r, &many, &err) == QUERN_OK, "%s", err.text);
        digest_of(r.output, b);
        cr_expect_str_eq(a, b, "%s", names[i]);
        scratch_end();
    }
    json_free(root);
    CHECK_LEAKS();
}

/* ---- several files
 * ------------------------------------------------------------------------------- */

static uint32_t count_files(const struct convert_request *r, const char *dir, uint32_t *first)
{
    struct model *m;
    struct plan *p;
    struct quern_error err;
    cr_assert(model_open(dir, &m, &err) == QUERN_OK, "%s", err.text);
    cr_assert(convert_plan(m, r, &p, &err) == QUERN_OK, "%s", err.text);
    const uint32_t n = p->nfiles;
    *first = 0;
    for (uint32_t i = 0; i < p->nsteps; i++)
        *first += p->steps[i].file == 0;
    plan_free(p);
    model_close(m);
    return n;
}

Test(convert_hf, splits)
{
    struct json *root = read_models("golden.json");
    struct model *m;
    struct quern_error err;
    uint32_t first;
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "llama-spm"));
    struct convert_request r = {
        .output = scratch("part"), .type = "f16", .split_max_tensors = 8, .force = true};
    cr_assert(count_files(&r, dir, &first) == 3 && first == 8); /* 21 tensors */
    r.no_tensor_first_split = true;
    cr_assert(count_files(&r, dir, &first) == 4 && first == 0);
    cr_assert(convert_with(dir, &r, NULL, &err) == QUERN_OK, "%s", err.text);
    cr_assert(model_open(scratch("part-00001-of-00004.gguf"), &m, &err) == QUERN_OK, "%s",
              err.text);
    cr_assert(m->nfiles == 4 && m->ntensors == 21);
    model_close(m);
    /* The two largest have 64 KiB each; a tensor that is too large has a file of its own. */
    r = (struct convert_request){
        .output = scratch("part"), .type = "f16", .split_max_bytes = 70000, .force = true};
    cr_assert(count_files(&r, dir, &first) == 4 && first == 1);
    r.split_max_bytes = 1 << 20;
    cr_assert(count_files(&r, dir, &first) == 1 && first == 21);
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

/* ---- mistakes
 * ------------------------------------------------------------------------------------ */

struct mistake {
    const char *config; /* replaces this text in config.json ... */
    const char *by;     /* ... by this */
    const char *rename; /* a tensor, and its new name */
    const char *to;
    enum quern_status status;
    const char *says;
};

static void replace(struct str *text, const char *old, const char *now, struct arena *arena)
{
    const char *at = strstr(text->p, old);
    cr_assert(at != NULL, "%s", old);
    const char *p =
        arena_printf(arena, "%.*s%s%s", (int)(at - text->p), text->p, now, at + strlen(old));
    *text = str_from(p);
}

/* Names in a safetensors header are changed in place; both have the same length. */
static void change_file(const char *dir, const char *name, const char *old, const char *now)
{
    struct arena arena = {0};
    struct str text;
    cr_assert(read_small_file(path_join(&arena, dir, name), 16 << 20, &arena, &text, NULL) ==
              QUERN_OK);
    if (strcmp(name, "config.json") == 0) {
        replace(&text, old, now, &arena);
    } else {
        char *at = memmem(text.p, text.n, old, strlen(old));
        cr_assert(at && strlen(old) == strlen(now), "%s", old);
        memcpy(at, now, strlen(now));
    }
    put_file(dir, name, text);
    arena_free(&arena);
}

static void check_mistake(const struct json *model, const struct mistake *x)
{
    struct quern_error err = {0};
    scratch_begin();
    const char *dir = write_checkpoint(model);
    if (x->config)
        change_file(dir, "config.json", x->config, x->by);
    if (x->rename)
        change_file(dir, "model.safetensors", x->rename, x->to);
    const enum quern_status s = convert_to(dir, scratch("o.gguf"), "auto", &err);
    cr_expect(s == x->status && strstr(err.text, x->says), "%s: %d %s",
              x->config ? x->config : x->rename, s, err.text);
    cr_expect(access(scratch("o.gguf"), F_OK) != 0);
    scratch_end();
}

Test(convert_hf, mistakes_are_named)
{
    static const struct mistake llama[] = {
        {"LlamaForCausalLM",          "LhamaForCausalLM",                        NULL,                                     NULL, QUERN_EUNSUPPORTED,
         "its architecture is 'LhamaForCausalLM', expected --like TEMPLATE.gguf of the"                                                                                                      },
        {"\"num_attention_heads\":4", "\"num_attention_heads\":5",               NULL,                                     NULL, QUERN_EFORMAT,
         "tensor 'model.layers.0.self_attn.q_proj.weight': its 64 rows are no 10 equal parts"                                                                                                },
        {"\"num_hidden_layers\":2",   "\"num_hidden_layers\":\"2\"",             NULL,                                     NULL, QUERN_EFORMAT,
         "num_hidden_layers"                                                                                                                                                                 },
        {"\"rms_norm_eps\":",
         "\"quantization_config\":{\"quant_method\":\"hqq\"},\"rms_norm_eps\":", NULL,                                     NULL,
         QUERN_EUNSUPPORTED,                                                                                                                         "quantized already (quant_method 'hqq')"},
        {NULL,                        NULL,                                      "model.layers.1.self_attn.o_proj.weight",
         "model.layers.1.self_attn.x_proj.weight",                                                                               QUERN_EUNSUPPORTED,
         "1 tensor is not known in LlamaForCausalLM: model.layers.1.self_attn.x_proj.weight"                                                                                                 },
        {NULL,                        NULL,                                      "model.layers.1.self_attn.o_proj.weight",
         "vision_model.self_attn.block.00.weight",                                                                               QUERN_EUNSUPPORTED,
         "1 tensor belongs to pictures or sound"                                                                                                                                             },
    };
    static const struct mistake mixtral[] = {
        {"\"num_local_experts\":4", "\"num_local_experts\":3", NULL,                                            NULL, QUERN_EFORMAT,
         "it is number 3 of its layer, config.json says there are 3"                                                                            },
        {"\"num_local_experts\":4", "\"num_local_experts\":5", NULL,                                            NULL, QUERN_EFORMAT,
         "layer 0 has 12 tensors of experts, expected 15"                                                                                       },
        {NULL,                      NULL,                      "layers.1.block_sparse_moe.experts.3.w2.weight",
         "layers.1.block_sparse_moe.experts.2.w2.weight",                                                             QUERN_EFORMAT, "duplicate"},
    };
    struct json *root = read_models("golden.json");
    for (size_t i = 0; i < sizeof llama / sizeof *llama; i++)
        check_mistake(model_named(root, "llama-spm"), &llama[i]);
    for (size_t i = 0; i + 1 < sizeof mixtral / sizeof *mixtral; i++)
        check_mistake(model_named(root, "mixtral"), &mixtral[i]);
    json_free(root);
    CHECK_LEAKS();
}

/* What is left out is named. */
Test(convert_hf, text_only)
{
    struct json *root = read_models("golden.json");
    struct model *m;
    struct plan *p;
    struct quern_error err;
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "llama-spm"));
    change_file(dir, "model.safetensors", "model.layers.1.self_attn.o_proj.weight",
                "vision_model.self_attn.block.00.weight");
    const struct convert_request r = {.output = scratch("o.gguf"), .text_only = true};
    cr_assert(model_open(dir, &m, &err) == QUERN_OK, "%s", err.text);
    cr_assert(convert_plan(m, &r, &p, &err) == QUERN_OK, "%s", err.text);
    cr_assert(p->nsteps == 20 && p->ndropped == 1 && p->nnotes > 0);
    cr_assert_str_eq(p->notes[p->nnotes - 1], "1 tensor for pictures or sound is left out: "
                                              "vision_model.self_attn.block.00.weight");
    plan_free(p);
    model_close(m);
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}

/* ---- names of models
 * ------------------------------------------------------------------------------ */

Test(model_id, parts)
{
    static const struct {
        const char *id;
        uint64_t nparams;
        const char *organization, *basename, *finetune, *version, *size;
    } all[] = {
        {"mistralai/Mixtral-8x7B-Instruct-v0.1", UINT64_C(46700000000), "mistralai", "Mixtral",
         "Instruct",                                                                                               "v0.1", "8x7B"   },
        {"Llama-3.2-1B-Instruct",                1235814432,            "",          "Llama-3.2", "Instruct",      "",     "1B"     },
        {"Phi-3-mini-128k-instruct",             UINT64_C(3821079552),  "",          "Phi-3",     "128k-instruct", "",
         "mini"                                                                                                                     },
        {"bloom-7b1",                            UINT64_C(7069016064),  "",          "bloom",     "",              "",     "7.1B"   },
        {"Qwen3-30B-A3B",                        UINT64_C(30532122624), "",          "Qwen3",     "",              "",     "30B-A3B"},
        {"gemma-2-2b-it-Q4_K",                   UINT64_C(2614341888),  "",          "gemma-2",   "it",            "",     "2B"     },
        {"model",                                1000,                  "",          "",          "",              "",     ""       },
        {"./dir",                                0,                     "",          "",          "",              "",     ""       },
        {"A model for people",                   0,                     "",          "",          "",              "",     ""       },
        {"7B",                                   0,                     "",          "",          "7B",            "",     ""       },
    };
    struct arena arena = {0};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct model_id id;
        cr_assert(model_id_parse(str_from(all[i].id),
                                 (struct model_size){.weights = all[i].nparams}, &arena, &id));
        cr_expect(str_is(id.organization, all[i].organization), "%s: %.*s", all[i].id,
                  STR_ARG(id.organization));
        cr_expect(str_is(id.basename, all[i].basename), "%s: %.*s", all[i].id,
                  STR_ARG(id.basename));
        cr_expect(str_is(id.finetune, all[i].finetune), "%s: %.*s", all[i].id,
                  STR_ARG(id.finetune));
        cr_expect(str_is(id.version, all[i].version), "%s: %.*s", all[i].id, STR_ARG(id.version));
        cr_expect(str_is(id.size_label, all[i].size), "%s: %.*s", all[i].id,
                  STR_ARG(id.size_label));
    }
    arena_free(&arena);
    CHECK_LEAKS();
}

Test(model_id, titles_and_sizes)
{
    struct arena arena = {0};
    cr_expect(str_is(model_id_title(STR("stone-works"), &arena), "Stone Works"));
    cr_expect(str_is(model_id_title(STR("mill-Llama  v1.1-2b"), &arena), "Mill Llama v1.1 2b"));
    cr_expect(str_is(model_id_title(STR("it's-o.k"), &arena), "It'S O.K"));
    cr_expect_str_eq(model_size_label(1100000000, 0, 0, 0, &arena), "1.1B");
    cr_expect_str_eq(model_size_label(95000, 0, 0, 0, &arena), "95K");
    cr_expect_str_eq(model_size_label(7241732096, 0, 0, 0, &arena), "7.2B");
    cr_expect_str_eq(model_size_label(0, 1605644288, 5637144576, 8, &arena), "8x7.2B");
    cr_expect_str_eq(model_size_label(400, 0, 0, 0, &arena), "0.40K");
    arena_free(&arena);
    CHECK_LEAKS();
}

/* ---- sources that lay elements out anew -------------------------------------------------------
 */

#define ROWS 37u
#define COLS 70u

static float at_place(uint64_t i)
{
    return (float)i * 0.5f;
}

/* A file with one matrix of numbers that say where they stand. */
static struct model *numbered(enum quern_status *s)
{
    static uint64_t dims[2] = {ROWS, COLS};
    float v[ROWS * COLS];
    struct model *m = NULL;
    struct quern_error err;
    for (uint64_t i = 0; i < ROWS * COLS; i++)
        v[i] = at_place(i);
    struct blob b = {
        .t = {.name = STR("w"), .dims = dims, .ndims = 2, .dtype = DTYPE_F32, .nbytes = sizeof v},
        .data = (uint8_t *)v
    };
    write_blobs(scratch("n.safetensors"), &b, 1);
    *s = model_open(scratch("n.safetensors"), &m, &err);
    return m;
}

/* Every read, wherever it begins, gives what the place function says. */
static void check_reads(const struct source *s, uint64_t n, uint64_t (*place)(uint64_t))
{
    struct quern_error err;
    const uint64_t lengths[] = {1, 7, 64, 70, 1000};
    uint64_t moved = 0;
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
        void *scratch_memory = calloc(1, source_scratch_bytes(s, false) + 1);
        for (uint64_t first = 0; first < n; first += lengths[k]) {
            float x[1000];
            const size_t m = n - first < lengths[k] ? (size_t)(n - first) : (size_t)lengths[k];
            cr_assert(source_read(s, scratch_memory, false, first, m, x, &moved, &err) == QUERN_OK);
            for (size_t i = 0; i < m; i++)
                cr_assert(x[i] == at_place(place(first + i)), "element %" PRIu64, first + i);
        }
        free(scratch_memory);
    }
}

static uint64_t turned_place(uint64_t i)
{
    return i % ROWS * COLS + i / ROWS;
}

/* Rows 1, 4, 7 ... 34, then row 0 and row 1: rows of ten elements, seven in a line. */
static uint64_t gathered_place(uint64_t i)
{
    const uint64_t row = i / 10;
    return (row < 12 ? 1 + 3 * row : row - 12) * 10 + i % 10;
}

Test(gather, reads_begin_anywhere)
{
    static uint64_t dims[2] = {14, 10};
    struct arena arena = {0};
    struct source turned, gathered, whole;
    struct quern_error err;
    enum quern_status s;
    scratch_begin();
    struct model *m = numbered(&s);
    cr_assert(s == QUERN_OK);
    whole = (struct source){.model = m, .tensor = &m->tensors[0]};
    cr_assert(turned_source(&arena, &whole, &turned, &err) == QUERN_OK);
    check_reads(&turned, ROWS * COLS, turned_place);
    const struct row_run runs[] = {
        {.source = &whole, .first = 1, .count = {1, 1, 12}, .step = {0, 0, 3}},
        {.source = &whole, .first = 0, .count = {1, 1, 2},  .step = {0, 0, 1}}
    };
    cr_assert(gather_source(&arena, STR("g"), dims, 2, 10, runs, 2, &gathered, &err) == QUERN_OK);
    check_reads(&gathered, 140, gathered_place);
    const struct row_run beyond = {
        .source = &whole, .first = 250, .count = {1, 1, 10},
                .step = {0, 0, 1 }
    };
    dims[0] = 10;
    cr_assert(gather_source(&arena, STR("g"), dims, 2, 10, &beyond, 1, &gathered, &err) ==
              QUERN_EFORMAT);
    model_close(m);
    arena_free(&arena);
    scratch_end();
    CHECK_LEAKS();
}

/* The first row as it is stored, then the first of what is made of it. */
static uint64_t mixed_place(uint64_t i)
{
    return i < 70 ? i : turned_place(i - 70);
}

/* A stack whose first expert is stored and whose second is packed, or has an adapter. */
Test(gather, sources_that_are_made_beside_stored_ones)
{
    static uint64_t dims[2] = {2, 70};
    struct arena arena = {0};
    struct source turned, gathered, whole;
    struct quern_error err;
    enum quern_status s;
    scratch_begin();
    struct model *m = numbered(&s);
    cr_assert(s == QUERN_OK);
    whole = (struct source){.model = m, .tensor = &m->tensors[0]};
    cr_assert(turned_source(&arena, &whole, &turned, &err) == QUERN_OK);
    const struct row_run runs[] = {
        {.source = &whole,  .first = 0, .count = {1, 1, 1}, .step = {0, 0, 1}},
        {.source = &turned, .first = 0, .count = {1, 1, 1}, .step = {0, 0, 1}}
    };
    cr_assert(gather_source(&arena, STR("g"), dims, 2, 70, runs, 2, &gathered, &err) == QUERN_OK);
    for (unsigned wide = 0; wide < 2; wide++)
        cr_assert(source_scratch_bytes(&gathered, wide) > source_scratch_bytes(&turned, wide));
    check_reads(&gathered, 140, mixed_place);
    model_close(m);
    arena_free(&arena);
    scratch_end();
    CHECK_LEAKS();
}

/* ---- metadata
 * ------------------------------------------------------------------------------------ */

static void check_key(const struct model *m, const char *key, const char *value)
{
    const struct meta *k = model_meta(m, key);
    struct str s = {0};
    if (!value) {
        cr_expect(!k, "%s", key);
        return;
    }
    cr_expect(k && meta_string(k, &s) && str_is(s, value), "%s: %.*s", key, STR_ARG(s));
}

static struct model *converted(const char *dir, const struct convert_request *r)
{
    struct model *m;
    struct quern_error err;
    cr_assert(convert_with(dir, r, NULL, &err) == QUERN_OK, "%s", err.text);
    cr_assert(model_open(r->output, &m, &err) == QUERN_OK, "%s", err.text);
    return m;
}

Test(convert_hf, metadata_of_readme_and_options)
{
    struct json *root = read_models("golden.json");
    scratch_begin();
    const char *dir = write_checkpoint(model_named(root, "llama-spm"));
    put_file(dir, "README.md",
             STR("---\r\nlicense: [mit, apache-2.0]\nlanguage:\n- no\n- en\nbase_model:\n"
                 "- https://huggingface.co/a-lab/Big-7B\n- b-lab/small-v2\n- name: third\n"
                 "datasets: c-lab/words\nauthor:\t42\n---\nbody\n"));
    put_file(dir, "meta.json",
             STR("{\"general.description\": \"a test\", \"general.sampling.top_k\""
                 ": 7, \"general.author\": \"somebody\"}"));
    struct convert_request r = {.output = scratch("o.gguf"), .type = "f16", .force = true};
    struct model *m = converted(dir, &r);
    check_key(m, "general.license", "mit,apache-2.0");
    check_key(m, "general.author", "42");
    check_key(m, "general.base_model.0.name", "Big 7B");
    check_key(m, "general.base_model.0.organization", "A Lab");
    check_key(m, "general.base_model.0.repo_url", "https://huggingface.co/a-lab/Big-7B");
    check_key(m, "general.base_model.1.version", "v2");
    check_key(m, "general.base_model.1.repo_url", "https://huggingface.co/b-lab/small-v2");
    check_key(m, "general.base_model.2.name", "third");
    check_key(m, "general.dataset.0.name", "Words");
    const struct meta *languages = model_meta(m, "general.languages");
    cr_expect(languages && languages->count == 2 && memcmp(languages->value.p + 8, "no", 2) == 0);
    model_close(m);
    r.metadata = scratch("Mill-Llama-2M-Chat-v1.1/meta.json");
    r.model_name = "Named";
    m = converted(dir, &r);
    check_key(m, "general.name", "Named");
    check_key(m, "general.author", "somebody");
    check_key(m, "general.description", "a test");
    uint64_t top_k;
    cr_expect(meta_u64(model_meta(m, "general.sampling.top_k"), &top_k) && top_k == 7);
    model_close(m);
    put_file(dir, "README.md", STR("---\n\"not closed: [\n---\n"));
    r.metadata = r.model_name = NULL;
    m = converted(dir, &r);
    check_key(m, "general.license", NULL);
    check_key(m, "general.name", "Mill Llama 2M Chat v1.1");
    model_close(m);
    scratch_end();
    json_free(root);
    CHECK_LEAKS();
}
