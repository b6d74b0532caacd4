/* fuzz_convert.c - any small files beside any tensors as a Hugging Face model: planned as GGUF. */
#include "check_model.h"
#include "check_plan.h"
#include "convert/convert.h"
#include "convert/unpack.h"
#include "stand_in.h"

/* An input is a list of files, each by its place here; the first is no file but options. */
static const char *const names[] = {
    "-",
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "README.md",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/tool_use.jinja",
    "hf_quant_config.json",
    "quantize_config.json",
    "tekken.json",
    "rwkv_vocab_v20230424.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "params.json",
    "modules.json",
    "1_Pooling/config.json",
};
#define NNAMES (sizeof names / sizeof *names)

static void plan_it(struct model *m, const struct folder *folder, uint8_t options)
{
    static const char *const types[] = {"auto", "f32",    "f16",    "bf16",
                                        "q8_0", "Q4_K_M", "IQ2_XS", "x"};
    struct quern_error err;
    struct view view = {0};
    struct unpacked u;
    struct plan *p = plan_new("convert", &err);
    FUZZ_CHECK(p != NULL);
    const struct convert_request r = {.output = "/tmp/quern-fuzz.gguf",
                                      .type = types[options % 8],
                                      .vocab_only = options & 8,
                                      .text_only = options & 16,
                                      .like_quantize = options & 32,
                                      .split_max_tensors = options & 64 ? 3 : 0,
                                      .force = true};
    enum quern_status s = view_of_model(m, &p->arena, &view, &err);
    struct folder plain = *folder;
    struct side_file sides[NNAMES + 1];
    if (s == QUERN_OK && !r.vocab_only) {
        s = unpack_view(&view, folder, &p->arena, &u, &err);
        if (s == QUERN_OK && u.by) { /* config.json without what it says of packing comes first */
            sides[0] = (struct side_file){.name = "config.json", .text = u.config};
            for (uint32_t i = 0; i < folder->nsides; i++)
                sides[i + 1] = folder->sides[i];
            plain.sides = sides;
            plain.nsides++;
        }
    }
    if (s == QUERN_OK)
        s = convert_into(&(struct hf_model){&view, &plain}, &r, p, &err);
    if (!fuzz_failed(s, &err))
        check_plan(p);
    view_free(&view);
    plan_free(p);
}

static void run(char *text, size_t n)
{
    struct arena a = {0};
    struct side_file sides[NNAMES];
    struct folder f = {.path = "model", .made = true, .sides = sides};
    struct str weights = {NULL, 0};
    uint8_t options = 0;
    struct fuzz_bytes b = {text, n};
    struct fuzz_part part;
    bool seen[NNAMES] = {0};
    while (take_file(&b, &part)) {
        const size_t i = part.which % NNAMES;
        if (seen[i])
            continue;
        seen[i] = true;
        if (i == 0)
            options = part.text.n ? (uint8_t)part.text.p[0] : 0;
        else if (i == 1)
            weights = part.text;
        else
            sides[f.nsides++] = (struct side_file){.name = names[i], .text = part.text};
    }
    if (!seen[2])
        sides[f.nsides++] = (struct side_file){.name = names[2], .text = str_from(stand_in_config)};
    /* Without any tokenizer there is not much to plan. */
    if (!seen[3] && !seen[9] && !seen[11] && !seen[12] && !seen[18] && !seen[19] && !seen[20])
        sides[f.nsides++] =
            (struct side_file){.name = names[3], .text = str_from(stand_in_tokenizer)};
    if (!weights.p)
        weights = stand_in_weights(&a, 1);
    struct model *m;
    struct quern_error err;
    const char *path = fuzz_file("model.safetensors", weights.p, weights.n);
    if (!fuzz_failed(model_open(path, &m, &err), &err)) {
        plan_it(m, &f, options);
        model_close(m);
    }
    arena_free(&a);
}

static void mutate(struct mutation *m)
{
    static mutate_fn *const mutators[NNAMES] = {NULL,        mutate_safetensors,
                                                mutate_json, mutate_json,
                                                mutate_json, mutate_json,
                                                NULL,        mutate_json,
                                                mutate_json, mutate_json,
                                                NULL,        NULL,
                                                NULL,        NULL,
                                                mutate_json, NULL,
                                                mutate_json, mutate_json,
                                                mutate_json, NULL,
                                                NULL,        NULL,
                                                mutate_json, mutate_json,
                                                mutate_json};
    mutate_files(m, mutators, NNAMES);
}

const struct fuzz_target fuzz_convert = {
    .name = "convert",
    .max_len = 16384,
    .run = run,
    .mutate = mutate,
    .bytes_per_byte = 4096,
    .bytes_besides = 512u << 20, /* a vocabulary is filled up to the size that config.json tells */
};
