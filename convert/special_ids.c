/* special_ids.c - find special tokens the way llama.cpp's converter does, and write them. */
#include "convert/special_ids.h"

#include <stdio.h>
#include <string.h>

#include "convert/meta_array.h"
#include "convert/post_processor.h"
#include "convert/template_files.h"
#include "core/pull.h"

/* ---- a list in order of arrival ------------------------------------------------------------- */

void special_ids_set(struct special_ids *s, enum special which, uint64_t id)
{
    uint32_t old;
    if (id < s->ntokens && id <= UINT32_MAX && !special_ids_has(s, which, &old))
        s->ids[s->nids++] = (struct special_id){(uint8_t)which, (uint32_t)id};
}

void special_ids_override(struct special_ids *s, enum special which, uint32_t id)
{
    for (uint32_t i = 0; i < s->nids; i++) {
        if (s->ids[i].which != which)
            continue;
        s->ids[i].id = id;
        return;
    }
    s->ids[s->nids++] = (struct special_id){(uint8_t)which, id};
}

bool special_ids_has(const struct special_ids *s, enum special which, uint32_t *id)
{
    for (uint32_t i = 0; i < s->nids; i++) {
        if (s->ids[i].which != which)
            continue;
        *id = s->ids[i].id;
        return true;
    }
    return false;
}

static void set_add(struct special_ids *s, enum special which, bool value)
{
    for (uint32_t i = 0; i < s->nadds; i++) {
        if (s->adds[i].which != which)
            continue;
        s->adds[i].value = value;
        return;
    }
    s->adds[s->nadds++] = (struct special_add){(uint8_t)which, value};
}

/* ---- tokenizer_config.json and tokenizer.json ----------------------------------------------- */

static void names_from_config(struct special_ids *s, const struct special_names *n,
                              const struct tokenizer_config *tc, const struct tokenizer *t)
{
    for (unsigned i = 0; i < n->ntypes; i++) {
        if (tc->add[i] != FLAG_ABSENT)
            set_add(s, i, tc->add[i] == FLAG_TRUE);
        const struct str text = n->special[i].text;
        const struct token *token = t && text.p ? token_by_text(t, text) : NULL;
        if (token && token->flags & TOKEN_ADDED)
            special_ids_set(s, i, token->id);
    }
}

/* "bos_token_id": 1; a list of ids is left to the program that runs the model. */
static void ids_from_config(struct special_ids *s, unsigned ntypes, const struct hf_config *config)
{
    for (unsigned i = 0; i < ntypes; i++) {
        char key[32];
        uint64_t id;
        snprintf(key, sizeof key, "%s_token_id", special_names[i]);
        const struct json *v = json_get(config->root, key);
        if (!v || json_is_null(v))
            v = json_get(json_get(config->root, "text_config"), key);
        if (json_u64(v, &id))
            special_ids_set(s, i, id);
    }
}

/* ---- normalizer ----------------------------------------------------------------------------- */

static void flag_of(const struct json *object, const char *key, uint8_t *flag)
{
    bool value;
    if (json_bool(json_get(object, key), &value))
        *flag = value ? FLAG_TRUE : FLAG_FALSE;
}

static void normalizer_flags(struct special_ids *s, const struct json *n, unsigned depth)
{
    struct str type;
    if (!json_text(json_get(n, "type"), &type) || depth > PULL_MAX_DEPTH)
        return;
    if (str_is(type, "Lowercase"))
        s->lowercase = FLAG_TRUE;
    if (str_is(type, "StripAccents"))
        s->strip_accents = FLAG_TRUE;
    if (str_is(type, "BertNormalizer")) {
        flag_of(n, "lowercase", &s->lowercase);
        flag_of(n, "strip_accents", &s->strip_accents);
    }
    if (!str_is(type, "Sequence"))
        return;
    for (const struct json *i = json_first(json_get(n, "normalizers")); i; i = json_next(i))
        normalizer_flags(s, i, depth + 1);
}

static enum quern_status read_normalizer(struct special_ids *s, const struct tokenizer *t,
                                         struct quern_error *err)
{
    struct json *root;
    if (!t || !t->normalizer.n)
        return QUERN_OK;
    TRY(in_file(err, t->path, json_parse(t->normalizer, &root, err)));
    normalizer_flags(s, root, 0);
    json_free(root);
    return QUERN_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */

enum quern_status special_ids_find(struct special_ids *s, const struct hf_config *config,
                                   const struct tokenizer_config *tc, const struct tokenizer *t,
                                   uint64_t ntokens, struct quern_error *err)
{
    struct special_names names;
    *s = (struct special_ids){.ntokens = ntokens};
    TRY(read_normalizer(s, t, err));
    enum quern_status status = special_names_read(&names, tc, t, err);
    if (status == QUERN_OK && tc->present)
        status = templates_find(s, config->folder, tc, err);
    if (status == QUERN_OK) {
        for (unsigned i = 0; i < names.nadds; i++)
            set_add(s, names.adds[i].which, names.adds[i].value);
        if (tc->present)
            names_from_config(s, &names, tc, t);
        ids_from_config(s, names.ntypes, config);
    }
    arena_free(&names.arena);
    return status;
}

void special_ids_close(struct special_ids *s)
{
    arena_free(&s->arena);
}

/* ---- keys ----------------------------------------------------------------------------------- */

static const char *const id_keys[SPECIAL_COUNT] = {
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.seperator_token_id", /* so llama.cpp spells it */
    "tokenizer.ggml.padding_token_id",
    NULL, /* the class token stands in for the first one */
    "tokenizer.ggml.mask_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",
};

static const char *const add_keys[SPECIAL_COUNT] = {
    [SPECIAL_BOS] = "tokenizer.ggml.add_bos_token",
    [SPECIAL_EOS] = "tokenizer.ggml.add_eos_token",
    [SPECIAL_SEP] = "tokenizer.ggml.add_sep_token",
};

static bool put_flag(struct meta_list *metas, const char *key, uint8_t flag)
{
    return flag == FLAG_ABSENT || meta_list_put_bool(metas, key, flag == FLAG_TRUE);
}

bool special_ids_put(const struct special_ids *s, struct meta_list *metas)
{
    bool ok = true;
    for (uint32_t i = 0; ok && i < s->nids; i++)
        if (id_keys[s->ids[i].which])
            ok = meta_list_put_u32(metas, id_keys[s->ids[i].which], s->ids[i].id);
    for (uint32_t i = 0; ok && i < s->nadds; i++)
        if (add_keys[s->adds[i].which])
            ok = meta_list_put_bool(metas, add_keys[s->adds[i].which], s->adds[i].value);
    return ok && templates_put(s, metas) &&
           put_flag(metas, "tokenizer.ggml.normalizer.lowercase", s->lowercase) &&
           put_flag(metas, "tokenizer.ggml.normalizer.strip_accents", s->strip_accents);
}
