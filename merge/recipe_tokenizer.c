/* recipe_tokenizer.c - tokenizer_source and the tokenizer block of a recipe. */
#include "merge/recipe_reader.h"

#define MAX_PAD (1u << 20)

static bool whole_number(const struct yaml_node *n, double most, uint64_t *out)
{
    double v;
    if (!yaml_number(n, &v) || v < 0 || v > most || v != (double)(uint64_t)v)
        return false;
    *out = (uint64_t)v;
    return true;
}

/* "union", "base" or a model. */
static void read_source(struct reader *d, const struct yaml_node *n, const char *what,
                        struct tokenizer_wish *w)
{
    if (n->kind == YAML_IS_SCALAR && str_is(n->text, "union")) {
        w->source = TOKENIZER_UNION;
    } else if (n->kind == YAML_IS_SCALAR && str_is(n->text, "base")) {
        w->source = TOKENIZER_BASE;
    } else {
        w->source = TOKENIZER_OF_MODEL;
        reader_ref(d, n, what, &w->model);
    }
}

/* {kind: model_token, model, token | token_id} */
static void read_model_token(struct reader *d, const struct yaml_node *n, struct token_wish *w)
{
    static const char *const keys[] = {"kind", "model", "token", "token_id"};
    const struct yaml_node *model = yaml_get(n, "model"), *token = yaml_get(n, "token");
    const struct yaml_node *id = yaml_get(n, "token_id");
    token = token && yaml_is_null(token) ? NULL : token;
    id = id && yaml_is_null(id) ? NULL : id;
    w->source = TOKEN_OF_MODEL;
    for (const struct yaml_node *i = n->first; i; i = i->next) {
        bool known = false;
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            known |= str_is(i->key, keys[k]);
        if (!known)
            reader_unknown_key(d, i, "a model_token", keys, sizeof keys / sizeof *keys);
    }
    if (model)
        reader_ref(d, model, "the model of a model_token", &w->model);
    else
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "a model_token has no 'model'");
    if (!token == !id)
        reader_wrong(d, n, QUERN_EUSAGE, "recipe",
                     "a model_token has %s" WANT "expected one of token and token_id",
                     token ? "a token and a token_id" : "no token");
    else if (token)
        reader_text(d, token, "the token of a model_token", "a token", &w->other);
    else if (!whole_number(id, 1u << 30, &w->id))
        reader_wrong(d, id, QUERN_EUSAGE, "recipe", "token_id is no whole number from 0");
}

/* Where the row of a token comes from: a model, or a map with a kind. */
static void read_token_source(struct reader *d, const struct yaml_node *n, struct token_wish *w)
{
    static const char *const kinds[] = {"zero", "model_token"};
    if (yaml_is_null(n))
        return;
    const struct yaml_node *kind = yaml_get(n, "kind");
    if (!kind) {
        w->source = TOKEN_SAME_OF_MODEL;
        reader_ref(d, n, "the source of a token", &w->model);
    } else if (kind->kind == YAML_IS_SCALAR && str_is(kind->text, "zero")) {
        w->source = TOKEN_ZERO;
        for (const struct yaml_node *i = n->first; i; i = i->next)
            if (i != kind)
                reader_unknown_key(d, i, "a source of kind zero", kinds, 0);
    } else if (kind->kind == YAML_IS_SCALAR && str_is(kind->text, "model_token")) {
        read_model_token(d, n, w);
    } else {
        reader_wrong(d, kind, QUERN_EUSAGE, "recipe",
                     "unknown kind '%s'" WANT "expected zero or model_token",
                     kind->kind == YAML_IS_SCALAR ? quoted(kind->text).text : node_kind(kind));
    }
}

static void read_token(struct reader *d, const struct yaml_node *n, struct token_wish *w)
{
    static const char *const keys[] = {"source", "force"};
    w->token = n->key;
    w->line = n->line;
    if (yaml_is_null(n))
        return;
    if (n->kind != YAML_IS_MAP) {
        reader_wrong(d, n, QUERN_EUSAGE, "recipe",
                     "token '%s' is %s" WANT "expected a map with source and force",
                     quoted(n->key).text, node_kind(n));
        return;
    }
    for (const struct yaml_node *i = n->first; i; i = i->next) {
        if (str_is(i->key, "source"))
            read_token_source(d, i, w);
        else if (!str_is(i->key, "force"))
            reader_unknown_key(d, i, "a token", keys, 2);
        else if (!yaml_is_null(i) && !yaml_bool(i, &w->force))
            reader_wrong(d, i, QUERN_EUSAGE, "recipe", "force is no truth value");
    }
}

static void read_tokens(struct reader *d, const struct yaml_node *n, struct tokenizer_wish *w)
{
    if (yaml_is_null(n))
        return;
    if (n->kind != YAML_IS_MAP) {
        reader_wrong(d, n, QUERN_EUSAGE, "recipe", "tokens is %s" WANT "expected a map of tokens",
                     node_kind(n));
        return;
    }
    w->tokens = reader_memory(d, ARENA_NEW(&d->r->arena, struct token_wish, n->count + 1));
    for (const struct yaml_node *i = n->first; w->tokens && i; i = i->next)
        read_token(d, i, &w->tokens[w->ntokens++]);
}

void reader_tokenizer(struct reader *d, const struct yaml_node *source,
                      const struct yaml_node *block, struct tokenizer_wish *w)
{
    static const char *const keys[] = {"source", "tokens", "pad_to_multiple_of"};
    if (source) {
        w->given = true;
        read_source(d, source, "tokenizer_source", w);
    }
    if (!block)
        return;
    w->given = true;
    if (block->kind != YAML_IS_MAP) {
        reader_wrong(d, block, QUERN_EUSAGE, "recipe",
                     "tokenizer is %s" WANT "expected a map with source and tokens",
                     node_kind(block));
        return;
    }
    for (const struct yaml_node *i = block->first; i; i = i->next) {
        uint64_t pad = 0;
        if (str_is(i->key, "source"))
            read_source(d, i, "the source of the tokenizer", w);
        else if (str_is(i->key, "tokens"))
            read_tokens(d, i, w);
        else if (!str_is(i->key, "pad_to_multiple_of"))
            reader_unknown_key(d, i, "tokenizer", keys, sizeof keys / sizeof *keys);
        else if (!yaml_is_null(i) && (!whole_number(i, MAX_PAD, &pad) || pad == 0))
            reader_wrong(d, i, QUERN_EUSAGE, "recipe",
                         "pad_to_multiple_of is no whole number from 1 to %u", MAX_PAD);
        else
            w->pad = (uint32_t)pad;
    }
}
