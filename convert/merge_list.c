/* merge_list.c - collect merges. */
#include "convert/merge_list.h"

#include <stdlib.h>

#include "convert/tokenizer_config.h"
#include "core/io.h"

#define MAX_MERGES_BYTES (UINT64_C(1) << 28)

/* A space inside of a part is written as the letter for it. */
static char *copy_part(char *to, struct str part)
{
    for (size_t i = 0; i < part.n; i++) {
        if (part.p[i] == ' ') {
            *to++ = '\xC4';
            *to++ = '\xA0';
        } else {
            *to++ = part.p[i];
        }
    }
    return to;
}

static size_t part_bytes(struct str part)
{
    size_t n = part.n;
    for (size_t i = 0; i < part.n; i++)
        n += part.p[i] == ' ';
    return n;
}

static enum quern_status from_tokenizer(struct merge_list *l, const struct tokenizer *t,
                                        struct quern_error *err)
{
    l->texts = malloc(t->nmerges * sizeof *l->texts);
    if (!l->texts)
        return fail_memory(err, t->nmerges * sizeof *l->texts);
    for (uint32_t i = 0; i < t->nmerges; i++) {
        const struct token_merge *m = &t->merges[i];
        const size_t n = part_bytes(m->left) + 1 + part_bytes(m->right);
        char *text = arena_alloc(&l->arena, n);
        if (!text)
            return fail_memory(err, n);
        char *to = copy_part(text, m->left);
        *to++ = ' ';
        copy_part(to, m->right);
        l->texts[l->n++] = (struct str){text, n};
    }
    return QUERN_OK;
}

/* ---- merges.txt ----------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The next word of a line, empty at its end. */
static struct str next_word(const char **at, const char *end)
{
    while (*at < end && is_blank(**at))
        ++*at;
    const char *from = *at;
    while (*at < end && !is_blank(**at))
        ++*at;
    return (struct str){from, (size_t)(*at - from)};
}

/* A line of two words is a merge; other ones are passed over. */
static bool keep_line(struct merge_list *l, const char *line, const char *end)
{
    const struct str left = next_word(&line, end), right = next_word(&line, end);
    if (right.n == 0 || next_word(&line, end).n)
        return true;
    /* Any bytes but blanks, U+0000 too. */
    char *text = arena_alloc(&l->arena, left.n + 1 + right.n);
    if (!text)
        return false;
    memcpy(text, left.p, left.n);
    text[left.n] = ' ';
    memcpy(text + left.n + 1, right.p, right.n);
    l->texts[l->n++] = (struct str){text, left.n + 1 + right.n};
    return true;
}

static enum quern_status keep_lines(struct merge_list *l, struct str text, struct quern_error *err)
{
    uint32_t nlines = 1;
    size_t bad;
    if (!utf8_valid(text, &bad))
        return at_offset(err, bad, fail(err, QUERN_EFORMAT, "utf8", "it is no UTF-8"));
    for (size_t i = 0; i < text.n; i++)
        nlines += text.p[i] == '\n';
    l->texts = malloc(nlines * sizeof *l->texts);
    if (!l->texts)
        return fail_memory(err, nlines * sizeof *l->texts);
    const char *at = text.p, *const end = text.p + text.n;
    for (bool first = true; at < end; first = false) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        line_end = line_end ? line_end : end;
        const bool comment = first && str_starts((struct str){at, (size_t)(line_end - at)}, "#");
        if (!comment && !keep_line(l, at, line_end))
            return fail_memory(err, (size_t)(line_end - at));
        at = line_end + 1;
    }
    return QUERN_OK;
}

static enum quern_status from_file(struct merge_list *l, const struct folder *f,
                                   struct quern_error *err)
{
    struct arena scratch = {0};
    struct str text = {0};
    struct folder_file file;
    bool found;
    enum quern_status s = folder_find(f, "merges.txt", &scratch, &found, &file, err);
    if (s == QUERN_OK && found)
        s = folder_read(&file, MAX_MERGES_BYTES, &scratch, &text, err);
    if (s == QUERN_OK && found) {
        l->from_file = true;
        s = in_file(err, file.path, keep_lines(l, text, err));
    }
    arena_free(&scratch);
    return s;
}

enum quern_status merge_list_read(struct merge_list *l, const struct folder *f,
                                  const struct tokenizer *t, struct quern_error *err)
{
    *l = (struct merge_list){0};
    if (t && t->nmerges && t->merges)
        return from_tokenizer(l, t, err);
    return from_file(l, f, err);
}

void merge_list_close(struct merge_list *l)
{
    free(l->texts);
    arena_free(&l->arena);
    *l = (struct merge_list){0};
}
