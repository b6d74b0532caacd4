/* test_lora.c - adapters fused into models: every form against a plain recomputation in double. */
#include <math.h>

#include "tests/merge_fixture.h"

TestSuite(lora, .init = begin, .fini = end);

/* ---- adapters and bases -----------------------------------------------------------------------
 */

static float *noise(size_t n, float scale)
{
    float *x = arena_alloc(&arena, n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = scale * ((float)(random_bits() % 20001) - 10000.0f) / 10000.0f;
    return x;
}

static const struct blob *blob(const char *name, uint64_t rows, uint64_t cols, const float *x)
{
    struct blob *b = arena_alloc(&arena, sizeof *b);
    *b = (struct blob){
        .name = name, .dtype = DTYPE_F32, .dims = {rows, cols},
                .bytes = x
    };
    return b;
}

/* An adapter in the directory `name`: its configuration and the blobs. */
static void write_adapter(const char *name, const char *config, const struct blob *const *blobs,
                          size_t n)
{
    struct blob all[16];
    for (size_t i = 0; i < n; i++)
        all[i] = *blobs[i];
    mkdir(in_dir(name), 0700);
    write_model(text("%s/adapter_model.safetensors", name), all, n);
    write_text(text("%s/adapter_config.json", name), config);
}
#define ADAPTER(name, config, ...)                                           \
    do {                                                                     \
        const struct blob *const blobs_[] = {__VA_ARGS__};                   \
        write_adapter(name, config, blobs_, sizeof blobs_ / sizeof *blobs_); \
    } while (0)

static const char *config(const char *more)
{
    return text("{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 6, "
                "\"target_modules\": [\"w\"]%s}",
                more);
}

static enum quern_status fuse(const char *base, const char *const *loras, size_t n,
                              const struct quern_run_options *options, struct quern_error *err)
{
    struct plan *plan;
    const struct merge_request req = {
        .flags = {.base = in_dir(base), .loras = loras, .nloras = n},
        .output = in_dir("out.safetensors"),
        .force = true
    };
    TRY(merge_plan(&req, &plan, err));
    const enum quern_status status = plan_run(plan, options, NULL, err);
    plan_free(plan);
    return status;
}

static const float *fused(const char *base, const char *lora, const char *tensor)
{
    struct quern_error err;
    const char *const loras[] = {in_dir(lora)};
    const struct quern_run_options options = {.threads = 2};
    cr_assert(fuse(base, loras, 1, &options, &err) == QUERN_OK, "%s", err.text);
    return load(in_dir("out.safetensors"), tensor, NULL);
}

/* b[rows, r] times a[r, cols], both as they lie, or flipped. */
static double product(const float *a, const float *b, bool flipped, size_t i, size_t j, size_t rows,
                      size_t cols, size_t r)
{
    double sum = 0;
    for (size_t k = 0; k < r; k++)
        sum += flipped ? (double)a[k * rows + i] * (double)b[j * r + k]
                       : (double)b[i * r + k] * (double)a[k * cols + j];
    return sum;
}

static void close_to(double got, double wanted, double size, const char *what, size_t at)
{
    cr_assert(fabs(got - wanted) <= 1e-6 * size, "%s: element %zu is %.9g, expected %.9g", what, at,
              got, wanted);
}

#define ROWS 37
#define COLS 301
#define R    3

Test(lora, adds_the_scaled_product)
{
    static const struct {
        const char *more, *weight;
        double scale;
    } cases[] = {
        {"",                                                        "",      2                 },
        {"",                                                        ":-0.5", -1                },
        {"",                                                        ":0",    0                 },
        {", \"use_rslora\": true",                                  "",      3.4641016151377544},
        {", \"alpha_pattern\": {\"layers.0.w\": 9}",                "",      3                 },
        {", \"alpha_pattern\": {\"layers.1.w\": 9, \".*0.w\": 12}", "",      4                 },
        {", \"alpha_pattern\": {\"ayers.0.w\": 9}",                 "",      2                 },
    };
    const float *w = noise(ROWS * COLS, 1), *a = noise(R * COLS, 1), *b = noise(ROWS * R, 1);
    const struct blob base = *blob("layers.0.w.weight", ROWS, COLS, w);
    write_model("base.safetensors", &base, 1);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        ADAPTER("a", config(cases[c].more),
                blob("base_model.model.layers.0.w.lora_A.weight", R, COLS, a),
                blob("base_model.model.layers.0.w.lora_B.weight", ROWS, R, b));
        const float *y =
            fused("base.safetensors", text("a%s", cases[c].weight), "layers.0.w.weight");
        for (size_t i = 0; i < ROWS * COLS; i++)
            close_to((double)y[i],
                     (double)w[i] +
                         cases[c].scale * product(a, b, false, i / COLS, i % COLS, ROWS, COLS, R),
                     4, cases[c].more, i);
    }
    CHECK_LEAKS();
}

