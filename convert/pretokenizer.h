/* pretokenizer.h - split a short text into words as the pre_tokenizer of a tokenizer.json does.
 *
 * Only what tells tokenizers apart is needed here: one fixed text is split, so nothing in this file
 * is made for speed. */
#ifndef QUERN_PRETOKENIZER_H
#define QUERN_PRETOKENIZER_H

#include "convert/pieces.h"
#include "core/json.h"
#include "core/pattern.h"

#define MAX_SPLIT_STEPS 32

enum split_behavior {
    SPLIT_REMOVED,
    SPLIT_ISOLATED,
    SPLIT_MERGED_WITH_PREVIOUS,
    SPLIT_MERGED_WITH_NEXT,
    SPLIT_CONTIGUOUS,
};

enum step_kind { STEP_SPLIT, STEP_SPACE, STEP_LETTERS };

/* A step either puts a space in front, or replaces bytes by letters, or splits at matches. */
struct split_step {
    enum step_kind kind;
    enum split_behavior behavior;
    bool invert;
    struct pattern *pattern; /* owned */
};

struct pretokenizer {
    struct split_step steps[MAX_SPLIT_STEPS];
    size_t nsteps;
    bool letters; /* it ends with bytes as letters: byte-level */
};

/* text is JSON, empty for none. *known is false when it does what is not known here. Free with
 * pretokenizer_close() whatever comes back. */
enum quern_status pretokenizer_read(struct str text, struct pretokenizer *p, bool *known,
                                    struct quern_error *err);
void pretokenizer_close(struct pretokenizer *p);

/* Splits UTF-8 text; the words are in out->arena. */
enum quern_status pretokenizer_split(const struct pretokenizer *p, struct str text,
                                     struct pieces *out, struct quern_error *err);

#endif
