/* safe_text.h - foreign text without power over a terminal, beyond what quoted() does. */
#ifndef QUERN_SAFE_TEXT_H
#define QUERN_SAFE_TEXT_H

#include "str.h"

/* Length of the character at this place, 1 where there is no UTF-8. *acts is its code point when it
 * acts on a terminal, or changes how text looks without being seen; U+FFFD for no UTF-8. */
#define PLAIN_CHARACTER UINT32_MAX
size_t next_character(struct str s, size_t at, uint32_t *acts);
/* Such characters become question marks: for text that should have been quoted before. */
void defuse(char *text);
/* The first bytes of a text that may be long, at most so many, without the half of a character. */
size_t str_fit(const char *text, size_t most);

#endif
