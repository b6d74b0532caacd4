/* token_list.h - the tokens of a GGUF by id: text, score, type. */
#ifndef QUERN_TOKEN_LIST_H
#define QUERN_TOKEN_LIST_H

#include "formats/gguf.h"

/* As the file numbers them. */
enum token_type {
    TYPE_NORMAL = 1,
    TYPE_UNKNOWN = 2,
    TYPE_CONTROL = 3,
    TYPE_USER_DEFINED = 4,
    TYPE_UNUSED = 5,
    TYPE_BYTE = 6,
};

#define MAX_LISTED_TOKENS (1u << 22)
#define MAX_PADDING       (1u << 18)

/* Scores where a tokenizer has none of its own. */
#define SCORE_ADDED   (-1000.0f)
#define SCORE_PADDING (-10000.0f)

struct listed_token {
    struct str text;
    float score;
    uint8_t type;
};

/* Texts are borrowed. */
struct token_list {
    struct arena *arena; /* for what the list makes itself */
    struct listed_token *items;
    uint32_t n;
};

/* n tokens "[PAD0]", "[PAD1]" ..., unused, to be filled in. known: how many the tokenizer has.
 * EUNSUPPORTED "vocab" when nearly all of them would be padding: a number in a file is no reason to
 * take that much memory. */
enum quern_status token_list_init(struct token_list *l, struct arena *arena, uint64_t n,
                                  uint64_t known, struct quern_error *err);

/* Writes tokenizer.ggml.tokens, .scores (when asked for) and .token_type. */
bool token_list_put(const struct token_list *l, bool scores, struct meta_list *metas);

/* Some models do not mark all their control tokens as special: by their looks they are. */
bool token_looks_special(struct str text);
/* "<0x0A>" stands for a byte. */
bool token_is_byte(struct str text);
/* U+2581 becomes a space. A NULL .p: memory ran out. */
struct str token_with_spaces(struct arena *arena, struct str text);

/* A byte as the letter that byte-level BPE writes for it; at most two bytes. Returns the length. */
size_t byte_letter(uint8_t byte, char out[2]);
/* The byte that a letter stands for; false for other characters. *n gets the letter's length. */
bool letter_byte(struct str text, uint8_t *byte, size_t *n);

#endif
