/* prompt.h - turn a short text into the ids of its tokens, as the Hugging Face tokenizers library
 * does.
 *
 * For BPE tokenizers (tokenizer.json), byte-level or with a sign for blanks. What the file asks for
 * and is not known here is EUNSUPPORTED, never a guess. */
#ifndef QUERN_PROMPT_H
#define QUERN_PROMPT_H

#include "formats/tokenizer.h"

#define PROMPT_MAX_BYTES (1u << 16)

/* Grows by prompt_encode(); the arena's. All zero is a valid empty list. */
struct token_list {
    uint32_t *ids;
    uint32_t count, capacity;
};

struct prompt_encoder;

/* Free with prompt_close() whatever comes back; *out may be NULL then. */
enum quern_status prompt_open(const char *tokenizer_json, struct prompt_encoder **out,
                              struct quern_error *err);
/* Adds the tokens of text, without those that a template would add. EUSAGE when it is too long. */
enum quern_status prompt_encode(struct prompt_encoder *e, struct str text, struct arena *arena,
                                struct token_list *out, struct quern_error *err);
void prompt_close(struct prompt_encoder *e);

/* ---- for formats/prompt*.c only -------------------------------------------------------------- */

/* The merges of a BPE model by the pair they join. */
struct bpe {
    const struct tokenizer *t;
    struct str *pairs; /* left, 0xFF, right; by rank */
    struct name_table index;
    bool fuse_unk;
};

enum quern_status bpe_open(const struct tokenizer *t, struct arena *arena, struct bpe *b,
                           struct quern_error *err);
/* Adds the tokens of one word. scratch is let go of by the caller. */
enum quern_status bpe_encode(const struct bpe *b, struct str word, struct arena *scratch,
                             struct arena *arena, struct token_list *out, struct quern_error *err);
void bpe_close(struct bpe *b);

enum quern_status token_list_add(struct token_list *l, struct arena *arena, uint32_t id,
                                 struct quern_error *err);
/* Bytes of the UTF-8 character that begins with this byte. */
size_t utf8_length(char first);

#endif
