/* test_adapter.c - adapters that are read, adapters that are refused, and what is said about them.
 */
#include <math.h>

#include "formats/adapter.h"
#include "tests/merge_fixture.h"

TestSuite(adapter, .init = begin, .fini = end);

#define LORA "\"peft_type\": \"LORA\""

static const float zeros[64];

static struct blob matrix(const char *name, uint64_t rows, uint64_t cols)
{
    return (struct blob){
        .name = name, .dtype = DTYPE_F32, .dims = {rows, cols},
                .bytes = zeros
    };
}

static void put(const char *config, const struct blob *blobs, size_t n)
{
    mkdir(in_dir("a"), 0700);
    write_model("a/adapter_model.safetensors", blobs, n);
    write_text("a/adapter_config.json", config);
}

static enum quern_status open_it(const char *name, struct adapter *a, struct quern_error *err)
{
    return adapter_open(in_dir(name), &arena, a, err);
}

/* A is 2 x 3, B is 4 x 2. */
static void put_pair(const char *config)
{
    const struct blob blobs[] = {matrix("base_model.model.l.0.q.lora_A.weight", 2, 3),
                                 matrix("base_model.model.l.0.q.lora_B.weight", 4, 2)};
    put(config, blobs, 2);
}

Test(adapter, config_and_parts)
{
    struct adapter a;
    struct quern_error err;
    put_pair("{" LORA ", \"r\": 2, \"lora_alpha\": 3.5, \"base_model_name_or_path\": \"org/b\", "
             "\"target_modules\": \"all-linear\", \"modules_to_save\": [\"x\", \"y\"], "
             "\"something_new\": {\"a\": 1}}");
    static const char *const names[] = {"a", "a/adapter_model.safetensors"};
    for (size_t i = 0; i < 2; i++) {
        cr_assert(open_it(names[i], &a, &err) == QUERN_OK, "%s", err.text);
        cr_assert(str_is(a.config.base_model, "org/b") && a.config.ntargets == 1);
        cr_assert(str_is(a.config.targets[0], "all-linear"));
        cr_assert(a.config.nsaved == 2 && str_is(a.config.saved[1], "y"));
        cr_assert(a.nparts == 1 && str_is(a.parts[0].target, "l.0.q.weight"));
        cr_assert(a.parts[0].rank == 2 && a.parts[0].scale == 1.75);
        cr_assert(a.parts[0].a->dims[1] == 3 && a.parts[0].b->dims[0] == 4);
        model_close(a.model);
    }
    CHECK_LEAKS();
}

/* PEFT takes the first pattern that matches the last components of a module's name. */
Test(adapter, patterns)
{
    static const struct {
        const char *config;
        double scale;
    } cases[] = {
        {"\"r\": 8, \"rank_pattern\": {\"q\": 2}",                                     4        },
        {"\"r\": 8, \"rank_pattern\": {\"0.q\": 2, \"q\": 3}",                         4        },
        {"\"r\": 2, \"rank_pattern\": {\"1.q\": 3}, \"alpha_pattern\": {\"l.*q\": 5}", 2.5      },
        {"\"r\": 2, \"alpha_pattern\": {\"q|k\": 6}, \"use_rslora\": true",            4.2426407},
        {"\"r\": 2, \"alpha_pattern\": {\"l.0\": 6}, \"rank_pattern\": null",          4        },
    };
    struct adapter a;
    struct quern_error err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_pair(text("{" LORA ", %s}", cases[i].config));
        cr_assert(open_it("a", &a, &err) == QUERN_OK, "%s: %s", cases[i].config, err.text);
        cr_assert(a.parts[0].rank == 2);
        cr_assert(fabs(a.parts[0].scale - cases[i].scale) < 1e-6, "%s: %g", cases[i].config,
                  a.parts[0].scale);
        model_close(a.model);
    }
    CHECK_LEAKS();
}

