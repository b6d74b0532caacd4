/* text_file.h - write text with stdio into memory, and know when some of it was lost: a stream of
 * open_memstream() goes on after memory has run out, as if nothing had happened. */
#ifndef QUERN_TEXT_FILE_H
#define QUERN_TEXT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct text_file {
    FILE *f; /* write here */
    char *text;
    size_t n, capacity;
};

/* False when memory ran out. */
bool text_file_begin(struct text_file *t);
/* Closes it. The text with a zero behind it, which the caller frees; NULL when any of it was lost.
 */
char *text_file_end(struct text_file *t, size_t *n);

#endif
