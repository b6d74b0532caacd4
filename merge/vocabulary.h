/* vocabulary.h - the vocabulary of a merged model, and which rows of the inputs its tokens have.
 *
 * Built from tokenizers and numbers alone; vocab_align.h knows about tensors and files. */
#ifndef QUERN_VOCABULARY_H
#define QUERN_VOCABULARY_H

#include "formats/tokenizer.h"
#include "merge/mistakes.h"
#include "merge/recipe.h"

#define NO_ROW UINT32_MAX

/* A model as far as its vocabulary is concerned. */
struct vocab_input {
    const struct tokenizer *tokenizer;
    uint64_t nrows;     /* of its embedding: tokens from here on are not had by it */
    struct quoted name; /* in messages */
};

/* What the vocabulary is to be. */
struct vocab_wish {
    const struct tokenizer_wish *recipe;
    const struct vocab_input *inputs;
    unsigned ninputs;
    unsigned first; /* the base, or the first model */
    bool has_base;
    unsigned source;                 /* the model whose tokenizer is taken, or ... */
    const struct tokenizer *foreign; /* ... that of a model that is not merged; else NULL */
    const unsigned *token_models;    /* that the recipe's tokens name */
    const char *recipe_path;
};

/* What a model without a row for a token gets. */
enum row_origin {
    ROW_OF_MODEL, /* row `row` of model `model` */
    ROW_ZERO,
    ROW_MEAN, /* of the rows of all models that have the token */
};
struct default_row {
    uint32_t row;
    uint8_t model;
    uint8_t origin; /* enum row_origin */
    bool forced;    /* models that have the token get this row too */
};

/* Rows [0, ntokens) belong to tokens or to ids that no token has, rows [ntokens, nkept) have no
 * token but are kept from models that have them, rows [nkept, nrows) are the mean of the first
 * ntokens. 4 bytes per row and model and 8 per row, the arena's. */
struct row_map {
    uint32_t ntokens, nkept, nrows;
    unsigned nmodels;
    const uint32_t *own[MAX_SOURCES];   /* [nkept]: the model's row, or NO_ROW */
    const struct default_row *defaults; /* [nkept] */
};

/* Tokens of the result by id. Texts are the tokenizers'. */
struct vocabulary {
    struct token *tokens; /* malloc'ed, as is the index */
    uint32_t ntokens, capacity;
    uint32_t end_id;
    enum tokenizer_kind kind; /* the source's */
    struct name_table index;
    uint32_t nstripped;  /* tokens of the source that have no row and are left out */
    uint32_t nnew;       /* tokens that the source did not have */
    uint32_t nredefined; /* tokens of the source that became added tokens */
};

/* The tokens. Free with vocabulary_free() whatever comes back. EUSAGE when there are too
 * many, EMEMORY. */
enum quern_status vocabulary_build(const struct vocab_wish *w, struct vocabulary *v,
                                   struct quern_error *err);
void vocabulary_free(struct vocabulary *v);
/* NULL when there is none of this text. */
const struct token *vocabulary_find(const struct vocabulary *v, struct str text);

/* What was noticed while rows were looked up; counts per model, one arena array each. */
struct row_notes {
    uint32_t beyond[MAX_SOURCES];  /* tokens whose id is beyond the model's embedding */
    uint32_t unused[MAX_SOURCES];  /* tokens of the model that the result does not have */
    uint32_t dropped[MAX_SOURCES]; /* rows without a token beyond the end of the result */
    uint32_t nzero;                /* tokens that no model has */
    struct str zero;               /* the first of them */
};

/* The rows. What is wrong with the recipe's tokens goes into m. EMEMORY; EUSAGE when there are too
 * many rows. */
enum quern_status vocabulary_rows(const struct vocab_wish *w, const struct vocabulary *v,
                                  struct arena *arena, struct row_map *out, struct row_notes *notes,
                                  struct mistakes *m, struct quern_error *err);

/* Row r of the result is row r of the model for all its nrows rows: nothing changes for it. */
bool row_map_is_identity(const struct row_map *map, unsigned model, uint64_t nrows);

#endif