Test(adapter, configs_that_are_refused)
{
    static const struct {
        const char *config, *word;
        enum quern_status status;
    } cases[] = {
        {"",                                                                "",                        QUERN_EFORMAT     },
        {"[]",                                                              "peft_type",               QUERN_EFORMAT     },
        {"{\"r\": 2}",                                                      "peft_type",               QUERN_EFORMAT     },
        {"{\"peft_type\": \"LOHA\"}",                                       "'LOHA'",                  QUERN_EUNSUPPORTED},
        {"{\"peft_type\": \"ADALORA\"}",                                    "'ADALORA'",               QUERN_EUNSUPPORTED},
        {"{" LORA ", \"r\": 0}",                                            "r has",                   QUERN_EFORMAT     },
        {"{" LORA ", \"r\": 2.5}",                                          "r has",                   QUERN_EFORMAT     },
        {"{" LORA ", \"r\": 1e300}",                                        "r has",                   QUERN_EFORMAT     },
        {"{" LORA ", \"r\": \"2\"}",                                        "r has",                   QUERN_EFORMAT     },
        {"{" LORA ", \"r\": 2, \"lora_alpha\": NaN}",                       "lora_alpha",              QUERN_EFORMAT     },
        {"{" LORA ", \"r\": 2, \"lora_alpha\": Infinity}",                  "lora_alpha",              QUERN_EFORMAT     },
        {"{" LORA ", \"r\": 2, \"use_dora\": 1}",                           "use_dora",                QUERN_EFORMAT     },
        {"{" LORA ", \"r\": 2, \"rank_pattern\": [1]}",                     "rank_pattern",            QUERN_EFORMAT     },
        {"{" LORA ", \"r\": 2, \"rank_pattern\": {\"q\": -1}}",             "rank_pattern",            QUERN_EFORMAT     },
        {"{" LORA ", \"r\": 2, \"alpha_pattern\": {\"q\": \"x\"}}",         "alpha_pattern",           QUERN_EFORMAT     },
        {"{" LORA ", \"r\": 2, \"alpha_pattern\": {\"(\": 1}}",             "pattern",                 QUERN_EUSAGE      },
        {"{" LORA ", \"r\": 2, \"target_modules\": [1]}",                   "target_modules",          QUERN_EFORMAT     },
        {"{" LORA ", \"r\": 2, \"layer_replication\": [[0, 4]]}",           "layer_replication",
         QUERN_EUNSUPPORTED                                                                                              },
        {"{" LORA ", \"r\": 2, \"target_parameters\": [\"x\"]}",            "target_parameters",
         QUERN_EUNSUPPORTED                                                                                              },
        {"{" LORA ", \"r\": 2, \"invocation_string\": \"now\"}",            "alora_invocation_tokens",
         QUERN_EUNSUPPORTED                                                                                              },
        {"{" LORA ", \"r\": 2, \"alora_invocation_tokens\": [1, -2]}",      "token ids",               QUERN_EFORMAT     },
        {"{" LORA ", \"r\": 2, \"alora_invocation_tokens\": 7}",            "token ids",               QUERN_EFORMAT     },
        {"{" LORA ", \"r\": 2, \"use_qalora\": true}",                      "use_qalora",              QUERN_EUNSUPPORTED},
        {"{" LORA ", \"r\": 2, \"init_lora_weights\": \"pissa_niter_16\"}", "pissa_niter_16",
         QUERN_EUNSUPPORTED                                                                                              },
        {"{" LORA ", \"r\": 2, \"init_lora_weights\": \"OLoRA\"}",          "OLoRA",                   QUERN_EUNSUPPORTED},
        {"{" LORA ", \"r\": 3}",                                            "the rank 3",              QUERN_EFORMAT     },
        {"{" LORA ", \"r\": 2, \"use_dora\": true}",                        "magnitude_vector",        QUERN_EFORMAT     },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct adapter a;
        struct quern_error err;
        put_pair(cases[i].config);
        const enum quern_status status = open_it("a", &a, &err);
        cr_assert(status == cases[i].status, "%s: %d %s", cases[i].config, status,
                  status ? err.text : "");
        cr_assert(strstr(err.text, cases[i].word), "%s: %s", cases[i].config, err.text);
    }
    CHECK_LEAKS();
}

