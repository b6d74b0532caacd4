/* pattern.h - regular expressions as llama-quantize takes them: ECMAScript, searched, on bytes. */
#ifndef QUERN_PATTERN_H
#define QUERN_PATTERN_H

#include "error.h"

struct pattern;

/* EUSAGE with the position when text is no valid expression. Freed with pattern_free(). */
enum quern_status pattern_new(struct str text, struct pattern **out, struct quern_error *err);
/* Is there a match anywhere in s? EUSAGE "pattern" when the match limit is reached. */
enum quern_status pattern_search(const struct pattern *p, struct str s, bool *found,
                                 struct quern_error *err);
void pattern_free(struct pattern *p);

#endif
