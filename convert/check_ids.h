/* check_ids.h - the ids that a tokenizer gives to one fixed, short text. */
#ifndef QUERN_CHECK_IDS_H
#define QUERN_CHECK_IDS_H

#include "convert/pretokenizer.h"
#include "formats/tokenizer.h"

/* A text of 431 bytes has no more, whatever is put around it. */
#define MAX_CHECK_IDS 2048

struct check_ids {
    uint32_t ids[MAX_CHECK_IDS];
    size_t n;
};

/* How a model of byte pairs finds its merges: by "left right". */
struct merge_index {
    const struct str *texts;
    uint32_t n;
    uint32_t *ranks; /* of equal merges the last one counts */
    struct name_table table;
};
enum quern_status merge_index_make(struct merge_index *m, const struct str *texts, uint32_t n,
                                   struct quern_error *err);
void merge_index_free(struct merge_index *m);

/* Encodes the check text, without what the post_processor adds. *known is false when the tokenizer
 * does something that is not known here. merges is NULL for other models than BPE. */
enum quern_status check_ids_encode(const struct tokenizer *t, const struct pretokenizer *p,
                                   const struct merge_index *merges, struct check_ids *out,
                                   bool *known, struct quern_error *err);

#endif
