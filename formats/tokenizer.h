/* tokenizer.h - the vocabulary of a tokenizer.json: tokens, ids, scores, merges.
 *
 * Reads what the Hugging Face tokenizers library writes for its models BPE, Unigram, WordPiece and
 * WordLevel. It knows which strings have which ids; it does not split text. Held afterwards: per
 * token 40 bytes, its text, and at most 32 bytes of index; merges only when asked for. While
 * reading, the file's text comes on top. */
#ifndef QUERN_TOKENIZER_H
#define QUERN_TOKENIZER_H

#include "core/arena.h"
#include "core/error.h"
#include "core/hash.h"
#include "formats/model.h"

#define TOKENIZER_MAX_BYTES (UINT64_C(1) << 29)
#define TOKENIZER_MAX_IDS   (1u << 24)

enum tokenizer_kind {
    TOKENIZER_BPE,
    TOKENIZER_UNIGRAM,
    TOKENIZER_WORDPIECE,
    TOKENIZER_WORDLEVEL,
};

enum token_flags {
    TOKEN_IN_MODEL = 1, /* in model.vocab */
    TOKEN_ADDED = 2,    /* in added_tokens, with the flags below; may be both */
    TOKEN_SPECIAL = 4,
    TOKEN_LSTRIP = 8,
    TOKEN_RSTRIP = 16,
    TOKEN_SINGLE_WORD = 32,
    TOKEN_NORMALIZED = 64,
};
/* What an added token says about itself. */
#define TOKEN_DEFINITION                                                             \
    (TOKEN_ADDED | TOKEN_SPECIAL | TOKEN_LSTRIP | TOKEN_RSTRIP | TOKEN_SINGLE_WORD | \
     TOKEN_NORMALIZED)

struct token {
    struct str text; /* NUL-terminated in memory; byte-level BPE writes bytes as letters */
    double score;    /* of a Unigram model, else 0 */
    uint32_t id;
    uint32_t at; /* offset in the file */
    uint8_t flags;
};

/* Two tokens that a BPE model joins; earlier ones first. */
struct token_merge {
    struct str left, right;
};

/* Bytes [from, to) of the file. Both 0: not there. */
struct span {
    uint64_t from, to;
};

struct tokenizer {
    struct arena arena;
    const char *path;
    enum tokenizer_kind kind;
    struct token *tokens; /* by id; no two have the same id or text */
    uint32_t ntokens;
    uint32_t end_id; /* largest id + 1 */
    struct name_table index;
    struct token_merge *merges; /* when they were asked for */
    uint32_t nmerges;           /* counted in any case */
    bool byte_fallback, ignore_merges;
    struct str unk_token; /* BPE, WordPiece, WordLevel */
    bool has_unk_id;      /* Unigram */
    uint64_t unk_id;
    struct span vocab, merge_list, added; /* the values of these keys in the file */
    /* JSON texts of what splits and joins text, as written; empty when absent. */
    struct str normalizer, pre_tokenizer, post_processor, decoder;
    bool is_plain; /* a BPE model without prefixes, suffixes and dropout, as all known ones are */
    bool fuse_unk;
    uint64_t max_word_chars; /* WordPiece: a longer word is unknown */
    struct str word_prefix;  /* WordPiece: of what continues a word */
};

/* Errors: EFORMAT with file and offset, EUNSUPPORTED (a model of another kind), EIO, EMEMORY. Free
 * with tokenizer_close() whatever comes back. */
enum quern_status tokenizer_read(const char *path, bool want_merges, struct tokenizer *t,
                                 struct quern_error *err);
/* The same from a text, which is changed. path is for messages. */
enum quern_status tokenizer_parse(struct str text, const char *path, bool want_merges,
                                  struct tokenizer *t, struct quern_error *err);
/* The tokens of a GGUF model's keys, all as if they stood in model.vocab; control and user-defined
 * ones are added tokens too. EUNSUPPORTED when it has none. */
enum quern_status tokenizer_of_gguf(const struct model *m, struct tokenizer *t,
                                    struct quern_error *err);
/* Of tokens that are known. */
enum quern_status tokenizer_of_tokens(const struct token *tokens, uint32_t ntokens,
                                      enum tokenizer_kind kind, struct tokenizer *t,
                                      struct quern_error *err);
void tokenizer_close(struct tokenizer *t);

/* NULL when there is none. */
const struct token *token_by_text(const struct tokenizer *t, struct str text);
const struct token *token_by_id(const struct tokenizer *t, uint64_t id);

/* Memory held. */
size_t tokenizer_bytes(const struct tokenizer *t);

const char *tokenizer_kind_name(enum tokenizer_kind kind);

#endif