/* Every name that a tensor of an adapter may have. */
Test(lora, finds_its_tensors)
{
    static const char *const names[][2] = {
        {"base_model.model.layers.0.w.lora_A.weight",         "layers.0.w.weight"         },
        {"base_model.model.layers.0.w.lora_A.default.weight", "layers.0.w.weight"         },
        {"layers.0.w.lora_A.weight",                          "layers.0.w.weight"         },
        {"base_model.model.transformer.h.0.w.lora_A.weight",  "h.0.w.weight"              },
        {"base_model.model.model.layers.0.w.lora_A.weight",   "lm.model.layers.0.w.weight"},
    };
    const float *w = noise(ROWS * COLS, 1), *a = noise(R * COLS, 1), *b = noise(ROWS * R, 1);
    for (size_t c = 0; c < sizeof names / sizeof *names; c++) {
        const struct blob base = *blob(names[c][1], ROWS, COLS, w);
        char *other = text("%s", names[c][0]);
        strstr(other, "lora_A")[5] = 'B';
        write_model("base.safetensors", &base, 1);
        ADAPTER("a", config(""), blob(names[c][0], R, COLS, a), blob(other, ROWS, R, b));
        const float *y = fused("base.safetensors", "a", names[c][1]);
        close_to((double)y[5], (double)w[5] + 2 * product(a, b, false, 0, 5, ROWS, COLS, R), 4,
                 names[c][0], 5);
    }
    CHECK_LEAKS();
}

/* [in, out] as in GPT-2: seen by the shape, and for square matrices by the others or the flag. */
Test(lora, flipped_matrices)
{
    const float *w = noise(ROWS * COLS, 1), *a = noise(R * ROWS, 1), *b = noise(COLS * R, 1);
    const float *sq = noise(ROWS * ROWS, 1), *sa = noise(R * ROWS, 1), *sb = noise(ROWS * R, 1);
    const struct blob base[] = {*blob("h.0.sq.weight", ROWS, ROWS, sq),
                                *blob("h.0.w.weight", ROWS, COLS, w)};
    write_model("base.safetensors", base, 2);
    ADAPTER("a", config(""), blob("h.0.sq.lora_A.weight", R, ROWS, sa),
            blob("h.0.sq.lora_B.weight", ROWS, R, sb), blob("h.0.w.lora_A.weight", R, ROWS, a),
            blob("h.0.w.lora_B.weight", COLS, R, b));
    const float *y = fused("base.safetensors", "a", "h.0.w.weight");
    for (size_t i = 0; i < ROWS * COLS; i++)
        close_to((double)y[i],
                 (double)w[i] + 2 * product(a, b, true, i / COLS, i % COLS, ROWS, COLS, R), 4,
                 "flipped", i);
    y = load(in_dir("out.safetensors"), "h.0.sq.weight", NULL);
    for (size_t i = 0; i < ROWS * ROWS; i++)
        close_to((double)y[i],
                 (double)sq[i] + 2 * product(sa, sb, true, i / ROWS, i % ROWS, ROWS, ROWS, R), 4,
                 "square beside", i);
    static const char *const flags[] = {", \"fan_in_fan_out\": true",
                                        ", \"fan_in_fan_out\": false"};
    for (size_t f = 0; f < 2; f++) {
        ADAPTER("a", config(flags[f]), blob("h.0.sq.lora_A.weight", R, ROWS, sa),
                blob("h.0.sq.lora_B.weight", ROWS, R, sb));
        y = fused("base.safetensors", "a", "h.0.sq.weight");
        for (size_t i = 0; i < ROWS * ROWS; i++)
            close_to((double)y[i],
                     (double)sq[i] + 2 * product(sa, sb, f == 0, i / ROWS, i % ROWS, ROWS, ROWS, R),
                     4, flags[f], i);
    }
    CHECK_LEAKS();
}

