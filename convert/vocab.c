/* vocab.c - choose how a directory's tokenizer is written, by architecture and by its files. */
#include "convert/vocab.h"

#include <inttypes.h>

#include "convert/meta_array.h"
#include "convert/slow_tokenizer.h"
#include "convert/template_files.h"
#include "convert/vocab_job.h"
#include "core/io.h"
#include "core/pull.h"

/* ---- what the makers share ------------------------------------------------------------------ */

uint64_t job_vocab_size(const struct vocab_job *j, uint64_t otherwise)
{
    uint64_t n, multiple;
    if (!hf_u64(j->ask->config, "vocab_size", &n) || n == 0)
        return otherwise;
    /* Mamba's embedding has its rows rounded up. */
    const bool mamba = strcmp(j->ask->arch, "mamba") == 0,
               two = strcmp(j->ask->arch, "mamba2") == 0;
    if (!mamba && !two)
        return n;
    if (!hf_u64(j->ask->config, "pad_vocab_size_multiple", &multiple) || multiple == 0)
        multiple = mamba ? 8 : 16;
    return n > TOKENIZER_MAX_IDS || multiple > TOKENIZER_MAX_IDS
               ? n
               : (n + multiple - 1) / multiple * multiple;
}

enum quern_status job_put(const struct vocab_job *j, bool ok)
{
    return ok ? QUERN_OK : fail_memory(j->err, j->metas->arena->nbytes);
}

enum quern_status job_put_list(struct vocab_job *j, const char *model, const char *pre, bool scores)
{
    TRY(job_put(j, meta_list_put_string(j->metas, "tokenizer.ggml.model", str_from(model))));
    if (pre)
        TRY(job_put(j, meta_list_put_string(j->metas, "tokenizer.ggml.pre", str_from(pre))));
    j->ntokens = j->list.n;
    return job_put(j, token_list_put(&j->list, scores, j->metas));
}

static enum quern_status set_extra(const struct vocab_job *j, struct special_ids *s,
                                   const struct named_id *extra)
{
    const struct token *token = token_by_text(j->t, str_from(extra->text));
    if (!token)
        return in_file(j->err, j->t->path,
                       fail(j->err, QUERN_EFORMAT, "vocab",
                            "there is no token '%s'" WANT "this architecture needs it",
                            extra->text));
    special_ids_set(s, extra->which, token->id);
    return QUERN_OK;
}

enum quern_status job_put_special(struct vocab_job *j, uint64_t limit)
{
    struct special_ids s;
    enum quern_status status = special_ids_find(&s, j->ask->config, &j->tc, j->json, limit, j->err);
    for (size_t i = 0; status == QUERN_OK && i < j->nextra; i++)
        status = set_extra(j, &s, &j->extra[i]);
    if (status == QUERN_OK)
        status = templates_note(&s, j->plan, j->err);
    if (status == QUERN_OK)
        status = job_put(j, special_ids_put(&s, j->metas));
    special_ids_close(&s);
    return status;
}

