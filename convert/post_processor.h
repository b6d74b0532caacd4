/* post_processor.h - what a tokenizer.json puts around a text, and what that says of its tokens. */
#ifndef QUERN_POST_PROCESSOR_H
#define QUERN_POST_PROCESSOR_H

#include "convert/tokenizer_config.h"
#include "formats/tokenizer.h"

/* The special tokens of tokenizer_config.json with what follows from the post_processor. */
struct special_names {
    struct special_text special[SPECIAL_COUNT];
    unsigned ntypes; /* SPECIAL_EOT, or as many more as the post_processor made room for */
    struct {
        enum special which;
        bool value;
    } adds[3]; /* in order of arrival, no two alike */
    unsigned nadds;
    struct arena arena;
    bool failed; /* memory ran out on the way */
};

/* Free the arena whatever comes back. t may be NULL. */
enum quern_status special_names_read(struct special_names *n, const struct tokenizer_config *tc,
                                     const struct tokenizer *t, struct quern_error *err);

/* Ids before and after a text. */
#define MAX_AROUND 16
struct around {
    uint32_t before[MAX_AROUND], after[MAX_AROUND];
    size_t nbefore, nafter;
};

/* False when the post_processor does something else; then *a is empty. */
enum quern_status post_processor_around(const struct tokenizer *t, struct around *a, bool *known,
                                        struct quern_error *err);

#endif
