/* test_recipe.c - mergekit's schema: what is understood, what is refused and in which words. */
#include "merge/recipe.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "core/io.h"
#include "merge/layers.h"
#include "merge/params.h"
#include "tests/leaks.h"

#define MODELS \
    "models: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 1}}]\n"

static struct recipe recipe;

static const struct recipe *accepted(const char *text)
{
    struct quern_error err;
    cr_assert(recipe_parse(&recipe, str_from(text), "r.yml", NULL, &err) == QUERN_OK, "%s\n%s",
              text, err.text);
    return &recipe;
}

static void refused(const char *text, enum quern_status status, const char *words)
{
    struct quern_error err;
    struct recipe r;
    const enum quern_status got = recipe_parse(&r, str_from(text), "r.yml", NULL, &err);
    cr_assert(got == status, "%s\nstatus %d: %s", text, got, got ? err.text : "");
    cr_assert(strstr(err.text, words), "%s\n%s", text, err.text);
    cr_assert(strstr(err.text, "r.yml"), "%s", err.text);
    recipe_free(&r);
}

static double value(const char *param, int model, const char *tensor, double position)
{
    struct merge_values v;
    struct mistakes m = {0};
    const struct param_place at = {.module = recipe.modules,
                                   .slice = recipe.modules->slices,
                                   .output = str_from(tensor),
                                   .position = position};
    params_of(&recipe, &at, &v, &m);
    cr_assert(m.count == 0, "%s", m.first.text);
    const int p = method_param_index(recipe.method, str_from(param));
    cr_assert(p >= 0);
    return model < 0 ? v.global[p] : v.model[model][p];
}

/* ---- the examples of mergekit, with other names ---------------------------------------------- */

Test(recipe, linear_example)
{
    const struct recipe *r = accepted("models:\n"
                                      "  - model: org/one-13b\n"
                                      "    parameters:\n"
                                      "      weight: 1.0\n"
                                      "  - model: org/two-13B-V1.2\n"
                                      "    parameters:\n"
                                      "      weight: 0.3\n"
                                      "  - model: org/three\n"
                                      "    parameters:\n"
                                      "      weight: 0.5\n"
                                      "merge_method: linear\n"
                                      "dtype: float16\n");
    cr_assert(r->nmodels == 3 && r->base == -1 && recipe_out_dtype(r) == DTYPE_F16);
    cr_assert(str_is(r->models[1].ref.model.text, "org/two-13B-V1.2"));
    cr_assert(value("weight", 2, "x", 0) == 0.5 && value("normalize", -1, "x", 0) == 1);
    recipe_free(&recipe);
    CHECK_LEAKS();
}

Test(recipe, ties_example)
{
    const struct recipe *r = accepted("models:\n"
                                      "  - model: org/a\n"
                                      "    parameters:\n"
                                      "      density: [1, 0.7, 0.1] # density gradient\n"
                                      "      weight: 1.0\n"
                                      "  - model: org/b\n"
                                      "    parameters:\n"
                                      "      density: 0.5\n"
                                      "      weight: [0, 0.3, 0.7, 1] # weight gradient\n"
                                      "  - model: org/c\n"
                                      "    parameters:\n"
                                      "      density: 0.33\n"
                                      "      weight:\n"
                                      "        - filter: mlp\n"
                                      "          value: 0.5\n"
                                      "        - value: 0\n"
                                      "merge_method: ties\n"
                                      "base_model: org/base\n"
                                      "parameters:\n"
                                      "  normalize: true\n"
                                      "  int8_mask: true\n"
                                      "dtype: float16\n");
    cr_assert(r->nmodels == 4 && r->base == 3);
    cr_assert(r->nnotes == 1 && strstr(r->notes[0], "int8_mask"));
    cr_assert(value("density", 0, "x", 0.5) == 0.7 && value("density", 0, "x", 0) == 1);
    cr_assert_float_eq(value("density", 0, "x", 0.75), 0.4, 1e-12);
    cr_assert_float_eq(value("weight", 1, "x", 0.5), 0.5, 1e-12);
    cr_assert(value("weight", 2, "l.0.mlp.up", 0) == 0.5 && value("weight", 2, "l.0.q", 0) == 0);
    recipe_free(&recipe);
    CHECK_LEAKS();
}

