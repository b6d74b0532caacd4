/* token_decoder.h - the text that a single token becomes when it is decoded. */
#ifndef QUERN_TOKEN_DECODER_H
#define QUERN_TOKEN_DECODER_H

#include "core/json.h"
#include "formats/tokenizer.h"

struct token_decoder {
    struct json *root; /* owned; NULL: tokens stay as they are */
};

/* Free with token_decoder_close() whatever comes back. */
enum quern_status token_decoder_read(struct token_decoder *d, const struct tokenizer *t,
                                     struct quern_error *err);
void token_decoder_close(struct token_decoder *d);

/* *text becomes what it decodes to; new texts are in the arena. */
enum quern_status token_decode(const struct token_decoder *d, struct arena *arena, struct str *text,
                               struct quern_error *err);

#endif
