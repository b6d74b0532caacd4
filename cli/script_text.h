/* script_text.h - foreign text in the files that schedulers read. */
#ifndef QUERN_SCRIPT_TEXT_H
#define QUERN_SCRIPT_TEXT_H

#include <stdbool.h>
#include <stdio.h>

/* A word as a shell takes it. */
void script_word(FILE *f, const char *word);
/* Text of a ninja file: a path, or what a shell gets. */
void script_ninja(FILE *f, const char *text, bool path);
/* A string of YAML in double quotes. */
void script_yaml(FILE *f, const char *text);

#endif
