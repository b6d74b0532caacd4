/* token_decoder.c - the steps of a tokenizer.json's decoder, for one token. */
#include "convert/token_decoder.h"

#include "convert/token_list.h"

static const char replacement[] = {'\xEF', '\xBF', '\xBD'}; /* U+FFFD */

enum quern_status token_decoder_read(struct token_decoder *d, const struct tokenizer *t,
                                     struct quern_error *err)
{
    *d = (struct token_decoder){0};
    if (t->decoder.n == 0)
        return QUERN_OK;
    return in_file(err, t->path, json_parse(t->decoder, &d->root, err));
}

void token_decoder_close(struct token_decoder *d)
{
    json_free(d->root);
    *d = (struct token_decoder){0};
}

/* Bytes that are no UTF-8 become U+FFFD, one for each run that could have begun a character. */
static struct str valid_text(struct arena *arena, struct str s)
{
    size_t bad, n = 0;
    if (utf8_valid(s, NULL))
        return s;
    char *p = arena_alloc(arena, s.n * 3);
    while (p && s.n) {
        const size_t good = utf8_valid(s, &bad) ? s.n : bad;
        memcpy(p + n, s.p, good);
        n += good;
        s = (struct str){s.p + good, s.n - good};
        if (s.n == 0)
            break;
        memcpy(p + n, replacement, sizeof replacement);
        n += sizeof replacement;
        /* A head with some of its tail is one fault. */
        const unsigned char head = (unsigned char)s.p[0];
        const size_t tail = head >= 0xF0 && head <= 0xF4 ? 2 : head >= 0xE0 && head < 0xF0 ? 1 : 0;
        size_t skip = 1;
        while (skip <= tail && skip < s.n && ((unsigned char)s.p[skip] & 0xC0) == 0x80)
            skip++;
        s = (struct str){s.p + skip, s.n - skip};
    }
    return (struct str){p, n};
}

/* Letters back into bytes; a text with any other character stays as it is. */
static struct str from_letters(struct arena *arena, struct str s)
{
    char *p = arena_alloc(arena, s.n + 1);
    size_t n = 0, len;
    for (size_t at = 0; p && at < s.n; at += len) {
        uint8_t byte;
        if (!letter_byte((struct str){s.p + at, s.n - at}, &byte, &len))
            return s;
        p[n++] = (char)byte;
    }
    return p ? valid_text(arena, (struct str){p, n}) : (struct str){0};
}

static struct str replace(struct arena *arena, struct str s, struct str what, struct str with)
{
    if (what.n == 0 || !memmem(s.p, s.n, what.p, what.n))
        return s;
    char *p = arena_alloc(arena, s.n / what.n * with.n + s.n + 1);
    size_t n = 0;
    for (size_t at = 0; p && at < s.n;) {
        if (s.n - at >= what.n && memcmp(s.p + at, what.p, what.n) == 0) {
            memcpy(p + n, with.p, with.n);
            n += with.n;
            at += what.n;
        } else {
            p[n++] = s.p[at++];
        }
    }
    return (struct str){p, n};
}

static struct str strip(const struct json *v, struct str s)
{
    struct str content;
    uint64_t start = 0, stop = 0;
    (void)json_u64(json_get(v, "start"), &start);
    (void)json_u64(json_get(v, "stop"), &stop);
    if (!json_text(json_get(v, "content"), &content) || content.n == 0)
        return s;
    for (; start && s.n >= content.n && memcmp(s.p, content.p, content.n) == 0; start--)
        s = (struct str){s.p + content.n, s.n - content.n};
    for (; stop && s.n >= content.n && memcmp(s.p + s.n - content.n, content.p, content.n) == 0;
         stop--)
        s.n -= content.n;
    return s;
}

/* A NULL .p: memory ran out. Steps that join several tokens do nothing to one. */
static struct str decode_step(const struct json *v, struct arena *arena, struct str s,
                              unsigned depth)
{
    struct str type, what, with;
    if (!json_text(json_get(v, "type"), &type) || depth > 8)
        return s;
    if (str_is(type, "ByteLevel"))
        return from_letters(arena, s);
    if (str_is(type, "Replace") && json_text(json_get(json_get(v, "pattern"), "String"), &what) &&
        json_text(json_get(v, "content"), &with))
        return replace(arena, s, what, with);
    if (str_is(type, "Strip"))
        return strip(v, s);
    if (!str_is(type, "Sequence"))
        return s;
    for (const struct json *i = json_first(json_get(v, "decoders")); i && s.p; i = json_next(i))
        s = decode_step(i, arena, s, depth + 1);
    return s;
}

enum quern_status token_decode(const struct token_decoder *d, struct arena *arena, struct str *text,
                               struct quern_error *err)
{
    if (!d->root || text->n == 0)
        return QUERN_OK;
    *text = decode_step(d->root, arena, *text, 0);
    return text->p ? QUERN_OK : fail_memory(err, 0);
}
