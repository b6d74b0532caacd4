/* script_text.c - quote words for shells, Ninja and YAML. */
#include "script_text.h"

void script_word(FILE *f, const char *word)
{
    fputc('\'', f);
    for (; *word; word++)
        if (*word == '\'')
            fputs("'\\''", f);
        else
            fputc(*word, f);
    fputc('\'', f);
}

void script_ninja(FILE *f, const char *text, bool path)
{
    for (; *text; text++) {
        if (*text == '$' || (path && (*text == ' ' || *text == ':')))
            fputc('$', f);
        fputc(*text, f);
    }
}

void script_yaml(FILE *f, const char *text)
{
    fputc('"', f);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', f);
        fputc(*text, f);
    }
    fputc('"', f);
}
