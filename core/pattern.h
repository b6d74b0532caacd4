/* pattern.h - regular expressions: as llama-quantize takes them (ECMAScript, on bytes), and as
 * tokenizers have them (Unicode classes, on UTF-8). */
#ifndef QUERN_PATTERN_H
#define QUERN_PATTERN_H

#include "error.h"

struct pattern;

/* EUSAGE with the position when text is no valid expression. Freed with pattern_free(). */
enum quern_status pattern_new(struct str text, struct pattern **out, struct quern_error *err);
/* Is there a match anywhere in s? EUSAGE "pattern" when the match limit is reached. */
enum quern_status pattern_search(const struct pattern *p, struct str s, bool *found,
                                 struct quern_error *err);

/* The same for a tokenizer's expression, in the dialect of Oniguruma that tokenizer.json files use.
 * EUNSUPPORTED when it is none that we know. */
enum quern_status pattern_new_unicode(struct str text, struct pattern **out,
                                      struct quern_error *err);
/* The first match in s, valid UTF-8, at or behind from: bytes [*start, *end); both s.n when there
 * is none. */
enum quern_status pattern_next(const struct pattern *p, struct str s, size_t from, size_t *start,
                               size_t *end, struct quern_error *err);
void pattern_free(struct pattern *p);

#endif
