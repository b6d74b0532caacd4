/* slow_tokenizer.h - a tokenizer put together from the files that were there before tokenizer.json:
 * vocab.txt (WordPiece), vocab.json with merges.txt (byte pairs). */
#ifndef QUERN_SLOW_TOKENIZER_H
#define QUERN_SLOW_TOKENIZER_H

#include "convert/tokenizer_config.h"
#include "formats/tokenizer.h"
#include "pipeline/folder.h"

/* *found is false when the directory has none of them. Free t with tokenizer_close() whatever comes
 * back. */
enum quern_status slow_tokenizer_read(const struct folder *f, const struct tokenizer_config *tc,
                                      struct tokenizer *t, bool *found, struct quern_error *err);

#endif