/* Settings that are there and say nothing. */
Test(adapter, empty_settings_are_fine)
{
    struct adapter a;
    struct quern_error err;
    put_pair("{" LORA ", \"r\": 2, \"layer_replication\": null, \"target_parameters\": [], "
             "\"use_qalora\": false, \"init_lora_weights\": \"gaussian\", \"loftq_config\": {}, "
             "\"alora_invocation_tokens\": null, \"rank_pattern\": {}}");
    cr_assert(open_it("a", &a, &err) == QUERN_OK, "%s", err.text);
    model_close(a.model);
    CHECK_LEAKS();
}

Test(adapter, tensors_that_are_refused)
{
    static const struct {
        struct blob blobs[3];
        size_t n;
        const char *word;
        enum quern_status status;
    } cases[] = {
        {{{"q.lora_A.weight", DTYPE_F32, {2, 3}, zeros}},                        1, "B is missing",           QUERN_EFORMAT     },
        {{{"q.lora_B.weight", DTYPE_F32, {2, 2}, zeros}},                        1, "A is missing",           QUERN_EFORMAT     },
        {{{"q.lora_magnitude_vector", DTYPE_F32, {2, 0}, zeros}},                1, "missing",                QUERN_EFORMAT     },
        {{{"q.lora_A.weight", DTYPE_F32, {6, 0}, zeros},
          {"q.lora_B.weight", DTYPE_F32, {4, 2}, zeros}},
         2,                                                                         "sharded",
         QUERN_EFORMAT                                                                                                          },
        {{{"q.lora_A.weight", DTYPE_F32, {2, 3}, zeros},
          {"q.lora_B.weight", DTYPE_F32, {2, 4}, zeros}},
         2,                                                                         "B 4 columns",
         QUERN_EFORMAT                                                                                                          },
        {{{"q.lora_A.a.weight", DTYPE_F32, {2, 3}, zeros},
          {"q.lora_A.b.weight", DTYPE_F32, {2, 3}, zeros}},
         2,                                                                         "one adapter in a file",
         QUERN_EFORMAT                                                                                                          },
        {{{"q.lora_A.weight", DTYPE_F32, {2, 3}, zeros},
          {"q.lora_B.bias", DTYPE_F32, {4, 0}, zeros}},
         2,                                                                         "missing",
         QUERN_EFORMAT                                                                                                          },
        {{{"q.lora_B.bias", DTYPE_F32, {4, 0}, zeros}},                          1, "lora_bias is false",     QUERN_EFORMAT     },
        {{{"q.lora_A.scales", DTYPE_F32, {4, 0}, zeros},
          {"q.lora_A.x.scales", DTYPE_F32, {4, 0}, zeros}},
         2,                                                                         "no tensor of this name",
         QUERN_EUNSUPPORTED                                                                                                     },
        {{{"lora_unet_q.lora_up.weight", DTYPE_F32, {4, 0}, zeros}},
         1,                                                                         "kohya",
         QUERN_EUNSUPPORTED                                                                                                     },
        {{{"q.hada_w1_a", DTYPE_F32, {4, 0}, zeros}},                            1, "LoHa",                   QUERN_EUNSUPPORTED},
        {{{"q.token_adapter.trainable_tokens_delta", DTYPE_F32, {4, 0}, zeros}},
         1,                                                                         "trainable-tokens",
         QUERN_EUNSUPPORTED                                                                                                     },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct adapter a;
        struct quern_error err;
        put("{" LORA ", \"r\": 2}", cases[i].blobs, cases[i].n);
        const enum quern_status status = open_it("a", &a, &err);
        cr_assert(status == cases[i].status, "case %zu: %d %s", i, status, status ? err.text : "");
        cr_assert(strstr(err.text, cases[i].word), "case %zu: %s", i, err.text);
        cr_assert(strstr(err.text, "adapter_model.safetensors"), "case %zu: %s", i, err.text);
    }
    CHECK_LEAKS();
}