/* What a class of the transformers package takes for a token that its configuration leaves out. */
static const struct class_specials {
    const char *class_start;
    const char *texts[SPECIAL_EOT];
} class_specials[] = {
    {"Llama",      {"<s>", "</s>", "<unk>"}                                       },
    {"CodeLlama",  {"<s>", "</s>", "<unk>"}                                       },
    {"Gemma",      {"<bos>", "<eos>", "<unk>", NULL, "<pad>"}                     },
    {"XLMRoberta", {"<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"}     },
    {"Roberta",    {"<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"}     },
    {"Bert",       {NULL, NULL, "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"}     },
    {"GPT2",       {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>"}            },
    {"Qwen2",      {NULL, "<|endoftext|>", "<|endoftext|>", NULL, "<|endoftext|>"}},
};

static const struct class_specials *specials_of(struct str class_name)
{
    for (size_t i = 0; i < sizeof class_specials / sizeof *class_specials; i++)
        if (str_starts(class_name, class_specials[i].class_start))
            return &class_specials[i];
    return NULL;
}

static void mark(struct vocab_job *j, struct str text)
{
    const struct token *token = text.p ? token_by_text(j->t, text) : NULL;
    if (token)
        j->special[token - j->t->tokens] = true;
}

/* Without a class, the one that goes with the model. */
static struct str class_of(const struct vocab_job *j)
{
    static const char *const models[][2] = {
        {"llama",      "Llama"},
        {"mistral",    "Llama"},
        {"mixtral",    "Llama"},
        {"gemma",      "Gemma"},
        {"qwen2",      "Qwen2"},
        {"qwen2_moe",  "Qwen2"},
        {"qwen3",      "Qwen2"},
        {"qwen3_moe",  "Qwen2"},
        {"gpt2",       "GPT2" },
        {"bert",       "Bert" },
        {"starcoder2", "GPT2" },
    };
    if (j->tc.tokenizer_class.n)
        return j->tc.tokenizer_class;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (str_is(j->ask->config->model_type, models[i][0]))
            return str_from(models[i][1]);
    return (struct str){0};
}

static struct str special_text(const struct vocab_job *j, unsigned which)
{
    const struct class_specials *usual = specials_of(class_of(j));
    if (j->tc.special[which].named || !usual || !usual->texts[which])
        return j->tc.special[which].text;
    return str_from(usual->texts[which]);
}

static enum quern_status mark_special(struct vocab_job *j)
{
    j->special = ARENA_NEW(&j->arena, bool, j->t->ntokens);
    if (!j->special)
        return fail_memory(j->err, j->t->ntokens);
    for (unsigned i = 0; i < SPECIAL_EOT; i++)
        mark(j, special_text(j, i));
    for (uint32_t i = 0; i < j->tc.nmore_special; i++)
        mark(j, j->tc.more_special[i]);
    return QUERN_OK;
}

bool job_is_special(const struct vocab_job *j, const struct token *token)
{
    return j->special[token - j->t->tokens];
}

/* ---- added_tokens.json ---------------------------------------------------------------------- */

static enum quern_status read_added(struct vocab_job *j, struct str text,
                                    struct added_entry **entries, uint32_t *n)
{
    struct pull p;
    enum pull_token t;
    uint32_t room = 1;
    for (size_t i = 0; i < text.n; i++)
        room += text.p[i] == ':';
    *entries = ARENA_NEW(&j->arena, struct added_entry, room);
    if (!*entries)
        return fail_memory(j->err, room * sizeof **entries);
    pull_start(&p, (char *)text.p, text.n);
    t = pull_next(&p);
    while (t == PULL_OBJECT || t == PULL_KEY) {
        t = pull_next(&p);
        if (t != PULL_KEY)
            break;
        struct added_entry *const e = &(*entries)[(*n)++];
        e->text = p.str;
        if (pull_next(&p) != PULL_NUMBER || !pull_u64(&p, &e->id))
            return p.kind ? pull_fail(&p, 0, j->err)
                          : at_offset(j->err, p.token_at,
                                      fail(j->err, QUERN_EFORMAT, "tokenizer",
                                           "the id of token '%s' is no whole number",
                                           quoted(e->text).text));
    }
    if (t == PULL_OBJECT_END && pull_next(&p) == PULL_END)
        return QUERN_OK;
    return p.kind ? pull_fail(&p, 0, j->err)
                  : fail(j->err, QUERN_EFORMAT, "json", "it is no JSON object");
}

enum quern_status job_added_tokens(struct vocab_job *j, struct added_entry **entries, uint32_t *n)
{
    struct folder_file file;
    struct str text;
    bool found;
    *entries = NULL;
    *n = 0;
    TRY(folder_find(j->ask->config->folder, "added_tokens.json", &j->arena, &found, &file, j->err));
    if (!found)
        return QUERN_OK;
    TRY(folder_read(&file, TOKENIZER_CONFIG_MAX_BYTES, &j->arena, &text, j->err));
    return in_file(j->err, file.path, read_added(j, text, entries, n));
}

/* ---- architectures -------------------------------------------------------------------------- */

/* NULL when there is no such file. */
static enum quern_status look(struct vocab_job *j, const char *name, const struct folder_file **out)
{
    bool found;
    struct folder_file *file = ARENA_NEW(&j->arena, struct folder_file, 1);
    if (!file)
        return fail_memory(j->err, sizeof *file);
    TRY(folder_find(j->ask->config->folder, name, &j->arena, &found, file, j->err));
    *out = found ? file : NULL;
    return QUERN_OK;
}

static enum quern_status no_tokenizer(struct vocab_job *j, const char *wanted)
{
    return in_file(j->err, j->ask->config->folder->path,
                   fail(j->err, QUERN_EUNSUPPORTED, "no-tokenizer",
                        "it has no tokenizer for this architecture" WANT
                        "expected %s (or --like TEMPLATE.gguf, to take it from there)",
                        wanted));
}

static enum quern_status from_json(struct vocab_job *j)
{
    return j->t ? vocab_bpe(j) : no_tokenizer(j, "tokenizer.json");
}

static enum quern_status from_spm(struct vocab_job *j, unsigned rules)
{
    const struct folder_file *file;
    TRY(look(j, "tokenizer.model", &file));
    return file ? vocab_spm(j, file, rules) : no_tokenizer(j, "tokenizer.model");
}

static enum quern_status spm_or_json(struct vocab_job *j)
{
    const struct folder_file *file;
    TRY(look(j, "tokenizer.model", &file));
    if (file)
        return vocab_spm(j, file, SPM_LOOKS);
    return j->t ? vocab_bpe(j) : no_tokenizer(j, "tokenizer.model or tokenizer.json");
}

static enum quern_status put_bool(struct vocab_job *j, const char *key, bool v)
{
    return job_put(j, meta_list_put_bool(j->metas, key, v));
}

static enum quern_status put_id(struct vocab_job *j, const char *key, uint32_t id)
{
    return job_put(j, meta_list_put_u32(j->metas, key, id));
}

static enum quern_status llama_files(struct vocab_job *j)
{
    const struct folder_file *model, *tekken;
    TRY(look(j, "tokenizer.model", &model));
    TRY(look(j, "tekken.json", &tekken));
    if (tekken && !j->t && !model)
        return vocab_tekken(j, tekken);
    if (j->tc.add_prefix_space != FLAG_ABSENT)
        TRY(put_bool(j, "tokenizer.ggml.add_space_prefix", j->tc.add_prefix_space == FLAG_TRUE));
    if (model)
        return vocab_spm(j, model, SPM_LOOKS);
    if (vocab_is_llama_hf(j))
        return vocab_llama_hf(j);
    return j->t ? vocab_bpe(j) : no_tokenizer(j, "tokenizer.model, tokenizer.json or tekken.json");
}

static enum quern_status vocab_llama(struct vocab_job *j)
{
    if (str_is(j->ask->hf_arch, "InternLM3ForCausalLM"))
        return from_spm(j, SPM_LOOKS | SPM_INTERNLM3);
    TRY(llama_files(j));
    const uint64_t n = job_vocab_size(j, 32000);
    /* CodeLlama has tokens to fill in the middle of a text; its size tells it. */
    if (n == 32016)
        TRY(put_id(j, "tokenizer.ggml.eot_token_id", 32010));
    /* Small Granite models. */
    return n == 49152 ? put_bool(j, "tokenizer.ggml.add_bos_token", false) : QUERN_OK;
}

static enum quern_status vocab_gemma(struct vocab_job *j)
{
    TRY(from_spm(j, SPM_LOOKS));
    TRY(put_id(j, "tokenizer.ggml.eot_token_id", 107));
    return put_bool(j, "tokenizer.ggml.add_space_prefix", false);
}

static enum quern_status vocab_gemma2(struct vocab_job *j)
{
    TRY(from_spm(j, SPM_LOOKS));
    return put_bool(j, "tokenizer.ggml.add_space_prefix", false);
}

static enum quern_status vocab_gemma3(struct vocab_job *j)
{
    const struct folder_file *model;
    TRY(look(j, "tokenizer.model", &model));
    return model ? vocab_gemma2(j) : from_json(j);
}

static enum quern_status vocab_phi3(struct vocab_job *j)
{
    return str_is(j->tc.tokenizer_class, "GPT2Tokenizer") ? from_json(j)
                                                          : from_spm(j, SPM_JSON_TOO);
}

static enum quern_status vocab_internlm2(struct vocab_job *j)
{
    return from_spm(j, SPM_INTERNLM2 | SPM_JSON_TOO);
}

static enum quern_status vocab_minicpm(struct vocab_job *j)
{
    return from_spm(j, SPM_LOOKS);
}

static enum quern_status vocab_ernie(struct vocab_job *j)
{
    TRY(from_spm(j, SPM_LOOKS));
    return j->tc.add_prefix_space == FLAG_ABSENT ? QUERN_OK
                                                 : put_bool(j, "tokenizer.ggml.add_space_prefix",
                                                            j->tc.add_prefix_space == FLAG_TRUE);
}

static enum quern_status vocab_nemotron(struct vocab_job *j)
{
    TRY(from_spm(j, SPM_LOOKS));
    TRY(put_id(j, "tokenizer.ggml.padding_token_id", 0));
    return put_id(j, "tokenizer.ggml.unknown_token_id", 1);
}

static enum quern_status vocab_mamba(struct vocab_job *j)
{
    return j->t ? vocab_bpe(j) : spm_or_json(j);
}

static enum quern_status vocab_t5_files(struct vocab_job *j)
{
    const struct folder_file *file;
    TRY(look(j, "tokenizer.model", &file));
    if (!file)
        TRY(look(j, "spiece.model", &file));
    return file ? vocab_t5(j, file) : no_tokenizer(j, "tokenizer.model or spiece.model");
}

static enum quern_status vocab_rwkv_files(struct vocab_job *j)
{
    const struct folder_file *file;
    TRY(look(j, "rwkv_vocab_v20230424.txt", &file));
    return file ? vocab_rwkv(j, file) : no_tokenizer(j, "rwkv_vocab_v20230424.txt");
}

/* BERT and its kin: WordPiece, RoBERTa's byte pairs, or XLM-RoBERTa's Unigram. */
static enum quern_status vocab_bert(struct vocab_job *j)
{
    const struct folder_file *model;
    uint64_t ntypes = 1;
    TRY(look(j, "sentencepiece.bpe.model", &model));
    const bool xlmr = str_starts(j->ask->hf_arch, "XLMRoberta");
    if (model && (xlmr || !j->t || j->t->kind == TOKENIZER_UNIGRAM))
        return vocab_xlmr(j, model);
    if (!j->t)
        return no_tokenizer(j, "tokenizer.json");
    if (j->t->kind == TOKENIZER_UNIGRAM)
        return vocab_xlmr(j, NULL);
    if (j->t->kind == TOKENIZER_WORDPIECE)
        return vocab_wordpiece(j);
    TRY(vocab_bpe(j));
    (void)hf_u64(j->ask->config, "type_vocab_size", &ntypes);
    if (strcmp(j->ask->arch, "jina-bert-v2") == 0)
        ntypes = 2;
    return put_id(j, "tokenizer.ggml.token_type_count", (uint32_t)ntypes);
}

static enum quern_status vocab_modern_bert(struct vocab_job *j)
{
    TRY(put_bool(j, "tokenizer.ggml.add_bos_token", true));
    TRY(put_bool(j, "tokenizer.ggml.add_eos_token", true));
    TRY(put_bool(j, "tokenizer.ggml.add_sep_token", true));
    return from_json(j);
}

/* ---- GLM ------------------------------------------------------------------------------------ */

/* Ids that come after those of the files, when they are not there yet. */
static enum quern_status json_with_ids(struct vocab_job *j, const struct named_id *ids, size_t n)
{
    j->extra = ids;
    j->nextra = n;
    return from_json(j);
}

static enum quern_status vocab_glm4(struct vocab_job *j)
{
    static const struct named_id ids[] = {
        {SPECIAL_EOS, "<|endoftext|>"},
        {SPECIAL_EOT, "<|user|>"     },
        {SPECIAL_UNK, "<|endoftext|>"},
        {SPECIAL_BOS, "<|endoftext|>"},
    };
    return json_with_ids(j, ids, sizeof ids / sizeof *ids);
}

static enum quern_status vocab_glm4moe(struct vocab_job *j)
{
    static const struct named_id ids[] = {
        {SPECIAL_EOS, "<|endoftext|>"  },
        {SPECIAL_BOS, "[gMASK]"        },
        {SPECIAL_EOT, "<|user|>"       },
        {SPECIAL_UNK, "<|endoftext|>"  },
        {SPECIAL_EOM, "<|observation|>"},
    };
    static const struct named_id solar[] = {
        {SPECIAL_EOS, "<|endoftext|>"  },
        {SPECIAL_EOT, "<|endoftext|>"  },
        {SPECIAL_UNK, "<unk>"          },
        {SPECIAL_BOS, "<|startoftext|>"},
    };
    if (str_is(j->ask->hf_arch, "SolarOpenForCausalLM"))
        return json_with_ids(j, solar, sizeof solar / sizeof *solar);
    return json_with_ids(j, ids, sizeof ids / sizeof *ids);
}

/* ---- the table ------------------------------------------------------------------------------ */

static const struct maker {
    const char *arch;
    enum quern_status (*make)(struct vocab_job *j);
} makers[] = {
    {"llama",           vocab_llama      },
    {"mistral3",        vocab_llama      },
    {"granite",         vocab_llama      },
    {"granitemoe",      vocab_llama      },
    {"smollm3",         vocab_llama      },
    {"arcee",           vocab_llama      },
    {"llama-embed",     vocab_llama      },
    {"ernie4_5",        vocab_ernie      },
    {"ernie4_5-moe",    vocab_ernie      },
    {"qwen2vl",         spm_or_json      },
    {"qwen3vl",         spm_or_json      },
    {"qwen2",           spm_or_json      },
    {"qwen3",           spm_or_json      },
    {"deepseek",        spm_or_json      },
    {"arwkv7",          spm_or_json      },
    {"gemma",           vocab_gemma      },
    {"gemma2",          vocab_gemma2     },
    {"gemma3",          vocab_gemma3     },
    {"gemma3n",         vocab_gemma3     },
    {"gemma-embedding", vocab_gemma3     },
    {"phi3",            vocab_phi3       },
    {"phimoe",          vocab_phi3       },
    {"internlm2",       vocab_internlm2  },
    {"minicpm",         vocab_minicpm    },
    {"minicpm3",        vocab_minicpm    },
    {"baichuan",        vocab_minicpm    },
    {"orion",           vocab_minicpm    },
    {"nemotron",        vocab_nemotron   },
    {"mamba",           vocab_mamba      },
    {"mamba2",          spm_or_json      },
    {"rwkv6",           vocab_rwkv_files },
    {"rwkv7",           vocab_rwkv_files },
    {"t5",              vocab_t5_files   },
    {"t5encoder",       vocab_t5_files   },
    {"bert",            vocab_bert       },
    {"nomic-bert",      vocab_bert       },
    {"nomic-bert-moe",  vocab_bert       },
    {"jina-bert-v2",    vocab_bert       },
    {"jina-bert-v3",    vocab_bert       },
    {"neo-bert",        vocab_bert       },
    {"modern-bert",     vocab_modern_bert},
    {"glm4",            vocab_glm4       },
    {"glm4moe",         vocab_glm4moe    },
};

static enum quern_status make(struct vocab_job *j)
{
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++)
        if (strcmp(j->ask->arch, makers[i].arch) == 0)
            return makers[i].make(j);
    return from_json(j);
}

static enum quern_status read_tokenizer(struct vocab_job *j, const struct folder_file *file)
{
    struct arena arena = {0};
    struct str text;
    if (file->copy_from)
        return tokenizer_read(file->copy_from, true, &j->tokenizer, j->err);
    enum quern_status s = folder_read(file, TOKENIZER_MAX_BYTES, &arena, &text, j->err);
    if (s == QUERN_OK)
        s = tokenizer_parse(text, file->path, true, &j->tokenizer, j->err);
    arena_free(&arena);
    return s;
}

static enum quern_status open_tokenizer(struct vocab_job *j)
{
    const struct folder_file *file;
    bool found = true;
    TRY(look(j, "tokenizer.json", &file));
    if (file)
        TRY(read_tokenizer(j, file));
    else
        TRY(slow_tokenizer_read(j->ask->config->folder, &j->tc, &j->tokenizer, &found, j->err));
    if (!found)
        return QUERN_OK;
    j->t = &j->tokenizer;
    j->json = file ? j->t : NULL;
    return mark_special(j);
}

static enum quern_status open_and_make(struct vocab_job *j)
{
    TRY(tokenizer_config_read(j->ask->config->folder, &j->tc, j->err));
    TRY(open_tokenizer(j));
    return make(j);
}

enum quern_status vocab_keys(const struct vocab_ask *ask, struct plan *plan,
                             struct meta_list *metas, uint64_t *ntokens, struct quern_error *err)
{
    struct vocab_job j = {.ask = ask, .plan = plan, .metas = metas, .err = err};
    const enum quern_status s = open_and_make(&j);
    *ntokens = j.ntokens;
    tokenizer_close(&j.tokenizer);
    tokenizer_config_close(&j.tc);
    arena_free(&j.arena);
    return in_file(err, ask->config->folder->path, s);
}
