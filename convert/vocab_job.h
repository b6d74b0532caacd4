/* vocab_job.h - what the makers of tokenizer keys share. */
#ifndef QUERN_VOCAB_JOB_H
#define QUERN_VOCAB_JOB_H

#include "convert/special_ids.h"
#include "convert/token_list.h"
#include "convert/vocab.h"

/* A special token that an architecture has whatever the files say. */
struct named_id {
    enum special which;
    const char *text;
};

struct vocab_job {
    const struct vocab_ask *ask;
    struct plan *plan;
    struct meta_list *metas;
    struct quern_error *err;
    struct arena arena; /* for planning only */
    struct tokenizer_config tc;
    struct tokenizer tokenizer;
    const struct tokenizer *t;    /* of tokenizer.json or older files, NULL when there is none */
    const struct tokenizer *json; /* only of tokenizer.json: what special tokens come from */
    bool *special;                /* for each token of t: it is named as a special one */
    struct token_list list;
    const struct named_id *extra; /* for tokenizer.json only */
    size_t nextra;
    uint64_t ntokens; /* out */
};

/* vocab_size of the configuration, or otherwise. */
uint64_t job_vocab_size(const struct vocab_job *j, uint64_t otherwise);

/* Memory ran out while a key was set. */
enum quern_status job_put(const struct vocab_job *j, bool ok);

/* tokenizer.ggml.model, .pre (NULL: none) and the list. */
enum quern_status job_put_list(struct vocab_job *j, const char *model, const char *pre,
                               bool scores);

/* Special ids, flags, template; limit as in special_ids_find(). */
enum quern_status job_put_special(struct vocab_job *j, uint64_t limit);

/* A special token by name, in tokenizer_config.json or by the defaults of its class. token is one
 * of j->t. */
bool job_is_special(const struct vocab_job *j, const struct token *token);

/* {"text": id, ...} of added_tokens.json, in the order of the file; none when it is not there. */
struct added_entry {
    struct str text;
    uint64_t id;
};
enum quern_status job_added_tokens(struct vocab_job *j, struct added_entry **entries, uint32_t *n);

/* ---- the families: each writes all its keys but the extras of an architecture -------------- */

/* SentencePiece's tokenizer.model as a LLaMA model. */
enum spm_rules {
    SPM_LOOKS = 1,     /* added tokens that look special are control tokens; others get spaces */
    SPM_JSON_TOO = 2,  /* added_tokens of tokenizer.json come on top */
    SPM_INTERNLM2 = 4, /* its odd pieces, its end of turns */
    SPM_INTERNLM3 = 8, /* its end of turns */
};
enum quern_status vocab_spm(struct vocab_job *j, const struct folder_file *file, unsigned rules);
/* T5's: Unigram, or a LLaMA model when it is of byte pairs. */
enum quern_status vocab_t5(struct vocab_job *j, const struct folder_file *file);
/* XLM-RoBERTa's: sentencepiece.bpe.model, file NULL for tokenizer.json. */
enum quern_status vocab_xlmr(struct vocab_job *j, const struct folder_file *file);
/* Byte pairs over bytes, and WordPiece. */
enum quern_status vocab_bpe(struct vocab_job *j);
enum quern_status vocab_wordpiece(struct vocab_job *j);
/* A tokenizer.json that imitates SentencePiece. */
bool vocab_is_llama_hf(const struct vocab_job *j);
enum quern_status vocab_llama_hf(struct vocab_job *j);
enum quern_status vocab_tekken(struct vocab_job *j, const struct folder_file *file);
enum quern_status vocab_rwkv(struct vocab_job *j, const struct folder_file *file);

#endif