Test(adapter, files_that_are_missing)
{
    struct adapter a;
    struct quern_error err;
    cr_assert(open_it("nothing", &a, &err) == QUERN_EIO);
    mkdir(in_dir("a"), 0700);
    cr_assert(open_it("a", &a, &err) == QUERN_EUSAGE && strstr(err.text, "adapter_model"));
    write_text("a/adapter_model.bin", "x");
    cr_assert(open_it("a", &a, &err) == QUERN_EUNSUPPORTED && strstr(err.text, "pickle"));
    const struct blob b = matrix("q.lora_A.weight", 2, 3);
    write_model("a/adapter_model.safetensors", &b, 1);
    cr_assert(open_it("a", &a, &err) == QUERN_EUSAGE && strstr(err.text, "adapter_config.json"));
    write_gguf("model.gguf", "llama", &b, 1);
    cr_assert(open_it("model.gguf", &a, &err) == QUERN_EUSAGE && strstr(err.text, "'adapter'"));
    CHECK_LEAKS();
}

/* What does not fit the base is named, with the closest name or the shapes. */
Test(adapter, bases_that_do_not_fit)
{
    static const struct {
        struct blob base;
        const char *word;
        enum quern_status status;
    } cases[] = {
        {{"l.0.k.weight", DTYPE_F32, {4, 3}, zeros},  "l.0.k.weight'?", QUERN_EUSAGE      },
        {{"other", DTYPE_F32, {4, 3}, zeros},         "trained on",     QUERN_EUSAGE      },
        {{"l.0.q.weight", DTYPE_F32, {4, 4}, zeros},  "4 x 3",          QUERN_EUSAGE      },
        {{"l.0.q.weight", DTYPE_F32, {12, 0}, zeros}, "4 x 3",          QUERN_EUSAGE      },
        {{"l.0.q.weight", DTYPE_I32, {4, 3}, zeros},  "I32",            QUERN_EUNSUPPORTED},
    };
    put_pair("{" LORA ", \"r\": 2}");
    const char *const loras[] = {in_dir("a")};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct plan *plan;
        struct quern_error err;
        write_model("base.safetensors", &cases[i].base, 1);
        const struct merge_request req = {
            .flags = {.base = in_dir("base.safetensors"), .loras = loras, .nloras = 1},
            .output = in_dir("out.safetensors")
        };
        const enum quern_status status = merge_plan(&req, &plan, &err);
        cr_assert(status == cases[i].status, "case %zu: %d %s", i, status, status ? err.text : "");
        cr_assert(strstr(err.text, cases[i].word) && strstr(err.text, "lora_A"), "case %zu: %s", i,
                  err.text);
    }
    CHECK_LEAKS();
}

/* A NaN in the adapter is the adapter's, not the base's. */
Test(adapter, values_that_are_not_finite)
{
    static float a[6] = {1, 2, 3, 4, 5, 6}, b[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    const struct blob base = matrix("l.0.q.weight", 4, 3);
    write_model("base.safetensors", &base, 1);
    for (unsigned i = 0; i < 3; i++) {
        struct plan *plan;
        struct quern_error err;
        a[4] = i == 0 ? NAN : i == 2 ? 3e38f : 5;
        b[2] = i == 1 ? INFINITY : 3;
        struct blob blobs[] = {matrix("l.0.q.lora_A.weight", 2, 3),
                               matrix("l.0.q.lora_B.weight", 4, 2)};
        blobs[0].bytes = a;
        blobs[1].bytes = b;
        put("{" LORA ", \"r\": 2}", blobs, 2);
        const char *const loras[] = {in_dir("a")};
        const struct merge_request req = {
            .flags = {.base = in_dir("base.safetensors"), .loras = loras, .nloras = 1},
            .output = in_dir("out.safetensors")
        };
        const struct quern_run_options options = {.threads = 1};
        cr_assert(merge_plan(&req, &plan, &err) == QUERN_OK, "%s", err.text);
        cr_assert(plan_run(plan, &options, NULL, &err) == QUERN_EFORMAT);
        cr_assert(strstr(err.text, i == 0   ? "lora_A"
                                   : i == 1 ? "lora_B"
                                            : "too large"),
                  "%s", err.text);
        plan_free(plan);
    }
    CHECK_LEAKS();
}
