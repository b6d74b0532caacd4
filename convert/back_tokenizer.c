/* back_tokenizer.c - tokenizer files and generation_config.json from the keys of a GGUF. */
#include <stdio.h>
#include <stdlib.h>

#include "back_vocab.h"

enum quern_status back_add_text(struct back_vocab *v, const char *name, struct str text,
                                struct quern_error *err)
{
    const struct str own = arena_str(&v->b->plan->arena, text);
    return own.p ? back_add_file(v->b, v->out, name, own, err) : fail_memory(err, text.n);
}

static bool flag_or(const struct back_vocab *v, const char *key, bool otherwise)
{
    const struct meta *k = model_meta(v->b->model, key);
    return k && k->type == META_BOOL ? k->value.p[0] != 0 : otherwise;
}

bool back_token(const struct back_vocab *v, const char *key, uint32_t *id)
{
    const struct meta *k = model_meta(v->b->model, key);
    uint64_t n;
    if (!k || !meta_u64(k, &n) || n >= v->n)
        return false;
    *id = (uint32_t)n;
    return true;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static const struct meta *array_of(const struct back_vocab *v, const char *key,
                                   enum meta_type item_type, uint64_t count)
{
    const struct meta *k = model_meta(v->b->model, key);
    return k && k->type == META_ARRAY && k->item_type == item_type &&
                   (count == 0 || k->count == count)
               ? k
               : NULL;
}

static enum quern_status read_tokens(struct back_vocab *v, struct quern_error *err)
{
    const struct meta *texts = array_of(v, "tokenizer.ggml.tokens", META_STRING, 0);
    if (!texts || texts->count == 0 || texts->count > MAX_LISTED_TOKENS)
        return fail(err, QUERN_EFORMAT, "kv-type",
                    "its tokenizer.ggml.tokens are no list of texts");
    v->n = (uint32_t)texts->count;
    v->items = ARENA_NEW(&v->arena, struct listed_token, v->n);
    if (!v->items)
        return fail_memory(err, v->n * sizeof *v->items);
    const struct meta *types = array_of(v, "tokenizer.ggml.token_type", META_I32, v->n);
    const struct meta *scores = array_of(v, "tokenizer.ggml.scores", META_F32, v->n);
    const char *at = texts->value.p;
    for (uint32_t i = 0; i < v->n; i++) {
        struct listed_token *t = &v->items[i];
        *t = (struct listed_token){.text = meta_next_string(&at), .type = TYPE_NORMAL};
        if (types)
            t->type = (uint8_t)types->value.p[4 * (size_t)i];
        if (scores)
            memcpy(&t->score, scores->value.p + 4 * (size_t)i, sizeof t->score);
    }
    return QUERN_OK;
}

static bool is_added(const struct listed_token *t)
{
    return t->type == TYPE_CONTROL || t->type == TYPE_USER_DEFINED;
}

/* Added tokens at the end stay out of the model. Their ids are given one after the other there, so
 * that a gap between them puts all into it. */
static void find_ends(struct back_vocab *v)
{
    bool gap = false, unused = false;
    v->nadded_end = v->n;
    while (v->nadded_end > 0 && v->items[v->nadded_end - 1].type == TYPE_UNUSED)
        v->nadded_end--;
    v->nmodel = v->nadded_end;
    while (v->nmodel > 0 &&
           (is_added(&v->items[v->nmodel - 1]) || v->items[v->nmodel - 1].type == TYPE_UNUSED)) {
        unused = v->items[--v->nmodel].type == TYPE_UNUSED;
        gap |= unused;
    }
    if (gap || v->nmodel == 0)
        v->nmodel = v->nadded_end;
}

/* ---- tokenizer.json ---------------------------------------------------------------------------
 */

void back_json_begin(const struct back_vocab *v, struct json_writer *w)
{
    json_open(w, '{');
    json_raw(w, STR("\n\"version\":\"1.0\",\n\"truncation\":null,\n\"padding\":null,\n"));
    json_key(w, "added_tokens");
    json_open(w, '[');
    for (uint32_t i = 0; i < v->nadded_end; i++) {
        if (!is_added(&v->items[i]) && v->items[i].type != TYPE_UNKNOWN)
            continue;
        json_open(w, '{');
        json_key(w, "id");
        json_put_u64(w, i);
        json_key(w, "content");
        json_put_str(w, v->items[i].text);
        json_raw(w, STR(",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
                        "\"normalized\":false"));
        json_key(w, "special");
        json_put_bool(w, v->items[i].type != TYPE_USER_DEFINED);
        json_close(w, '}');
    }
    json_close(w, ']');
    json_raw(w, STR(",\n"));
    w->comma = false;
}

static void put_part(struct json_writer *w, const char *kind, struct str id, unsigned type)
{
    json_open(w, '{');
    json_key(w, kind);
    json_open(w, '{');
    json_key(w, "id");
    json_put_str(w, id);
    json_key(w, "type_id");
    json_put_u64(w, type);
    json_close(w, '}');
    json_close(w, '}');
}

static void put_parts(struct json_writer *w, const struct listed_token *bos,
                      const struct listed_token *eos, unsigned ntexts)
{
    static const struct str names[2] = {STR("A"), STR("B")};
    json_open(w, '[');
    for (unsigned k = 0; k < ntexts; k++) {
        if (bos)
            put_part(w, "SpecialToken", bos->text, k);
        put_part(w, "Sequence", names[k], k);
        if (eos)
            put_part(w, "SpecialToken", eos->text, k);
    }
    json_close(w, ']');
}

static void put_special(const struct back_vocab *v, struct json_writer *w,
                        const struct listed_token *t)
{
    json_key_str(w, t->text);
    json_open(w, '{');
    json_key(w, "id");
    json_put_str(w, t->text);
    json_key(w, "ids");
    json_open(w, '[');
    json_put_u64(w, (uint64_t)(t - v->items));
    json_close(w, ']');
    json_key(w, "tokens");
    json_open(w, '[');
    json_put_str(w, t->text);
    json_close(w, ']');
    json_close(w, '}');
}

void back_json_post(const struct back_vocab *v, struct json_writer *w, bool byte_level)
{
    static const char bytes[] = "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
                                "\"trim_offsets\":false,\"use_regex\":true}";
    uint32_t id;
    const struct listed_token *bos = NULL, *eos = NULL;
    if (v->add_bos && back_token(v, "tokenizer.ggml.bos_token_id", &id))
        bos = &v->items[id];
    if (v->add_eos && back_token(v, "tokenizer.ggml.eos_token_id", &id))
        eos = &v->items[id];
    json_key(w, "post_processor");
    if (!bos && !eos) {
        json_raw(w, byte_level ? str_from(bytes) : STR("null"));
        return;
    }
    if (byte_level) {
        json_raw(w, STR("{\"type\":\"Sequence\",\"processors\":["));
        json_raw(w, str_from(bytes));
        json_raw(w, STR(","));
    }
    json_open(w, '{');
    json_key(w, "type");
    json_put_text(w, "TemplateProcessing");
    json_key(w, "single");
    put_parts(w, bos, eos, 1);
    json_key(w, "pair");
    put_parts(w, bos, eos, 2);
    json_key(w, "special_tokens");
    json_open(w, '{');
    if (bos)
        put_special(v, w, bos);
    if (eos && eos != bos)
        put_special(v, w, eos);
    json_close(w, '}');
    json_close(w, '}');
    if (byte_level)
        json_raw(w, STR("]}"));
}

/* The converter's name for an id that has no token. */
static bool is_hole(const struct back_vocab *v, uint32_t i)
{
    char text[24];
    snprintf(text, sizeof text, "[PAD%u]", (unsigned)i);
    return v->items[i].type == TYPE_UNUSED && str_is(v->items[i].text, text);
}

void back_json_vocab(const struct back_vocab *v, struct json_writer *w)
{
    json_key(w, "vocab");
    json_open(w, '{');
    for (uint32_t i = 0; i < v->nmodel; i++) {
        if (is_hole(v, i))
            continue;
        json_key_str(w, v->items[i].text);
        json_put_u64(w, i);
    }
    json_close(w, '}');
}

enum quern_status back_json_end(struct back_vocab *v, struct json_writer *w,
                                struct quern_error *err)
{
    json_raw(w, STR("\n"));
    json_close(w, '}');
    json_raw(w, STR("\n"));
    const struct str text = json_written(w);
    return text.p ? back_add_text(v, "tokenizer.json", text, err) : fail_memory(err, w->n);
}

/* ---- tokenizer_config.json --------------------------------------------------------------------
 */

static const struct {
    const char *name, *key;
} special_tokens[] = {
    {"bos_token",  "tokenizer.ggml.bos_token_id"      },
    {"eos_token",  "tokenizer.ggml.eos_token_id"      },
    {"unk_token",  "tokenizer.ggml.unknown_token_id"  },
    {"pad_token",  "tokenizer.ggml.padding_token_id"  },
    {"mask_token", "tokenizer.ggml.mask_token_id"     },
    {"sep_token",  "tokenizer.ggml.seperator_token_id"},
};

static const struct {
    const char *name, *key;
} flags[] = {
    {"add_bos_token",    "tokenizer.ggml.add_bos_token"   },
    {"add_eos_token",    "tokenizer.ggml.add_eos_token"   },
    {"add_sep_token",    "tokenizer.ggml.add_sep_token"   },
    {"add_prefix_space", "tokenizer.ggml.add_space_prefix"},
};

/* Several templates have names, "default" that of the first. */
static void put_templates(const struct back_vocab *v, struct json_writer *w)
{
    static const char prefix[] = "tokenizer.chat_template.";
    const struct model *m = v->b->model;
    const struct meta *main = model_meta(m, "tokenizer.chat_template");
    uint32_t named = 0;
    for (uint32_t i = 0; i < m->nmetas; i++)
        named += m->metas[i].type == META_STRING && str_starts(m->metas[i].key, prefix);
    if (!main || main->type != META_STRING)
        return;
    back_member(w, "chat_template");
    if (!named) {
        json_put_str(w, main->value);
        return;
    }
    json_open(w, '[');
    for (uint32_t i = 0; i < m->nmetas; i++) {
        const struct meta *k = &m->metas[i];
        if (k->type != META_STRING || (k != main && !str_starts(k->key, prefix)))
            continue;
        json_open(w, '{');
        json_key(w, "name");
        if (k == main)
            json_put_text(w, "default");
        else
            json_put_text(w, k->key.p + sizeof prefix - 1);
        json_key(w, "template");
        json_put_str(w, k->value);
        json_close(w, '}');
    }
    json_close(w, ']');
}

/* Which of the added tokens of a text are no part of it. */
static void put_more_special(const struct back_vocab *v, struct json_writer *w)
{
    back_member(w, "additional_special_tokens");
    json_open(w, '[');
    for (uint32_t i = 0; i < v->nadded_end; i++) {
        bool named = v->items[i].type != TYPE_CONTROL;
        for (size_t k = 0; k < sizeof special_tokens / sizeof *special_tokens; k++) {
            uint32_t id;
            named |= back_token(v, special_tokens[k].key, &id) && id == i;
        }
        if (!named)
            json_put_str(w, v->items[i].text);
    }
    json_close(w, ']');
}

/* Tokens with scores that stood in no tokenizer.model stand here. */
static void put_added(const struct back_vocab *v, struct json_writer *w)
{
    back_member(w, "added_tokens_decoder");
    json_open(w, '{');
    for (uint32_t i = 0; i < v->nadded_end; i++) {
        char id[16];
        if (!is_added(&v->items[i]) ||
            (i < v->nmodel && v->items[i].type == TYPE_CONTROL && v->items[i].score != SCORE_ADDED))
            continue;
        snprintf(id, sizeof id, "%u", (unsigned)i);
        json_key(w, id);
        json_open(w, '{');
        json_key(w, "content");
        json_put_str(w, v->items[i].text);
        json_raw(w, STR(",\"lstrip\":false,\"normalized\":false,\"rstrip\":false,"
                        "\"single_word\":false"));
        json_key(w, "special");
        json_put_bool(w, v->items[i].type == TYPE_CONTROL);
        json_close(w, '}');
    }
    json_close(w, '}');
}

static void put_config(const struct back_vocab *v, struct json_writer *w)
{
    const bool wordpiece = str_is(v->model, "bert");
    uint64_t context;
    uint32_t id;
    json_open(w, '{');
    if (str_is(v->model, "llama")) {
        put_added(v, w);
        put_more_special(v, w);
    }
    for (size_t i = 0; i < sizeof special_tokens / sizeof *special_tokens; i++)
        if (back_token(v, special_tokens[i].key, &id) &&
            !(wordpiece && (i == 0 || i == 1))) { /* [CLS] and [SEP] */
            back_member(w, special_tokens[i].name);
            json_put_str(w, v->items[id].text);
        }
    if (wordpiece && back_token(v, "tokenizer.ggml.bos_token_id", &id)) {
        back_member(w, "cls_token");
        json_put_str(w, v->items[id].text);
    }
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (model_meta(v->b->model, flags[i].key)) {
            back_member(w, flags[i].name);
            json_put_bool(w, flag_or(v, flags[i].key, false));
        }
    if (wordpiece) {
        back_member(w, "do_lower_case");
        json_put_bool(w, flag_or(v, "tokenizer.ggml.normalizer.lowercase", true));
    }
    put_templates(v, w);
    if (back_u64(v->b, "context_length", &context)) {
        back_member(w, "model_max_length");
        json_put_u64(w, context);
    }
    back_member(w, "clean_up_tokenization_spaces");
    json_put_bool(w, false);
    back_member(w, "tokenizer_class");
    json_put_text(w, wordpiece ? "BertTokenizer" : "PreTrainedTokenizerFast");
    json_raw(w, STR("\n"));
    json_close(w, '}');
    json_raw(w, STR("\n"));
}

/* ---- generation_config.json -------------------------------------------------------------------
 */

static void put_ends(const struct back_vocab *v, struct json_writer *w)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    uint32_t ids[3] = {0}, n = 0, id;
    for (size_t i = 0; i < 3; i++)
        if (back_token(v, keys[i], &id) && !(n > 0 && ids[0] == id) && !(n > 1 && ids[1] == id))
            ids[n++] = id;
    if (n == 0)
        return;
    back_member(w, "eos_token_id");
    if (n > 1)
        json_open(w, '[');
    for (uint32_t i = 0; i < n; i++)
        json_put_u64(w, ids[i]);
    if (n > 1)
        json_close(w, ']');
}

