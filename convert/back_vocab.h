/* back_vocab.h - the vocabulary of a GGUF, for those who write tokenizer files of it. */
#ifndef QUERN_BACK_VOCAB_H
#define QUERN_BACK_VOCAB_H

#include "back_class.h"
#include "token_list.h"

struct back_vocab {
    struct back *b;
    struct hf_form *out;
    struct arena arena; /* freed when the files are written */
    struct listed_token *items;
    uint32_t n;
    /* Tokens from here on are in no model: added ones, then those that only fill up. */
    uint32_t nmodel, nadded_end;
    struct str model, pre; /* tokenizer.ggml.model, .pre */
    bool add_bos, add_eos, add_space_prefix;
};

/* A file of the result; the text is copied. */
enum quern_status back_add_text(struct back_vocab *v, const char *name, struct str text,
                                struct quern_error *err);
/* The token that a key names; false when there is none. */
bool back_token(const struct back_vocab *v, const char *key, uint32_t *id);

/* What tokenizer.json begins with: versions and added tokens. Then its post_processor. */
void back_json_begin(const struct back_vocab *v, struct json_writer *w);
void back_json_post(const struct back_vocab *v, struct json_writer *w, bool byte_level);
/* "vocab": {...} of the model. */
void back_json_vocab(const struct back_vocab *v, struct json_writer *w);
enum quern_status back_json_end(struct back_vocab *v, struct json_writer *w,
                                struct quern_error *err);

/* ---- back_pre.c */
/* How text is split before byte pairs are merged. */
struct back_pre {
    const char *names;                      /* of tokenizer.ggml.pre, blank between them */
    const char *normalizer, *pre_tokenizer; /* JSON */
    bool ignore_merges; /* a word that is a token is one, whatever the merges give */
    bool add_bos;       /* when no key says */
};
/* NULL when it is not known. */
const struct back_pre *back_pre_find(struct str name);
extern const struct back_pre back_pres[]; /* ends with NULL names */

/* ---- back_bpe.c, back_spm.c */
enum quern_status back_bpe_files(struct back_vocab *v, const struct back_pre *pre,
                                 struct quern_error *err);
enum quern_status back_spm_files(struct back_vocab *v, struct quern_error *err);
enum quern_status back_wordpiece_files(struct back_vocab *v, struct quern_error *err);

#endif