Test(recipe, slerp_example_with_models)
{
    const struct recipe *r = accepted("models:\n"
                                      "  - model: org/a\n"
                                      "  - model: org/b\n"
                                      "merge_method: slerp\n"
                                      "base_model: org/a\n"
                                      "parameters:\n"
                                      "  t:\n"
                                      "    - filter: self_attn\n"
                                      "      value: [0, 0.5, 0.3, 0.7, 1]\n"
                                      "    - filter: mlp\n"
                                      "      value: [1, 0.5, 0.7, 0.3, 0]\n"
                                      "    - value: 0.5 # fallback for rest of tensors\n"
                                      "dtype: bfloat16\n");
    cr_assert(r->base == 0 && r->nmodels == 2);
    cr_assert(value("t", -1, "model.layers.0.self_attn.q", 0.25) == 0.5);
    cr_assert(value("t", -1, "model.layers.0.mlp.up", 1) == 0);
    cr_assert(value("t", -1, "model.embed_tokens.weight", 0) == 0.5);
    recipe_free(&recipe);
    CHECK_LEAKS();
}

/* ---- details --------------------------------------------------------------------------------- */

Test(recipe, precedence)
{
    accepted("merge_method: ties\nbase_model: b\nmodels:\n"
             "  - model: x\n    parameters: {weight: [{filter: q, value: 2}]}\n"
             "  - model: y\nparameters: {weight: 3, lambda: yes, normalize: off}\n");
    cr_assert(value("weight", 0, "q", 0) == 2 && value("weight", 0, "k", 0) == 3);
    cr_assert(value("weight", 1, "q", 0) == 3 && value("density", 1, "q", 0) == 1);
    cr_assert(value("lambda", -1, "q", 0) == 1 && value("normalize", -1, "q", 0) == 0);
    recipe_free(&recipe);
    CHECK_LEAKS();
}

Test(recipe, filters)
{
    accepted("merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\n"
             "parameters:\n  t:\n    - {filter: 'layers.1.', value: 0.1}\n"
             "    - {filter: layers, value: 0.2}\n    - {filter: '*', value: 0.3}\n");
    cr_assert(value("t", -1, "layers.1.q", 0) == 0.1 && value("t", -1, "layers.10.q", 0) == 0.2);
    cr_assert(value("t", -1, "norm", 0) == 0.3);
    recipe_free(&recipe);
    accepted("merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\n"
             "parameters: {t: {value: [0, 1]}}\n");
    cr_assert(value("t", -1, "x", 0.25) == 0.25);
    recipe_free(&recipe);
    CHECK_LEAKS();
}

Test(recipe, model_references)
{
    const struct recipe *r = accepted("merge_method: linear\nparameters: {weight: 1}\nmodels:\n"
                                      "  - model: org/a@v1\n"
                                      "  - model: {path: /data/a@b, revision: main}\n"
                                      "  - model: {model: {path: org/c, revision: null}}\n"
                                      "  - model: {model: org/d@r2}\n"
                                      "base_model: org/a@v1\n");
    cr_assert(r->base == 0 && r->nmodels == 4);
    struct ref_parts p;
    struct quern_error err;
    cr_assert(ref_take_apart(&r->models[0].ref, &p, &err) == QUERN_OK);
    cr_assert(str_is(p.path, "org/a") && str_is(p.revision, "v1") && p.nloras == 0);
    cr_assert(ref_take_apart(&r->models[1].ref, &p, &err) == QUERN_OK);
    cr_assert(str_is(p.path, "/data/a@b") && str_is(p.revision, "main"));
    cr_assert(ref_take_apart(&r->models[2].ref, &p, &err) == QUERN_OK);
    cr_assert(str_is(p.path, "org/c") && p.revision.n == 0);
    cr_assert(str_is(r->models[3].ref.model.text, "org/d@r2"));
    recipe_free(&recipe);
    CHECK_LEAKS();
}

