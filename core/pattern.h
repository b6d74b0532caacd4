/* pattern.h - regular expressions: ECMAScript on bytes, as llama-quantize takes them, and Ruby's on
 * Unicode text, as tokenizers are written. */
#ifndef QUERN_PATTERN_H
#define QUERN_PATTERN_H

#include "error.h"

struct pattern;

/* EUSAGE with the position when text is no valid expression. Freed with pattern_free(). */
enum quern_status pattern_new(struct str text, struct pattern **out, struct quern_error *err);
/* Is there a match anywhere in s? EUSAGE "pattern" when the match limit is reached. */
enum quern_status pattern_search(const struct pattern *p, struct str s, bool *found,
                                 struct quern_error *err);
/* For UTF-8 texts, in the dialect of Oniguruma that tokenizer.json files use. EUNSUPPORTED when it
 * uses what has no counterpart here, EUSAGE when it is no valid expression. */
enum quern_status pattern_new_text(struct str text, struct pattern **out, struct quern_error *err);
/* The first match in s at or after from, as bytes [*start, *end). */
enum quern_status pattern_find(const struct pattern *p, struct str s, size_t from, bool *found,
                               size_t *start, size_t *end, struct quern_error *err);
void pattern_free(struct pattern *p);

#endif
