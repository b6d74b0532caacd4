/* pre_name.h - tokenizer.ggml.pre: the name of the way in which a tokenizer splits text. */
#ifndef QUERN_PRE_NAME_H
#define QUERN_PRE_NAME_H

#include "convert/tokenizer_config.h"
#include "formats/tokenizer.h"

enum pre_source {
    PRE_KNOWN,   /* its ids of the check text are those of a known tokenizer */
    PRE_ALIKE,   /* it splits the check text like a known one, and has another vocabulary */
    PRE_UNKNOWN, /* neither */
};

/* merges: "left right" of a BPE model. name is a constant, NULL when unknown. */
enum quern_status pre_name_find(const struct tokenizer *t, const struct tokenizer_config *tc,
                                const struct str *merges, uint32_t nmerges, const char **name,
                                enum pre_source *source, struct quern_error *err);

#endif
