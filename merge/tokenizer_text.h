/* tokenizer_text.h - the tokenizer.json of a merged vocabulary. */
#ifndef QUERN_TOKENIZER_TEXT_H
#define QUERN_TOKENIZER_TEXT_H

#include "merge/vocabulary.h"

/* The text of the file at path with the tokens of v in the place of its own: vocabulary, merges and
 * added tokens change, all else stays. No merge is added, and pieces of a Unigram model get a score
 * that never wins, so that text is split as before. *out is the arena's. EUNSUPPORTED when a
 * Unigram model's ids would have gaps. */
enum quern_status tokenizer_text(const char *path, const struct vocabulary *v, struct arena *arena,
                                 struct str *out, struct quern_error *err);

/* {"id": {"content": ..., "special": ...}, ...} of all added tokens: what tokenizer_config.json
 * calls added_tokens_decoder. */
enum quern_status added_tokens_text(const struct vocabulary *v, struct arena *arena,
                                    struct str *out, struct quern_error *err);

#endif