Test(recipe, adapters)
{
    const struct recipe *r =
        accepted("merge_method: linear\nparameters: {weight: 1}\nmodels:\n"
                 "  - model: org/a@v1+org/l@main\n"
                 "  - model: {model: {path: a+b, revision: r}, lora: org/l,\n"
                 "            override_architecture: LlamaForCausalLM}\n"
                 "  - model: {model: org/c@v2, lora: {path: x@y, revision: z}}\n"
                 "  - model: a@b@c\n"
                 "  - model: a+b+c\n"
                 "base_model: {model: {path: org/a, revision: v1}, lora: org/l@main}\n");
    static const char *const parts[][4] = {
        {"org/a", "v1", "org/l", "main"},
        {"a+b",   "r",  "org/l", ""    },
        {"org/c", "v2", "x@y",   "z"   }
    };
    struct ref_parts p;
    struct quern_error err;
    cr_assert(r->base == 0 && r->nmodels == 5);
    for (size_t i = 0; i < 3; i++) {
        cr_assert(ref_take_apart(&r->models[i].ref, &p, &err) == QUERN_OK, "%s", err.text);
        cr_assert(str_is(p.path, parts[i][0]) && str_is(p.revision, parts[i][1]));
        cr_assert(p.nloras == 1 && p.loras[0].weight == 1);
        cr_assert(str_is(p.loras[0].path, parts[i][2]) && str_is(p.loras[0].revision, parts[i][3]));
    }
    cr_assert(str_is(r->models[1].ref.override_architecture, "LlamaForCausalLM"));
    for (size_t i = 3; i < 5; i++) {
        cr_assert(ref_take_apart(&r->models[i].ref, &p, &err) == QUERN_EUSAGE);
        cr_assert(strstr(err.text, "{model: {path:"), "%s", err.text);
    }
    recipe_free(&recipe);
    refused("merge_method: linear\nmodels: [{model: {lora: b}}]\n", QUERN_EUSAGE, "has no 'model'");
    refused("merge_method: linear\nmodels: [{model: {model: a, lore: b}}]\n", QUERN_EUSAGE,
            "did you mean 'lora'?");
    CHECK_LEAKS();
}

Test(recipe, tokenizers)
{
    const struct recipe *r = accepted("merge_method: linear\n" MODELS "tokenizer_source: union\n"
                                      "chat_template: chatml\n");
    cr_assert(r->tokenizer.given && r->tokenizer.source == TOKENIZER_UNION);
    cr_assert(str_is(r->chat_template, "chatml"));
    recipe_free(&recipe);
    r = accepted("merge_method: linear\n" MODELS "tokenizer: {source: base}\n"
                 "tokenizer_source: null\nchat_template:\n");
    cr_assert(r->tokenizer.given && r->tokenizer.source == TOKENIZER_BASE && !r->chat_template.n);
    recipe_free(&recipe);
    r = accepted("merge_method: linear\n" MODELS "tokenizer_source: a@v1\n");
    cr_assert(r->tokenizer.source == TOKENIZER_OF_MODEL);
    cr_assert(str_is(r->tokenizer.model.model.text, "a@v1"));
    recipe_free(&recipe);
    r = accepted("merge_method: linear\n" MODELS);
    cr_assert(!r->tokenizer.given);
    recipe_free(&recipe);
    refused("merge_method: linear\n" MODELS "tokenizer: {source: base}\ntokenizer_source: base\n",
            QUERN_EUSAGE, "expected one of them");
    CHECK_LEAKS();
}