#define TOKENS 5003 /* more rows than a window of the left factor has */
#define WIDTH  40

Test(lora, embeddings)
{
    const float *w = noise(TOKENS * WIDTH, 1), *a = noise(R * TOKENS, 1), *b = noise(WIDTH * R, 1);
    const struct blob base = *blob("embed.weight", TOKENS, WIDTH, w);
    write_model("base.safetensors", &base, 1);
    ADAPTER("a", config(""), blob("base_model.model.embed.lora_embedding_A", R, TOKENS, a),
            blob("base_model.model.embed.lora_embedding_B", WIDTH, R, b));
    const float *y = fused("base.safetensors", "a", "embed.weight");
    for (size_t i = 0; i < TOKENS * WIDTH; i++)
        close_to((double)y[i],
                 (double)w[i] + 2 * product(a, b, true, i / WIDTH, i % WIDTH, TOKENS, WIDTH, R), 4,
                 "embedding", i);
    CHECK_LEAKS();
}

static void check_dora(size_t rows, size_t cols)
{
    const float *w = noise(rows * cols, 1), *a = noise(R * cols, 1), *b = noise(rows * R, 1);
    const float *m = noise(rows, 30);
    const struct blob base = *blob("w.weight", rows, cols, w);
    write_model("base.safetensors", &base, 1);
    ADAPTER("a", config(", \"use_dora\": true"), blob("w.lora_A.weight", R, cols, a),
            blob("w.lora_B.weight", rows, R, b), blob("w.lora_magnitude_vector", rows, 0, m));
    const float *y = fused("base.safetensors", "a", "w.weight");
    for (size_t i = 0; i < rows; i++) {
        double square = 0;
        for (size_t pass = 0; pass < 2; pass++)
            for (size_t j = 0; j < cols; j++) {
                const double v =
                    (double)w[i * cols + j] + 2 * product(a, b, false, i, j, rows, cols, R);
                if (pass == 0)
                    square += v * v;
                else
                    close_to((double)y[i * cols + j], (double)m[i] / sqrt(square) * v, 4, "dora",
                             i * cols + j);
            }
    }
}

/* Rows within a piece, over the border of two, and longer than one. */
Test(lora, dora)
{
    check_dora(40, 300);
    check_dora(5, 8192);
    check_dora(4, 20000);
    CHECK_LEAKS();
}

