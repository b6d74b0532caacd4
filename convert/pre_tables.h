/* pre_tables.h - data for naming the way in which a tokenizer splits text.
 *
 * llama.cpp knows a tokenizer by the ids it gives to one fixed text. */
#ifndef QUERN_PRE_TABLES_H
#define QUERN_PRE_TABLES_H

#include "core/str.h"

extern const char check_text[];
/* The same after a BERT normalizer: [lowercase][strip_accents]. */
extern const char *const check_text_bert[2][2];

/* Words of the text under one set of patterns: what splits alike goes by one name. */
struct known_split {
    const char *name;
    size_t nwords;
    const uint8_t *lengths;
};
extern const struct known_split known_splits[];
extern const size_t nknown_splits;

struct known_hash {
    const char *sha256;
    const char *name;
};
extern const struct known_hash known_hashes[];
extern const size_t nknown_hashes;

#endif
