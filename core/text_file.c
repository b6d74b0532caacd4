/* text_file.c - a stream into memory whose errors stay. */
#include "text_file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

static ssize_t add(void *cookie, const char *bytes, size_t nbytes)
{
    struct text_file *t = cookie;
    const size_t need = t->n + nbytes + 1;
    if (need > t->capacity) {
        const size_t capacity = need * 2;
        char *text = realloc(t->text, capacity);
        if (!text)
            return 0; /* an error of the stream, which keeps it */
        t->text = text;
        t->capacity = capacity;
    }
    memcpy(t->text + t->n, bytes, nbytes);
    t->n += nbytes;
    t->text[t->n] = '\0';
    return (ssize_t)nbytes;
}

bool text_file_begin(struct text_file *t)
{
    *t = (struct text_file){0};
    t->f = fopencookie(t, "w", (cookie_io_functions_t){.write = add});
    return t->f != NULL;
}

char *text_file_end(struct text_file *t, size_t *n)
{
    const bool lost = fflush(t->f) != 0 || ferror(t->f);
    fclose(t->f);
    if (lost || !t->text) {
        free(t->text);
        return NULL;
    }
    *n = t->n;
    return t->text;
}