Test(lora, biases_and_whole_tensors)
{
    const float *w = noise(ROWS * COLS, 1), *bias = noise(ROWS, 1), *head = noise(ROWS * 8, 1);
    const float *a = noise(R * COLS, 1), *b = noise(ROWS * R, 1), *db = noise(ROWS, 1);
    const float *other = noise(ROWS * 8, 1);
    const struct blob base[] = {*blob("head.weight", ROWS, 8, head), *blob("w.bias", ROWS, 0, bias),
                                *blob("w.weight", ROWS, COLS, w)};
    write_model("base.safetensors", base, 3);
    ADAPTER("a", config(", \"lora_bias\": true, \"modules_to_save\": [\"head\"]"),
            blob("base_model.model.head.modules_to_save.default.weight", ROWS, 8, other),
            blob("base_model.model.w.lora_A.weight", R, COLS, a),
            blob("base_model.model.w.lora_B.bias", ROWS, 0, db),
            blob("base_model.model.w.lora_B.weight", ROWS, R, b));
    const float *y = fused("base.safetensors", "a:0.5", "w.bias");
    for (size_t i = 0; i < ROWS; i++)
        close_to((double)y[i], (double)bias[i] + (double)db[i], 2, "bias", i);
    y = load(in_dir("out.safetensors"), "head.weight", NULL);
    cr_assert(memcmp(y, other, ROWS * 8 * sizeof *y) == 0);
    y = load(in_dir("out.safetensors"), "w.weight", NULL);
    close_to((double)y[7], (double)w[7] + product(a, b, false, 0, 7, ROWS, COLS, R), 4, "w", 7);
    CHECK_LEAKS();
}

/* One after the other; the lengths of DoRA are those of the base itself. */
Test(lora, several_adapters)
{
    const float *w = noise(ROWS * COLS, 1), *m = noise(ROWS, 30);
    const float *a1 = noise(R * COLS, 1), *b1 = noise(ROWS * R, 1);
    const float *a2 = noise(R * COLS, 1), *b2 = noise(ROWS * R, 1);
    const struct blob base = *blob("w.weight", ROWS, COLS, w);
    write_model("base.safetensors", &base, 1);
    ADAPTER("one", config(""), blob("w.lora_A.weight", R, COLS, a1),
            blob("w.lora_B.weight", ROWS, R, b1));
    ADAPTER("two", config(", \"use_dora\": true"), blob("w.lora_A.weight", R, COLS, a2),
            blob("w.lora_B.weight", ROWS, R, b2), blob("w.lora_magnitude_vector", ROWS, 0, m));
    struct quern_error err;
    const char *const loras[] = {text("%s:0.25", in_dir("one")), in_dir("two")};
    const struct quern_run_options options = {.threads = 2};
    cr_assert(fuse("base.safetensors", loras, 2, &options, &err) == QUERN_OK, "%s", err.text);
    const float *y = load(in_dir("out.safetensors"), "w.weight", NULL);
    for (size_t i = 0; i < ROWS; i++) {
        double square = 0;
        for (size_t pass = 0; pass < 2; pass++)
            for (size_t j = 0; j < COLS; j++) {
                const double x = (double)w[i * COLS + j];
                const double d1 = 0.5 * product(a1, b1, false, i, j, ROWS, COLS, R);
                const double d2 = 2 * product(a2, b2, false, i, j, ROWS, COLS, R);
                if (pass == 0)
                    square += (x + d2) * (x + d2);
                else
                    close_to((double)y[i * COLS + j], (double)m[i] / sqrt(square) * (x + d1 + d2),
                             6, "two", i * COLS + j);
            }
    }
    CHECK_LEAKS();
}

