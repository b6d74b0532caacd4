/* vocab_align.h - bring the models of a merge to one vocabulary, and write its tokenizer. */
#ifndef QUERN_VOCAB_ALIGN_H
#define QUERN_VOCAB_ALIGN_H

#include "merge/locate.h"
#include "merge/pairing.h"
#include "merge/vocabulary.h"

struct vocab_job {
    const struct mistake_sink *sink;
    const struct recipe *recipe;
    const struct places *places;
    struct model_set *set; /* its views get new sources for tensors with a row per token */
    struct plan *plan;     /* notes, and what the new sources point to */
    struct arena *scratch; /* of the views */
};

/* What the output has to know. All zero: nothing was asked for. */
struct vocab_result {
    bool given;
    uint32_t nrows;            /* of the embeddings */
    const char *tokenizer_dir; /* where the tokenizer's files lie; NULL in GGUF */
    bool foreign;              /* they are not those of the donor */
    /* The vocabulary is not the one of tokenizer_dir: */
    bool changed;
    struct vocabulary vocabulary;
    struct tokenizer *tokenizers; /* malloc'ed; what the vocabulary's texts belong to */
    unsigned ntokenizers;
};

/* Does nothing when the recipe does not speak of a tokenizer. Free the result with
 * vocab_result_free() whatever comes back. Errors: EUSAGE (recipe, models that do not fit),
 * EUNSUPPORTED (models without tokenizer.json), EFORMAT, EIO, EMEMORY. */
enum quern_status vocab_align(const struct vocab_job *job, struct vocab_result *out,
                              struct quern_error *err);
void vocab_result_free(struct vocab_result *r);

#endif
