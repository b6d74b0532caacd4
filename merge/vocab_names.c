/* vocab_names.c - which tensors have a row for each token. */
#include "merge/vocab_names.h"

static const char *const embedding_names[] = {
    "embed_tokens.weight",   "wte.weight",    "word_embeddings.weight", "embed_in.weight",
    "tok_embeddings.weight", "shared.weight", "token_embd.weight",      "embeddings.weight",
};
static const char *const head_names[] = {
    "lm_head.weight",
    "lm_head.bias",
    "lm_head.decoder.weight",
    "lm_head.decoder.bias",
    "embed_out.weight",
    "output_layer.weight",
    "cls.predictions.bias",
    "cls.predictions.decoder.weight",
    "cls.predictions.decoder.bias",
    "vocab_projector.weight",
    "vocab_projector.bias",
};

/* The whole name, or its last parts. */
static bool ends_with_parts(struct str name, const char *parts)
{
    const size_t n = strlen(parts);
    return str_ends(name, parts) && (name.n == n || name.p[name.n - n - 1] == '.');
}

bool is_embedding(struct str name)
{
    for (size_t i = 0; i < sizeof embedding_names / sizeof *embedding_names; i++)
        if (ends_with_parts(name, embedding_names[i]))
            return true;
    return false;
}

bool is_head(struct str name)
{
    for (size_t i = 0; i < sizeof head_names / sizeof *head_names; i++)
        if (ends_with_parts(name, head_names[i]))
            return true;
    return str_is(name, "output.weight");
}

bool is_vocabulary(struct str name)
{
    return is_head(name) || is_embedding(name);
}