static void put_generation(const struct back_vocab *v, struct json_writer *w)
{
    static const char prefix[] = "general.sampling.";
    const struct model *m = v->b->model;
    uint32_t id;
    bool samples = false;
    json_open(w, '{');
    if (back_token(v, "tokenizer.ggml.bos_token_id", &id)) {
        back_member(w, "bos_token_id");
        json_put_u64(w, id);
    }
    put_ends(v, w);
    if (back_token(v, "tokenizer.ggml.padding_token_id", &id)) {
        back_member(w, "pad_token_id");
        json_put_u64(w, id);
    }
    for (uint32_t i = 0; i < m->nmetas; i++) {
        const struct meta *k = &m->metas[i];
        if (!str_starts(k->key, prefix))
            continue;
        const char *name = k->key.p + sizeof prefix - 1;
        back_sampling(w, strcmp(name, "temp") == 0 ? "temperature" : name, k);
        samples = true;
    }
    if (samples) {
        back_member(w, "do_sample");
        json_put_bool(w, true);
    }
    json_raw(w, STR("\n"));
    json_close(w, '}');
    json_raw(w, STR("\n"));
}

/* ---- the whole --------------------------------------------------------------------------------
 */

static enum quern_status add_json(struct back_vocab *v, const char *name,
                                  void (*put)(const struct back_vocab *, struct json_writer *),
                                  struct quern_error *err)
{
    struct json_writer w = {0};
    put(v, &w);
    const struct str text = json_written(&w);
    const enum quern_status s = text.p ? back_add_text(v, name, text, err) : fail_memory(err, w.n);
    json_writer_free(&w);
    return s;
}

