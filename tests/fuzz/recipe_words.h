/* recipe_words.h - what recipes are made of, worth putting into inputs; ends with NULL. */
#ifndef QUERN_RECIPE_WORDS_H
#define QUERN_RECIPE_WORDS_H

extern const char *const recipe_words[];

#endif