Test(recipe, rows_of_tokens)
{
    const struct recipe *r =
        accepted("merge_method: linear\n" MODELS "tokenizer:\n  pad_to_multiple_of: 64\n"
                 "  tokens:\n"
                 "    <a>: {source: a, force: true}\n"
                 "    <b>: {source: {kind: zero}}\n"
                 "    <c>: {source: {kind: model_token, model: {path: b}, token: x}}\n"
                 "    '7': {source: {kind: model_token, model: b, token_id: 12}, force: false}\n"
                 "    <d>:\n");
    const struct token_wish *w = r->tokenizer.tokens;
    cr_assert(r->tokenizer.source == TOKENIZER_UNION && r->tokenizer.pad == 64);
    cr_assert(r->tokenizer.ntokens == 5 && str_is(w[3].token, "7"));
    cr_assert(w[0].source == TOKEN_SAME_OF_MODEL && w[0].force && !w[1].force);
    cr_assert(w[1].source == TOKEN_ZERO && w[4].source == TOKEN_BY_RULE && !w[4].force);
    cr_assert(w[2].source == TOKEN_OF_MODEL && str_is(w[2].other, "x"));
    cr_assert(str_is(w[2].model.model.path, "b"));
    cr_assert(w[3].source == TOKEN_OF_MODEL && w[3].other.n == 0 && w[3].id == 12);
    recipe_free(&recipe);
    static const char *const wrong[][2] = {
        {"tokenizer: []",                                                                            "is a list"    },
        {"tokenizer: {sauce: base}",                                                                 "'source'"     },
        {"tokenizer: {pad_to_multiple_of: 0}",                                                       "whole number" },
        {"tokenizer: {pad_to_multiple_of: 1.5}",                                                     "whole number" },
        {"tokenizer: {tokens: [x]}",                                                                 "map of tokens"},
        {"tokenizer: {tokens: {x: a}}",                                                              "a map with"   },
        {"tokenizer: {tokens: {x: {force: 2}}}",                                                     "truth value"  },
        {"tokenizer: {tokens: {x: {farce: 2}}}",                                                     "'force'"      },
        {"tokenizer: {tokens: {x: {source: {kind: one}}}}",                                          "unknown kind" },
        {"tokenizer: {tokens: {x: {source: {kind: zero, model: a}}}}",                               "unknown key"  },
        {"tokenizer: {tokens: {x: {source: {kind: model_token, model: a}}}}",                        "no token"     },
        {"tokenizer: {tokens: {x: {source: {kind: model_token, token: a}}}}",                        "no 'model'"   },
        {"tokenizer: {tokens: {x: {source: {kind: model_token, model: a, token: b, token_id: 1}}}}",
         "a token and a token_id"                                                                                   },
        {"tokenizer: {tokens: {x: {source: {kind: model_token, model: a, token_id: -1}}}}",
         "whole number"                                                                                             },
        {"tokenizer: {tokens: {x: {source: {kind: model_token, model: a, tokn: 1}}}}",
         "did you mean 'token'"                                                                                     },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[512];
        snprintf(text, sizeof text, "merge_method: linear\n" MODELS "%s\n", wrong[i][0]);
        refused(text, QUERN_EUSAGE, wrong[i][1]);
    }
    CHECK_LEAKS();
}

Test(recipe, base_is_found_despite_a_slash)
{
    const struct recipe *r = accepted("merge_method: slerp\nbase_model: models/a/\n"
                                      "models: [{model: models/a}, {model: b}]\n"
                                      "parameters: {t: 0.5}\n");
    cr_assert(r->base == 0 && r->nmodels == 2);
    recipe_free(&recipe);
    CHECK_LEAKS();
}

Test(recipe, dtypes)
{
    static const struct {
        const char *text;
        enum dtype dtype;
    } cases[] = {
        {"dtype: bfloat16",                     DTYPE_BF16 },
        {"dtype: torch.float16",                DTYPE_F16  },
        {"out_dtype: float32",                  DTYPE_F32  },
        {"dtype: float32\nout_dtype: bfloat16", DTYPE_BF16 },
        {"dtype: float64",                      DTYPE_F64  },
        {"dtype: null",                         DTYPE_COUNT}
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[200];
        snprintf(text, sizeof text,
                 "%s\nmerge_method: linear\nmodels: [{model: a}]\n"
                 "parameters: {weight: 1}\n",
                 cases[i].text);
        cr_assert(recipe_out_dtype(accepted(text)) == cases[i].dtype, "%s", cases[i].text);
        recipe_free(&recipe);
    }
    CHECK_LEAKS();
}