/* More of the right factor than a worker keeps; any threads and memory give the same bytes. */
Test(lora, wide_factors_and_same_bytes)
{
    enum { RANK = 300, WIDE = 9001, TALL = 24 };
    const float *w = noise(TALL * WIDE, 1), *a = noise(RANK * WIDE, 0.1f),
                *b = noise(TALL * RANK, 1);
    const float *m = noise(TALL, 30);
    const struct blob base = *blob("w.weight", TALL, WIDE, w);
    write_model("base.safetensors", &base, 1);
    ADAPTER("a", "{\"peft_type\": \"LORA\", \"r\": 300, \"lora_alpha\": 300, \"use_dora\": true}",
            blob("w.lora_A.weight", RANK, WIDE, a), blob("w.lora_B.weight", TALL, RANK, b),
            blob("w.lora_magnitude_vector", TALL, 0, m));
    const char *const loras[] = {in_dir("a")};
    float *first = NULL;
    for (unsigned threads = 1; threads <= 3; threads++) {
        struct quern_error err;
        const struct quern_run_options options = {.threads = threads,
                                                  .mem_bytes = threads == 2 ? 6u << 20 : 0};
        cr_assert(fuse("base.safetensors", loras, 1, &options, &err) == QUERN_OK, "%s", err.text);
        float *y = load(in_dir("out.safetensors"), "w.weight", NULL);
        if (!first)
            first = y;
        cr_assert(memcmp(first, y, TALL * WIDE * sizeof *y) == 0, "threads %u", threads);
    }
    for (size_t i = 0; i < TALL; i += 5) {
        double square = 0;
        for (size_t pass = 0; pass < 2; pass++)
            for (size_t j = 0; j < WIDE; j++) {
                const double v =
                    (double)w[i * WIDE + j] + product(a, b, false, i, j, TALL, WIDE, RANK);
                if (pass == 0)
                    square += v * v;
                else
                    close_to((double)first[i * WIDE + j], (double)m[i] / sqrt(square) * v, 10,
                             "wide", i * WIDE + j);
            }
    }
    CHECK_LEAKS();
}

/* F64 stays exact to its last digits, and the output has the base's type. */
Test(lora, in_double)
{
    double w[ROWS * 8];
    for (size_t i = 0; i < ROWS * 8; i++)
        w[i] = 1.0 / (double)(i + 3);
    const float *a = noise(R * 8, 1), *b = noise(ROWS * R, 1);
    const struct blob base = {
        .name = "w.weight", .dtype = DTYPE_F64, .dims = {ROWS, 8},
                .bytes = w
    };
    write_model("base.safetensors", &base, 1);
    ADAPTER("a", config(""), blob("w.lora_A.weight", R, 8, a), blob("w.lora_B.weight", ROWS, R, b));
    fused("base.safetensors", "a", "w.weight");
    uint64_t n;
    enum dtype dtype;
    const double *y = load_raw(in_dir("out.safetensors"), "w.weight", &n, &dtype);
    cr_assert(dtype == DTYPE_F64);
    for (size_t i = 0; i < ROWS * 8; i++)
        cr_assert(fabs(y[i] - (w[i] + 2 * product(a, b, false, i / 8, i % 8, ROWS, 8, R))) < 1e-14);
    CHECK_LEAKS();
}

/* ---- GGUF -------------------------------------------------------------------------------------
 */

static void write_gguf_adapter(const char *name, float alpha, const struct blob *blobs, size_t n)
{
    struct meta_list metas;
    cr_assert(meta_list_copy(&metas, &arena, NULL, 0) &&
              meta_list_set_string(&metas, "general.architecture", STR("llama")) &&
              meta_list_set_string(&metas, "general.type", STR("adapter")) &&
              meta_list_set_string(&metas, "adapter.type", STR("lora")));
    struct meta all[8];
    for (uint32_t i = 0; i < metas.count; i++)
        all[i] = metas.items[i];
    all[metas.count] = (struct meta){
        .key = STR("adapter.lora.alpha"),
        .value = {(const char *)&alpha, sizeof alpha},
        .type = META_F32
    };
    write_gguf_with(name, all, metas.count + 1, blobs, n);
}