static enum quern_status files(struct back_vocab *v, struct quern_error *err)
{
    const struct back_pre *pre = back_pre_find(v->pre);
    const bool bpe = str_is(v->model, "gpt2"), spm = str_is(v->model, "llama");
    if (bpe && !pre)
        return plan_note(v->b->plan, err,
                         "no tokenizer: how '%s' splits text (tokenizer.ggml.pre) is not known",
                         quoted(v->pre).text);
    if (!bpe && !spm && !str_is(v->model, "bert"))
        return plan_note(v->b->plan, err,
                         "no tokenizer: one of the kind '%s' (tokenizer.ggml.model) cannot be made",
                         quoted(v->model).text);
    TRY(read_tokens(v, err));
    find_ends(v);
    v->add_bos = flag_or(v, "tokenizer.ggml.add_bos_token", spm || (bpe && pre->add_bos));
    v->add_eos = flag_or(v, "tokenizer.ggml.add_eos_token", false);
    v->add_space_prefix = flag_or(v, "tokenizer.ggml.add_space_prefix", true);
    const uint32_t before = v->out->nfiles;
    TRY(bpe   ? back_bpe_files(v, pre, err)
        : spm ? back_spm_files(v, err)
              : back_wordpiece_files(v, err));
    if (v->out->nfiles > before)
        TRY(add_json(v, "tokenizer_config.json", put_config, err));
    return add_json(v, "generation_config.json", put_generation, err);
}

enum quern_status back_tokenizer(struct back *b, struct hf_form *out, struct quern_error *err)
{
    struct back_vocab v = {.b = b, .out = out, .model = STR(""), .pre = STR("")};
    const struct meta *k = model_meta(b->model, "tokenizer.ggml.model");
    if (!k || !meta_string(k, &v.model))
        return plan_note(b->plan, err, "no tokenizer: the GGUF has none");
    if ((k = model_meta(b->model, "tokenizer.ggml.pre")))
        meta_string(k, &v.pre);
    const enum quern_status s = files(&v, err);
    arena_free(&v.arena);
    return s;
}
