/* vocab.h - the tokenizer of a Hugging Face directory as tokenizer.* keys of a GGUF. */
#ifndef QUERN_VOCAB_H
#define QUERN_VOCAB_H

#include "hf_config.h"
#include "pipeline/plan.h"

struct vocab_ask {
    const struct hf_config *config;
    const char *arch;   /* general.architecture: "llama" */
    struct str hf_arch; /* the class that config.json names: "LlamaForCausalLM" */
    const char *pre;    /* --pre NAME, or NULL */
    uint64_t nrows;     /* of the token embedding; 0 when the model has none */
};

/* Appends the tokenizer.* keys to metas, in the order they go into the file, and adds notes to the
 * plan. *ntokens gets the number of tokens written. A directory without any tokenizer is
 * EUNSUPPORTED "no-tokenizer". */
enum quern_status vocab_keys(const struct vocab_ask *ask, struct plan *plan,
                             struct meta_list *metas, uint64_t *ntokens, struct quern_error *err);

#endif