Test(lora, gguf)
{
    static const struct {
        float alpha;
        double scale;
    } cases[] = {
        {6, 2},
        {0, 1}
    };
    const float *w = noise(ROWS * COLS, 1), *a = noise(R * COLS, 1), *b = noise(ROWS * R, 1);
    const float *e = noise(TOKENS * WIDTH, 1), *ea = noise(TOKENS * R, 1),
                *eb = noise(WIDTH * R, 1);
    const struct blob base[] = {*blob("token_embd.weight", TOKENS, WIDTH, e),
                                *blob("blk.0.attn_q.weight", ROWS, COLS, w)};
    const struct blob parts[] = {*blob("token_embd.weight.lora_a", TOKENS, R, ea),
                                 *blob("token_embd.weight.lora_b", WIDTH, R, eb),
                                 *blob("blk.0.attn_q.weight.lora_a", R, COLS, a),
                                 *blob("blk.0.attn_q.weight.lora_b", ROWS, R, b)};
    write_gguf("base.gguf", "llama", base, 2);
    for (size_t c = 0; c < 2; c++) {
        write_gguf_adapter("a.gguf", cases[c].alpha, parts, 4);
        const char *const loras[] = {in_dir("a.gguf")};
        struct plan *plan;
        struct quern_error err;
        const struct merge_request req = {
            .flags = {.base = in_dir("base.gguf"), .loras = loras, .nloras = 1},
            .output = in_dir("out.gguf"),
            .force = true
        };
        const struct quern_run_options options = {.threads = 2};
        cr_assert(merge_plan(&req, &plan, &err) == QUERN_OK, "%s", err.text);
        cr_assert(plan_run(plan, &options, NULL, &err) == QUERN_OK, "%s", err.text);
        plan_free(plan);
        const float *y = load(in_dir("out.gguf"), "blk.0.attn_q.weight", NULL);
        for (size_t i = 0; i < ROWS * COLS; i++)
            close_to((double)y[i],
                     (double)w[i] +
                         cases[c].scale * product(a, b, false, i / COLS, i % COLS, ROWS, COLS, R),
                     4, "gguf", i);
        y = load(in_dir("out.gguf"), "token_embd.weight", NULL);
        for (size_t i = 0; i < TOKENS * WIDTH; i++) {
            double sum = (double)e[i];
            for (size_t k = 0; k < R; k++)
                sum +=
                    cases[c].scale * (double)ea[i / WIDTH * R + k] * (double)eb[i % WIDTH * R + k];
            close_to((double)y[i], sum, 4, "gguf embedding", i);
        }
    }
    CHECK_LEAKS();
}

/* ---- in recipes --------------------------------------------------------------------------------
 */

Test(lora, in_recipes)
{
    const float *w = noise(ROWS * COLS, 1), *v = noise(ROWS * COLS, 1);
    const float *a = noise(R * COLS, 1), *b = noise(ROWS * R, 1);
    const struct blob one = *blob("w.weight", ROWS, COLS, w),
                      two = *blob("w.weight", ROWS, COLS, v);
    write_model("one.safetensors", &one, 1);
    write_model("two.safetensors", &two, 1);
    ADAPTER("a", config(""), blob("w.lora_A.weight", R, COLS, a),
            blob("w.lora_B.weight", ROWS, R, b));
    static const char *const models[] = {
        "one+ad", "{model: one, lora: ad}", "{model: one, lora: {path: ad, weight: 1}}",
        "{model: one, lora: [{path: ad, weight: 0.25}, {path: ad, weight: 0.75}]}"};
    for (size_t c = 0; c < sizeof models / sizeof *models; c++) {
        struct merge_request req = {
            .recipe_text = text("merge_method: linear\nparameters: {weight: 1}\nmodels:\n"
                                "  - model: %s\n  - model: two\n",
                                models[c]),
            .output = in_dir("out.safetensors"),
            .force = true};
        const char *const mappings[] = {text("one=%s", in_dir("one.safetensors")),
                                        text("two=%s", in_dir("two.safetensors")),
                                        text("ad=%s", in_dir("a"))};
        struct quern_error err;
        req.places.mappings = mappings;
        req.places.nmappings = 3;
        cr_assert(run(&req, &err) == QUERN_OK, "%s: %s", models[c], err.text);
        const float *y = load(in_dir("out.safetensors"), "w.weight", NULL);
        for (size_t i = 0; i < ROWS * COLS; i++)
            close_to((double)y[i],
                     0.5 * ((double)w[i] +
                            2 * product(a, b, false, i / COLS, i % COLS, ROWS, COLS, R) +
                            (double)v[i]),
                     4, models[c], i);
    }
    CHECK_LEAKS();
}
