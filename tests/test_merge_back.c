/* test_merge_back.c - GGUF models among Hugging Face models: as if they had never been GGUF. */
#include "convert/convert.h"
#include "tests/merge_fixture.h"

TestSuite(merge_back, .init = begin, .fini = end);

#define POCKET "build/pocket/pocket-"

static const char recipe[] = "merge_method: ties\nbase_model: base\ndtype: bfloat16\n"
                             "models: [{model: code, parameters: {weight: 0.5, density: 0.5}}, "
                             "{model: prose, parameters: {weight: 0.5, density: 0.5}}]\n";

static void to_gguf(const char *name)
{
    struct quern_error err;
    struct model *m;
    struct plan *p;
    const char *output = text("%s/%s.gguf", in_dir(""), name);
    const struct convert_request r = {.output = output, .type = "auto"};
    cr_assert(model_open(text(POCKET "%s", name), &m, &err) == QUERN_OK, "%s", err.text);
    cr_assert(convert_plan(m, &r, &p, &err) == QUERN_OK, "%s", err.text);
    cr_assert(plan_run(p, NULL, NULL, &err) == QUERN_OK, "%s", err.text);
    plan_free(p);
    model_close(m);
}

/* kinds: for base, code and prose, g for GGUF, h for Hugging Face. */
static enum quern_status merged(const char *words, const char *kinds, const char *output,
                                struct quern_error *err)
{
    static const char *const names[3] = {"base", "code", "prose"};
    const char *mappings[3];
    struct plan *p;
    for (size_t i = 0; i < 3; i++)
        mappings[i] = kinds[i] == 'g' ? text("%s=%s/%s.gguf", names[i], in_dir(""), names[i])
                                      : text("%s=" POCKET "%s", names[i], names[i]);
    const struct merge_request req = {
        .recipe_text = words,
        .output = in_dir(output),
        .force = true,
        .no_model_card = true,
        .places = {.mappings = mappings, .nmappings = 3}
    };
    enum quern_status s = merge_plan(&req, &p, err);
    if (s != QUERN_OK)
        return s;
    s = plan_run(p, NULL, NULL, err);
    plan_free(p);
    return s;
}

static struct str bytes_of(const char *name)
{
    struct str s;
    struct quern_error err;
    cr_assert(read_small_file(in_dir(name), 1 << 24, &arena, &s, &err) == QUERN_OK, "%s", err.text);
    return s;
}

static bool same_bytes(const char *a, const char *b)
{
    return str_eq(bytes_of(a), bytes_of(b));
}

Test(merge_back, any_mixture_gives_the_same_bytes)
{
    static const char *const mixtures[] = {"hgg", "ghh", "ggg", "hhg"};
    struct quern_error err;
    to_gguf("base");
    to_gguf("code");
    to_gguf("prose");
    cr_assert(merged(recipe, "hhh", "want", &err) == QUERN_OK, "%s", err.text);
    cr_assert(merged(recipe, "hhh", "m.gguf", &err) == QUERN_OK, "%s", err.text);
    const struct str want = bytes_of("m.gguf");
    for (size_t i = 0; i < sizeof mixtures / sizeof *mixtures; i++) {
        cr_assert(merged(recipe, mixtures[i], "got", &err) == QUERN_OK, "%s: %s", mixtures[i],
                  err.text);
        cr_expect(same_bytes("want/model.safetensors", "got/model.safetensors"), "%s", mixtures[i]);
        cr_expect(access(in_dir("got/tokenizer.json"), F_OK) == 0, "%s", mixtures[i]);
        cr_expect(access(in_dir("got/config.json"), F_OK) == 0, "%s", mixtures[i]);
        cr_assert(merged(recipe, mixtures[i], "got.safetensors", &err) == QUERN_OK, "%s", err.text);
        cr_expect(same_bytes("want/model.safetensors", "got.safetensors"), "%s", mixtures[i]);
    }
    cr_assert(merged(recipe, "hgg", "m.gguf", &err) == QUERN_OK, "%s", err.text);
    cr_expect(str_eq(want, bytes_of("m.gguf")));
    arena_free(&arena);
    CHECK_LEAKS();
}

/* The donor's config.json and tokenizer are those of its GGUF, whatever stands beside. */
Test(merge_back, stages_and_templates)
{
    static const char stages[] =
        "name: first\nmerge_method: slerp\nbase_model: base\ndtype: bfloat16\nparameters: {t: "
        "0.4}\nmodels: [{model: base}, {model: code}]\n---\nmerge_method: linear\ndtype: bfloat16\n"
        "models: [{model: first, parameters: {weight: 0.5}}, {model: prose, parameters: {weight: "
        "0.5}}]\nchat_template: chatml\n";
    struct quern_error err;
    to_gguf("base");
    to_gguf("code");
    to_gguf("prose");
    cr_assert(merged(stages, "hhh", "want", &err) == QUERN_OK, "%s", err.text);
    cr_assert(merged(stages, "ggg", "got", &err) == QUERN_OK, "%s", err.text);
    cr_expect(same_bytes("want/model.safetensors", "got/model.safetensors"));
    cr_expect(strstr(bytes_of("got/tokenizer_config.json").p, "im_start") != NULL);
    cr_expect(strstr(bytes_of("got/config.json").p, "LlamaForCausalLM") != NULL);
    arena_free(&arena);
    CHECK_LEAKS();
}

/* Rows are aligned by token with a GGUF, but no GGUF gives a new vocabulary. */
Test(merge_back, vocabularies)
{
    static const char base_words[] =
        "merge_method: linear\ndtype: bfloat16\nmodels: [{model: base, "
        "parameters: {weight: 0.5}}, {model: code, parameters: "
        "{weight: 0.5}}, {model: prose, parameters: {weight: 1}}]\n"
        "tokenizer_source: base\n";
    static const char union_words[] =
        "merge_method: linear\ndtype: bfloat16\nmodels: [{model: base, parameters: {weight: 0.5}}, "
        "{model: code, parameters: {weight: 0.5}}, {model: prose, parameters: {weight: 1}}]\n"
        "tokenizer: {source: union, pad_to_multiple_of: 100}\n";
    struct quern_error err;
    to_gguf("base");
    to_gguf("code");
    to_gguf("prose");
    cr_assert(merged(base_words, "hhh", "want", &err) == QUERN_OK, "%s", err.text);
    cr_assert(merged(base_words, "hgg", "got", &err) == QUERN_OK, "%s", err.text);
    cr_expect(same_bytes("want/model.safetensors", "got/model.safetensors"));
    cr_assert(merged(base_words, "ghh", "got", &err) == QUERN_OK, "%s", err.text);
    cr_expect(same_bytes("want/model.safetensors", "got/model.safetensors"));
    cr_expect(merged(union_words, "ggg", "none", &err) == QUERN_EUNSUPPORTED);
    cr_expect_str_eq(err.kind, "vocabulary");
    arena_free(&arena);
    CHECK_LEAKS();
}