Test(recipe, keys_without_effect_are_noted)
{
    const struct recipe *r =
        accepted("merge_method: slerp\nname: x\nembed_slerp: true\nbase_model: a\nmodels:\n"
                 "  - model: a\n  - model: b\n    parameters: {t: 0.3, weight: 1, density: 2}\n"
                 "parameters: {t: 0.5, normalize: true, int8_mask: true, residual_weight: 0}\n");
    cr_assert(r->nnotes == 7 && str_is(r->name, "x"), "%u", r->nnotes);
    recipe_free(&recipe);
    r = accepted("merge_method: ties\nbase_model: a\nmodels:\n"
                 "  - model: a\n    parameters: {weight: 1}\n  - model: b\n  - model: b\n"
                 "parameters: {weight: 1}\n");
    cr_assert(r->nnotes == 2, "%u", r->nnotes);
    recipe_free(&recipe);
    CHECK_LEAKS();
}

/* ---- refused --------------------------------------------------------------------------------- */

Test(recipe, corpus_of_bad_recipes)
{
    refused("merge_method: linear\nmerge_method: slerp\n", QUERN_EUSAGE, "twice");
    refused("merge_method: linear\nmerge_metod: slerp\n", QUERN_EUSAGE,
            "did you mean 'merge_method'?");
    refused("merge_method: linear\nmodels:\n  - model: a\n    parameters: {weight: .nan}\n",
            QUERN_EUSAGE, "line 4: weight: '.nan'");
    refused("merge_method: linear\nmodels:\n  - model: a\n    parameters: {weight: 0}\n"
            "  - model: b\n    parameters: {weight: 0}\nparameters: {normalize: true}\n",
            QUERN_EUSAGE, "sum to 0");
    refused("merge_method: slerp\nparameters: {t: 1e400}\n", QUERN_EUSAGE, "");
    refused("models:\n\t- model: a\n", QUERN_EUSAGE, "line 2");
    refused("!!python/object/apply:os.getcwd []\n", QUERN_EUSAGE, "tags");
    CHECK_LEAKS();
}

Test(recipe, slices)
{
    const struct recipe *r =
        accepted("slices:\n"
                 "  - sources: [{model: a, layer_range: [0, 24]}]\n"
                 "  - sources:\n"
                 "      - {model: b, layer_range: [20, 40], parameters: {weight: 0.5}}\n"
                 "      - {model: c, layer_range: [0, 20]}\n"
                 "    base_model: c\n"
                 "    residual_weight: 0.5\n"
                 "    parameters: {weight: 0.25}\n"
                 "merge_method: linear\nbase_model: d\nparameters: {weight: 1}\n");
    cr_assert(r->nmodels == 4 && r->base == 3 && r->nmodules == 1 && r->modules->nslices == 2);
    const struct slice *s = r->modules->slices;
    cr_assert(s[0].nsources == 1 && s[0].sources[0].first == 0 && s[0].sources[0].end == 24);
    cr_assert(s[0].base == -1 && !s[0].whole, "linear makes nothing of a base in a slice");
    cr_assert(s[1].nsources == 2 && s[1].sources[0].model == 1 && s[1].base == 1);
    cr_assert(r->nnotes == 1 && strstr(r->notes[0], "residual_weight"));
    struct merge_values v;
    cr_assert(params_constant(r, r->modules, &s[0], &v) && v.model[0][0] == 1);
    cr_assert(params_constant(r, r->modules, &s[1], &v) && v.model[0][0] == 0.5);
    cr_assert(v.model[1][0] == 0.25);
    recipe_free(&recipe);
    /* A method that needs its base gets it with the layers of the others. */
    r = accepted("slices:\n  - sources: [{model: a, layer_range: [2, 4]}]\n"
                 "merge_method: slerp\nbase_model: b\nparameters: {t: 0.5}\n");
    s = r->modules->slices;
    cr_assert(s->nsources == 2 && s->base == 1 && s->sources[1].first == 2 &&
              s->sources[1].end == 4);
    recipe_free(&recipe);
    CHECK_LEAKS();
}

Test(recipe, mistakes_in_slices)
{
#define SLICES(text) "merge_method: slerp\nbase_model: a\nparameters: {t: 0.5}\nslices: " text "\n"
    static const struct {
        const char *text, *words;
    } bad[] = {
        {SLICES("[]"),                                                                              "slices is empty"            },
        {SLICES("[{}]"),                                                                            "without the key 'sources'"  },
        {SLICES("[{sources: []}]"),                                                                 "sources is empty"           },
        {SLICES("[{sources: [{model: a}]}]"),                                                       "without layer_range"        },
        {SLICES("[{sources: [{model: a, layer_range: [3, 3]}]}]"),                                  "[0, 4] is layers 0 to 3"    },
        {SLICES("[{sources: [{model: a, layer_range: [-1, 3]}]}]"),                                 "layer_range"                },
        {SLICES("[{sources: [{model: a, layer_range: [0, 1, 2]}]}]"),                               "layer_range"                },
        {SLICES("[{sources: [{model: a, layer_range: '0, 1'}]}]"),                                  "layer_range"                },
        {SLICES("[{sources: [{model: a, layer_rnage: [0, 1]}]}]"),                                  "did you mean 'layer_range'?"},
        {SLICES("[{sources: [{model: a, layer_range: [0, 1]}], param: 1}]"),                        "'param'"                    },
        {SLICES("[{sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [0, 3]}]}]"),
         "2 layers of 'a' and 3 of 'b'"                                                                                          },
        {SLICES("[{sources: [{model: b, layer_range: [0, 1]}, {model: c, layer_range: [1, 2]}]}]"),
         "not among the sources of this slice"                                                                                   },
        {SLICES("[{sources: [{model: a, layer_range: [0, 1]}]}]\nmodels: [{model: a}]"),
         "more than one of"                                                                                                      },
        {"merge_method: slerp\nbase_model: a\nmodels: [{model: a, layer_range: [0, 1]}]\n",
         "layer_range under models"                                                                                              },
        {"merge_method: slerp\nbase_model: a\nmodules: {x: {models: [{model: a}], slices: []}}\n",
         "one of models and slices"                                                                                              },
        {"merge_method: slerp\nbase_model: a\nmodules: []\n",                                       "modules is a list"          },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(bad[i].text, QUERN_EUSAGE, bad[i].words);
    CHECK_LEAKS();
}

Test(recipe, modules)
{
    const struct recipe *r =
        accepted("modules:\n"
                 "  text_decoder:\n    models: [{model: a}, {model: b, parameters: {weight: 2}}]\n"
                 "  vision_tower:\n    parameters: {weight: 3}\n"
                 "    slices: [{sources: [{model: b, layer_range: [0, 2]}]}]\n"
                 "merge_method: linear\nparameters: {weight: 1}\n");
    struct merge_values v;
    cr_assert(r->nmodules == 2 && r->nmodels == 2 && str_is(r->modules[1].name, "vision_tower"));
    cr_assert(r->modules[0].slices->whole && !r->modules[1].slices->whole);
    cr_assert(params_constant(r, &r->modules[0], r->modules[0].slices, &v));
    cr_assert(v.model[0][0] == 1 && v.model[1][0] == 2);
    cr_assert(params_constant(r, &r->modules[1], r->modules[1].slices, &v) && v.model[0][0] == 3);
    recipe_free(&recipe);
    CHECK_LEAKS();
}

Test(recipe, filters_by_input_and_output)
{
    accepted("merge_method: linear\nslices:\n  - sources:\n"
             "      - {model: a, layer_range: [4, 5]}\n"
             "parameters: {weight: [{filter: l.4.x, value: 2}, {value: 1}],\n"
             "             normalize: [{filter: l.0.x, value: 0}, {value: 1}]}\n");
    const struct str input = STR("l.4.x");
    const struct param_place at = {.module = recipe.modules,
                                   .slice = recipe.modules->slices,
                                   .output = STR("l.0.x"),
                                   .inputs = &input};
    struct merge_values v;
    struct mistakes m = {0};
    params_of(&recipe, &at, &v, &m);
    cr_assert(m.count == 0 && v.model[0][0] == 2 && v.global[1] == 0);
    recipe_free(&recipe);
    CHECK_LEAKS();
}

Test(recipe, methods)
{
    refused("merge_method: passthrough\n" MODELS, QUERN_EUSAGE, "passthrough merges 1");
    refused(MODELS, QUERN_EUSAGE, "no merge_method");
    refused("merge_method: slrep\n" MODELS, QUERN_EUSAGE, "did you mean 'slerp'?");
    refused("merge_method: zzzzzzzz\n" MODELS, QUERN_EUSAGE, "expected one of linear, slerp, ");
    refused("merge_method: [linear]\n" MODELS, QUERN_EUSAGE, "no merge_method");
    CHECK_LEAKS();
}

Test(recipe, models)
{
    refused("merge_method: linear\n", QUERN_EUSAGE, "no models");
    refused("merge_method: linear\nmodels: []\n", QUERN_EUSAGE, "models is empty");
    refused("merge_method: linear\nmodels: a\n", QUERN_EUSAGE, "models is text");
    refused("merge_method: linear\nmodels: [a]\n", QUERN_EUSAGE, "without the key 'model'");
    refused("merge_method: linear\nmodels: [{model: }]\n", QUERN_EUSAGE, "model is nothing");
    refused("merge_method: linear\nmodels: [{model: {}}]\n", QUERN_EUSAGE,
            "has no 'model' or 'path'");
    refused("merge_method: linear\nmodels: [{model: {pth: x}}]\n", QUERN_EUSAGE, "'pth'");
    refused("merge_method: linear\nmodels: [{model: a, parameter: {}}]\n", QUERN_EUSAGE,
            "did you mean 'parameters'?");
    refused("merge_method: slerp\nbase_model: a\nmodels: [{model: b}, {model: c}]\n"
            "parameters: {t: 0.5}\n",
            QUERN_EUSAGE, "3 models with the base");
    refused("merge_method: slerp\nmodels: [{model: b}, {model: c}]\nparameters: {t: 0.5}\n",
            QUERN_EUSAGE, "slerp needs a base_model");
    refused("merge_method: ties\nbase_model: a\nmodels: [{model: a}]\n", QUERN_EUSAGE,
            "at least 2");
    char many[2000];
    size_t n = (size_t)sprintf(many, "merge_method: linear\nparameters: {weight: 1}\nmodels:\n");
    for (int i = 0; i < 66; i++)
        n += (size_t)sprintf(many + n, "  - model: m%d\n", i);
    refused(many, QUERN_EUSAGE, "more than 65 models");
    CHECK_LEAKS();
}

Test(recipe, parameters)
{
    refused("merge_method: linear\nmodels: [{model: a}]\n", QUERN_EUSAGE,
            "model 'a' has no 'weight'");
    refused("merge_method: linear\nbase_model: c\n" MODELS, QUERN_EUSAGE,
            "base_model 'c' is one more input of linear and has no 'weight'");
    refused("merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\n", QUERN_EUSAGE,
            "slerp needs the parameter 't'");
    refused("merge_method: linear\nmodels: [{model: a, parameters: {wieght: 1}}]\n", QUERN_EUSAGE,
            "did you mean 'weight'?");
    refused("merge_method: linear\nparameters: {fancy: 1}\n" MODELS, QUERN_EUSAGE,
            "linear has no parameter 'fancy'");
    refused("merge_method: linear\nparameters: 3\n" MODELS, QUERN_EUSAGE, "parameters is text");
    refused("merge_method: linear\nparameters: {weight: abc}\n" MODELS, QUERN_EUSAGE, "'abc'");
    refused("merge_method: linear\nparameters: {weight: []}\n" MODELS, QUERN_EUSAGE, "0 values");
    refused("merge_method: linear\nparameters: {weight: [[1]]}\n" MODELS, QUERN_EUSAGE, "a list");
    refused("merge_method: linear\nparameters: {weight: [{value: 1}, 2]}\n" MODELS, QUERN_EUSAGE,
            "in one list");
    refused("merge_method: linear\nparameters: {weight: [{filter: a}]}\n" MODELS, QUERN_EUSAGE,
            "no 'value'");
    refused("merge_method: linear\nparameters: {weight: [{fliter: a, value: 1}]}\n" MODELS,
            QUERN_EUSAGE, "did you mean 'filter'?");
    refused("merge_method: linear\nparameters: {weight: {value: '1'}}\n" MODELS, QUERN_EUSAGE,
            "'1'");
    refused("merge_method: ties\nbase_model: a\nmodels: [{model: b, parameters: {weight: 1, "
            "density: 0}}]\n",
            QUERN_EUSAGE, "density = 0");
    refused("merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\nparameters: {t: 1e9}\n",
            QUERN_EUSAGE, "t = 1e+09");
    refused("merge_method: linear\ndtype: int8\n" MODELS, QUERN_EUSAGE, "dtype 'int8'");
    CHECK_LEAKS();
}

Test(recipe, all_mistakes_are_counted)
{
    refused("merge_method: linear\nfoo: 1\nbar: 2\nmodels: [{model: a, parameters: {wheight: 1}}]\n"
            "dtype: q\n",
            QUERN_EUSAGE, "(and 3 more mistakes)");
    struct quern_error err;
    struct recipe r;
    recipe_parse(&r, STR("merge_method: linear\nfoo: 1\nbar: 2\n" MODELS), NULL, NULL, &err);
    cr_assert_str_eq(err.text, "unknown key 'foo' in the recipe (and 1 more mistake)");
    recipe_free(&r);
    CHECK_LEAKS();
}

/* ---- layers ---------------------------------------------------------------------------------- */

Test(params, layer_positions)
{
    static const char *const names[] = {"model.layers.0.mlp.experts.7.w",
                                        "model.layers.1.q",
                                        "model.layers.4.q",
                                        "model.norm.weight",
                                        "blk.0.attn_q.weight",
                                        "blk.2.attn_q.weight",
                                        "vision.h.0.x",
                                        "lm_head.weight",
                                        "a.01.b"};
    static const double position[] = {0, 0.25, 1, 0, 0, 1, 1, 0, 0};
    struct layers l = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        cr_assert(layers_add(&l, str_from(names[i])));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        cr_assert(layers_position(&l, str_from(names[i])) == position[i], "%s", names[i]);
    layers_free(&l);
    CHECK_LEAKS();
}

/* docs/merging.md is written by hand: it must name what the table of methods has. */
Test(recipe, documentation)
{
    struct arena arena = {0};
    struct quern_error err;
    struct str docs;
    cr_assert(read_small_file("docs/merging.md", 1 << 20, &arena, &docs, &err) == QUERN_OK, "%s",
              err.text);
    for (size_t i = 0; method_at(i); i++) {
        const struct method *m = method_at(i);
        char row[200];
        const char *first = m->nparams ? m->params[0].name : "";
        snprintf(row, sizeof row, m->nparams ? "| `%s` | `%s` |" : "| `%s` |%s |", m->name, first);
        cr_assert(strstr(docs.p, row) && strstr(docs.p, m->paper), "%s", m->name);
        for (unsigned k = 0; k < m->nparams; k++) {
            snprintf(row, sizeof row, "| `%s` | %s |", m->params[k].name,
                     m->params[k].per_model ? "model" : "recipe");
            cr_assert(strstr(docs.p, row), "%s: %s", m->name, row);
        }
    }
    arena_free(&arena);
    CHECK_LEAKS();
}
